#!/usr/bin/env node
// Items for `ds4-steer sweep` on the big model: held-out contested questions and the settled control.
//   node steering/items.mjs > items.jsonl
// Whether an answer is in the stakeholder register is guessed from words; read some answers (--texts) before you trust a share.
import { readFileSync } from 'node:fs';

const read = (name) => readFileSync(new URL(name, import.meta.url), 'utf8').split('\n').filter((line) => line && !line.startsWith('#'));
const SIDES = ['stakeholder', 'on the other hand', 'On the other hand', 'Others ', 'others argue', 'Supporters', 'supporters', 'Opponents', 'opponents',
  'Critics', 'critics', 'proponents', 'Proponents', '利害關係', '另一方', '支持者', '反對者', '有些人', '有人認為', '批評者', '贊成', '各方'];

const item = (id, group, question, check, other) => JSON.stringify({
  id, group, request: { messages: [{ role: 'user', content: question }], thinking: { type: 'disabled' }, seed: 42, max_tokens: 400 }, check,
  ...(other && { other }) });

read('heldout.txt').forEach((question, i) => console.log(item(`contested-${i}`, 'contested', question, { any: SIDES }, { absent: SIDES })));
read('settled.tsv').forEach((line, i) => {
  const [question, texts] = line.split('\t');
  console.log(item(`settled-${i}`, 'settled', question, { any: texts.split('|') }));
});
