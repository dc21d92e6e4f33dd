// Penalties, biases, log-probabilities, one call at a time: what they do to answers of ds4-nano.
import test, { after, before } from 'node:test';
import assert from 'node:assert/strict';
import { Server, chat, nanoModel, request, user } from './harness.mjs';

let server;
before(async () => { server = await Server.start([], { model: nanoModel() }); });
after(() => server.stop());

const off = { thinking: { type: 'disabled' }, temperature: 0, seed: 42, max_tokens: 60 };
const ask = async (text, rest) => (await chat(server, user(text, { ...off, ...rest }))).json();
const complete = async (prompt, rest) => (await request(server, 'POST', '/v1/completions', { prompt, ...off, ...rest })).json();
const textOf = (json) => json.choices[0].message.content;

test('log-probabilities: every token of the text, best alternatives first, streamed or not', async () => {
  const whole = await ask('What is 23 + 45?', { logprobs: true, top_logprobs: 3 });
  const { content } = whole.choices[0].logprobs;
  assert.equal(content.map((t) => t.token).join(''), textOf(whole));
  for (const { token, logprob, bytes, top_logprobs: top } of content) {
    assert.ok(logprob <= 0);
    assert.equal(Buffer.from(bytes).toString(), token);
    assert.equal(top.length, 3);
    assert.equal(top[0].token, token, 'greedy: the best is the one');
    assert.equal(top[0].logprob, logprob);
    assert.ok(top[0].logprob >= top[1].logprob && top[1].logprob >= top[2].logprob);
  }
  const events = (await chat(server, user('What is 23 + 45?', { ...off, logprobs: true, top_logprobs: 3, stream: true }))).events();
  const streamed = events.filter((e) => e.data !== '[DONE]').flatMap((e) => JSON.parse(e.data).choices[0].logprobs?.content ?? []);
  assert.deepEqual(streamed, content);
  assert.equal((await ask('What is 23 + 45?')).choices[0].logprobs, undefined);
});

test('log-probabilities of thinking, and none of what a stop sequence cut off', async () => {
  const thought = await ask('What is 23 + 45?', { thinking: { type: 'enabled' }, logprobs: true });
  const { content, reasoning_content: reasoning } = thought.choices[0].logprobs;
  assert.equal(reasoning.map((t) => t.token).join(''), thought.choices[0].message.reasoning_content);
  assert.equal(content.map((t) => t.token).join(''), textOf(thought));
  const stopped = await ask('What is 23 + 45?', { logprobs: true, stop: ' =' });
  assert.equal(textOf(stopped), '23 + 45');
  assert.equal(stopped.choices[0].logprobs.content.map((t) => t.token).join(''), '23 + 45');
});

test('biases forbid and force; a token that is not there is refused', async () => {
  const { choices } = await ask('What is 23 + 45?', { logprobs: true, top_logprobs: 1 });
  // The ids behind the tokens are the tokenizer's: find the first token's by forbidding ids until the answer changes.
  const changed = async (id, bias) => textOf(await ask('What is 23 + 45?', { logit_bias: { [id]: bias }, max_tokens: 1 }));
  const first = choices[0].logprobs.content[0].token;
  let id = -1;
  for (let low = 0, high = 4096; low < high;) { // halve the ids that are forbidden
    const middle = (low + high) >> 1;
    let differs = false;
    for (let from = low; from < middle && !differs; from += 1000) {
      const bias = Object.fromEntries(Array.from({ length: Math.min(1000, middle - from) }, (_, i) => [from + i, -100]));
      const response = await chat(server, user('What is 23 + 45?', { ...off, logit_bias: bias, max_tokens: 1 }));
      if (response.status !== 200) break;
      differs = textOf(response.json()) !== first;
    }
    if (differs) { high = middle; id = low; } else low = middle;
    if (high - low === 1) { id = low; break; }
  }
  assert.ok(id >= 0);
  assert.notEqual(await changed(id, -100), first);
  assert.equal(await changed(id, 100), first);
  const response = await chat(server, user('x', { logit_bias: { 2147483647: 1 } }));
  assert.equal(response.status, 400);
  assert.equal(response.json().error.param, 'logit_bias');
});

test('penalties keep an answer from repeating itself', async () => {
  const repeats = (text) => { const words = text.split(/\s+/).filter(Boolean); return words.length - new Set(words).size; };
  const prompt = 'la la la la la la la la';
  const plain = await complete(prompt, { raw: true, max_tokens: 60 });
  for (const penalty of [{ frequency_penalty: 2, presence_penalty: 2 }, { repetition_penalty: 4 }]) {
    const other = await complete(prompt, { raw: true, max_tokens: 60, ...penalty });
    assert.notEqual(other.choices[0].text, plain.choices[0].text);
    assert.ok(repeats(other.choices[0].text) < repeats(plain.choices[0].text));
    assert.deepEqual((await complete(prompt, { raw: true, max_tokens: 60, ...penalty })).choices, other.choices);
  }
});

test('completions: log-probabilities in the older shape, thinking in one text', async () => {
  const { choices: [{ text, logprobs }] } = await complete('What is 23 + 45?', { thinking: { type: 'enabled' }, logprobs: 1, max_tokens: 100 });
  assert.match(text, /<\/think>/);
  assert.equal(logprobs.tokens.join(''), text);
  let offset = 0;
  logprobs.tokens.forEach((token, i) => {
    assert.equal(logprobs.text_offset[i], offset);
    offset += Buffer.byteLength(token);
    assert.equal(Object.keys(logprobs.top_logprobs[i]).length, 1);
  });
});

test('one call at a time when the client wants no more', async () => {
  const tool = { type: 'function', function: { name: 'get_weather', description: 'Get the weather of a city.', parameters: {
    type: 'object', required: ['city'], properties: { city: { type: 'string' } } } } };
  const body = user('What is the weather in Korvana?', { seed: 42, tools: [tool], parallel_tool_calls: false });
  const { choices: [{ message, finish_reason: finish }] } = (await chat(server, body)).json();
  assert.equal(finish, 'tool_calls');
  assert.equal(message.tool_calls.length, 1);
  assert.deepEqual(JSON.parse(message.tool_calls[0].function.arguments), { city: 'Korvana' });
});
