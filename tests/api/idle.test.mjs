// --idle-unload: the model goes when nobody asks, and comes back for whoever does. Nearly all of it is waiting: the tests run
// side by side.
import { describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { copyFileSync, renameSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Server, request, chat, user, openChat, until, nanoModel, endlessModel, tinyModel, temporaryDirectory } from './harness.mjs';

const status = async (server) => (await request(server, 'GET', '/v1/status')).json();
const unloaded = (server) => until(async () => (await status(server)).state === 'unloaded', 20000, 'the unload');
const question = user('Count from 1 to 5.', { seed: 7, max_tokens: 40 });
/** The memory map of the process names the model file while it is loaded. */
const isMapped = (server, model) => readFileSync(`/proc/${server.child.pid}/maps`, 'latin1').includes(model);

describe('idle', { concurrency: true }, () => {
test('unload, reload: the same bytes for the same seed, counters go on', async () => {
  const server = await Server.start(['--idle-unload', '1'], { model: nanoModel() });
  const first = (await chat(server, question)).json();
  const before = await status(server);
  if (process.platform === 'linux') assert.ok(isMapped(server, nanoModel()));
  await unloaded(server);
  if (process.platform === 'linux') await until(() => !isMapped(server, nanoModel()), 5000, 'the memory');
  const idle = await status(server);
  assert.equal(idle.requests.completed, before.requests.completed);
  assert.deepEqual(idle.sessions, []);
  const health = await request(server, 'GET', '/health');
  assert.equal(health.status, 200);
  assert.equal(health.json().state, 'unloaded');
  assert.equal((await request(server, 'GET', '/v1/models')).status, 200);
  const answers = await Promise.all([1, 2, 3].map(() => chat(server, question)));
  for (const answer of answers) {
    assert.equal(answer.status, 200);
    assert.deepEqual(answer.json().choices, first.choices);
  }
  const after = await status(server);
  assert.equal(after.state, 'ready');
  assert.equal(after.requests.completed, before.requests.completed + 3);
  assert.equal(after.tokens.generated, before.tokens.generated * 4);
  assert.match(server.log(), /unloaded the model: no request for 1 s/);
  assert.match(server.log(), /loaded the model again in/);
  assert.equal(server.log().match(/listening on http/g).length, 1);
  await unloaded(server);
  assert.deepEqual(await server.stop(), { code: 0, signal: null });
});

test('with a disk cache the prompt is not read again after an unload, and the bytes are the same', async () => {
  const server = await Server.start(['--idle-unload', '1', '--kv-disk-dir', temporaryDirectory()], { model: nanoModel() });
  const beginning = Array.from({ length: 200 }, (_, i) => `item${(i * 7919) % 997}`).join(' ');
  const ask = async () => {
    const { usage, choices } = (await chat(server, user(`${beginning} What is 23 + 45?`, { seed: 7, temperature: 1, max_tokens: 60 }))).json();
    return { choices, prompt: usage.prompt_tokens, cached: usage.prompt_tokens_details.cached_tokens };
  };
  const first = await ask();
  assert.equal(first.cached, 0);
  for (let i = 0; i < 2; i++) {
    await unloaded(server);
    const again = await ask();
    assert.deepEqual(again.choices, first.choices);
    assert.equal(again.prompt - again.cached, 1, 'only the last token is read again');
  }
  assert.equal(server.log().match(/source=disk/g).length, 2);
  assert.deepEqual(await server.stop(), { code: 0, signal: null });
});

test('a long answer is no idleness', async () => {
  const server = await Server.start(['--idle-unload', '1', '--ctx', '32768'], { model: endlessModel() });
  const open = openChat(server, user('go on', { max_tokens: 30000, stream: true }));
  await until(() => open.text().includes('reasoning_content'), 30000, 'tokens');
  await new Promise((r) => setTimeout(r, 2500));
  assert.equal((await status(server)).state, 'ready');
  open.leave();
  await unloaded(server);
  assert.deepEqual(await server.stop(), { code: 0, signal: null });
});

test('a model that is gone: 503 with the reason, and a later request finds it again', async () => {
  const model = join(temporaryDirectory(), 'model.gguf');
  copyFileSync(tinyModel(), model);
  const server = await Server.start(['--idle-unload', '1'], { model });
  await unloaded(server);
  renameSync(model, `${model}.away`);
  const refused = await chat(server, user('x', { max_tokens: 1 }));
  assert.equal(refused.status, 503);
  assert.match(refused.json().error.message, /model\.gguf/);
  assert.equal(refused.json().error.code, 'load_failed');
  assert.equal((await status(server)).state, 'unloaded');
  renameSync(`${model}.away`, model);
  assert.equal((await chat(server, user('x', { max_tokens: 1 }))).status, 200);
  assert.deepEqual(await server.stop(), { code: 0, signal: null });
});

test('requests in every moment of unloading and reloading', { timeout: 120000 }, async () => {
  const servers = await Promise.all([0, 1, 2].map(() => Server.start(['--idle-unload', '1'])));
  await Promise.all(servers.map(async (server, k) => {
    for (const i of [k, k + 3]) {
      await new Promise((r) => setTimeout(r, 2050 + 40 * i)); // about when the connection has lingered and the second is over
      assert.equal((await chat(server, user(`${i}`, { max_tokens: 2 }))).status, 200);
    }
    server.child.kill('SIGTERM');
    assert.deepEqual(await server.exited, { code: 0, signal: null });
  }));
});
});
