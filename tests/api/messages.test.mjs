// Anthropic Messages against ds4-nano: what streams add up to, how answers end, what is refused and in which shape.
import test, { after, before } from 'node:test';
import assert from 'node:assert/strict';
import { Server, nanoModel, request } from './harness.mjs';

let server;
before(async () => { server = await Server.start([], { model: nanoModel() }); });
after(() => server.stop());

const post = (path, body) => request(server, 'POST', path, body, { 'Content-Type': 'application/json' });
const ask = (body) => post('/v1/messages?beta=true', { max_tokens: 200, seed: 42, ...body });
const WEATHER = { name: 'get_weather', description: 'Get the weather of a city.', input_schema: {
  type: 'object', required: ['city'], properties: { city: { type: 'string' } } } };
const off = { thinking: { type: 'disabled' } };
const user = (content) => ({ messages: [{ role: 'user', content }] });

/** The message that a stream adds up to; every block is opened, filled and closed in order. */
function assemble(events) {
  let message;
  let open = null;
  let ended = false;
  for (const { event, data } of events) {
    const json = JSON.parse(data);
    assert.equal(json.type, event);
    assert.equal(ended, false, 'nothing behind message_stop');
    if (event === 'message_start') { message = json.message; continue; }
    if (event === 'ping') continue;
    if (event === 'message_stop') { ended = true; continue; }
    if (event === 'message_delta') {
      assert.equal(open, null);
      Object.assign(message, json.delta, { usage: json.usage });
    } else if (event === 'content_block_start') {
      assert.equal(open, null);
      assert.equal(json.index, message.content.length);
      open = { ...json.content_block };
      if (open.type === 'tool_use') open.input = '';
      message.content.push(open);
    } else if (event === 'content_block_delta') {
      assert.equal(json.index, message.content.length - 1);
      const { type, ...delta } = json.delta;
      if (type === 'input_json_delta') open.input += delta.partial_json;
      else for (const [key, value] of Object.entries(delta)) open[key] += value;
    } else {
      assert.equal(event, 'content_block_stop');
      if (open.type === 'tool_use') open.input = JSON.parse(open.input);
      open = null;
    }
  }
  assert.ok(ended, 'message_stop');
  return message;
}

const same = (message) => ({ ...message, id: '', usage: { ...message.usage, input_tokens: 0, cache_read_input_tokens: 0 } });

test('a stream adds up to the answer in one piece: thinking, text, calls', async () => {
  for (const body of [user('What is 23 + 45?'), { ...user('What is 23 + 45?'), ...off },
    { ...user('What is the weather in Korvana?'), tools: [WEATHER] }, { ...user('Hello!'), max_tokens: 3 }]) {
    const whole = (await ask(body)).json();
    const streamed = assemble((await ask({ ...body, stream: true })).events());
    assert.deepEqual(same(streamed), same(whole));
    const { input_tokens: input, cache_read_input_tokens: cached } = streamed.usage;
    assert.equal(input + cached, whole.usage.input_tokens + whole.usage.cache_read_input_tokens);
    for (const block of whole.content) if (block.type === 'thinking') assert.match(block.signature, /^ds4-[0-9a-f]{32}$/);
  }
});

test('thinking, tools, results: a conversation', async () => {
  const messages = [{ role: 'user', content: 'What is the weather in Korvana?' }];
  const asked = (await ask({ messages, tools: [WEATHER] })).json();
  assert.equal(asked.stop_reason, 'tool_use');
  const call = asked.content.find((b) => b.type === 'tool_use');
  assert.equal(call.name, 'get_weather');
  assert.match(call.id, /^toolu_/);
  assert.deepEqual(call.input, { city: 'Korvana' });
  messages.push({ role: 'assistant', content: asked.content },
    { role: 'user', content: [{ type: 'tool_result', tool_use_id: call.id, is_error: false,
      content: [{ type: 'text', text: '{"temperature": 17, "sky": "fog"}' }], cache_control: { type: 'ephemeral' } }] });
  const told = (await ask({ messages, tools: [WEATHER] })).json();
  assert.equal(told.stop_reason, 'end_turn');
  assert.match(told.content.at(-1).text, /17/);
  assert.ok(told.usage.cache_read_input_tokens > 0);
});

test('how answers end', async () => {
  const cut = (await ask({ ...user('Tell me a story about a lamp.'), ...off, max_tokens: 4 })).json();
  assert.equal(cut.stop_reason, 'max_tokens');
  assert.equal(cut.usage.output_tokens, 4);
  const stopped = (await ask({ ...user('What is 23 + 45?'), ...off, stop_sequences: ['zzz', ' = '] })).json();
  assert.equal(stopped.stop_reason, 'stop_sequence');
  assert.equal(stopped.stop_sequence, ' = ');
  assert.equal(stopped.content[0].text, '23 + 45');
});

test('a thinking budget ends the thinking', async () => {
  const body = { ...user('What is 23 + 45?'), max_tokens: 60 };
  const free = (await ask(body)).json();
  const bound = (await ask({ ...body, thinking: { type: 'enabled', budget_tokens: 2 } })).json();
  assert.ok(bound.content[0].thinking.length < free.content[0].thinking.length);
  assert.ok(free.content[0].thinking.startsWith(bound.content[0].thinking));
  assert.equal(bound.content[1].type, 'text');
});

test('tokens are counted as a request would be', async () => {
  const body = { ...user('What is the weather in Korvana?'), tools: [WEATHER], system: 'Be brief.' };
  const counted = await Promise.all(Array.from({ length: 25 }, () => post('/v1/messages/count_tokens?beta=true', body)));
  const { usage } = (await ask(body)).json();
  for (const response of counted)
    assert.deepEqual(response.json(), { input_tokens: usage.input_tokens + usage.cache_read_input_tokens });
  const long = (await post('/v1/messages/count_tokens', user('word '.repeat(20000)))).json();
  assert.ok(long.input_tokens > 8192);
});

test('what does not belong into the prompt is left out of it', async () => {
  const count = async (body) => (await post('/v1/messages/count_tokens', body)).json().input_tokens;
  const plain = { ...user('Hi'), system: 'Be brief.', tools: [WEATHER] };
  const marked = {
    messages: [{ role: 'user', content: [{ type: 'text', text: 'Hi', cache_control: { type: 'ephemeral' } }] }],
    system: [{ type: 'text', text: 'x-anthropic-billing-header: a' }, { type: 'text', text: 'Be brief.', cache_control: {} }],
    tools: [{ ...WEATHER, cache_control: { type: 'ephemeral' } },
      { name: 'Later', defer_loading: true, input_schema: {} }, { type: 'web_search_20250305', name: 'web_search' }],
    metadata: { user_id: 'x' },
  };
  assert.equal(await count(marked), await count(plain));
  assert.ok(await count({ ...plain, tools: [WEATHER, { name: 'Later', input_schema: {} }] }) > await count(plain));
});

test('errors have the shape of this API, wherever they come from', async () => {
  const wrong = async (body, status, pattern) => {
    const response = await ask(body);
    assert.equal(response.status, status, response.text);
    const json = response.json();
    assert.equal(json.type, 'error');
    assert.match(json.error.message, pattern);
    return json.error.type;
  };
  const part = (type) => user([{ type, source: {} }]);
  for (const type of ['image', 'document', 'audio', 'search_result']) await wrong(part(type), 400, /unsupported content type/);
  await wrong({ messages: [{ role: 'user', content: 5 }] }, 400, /messages\[0\]\.content/);
  await wrong({ messages: [{ role: 'wizard', content: 'x' }] }, 400, /messages\[0\]\.role/);
  await wrong({ messages: [{ role: 'user', content: 'a' }, { role: 'assistant', content: 'b' }] }, 400, /last turn/);
  await wrong({ messages: [] }, 400, /empty/);
  await wrong({ ...user('x'), model: 1 }, 400, /model/);
  await wrong({ ...user('x'), max_tokens: 0 }, 400, /max_tokens/);
  await wrong({ ...user('x'), temperature: 3 }, 400, /temperature/);
  await wrong({ ...user('x'), stream: 'true' }, 400, /stream/);
  await wrong({ ...user('x'), tools: [1] }, 400, /tools\[0\]/);
  await wrong({ ...user('x'), tools: [WEATHER, WEATHER] }, 400, /tools\[1\]/);
  await wrong({ ...user('x'), tools: [{}] }, 400, /tools\[0\]\.name/);
  await wrong({ ...user('x'), tool_choice: 'auto' }, 400, /tool_choice/);
  await wrong({ ...user('x'), output_config: { effort: 'ultra' } }, 400, /output_config\.effort/);
  await wrong({ ...user('x'), mcp_servers: [{ name: 'a' }] }, 400, /mcp_servers/);
  await wrong({ ...user('x'), stop_sequences: Array(10000).fill('a') }, 400, /stop_sequences/);
  await wrong({ messages: [{ role: 'user', content: [{ type: 'tool_use', id: 'a', name: 'b', input: {} }] }] }, 400, /assistant/);
  await wrong({ messages: [{ role: 'assistant', content: [{ type: 'tool_use', id: 'a', name: 'b', input: '{}' }] }] }, 400, /input/);
  assert.equal(await wrong(user('word '.repeat(20000)), 400, /^prompt is too long: \d+ tokens > 8192 maximum$/), 'invalid_request_error');
  const get = await request(server, 'GET', '/v1/messages');
  assert.equal(get.status, 405);
  assert.equal(get.json().type, 'error');
  assert.equal((await request(server, 'HEAD', '/api/hello')).status, 200);
});
