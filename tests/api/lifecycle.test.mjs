// Starting and stopping: flags, the port, the model, signals.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFileSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import net from 'node:net';
import { Server, serverBinary, tinyModel, endlessModel, temporaryDirectory, request, chat, user, openChat, until, parseEvents, slowdown } from './harness.mjs';

const run = (...args) => spawnSync(serverBinary, args, {
  encoding: 'utf8', timeout: 60000, env: { ...process.env, DS4_CONFIG: '/dev/null', DS4_MODEL: '', DS4_API_KEY: '', DS4_THREADS: '' } });

test('--help', () => {
  const { status, stdout } = run('--help');
  assert.equal(status, 0);
  for (const flag of ['--model', '--ctx', '--port', '--slots', '--api-key', '--kv-sim']) assert.ok(stdout.includes(flag), flag);
});

for (const [args, message] of [
  [['--nope'], /^ds4-server: unknown option: --nope/m],
  [['-m'], /^ds4-server: missing value for -m/m],
  [['--ctx', '4k'], /^ds4-server: invalid value for --ctx: 4k/m],
  [['--port', '70000'], /^ds4-server: invalid value for --port: 70000/m],
  [['--host', '0.0.0.0'], /--insecure-no-auth/],
  [['--api-key', 'a', '--api-key-file', 'b'], /exclude/],
  [['--mtp', 'x.gguf'], /--mtp: not in this version/],
  [['--dir-steering-policy=x'], /invalid value for --dir-steering-policy: x \(final-answer, decoding, always or off\)/],
  [['--quality'], /--quality: not in this version/],
]) {
  test(`usage: ${args.join(' ')}`, () => {
    const { status, stderr } = run(...args);
    assert.equal(status, 2, stderr);
    assert.match(stderr, message);
  });
}

test('a missing, an empty and a truncated model', () => {
  const directory = temporaryDirectory();
  const empty = join(directory, 'empty.gguf');
  const cut = join(directory, 'cut.gguf');
  writeFileSync(empty, '');
  writeFileSync(cut, readFileSync(tinyModel()).subarray(0, 20000));
  for (const path of [join(directory, 'none.gguf'), empty, cut, directory]) {
    const { status, stderr } = run('-m', path, '--port', '0');
    assert.equal(status, 1, `${path}: ${stderr}`);
    assert.ok(!stderr.includes('listening on http://'));
    assert.ok(stderr.trim().split('\n').at(-1).length > 30, stderr);
  }
});

test('a directory that is not there', () => {
  const { status, stderr } = run('-m', tinyModel(), '--port', '0', '--chdir', '/nonexistent');
  assert.equal(status, 1);
  assert.match(stderr, /failed to chdir to \/nonexistent: No such file/);
});

test('a context that does not fit into memory', () => {
  const { status, stderr } = run('-m', tinyModel(), '--port', '0', '--ctx', '2000000000', '--slots', '256');
  assert.equal(status, 1, stderr);
  assert.ok(!stderr.includes('listening on'));
});

test('a busy port: said before the model is loaded', async () => {
  const blocker = net.createServer().listen(0, '127.0.0.1');
  await new Promise((r) => blocker.on('listening', r));
  const { port } = blocker.address();
  const { status, stderr } = run('-m', tinyModel(), '--port', String(port));
  assert.equal(status, 1);
  assert.match(stderr, new RegExp(`failed to listen on 127.0.0.1:${port}: Address already in use`));
  assert.ok(!stderr.includes('loading'));
  blocker.close();
});

const slowOpen = process.env.DS4_TEST_SLOW_OPEN;
const loading = { ready: false, env: { LD_PRELOAD: slowOpen, DS4_TEST_OPEN_SECONDS: '2' } };

test('while the model loads: 503 from /health, chat waits', { skip: !slowOpen }, async () => {
  const server = await Server.start([], loading);
  const health = await request(server, 'GET', '/health');
  assert.equal(health.status, 503);
  assert.equal(health.json().status, 'loading');
  assert.equal(typeof health.json().progress, 'number');
  const models = await request(server, 'GET', '/v1/models');
  assert.equal(models.status, 503);
  assert.equal(models.json().error.code, 'loading');
  assert.ok(Number(models.headers['retry-after']) > 0);
  const wrong = chat(server, '{');
  const answers = await Promise.all([chat(server, user('early', { max_tokens: 2 })), chat(server, user('early', { max_tokens: 2, stream: true }))]);
  for (const answer of answers) assert.equal(answer.status, 200);
  assert.equal((await wrong).status, 400);
  assert.match(server.log(), /listening on http:/);
  assert.equal((await request(server, 'GET', '/health')).status, 200);
  assert.deepEqual(await server.stop(), { code: 0, signal: null });
});

test('SIGTERM while the model loads: waiting requests are told', { skip: !slowOpen }, async () => {
  const server = await Server.start([], loading);
  const waiting = chat(server, user('early'));
  await until(async () => (await server.health()).status === 'loading', 5000, 'the server');
  await new Promise((r) => setTimeout(r, 100));
  server.child.kill('SIGTERM');
  assert.equal((await waiting).status, 503);
  assert.deepEqual(await server.exited, { code: 0, signal: null });
  assert.ok(!server.log().includes('listening on http:'));
});

test('a model that cannot be loaded: waiting requests are told, exit 1', { skip: !slowOpen }, async () => {
  const path = join(temporaryDirectory(), 'bad.gguf');
  writeFileSync(path, 'GGUF');
  const server = await Server.start([], { ...loading, model: path });
  assert.equal((await chat(server, user('early'))).status, 503);
  assert.deepEqual(await server.exited, { code: 1, signal: null });
});

test('a trace: everything of each request, for its owner only', async () => {
  const path = join(temporaryDirectory(), 'trace');
  writeFileSync(path, 'old', { mode: 0o644 });
  const server = await Server.start(['--trace', path]);
  assert.match(server.log(), /tracing session to /);
  const ask = (rest) => chat(server, user('Tracing "this"', { max_tokens: 6, seed: 3, think: false, ...rest }));
  const answers = await Promise.all([ask({}), ask({ stream: true }), ask({ temperature: 7 }), ask({})]);
  assert.deepEqual(answers.map((a) => a.status), [200, 200, 400, 200]);
  await server.stop();
  assert.equal(statSync(path).mode & 0o777, 0o600);
  const text = readFileSync(path, 'utf8');
  const records = text.split(/\n===== request \d+ [0-9: -]{19} =====\n/);
  assert.equal(records.shift(), '');
  assert.equal(records.length, 4);
  for (const record of records) {
    assert.match(record, /\n===== end request \d =====\n$/);
    assert.match(record, /--- raw request json ---\n\{"messages":\[\{"role":"user","content":"Tracing \\"this\\""\}\]/);
    assert.ok(answers.some((a) => record.includes(`request_id: ${a.headers['x-request-id']}\n`)));
    if (record.includes('--- refused ---')) { assert.match(record, /temperature/); continue; }
    assert.match(record, /kind: chat\n[^]*seed: 3\n/);
    assert.match(record, /--- rendered prompt ---\n[^]*<\uff5cUser\uff5c>Tracing "this"/);
    assert.match(record, /--- cache decision ---\ncache_source: (none|live|rewound|anchor|cloned)\n/);
    const generated = /--- generated text ---\n([^]*)\n\n--- parsed message ---/.exec(record)[1];
    assert.equal(/\ncontent:\n([^]*)\n\n===== end/.exec(record)?.[1] ?? '', generated);
    assert.match(record, /finish: (length|stop)\ngenerated_tokens: \d\n/);
  }
  const closed = run('-m', tinyModel(), '--port', '0', '--trace', '/nonexistent/trace');
  assert.equal(closed.status, 1);
  assert.match(closed.stderr, /failed to open trace file \/nonexistent\/trace: No such file/);
});

test('a lock file: one process at a time', async () => {
  const path = join(temporaryDirectory(), 'lock');
  const first = await Server.start([], { env: { DS4_LOCK_FILE: path } });
  assert.equal(readFileSync(path, 'utf8'), `${first.child.pid}\n`);
  const second = run('-m', tinyModel(), '--port', '0', '--lock-file', path);
  assert.equal(second.status, 2);
  assert.match(second.stderr, new RegExp(`another ds4 process is already running \\(pid ${first.child.pid}\\); refusing to start`));
  await first.stop('SIGKILL');
  const third = await Server.start(['--lock-file', path]);
  assert.deepEqual(await third.stop(), { code: 0, signal: null });
});

test('IPv6', async (t) => {
  let server;
  try { server = await Server.start(['--host', '::1']); } catch (error) {
    if (/Cannot assign|not supported/.test(String(error))) return t.skip('no IPv6 here');
    throw error;
  }
  assert.match(server.log(), /listening on http:\/\/\[::1\]:\d+/);
  await server.stop();
});

test('SIGTERM: answers in progress may end, waiting ones are told, exit 0', async () => {
  const server = await Server.start(['--slots', '1', '--drain', '1', '--ctx', '32768'], { model: endlessModel() });
  const decoding = openChat(server, user('go on', { max_tokens: 30000, stream: true }));
  await until(() => decoding.text().includes('reasoning_content'), 30000, 'tokens');
  const waiting = chat(server, user('x', { max_tokens: 2 }));
  const waitingStream = chat(server, user('x', { max_tokens: 2, stream: true }));
  await until(async () => (await server.health()).queue.waiting === 2, 10000, 'the queue');
  const begin = Date.now();
  server.child.kill('SIGTERM');
  const refused = await waiting;
  assert.equal(refused.status, 503);
  assert.equal(refused.json().error.code, 'shutting_down');
  const ended = (await waitingStream).events().at(-1);
  assert.equal(JSON.parse(ended.data).error.code, 'shutting_down');
  await decoding.closed;
  const last = parseEvents(decoding.text().split('\r\n\r\n')[1]).at(-1);
  assert.equal(JSON.parse(last.data).error.code, 'shutting_down');
  assert.deepEqual(await server.exited, { code: 0, signal: null });
  assert.ok(Date.now() - begin < 5000 * slowdown);
});

test('SIGTERM: a short answer ends by itself', async () => {
  const server = await Server.start(['--drain', '30'], { model: endlessModel() });
  const open = openChat(server, user('go on', { max_tokens: 400, stream: true }));
  await until(() => open.text().includes('reasoning_content'), 30000, 'tokens');
  server.child.kill('SIGTERM');
  await open.closed;
  assert.match(open.text(), /data: \[DONE\]\n\n$/);
  assert.deepEqual(await server.exited, { code: 0, signal: null });
});

test('SIGINT twice: 130 at once', async () => {
  const server = await Server.start(['--drain', '60', '--ctx', '32768'], { model: endlessModel() });
  const open = openChat(server, user('go on', { max_tokens: 30000, stream: true }));
  await until(() => open.text().includes('reasoning_content'), 30000, 'tokens');
  server.child.kill('SIGINT');
  await until(() => server.log().includes('draining'), 5000, 'the drain');
  server.child.kill('SIGINT');
  assert.deepEqual(await server.exited, { code: 130, signal: null });
});

test('the log: one readiness line, one line per event', async () => {
  const server = await Server.start();
  await chat(server, user('x', { max_tokens: 2 }));
  const ready = server.log().split('\n').filter((line) => line.includes('listening on http://'));
  assert.equal(ready.length, 1);
  assert.match(ready[0], new RegExp(`^\\d{4} \\d\\d:\\d\\d:\\d\\d ds4-server: listening on http://127.0.0.1:${server.port}$`));
  assert.match(server.log(), /chat ctx=0\.\.\d+:\d+ prompt start/);
  assert.match(server.log(), /chat ctx=0\.\.\d+:\d+ gen=\d+ finish=(length|stop)/);
  assert.equal((await request(server, 'GET', '/health')).json().status, 'ok');
  await server.stop();
});
