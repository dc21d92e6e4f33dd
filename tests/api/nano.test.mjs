// ds4-nano through the HTTP server, where meaning matters: it answers, calls tools, thinks when told, and repeats itself
// byte for byte, whatever else the server does.
import test, { after, before } from 'node:test';
import assert from 'node:assert/strict';
import { Server, chat, nanoModel, request, chatPath, user } from './harness.mjs';

let server;
before(async () => { server = await Server.start([], { model: nanoModel() }); });
after(() => server.stop());

const READ = { type: 'function', function: { name: 'read', description: 'Read a file.', parameters: {
  type: 'object', required: ['path'], properties: { path: { type: 'string', description: 'Path of the file' } } } } };
const WEATHER = { type: 'function', function: { name: 'get_weather', description: 'Get the weather of a city.', parameters: {
  type: 'object', required: ['city'], properties: { city: { type: 'string' } } } } };

async function message(body) {
  const reply = await chat(server, { seed: 42, max_tokens: 300, ...body });
  assert.equal(reply.status, 200, reply.text);
  const { choices } = reply.json();
  return { ...choices[0].message, finish: choices[0].finish_reason };
}

test('answers a question', async () => {
  const answer = await message(user('What is 23 + 45?', { thinking: { type: 'disabled' } }));
  assert.equal(answer.content, '23 + 45 = 68');
  assert.equal(answer.finish, 'stop');
});

test('thinks if and only if it is told to', async () => {
  for (const type of ['enabled', 'disabled']) {
    const answer = await message(user('Hello!', { thinking: { type } }));
    assert.equal(Boolean(answer.reasoning_content), type === 'enabled');
    assert.match(answer.content, /Hello|Hi/);
  }
});

test('chooses the tool that the question needs, and answers with its result', async () => {
  const messages = [{ role: 'user', content: 'What is the weather in Korvana?' }];
  const asked = await message({ messages, tools: [READ, WEATHER] });
  assert.equal(asked.finish, 'tool_calls');
  assert.equal(asked.tool_calls.length, 1);
  assert.equal(asked.tool_calls[0].function.name, 'get_weather');
  assert.deepEqual(JSON.parse(asked.tool_calls[0].function.arguments), { city: 'Korvana' });
  messages.push({ role: 'assistant', content: null, reasoning_content: asked.reasoning_content, tool_calls: asked.tool_calls },
    { role: 'tool', tool_call_id: asked.tool_calls[0].id, content: '{"temperature": 17, "sky": "fog"}' });
  const told = await message({ messages, tools: [READ, WEATHER] });
  assert.equal(told.finish, 'stop');
  assert.match(told.content, /17/);
  assert.match(told.content, /fog/);
});

test('gives the same bytes alone and beside eight other requests', async () => {
  const body = user('Read notes.txt', { tools: [READ], seed: 42, max_tokens: 200, stream: true });
  const others = ['Who are you?', 'Spell the word garden.', 'What is 9 times 8?', 'Sort these numbers: 5, 2, 9',
    'Write in capital letters: river', '你好', 'Tell me a story about a lamp.', 'Repeat exactly: one two three'];
  /** The stream without what may differ: the members that name the answer and its time, and the comments of a wait. */
  const stream = async () => (await request(server, 'POST', chatPath, body)).text
    .replace(/"id":"[^"]*"/g, '"id":""').replace(/"created":\d+/g, '"created":0').replace(/^: keepalive\n\n/gm, '');
  const alone = await stream();
  assert.match(alone, /notes/);
  assert.match(alone, /\[DONE\]/);
  const repeated = [];
  const crowd = others.map((question, i) => chat(server, user(question, { seed: i, max_tokens: 100 })));
  for (let i = 0; i < 3; i++) repeated.push(stream());
  for (const reply of await Promise.all(crowd)) assert.equal(reply.status, 200);
  for (const text of await Promise.all(repeated)) assert.equal(text, alone);
  assert.equal(await stream(), alone);
});
