// HTTP itself: malformed requests, limits, who may ask. Every refusal is a JSON error body.
import { test, before, after } from 'node:test';
import assert from 'node:assert/strict';
import net from 'node:net';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Server, temporaryDirectory, raw, request, chat, chatPath, user, until, encodeRequest } from './harness.mjs';

let server;
before(async () => { server = await Server.start(); });
after(async () => { if (server) assert.deepEqual(await server.stop(), { code: 0, signal: null }, server.log()); });

const get = (headers) => `GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\n${headers}\r\n`;
const post = (headers, body = '') => `POST ${chatPath} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n${headers}\r\n${body}`;
const ok = JSON.stringify(user('hi', { max_tokens: 1, think: false }));

const table = [
  ['a header line without a colon', get('nocolon\r\n'), 400],
  ['space before the colon', get('A : b\r\n'), 400],
  ['a control character', get('A: b\x01c\r\n'), 400],
  ['NUL in the header', get('A: b\0c\r\n'), 400],
  ['bare LF', 'GET /v1/models HTTP/1.1\nHost: 127.0.0.1\n\n', 400],
  ['HTTP/0.9', 'GET /v1/models\r\n\r\n', 400],
  ['HTTP/2.0', 'GET /v1/models HTTP/2.0\r\nHost: 127.0.0.1\r\n\r\n', 505],
  ['no Host', 'GET /v1/models HTTP/1.1\r\n\r\n', 400],
  ['an unknown method', 'FROB /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n', 501],
  ['a long method', 'PROPPATCHES /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n', 501],
  ['PUT', 'PUT /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n', 405],
  ['GET on chat', `GET ${chatPath} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`, 405],
  ['POST on models', 'POST /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n', 405],
  ['a TLS hello', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 400],
  ['length abc', post('Content-Length: abc\r\n'), 400],
  ['length 60x', post('Content-Length: 60x\r\n'), 400],
  ['length +60', post('Content-Length: +60\r\n'), 400],
  ['empty length', post('Content-Length: \r\n'), 400],
  ['2^64', post('Content-Length: 18446744073709551616\r\n'), 413],
  ['more than the limit', post('Content-Length: 67108865\r\n'), 413],
  ['length and chunked', post('Content-Length: 3\r\nTransfer-Encoding: chunked\r\n'), 400],
  ['a bad chunk size', post('Transfer-Encoding: chunked\r\n', 'zz\r\n'), 400],
  ['a chunk size overflow', post('Transfer-Encoding: chunked\r\n', 'ffffffffffffffff\r\n'), 400],
  ['a chunk above the limit', post('Transfer-Encoding: chunked\r\n', '4000001\r\n'), 413],
  ['gzip', post('Transfer-Encoding: gzip\r\n'), 501],
  ['no length', post(''), 411],
  ['another expectation', post('Expect: 200-ok\r\nContent-Length: 2\r\n'), 417],
  ['an unknown path', 'GET /nope HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n', 404],
  ['dots', 'GET /v1/models/../models HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n', 404],
  ['encoded dots', 'GET /v1/%2e%2e/models HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n', 404],
  ['a double slash', 'GET //v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n', 404],
  ['a slash at the end', 'GET /v1/models/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n', 404],
  ['a foreign Host', 'GET /v1/models HTTP/1.1\r\nHost: evil.example\r\n\r\n', 403],
  ['a foreign Origin', get('Origin: https://evil.example\r\n'), 403],
];
for (const [name, bytes, status] of table) {
  test(`refused: ${name}`, async () => {
    const response = await raw(server, Buffer.from(bytes, 'latin1'));
    assert.equal(response.status, status, response.bytes.toString('latin1'));
    assert.equal(response.headers['content-type'], 'application/json');
    assert.equal(response.headers.connection, 'close');
    const { error } = response.json();
    assert.ok(error.message.length > 5 && typeof error.type === 'string' && 'param' in error && 'code' in error);
    if (status === 405) assert.match(response.headers.allow, /OPTIONS/);
  });
}

const bodies = [
  ['empty', ''], ['an array', '[]'], ['a string', '"x"'], ['null', 'null'], ['garbage behind', `${ok} x`],
  ['a trailing comma', '{"messages":[{"role":"user","content":"hi"}],}'],
  ['a missing comma', '{"messages":[{"role":"user","content":"hi"}] "max_tokens":1}'],
  ['a comment', '{/**/"messages":[{"role":"user","content":"hi"}]}'],
  ['single quotes', "{'messages':[]}"],
  ['invalid UTF-8', Buffer.from('{"messages":[{"role":"user","content":"\xff"}]}', 'latin1')],
  ['a raw control character', '{"messages":[{"role":"user","content":"a\nb"}]}'],
  ['NaN', '{"messages":[{"role":"user","content":"hi"}],"temperature":NaN}'],
  ['Infinity', '{"messages":[{"role":"user","content":"hi"}],"temperature":Infinity}'],
  ['hex', '{"messages":[{"role":"user","content":"hi"}],"max_tokens":0x10}'],
  ['a leading zero', '{"messages":[{"role":"user","content":"hi"}],"max_tokens":01}'],
  ['depth 257', `{"messages":[{"role":"user","content":"hi"}],"x":${'['.repeat(257)}${']'.repeat(257)}}`],
  ['depth 1e6', `{"messages":[{"role":"user","content":"hi"}],"x":${'['.repeat(1e6)}`],
  ...Object.entries({
    'model 1': { model: 1 }, 'model {}': { model: {} }, 'messages {}': { messages: {} }, 'messages []': { messages: [] },
    'messages null': { messages: null }, 'a number as content': user(5), 'a boolean as content': user(true),
    'an object as content': user({ text: 'x' }), 'an image': user([{ type: 'image_url', image_url: { url: 'data:' } }]),
    'max_tokens "5"': user('x', { max_tokens: '5' }), 'max_tokens -5': user('x', { max_tokens: -5 }),
    'max_tokens 0': user('x', { max_tokens: 0 }), 'max_tokens 1.9': user('x', { max_tokens: 1.9 }),
    'temperature -1': user('x', { temperature: -1 }), 'temperature 3': user('x', { temperature: 3 }),
    'top_p 2': user('x', { top_p: 2 }), 'min_p 2': user('x', { min_p: 2 }), 'stream "true"': user('x', { stream: 'true' }),
    'n 3': user('x', { n: 3 }), 'tools [1]': user('x', { tools: [1] }),
    'a tool without a name': user('x', { tools: [{ type: 'function', function: {} }] }),
    'two tools of one name': user('x', { tools: [1, 2].map(() => ({ type: 'function', function: { name: 'a' } })) }),
    'an unknown effort': user('x', { reasoning_effort: 'ultra' }),
    '10000 stop strings': user('x', { stop: Array.from({ length: 10000 }, (_, i) => `s${i}`) }),
    'a stop string of 1 MiB': user('x', { stop: 'a'.repeat(1 << 20) }),
    'tool_choice required without tools': user('x', { tool_choice: 'required' }),
  }).map(([name, body]) => [name, JSON.stringify(body)]),
  // Requests that aborted other servers: a second member of another type.
  ['role twice', '{"messages":[{"role":"user","role":1,"content":"x"}]}'],
  ['content twice', '{"messages":[{"role":"user","content":"x","content":7}]}'],
  ['name twice', '{"messages":[{"role":"user","content":"x"}],"tools":[{"type":"function","function":{"name":"a","name":1}}]}'],
  ['tool call id twice', '{"messages":[{"role":"assistant","tool_calls":[{"id":"a","id":1,"function":{"name":"b","arguments":"{}"}}]},{"role":"user","content":"x"}]}'],
];
for (const [name, body] of bodies) {
  test(`400 for a body that is wrong: ${name}`, async () => {
    const bytes = Buffer.from(body);
    const head = `POST ${chatPath} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: ${bytes.length}\r\n\r\n`;
    const response = await raw(server, Buffer.concat([Buffer.from(head), bytes]));
    assert.equal(response.status, 400, response.bytes.toString('latin1').slice(0, 600));
    assert.equal(response.json().error.type, 'invalid_request_error');
  });
}

test('model null is the default model', async () => {
  const response = await chat(server, user('x', { model: null, max_tokens: 1, think: false }));
  assert.equal(response.status, 200);
  assert.equal(response.json().model, 'deepseek-v4-flash');
});

test('chunked bodies in small pieces', async () => {
  const chunks = [...ok].map((c) => `1\r\n${c}\r\n`).join('');
  const response = await raw(server, post('Transfer-Encoding: chunked\r\n', `${chunks}0\r\n\r\n`));
  assert.equal(response.status, 200);
});

test('a request that arrives byte by byte', async () => {
  const bytes = Buffer.from(post(`Content-Length: ${ok.length}\r\n`, ok));
  const socket = net.connect(server.port, '127.0.0.1');
  socket.setNoDelay(true);
  let text = '';
  socket.on('data', (d) => { text += d; });
  const closed = new Promise((resolve) => socket.on('close', resolve));
  for (const byte of bytes) {
    socket.write(Buffer.of(byte));
    await new Promise((r) => setImmediate(r));
  }
  await closed;
  assert.match(text, /^HTTP\/1.1 200 OK\r\n/);
});

test('100 Continue', async () => {
  const socket = net.connect(server.port, '127.0.0.1');
  let text = '';
  socket.on('data', (d) => { text += d; });
  const closed = new Promise((resolve) => socket.on('close', resolve));
  socket.write(post(`Expect: 100-continue\r\nContent-Length: ${ok.length}\r\n`));
  await until(() => text === 'HTTP/1.1 100 Continue\r\n\r\n', 5000, '100 Continue');
  socket.write(ok);
  await closed;
  assert.match(text, /\r\n\r\nHTTP\/1.1 200 OK\r\n/);
});

test('HEAD has the head of GET and no body', async () => {
  const response = await request(server, 'HEAD', '/v1/models');
  assert.equal(response.status, 200);
  assert.equal(response.body.length, 0);
  assert.equal(Number(response.headers['content-length']), (await request(server, 'GET', '/v1/models')).body.length);
});

test('OPTIONS: 204, and no CORS headers unless enabled', async () => {
  const response = await request(server, 'OPTIONS', '/anything', undefined, { Origin: 'http://localhost:3000' });
  assert.equal(response.status, 204);
  assert.equal(response.headers['content-length'], '0');
  assert.equal(response.headers['access-control-allow-origin'], undefined);
});

test('queries, aliases and absolute targets', async () => {
  assert.equal((await request(server, 'GET', '/v1/models/deepseek-chat?x=1')).json().id, 'deepseek-chat');
  assert.equal((await request(server, 'GET', 'http://localhost/v1/models')).status, 200);
  const model = (await request(server, 'GET', '/v1/models')).json().data[0];
  assert.equal(model.context_length, 8192);
  assert.equal(model.top_provider.max_completion_tokens, 8192);
});

test('a pipelined second request does not disturb the first', async () => {
  const one = post(`Content-Length: ${ok.length}\r\n`, ok);
  const response = await raw(server, one + one);
  assert.equal(response.status, 200);
  assert.equal(response.headers.connection, 'close');
  assert.ok(response.json().id);
});

test('a body that ends early, and connections that say nothing, are closed', async () => {
  assert.equal((await raw(server, post('Content-Length: 100\r\n', '{'), { end: true })).status, null);
  assert.equal((await raw(server, '', { end: true })).status, null);
  assert.equal((await server.health()).status, 'ok');
});

test('a half-closed client still gets an answer that needs no computing', async () => {
  assert.equal((await raw(server, get(''), { end: true })).status, 200);
});

test('too many connections', async () => {
  const idle = Array.from({ length: 64 }, () => net.connect(server.port, '127.0.0.1'));
  idle.forEach((s) => s.on('error', () => {}));
  await Promise.all(idle.map((s) => new Promise((r) => s.on('connect', r))));
  const response = await request(server, 'GET', '/v1/models');
  assert.equal(response.status, 503);
  assert.match(response.json().error.message, /too many connections/);
  idle.forEach((s) => s.destroy());
  await until(async () => (await request(server, 'GET', '/health')).status === 200, 5000, 'room for connections');
});

test('a head or a body that never ends: 408 when its time is over', async () => {
  const hurried = await Server.start(['--head-timeout', '1', '--body-timeout', '2']);
  for (const [bytes, seconds] of [['GET / HTTP/1.1\r\nHost: ', 1], [post('Content-Length: 100\r\n', '{'), 2],
    [post('Transfer-Encoding: chunked\r\n', '3\r\nabc\r\n'), 2]]) {
    const begin = Date.now();
    const response = await raw(hurried, bytes);
    assert.equal(response.status, 408, bytes);
    assert.match(response.json().error.message, /./);
    assert.ok(Date.now() - begin > 1000 * seconds - 100, `after ${Date.now() - begin} ms`);
  }
  assert.deepEqual(await hurried.stop(), { code: 0, signal: null });
});

test('keys', async () => {
  const locked = await Server.start(['--api-key', 'sesame']);
  assert.equal((await request(locked, 'GET', '/health')).status, 200);
  const refused = await request(locked, 'GET', '/v1/models');
  assert.equal(refused.status, 401);
  assert.match(refused.headers['www-authenticate'], /Bearer/);
  assert.ok(refused.json().error.message);
  for (const headers of [{ Authorization: 'Bearer sesam' }, { Authorization: 'Bearer sesamesesame' }, { 'x-api-key': '' }, { Authorization: 'sesame' }])
    assert.equal((await request(locked, 'GET', '/v1/models', undefined, headers)).status, 401, JSON.stringify(headers));
  for (const headers of [{ Authorization: 'bearer sesame' }, { 'x-api-key': 'sesame' }])
    assert.equal((await request(locked, 'GET', '/v1/models', undefined, headers)).status, 200);
  await locked.stop();
});

test('keys from a file; SIGHUP reads it again', async () => {
  const path = join(temporaryDirectory(), 'keys');
  writeFileSync(path, '# who may ask\nfirst-key\nsecond-key\n', { mode: 0o644 });
  const locked = await Server.start(['--api-key-file', path]);
  const answer = async (headers) => (await request(locked, 'GET', '/v1/models', undefined, headers)).status;
  assert.match(locked.log(), /all users of this machine can read the API key file/);
  for (const path of ['/v1/status', '/metrics', '/nowhere']) assert.equal((await request(locked, 'GET', path)).status, 401, path);
  assert.equal(await answer({ Authorization: 'Bearer first-key' }), 200);
  assert.equal(await answer({ 'x-api-key': 'second-key' }), 200);
  assert.equal(await answer({ 'x-api-key': 'third-key', Authorization: 'Bearer second-key' }), 200);
  assert.equal(await answer({ 'x-api-key': '# who may ask' }), 401);
  assert.equal(await answer({ 'x-api-key': 'third-key' }), 401);
  writeFileSync(path, 'third-key\n');
  locked.child.kill('SIGHUP');
  await until(() => locked.log().includes('read 1 API keys'), 5000, 'the keys');
  assert.equal(await answer({ 'x-api-key': 'third-key' }), 200);
  assert.equal(await answer({ 'x-api-key': 'first-key' }), 401);
  writeFileSync(path, '');
  locked.child.kill('SIGHUP');
  await until(() => locked.log().includes('the keys stay as they were'), 5000, 'the refusal');
  assert.equal(await answer({ 'x-api-key': 'third-key' }), 200);
  assert.deepEqual(await locked.stop(), { code: 0, signal: null });
});

test('CORS', async () => {
  const open = await Server.start(['--cors', '--cors-origin', 'https://a.example', '--allowed-host', 'box.lan']);
  const from = (Origin, method = 'GET') => request(open, method, '/v1/models', undefined, { Origin });
  assert.equal((await from('http://localhost:5173')).headers['access-control-allow-origin'], 'http://localhost:5173');
  assert.equal((await from('https://a.example')).status, 200);
  for (const origin of ['https://b.example', 'http://localhost.evil.example', 'null', 'http://127.0.0.1.evil.example'])
    assert.equal((await from(origin)).status, 403, origin);
  const preflight = await from('http://[::1]:80', 'OPTIONS');
  assert.equal(preflight.status, 204);
  assert.match(preflight.headers['access-control-allow-headers'], /Authorization/);
  const form = await request(open, 'POST', chatPath, ok, { Origin: 'https://a.example', 'Content-Type': 'text/plain' });
  assert.equal(form.status, 415);
  assert.equal((await request(open, 'GET', '/v1/models', undefined, { Host: 'box.lan:80' })).status, 200);
  await open.stop();
});
