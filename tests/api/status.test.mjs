// What the server tells of itself: /v1/status, /metrics, the log and the ids of requests.
import { test, before, after } from 'node:test';
import assert from 'node:assert/strict';
import { Server, request, chat, user, openChat, until, endlessModel } from './harness.mjs';
import { parsePrometheus } from './prometheus.mjs';

let server;
before(async () => { server = await Server.start(['--slots', '1', '--log-level', 'debug'], { model: endlessModel() }); });
after(async () => { if (server) assert.deepEqual(await server.stop(), { code: 0, signal: null }, server.log()); });

const status = async (s = server) => (await request(s, 'GET', '/v1/status')).json();
const metrics = async (s = server) => parsePrometheus((await request(s, 'GET', '/metrics')).text);
const value = (families, name, labels = {}) => families[name.replace(/_(bucket|count|sum)$/, '')]?.samples
  .find((s) => s.name === name && Object.entries(labels).every(([k, v]) => s.labels[k] === v))?.value
  ?? families[name]?.samples.find((s) => Object.entries(labels).every(([k, v]) => s.labels[k] === v))?.value;

test('/v1/status: every member, in order, with its type', async () => {
  const s = await status();
  assert.deepEqual(Object.keys(s), ['object', 'version', 'state', 'uptime_seconds', 'load', 'model', 'backend', 'memory',
    'sessions', 'requests', 'tokens', 'speed', 'kv_disk', 'steering']);
  assert.equal(s.object, 'ds4.status');
  assert.equal(s.state, 'ready');
  assert.match(s.version, /^\d+\.\d+\.\d+$/);
  assert.equal(s.load.done_bytes, s.load.total_bytes);
  assert.equal(s.model.id, 'deepseek-v4-flash');
  assert.equal(s.model.context, 8192);
  assert.ok(s.model.file_bytes > 10000 && s.model.name.length > 0);
  assert.equal(s.backend, 'cpu');
  const { memory } = s;
  assert.ok(memory.weights_bytes > 0 && memory.scratch_bytes > 0 && memory.sessions_bytes > 0);
  assert.equal(memory.total_bytes, memory.weights_bytes + memory.scratch_bytes + memory.sessions_bytes);
  assert.ok(memory.available_bytes > memory.total_bytes);
  assert.equal(s.requests.queue_limit, 16);
  assert.ok(s.sessions.length > 0 && s.sessions.every((one) => one.tokens === 0 && one.idle_seconds === 0), JSON.stringify(s.sessions));
});

test('/v1/status follows a request; /metrics counts it', async () => {
  const before = [await status(), await metrics()];
  const open = openChat(server, user('go on', { max_tokens: 8000, stream: true }));
  await until(() => open.text().includes('reasoning_content'), 30000, 'tokens');
  const during = await status();
  assert.equal(during.requests.active, 1);
  open.leave();
  await until(async () => (await status()).requests.active === 0, 10000, 'the end');
  const response = await chat(server, user('hello', { max_tokens: 5, think: false }));
  const { usage } = response.json();
  const after = [await status(), await metrics()];
  assert.equal(after[0].requests.completed, before[0].requests.completed + 1);
  assert.equal(after[0].requests.cancelled, before[0].requests.cancelled + 1);
  assert.ok(after[0].tokens.generated >= before[0].tokens.generated + 5);
  assert.ok(after[0].speed.decode_tokens_per_second > 0 && after[0].speed.prefill_tokens_per_second > 0);
  assert.equal(usage.completion_tokens, 5);
  const endpoint = '/v1/chat/completions';
  const difference = (name, labels) => (value(after[1], name, labels) ?? 0) - (value(before[1], name, labels) ?? 0);
  assert.equal(difference('ds4_requests_total', { endpoint, status: '200' }), 1);
  assert.equal(difference('ds4_requests_total', { endpoint, status: '499' }), 1);
  assert.equal(difference('ds4_jobs_total', { outcome: 'completed' }), 1);
  assert.equal(difference('ds4_jobs_total', { outcome: 'cancelled' }), 1);
  assert.equal(difference('ds4_time_to_first_token_seconds_count'), 2);
  for (const name of ['queue_wait', 'prefill', 'decode']) assert.equal(difference(`ds4_${name}_seconds_count`), 2, name);
  assert.ok(difference('ds4_inter_token_seconds_count') >= 4);
  assert.equal(difference('ds4_generated_tokens_total'), after[0].tokens.generated - before[0].tokens.generated);
  assert.equal(value(after[1], 'ds4_state', { state: 'ready' }), 1);
});

test('/metrics has the content type of its format; requests that never were a request are counted', async () => {
  const response = await request(server, 'GET', '/metrics');
  assert.equal(response.headers['content-type'], 'text/plain; version=0.0.4; charset=utf-8');
  await request(server, 'GET', '/nowhere"\\{}');
  await request(server, 'FROB', '/');
  const families = await metrics();
  assert.ok(value(families, 'ds4_requests_total', { endpoint: 'other', status: '404' }) >= 1);
  assert.ok(value(families, 'ds4_requests_total', { endpoint: 'malformed', status: '501' }) >= 1);
});

test('every answer names its request, and the log names it too', async () => {
  const one = await chat(server, user('hi', { max_tokens: 2, think: false }));
  const two = await chat(server, user('hi', { max_tokens: 2, think: false, stream: true }));
  const three = await request(server, 'GET', '/nowhere');
  const ids = [one, two, three].map((r) => r.headers['x-request-id']);
  for (const id of ids) assert.match(id, /^req_[0-9a-f]{16}$/);
  assert.equal(new Set(ids).size, 3);
  await until(() => server.log().includes(ids[2]), 5000, 'the log');
  for (const id of ids.slice(0, 2)) assert.match(server.log(), new RegExp(`finish=\\S+ .*id=${id}\n`));
  assert.match(server.log(), new RegExp(`GET other 404 .*id=${ids[2]}\n`));
});

test('a log of JSON lines; no prompt text in it', async () => {
  const json = await Server.start(['--log-format', 'json', '--log-level', 'debug']);
  const secret = 'Zanzibar';
  const answer = await chat(json, user(secret, { max_tokens: 3, think: false }));
  await chat(json, `{"messages":[{"role":"${secret}"}]}`);
  assert.deepEqual(await json.stop(), { code: 0, signal: null });
  const records = json.log().trim().split('\n').map((line) => JSON.parse(line));
  for (const r of records) {
    assert.match(r.ts, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    assert.ok(['error', 'warning', 'info', 'debug'].includes(r.level));
    assert.equal(r.program, 'ds4-server');
    assert.ok(r.event && typeof r.message === 'string');
  }
  const ofRequest = records.filter((r) => r.request_id === answer.headers['x-request-id']);
  assert.deepEqual(ofRequest.map((r) => r.event).filter((e) => e !== 'debug'), ['cache', 'prefill', 'generation']);
  assert.ok(records.some((r) => r.message.includes('listening on http://')));
  assert.ok(!json.log().includes(secret));
});
