// Many streams at once against ds4-nano: are all complete and right, how long does the slowest wait for its next token, and
// what is gained over one stream?   node scripts/load.mjs [--streams 64] [--seconds 60] [--threads 2] [--json]
import { readFileSync } from 'node:fs';
import http from 'node:http';
import { parseArgs } from 'node:util';
import { pathToFileURL } from 'node:url';
import { Server, chatPath, nanoModel } from '../tests/api/harness.mjs';

const QUESTIONS = ['What is 23 + 45?', 'Who are you?', 'Spell the word garden.', 'What is 9 times 8?', 'Tell me a story about a lamp.',
  'Sort these numbers: 5, 2, 9', 'Write in capital letters: river', 'Repeat exactly: one two three'];
/** Different requests; each has one right answer, whatever runs beside it. */
export const CASES = Array.from({ length: 24 }, (_, i) => ({
  messages: [{ role: 'system', content: `You are helper number ${i % 6}. ${'Be brief and right. '.repeat(i * 2)}` },
    { role: 'user', content: QUESTIONS[i % QUESTIONS.length] }],
  seed: 100 + i, temperature: 1, min_p: 0.05, max_tokens: 60 + 10 * (i % 8), stream: true, stream_options: { include_usage: true },
  thinking: { type: i % 3 === 0 ? 'disabled' : 'enabled' } }));

/** One streamed request: its text, its tokens, and when its pieces came. */
export function stream(port, body) {
  return new Promise((resolve) => {
    const result = { text: '', tokens: 0, complete: false, error: null, first: 0, worstGap: 0 };
    const begin = performance.now();
    let last = 0, rest = '';
    const end = (error) => { result.error ??= error ?? null; result.seconds = (performance.now() - begin) / 1000; resolve(result); };
    const request = http.request({ port, host: '127.0.0.1', path: chatPath, method: 'POST', headers: { 'Content-Type': 'application/json' } }, (reply) => {
      if (reply.statusCode !== 200) result.error = `status ${reply.statusCode}`;
      reply.setEncoding('utf8');
      reply.on('data', (piece) => {
        rest += piece;
        const blocks = rest.split('\n\n');
        rest = blocks.pop();
        for (const block of blocks) {
          if (!block.startsWith('data: ')) continue;
          if (block === 'data: [DONE]') { result.complete = true; continue; }
          const { choices, usage, error } = JSON.parse(block.slice(6));
          if (error) result.error = error.message;
          if (usage) { result.tokens = usage.completion_tokens; result.promptTokens = usage.prompt_tokens; }
          const delta = choices?.[0]?.delta;
          const text = delta?.content ?? delta?.reasoning_content;
          if (!text) continue;
          result.text += text;
          const now = performance.now();
          if (last) result.worstGap = Math.max(result.worstGap, now - last);
          else result.first = now - begin;
          last = now;
        }
      });
      reply.on('end', () => end());
      reply.on('error', (e) => end(String(e)));
    });
    request.on('error', (e) => end(String(e)));
    request.end(JSON.stringify(body));
  });
}

/** Seconds of processor time that the server took so far; NaN where there is no /proc. */
function cpuSeconds(server) {
  try {
    const fields = readFileSync(`/proc/${server.child.pid}/stat`, 'latin1').split(') ')[1].split(' ');
    return (Number(fields[11]) + Number(fields[12])) / 100;
  } catch { return NaN; }
}

const quantile = (values, q) => values.sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(q * values.length))];

const CHUNK = 512; // most tokens of one step

/** A long prompt, sent again: how long to its first token then, beside one decoding step and one chunk of a prompt. */
async function again(server, runs) {
  const first = [], second = [], steps = [];
  let promptTokens = 0;
  for (let i = 0; i < runs; i++) {
    const body = { ...CASES[4], max_tokens: 64, messages: [{ role: 'system', content: `Run ${i}. ${'Be brief and right. '.repeat(280)}` }, ...CASES[4].messages.slice(1)] };
    const before = await stream(server.port, body), after = await stream(server.port, body);
    promptTokens = before.promptTokens;
    first.push(before.first);
    second.push(after.first);
    steps.push((after.seconds * 1000 - after.first) / (after.tokens - 1));
  }
  const firstMs = quantile(first, 0.5);
  return { promptTokens, firstMs, againMs: quantile(second, 0.5), stepMs: quantile(steps, 0.5), chunkMs: firstMs * Math.min(1, CHUNK / promptTokens) };
}

/** Everything that `main` prints. */
export async function load({ streams = 64, seconds = 60, cases = CASES, args = [], repeats = 0 } = {}) {
  const server = await Server.start(['--slots', String(streams), '--queue', String(streams), '--max-connections', String(streams + 16),
    '--ctx', '2048', ...args], { model: nanoModel() });
  try {
    const repeated = repeats > 0 ? await again(server, repeats) : undefined;
    // Alone, twice: the second time prompts are known already, as they will be under load.
    const alone = [];
    for (const body of cases) alone.push(await stream(server.port, body));
    const begin = performance.now(), soloCpu = cpuSeconds(server);
    let soloTokens = 0;
    for (const body of cases) soloTokens += (await stream(server.port, body)).tokens;
    const solo = soloTokens / ((performance.now() - begin) / 1000);

    const soloPerCpu = soloTokens / (cpuSeconds(server) - soloCpu), manyCpu = cpuSeconds(server);
    const results = [], until = performance.now() + seconds * 1000;
    await Promise.all(Array.from({ length: streams }, async (_, i) => {
      for (let n = i; performance.now() < until; n += 7) {
        const which = n % cases.length;
        const result = await stream(server.port, cases[which]);
        result.wrong = result.text !== alone[which].text;
        results.push(result);
      }
    }));
    const took = (performance.now() - until) / 1000 + seconds;
    const tokens = results.reduce((n, r) => n + r.tokens, 0);
    const perCpu = tokens / (cpuSeconds(server) - manyCpu);
    const gaps = results.map((r) => r.worstGap);
    return { streams, seconds: took, answers: results.length, errors: results.filter((r) => r.error).length,
      incomplete: results.filter((r) => !r.complete).length, wrong: results.filter((r) => r.wrong).length,
      worstGapMs: Math.max(...gaps), medianWorstGapMs: quantile(gaps, 0.5), medianFirstMs: quantile(results.map((r) => r.first), 0.5),
      tokensPerSecond: tokens / took, soloTokensPerSecond: solo, ratio: tokens / took / solo,
      repeated, tokensPerCpuSecond: perCpu, soloTokensPerCpuSecond: soloPerCpu, cpuRatio: perCpu / soloPerCpu };
  } finally {
    await server.stop();
  }
}

async function main() {
  const { values } = parseArgs({ options: { streams: { type: 'string', default: '64' }, seconds: { type: 'string', default: '60' },
    threads: { type: 'string', default: '0' }, activations: { type: 'string', default: 'int8' }, json: { type: 'boolean', default: false } } });
  const r = await load({ streams: Number(values.streams), seconds: Number(values.seconds),
    args: ['--threads', values.threads, '--activations', values.activations], repeats: 5 });
  if (values.json) console.log(JSON.stringify(r));
  else console.log(`${r.streams} streams for ${r.seconds.toFixed(1)} s: ${r.answers} answers, ${r.errors} errors, ${r.incomplete} incomplete, ${r.wrong} wrong
worst gap between two pieces ${r.worstGapMs.toFixed(0)} ms (median of the answers' worst ${r.medianWorstGapMs.toFixed(0)} ms), first piece after ${r.medianFirstMs.toFixed(0)} ms (median)
${r.tokensPerSecond.toFixed(0)} tokens/s in all, ${r.soloTokensPerSecond.toFixed(0)} tokens/s with one stream: ${r.ratio.toFixed(2)} times
${r.tokensPerCpuSecond.toFixed(0)} tokens per second of processor time in all, ${r.soloTokensPerCpuSecond.toFixed(0)} with one stream: ${r.cpuRatio.toFixed(2)} times
a prompt of ${r.repeated.promptTokens} tokens: first token after ${r.repeated.firstMs.toFixed(1)} ms, sent again after ${r.repeated.againMs.toFixed(1)} ms; a decoding step takes ${r.repeated.stepMs.toFixed(1)} ms, a chunk of ${CHUNK} tokens ${r.repeated.chunkMs.toFixed(1)} ms (medians)`);
  if (r.errors + r.incomplete + r.wrong > 0) process.exitCode = 1;
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) await main();
