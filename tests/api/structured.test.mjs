// Structured output through every protocol: what was asked for comes, whatever the sampler does; what cannot be enforced
// is refused with its path. The tiny model has random weights: it knows nothing of JSON, so only the masks can be right.
import test, { after, before } from 'node:test';
import assert from 'node:assert/strict';
import Ajv from 'ajv/dist/2020.js';
import { Server, chat, chatPath, nanoModel, request, slowdown, tinyModel, tokensOf, user } from './harness.mjs';

let nano, tiny, unguided;
/** Biases that make models without sense come to an end: strings and objects close. */
const brief = new Map();
before(async () => {
  nano = await Server.start([], { model: nanoModel() });
  tiny = await Server.start([], { model: tinyModel() });
  for (const [server, model] of [[nano, nanoModel()], [tiny, tinyModel()]]) {
    const tokens = tokensOf(model);
    brief.set(server, Object.fromEntries(['"', '}'].map((text) => [tokens.indexOf(text), 12])));
  }
  unguided = await Server.start(['--no-tool-guidance'], { model: nanoModel() });
});
after(() => Promise.all([nano.stop(), tiny.stop(), unguided.stop()]));

const ajv = new Ajv.default({ strict: false, logger: false });
/** One seed is enough for a sanitizer. */
const seeds = (n) => Array.from({ length: slowdown > 1 ? 1 : n }, (_, i) => i + 1);
const WILD = { temperature: 2, top_p: 1, min_p: 0 };
const OFF = { thinking: { type: 'disabled' } };

const PLACE = { type: 'object', required: ['zip'], additionalProperties: false,
  properties: { zip: { type: 'string', pattern: '^[0-9]{5}$' }, since: { type: 'string', format: 'date' } } };
const PERSON = { type: 'object', additionalProperties: false, required: ['name', 'age', 'address', 'tags'], properties: {
  name: { type: 'string', minLength: 1, maxLength: 12 }, age: { type: 'integer', minimum: 0, maximum: 150 },
  address: { $ref: '#/$defs/address' }, nick: { type: ['string', 'null'], maxLength: 8 },
  tags: { type: 'array', items: { enum: ['red', 'green', 'blue'] }, maxItems: 3 } },
$defs: { address: PLACE } };
const format = (schema) => ({ type: 'json_schema', json_schema: { name: 'answer', strict: true, schema } });

const TOOLS = { book: { type: 'object', required: ['city', 'nights'], properties: {
  city: { type: 'string', maxLength: 20 }, nights: { type: 'integer', minimum: 1, maximum: 30 },
  room: { type: 'string', enum: ['single', 'double'] },
  guests: { type: 'array', minItems: 1, maxItems: 2, items: { type: 'object', required: ['name'], additionalProperties: false,
    properties: { name: { type: 'string', maxLength: 10 }, vip: { type: 'boolean' } } } } } },
now: { type: 'object', properties: {}, additionalProperties: false } };
const tools = Object.entries(TOOLS).map(([name, parameters]) => ({ type: 'function', function: { name, parameters } }));

const valid = (schema, value) => { const check = ajv.compile(schema); assert.ok(check(value), `${JSON.stringify(value)}: ${ajv.errorsText(check.errors)}`); };
async function choice(server, body) {
  const reply = await chat(server, { max_tokens: 900, ...body });
  assert.equal(reply.status, 200, reply.text);
  return reply.json().choices[0];
}
function check(calls) {
  assert.ok(calls.length > 0);
  for (const { name, input } of calls) {
    assert.ok(name in TOOLS, name);
    valid({ ...TOOLS[name], additionalProperties: false }, input);
  }
}
const parsed = (message) => (message.tool_calls ?? []).map(({ function: f }) => ({ name: f.name, input: JSON.parse(f.arguments) }));

test('json_object: an object, also from a model that knows no JSON', async () => {
  for (const [server, settings] of [[nano, {}], [nano, WILD], [tiny, WILD]]) {
    for (const seed of seeds(3)) {
      const answer = await choice(server, user('Answer in JSON.', { response_format: { type: 'json_object' }, seed, max_tokens: 200,
        logit_bias: brief.get(server), ...OFF, ...settings }));
      assert.equal(answer.finish_reason, 'stop');
      assert.equal(Object.prototype.toString.call(JSON.parse(answer.message.content)), '[object Object]');
    }
  }
});

test('json_schema: nested, with references, limits and patterns', async () => {
  for (const [server, settings, n] of [[nano, { temperature: 0 }, 1], [nano, WILD, 2], [tiny, WILD, 2], [tiny, { temperature: 0 }, 1]]) {
    for (const seed of seeds(n)) {
      const answer = await choice(server, user('Who?', { response_format: format(PERSON), seed, ...OFF, ...settings }));
      assert.equal(answer.finish_reason, 'stop', answer.message.content);
      valid(PERSON, JSON.parse(answer.message.content));
    }
  }
});

test('thinking is free, then the format holds', async () => {
  const answer = await choice(nano, user('Who are you?', { response_format: format(PERSON), seed: 42 }));
  assert.ok(answer.message.reasoning_content.length > 0);
  valid(PERSON, JSON.parse(answer.message.content));
});

test('a stream gives the same bytes for the same seed', async () => {
  const body = user('Where?', { response_format: format(PLACE), seed: 7, ...OFF, ...WILD });
  const whole = (await choice(tiny, body)).message.content;
  const stream = (await request(tiny, 'POST', chatPath, { ...body, stream: true })).text;
  const text = stream.split('\n\n').filter((line) => line.startsWith('data: {')).map((line) => JSON.parse(line.slice(6)))
    .map((chunk) => chunk.choices[0]?.delta?.content ?? '').join('');
  valid(PLACE, JSON.parse(whole));
  assert.equal(text, whole);
});

test('max_tokens cuts with finish_reason length', async () => {
  const answer = await choice(tiny, user('Who?', { response_format: format(PERSON), max_tokens: 5, ...OFF }));
  assert.equal(answer.finish_reason, 'length');
});

test('required: calls of known tools with arguments that fit', async () => {
  for (const settings of [{}, WILD]) {
    for (const seed of seeds(2)) {
      const answer = await choice(nano, user('Hello!', { tools, tool_choice: 'required', seed, ...settings, ...OFF }));
      assert.equal(answer.finish_reason, 'tool_calls');
      check(parsed(answer.message));
    }
  }
});

test('a named tool: one call of it, also behind thinking', async () => {
  const where = [{ type: 'function', function: { name: 'where', parameters: PLACE } }, ...tools];
  for (const [server, name, settings] of [[nano, 'book', OFF], [nano, 'book', {}], [tiny, 'where', { ...OFF, ...WILD }]]) {
    const answer = await choice(server, user('Hello!', { tools: where, tool_choice: { type: 'function', function: { name } }, seed: 5, ...settings }));
    assert.equal(answer.finish_reason, 'tool_calls');
    const calls = parsed(answer.message);
    assert.deepEqual(calls.map((call) => call.name), [name]);
    valid({ ...TOOLS, where: PLACE }[name], calls[0].input);
  }
});

test('none: no call', async () => {
  const answer = await choice(nano, user('What is the weather in Korvana?', { tools, tool_choice: 'none', seed: 5 }));
  assert.equal(answer.message.tool_calls, undefined);
  assert.equal(answer.finish_reason, 'stop');
});

// The markup of a call is what the model finds likeliest: this one would call `now` for ever.
test('parallel_tool_calls false: one call', async () => {
  const body = user('x', { tools, tool_choice: 'required', seed: 1, max_tokens: 60, ...OFF, ...WILD });
  assert.equal((await choice(tiny, body)).finish_reason, 'length');
  const answer = await choice(tiny, { ...body, parallel_tool_calls: false });
  assert.equal(answer.finish_reason, 'tool_calls');
  assert.equal(parsed(answer.message).length, 1);
});

test('a response format beside tools: the format, or a call', async () => {
  for (const seed of seeds(2)) {
    const answer = await choice(nano, user('Book a room.', { tools, response_format: format(PERSON), seed, ...OFF, ...WILD }));
    if (answer.finish_reason === 'tool_calls') check(parsed(answer.message));
    else valid(PERSON, JSON.parse(answer.message.content));
  }
});

test('schemas of tools that cannot be enforced are left free, never refused', async () => {
  const odd = { type: 'object', required: ['a', 'b', 'n'], properties: { a: { type: 'integer', multipleOf: 3 },
    b: { not: { type: 'string' } }, n: { $ref: '#/$defs/gone' } } };
  const answer = await choice(nano, user('Hello!', { tools: [{ type: 'function', function: { name: 'f', parameters: odd } }], tool_choice: 'required',
    parallel_tool_calls: false, seed: 1, ...OFF }));
  assert.equal(answer.finish_reason, 'tool_calls');
  assert.deepEqual(Object.keys(parsed(answer.message)[0].input).sort(), ['a', 'b', 'n']);
});

// Nano calls tools by itself; at temperature 2 it garbles them unless it is guided.
test('an opened call always closes', async () => {
  const weather = [{ type: 'function', function: { name: 'get_weather', parameters: { type: 'object', required: ['city', 'unit'],
    properties: { city: { type: 'string', maxLength: 24 }, unit: { enum: ['celsius', 'kelvin'] } } } } }];
  let called = 0;
  for (const seed of seeds(4)) {
    const answer = await choice(nano, user('What is the weather in Korvana?', { tools: weather, seed, ...OFF, ...WILD, top_k: 40 }));
    assert.doesNotMatch(answer.message.content ?? '', /DSML/);
    for (const { name, input } of parsed(answer.message)) {
      called++;
      assert.equal(name, 'get_weather');
      valid(weather[0].function.parameters, input);
    }
  }
  assert.ok(called > 0, 'the model never called');
});

test('--no-tool-guidance leaves calls to the model, and formats held', async () => {
  const answer = await choice(unguided, user('Where?', { response_format: format(PLACE), seed: 1, ...OFF, ...WILD }));
  valid(PLACE, JSON.parse(answer.message.content));
  const call = await choice(unguided, user('What is the weather in Korvana?', { seed: 42, tools: [{ type: 'function',
    function: { name: 'get_weather', parameters: { type: 'object', required: ['city'], properties: { city: { type: 'string' } } } } }], ...OFF }));
  assert.equal(call.finish_reason, 'tool_calls');
});

test('Responses: text.format and tool_choice', async () => {
  const ask = async (body) => (await request(nano, 'POST', '/v1/responses', { input: 'Who?', max_output_tokens: 300, store: false, reasoning: { effort: 'none' }, seed: 2, ...body }));
  const reply = (await ask({ text: { format: { type: 'json_schema', name: 'p', schema: PLACE } } })).json();
  valid(PLACE, JSON.parse(reply.output.find((item) => item.type === 'message').content[0].text));
  const flat = tools.map(({ function: f }) => ({ type: 'function', ...f }));
  const forced = (await ask({ tools: flat, tool_choice: { type: 'function', name: 'book' } })).json();
  check(forced.output.filter((item) => item.type === 'function_call').map((item) => ({ name: item.name, input: JSON.parse(item.arguments) })));
  const refused = await ask({ text: { format: { type: 'json_schema', name: 'p', schema: { type: 'array', uniqueItems: true } } } });
  assert.equal(refused.status, 400);
  assert.equal(refused.json().error.param, 'text.format.schema.uniqueItems');
});

test('Messages: tool_choice any, tool and none, and output_config.format', async () => {
  const flat = Object.entries(TOOLS).map(([name, input_schema]) => ({ name, input_schema }));
  const ask = (body) => request(nano, 'POST', '/v1/messages', { messages: [{ role: 'user', content: 'Hello!' }], max_tokens: 300, seed: 2, ...OFF, ...body });
  const calls = (reply) => reply.json().content.filter((block) => block.type === 'tool_use');
  check(calls(await ask({ tools: flat, tool_choice: { type: 'any' } })));
  const named = calls(await ask({ tools: flat, tool_choice: { type: 'tool', name: 'now' } }));
  assert.deepEqual(named.map(({ name, input }) => ({ name, input })), [{ name: 'now', input: {} }]);
  assert.equal(calls(await ask({ tools: flat, tool_choice: { type: 'none' } })).length, 0);
  const formatted = await ask({ output_config: { format: { type: 'json_schema', schema: PLACE } } });
  valid(PLACE, JSON.parse(formatted.json().content.find((block) => block.type === 'text').text));
  const refused = await ask({ output_config: { format: { type: 'json_schema', schema: { not: {} } } } });
  assert.equal(refused.status, 400);
  assert.match(refused.json().error.message, /output_config\.format\.schema\.not/);
});

const refusals = [
  ['an unsupported keyword', { response_format: format({ type: 'object', properties: { a: { type: 'array', items: { multipleOf: 2 } } } }) },
    'response_format.json_schema.schema.properties.a.items.multipleOf'],
  ['an unknown format', { response_format: { type: 'grammar' } }, 'response_format.type'],
  ['a schema that is none', { response_format: format('x') }, 'response_format.json_schema.schema'],
  ['a schema that nothing fits', { response_format: format({ type: 'string', minLength: 3, maxLength: 2 }) }, 'response_format.json_schema.schema'],
  ['endless recursion', { response_format: format({ type: 'object', properties: { x: { $ref: '#' } }, required: ['x'] }) }, 'response_format.json_schema.schema'],
  ['a tool that is not there', { tools, tool_choice: { type: 'function', function: { name: 'gone' } } }, 'tool_choice'],
  ['required without tools', { tool_choice: 'required' }, 'tool_choice'],
];
for (const [name, body, param] of refusals) {
  test(`refused: ${name}`, async () => {
    const reply = await chat(nano, user('x', body));
    assert.equal(reply.status, 400, reply.text);
    const { error } = reply.json();
    assert.equal(error.param, param, error.message);
    assert.equal(error.type, 'invalid_request_error');
  });
}
