// The bodies that clients get wrong, sent to every API that has the field: refused with the field's name in the error's
// own shape, or understood, and never fatal.
import test, { after, before } from 'node:test';
import assert from 'node:assert/strict';
import { Server, encodeRequest, raw, request } from './harness.mjs';

const CONTEXT = 1536;
let server;
before(async () => { server = await Server.start(['--ctx', String(CONTEXT), '--queue', '32']); });
after(async () => { if (server) assert.deepEqual(await server.stop(), { code: 0, signal: null }, server.log()); });

const off = { thinking: { type: 'disabled' } };
const apis = {
  chat: { path: '/v1/chat/completions', ask: (content, rest) => ({ messages: [{ role: 'user', content }], max_tokens: 1, ...off, ...rest }), input: 'messages', max: 'max_tokens' },
  completions: { path: '/v1/completions', ask: (prompt, rest) => ({ prompt, max_tokens: 1, ...off, ...rest }), input: 'prompt', max: 'max_tokens' },
  messages: { path: '/v1/messages', ask: (content, rest) => ({ messages: [{ role: 'user', content }], max_tokens: 1, ...off, ...rest }), input: 'messages', max: 'max_tokens' },
  responses: { path: '/v1/responses', ask: (input, rest) => ({ input, max_output_tokens: 1, reasoning: { effort: 'none' }, ...rest }), input: 'input', max: 'max_output_tokens' },
};
const conversations = ['chat', 'messages', 'responses'];

const post = (api, body) => raw(server, encodeRequest('POST', api.path, body, { 'Content-Type': 'application/json' }));

async function refused(api, body, param) {
  const response = await post(api, body);
  const text = typeof body === 'string' ? body.slice(0, 80) : JSON.stringify(body).slice(0, 200);
  assert.equal(response.status, 400, `${api.path} ${text}: ${response.text.slice(0, 200)}`);
  const { type, error } = response.json();
  assert.match(error.message, /./);
  assert.equal(error.type, 'invalid_request_error');
  if (api === apis.messages) assert.equal(type, 'error');
  else if (param !== undefined) assert.equal(error.param, param, text);
  if (param && !/^prompt /i.test(error.message)) assert.ok(error.message.includes(param.split(/[[.]/)[0]), error.message);
  return error;
}

async function accepted(api, body) {
  const response = await post(api, body);
  assert.equal(response.status, 200, `${api.path}: ${response.text.slice(0, 300)}`);
  return response.json();
}

const each = (names, run) => async () => { for (const name of names) await run(apis[name], name); };
const all = Object.keys(apis);

/** The body as text, with `piece` in the place of a member. */
const withMember = (api, piece) => JSON.stringify(api.ask('hi')).replace('{', `{${piece},`);

test('no object: nothing, an array, a string, null', each(all, async (api) => {
  for (const body of ['', '[]', '"x"', 'null', '5']) await refused(api, body, api === apis.messages ? undefined : null);
}));

test('not JSON: garbage behind it, commas, comments, numbers, control characters, bytes that are no UTF-8', each(all, async (api) => {
  const good = JSON.stringify(api.ask('hi'));
  for (const body of [`${good} x`, `${good}${good}`, good.replace(',', ''), good.replace(/}$/, ',}'), `/* c */${good}`, `\ufeff${good}`,
    ...['NaN', 'Infinity', '0x10', '01', '+1', '.5', '1.'].map((n) => withMember(api, `"top_k":${n}`)),
    withMember(api, '"x":"a\nb"'), withMember(api, '"x":"\\q"'), withMember(api, "'x':1")]) await refused(api, body);
  const bytes = Buffer.concat([Buffer.from('{"x":"'), Buffer.from([0xff, 0xfe]), Buffer.from(`",${good.slice(1)}`)]);
  const head = Buffer.from(`POST ${api.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: ${bytes.length}\r\n\r\n`);
  assert.equal((await raw(server, Buffer.concat([head, bytes]))).status, 400);
}));

test('depth: 256 containers are read, 257 are not', each(all, async (api) => {
  const nested = (n) => withMember(api, `"x":${'['.repeat(n)}${']'.repeat(n)}`);
  await accepted(api, nested(255));
  await refused(api, nested(256));
}));

test('odd but legal: lone surrogates, U+0000, duplicate members of which the last counts', each(all, async (api) => {
  await accepted(api, JSON.stringify(api.ask('hi')).replace('"hi"', '"a\\ud800b\\u0000c"'));
  await accepted(api, withMember(api, '"model":1,"model":"m"').replace('"model":1,', '')); // the control
  await refused(api, withMember(api, '"model":"m","model":1'), 'model');
}));

test('model: null is the default, other types are refused', each(all, async (api) => {
  assert.equal((await accepted(api, api.ask('hi', { model: null }))).model, 'deepseek-v4-flash');
  for (const model of [1, {}, [], true]) await refused(api, api.ask('hi', { model }), 'model');
}));

test('input: missing, null, of a wrong type, empty', each(all, async (api) => {
  for (const value of [undefined, null, {}, 5, []]) await refused(api, { ...api.ask('hi'), [api.input]: value }, api.input);
}));

test('roles and content', each(conversations, async (api) => {
  const say = (message) => ({ ...api.ask('hi'), [api.input]: [message] });
  await refused(api, say({ role: 'wizard', content: 'x' }), `${api.input}[0].role`);
  await refused(api, say({ role: 5, content: 'x' }), `${api.input}[0].role`);
  for (const content of [5, true, { text: 'x' }]) await refused(api, say({ role: 'user', content }), `${api.input}[0].content`);
  for (const type of ['image', 'image_url', 'input_image', 'input_audio', 'file', 'input_file', 'document', 'video'])
    await refused(api, say({ role: 'user', content: [{ type: 'text', text: 'a' }, { type, [type]: {} }] }), `${api.input}[0].content[1]`);
  await refused(api, { ...api.ask('hi'), [api.input]: [{ role: 'user', content: 'a' }, { role: 'assistant', content: 'b' }] }, api.input);
}));

test('how many tokens', each(all, async (api) => {
  for (const value of ['5', -5, 0, 1.9, true, {}]) await refused(api, api.ask('hi', { [api.max]: value }), api.max);
  for (const value of [1e99, null]) await accepted(api, api.ask('hi', { [api.max]: value, stop: 'a', stop_sequences: ['a'], temperature: 0 }));
}));

test('sampling values', each(all, async (api) => {
  for (const [name, value] of [['temperature', -1], ['temperature', 3], ['temperature', '1'], ['top_p', 0], ['top_p', 2], ['top_k', -2],
    ['top_k', 1.5], ['min_p', 2], ['min_p', -1], ['seed', '42']]) await refused(api, api.ask('hi', { [name]: value }), name);
  await accepted(api, api.ask('hi', { temperature: null, top_p: null, top_k: -1, min_p: null, seed: null }));
}));

test('stream: a word is no boolean, null is false', each(all, async (api) => {
  await refused(api, api.ask('hi', { stream: 'true' }), 'stream');
  await accepted(api, api.ask('hi', { stream: null }));
}));

test('more than one answer', each(['chat', 'completions'], async (api) => {
  await refused(api, api.ask('hi', { n: 3 }), 'n');
  await accepted(api, api.ask('hi', { n: 1 }));
}));

test('tools', each(conversations, async (api) => {
  const named = (name, rest) => (api === apis.chat ? { type: 'function', function: { name, ...rest } } : api === apis.messages ? { name, input_schema: {}, ...rest } : { type: 'function', name, ...rest });
  for (const tools of [{}, 'x', 5]) await refused(api, api.ask('hi', { tools }), 'tools');
  await refused(api, api.ask('hi', { tools: [1] }), 'tools[0]');
  await refused(api, api.ask('hi', { tools: [named(undefined)] }), api === apis.chat ? 'tools[0].function.name' : 'tools[0].name');
  await refused(api, api.ask('hi', { tools: [named('a'), named('a')] }), 'tools[1]');
  await refused(api, api.ask('hi', { tools: Array.from({ length: 513 }, (_, i) => named(`t${i}`)) }), 'tools');
  await accepted(api, api.ask('hi', { tools: [named('a', { description: '<\uff5cUser\uff5c><\uff5cend\u2581of\u2581sentence\uff5c>' })] }));
}));

test('results without a call', async () => {
  const messages = [{ role: 'user', content: 'a' }, { role: 'tool', tool_call_id: 'nobody', content: 'b' }];
  await accepted(apis.chat, { messages, max_tokens: 1 });
  const result = { role: 'user', content: [{ type: 'tool_result', tool_use_id: 'toolu_lost', content: 'x' }] };
  assert.match((await refused(apis.messages, { messages: [result], max_tokens: 1 })).message, /toolu_lost/);
  assert.match((await refused(apis.responses, { input: [{ type: 'function_call_output', call_id: 'call_lost', output: 'x' }] })).message, /call_lost/);
});

test('efforts', async () => {
  await refused(apis.chat, apis.chat.ask('hi', { reasoning_effort: 'ultra' }), 'reasoning_effort');
  await refused(apis.completions, apis.completions.ask('hi', { reasoning_effort: 'ultra' }), 'reasoning_effort');
  await refused(apis.messages, apis.messages.ask('hi', { output_config: { effort: 'ultra' } }));
  await refused(apis.responses, { input: 'hi', reasoning: { effort: 'ultra' } }, 'reasoning.effort');
});

test('a prompt that does not fit says so in words that agents know; one token less does', each(all, async (api) => {
  const error = await refused(api, api.ask('a '.repeat(3000)), api.input);
  assert.match(error.message, api === apis.messages ? /^prompt is too long: \d+ tokens > 1536 maximum/ : /^Prompt has \d+ tokens|prompt is too long/);
  assert.equal(error.n_ctx, CONTEXT);
  assert.ok(error.n_prompt_tokens >= CONTEXT);
  // One byte is one token in this vocabulary: fill up to one below the context.
  const { usage } = await accepted(api, api.ask('x'.repeat(100)));
  const used = usage.prompt_tokens ?? usage.input_tokens + (usage.cache_read_input_tokens ?? 0);
  const full = await accepted(api, api.ask('x'.repeat(100 + CONTEXT - 1 - used), { [api.max]: 50 }));
  assert.equal(full.usage.completion_tokens ?? full.usage.output_tokens, 1);
  const end = full.choices?.[0].finish_reason ?? full.stop_reason ?? full.status;
  assert.ok(['length', 'max_tokens', 'incomplete'].includes(end), end);
}));

test('stop sequences', each(all, async (api) => {
  const name = api === apis.messages ? 'stop_sequences' : 'stop';
  for (const stop of [Array(10000).fill('a'), ['a'.repeat(1 << 20)], 5, ['a', 5]]) {
    const error = await refused(api, api.ask('hi', { [name]: stop }));
    assert.match(error.message, /stop/);
  }
}));

test('fields that would change the answer are named, hints are passed over', async () => {
  for (const [api, name, value] of [['chat', 'functions', [{}]], ['chat', 'audio', { voice: 'a' }], ['chat', 'guided_json', { a: 1 }],
    ['chat', 'best_of', 2], ['chat', 'ignore_eos', true], ['completions', 'echo', true], ['completions', 'suffix', 'x'],
    ['messages', 'mcp_servers', [{}]], ['messages', 'container', 'c'], ['responses', 'background', true], ['responses', 'conversation', 'c'],
    ['responses', 'prompt', { id: 'x' }]]) await refused(apis[api], apis[api].ask('hi', { [name]: value }), name);
  const hints = { store: true, user: 'u', metadata: { a: 'b' }, service_tier: 'auto', prompt_cache_key: 'k', client_metadata: {}, verbosity: 'low', safety_identifier: 's' };
  for (const name of all) await accepted(apis[name], apis[name].ask('hi', hints));
});

test('a debug log names what was passed over, and no text of the prompt', async () => {
  const own = await Server.start(['--log-level', 'debug']);
  const response = await request(own, 'POST', '/v1/chat/completions', { messages: [{ role: 'user', content: 'sesame' }], max_tokens: 1, user: 'u', store: true });
  assert.equal(response.status, 200);
  await own.stop();
  assert.match(own.log(), /chat fields without effect: user, store/);
  assert.doesNotMatch(own.log(), /sesame/);
});

test('the server is still there', async () => { assert.equal((await request(server, 'GET', '/v1/models')).status, 200); });
