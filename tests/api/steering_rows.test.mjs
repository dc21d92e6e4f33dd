// Rows that were evaluated under one dial never serve another: for every pair of dials a conversation whose first answer was made
// under one of them goes on under the other, and says what it says on a server that has nothing to reuse. The rows come from the
// session itself, from one that goes on existing, and from disk.
import test, { before, describe } from 'node:test';
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { Server, chat, nanoModel, temporaryDirectory } from './harness.mjs';
import { randomDirection } from './random_direction.mjs';

const dir = temporaryDirectory();
const direction = randomDirection(join(dir, 'random.f32'));
const start = (...args) => Server.start(['--dir-steering-file', direction, '--dir-steering-ffn', '0', '--dir-steering-limit', '40', '--slots', '1', ...args],
  { model: nanoModel() });
const ALL = [undefined, { ffn: -20 }, { ffn: -20, policy: 'always' }, { ffn: -20, policy: 'decoding' }, { ffn: 20, policy: 'always' }];
// Sanitizers slow everything down; three states have all kinds of rows.
const STATES = process.env.DS4_TEST_SLOWDOWN ? ALL.slice(0, 3) : ALL;
const name = (dial) => (dial ? JSON.stringify(dial) : 'none');
// Long enough that the disk is asked.
const question = { role: 'user', content: `${Array.from({ length: 34 }, (_, i) => `River ${i} is long.`).join(' ')} Name a river.` };

async function ask(server, dial, messages, maxTokens = 8) {
  const reply = await chat(server, { seed: 42, max_tokens: maxTokens, messages, thinking: { type: 'disabled' }, ...(dial && { steering: dial }) });
  assert.equal(reply.status, 200, reply.text);
  const { choices, usage } = reply.json();
  return { text: choices[0].message.content ?? '', cached: usage.prompt_tokens_details.cached_tokens, prompt: usage.prompt_tokens };
}
const first = (server, dial) => ask(server, dial, [question]);
const second = (server, dial, said) => ask(server, dial, [question, { role: 'assistant', content: said }, { role: 'user', content: 'And who owns it?' }]);

/** By the names of both dials: what the second one says where nothing is reused. */
const alone = new Map();
const said = new Map();
before(async () => {
  const one = await start('--kv-sessions', '1');
  const forget = () => ask(one, { ffn: 1.25, policy: 'always' }, [{ role: 'user', content: 'Something else.' }], 1);
  for (const dial of STATES) {
    await forget();
    said.set(dial, (await first(one, dial)).text);
    for (const then of STATES) {
      await forget();
      const fresh = await second(one, then, said.get(dial));
      assert.equal(fresh.cached, 0);
      alone.set(`${name(dial)} ${name(then)}`, fresh.text);
    }
  }
  await one.stop();
});

test('the dials are told apart by what they say', () => {
  assert.ok(new Set(STATES.map((dial) => said.get(dial))).size >= STATES.length - 1, JSON.stringify([...said.values()]));
  for (const dial of STATES) assert.ok(new Set(STATES.map((then) => alone.get(`${name(dial)} ${name(then)}`))).size > 1, name(dial));
});

async function everyPair(server) {
  for (const dial of STATES) {
    for (const then of STATES) {
      assert.equal((await first(server, dial)).text, said.get(dial), name(dial));
      assert.equal((await second(server, then, said.get(dial))).text, alone.get(`${name(dial)} ${name(then)}`), `${name(dial)}, then ${name(then)}`);
    }
  }
}

describe('every pair of dials', () => {
  test('in one session', async () => {
    const server = await start('--kv-sessions', '1');
    await everyPair(server);
    await server.stop();
    assert.match(server.log(), /source=(live|rewound|anchor)/);
    assert.match(server.log(), /steering-mismatch/);
  });

  test('at once, from a session that one of them takes and the others copy', async () => {
    const server = await start('--slots', '8', '--kv-sessions', '16');
    for (const dial of STATES) {
      assert.equal((await first(server, dial)).text, said.get(dial), name(dial));
      const texts = (await Promise.all(STATES.map((then) => second(server, then, said.get(dial))))).map((reply) => reply.text);
      assert.deepEqual(texts, STATES.map((then) => alone.get(`${name(dial)} ${name(then)}`)), name(dial));
    }
    await server.stop();
    assert.match(server.log(), /source=cloned/);
  });

  test('after a restart, from disk', async () => {
    for (const [number, dial] of STATES.entries()) {
      const args = ['--kv-disk-dir', join(dir, `disk-${number}`), '--kv-cache-min-tokens', '16'];
      const before = await start(...args);
      await first(before, dial);
      await before.stop();
      const server = await start(...args);
      // The same dial finds its rows; the others come to a store that holds these, and more with each.
      const [own, ...others] = [dial, ...STATES.filter((other) => other !== dial)];
      const again = await second(server, own, said.get(dial));
      assert.ok(again.cached > 0, `${name(dial)}: nothing was found on disk`);
      assert.equal(again.text, alone.get(`${name(dial)} ${name(own)}`), name(dial));
      for (const then of others) assert.equal((await second(server, then, said.get(dial))).text, alone.get(`${name(dial)} ${name(then)}`), `${name(dial)}, then ${name(then)}`);
      await server.stop();
      assert.match(server.log(), /source=disk/);
    }
  });
});
