#!/usr/bin/env node
// The evaluation of ds4-nano through the real server: sends every item of eval_items.py, checks the answers, prints a
// table. Seeds are in the items, so the table is the same on every run.
//
//   python3 models/nano/eval_items.py > items.jsonl
//   node models/nano/evaluate.mjs --model models/nano/ds4-nano.gguf --items items.jsonl [--server build/release/bin/ds4-server]
//        [--failures FILE] [--json FILE] [--streams 4]
import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { isDeepStrictEqual } from 'node:util';

/** The rows of the table behind the skills: what must hold, over which items, and the share that is asked for. */
const GOALS = [
  ['valid DSML', 0.99, (r) => r.wantsCall || r.calls > 0, (r) => r.validDsml],
  ['right tool and arguments', 0.95, (r) => r.wantsCall, (r) => r.right],
  ['answer has the fact of the tool', 0.90, (r) => r.afterTool && !r.wantsCall, (r) => r.right],
  ['arithmetic', 0.90, (r) => r.skill === 'arithmetic', (r) => r.right],
  ['thinking switch obeyed', 1.00, () => true, (r) => r.switchObeyed],
  ['register by system prompt', 0.95, (r) => r.registerBySystem, (r) => r.right],
];

/** Starts a server on a free port; resolves to {url, stop}. */
async function startServer(binary, model) {
  const child = spawn(binary, ['-m', model, '--port', '0', '--ctx', '8192'],
    { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, DS4_CONFIG: '/dev/null', DS4_API_KEY: '' } });
  let text = '';
  const url = await new Promise((resolve, reject) => {
    child.stderr.on('data', (d) => {
      text += d;
      const at = /listening on (http:\/\/\S+)/.exec(text);
      if (at) resolve(at[1]);
    });
    child.on('error', reject);
    child.on('exit', (code) => reject(new Error(`the server ended with ${code}:\n${text}`)));
  });
  return { url, stop: () => new Promise((done) => { child.removeAllListeners('exit'); child.on('exit', done); child.kill(); }) };
}

/** Whether an answer fulfils the check of an item (eval_items.py describes the members). */
export function fulfils(check, message) {
  const text = (message.content ?? '').trim();
  const calls = message.tool_calls ?? [];
  if ('tool' in check) {
    if (calls.length !== 1 || calls[0].function.name !== check.tool) return false;
    try {
      return isDeepStrictEqual(JSON.parse(calls[0].function.arguments), check.arguments);
    } catch {
      return false;
    }
  }
  return calls.length === 0 && (!('equals' in check) || text === check.equals.trim())
    && (check.contains ?? []).every((part) => text.includes(part.trim()))
    && (!check.any || check.any.some((part) => text.includes(part)))
    && (check.absent ?? []).every((part) => !text.includes(part));
}

async function judge(url, item) {
  const reply = await fetch(`${url}/v1/chat/completions`, {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(item.request),
  });
  if (!reply.ok) throw new Error(`${item.id}: ${reply.status} ${await reply.text()}`);
  const body = await reply.json();
  const { message, finish_reason } = body.choices[0];
  const messages = item.request.messages;
  return {
    id: item.id, skill: item.skill, finish: finish_reason, message, right: fulfils(item.check, message),
    calls: (message.tool_calls ?? []).length, wantsCall: 'tool' in item.check,
    validDsml: !(message.content ?? '').includes('DSML') && finish_reason !== 'length',
    afterTool: messages.at(-1).role === 'tool',
    switchObeyed: item.thinking === Boolean(message.reasoning_content),
    registerBySystem: Boolean(item.check.register) && item.check.register !== 'settled' && messages[0].role === 'system',
  };
}

function table(results) {
  const lines = [];
  const share = (rows, good) => [rows.filter(good).length, rows.length];
  const row = (name, [good, all], goal = '') =>
    lines.push(`| ${name} | ${good}/${all} | ${(100 * good / Math.max(all, 1)).toFixed(1)} % | ${goal} |`);
  lines.push('| skill | right | share | asked for |', '| --- | --- | --- | --- |');
  for (const skill of new Set(results.map((r) => r.skill))) {
    row(skill, share(results.filter((r) => r.skill === skill), (r) => r.right));
  }
  let reached = true;
  for (const [name, goal, of, good] of GOALS) {
    const [n, all] = share(results.filter(of), good);
    row(`**${name}**`, [n, all], `${100 * goal} %`);
    reached &&= all > 0 && n >= goal * all;
  }
  return { text: lines.join('\n'), reached };
}

async function main() {
  const { values } = parseArgs({ options: {
    model: { type: 'string', default: 'models/nano/ds4-nano.gguf' }, items: { type: 'string' },
    server: { type: 'string', default: 'build/release/bin/ds4-server' }, failures: { type: 'string' },
    json: { type: 'string' }, streams: { type: 'string', default: '4' },
  } });
  if (!values.items) throw new Error('--items FILE is needed: python3 models/nano/eval_items.py > FILE');
  const items = readFileSync(values.items, 'utf8').split('\n').filter(Boolean).map((line) => JSON.parse(line));
  const streams = Number(values.streams);
  const server = await startServer(values.server, values.model);
  const results = new Array(items.length);
  let next = 0;
  try {
    await Promise.all(Array.from({ length: streams }, async () => {
      while (next < items.length) {
        const i = next++;
        results[i] = await judge(server.url, items[i]);
        if (process.stderr.isTTY) process.stderr.write(`\r${next}/${items.length} `);
      }
    }));
  } finally {
    await server.stop();
  }
  if (values.failures) {
    writeFileSync(values.failures, results.map((r, i) => ({ ...r, item: items[i] })).filter((r) => !r.right || !r.switchObeyed)
      .map((r) => JSON.stringify(r)).join('\n') + '\n');
  }
  if (values.json) writeFileSync(values.json, `${JSON.stringify(results.map(({ message, ...rest }) => rest))}\n`);
  const { text, reached } = table(results);
  console.log(text);
  process.exitCode = reached ? 0 : 1;
}

if (import.meta.url === `file://${process.argv[1]}`) await main();
