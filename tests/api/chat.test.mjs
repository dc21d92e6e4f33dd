// Chat completions: reproducible, concurrent, cancelled, slow, too long.
import { test, before, after } from 'node:test';
import assert from 'node:assert/strict';
import net from 'node:net';
import { Server as Any, chat, user, openChat, until, encodeRequest, chatPath, endlessModel, slowdown } from './harness.mjs';

// Answers that end by themselves would make the length of everything here a matter of luck.
const Server = { start: (args) => Any.start(args, { model: endlessModel() }) };

let server;
before(async () => { server = await Server.start(['--ctx', '32768', '--queue', '64', '--max-connections', '128']); });
after(async () => { if (server) assert.deepEqual(await server.stop(), { code: 0, signal: null }, server.log()); });

const words = (n) => Array.from({ length: n }, (_, i) => `word${i % 97}`).join(' ');
const idle = () => until(async () => (await server.health()).slots.busy === 0, 60000, 'idle slots');

/** What a stream adds up to. */
function assemble(events) {
  const message = { content: '', reasoning: '', calls: [], finish: null, usage: null, error: null, done: false };
  for (const { data } of events) {
    assert.equal(message.done, false, 'an event behind [DONE]');
    if (data === '[DONE]') { message.done = true; continue; }
    const chunk = JSON.parse(data);
    if (chunk.error) { message.error = chunk.error; continue; }
    assert.equal(chunk.object, 'chat.completion.chunk');
    if (chunk.usage) { message.usage = chunk.usage; assert.deepEqual(chunk.choices, []); continue; }
    const [{ delta, finish_reason: finish }] = chunk.choices;
    message.content += delta.content ?? '';
    message.reasoning += delta.reasoning_content ?? '';
    for (const call of delta.tool_calls ?? []) {
      message.calls[call.index] ??= { id: '', name: '', arguments: '' };
      if (call.id) message.calls[call.index].id = call.id;
      message.calls[call.index].name += call.function.name ?? '';
      message.calls[call.index].arguments += call.function.arguments ?? '';
    }
    if (finish) message.finish = finish;
  }
  return message;
}

const spoken = (response) => {
  const json = response.json();
  return { message: json.choices[0].message, finish: json.choices[0].finish_reason, tokens: json.usage.completion_tokens };
};

test('the same seed gives the same answer: again, streamed, and in company', async () => {
  const body = (seed, rest) => user('Tell me a story.', { seed, max_tokens: 40, ...rest });
  const first = spoken(await chat(server, body(42)));
  assert.equal(first.tokens, 40);
  assert.deepEqual(spoken(await chat(server, body(42))), first);
  assert.notDeepEqual(spoken(await chat(server, body(43))), first);
  const streamed = assemble((await chat(server, body(42, { stream: true }))).events());
  assert.equal(streamed.content, first.message.content);
  assert.equal(streamed.reasoning, first.message.reasoning_content ?? '');
  assert.equal(streamed.finish, first.finish);
  // Now beside others, which start and end at all times.
  const company = Array.from({ length: 8 }, (_, i) => chat(server, user(words(5 + 10 * i), { seed: i + 1, max_tokens: 5 + 5 * i })));
  const again = await Promise.all([chat(server, body(42)), chat(server, body(42))]);
  for (const response of again) assert.deepEqual(spoken(response), first);
  for (const response of await Promise.all(company)) assert.equal(response.status, 200);
});

test('no seed: answers differ, temperature 0: they do not', async () => {
  const run = async (rest) => spoken(await chat(server, user('x', { max_tokens: 40, ...rest })));
  assert.notDeepEqual(await run({}), await run({}));
  for (const rest of [{ think: false }, {}])
    assert.deepEqual(await run({ temperature: 0, ...rest }), await run({ temperature: 0, ...rest }));
});

test('a stream: role first, finish, usage, [DONE]', async () => {
  const response = await chat(server, user('Hi', { stream: true, stream_options: { include_usage: true }, max_tokens: 8 }));
  assert.equal(response.headers['content-type'], 'text/event-stream');
  assert.equal(response.headers['cache-control'], 'no-cache');
  const events = response.events();
  assert.deepEqual(JSON.parse(events[0].data).choices[0].delta, { role: 'assistant' });
  assert.equal(events.at(-1).data, '[DONE]');
  const ids = new Set(events.slice(0, -1).map(({ data }) => { const j = JSON.parse(data); return `${j.id} ${j.created}`; }));
  assert.equal(ids.size, 1);
  const { usage, finish } = assemble(events);
  assert.ok(['length', 'stop'].includes(finish));
  assert.equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
  assert.ok(usage.completion_tokens <= 8);
  assert.equal(usage.prompt_tokens_details.cached_tokens + usage.prompt_tokens_details.cache_write_tokens, usage.prompt_tokens);
  const without = await chat(server, user('Hi', { stream: true, max_tokens: 2 }));
  assert.ok(!without.text.includes('"usage"'));
});

test('thinking is reasoning_content, also when it never ends', async () => {
  const { choices, usage } = (await chat(server, user('Hi', { max_tokens: 12, seed: 5 }))).json();
  assert.equal(choices[0].finish_reason, 'length');
  assert.ok(choices[0].message.reasoning_content.length > 0);
  assert.equal(choices[0].message.content, '');
  assert.equal(usage.completion_tokens_details.reasoning_tokens, 12);
  const off = (await chat(server, user('Hi', { max_tokens: 12, seed: 5, think: false }))).json();
  assert.equal(off.choices[0].message.reasoning_content, undefined);
  assert.equal(off.usage.completion_tokens_details.reasoning_tokens, 0);
});

test('a stop string ends the answer before it', async () => {
  const body = user('Count.', { seed: 7, max_tokens: 60, think: false });
  const whole = (await chat(server, body)).json().choices[0].message.content;
  const [stop] = /[!-~]{2}/.exec(whole.slice(4)); // bytes that are no text are shown as U+FFFD and match nothing
  const at = whole.indexOf(stop);
  const cut = (await chat(server, { ...body, stop })).json().choices[0];
  assert.equal(cut.message.content, whole.slice(0, at));
  assert.equal(cut.finish_reason, 'stop');
});

test('the conversation is continued, not read again', async () => {
  await idle();
  const first = user(words(200), { seed: 3, max_tokens: 16, think: false });
  const answer = (await chat(server, first)).json();
  const next = { ...first, messages: [...first.messages, answer.choices[0].message, { role: 'user', content: 'And then?' }] };
  const { usage } = (await chat(server, next)).json();
  const cached = usage.prompt_tokens_details.cached_tokens;
  assert.ok(cached >= answer.usage.prompt_tokens - 1, `${cached} of ${answer.usage.prompt_tokens} reused`);
  // The same question to a server that has never seen it gives the same answer.
  const fresh = await Server.start(['--ctx', '32768']);
  assert.deepEqual(spoken(await chat(fresh, next)), spoken(await chat(server, next)));
  await fresh.stop();
});

test('64 requests at once', async () => {
  const all = await Promise.all(Array.from({ length: 64 }, (_, i) => chat(server, user(`n ${i % 8}`, { seed: 1 + (i % 8), max_tokens: 4, stream: i % 2 === 1 }))));
  const answers = new Map();
  all.forEach((response, i) => {
    assert.equal(response.status, 200);
    const text = i % 2 ? (({ content, reasoning }) => reasoning + content)(assemble(response.events()))
      : (({ content, reasoning_content: r }) => (r ?? '') + content)(response.json().choices[0].message);
    const key = i % 8;
    if (answers.has(key)) assert.equal(text, answers.get(key));
    answers.set(key, text);
  });
});

test('a full queue: 429 and Retry-After', async () => {
  const small = await Server.start(['--slots', '1', '--queue', '1', '--ctx', '32768']);
  const running = openChat(small, user('go on', { max_tokens: 20000, stream: true }));
  await until(() => running.text().includes('reasoning_content'), 30000, 'tokens');
  const waiting = chat(small, user('later', { max_tokens: 2 }));
  await until(async () => (await small.health()).queue.waiting === 1, 10000, 'the queue');
  for (const stream of [false, true]) {
    const response = await chat(small, user('too late', { max_tokens: 2, stream }));
    assert.equal(response.status, 429);
    assert.ok(Number(response.headers['retry-after']) > 0);
    assert.equal(response.json().error.code, 'queue_full');
  }
  running.leave();
  assert.equal((await waiting).status, 200);
  assert.deepEqual(await small.stop(), { code: 0, signal: null });
});

test('too long for the context', async () => {
  const response = await chat(server, user('x '.repeat(70000)));
  assert.equal(response.status, 400);
  const { error } = response.json();
  assert.match(error.message, /^Prompt has \d+ tokens, but the configured context size is 32768 tokens$/);
  assert.equal(error.code, 'context_length_exceeded');
  assert.equal(error.param, 'messages');
  assert.equal(error.n_ctx, 32768);
  assert.ok(error.n_prompt_tokens >= 32768);
});

test('a prompt that leaves one token', async () => {
  const small = await Server.start(['--ctx', '64']);
  const prompt = (n) => chat(small, user('x'.repeat(n), { think: false, max_tokens: 100 }));
  const { usage } = (await prompt(10)).json(); // one byte is one token
  assert.equal(usage.prompt_tokens + usage.completion_tokens, 64);
  const most = 10 + 63 - usage.prompt_tokens;
  for (const [n, left] of [[most - 1, 2], [most, 1]]) {
    const response = await prompt(n);
    assert.deepEqual([response.json().usage.prompt_tokens, response.json().usage.completion_tokens], [64 - left, left]);
    assert.equal(response.json().choices[0].finish_reason, 'length');
  }
  assert.equal((await prompt(most + 1)).status, 400);
  await small.stop();
});

for (const stream of [false, true]) {
  test(`a client that leaves while its prompt is read (stream ${stream})`, async () => {
    await idle();
    const before = await server.health();
    const long = openChat(server, user(words(4000), { max_tokens: 5, stream }));
    await until(async () => (await server.health()).tokens.prompt > before.tokens.prompt, 30000, 'the first chunk');
    const seen = (await server.health()).tokens.prompt;
    long.leave();
    await idle();
    const after = await server.health();
    assert.equal(after.jobs.cancelled, before.jobs.cancelled + 1);
    // What was being computed when it left, and one step that may have begun before the server heard of it.
    assert.ok(after.tokens.prompt - seen <= 2 * 512, `${after.tokens.prompt - seen} tokens read for nobody`);
    assert.ok(after.tokens.prompt - before.tokens.prompt < 20000);
    const begin = Date.now();
    assert.equal((await chat(server, user('next', { max_tokens: 1 }))).status, 200);
    assert.ok(Date.now() - begin < 3000 * slowdown, 'the next request was delayed');
  });
}

test('a client that leaves while waiting, and one that leaves while decoding', async () => {
  const small = await Server.start(['--slots', '1', '--ctx', '32768']);
  const before = await small.health();
  const running = openChat(small, user('go on', { max_tokens: 20000, stream: true }));
  await until(() => running.text().includes('reasoning_content'), 30000, 'tokens');
  const waiting = openChat(small, user('later', { max_tokens: 5 }));
  await until(async () => (await small.health()).queue.waiting === 1, 10000, 'the queue');
  waiting.leave();
  await until(async () => (await small.health()).jobs.cancelled === before.jobs.cancelled + 1, 10000, 'the cancellation');
  running.leave();
  await until(async () => (await small.health()).slots.busy === 0, 10000, 'an idle slot');
  const silent = openChat(small, user('go on', { max_tokens: 20000 })); // not a stream: only the socket tells
  await until(async () => (await small.health()).slots.busy === 1, 10000, 'a busy slot');
  silent.leave();
  await until(async () => (await small.health()).slots.busy === 0, 10000, 'an idle slot');
  assert.equal((await small.health()).jobs.cancelled, before.jobs.cancelled + 3);
  await small.stop();
});

test('streams stay alive while they wait', async () => {
  const small = await Server.start(['--slots', '1', '--keepalive', '1', '--ctx', '32768']);
  const first = openChat(small, user('go on', { max_tokens: 20000, stream: true }));
  await until(() => first.text().includes('reasoning_content'), 30000, 'tokens');
  const second = openChat(small, user('later', { max_tokens: 2, stream: true }));
  await until(() => second.text().includes(': keepalive\n\n'), 10000, 'a keepalive comment');
  assert.match(second.text(), /^HTTP\/1.1 200 OK\r\n/);
  first.leave();
  await second.closed;
  assert.match(second.text(), /data: \[DONE\]\n\n$/);
  await small.stop();
});

// It takes thousands of tokens to fill the socket's buffers: minutes under the thread sanitizer, whose share of this
// (the reply's lock) test_http_reply covers.
const tooSlow = slowdown > 20 && 'the thread sanitizer is too slow to fill the buffers';

test('a slow reader pauses only itself', { skip: tooSlow }, async () => {
  const small = await Server.start(['--ctx', '32768', '--output-kb', '16']);
  const generated = async () => (await small.health()).tokens.generated;
  const socket = net.connect({ port: small.port, host: '127.0.0.1' });
  socket.on('error', () => {});
  socket.pause();
  // The model's name is in every chunk: a long one fills the buffers sooner.
  socket.write(encodeRequest('POST', chatPath, user('go on', { model: 'm'.repeat(250), max_tokens: 20000, stream: true, seed: 1 })));
  let last = -1;
  let same = 0;
  await until(async () => {
    const now = await generated();
    same = now === last ? same + 1 : 0;
    last = now;
    await new Promise((r) => setTimeout(r, 150));
    return same >= 5;
  }, 60000, 'the stream to pause');
  assert.ok(last > 100 && last < 15000, `paused at ${last}`);
  assert.equal((await small.health()).slots.busy, 1);
  const begin = Date.now();
  assert.equal((await chat(small, user('quick', { max_tokens: 4 }))).status, 200);
  assert.ok(Date.now() - begin < 3000 * slowdown);
  assert.equal(await generated(), last + 4);
  socket.resume(); // it reads after all: the stream goes on
  await until(async () => (await generated()) > last + 100, 30000, 'the stream to go on');
  socket.destroy();
  await until(async () => (await small.health()).slots.busy === 0, 10000, 'an idle slot');
  await small.stop();
});

test('a client that never reads is given up, and others go on', { skip: tooSlow }, async () => {
  const small = await Server.start(['--ctx', '32768', '--output-kb', '16', '--write-timeout', '1']);
  const socket = net.connect({ port: small.port, host: '127.0.0.1' });
  socket.on('error', () => {});
  socket.pause();
  socket.write(encodeRequest('POST', chatPath, user('go on', { model: 'm'.repeat(250), max_tokens: 30000, stream: true, seed: 1 })));
  await until(async () => (await small.health()).slots.busy === 1, 10000, 'the stream');
  assert.equal((await chat(small, user('quick', { max_tokens: 4 }))).status, 200);
  await until(async () => (await small.health()).jobs.cancelled === 1, 60000, 'its end');
  const { slots, tokens } = await small.health();
  assert.equal(slots.busy, 0);
  assert.ok(tokens.generated < 15000, `${tokens.generated} tokens for nobody`);
  socket.destroy();
  assert.deepEqual(await small.stop(), { code: 0, signal: null });
});
