// The requests of real agents, captured on the wire and shortened (every field is there, long texts are cut): each is
// accepted and answered to its end, and the second request of a conversation finds the first one's prompt computed.
import test, { after, before } from 'node:test';
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Server, fixtures, nanoModel, request } from './harness.mjs';

// DS4_TEST_CLIENTS: a directory with the captures as they were, one directory of NNN.json for each client.
const whole = process.env.DS4_TEST_CLIENTS;
const shortened = join(fixtures, '..', 'clients');
let server;
before(async () => {
  server = await Server.start(['--ctx', whole ? '131072' : '32768', '--slots', '4'], { model: nanoModel() });
});
after(() => server.stop());

const read = (...path) => JSON.parse(readFileSync(join(...path), 'utf8'));

function load(name) {
  if (whole) return readdirSync(join(whole, name)).sort().map((file) => {
    const { body, ...rest } = read(whole, name, file);
    return { ...rest, body: typeof body === 'string' && body ? JSON.parse(body) : body };
  });
  const { tools, requests } = read(shortened, name);
  const list = typeof tools === 'string' ? read(shortened, tools).tools : tools;
  for (const { body } of requests) if (body?.tools === '@tools') body.tools = list;
  return requests;
}

/** The capture as it was, but for the length of the answer. */
function send({ method, url, headers, body }) {
  const limited = body && { ...body };
  for (const key of ['max_tokens', 'max_completion_tokens', 'max_output_tokens']) if (limited?.[key]) limited[key] = 4;
  if (limited && /responses$/.test(url)) limited.max_output_tokens = 4;
  const own = Object.fromEntries(Object.entries(headers).filter(([k]) => !/^(host|content-length|connection)$/i.test(k)));
  return request(server, method, url, limited ?? undefined, own);
}

/** {prompt, cached} of a stream that came to its end. */
function usageOf(url, events) {
  const data = events.map((e) => e.data);
  const last = data.filter((d) => d !== '[DONE]').map((d) => JSON.parse(d));
  if (url.includes('/messages')) {
    assert.equal(last.at(-1).type, 'message_stop');
    const { input_tokens: fresh, cache_read_input_tokens: cached } = last.at(-2).usage;
    return { prompt: fresh + cached, cached };
  }
  if (url.includes('/responses')) {
    assert.match(last.at(-1).type, /^response\.(completed|incomplete)$/);
    const { usage } = last.at(-1).response;
    return { prompt: usage.input_tokens, cached: usage.input_tokens_details.cached_tokens };
  }
  assert.equal(data.at(-1), '[DONE]');
  const { usage } = last.at(-1);
  return { prompt: usage.prompt_tokens, cached: usage.prompt_tokens_details.cached_tokens };
}

for (const name of readdirSync(whole ?? shortened).filter((f) => !f.startsWith('_')).sort()) {
  test(name.replace('.json', ''), async () => {
    let before;
    for (const capture of load(name)) {
      const { body, url, method } = capture;
      const response = await send(capture);
      assert.equal(response.status, 200, `${method} ${url}: ${response.text.slice(0, 300)}`);
      if (method !== 'POST') continue;
      if (url.includes('count_tokens')) { assert.ok(response.json().input_tokens > 0); continue; }
      const usage = usageOf(url, response.events());
      const system = JSON.stringify(body.tools ?? '');
      // A later turn of the same conversation: all of the prompt before is there, up to the end of what was sent.
      if (before?.system === system) assert.ok(usage.cached >= before.prompt - 2, `${usage.cached} of ${before.prompt} tokens`);
      before = { system, prompt: usage.prompt };
    }
  });
}

test('each shape is understood: tools are in the prompt, and what a server must not show is not', async () => {
  const count = async (body) => (await request(server, 'POST', '/v1/messages/count_tokens', body)).json().input_tokens;
  const [{ body }] = load(whole ? 'claude-code' : 'claude-code.json');
  const { model, messages, system, tools } = body;
  assert.ok(await count({ model, messages, system, tools }) > await count({ model, messages, system }));
  const deferred = tools.filter((t) => t.defer_loading);
  assert.equal(deferred.length, 1);
  assert.equal(await count({ model, messages, system, tools }), await count({ model, messages, system, tools: tools.filter((t) => !t.defer_loading) }));
  const [header, ...rest] = system;
  assert.match(header.text, /^x-anthropic-/);
  assert.equal(await count({ model, messages, system }), await count({ model, messages, system: rest }));
});
