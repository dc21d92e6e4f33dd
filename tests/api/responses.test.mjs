// The Responses API against ds4-nano: the life of a response event by event, calls, stored responses, compaction.
import test, { after, before } from 'node:test';
import assert from 'node:assert/strict';
import { Server, nanoModel, request } from './harness.mjs';

let server;
before(async () => { server = await Server.start([], { model: nanoModel() }); });
after(() => server.stop());

const post = (path, body) => request(server, 'POST', path, body, { 'Content-Type': 'application/json' });
const ask = (body) => post('/v1/responses', { max_output_tokens: 200, seed: 42, ...body });
const WEATHER = { type: 'function', name: 'get_weather', description: 'Get the weather of a city.', strict: false, parameters: {
  type: 'object', required: ['city'], properties: { city: { type: 'string' } } } };
const off = { reasoning: { effort: 'none' } };
const summary = { reasoning: { effort: 'high', summary: 'auto' } };
const textOf = (response) => response.output.filter((i) => i.type === 'message').map((i) => i.content[0].text).join('');

/** Checks the order and numbers of all events and returns the final response. */
function follow(events) {
  let open = null; // the item that is being told
  const done = [];
  let last = null;
  events.forEach(({ event, data }, i) => {
    const json = JSON.parse(data);
    assert.equal(json.type, event);
    assert.equal(json.sequence_number, i);
    assert.equal(last, null, 'nothing behind the end');
    const name = event.replace('response.', '');
    if (i < 2) { assert.equal(name, ['created', 'in_progress'][i]); assert.equal(json.response.status, 'in_progress'); return; }
    if (name === 'output_item.added') {
      assert.equal(open, null, 'one item at a time');
      assert.equal(json.output_index, done.length);
      open = { ...json.item, text: '' };
      return;
    }
    if (/^(completed|incomplete|failed)$/.test(name)) { assert.equal(open, null); last = json.response; return; }
    assert.ok(open, name);
    assert.equal(json.output_index, done.length);
    if (name === 'output_item.done') {
      assert.equal(json.item.id, open.id);
      done.push(json.item);
      open = null;
      return;
    }
    assert.equal(json.item_id, open.id);
    if (name.endsWith('.delta')) open.text += json.delta;
    if (name.endsWith('.done')) assert.equal(json.text ?? json.arguments ?? json.input ?? json.part.text, open.text);
  });
  assert.ok(last, 'a last event');
  assert.deepEqual(last.output, done);
  return last;
}

const ids = /"(id|item_id)":"[^"]*"/g;
const same = (response) => JSON.parse(JSON.stringify({ ...response, created_at: 0, usage: { ...response.usage, input_tokens_details: 0 } }).replace(ids, '"id":""'));

test('a stream adds up to the answer in one piece', async () => {
  for (const body of [{ input: 'What is 23 + 45?', ...off }, { input: 'What is 23 + 45?', ...summary }, { input: 'What is 23 + 45?' },
    { input: 'What is 23 + 45?', include: ['reasoning.encrypted_content'] },
    { input: 'What is the weather in Korvana?', tools: [WEATHER], ...summary },
    { input: 'Hello!', ...off, max_output_tokens: 3 }, { input: 'Hello!', ...summary, max_output_tokens: 3 },
    { input: 'Hello!', ...off, include: ['message.output_text.logprobs'], top_logprobs: 2 }]) {
    const whole = (await ask(body)).json();
    const streamed = follow((await ask({ ...body, stream: true })).events());
    assert.deepEqual(same(streamed), same(whole));
  }
});

test('reasoning is an item of its own, closed before the message', async () => {
  const response = (await ask({ input: 'What is 23 + 45?', ...summary })).json();
  assert.deepEqual(response.output.map((i) => i.type), ['reasoning', 'message']);
  assert.match(response.output[0].summary[0].text, /./);
  assert.ok(response.usage.output_tokens_details.reasoning_tokens > 0);
  const hidden = (await ask({ input: 'What is 23 + 45?' })).json();
  assert.deepEqual(hidden.output.map((i) => i.type), ['message']);
  assert.equal(textOf(hidden), textOf(response));
});

test('a call, its output, the answer: by replay and by previous_response_id', async () => {
  const first = { role: 'user', content: 'What is the weather in Korvana?' };
  for (const extra of [summary, { include: ['reasoning.encrypted_content'] }]) {
    const asked = (await ask({ input: [first], tools: [WEATHER], ...extra })).json();
    const call = asked.output.at(-1);
    assert.equal(call.type, 'function_call');
    assert.equal(call.name, 'get_weather');
    assert.match(call.call_id, /^call_/);
    assert.deepEqual(JSON.parse(call.arguments), { city: 'Korvana' });
    const output = { type: 'function_call_output', call_id: call.call_id, output: '{"temperature": 17, "sky": "fog"}' };
    const replayed = (await ask({ input: [first, ...asked.output, output], tools: [WEATHER], ...extra, store: false })).json();
    const continued = (await ask({ input: [output], previous_response_id: asked.id, tools: [WEATHER], ...extra })).json();
    assert.match(textOf(replayed), /17/);
    assert.equal(textOf(continued), textOf(replayed));
    assert.equal(continued.usage.input_tokens, replayed.usage.input_tokens);
    assert.ok(continued.usage.input_tokens_details.cached_tokens > asked.usage.input_tokens);
    assert.equal(continued.previous_response_id, asked.id);
  }
});

test('stored responses: read, continued, listed, deleted', async () => {
  const get = (path) => request(server, 'GET', `/v1/responses/${path}`);
  const one = (await ask({ input: 'Hello!', instructions: 'Be brief.', metadata: { a: 'b' } })).json();
  assert.deepEqual((await get(one.id)).json(), one);
  const items = (await get(`${one.id}/input_items`)).json();
  assert.deepEqual(items.data, [{ type: 'message', role: 'user', content: 'Hello!' }]);
  const two = (await ask({ input: 'And again.', previous_response_id: one.id })).json();
  assert.equal((await get(`${two.id}/input_items`)).json().data.length, 4, 'user, hidden reasoning, assistant, user');
  const unstored = (await ask({ input: 'Hello!', store: false })).json();
  assert.equal(unstored.store, false);
  assert.equal((await get(unstored.id)).status, 404);
  assert.deepEqual((await request(server, 'DELETE', `/v1/responses/${one.id}`)).json(), { id: one.id, object: 'response', deleted: true });
  for (const path of [one.id, `${one.id}/input_items`]) assert.equal((await get(path)).status, 404);
  assert.equal((await request(server, 'DELETE', `/v1/responses/${one.id}`)).status, 404);
  const lost = await ask({ input: 'x', previous_response_id: one.id });
  assert.equal(lost.status, 404);
  assert.equal(lost.json().error.code, 'previous_response_not_found');
  assert.equal((await ask({ input: 'Go on.', previous_response_id: two.id })).status, 200, 'what it continued is its own copy');
});

test('the store forgets the oldest and never exceeds its budget', async () => {
  const small = await Server.start(['--response-store-mb', '1'], { model: nanoModel() });
  const send = async (text) => (await request(small, 'POST', '/v1/responses', { input: text, max_output_tokens: 1, ...off })).json().id;
  const kept = async (id) => (await request(small, 'GET', `/v1/responses/${id}`)).status === 200;
  const big = 'a '.repeat(3000);
  const first = await send('first');
  assert.ok(await kept(first));
  const metadata = { x: big.repeat(30) };
  const heavy = [];
  for (let i = 0; i < 6; i++)
    heavy.push((await request(small, 'POST', '/v1/responses', { input: 'hi', metadata, max_output_tokens: 1, ...off })).json().id);
  assert.equal(await kept(first), false);
  assert.ok(await kept(heavy.at(-1)));
  await small.stop();
  const none = await Server.start(['--response-store-mb', '0'], { model: nanoModel() });
  const { id } = (await request(none, 'POST', '/v1/responses', { input: 'hi', max_output_tokens: 1, ...off })).json();
  assert.equal((await request(none, 'GET', `/v1/responses/${id}`)).status, 404);
  await none.stop();
});

test('what was thought before is left out when the prompt does not fit with it', async () => {
  const call = [{ type: 'function_call', call_id: 'c1', name: 'get_weather', arguments: '{"city":"Korvana"}' },
    { type: 'function_call_output', call_id: 'c1', output: '{"temperature": 17, "sky": "fog"}' }];
  const first = { role: 'user', content: 'What is the weather in Korvana?' };
  const thought = (n) => ({ type: 'reasoning', summary: [{ type: 'summary_text', text: 'word '.repeat(n) }] });
  const input = async (items) => {
    const response = await ask({ input: [first, ...items, ...call], tools: [WEATHER], ...summary });
    return response.status === 200 ? response.json().usage.input_tokens : response.json().error.code;
  };
  const without = await input([]);
  assert.ok(await input([thought(20)]) > without + 15);
  assert.equal(await input([thought(9000)]), without);
  assert.match(server.log(), /does not fit: \d+ without earlier reasoning id=req_/);
  assert.equal(await input([thought(20), { role: 'user', content: 'word '.repeat(9000) }]), 'context_length_exceeded');
});

test('namespaces, searched tools, free-text tools are functions to the model', async () => {
  const tools = [{ type: 'namespace', name: 'get_', description: 'd', tools: [{ ...WEATHER, name: 'weather' }] },
    { type: 'web_search', external_web_access: true }];
  const asked = (await ask({ input: 'What is the weather in Korvana?', tools, ...summary })).json();
  const call = asked.output.at(-1);
  assert.deepEqual([call.type, call.name, call.namespace], ['function_call', 'weather', 'get_']);
  const output = { type: 'function_call_output', call_id: call.call_id, output: '{"temperature": 17}' };
  const told = (await ask({ input: [output], previous_response_id: asked.id, tools, ...summary })).json();
  assert.match(textOf(told), /17/);
  const custom = (await ask({ input: 'Read notes.txt', tools: [{ type: 'custom', name: 'read', description: 'Read a file.' }], stream: true, ...off }));
  const response = follow(custom.events());
  for (const item of response.output) if (item.type === 'custom_tool_call') assert.equal(typeof item.input, 'string');
});

test('compaction: users and a summary, which a later input goes on from', async () => {
  const input = [{ role: 'user', content: 'What is 23 + 45?' }, { role: 'assistant', content: '23 + 45 = 68' }];
  const compacted = (await post('/v1/responses/compact', { model: 'm', input, ...off, max_output_tokens: 40 })).json();
  assert.equal(compacted.object, 'response.compaction');
  assert.deepEqual(compacted.output.map((i) => i.type), ['message', 'compaction']);
  assert.equal(compacted.output[0].content[0].text, input[0].content);
  assert.ok(compacted.usage.output_tokens > 0);
  const rest = { role: 'user', content: 'Hello!' };
  const next = (await ask({ input: [...compacted.output, rest], ...off })).json();
  const without = (await ask({ input: [compacted.output[0], rest], ...off })).json();
  assert.ok(next.usage.input_tokens > without.usage.input_tokens);
  const foreign = (await ask({ input: [compacted.output[0], { type: 'compaction', encrypted_content: 'gAAAA' }, rest], ...off })).json();
  assert.equal(foreign.usage.input_tokens, without.usage.input_tokens);
});

test('what is refused, and which field is blamed', async () => {
  const wrong = async (body, param, status = 400) => {
    const response = await ask(body);
    assert.equal(response.status, status, response.text);
    const { error } = response.json();
    assert.equal(error.param, param);
    assert.match(error.message, /./);
  };
  const part = (type) => ({ input: [{ role: 'user', content: [{ type, image_url: 'x' }] }] });
  for (const type of ['input_image', 'input_file', 'input_audio']) await wrong(part(type), 'input[0].content[0]');
  await wrong({ input: [] }, 'input');
  await wrong({ input: 5 }, 'input');
  await wrong({ input: ['x'] }, 'input[0]');
  await wrong({ input: [{ role: 'wizard', content: 'x' }] }, 'input[0].role');
  await wrong({ input: [{ role: 'user', content: 5 }] }, 'input[0].content');
  await wrong({ input: [{ type: 'computer_call' }] }, 'input[0].type');
  await wrong({ input: [{ role: 'user', content: 'x', status: 'odd' }] }, 'input[0].status');
  await wrong({ input: [{ role: 'user', content: 'x' }, { role: 'assistant', content: 'y' }] }, 'input');
  await wrong({ input: [{ type: 'function_call', call_id: 'c', arguments: '{}' }] }, 'input[0].name');
  await wrong({ input: 'x', model: 1 }, 'model');
  await wrong({ input: 'x', max_output_tokens: 0 }, 'max_output_tokens');
  await wrong({ input: 'x', temperature: -1 }, 'temperature');
  await wrong({ input: 'x', stream: 'true' }, 'stream');
  await wrong({ input: 'x', reasoning: { effort: 'ultra' } }, 'reasoning.effort');
  await wrong({ input: 'x', tools: [1] }, 'tools[0]');
  await wrong({ input: 'x', tools: [WEATHER, WEATHER] }, 'tools[1]');
  await wrong({ input: 'x', conversation: 'c' }, 'conversation');
  await wrong({ input: 'x', background: true }, 'background');
  await wrong({ input: 'x', prompt: { id: 'p' } }, 'prompt');
  await wrong({ input: 'x', previous_response_id: 'resp_x' }, 'previous_response_id', 404);
  await wrong({ input: 'word '.repeat(20000) }, 'input');
});
