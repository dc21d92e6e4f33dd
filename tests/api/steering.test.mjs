// Steering through the HTTP server on ds4-nano: dials per request, what a request may ask for, what is told. The direction here is
// random: what it does to meaning is no matter. That rows of one dial never serve another: steering_rows.test.mjs.
import test, { after, before, describe } from 'node:test';
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Server, chat, nanoModel, request, temporaryDirectory, user } from './harness.mjs';
import { randomDirection } from './random_direction.mjs';

const dir = temporaryDirectory();
const direction = (name, options) => randomDirection(join(dir, name), options);
let server;

const start = (...args) => Server.start(args, { model: nanoModel() });
before(async () => { server = await start('--dir-steering-file', direction('random.f32'), '--dir-steering-ffn', '0', '--dir-steering-limit', '40', '--slots', '8', '--kv-sessions', '12'); });
after(() => server.stop());

const off = { thinking: { type: 'disabled' } };
const ask = (steering, body = {}, to = server) => chat(to, { seed: 42, max_tokens: 40, ...user('Who made the first lamp of Librand?'), ...off, ...(steering && { steering }), ...body });
const parts = (reply) => {
  assert.equal(reply.status, 200, reply.text);
  const { choices, usage, steering } = reply.json();
  return { text: JSON.stringify(choices[0].message), cached: usage.prompt_tokens_details.cached_tokens, prompt: usage.prompt_tokens, steering };
};

test('a dial changes the answer, and the answer says which dial it was', async () => {
  const plain = parts(await ask());
  assert.deepEqual(plain.steering, { ffn: 0, attn: 0, policy: 'final-answer', mode: 'project', tokens: 0 });
  const steered = parts(await ask({ ffn: 2, mode: 'add' }));
  assert.notEqual(steered.text, plain.text);
  assert.equal(steered.steering.ffn, 2);
  assert.equal(steered.steering.mode, 'add');
  assert.ok(steered.steering.tokens > 0);
});

test('scale 0 and policy off are no steering, byte for byte', async () => {
  const plain = parts(await ask()).text;
  assert.equal(parts(await ask({ ffn: 0, attn: 0, policy: 'always' })).text, plain);
  assert.equal(parts(await ask({ ffn: 2.5, attn: -2, policy: 'off' })).text, plain);
});

test('prompts under final-answer share their rows with all others; under always they do not', async () => {
  const body = { ...user(`Remember this: ${'a word and '.repeat(40)}. Who made the lamp?`) };
  const fresh = parts(await ask(undefined, body));
  assert.ok(fresh.cached < fresh.prompt / 2);
  const shared = parts(await ask({ ffn: -1 }, body));
  assert.ok(shared.cached >= shared.prompt - 2, `${shared.cached} of ${shared.prompt}`);
  const always = parts(await ask({ ffn: -1, policy: 'always' }, body));
  assert.equal(always.cached, 0);
  const again = parts(await ask({ ffn: -1, policy: 'always' }, body));
  assert.ok(again.cached >= again.prompt - 2);
  assert.equal(again.text, always.text);
  assert.equal(parts(await ask({ ffn: -1.5, policy: 'always' }, body)).cached, 0);
});

const DIALS = [undefined, { ffn: -20 }, { ffn: 2, mode: 'add' }, { attn: 30 }, { ffn: 1, attn: -1, mode: 'add' }, { ffn: -20, policy: 'always' },
  { ffn: -30, policy: 'decoding' }, { ffn: 1, attn: 1, policy: 'off' }];

test('eight dials decode together, each as it does alone, whatever was asked before', async () => {
  const solo = [];
  for (const dial of DIALS) {
    const one = await start('--dir-steering-file', join(dir, 'random.f32'), '--dir-steering-ffn', '0', '--dir-steering-limit', '40');
    solo.push(parts(await ask(dial, {}, one)).text);
    await one.stop();
  }
  assert.ok(new Set(solo).size >= 5, 'the dials do nothing');
  for (let round = 0; round < 2; round++) {
    const together = await Promise.all(DIALS.map((dial) => ask(dial)));
    assert.deepEqual(together.map((reply) => parts(reply).text), solo);
  }
});

test('a dial that hardly turns draws the same words: the random numbers are those of no dial', async () => {
  let steered = 0;
  for (const seed of [1, 2, 3, 4, 5, 6]) {
    const [plain, turned] = [parts(await ask(undefined, { seed, temperature: 1.5, max_tokens: 12 })), parts(await ask({ ffn: 1e-6 }, { seed, temperature: 1.5, max_tokens: 12 }))];
    assert.equal(turned.text, plain.text, `seed ${seed}`);
    steered += turned.steering.tokens;
  }
  assert.ok(steered > 0);
});

test('thinking is the same with and without a dial', async () => {
  const body = { thinking: { type: 'enabled' } };
  const plain = JSON.parse(parts(await ask(undefined, body)).text);
  const steered = JSON.parse(parts(await ask({ ffn: 2, mode: 'add' }, body)).text);
  assert.ok(plain.reasoning_content.length > 0);
  assert.equal(steered.reasoning_content, plain.reasoning_content);
  assert.notEqual(steered.content, plain.content);
});

test('a stream says the dial in its last chunk; the Anthropic protocol in message_delta', async () => {
  const stream = await chat(server, { seed: 42, max_tokens: 5, ...user('Hi'), ...off, stream: true, steering: { ffn: -1 } });
  const chunks = stream.text.split('\n').filter((l) => l.startsWith('data: {')).map((l) => JSON.parse(l.slice(6)));
  assert.equal(chunks.at(-1).steering.ffn, -1);
  const reply = await request(server, 'POST', '/v1/messages', { model: 'x', max_tokens: 5, messages: [{ role: 'user', content: 'Hi' }], ...off, steering: { ffn: -1 } }, { 'Content-Type': 'application/json' });
  assert.equal(reply.status, 200, reply.text);
  assert.equal(reply.json().steering.ffn, -1);
});

describe('what a request may not ask', () => {
  for (const [steering, param, pattern] of [
    [{ ffn: 40.5 }, 'steering.ffn', /--dir-steering-limit/], [{ attn: -50 }, 'steering.attn', /--dir-steering-limit/],
    [{ ffn: 101 }, 'steering.ffn', /between -100 and 100/], [{ ffn: 'x' }, 'steering.ffn', /number/],
    [{ policy: 'sometimes' }, 'steering.policy', /one of final-answer/], [{ mode: 1 }, 'steering.mode', /one of project, add/],
    [{ scale: 1 }, 'steering', /only the members/], [[], 'steering', /an object/],
  ]) {
    test(JSON.stringify(steering), async () => {
      const reply = await ask(steering);
      assert.equal(reply.status, 400, reply.text);
      assert.equal(reply.json().error.param, param);
      assert.match(reply.json().error.message, pattern);
    });
  }
  test('a dial where there is no direction', async () => {
    const bare = await start();
    const reply = await ask({ ffn: 1 }, {}, bare);
    assert.equal(reply.status, 400);
    assert.match(reply.json().error.message, /has no steering direction; start it with --dir-steering-file/);
    assert.equal((await ask({ policy: 'off' }, {}, bare)).status, 200);
    const status = await request(bare, 'GET', '/v1/status');
    assert.equal(status.json().steering, null);
    await bare.stop();
  });
});

describe('what the server starts with', () => {
  const refusedStart = async (...args) => {
    const failed = await Server.start(args, { model: nanoModel(), ready: false });
    await failed.exited;
    assert.equal(failed.result.code, 1, failed.log());
    return failed.log();
  };

  test('files that are no direction of this model end the start with one sentence', async () => {
    for (const [file, pattern] of [
      [direction('short.f32', { layers: 5 }), /has 5120 bytes; a direction for this model has 6 layers x 256 float32 = 6144 bytes/],
      [direction('nan.f32', { change: (v) => { v[300] = NaN; } }), /element 44 of layer 1 is not a finite number/],
      [direction('zero.f32', { change: (v) => v.fill(0) }), /zero in every layer/],
      [join(dir, 'missing.f32'), /missing\.f32/],
    ]) assert.match(await refusedStart('--dir-steering-file', file), pattern);
    assert.match(await refusedStart('--dir-steering-ffn', '1'), /needs --dir-steering-file/);
    assert.match(await refusedStart('--dir-steering-file', join(dir, 'random.f32'), '--dir-steering-layers', '4-6'), /expected layers such as 2-5/);
  });

  test('a sidecar recommends the dial, options outweigh it, and one that does not fit is a warning', async () => {
    const file = direction('told.f32');
    const status = async (...args) => {
      const one = await start('--dir-steering-file', file, ...args);
      const { steering } = (await request(one, 'GET', '/v1/status')).json();
      await one.stop();
      return { ...steering, log: one.log() };
    };
    const sidecar = (ds4x) => writeFileSync(join(dir, 'told.json'), typeof ds4x === 'string' ? ds4x : JSON.stringify({ format: 'ds4-directional-steering-v1', ds4x }));
    assert.equal((await status()).ffn, 1);
    sidecar({ recommended: { ffn: 0.5, mode: 'add' } });
    const told = await status();
    assert.equal(told.ffn, 0.5);
    assert.equal(told.mode, 'add');
    assert.equal((await status('--dir-steering-ffn', '-0.75')).ffn, -0.75);
    assert.equal((await status('--dir-steering-attn', '0.25')).ffn, 0);
    sidecar({ recommended: { ffn: 0.5 }, direction_fingerprint: '0123456789abcdef' });
    const other = await status();
    assert.match(other.log, /describes other numbers/);
    assert.equal(other.ffn, 1);
    sidecar({ recommended: { ffn: 0.5 }, model: 'some model', model_fingerprint: '0123456789abcdef' });
    const foreign = await status();
    assert.match(foreign.log, /was built on some model; on ds4-nano its effect was not measured/);
    assert.equal(foreign.ffn, 0.5);
    for (const [text, pattern] of [['{', /sidecar is not used: .*told\.json/], ['[]', /not a JSON object/], ['{"ds4x":{"recommended":{"ffn":"x"}}}', /ds4x\.recommended\.ffn is not a number/]]) {
      sidecar(text);
      assert.match((await status()).log, pattern);
    }
  });
});
