// Replays a coding agent against ds4-nano: a tool conversation that re-sends its growing history with every turn, and counts
// which prompt tokens the server read. Variants: undisturbed, restarted from the disk cache in the middle, with a second
// agent in between, and with the last message edited by the client.
//   node scripts/agent-replay.mjs [--turns 30] [--tokens 20000] [--ctx 32768] [--json]
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { pathToFileURL } from 'node:url';
import { Server, chat, nanoModel } from '../tests/api/harness.mjs';

/** The window of ds4-nano, in tokens: what a server may read again besides what is new. */
export const WINDOW = 512;

const tool = (name, description, property) => ({ type: 'function', function: { name, description, parameters: {
  type: 'object', required: [property], properties: { [property]: { type: 'string' } } } } });
const TOOLS = [tool('read', 'Read a file.', 'path'), tool('bash', 'Run a command.', 'command'),
  tool('list', 'List a directory.', 'path')];
const FILES = ['notes.txt', 'main.c', 'README.md', 'data.csv', 'build.log', 'todo.md'];

/** Text of about so many tokens that looks like a listing; the same for the same seed. */
function listing(seed, tokens) {
  const lines = [];
  let state = seed * 2654435761 >>> 0;
  for (let n = 0; n < tokens; n += 9) {
    state = (state * 1664525 + 1013904223) >>> 0;
    lines.push(`${n}: value ${state % 1000} of item ${(state >>> 10) % 100}`);
  }
  return lines.join('\n');
}

/** One agent: its messages, and what each turn cost. */
export class Agent {
  constructor(name, tokensPerTurn, systemTokens) {
    this.name = name;
    this.tokensPerTurn = tokensPerTurn;
    this.messages = [{ role: 'system', content: `You are a careful coding agent.\n${listing(7, systemTokens)}` }];
    this.turns = [];
    this.held = 0; // tokens that the server must have seen: the last prompt and its answer
  }
  /** What the user or the tools say next. */
  next(turn) {
    const last = this.messages.at(-1);
    if (last.tool_calls) {
      for (const call of last.tool_calls)
        this.messages.push({ role: 'tool', tool_call_id: call.id, content: listing(turn * 31 + this.name.length, 2 * this.tokensPerTurn) });
    } else {
      this.messages.push({ role: 'user', content: `Read ${FILES[turn % FILES.length]}` });
    }
  }
  async ask(server) {
    const reply = await chat(server, { messages: this.messages, tools: TOOLS, seed: 42, max_tokens: 200 });
    if (reply.status !== 200) throw new Error(`turn ${this.turns.length}: ${reply.status} ${reply.text}`);
    const { choices: [choice], usage } = reply.json();
    const prompt = usage.prompt_tokens, read = prompt - usage.prompt_tokens_details.cached_tokens;
    const turn = { prompt, read, fresh: prompt - this.held, finish: choice.finish_reason, answer: JSON.stringify(choice.message) };
    this.turns.push(turn);
    this.held = prompt + usage.completion_tokens;
    const { content, reasoning_content, tool_calls } = choice.message;
    this.messages.push({ role: 'assistant', content, reasoning_content, tool_calls });
    return turn;
  }
  async turn(server, number) {
    this.next(number);
    return this.ask(server);
  }
}

/** Runs all variants; `report` gets one object per variant. `args` are more of the server's. */
export async function replay({ turns = 30, tokens = 20000, system = 1200, ctx = 32768, args = [], report = () => {} } = {}) {
  const perTurn = Math.round((tokens - 1000 - system) / turns) - 60;
  const directory = mkdtempSync(join(tmpdir(), 'ds4-replay-'));
  const start = () => Server.start(['--ctx', String(ctx), '--kv-disk-dir', directory, ...args], { model: nanoModel() });
  const half = Math.floor(turns / 2);
  const summary = (variant, agent, from, to, extra = {}) => {
    const part = agent.turns.slice(from, to), sum = (key) => part.reduce((n, t) => n + t[key], 0);
    const row = { variant, turns: part.length, without: sum('prompt'), read: sum('read'), fresh: sum('fresh'),
      worst: Math.max(...part.map((t) => t.read - t.fresh)), calls: part.filter((t) => t.finish === 'tool_calls').length, ...extra };
    report(row);
    return row;
  };
  const rows = [];
  let server = await start();
  try {
    const agent = new Agent('first', perTurn, system);
    for (let i = 0; i < half; i++) await agent.turn(server, i);
    rows.push(summary('undisturbed', agent, 0, half));
    const seconds = agent.turns.length;
    await server.stop();
    server = await start();
    for (let i = half; i < turns; i++) await agent.turn(server, i);
    rows.push(summary('after a restart', agent, seconds, turns));

    // A second agent with the same system prompt takes turns with a third one.
    const a = new Agent('second', perTurn, system), b = new Agent('third one', perTurn, system);
    for (let i = 0; i < half; i++) {
      await a.turn(server, i + 3);
      await b.turn(server, i + 1);
    }
    rows.push(summary('interleaved with another', a, 0, half));

    // The client edits the last message and sends the history again.
    const edits = new Agent('edits', perTurn, system);
    for (let i = 0; i < half; i++) {
      await edits.turn(server, i + 2);
      if (i % 2 === 0) continue;
      edits.messages.pop();
      const last = edits.messages.at(-1);
      last.content = `Edited in turn ${i}. ${last.content}`;
      const before = edits.turns.at(-1);
      edits.held = before.prompt - Math.max(before.fresh, 0); // the edited message is new as a whole
      await edits.ask(server);
    }
    rows.push(summary('last message edited', edits, 0, edits.turns.length));
  } finally {
    await server.stop();
    rmSync(directory, { recursive: true, force: true });
  }
  return rows;
}

async function main() {
  const { values } = parseArgs({ options: { turns: { type: 'string', default: '30' }, tokens: { type: 'string', default: '20000' },
    ctx: { type: 'string', default: '32768' }, json: { type: 'boolean', default: false } } });
  const rows = await replay({ turns: Number(values.turns), tokens: Number(values.tokens), ctx: Number(values.ctx) });
  if (values.json) {
    console.log(JSON.stringify(rows));
  } else {
    console.log('| variant | turns | with calls | tokens of all prompts | new tokens | read | most read beyond the new, per turn |');
    console.log('|---|---|---|---|---|---|---|');
    for (const r of rows)
      console.log(`| ${r.variant} | ${r.turns} | ${r.calls} | ${r.without} | ${r.fresh} | ${r.read} | ${r.worst} |`);
  }
  if (rows.some((r) => r.worst > WINDOW)) {
    console.error(`agent-replay: more than one window (${WINDOW} tokens) was read again`);
    process.exitCode = 1;
  }
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) await main();
