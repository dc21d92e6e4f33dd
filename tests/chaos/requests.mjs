// What chaos asks: seeded requests of every protocol with prefixes that they share, and answers reduced to what a seed
// determines.
import { parseEvents } from '../api/harness.mjs';

/** Small, seeded random numbers (mulberry32): a run can be repeated by its seed. */
export function random(seed) {
  let a = seed >>> 0;
  const next = () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  return { next, below: (n) => Math.floor(next() * n), pick: (list) => list[Math.floor(next() * list.length)] };
}

const words = 'the file that you read has seven lines and one of them names a colour which is not in the list of all colours'.split(' ');
const text = (r, n) => Array.from({ length: n }, () => r.pick(words)).join(' ');
const tool = { name: 'read', description: 'read a file', parameters: { type: 'object', properties: { path: { type: 'string' } }, required: ['path'] } };

function chatBody(r, system, seed) {
  const messages = [{ role: 'system', content: system }, { role: 'user', content: text(r, 5 + r.below(30)) }];
  if (r.next() < 0.4) messages.push({ role: 'assistant', content: text(r, 10) }, { role: 'user', content: text(r, 8) });
  const body = { messages, seed, max_tokens: 4 + r.below(24), temperature: r.pick([0, 0.7, 1]) };
  if (r.next() < 0.3) body.tools = [{ type: 'function', function: tool }];
  if (r.next() < 0.5) body.thinking = { type: 'disabled' };
  return body;
}

const shapes = [
  ['/v1/chat/completions', chatBody],
  ['/v1/completions', (r, system, seed) => ({ prompt: `${system} ${text(r, 10)}`, seed, max_tokens: 4 + r.below(16) })],
  ['/v1/messages', (r, system, seed) => ({ model: 'deepseek-v4-flash', system, messages: [{ role: 'user', content: text(r, 12) }],
    seed, max_tokens: 4 + r.below(24) })],
  ['/v1/responses', (r, system, seed) => ({ model: 'deepseek-v4-flash', instructions: system, input: text(r, 12), seed, store: false,
    max_output_tokens: 16 + r.below(16) })],
];

/** `n` requests {path, body}; `systems` long beginnings are shared by all. */
export function makeRequests(n, seed, { systems = 3, words: length = 100 } = {}) {
  const r = random(seed);
  const beginnings = Array.from({ length: systems }, () => text(r, length));
  return Array.from({ length: n }, (_, i) => {
    const [path, make] = shapes[i % 2 ? 0 : r.below(shapes.length)];
    return { path, body: { ...make(r, r.pick(beginnings), 1 + r.below(1e9)), stream: r.next() < 0.6 } };
  });
}

const volatile = new Set(['id', 'created', 'created_at', 'completed_at', 'usage', 'item_id', 'call_id', 'signature', 'encrypted_content']);
const reduce = (value) => JSON.parse(JSON.stringify(value, (key, v) => (volatile.has(key) ? undefined : v)));

/** The answer without ids, times and cache counts; null when it is not a whole answer. */
export function essence(response, stream) {
  if (response.status !== 200) return null;
  if (!stream) {
    if (response.body.length !== Number(response.headers['content-length'])) return null;
    return JSON.stringify(reduce(response.json()));
  }
  const events = parseEvents(response.text).filter((e) => e.event !== 'ping');
  const last = events.at(-1);
  const whole = last && (last.data === '[DONE]' || /"type":"(message_stop|response\.(completed|incomplete))"/.test(last.data));
  if (!whole) return null;
  return JSON.stringify(events.map((e) => [e.event, e.data === '[DONE]' ? e.data : reduce(JSON.parse(e.data))]));
}
