#!/usr/bin/env node
// What quantising costs, on ds4-nano: makes its variants, judges each by held-out reference answers (ds4-gguf score) and by the
// evaluation through the server (evaluate.mjs), and prints the tables of docs/models.md. The second compares variants case by case:
// what tells apart a better file from one that was lucky in a few answers.
//
//   node models/nano/quantized.mjs [--bin build/release/bin] [--out build/eval/quantized] [--per-skill 200] [--asked 10]
//        [--calibration 1000] [--keep]
//
// --per-skill items of each skill are scored, --asked of each are asked of the server (0: none); --keep takes over what an
// earlier run with the same numbers and programs left in --out, so that an interrupted one goes on.
import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';

const here = import.meta.dirname;
const ORIGINAL = path.join(here, 'ds4-nano.gguf');
const NAMES = { q8: 'Q8_0', q4: 'Q4_K', q2: 'Q2_K + IQ2_XXS' };

/** Each recipe alone, with what is known of the inputs, with the second search, and with both. Q8_0 takes no importance. */
const VARIANTS = [
  ['q8', []], ['q8', ['refit']],
  ...['q4', 'q2'].flatMap((recipe) => [[], ['imatrix'], ['refit'], ['imatrix', 'refit']].map((with_) => [recipe, with_])),
];

function run(program, args) {
  const done = spawnSync(program, args, { encoding: 'utf8', maxBuffer: 1 << 28 });
  if (done.status !== 0) throw new Error(`${program} ${args.join(' ')}: ${done.error ?? done.stderr}`);
  return done.stdout;
}

/** Makes a file once: `make` writes it under another name, which is taken over when it is whole. */
function once(file, make) {
  if (existsSync(file)) return file;
  rmSync(`${file}.part`, { force: true });
  make(`${file}.part`);
  renameSync(`${file}.part`, file);
  return file;
}

/** Dialogues of the training side, rendered, in the form that `imatrix collect` reads. */
function calibration(count) {
  const text = execFileSync('python3', [path.join(here, 'corpus.py'), 'show', '--seed', '11', '--count', count],
    { encoding: 'utf8', maxBuffer: 1 << 30 });
  return text.replaceAll(/^=== (\w+)$/gm, '===== DS4_IMATRIX_PROMPT $1');
}

function items(perSkill) {
  return execFileSync('python3', [path.join(here, 'eval_items.py'), '--per-skill', perSkill], { maxBuffer: 1 << 28 });
}

/** Negative log-likelihood per token, the share of right first tokens, and the change from the baseline's table. */
function score(gguf, file, cases, baseline) {
  const said = readFileSync(once(`${file}.txt`, (out) => writeFileSync(out, run(gguf, ['score', '-m', file, '--cases', cases,
    '-o', `${file}.csv`, ...(baseline ? ['--baseline', baseline] : [])]))), 'utf8');
  const [, change, low, high] = /change (\S+) \(95 % of resampled: (\S+) to ([^)]+)\)/.exec(said) ?? [];
  return {
    perToken: /likelihood: ([\d.]+) per token/.exec(said)[1],
    first: /first token right \d+ \(([\d.]+ %)\)/.exec(said)[1],
    change: change === undefined ? '' : `${change} (${low} to ${high})`,
  };
}

/** Case by case, how much more loss per token `file` has than `other`, and the standard error of that. */
function difference(file, other) {
  const [a, b] = [file, other].map((name) => readFileSync(`${name}.csv`, 'utf8').trimEnd().split('\n').slice(1).map((line) => line.split(',')));
  if (a.length !== b.length || a.some((fields, i) => fields[0] !== b[i][0])) throw new Error(`${file} and ${other}: other cases`);
  const tokens = a.reduce((sum, fields) => sum + Number(fields[2]), 0);
  const changes = a.map((fields, i) => Number(fields[3]) - Number(b[i][3]));
  const mean = changes.reduce((sum, x) => sum + x, 0) / changes.length;
  const error = Math.sqrt(changes.reduce((sum, x) => sum + (x - mean) ** 2, 0) * changes.length / (changes.length - 1));
  const change = mean * changes.length / tokens;
  return `${change < 0 ? '' : '+'}${change.toFixed(6)} | ${(error / tokens).toFixed(6)}`;
}

/** Right answers of the evaluation through the server; that a goal of the original is missed is no failure here. */
function evaluate(bin, file, asked) {
  const json = once(`${file}.json`, (out) => {
    const done = spawnSync(process.execPath, [path.join(here, 'evaluate.mjs'), '--model', file, '--items', asked,
      '--server', path.join(bin, 'ds4-server'), '--json', out], { encoding: 'utf8', maxBuffer: 1 << 28 });
    if (done.stderr !== '') throw new Error(`evaluate.mjs: ${done.stderr}`);
  });
  const results = JSON.parse(readFileSync(json, 'utf8'));
  return `${results.filter((r) => r.right).length}/${results.length}`;
}

function main() {
  const { values } = parseArgs({ options: {
    bin: { type: 'string', default: 'build/release/bin' }, out: { type: 'string', default: 'build/eval/quantized' },
    'per-skill': { type: 'string', default: '200' }, asked: { type: 'string', default: '10' },
    calibration: { type: 'string', default: '1000' }, keep: { type: 'boolean', default: false },
  } });
  const gguf = path.join(values.bin, 'ds4-gguf');
  const at = (name) => path.join(values.out, name);
  if (!values.keep) rmSync(values.out, { recursive: true, force: true });
  mkdirSync(values.out, { recursive: true });
  const cases = once(at('cases.jsonl'), (out) => writeFileSync(out, items(values['per-skill'])));
  const asked = once(at('asked.jsonl'), (out) => writeFileSync(out, values.asked === '0' ? '' : items(values.asked)));
  const text = once(at('calibration.txt'), (out) => writeFileSync(out, calibration(values.calibration)));
  const imatrix = once(at('nano.imatrix.gguf'), (out) => run(gguf, ['imatrix', 'collect', '-m', ORIGINAL, '--dataset', text, '-o', out]));

  console.log('| experts | bytes | loss per token | change of loss (95 % interval) | first token right | right answers |');
  console.log('| --- | --- | --- | --- | --- | --- |');
  const row = (name, file, baseline) => {
    const judged = score(gguf, file, cases, baseline);
    const answers = values.asked === '0' ? '' : evaluate(values.bin, file, asked);
    console.log(`| ${name} | ${statSync(file).size} | ${judged.perToken} | ${judged.change} | ${judged.first} | ${answers} |`);
  };
  const original = once(at('original.gguf'), (out) => copyFileSync(ORIGINAL, out));
  row('as committed', original);
  const nameOf = (recipe, with_) => at(`${[recipe, ...with_].join('-')}.gguf`);
  for (const [recipe, with_] of VARIANTS) {
    const file = once(nameOf(recipe, with_), (out) => run(gguf, ['quantize', ORIGINAL, out, '--recipe', recipe,
      ...(with_.includes('imatrix') ? ['--imatrix', imatrix] : []), ...(with_.includes('refit') ? ['--refit'] : [])]));
    row([NAMES[recipe], ...with_].join(', '), file, `${original}.csv`);
  }
  console.log('\n| experts | imatrix and refit, beside | change of loss | its standard error over cases |\n| --- | --- | --- | --- |');
  for (const recipe of ['q4', 'q2']) {
    for (const with_ of [[], ['imatrix'], ['refit']])
      console.log(`| ${NAMES[recipe]} | ${with_[0] ?? 'neither'} | ${difference(nameOf(recipe, ['imatrix', 'refit']), nameOf(recipe, with_))} |`);
  }
}

main();
