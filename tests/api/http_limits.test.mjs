// The rows of the bad-input table that http.test.mjs does not have: limits, half requests, many connections, the end.
import { test, before, after } from 'node:test';
import assert from 'node:assert/strict';
import net from 'node:net';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Server, raw, request, chat, chatPath, user, openChat, until, endlessModel, temporaryDirectory, encodeRequest } from './harness.mjs';

let server;
before(async () => { server = await Server.start(['--slots', '2'], { model: endlessModel() }); });
after(async () => { if (server) assert.deepEqual(await server.stop(), { code: 0, signal: null }, server.log()); });

const head = (lines) => `POST ${chatPath} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n${lines}\r\n`;
const ok = JSON.stringify(user('hi', { max_tokens: 1, think: false }));

for (const [name, bytes, status] of [
  ['one header line of 40 KiB', `GET /v1/models HTTP/1.1\r\nHost: x\r\nA: ${'a'.repeat(40000)}\r\n\r\n`, 431],
  ['200 header lines', `GET /v1/models HTTP/1.1\r\nHost: x\r\n${'A: b\r\n'.repeat(200)}\r\n`, 431],
  ['a target of 3000 bytes', `GET /${'a'.repeat(3000)} HTTP/1.1\r\nHost: x\r\n\r\n`, 414],
  ['a target that never ends', `GET /${'a'.repeat(30000)}`, 414],
  ['two different lengths', `${head(`Content-Length: ${ok.length}\r\nContent-Length: ${ok.length + 1}\r\n`)}${ok}`, 400],
  ['two equal lengths', `${head(`Content-Length: ${ok.length}\r\nContent-Length: ${ok.length}\r\n`)}${ok}`, [200, 400]],
  ['a negative length', head('Content-Length: -1\r\n'), 400],
  ['a hexadecimal length', head('Content-Length: 0x3c\r\n'), 400],
  ['chunk data that is longer than its size', `${head('Transfer-Encoding: chunked\r\n')}3\r\nabcdef\r\n0\r\n\r\n`, 400],
  ['chunked in HTTP/1.0', `POST ${chatPath} HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 400],
  ['two codings', `${head('Transfer-Encoding: gzip, chunked\r\n')}0\r\n\r\n`, 501],
]) {
  test(`${name}: ${status}`, async () => {
    const response = await raw(server, Buffer.from(bytes, 'latin1'));
    assert.ok([status].flat().includes(response.status), response.bytes.toString('latin1').slice(0, 400));
    if (response.status >= 400) assert.ok(response.json().error.message.length > 5);
    assert.equal(response.headers.connection, 'close');
  });
}

test('a chunked body without its last chunk, then the end: closed without an answer', async () => {
  assert.equal((await raw(server, `${head('Transfer-Encoding: chunked\r\n')}3\r\nabc\r\n`, { end: true })).status, null);
});

test('a body above the limit: 413 reaches a client that writes on', async () => {
  const socket = net.connect(server.port, '127.0.0.1');
  let text = '';
  socket.on('data', (d) => { text += d; });
  socket.on('error', () => {});
  const closed = new Promise((r) => socket.on('close', r));
  socket.write(head('Content-Length: 99999999\r\n') + 'x'.repeat(60000));
  await closed;
  assert.match(text, /^HTTP\/1.1 413 /);
});

test('surrogates and NUL in a string: 400, or 200 with valid UTF-8', async () => {
  for (const escape of ['\\ud800', '\\udc00x', '\\ud800\\u0041', '\\u0000', 'a\\u0000b']) {
    const response = await raw(server, encodeRequest('POST', chatPath, ok.replace('hi', escape)));
    assert.ok([200, 400].includes(response.status), escape);
    response.json();
  }
});

test('a thousand idle connections: most are told 503 or closed, and none is in the way afterwards', async () => {
  const idle = Array.from({ length: 1000 }, () => net.connect(server.port, '127.0.0.1'));
  let refused = 0;
  for (const socket of idle) {
    socket.on('error', () => {});
    socket.on('close', () => { refused++; });
    socket.resume();
  }
  await until(() => refused >= 900, 10000, 'refusals');
  const closedEarly = refused;
  idle.forEach((s) => s.destroy());
  assert.ok(closedEarly <= 940, `${closedEarly} were refused, 64 may stay`);
  await until(async () => (await request(server, 'GET', '/health')).status === 200, 10000, 'room');
});

test('clients that leave the queue, the prompt and the answer: nothing runs on', async () => {
  const before = await server.health();
  const open = Array.from({ length: 8 }, (_, i) => openChat(server, user(`${i} ${'word '.repeat(200 * i)}`, { max_tokens: 6000, stream: i % 2 === 0 })));
  await until(async () => (await server.health()).jobs.submitted >= before.jobs.submitted + 6, 20000, 'the requests');
  open.forEach((o) => o.leave());
  await until(async () => { const h = await server.health(); return h.slots.busy === 0 && h.queue.waiting === 0; }, 20000, 'the end');
  const after = await server.health();
  assert.equal(after.jobs.done, before.jobs.done);
  assert.equal(after.jobs.failed, before.jobs.failed);
});

test('requests during the end: 503 or refused, never a hang', async () => {
  const ending = await Server.start(['--slots', '1', '--drain', '1'], { model: endlessModel() });
  const open = openChat(ending, user('go on', { max_tokens: 8000, stream: true }));
  await until(() => open.text().includes('reasoning_content'), 30000, 'tokens');
  const held = net.connect(ending.port, '127.0.0.1'); // accepted before, asks after
  const parts = [];
  held.on('data', (d) => parts.push(d));
  held.on('error', () => {});
  await new Promise((r) => held.on('connect', r));
  await new Promise((r) => setTimeout(r, 100));
  ending.child.kill('SIGTERM');
  await until(() => ending.log().includes('draining'), 5000, 'the drain');
  held.write(encodeRequest('POST', chatPath, ok));
  await new Promise((r) => held.on('close', r));
  assert.match(Buffer.concat(parts).toString(), /^HTTP\/1.1 503 [^]*shutting_down/);
  assert.deepEqual(await ending.exited, { code: 0, signal: null });
});

test('the cache directory disappears while the server runs: it serves on', async (t) => {
  const directory = join(temporaryDirectory(), 'kv');
  mkdirSync(directory);
  const keeping = await Server.start(['--kv-disk-dir', directory, '--kv-cache-min-tokens', '16'], { model: endlessModel() });
  assert.equal((await chat(keeping, user('word '.repeat(60), { max_tokens: 2 }))).status, 200);
  rmSync(directory, { recursive: true });
  for (let i = 0; i < 3; i++) assert.equal((await chat(keeping, user(`${i} ${'other '.repeat(60)}`, { max_tokens: 2 }))).status, 200);
  assert.deepEqual(await keeping.stop(), { code: 0, signal: null }, keeping.log());
  t.diagnostic(keeping.log().split('\n').filter((l) => /kv/i.test(l)).slice(0, 3).join(' | '));
});
