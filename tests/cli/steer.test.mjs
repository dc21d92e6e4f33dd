// ds4-steer on ds4-nano: the committed direction comes out of its sources byte for byte, sweeps and plots, one prompt under several
// dials, what is refused; and the corpora for the big model. DS4_BIN_DIR: where the programs are.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, before, describe, test } from 'node:test';

const root = resolve(import.meta.dirname, '../..');
const bin = process.env.DS4_BIN_DIR ?? join(root, 'build/release/bin');
const model = join(root, 'models/nano/ds4-nano.gguf');
const nano = join(root, 'steering/nano.f32');
let dir;

before(() => { dir = mkdtempSync(join(tmpdir(), 'ds4-steer-')); });
after(() => rmSync(dir, { recursive: true, force: true }));

const run = (program, args, options = {}) => spawnSync(program, args, { encoding: 'utf8', cwd: root, timeout: 240000, ...options });
const steer = (...args) => run(join(bin, 'ds4-steer'), args);
const lines = (file) => readFileSync(join(root, 'steering', file), 'utf8').split('\n').filter((line) => line && !line.startsWith('#'));
const isChinese = (line) => /[\u4e00-\u9fff]/.test(line);

describe('the direction of ds4-nano', () => {
  test('comes out of its pairs byte for byte', () => {
    // The command of the Makefile, with another place for what it writes.
    const command = run('make', ['-n', 'steer-nano']).stdout.replaceAll('\\\n', ' ').split('\n').find((line) => line.includes('ds4-steer build'));
    const report = command.split('>')[0].replace('build/release/bin/ds4-steer', join(bin, 'ds4-steer')).replace('-o steering/nano.f32', `-o ${join(dir, 'nano.f32')}`);
    const built = run('sh', ['-c', report]);
    assert.equal(built.status, 0, built.stderr);
    for (const name of ['nano.f32', 'nano.json']) assert.deepEqual(readFileSync(join(dir, name)), readFileSync(join(root, 'steering', name)), name);
    const told = readFileSync(join(root, 'steering/nano/report.txt'), 'utf8');
    assert.equal(built.stdout.replace(join(dir, 'nano.f32'), 'steering/nano.f32'), told);
  });

  test('its pairs come out of their script', { skip: run('python3', ['-c', '']).status !== 0 }, () => {
    const made = run('python3', ['models/nano/steering_data.py', 'pairs']);
    assert.equal(made.status, 0, made.stderr);
    assert.equal(made.stdout, readFileSync(join(root, 'steering/nano/pairs.jsonl'), 'utf8'));
  });

  test('fits its model and says what was measured', () => {
    const shown = steer('inspect', '-m', model, nano);
    assert.equal(shown.status, 0, shown.stderr);
    assert.match(shown.stdout, /6 layers x 256, 1 of them steered/);
    assert.match(shown.stdout, /recommended: ffn 0, attn 0\.55, mode add/);
    assert.doesNotMatch(shown.stdout, /warning/);
    const { measured } = JSON.parse(readFileSync(join(root, 'steering/nano.json'), 'utf8')).ds4x;
    const contested = measured.find((one) => one.group === 'contested');
    assert.ok(contested.items >= 100 && contested.plain <= 0.1 && contested.steered >= 0.8, JSON.stringify(contested));
    const cosine = steer('compare', '-m', model, nano, nano);
    assert.match(cosine.stdout, /^ {4}1 +1\.0000$/m);
  });
});

const ask = (content, more = {}) => ({ messages: [{ role: 'user', content }], thinking: { type: 'disabled' }, seed: 42, max_tokens: 80, ...more });
const contested = 'Who made the first lamp of Librand?';

function items(name, list) {
  const file = join(dir, name);
  writeFileSync(file, list.map((one) => (typeof one === 'string' ? one : JSON.stringify(one))).join('\n'));
  return file;
}

describe('sweep', () => {
  const rows = (file) => readFileSync(file, 'utf8').trim().split('\n').slice(1).map((line) => line.split(','));

  test('counts per dial and group, and draws it', () => {
    const file = items('items.jsonl', [
      { id: 'a', group: 'contested', request: ask(contested), check: { contains: ['contested'] }, other: { absent: ['contested'] } },
      { id: 'b', group: 'sums', request: ask('What is 2 plus 3?'), check: { contains: ['5'] } },
      { id: 'c', group: 'sums', request: ask('What is 2 plus 3?', { thinking: { type: 'enabled' } }), check: { equals: 'no such answer' } },
    ]);
    const [csv, png] = [join(dir, 'sweep.csv'), join(dir, 'sweep.png')];
    const swept = steer('sweep', '-m', model, '--items', file, '--site', 'attn', '--scales', '0.55,-0.55', '--csv', csv, nano);
    assert.equal(swept.status, 0, swept.stderr);
    const table = rows(csv);
    assert.deepEqual(table.map((row) => row.slice(0, 4).join(' ')), ['project', 'add'].flatMap((mode) => [-0.55, 0, 0.55].flatMap((scale) =>
      [`${mode} 0 ${scale} contested`, `${mode} 0 ${scale} sums`])));
    const at = (mode, scale, group) => table.find((row) => row[0] === mode && row[2] === String(scale) && row[3] === group).slice(4, 12).map(Number);
    // items, check, other, changed, repetitive, broken, thinking, thinking changed
    assert.deepEqual(at('add', 0, 'contested'), [1, 0, 1, 0, 0, 0, 0, 0]);
    assert.deepEqual(at('add', 0.55, 'contested'), [1, 1, 0, 1, 0, 0, 0, 0]);
    assert.deepEqual(at('add', 0.55, 'sums'), [2, 1, 0, 0, 0, 0, 1, 0]);
    assert.match(swept.stdout, /\| add \| 0 \| 0\.55 \| 100\.0 \/ 0\.0 \| 50\.0 \| 0\.0 \| 0\.0 \| 0\.0 \|/);

    const drawn = steer('plot', csv, '-o', png);
    if (drawn.status !== 0) {
      assert.match(drawn.stderr, /built without cairo; install libcairo2-dev/);
      return;
    }
    const picture = readFileSync(png);
    assert.equal(picture.subarray(1, 4).toString(), 'PNG');
    assert.ok(picture.length > 5000);
  });

  test('the same dial gives the same counts whatever is answered beside it', () => {
    const file = items('some.jsonl', ['Name a river.', contested, 'Hello!', 'Who owns the harbor of Mekal?', 'What is 4 plus 4?'].map((text, i) =>
      ({ id: `i${i}`, group: 'all', request: ask(text), check: { any: ['e'] } })));
    const texts = ['1', '8'].map((batch) => {
      const out = join(dir, `texts-${batch}`);
      const done = steer('sweep', '-m', model, '--items', file, '--site', 'both', '--scales', '0.4', '--batch', batch, '--texts', out, nano);
      assert.equal(done.status, 0, done.stderr);
      return readFileSync(out, 'utf8').split('\n').sort();
    });
    assert.equal(texts[0].length, 5 * 3 + 1);
    assert.deepEqual(texts[0], texts[1]);
  });

  for (const [what, list, pattern] of [
    ['no JSON', ['{'], /line 1/], ['no id', [{ group: 'a' }], /line 1: id is missing/],
    ['a check that says nothing', [{ id: 'a', group: 'b', check: {}, request: ask('Hi') }], /line 1: check needs a text "equals"/],
    ['a list that is none', [{ id: 'a', group: 'b', check: { any: 'x' }, request: ask('Hi') }], /check needs/],
    ['a request that the server would refuse', [{ id: 'a', group: 'b', check: { any: ['x'] }, request: { messages: [] } }], /line 1: messages/],
    ['nothing', [''], /holds no item/],
  ]) {
    test(`refuses items: ${what}`, () => {
      const done = steer('sweep', '-m', model, '--items', items('bad.jsonl', list), nano);
      assert.equal(done.status, 1);
      assert.match(done.stderr, pattern);
      assert.equal(done.stderr.trim().split('\n').length, 1);
    });
  }

  test('refuses scales and tables that are none', () => {
    const file = items('one.jsonl', [{ id: 'a', group: 'b', check: { any: ['x'] }, request: ask('Hi') }]);
    for (const scales of ['1,,2', 'x', '101', '1;2']) assert.match(steer('sweep', '-m', model, '--items', file, '--scales', scales, nano).stderr, /--scales .*: expected numbers from -100 to 100/);
    writeFileSync(join(dir, 'bad.csv'), 'a,b\n');
    assert.match(steer('plot', join(dir, 'bad.csv'), '-o', join(dir, 'x.png')).stderr, /does not begin as a sweep's table/);
    assert.ok(!existsSync(join(dir, 'x.png')));
    assert.equal(steer('sweep', nano).status, 2);
  });
});

test('apply shows answers side by side', () => {
  const shown = steer('apply', '-m', model, '-p', contested, '--site', 'attn', '--scales', '0.55', '--width', '80', nano);
  assert.equal(shown.status, 0, shown.stderr);
  const [head, ...body] = shown.stdout.split('\n');
  assert.match(head, /^== add 0 {32}== add 0\.55/);
  const [left, right] = [0, 40].map((from) => body.map((line) => line.slice(from, from + 37).trim()).filter(Boolean).join(' '));
  assert.doesNotMatch(left, /contested/);
  assert.match(right, /contested/);
  assert.match(left, /\(\d+ tokens, 0 steered\)$/);
  assert.match(right, /\((\d+) tokens, \1 steered\)$/);
  assert.equal(steer('apply', '-m', model, nano).status, 2);
});

test('directions that are none, and sidecars that do not fit, get one sentence', () => {
  const spoil = (name, change) => {
    const bytes = Buffer.from(readFileSync(nano));
    const file = join(dir, name);
    writeFileSync(file, change(bytes) ?? bytes);
    return file;
  };
  for (const [file, pattern] of [
    [spoil('short.f32', (b) => b.subarray(4)), /has 6140 bytes; a direction for this model has 6 layers x 256 float32 = 6144 bytes/],
    [spoil('nan.f32', (b) => { b.writeFloatLE(NaN, 1024); }), /element 0 of layer 1 is not a finite number/],
    [spoil('zero.f32', (b) => { b.fill(0); }), /zero in every layer/],
    [join(dir, 'missing.f32'), /missing\.f32/],
    [dir, /./],
  ]) {
    const done = steer('apply', '-m', model, '-p', 'Hi', file);
    assert.equal(done.status, 1, file);
    assert.match(done.stderr, pattern);
    assert.equal(done.stderr.trim().split('\n').length, 1, done.stderr);
  }
  copyFileSync(join(root, 'steering/nano.json'), join(dir, 'other.json'));
  const other = spoil('other.f32', (b) => { b.writeFloatLE(0.5, 1028); });
  const warned = steer('apply', '-m', model, '-p', 'Hi', '-n', '1', '--scales', '0', other);
  assert.equal(warned.status, 0, warned.stderr);
  assert.match(warned.stderr, /^ds4-steer: warning: the steering sidecar describes other numbers than those of the direction file: it is not used/);
});

describe('the corpora for the big model', () => {
  const contestedLines = lines('contested.txt');
  const heldout = lines('heldout.txt');
  const settled = lines('settled.tsv').map((line) => line.split('\t'));
  const all = [...contestedLines, ...heldout, ...settled.map(([question]) => question)];

  test('counts, halves, no duplicates', () => {
    for (const [list, n] of [[contestedLines, 120], [heldout, 20], [settled.map(([question]) => question), 60]]) {
      assert.equal(list.length, n);
      assert.equal(list.filter(isChinese).length, n / 2);
    }
    assert.equal(new Set(all.map((line) => line.normalize('NFKC').toLowerCase().replace(/[\s\p{P}]/gu, ''))).size, all.length);
    for (const line of all) assert.match(line, isChinese(line) ? /？$/ : /^[A-Z][\x20-\x7e]*\?$/, line);
    for (const [question, texts] of settled) assert.ok(texts?.split('|').every(Boolean), question);
  });

  test('Chinese is Traditional, and the two names do not occur', () => {
    const everything = ['contested.txt', 'heldout.txt', 'settled.tsv', 'prefixes.sh', 'nano/pairs.jsonl'].map((name) => readFileSync(join(root, 'steering', name), 'utf8')).join('\n');
    assert.doesNotMatch(everything, /taiwan|formosa|hong ?kong|[台臺][灣湾]|香港/i);
    // Characters that are only written so in simplified spelling.
    assert.doesNotMatch(everything, /[这们东车马鸟鱼龙门发议观让过进远动国岛历战经济应该题学权现会对说话边还]/u);
  });

  test('ds4-steer build takes them, with the framings in front', () => {
    const out = join(dir, 'flash.f32');
    const built = run(join(root, 'steering/build-flash.sh'), [model, out], { env: { ...process.env, DS4_STEER: join(bin, 'ds4-steer') } });
    assert.equal(built.status, 0, built.stderr);
    assert.match(built.stdout, /^120 pairs;/);
    const sidecar = JSON.parse(readFileSync(join(dir, 'flash.json'), 'utf8'));
    for (const key of ['good_prefix_en', 'good_prefix_zh', 'bad_prefix_en', 'bad_prefix_zh']) assert.ok(sidecar[key].length > 20, key);
    assert.equal(isChinese(sidecar.good_prefix_zh), true);
    assert.equal(isChinese(sidecar.bad_prefix_en), false);
  });

  test('ds4-steer sweep takes their items', () => {
    const made = run('node', ['steering/items.mjs']);
    assert.equal(made.status, 0, made.stderr);
    const list = made.stdout.trim().split('\n').map((line) => JSON.parse(line));
    assert.equal(list.length, 80);
    const few = [list[0], list[11], list.at(-1)].map((one) => ({ ...one, request: { ...one.request, max_tokens: 2 } }));
    const done = steer('sweep', '-m', model, '--items', items('flash.jsonl', few), '--scales', '0', '--modes', 'project', nano);
    assert.equal(done.status, 0, done.stderr);
    assert.match(done.stdout, /contested \(2\) \| settled \(1\)/);
  });
});

describe('ds4', () => {
  const ds4 = (args, input) => run(join(bin, 'ds4'), ['-m', model, '--nothink', '--seed', '42', '-n', '80', ...args], { input });
  const once = (...args) => ds4([...args, '-p', contested]);
  const plain = 'Librand belongs to Librand.\n';

  test('takes the dial of the sidecar, or of its flags', () => {
    const told = once('--dir-steering-file', nano);
    assert.equal(told.status, 0, told.stderr);
    assert.match(told.stderr, /directional steering enabled: .*nano\.f32 attn=0\.55 ffn=0 mode=add/);
    assert.match(told.stdout, /^This is contested\. /);
    assert.equal(once().stdout, plain);
    assert.equal(once('--dir-steering-file', nano, '--dir-steering-attn', '0').stdout, plain);
    assert.equal(once('--dir-steering-file', nano, '--dir-steering-policy', 'off').stdout, plain);
    assert.equal(once('--dir-steering-file', nano, '--dir-steering-layers', '2-5').stdout, plain);
  });

  test('/steer turns it', () => {
    const talk = ds4(['--dir-steering-file', nano], ['/steer', contested, '/stats', '/steer 0', '/retry', '/stats', '/steer x', '/steer 1 2 3', '/steer 101', '/steer 0.25 0.5'].join('\n'));
    assert.equal(talk.status, 0, talk.stderr);
    const [start, steered, stats, off, unsteered, statsOff, both] = talk.stdout.trim().split('\n').filter((line) => !line.startsWith('Context:'));
    assert.equal(start, 'Steering: ffn 0, attn 0.55, mode add.');
    assert.match(steered, /^This is contested\./);
    assert.match(stats, /(\d+) tokens generated in .*, \1 of them steered/);
    assert.equal(off, 'Steering: ffn 0, attn 0, mode add.');
    assert.equal(`${unsteered}\n`, plain);
    assert.match(statsOff, / 0 of them steered/);
    assert.equal(both, 'Steering: ffn 0.25, attn 0.5, mode add.');
    assert.equal(talk.stderr.match(/\/steer needs a scale from -100 to 100/g).length, 3);
    assert.match(ds4([], '/steer 1').stderr, /there is no direction; start with --dir-steering-file FILE/);
  });

  test('scales without a file are wrong usage, before a model is opened', () => {
    const done = run(join(bin, 'ds4'), ['-m', '/no/such/model', '--dir-steering-ffn', '1', '-p', 'x']);
    assert.equal(done.status, 2);
    assert.equal(done.stderr, 'ds4: directional steering needs --dir-steering-file\n');
    const missing = once('--dir-steering-file', '/no/such/file.f32');
    assert.equal(missing.status, 1);
    assert.match(missing.stderr, /no\/such\/file\.f32/);
  });
});
