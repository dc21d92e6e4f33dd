#!/usr/bin/env node
// What quantising costs, on ds4-nano: makes its variants, judges each by held-out reference answers (ds4-gguf score) and by the
// evaluation through the server (evaluate.mjs), and prints the tables of docs/models.md.
//
//   node models/nano/quantized.mjs [--bin build/release/bin] [--out build/eval/quantized] [--per-skill 60] [--no-answers]
import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';

const here = import.meta.dirname;
const ORIGINAL = path.join(here, 'ds4-nano.gguf');
const CALIBRATION_DIALOGUES = 3000;

/** The released 2-bit recipe, and the same with what is known of the inputs and with the second search. */
const VARIANTS = [
  ['q8', []],
  ['q4', []],
  ['q4', ['imatrix']],
  ['q4', ['imatrix', 'refit']],
  ['q2', []],
  ['q2', ['imatrix']],
  ['q2', ['refit']],
  ['q2', ['imatrix', 'refit']],
];

function run(program, args) {
  const done = spawnSync(program, args, { encoding: 'utf8', maxBuffer: 1 << 28 });
  if (done.status !== 0) throw new Error(`${program} ${args.join(' ')}: ${done.error ?? done.stderr}`);
  return done.stdout;
}

/** Dialogues of the training side, rendered, in the form that `imatrix collect` reads. */
function calibration(file) {
  if (existsSync(file)) return;
  const text = execFileSync('python3', [path.join(here, 'corpus.py'), 'show', '--seed', '11', '--count', String(CALIBRATION_DIALOGUES)],
    { encoding: 'utf8', maxBuffer: 1 << 30 });
  writeFileSync(file, text.replaceAll(/^=== (\w+)$/gm, '===== DS4_IMATRIX_PROMPT $1'));
}

function quantise([recipe, with_], { gguf, out, imatrix }) {
  const file = path.join(out, `${[recipe, ...with_].join('-')}.gguf`);
  run(gguf, ['quantize', ORIGINAL, file, '--recipe', recipe, ...(with_.includes('imatrix') ? ['--imatrix', imatrix] : []),
    ...(with_.includes('refit') ? ['--refit'] : [])]);
  return file;
}

/** Negative log-likelihood per token, the share of right first tokens, and the change from the baseline's table. */
function score(gguf, file, cases, baseline) {
  const table = `${file}.csv`;
  const said = run(gguf, ['score', '-m', file, '--cases', cases, '-o', table, ...(baseline ? ['--baseline', baseline] : [])]);
  const [, change, low, high] = /change (\S+) \(95 % of resampled: (\S+) to ([^)]+)\)/.exec(said) ?? [];
  return {
    table,
    perToken: /likelihood: ([\d.]+) per token/.exec(said)[1],
    first: /first token right \d+ \(([\d.]+ %)\)/.exec(said)[1],
    change: change === undefined ? '' : `${change} (${low} to ${high})`,
  };
}

/** Right answers of the evaluation through the server; that a goal of the original is missed is no failure here. */
function evaluate(bin, file, items) {
  const json = `${file}.json`;
  const done = spawnSync(process.execPath, [path.join(here, 'evaluate.mjs'), '--model', file, '--items', items,
    '--server', path.join(bin, 'ds4-server'), '--json', json], { encoding: 'utf8', maxBuffer: 1 << 28 });
  if (done.stderr !== '') throw new Error(`evaluate.mjs: ${done.stderr}`);
  const results = JSON.parse(readFileSync(json, 'utf8'));
  return `${results.filter((r) => r.right).length}/${results.length}`;
}

function main() {
  const { values } = parseArgs({ options: {
    bin: { type: 'string', default: 'build/release/bin' }, out: { type: 'string', default: 'build/eval/quantized' },
    'per-skill': { type: 'string', default: '60' }, 'no-answers': { type: 'boolean', default: false },
  } });
  const gguf = path.join(values.bin, 'ds4-gguf');
  const at = (name) => path.join(values.out, name);
  mkdirSync(values.out, { recursive: true });
  calibration(at('calibration.txt'));
  writeFileSync(at('items.jsonl'), execFileSync('python3', [path.join(here, 'eval_items.py'), '--per-skill', values['per-skill']], { maxBuffer: 1 << 28 }));
  const imatrix = at('nano.imatrix.gguf');
  if (!existsSync(imatrix)) run(gguf, ['imatrix', 'collect', '-m', ORIGINAL, '--dataset', at('calibration.txt'), '-o', imatrix]);

  console.log('| file | bytes | loss per token | change from the original (95 % interval) | first token right | right answers |');
  console.log('| --- | --- | --- | --- | --- | --- |');
  const row = (name, file, judged) => {
    const answers = values['no-answers'] ? '' : evaluate(values.bin, file, at('items.jsonl'));
    console.log(`| ${name} | ${statSync(file).size} | ${judged.perToken} | ${judged.change} | ${judged.first} | ${answers} |`);
  };
  const original = at('original.gguf');
  copyFileSync(ORIGINAL, original);
  const reference = score(gguf, original, at('items.jsonl'));
  row('as committed (Q8_0)', original, reference);
  for (const variant of VARIANTS) {
    const file = quantise(variant, { gguf, out: values.out, imatrix });
    row([variant[0], ...variant[1]].join(' + '), file, score(gguf, file, at('items.jsonl'), reference.table));
  }
}

main();
