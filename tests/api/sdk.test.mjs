// Real client libraries against ds4-nano: what they make of our streams and errors.
import test, { after, before } from 'node:test';
import assert from 'node:assert/strict';
import OpenAI from 'openai';
import Anthropic from '@anthropic-ai/sdk';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { generateText, jsonSchema, streamText, tool } from 'ai';
import { Server, nanoModel } from './harness.mjs';

let server;
let openai;
let anthropic;
let aisdk;
before(async () => {
  server = await Server.start([], { model: nanoModel() });
  const origin = `http://127.0.0.1:${server.port}`;
  openai = new OpenAI({ baseURL: `${origin}/v1`, apiKey: 'any', maxRetries: 0 });
  anthropic = new Anthropic({ baseURL: origin, apiKey: 'any', maxRetries: 0 });
  aisdk = createOpenAICompatible({ name: 'ds4', baseURL: `${origin}/v1`, apiKey: 'any', includeUsage: true })('deepseek-v4-flash');
});
after(() => server.stop());

const model = 'deepseek-v4-flash';
const question = 'What is the weather in Korvana?';
const result = '{"temperature": 17, "sky": "fog"}';
const parameters = { type: 'object', required: ['city'], properties: { city: { type: 'string' } } };
const description = 'Get the weather of a city.';
const name = 'get_weather';
const sum = { role: 'user', content: 'What is 23 + 45?' };

test('openai: models, completions', async () => {
  const list = await openai.models.list();
  assert.equal(list.data[0].id, model);
  const text = await openai.completions.create({ model, prompt: 'Hello!', max_tokens: 8, logprobs: 2, seed: 42 });
  assert.equal(text.choices[0].logprobs.tokens.length, text.choices[0].logprobs.token_logprobs.length);
});

test('openai: chat, whole and streamed, with a tool round', async () => {
  const tools = [{ type: 'function', function: { name, description, parameters } }];
  const messages = [{ role: 'user', content: question }];
  const asked = await openai.chat.completions.create({ model, messages, tools, seed: 42 });
  assert.equal(asked.choices[0].finish_reason, 'tool_calls');
  const runner = openai.chat.completions.stream({ model, messages, tools, seed: 42, stream_options: { include_usage: true } });
  const streamed = await runner.finalChatCompletion();
  assert.deepEqual(streamed.choices[0].message.tool_calls[0].function.arguments, asked.choices[0].message.tool_calls[0].function.arguments);
  assert.equal(streamed.usage.completion_tokens, asked.usage.completion_tokens);
  messages.push(asked.choices[0].message, { role: 'tool', tool_call_id: asked.choices[0].message.tool_calls[0].id, content: result });
  const told = await openai.chat.completions.create({ model, messages, tools, seed: 42, logprobs: true, top_logprobs: 1 });
  assert.match(told.choices[0].message.content, /17/);
  assert.equal(told.choices[0].logprobs.content.map((t) => t.token).join(''), told.choices[0].message.content);
});

test('openai: responses, whole and streamed, continued by id', async () => {
  const tools = [{ type: 'function', name, description, parameters, strict: false }];
  const reasoning = { effort: 'high', summary: 'auto' };
  const asked = await openai.responses.create({ model, input: question, tools, reasoning });
  const call = asked.output.find((item) => item.type === 'function_call');
  assert.deepEqual(JSON.parse(call.arguments), { city: 'Korvana' });
  const told = await openai.responses.create({ model, tools, reasoning, previous_response_id: asked.id,
    input: [{ type: 'function_call_output', call_id: call.call_id, output: result }] });
  assert.match(told.output_text, /17/);
  const stream = openai.responses.stream({ model, input: sum.content, reasoning });
  const types = new Set();
  let text = '';
  for await (const event of stream) {
    types.add(event.type);
    if (event.type === 'response.output_text.delta') text += event.delta;
  }
  const final = await stream.finalResponse();
  assert.equal(final.output.at(-1).content[0].text, text);
  assert.equal(final.status, 'completed');
  assert.ok(types.has('response.reasoning_summary_text.delta'));
  assert.equal((await openai.responses.retrieve(told.id)).output_text, told.output_text);
  await openai.responses.delete(told.id);
  await assert.rejects(openai.responses.retrieve(told.id), OpenAI.NotFoundError);
});

test('openai: errors are the kinds that the library knows', async () => {
  await assert.rejects(openai.chat.completions.create({ model, messages: [] }), (e) => e instanceof OpenAI.BadRequestError && e.param === 'messages');
  await assert.rejects(openai.chat.completions.create({ model, messages: [{ role: 'user', content: 'word '.repeat(20000) }] }),
    (e) => e.code === 'context_length_exceeded');
});

test('anthropic: messages, whole and streamed, with a tool round, counted', async () => {
  const tools = [{ name, description, input_schema: parameters }];
  const messages = [{ role: 'user', content: question }];
  const request = { model, max_tokens: 300, messages, tools };
  const { input_tokens: counted } = await anthropic.messages.countTokens({ model, messages, tools });
  const stream = anthropic.messages.stream(request);
  const seen = { text: '', thinking: '', json: '' };
  stream.on('text', (d) => { seen.text += d; });
  stream.on('thinking', (d) => { seen.thinking += d; });
  stream.on('inputJson', (d) => { seen.json += d; });
  const asked = await stream.finalMessage();
  assert.equal(asked.stop_reason, 'tool_use');
  assert.equal(asked.usage.input_tokens + asked.usage.cache_read_input_tokens, counted);
  const call = asked.content.find((b) => b.type === 'tool_use');
  assert.deepEqual(call.input, { city: 'Korvana' });
  assert.deepEqual(JSON.parse(seen.json), call.input);
  assert.ok(seen.thinking.length > 0);
  messages.push({ role: 'assistant', content: asked.content },
    { role: 'user', content: [{ type: 'tool_result', tool_use_id: call.id, content: result }] });
  const told = await anthropic.messages.create(request);
  assert.match(told.content.at(-1).text, /17/);
  await assert.rejects(anthropic.messages.create({ ...request, messages: [] }), Anthropic.BadRequestError);
});

test('ai sdk: text, reasoning, streaming, a tool that is run', async () => {
  const { text, reasoningText, usage } = await generateText({ model: aisdk, messages: [sum] });
  assert.match(text, /68/);
  assert.match(reasoningText, /./);
  assert.ok(usage.inputTokens > 0 && usage.outputTokens > 0);
  const ran = [];
  const tools = { [name]: tool({ description, inputSchema: jsonSchema(parameters), execute: async ({ city }) => { ran.push(city); return result; } }) };
  const stream = streamText({ model: aisdk, messages: [{ role: 'user', content: question }], tools, stopWhen: ({ steps }) => steps.length === 2 });
  assert.match(await stream.text, /17/);
  assert.deepEqual(ran, ['Korvana']);
});
