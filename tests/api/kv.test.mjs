// What the server need not read twice: prefixes in memory, on disk, and after things went wrong. The small model answers;
// what matters here is how many tokens of each prompt were read, and that answers do not depend on it.
import test from 'node:test';
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Server, chat, nanoModel, openChat, slowdown, temporaryDirectory, until } from './harness.mjs';
import { replay, WINDOW } from '../../scripts/agent-replay.mjs';
import { CASES, load } from '../../scripts/load.mjs';

/** A text of n words, of half as many under a sanitizer: still more than the disk cache's least. */
const long = (seed, n = 400) => Array.from({ length: slowdown > 1 ? n / 2 : n }, (_, i) => `item${(i * 7919 + seed) % 997}`).join(' ');
const conversation = (system, ...turns) => [{ role: 'system', content: system },
  ...turns.map((content, i) => ({ role: i % 2 ? 'assistant' : 'user', content }))];

/** Tokens of the prompt, of these reused, and the answer. */
async function ask(server, messages, rest = {}) {
  const reply = await chat(server, { messages, seed: 42, max_tokens: 40, thinking: { type: 'disabled' }, ...rest });
  assert.equal(reply.status, 200, reply.text);
  const { usage, choices } = reply.json();
  const { cached_tokens: cached } = usage.prompt_tokens_details;
  return { read: usage.prompt_tokens - cached, cached, content: choices[0].message.content };
}

test('reads the same prompt once, and only the new part of a longer one', async () => {
  const server = await Server.start([], { model: nanoModel() });
  const system = long(1), sum = `${long(9, 60)} What is 23 + 45?`;
  const first = await ask(server, conversation(system, sum));
  assert.equal(first.cached, 0);
  const again = await ask(server, conversation(system, sum));
  assert.equal(again.read, 1);
  assert.equal(again.content, first.content);
  const next = await ask(server, conversation(system, sum, first.content, 'Who are you?'));
  assert.ok(next.read < 60, `${next.read} tokens were read`);
  const edited = await ask(server, conversation(system, sum, first.content, 'Spell the word garden.'));
  assert.ok(edited.read < 20, `${edited.read} tokens were read`);
  // A title request and a second conversation with the same beginning leave the first where it is.
  await ask(server, conversation('Name this conversation.', 'A sum.'));
  const second = await ask(server, conversation(system, 'Hello!'));
  assert.ok(second.read < 20, `${second.read} tokens were read`);
  const back = await ask(server, conversation(system, sum, first.content, 'Spell the word garden.'));
  assert.equal(back.read, 1);
  assert.match(server.log(), /miss=token-mismatch differs at=\d+ of=\d+/);
  await server.stop();
});

test('goes on where a client left', async () => {
  const server = await Server.start([], { model: nanoModel() });
  const messages = conversation(long(2, slowdown > 1 ? 400 : 900), 'What is 23 + 45?');
  const open = openChat(server, { messages, seed: 42, max_tokens: 4000, stream: true });
  await until(async () => (await server.health()).tokens.prompt > 0, 20000, 'a part of the prompt to be read');
  open.leave();
  await until(() => /cancelled/.test(server.log()), 20000, 'the request to end');
  const retry = await ask(server, messages);
  const [, done] = /ctx=(\d+)\.\.\d+:\d+ prompt start [^\n]*\n(?!.*prompt start)/s.exec(server.log());
  assert.equal(Number(done), retry.cached);
  assert.ok(retry.cached > 0);
  await server.stop();
});

test('remembers conversations across a restart, gives the same bytes, and bears damage', async () => {
  const directory = join(temporaryDirectory(), 'deep', 'cache');
  const args = ['--kv-disk-dir', directory];
  const system = long(3, 300), question = conversation(system, 'What is 9 times 8?');
  let server = await Server.start(args, { model: nanoModel() });
  const first = await ask(server, question);
  const longer = [...question, { role: 'assistant', content: first.content }, { role: 'user', content: 'Who are you?' }];
  const second = await ask(server, longer);
  assert.deepEqual(await server.stop(), { code: 0, signal: null });
  assert.match(server.log(), /persisting current KV cache before shutdown tokens=\d+/);
  const files = readdirSync(directory);
  assert.ok(files.length >= 5, files.join(' '));
  assert.equal(statSync(directory).mode & 0o777, 0o700);
  for (const file of files) assert.equal(statSync(join(directory, file)).mode & 0o777, 0o600);

  server = await Server.start(args, { model: nanoModel() });
  const restored = await ask(server, longer);
  assert.equal(restored.read, 1);
  assert.equal(restored.content, second.content);
  assert.match(server.log(), /source=disk/);
  await server.stop();

  // Every file is broken in its own way: nothing of it is served, and nobody notices but the log.
  readdirSync(directory).filter((f) => /\.(blk|tip)$/.test(f)).forEach((file, i) => {
    const path = join(directory, file), bytes = readFileSync(path);
    if (i % 3 === 0) bytes[bytes.length - 1 - i] ^= 1;
    writeFileSync(path, i % 3 === 1 ? bytes.subarray(0, bytes.length / 2) : i % 3 === 2 ? 'nonsense' : bytes);
  });
  server = await Server.start(args, { model: nanoModel() });
  const cold = await ask(server, longer);
  assert.equal(cold.content, second.content);
  assert.match(server.log(), /moved to the folder quarantine/);
  assert.ok(readdirSync(join(directory, 'quarantine')).length > 0);
  await server.stop();
});

test('the directory of another numerics or model is of no use, and no harm', async () => {
  const directory = temporaryDirectory();
  const question = conversation(long(4, 300), 'What is 9 times 8?');
  for (const activations of ['int8', 'float', 'int8']) {
    const server = await Server.start(['--kv-disk-dir', directory, '--activations', activations], { model: nanoModel() });
    const { cached } = await ask(server, question);
    assert.equal(cached > 0, readdirSync(directory).length > 0 && /source=disk/.test(server.log()));
    if (activations === 'float') assert.equal(cached, 0);
    await server.stop();
  }
});

test('refuses options that make no sense', async () => {
  for (const [args, message] of [
    [['--kv-cache-cold-max-tokens', '100'], /must be 0 or at least/],
    [['--kv-disk-dir', '/proc/none'], /failed to create KV cache directory \/proc\/none/]]) {
    await assert.rejects(Server.start(args, { model: nanoModel() }), message);
  }
});

test('same bytes alone, among sixteen, and after a restart with the disk cache', async () => {
  const directory = temporaryDirectory();
  const args = ['--kv-disk-dir', directory, '--slots', '16', '--queue', '32'];
  const messages = conversation(long(5, 300), 'Tell me a story about a lamp.');
  const rest = { seed: 7, temperature: 1, max_tokens: slowdown > 1 ? 30 : 120, thinking: { type: 'enabled' } };
  let server = await Server.start(args, { model: nanoModel() });
  const alone = await ask(server, messages, rest);
  const others = Array.from({ length: 15 }, (_, i) => ask(server, conversation(long(i, 10 * i), `What is ${i} + 7?`), { seed: i + 1, ...rest }));
  const among = await Promise.all([ask(server, messages, rest), ...others, ask(server, messages, rest)]);
  assert.equal(among[0].content, alone.content);
  assert.equal(among.at(-1).content, alone.content);
  await server.stop();
  server = await Server.start(args, { model: nanoModel() });
  const later = await ask(server, messages, rest);
  assert.ok(later.cached > 0);
  assert.equal(later.content, alone.content);
  await server.stop();
});

test('an agent that re-sends its history has only the new part read: undisturbed, restarted, interleaved, edited',
  { skip: slowdown > 1 && 'too slow under sanitizers' }, async () => {
  const rows = await replay({ turns: 6, tokens: 2600, system: 500, ctx: 16384 });
  assert.equal(rows.length, 4);
  for (const row of rows) {
    assert.ok(row.worst <= WINDOW, `${row.variant}: ${row.worst} tokens were read again in one turn`);
    assert.ok(row.read < row.without, row.variant);
  }
  assert.ok(rows[0].calls > 0);
});

test('what the client changes in a tool call is what the model sees', async () => {
  const server = await Server.start([], { model: nanoModel() });
  const tools = [{ type: 'function', function: { name: 'read', description: 'Read a file.', parameters: {
    type: 'object', required: ['path'], properties: { path: { type: 'string' } } } } }];
  const messages = [{ role: 'user', content: 'Read notes.txt' }];
  const body = (extra) => ({ messages: [...messages, ...extra], tools, seed: 42, max_tokens: 200 });
  const asked = (await chat(server, body([]))).json();
  const { content, reasoning_content, tool_calls } = asked.choices[0].message;
  assert.equal(asked.choices[0].finish_reason, 'tool_calls');
  const history = (path) => [{ role: 'assistant', content, reasoning_content, tool_calls: [{ ...tool_calls[0],
    function: { name: 'read', arguments: JSON.stringify({ path }) } }] }, { role: 'tool', tool_call_id: tool_calls[0].id, content: 'nothing' }];
  const held = asked.usage.prompt_tokens + asked.usage.completion_tokens;
  const same = (await chat(server, body(history(JSON.parse(tool_calls[0].function.arguments).path)))).json().usage;
  assert.ok(same.prompt_tokens_details.cached_tokens >= held - 1);
  const other = (await chat(server, body(history('somewhere/else.txt')))).json().usage;
  assert.ok(other.prompt_tokens_details.cached_tokens < held - 1);
  await server.stop();
});

test('sixty-four streams are complete and right', async () => {
  const cases = CASES.slice(0, 10).map((body) => ({ ...body, max_tokens: slowdown > 1 ? 6 : 30 }));
  const result = await load({ streams: 64, seconds: 1, cases });
  assert.deepEqual([result.errors, result.incomplete, result.wrong], [0, 0, 0]);
  assert.ok(result.answers >= 64);
});
