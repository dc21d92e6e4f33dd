// A strict reader of the Prometheus text format 0.0.4: whatever the format's description does not allow is an error.
import assert from 'node:assert/strict';

const sample = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{([^{}]*)\})? (-?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?|Inf)|NaN)$/;
const label = /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"$/;

function readLabels(text) {
  const labels = {};
  if (!text) return labels;
  for (const part of text.split(/,(?=[a-zA-Z_][a-zA-Z0-9_]*=")/)) {
    const match = label.exec(part);
    assert.ok(match, `a malformed label: ${part}`);
    assert.ok(!(match[1] in labels), `a label twice: ${part}`);
    labels[match[1]] = match[2];
  }
  return labels;
}

function checkHistogram(family) {
  let last = 0, before = -Infinity;
  const buckets = family.samples.filter((s) => s.name.endsWith('_bucket'));
  for (const { labels, value } of buckets) {
    const bound = labels.le === '+Inf' ? Infinity : Number(labels.le);
    assert.ok(bound > before, `bounds ascend: ${labels.le}`);
    assert.ok(value >= last, `counts are cumulative: ${family.name} ${labels.le}`);
    [last, before] = [value, bound];
  }
  assert.equal(before, Infinity, `${family.name} has a +Inf bucket`);
  const count = family.samples.find((s) => s.name === `${family.name}_count`);
  assert.equal(count?.value, last, `${family.name}_count is the last bucket`);
  assert.ok(family.samples.some((s) => s.name === `${family.name}_sum`));
}

/** {name: {name, type, help, samples: [{name, labels, value}]}}; throws on any violation. */
export function parsePrometheus(text) {
  assert.ok(text.endsWith('\n'), 'the last line ends');
  const families = {}, seen = new Set();
  let family = null;
  for (const line of text.slice(0, -1).split('\n')) {
    const help = /^# HELP ([a-zA-Z_:][a-zA-Z0-9_:]*) (\S.*)$/.exec(line);
    const type = /^# TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) (counter|gauge|histogram)$/.exec(line);
    if (help) {
      assert.ok(!(help[1] in families), `${help[1]} begins once`);
      family = families[help[1]] = { name: help[1], help: help[2], samples: [] };
      continue;
    }
    assert.ok(family, `a sample before its family: ${line}`);
    if (type) {
      assert.ok(type[1] === family.name && !family.type && family.samples.length === 0, line);
      family.type = type[2];
      continue;
    }
    const match = sample.exec(line);
    assert.ok(match, `a malformed line: ${line}`);
    const [, name, labels, value] = match;
    const suffix = family.type === 'histogram' ? ['_bucket', '_sum', '_count'] : [''];
    assert.ok(family.type && suffix.some((s) => name === family.name + s), `${name} under ${family.name}`);
    const key = `${name}{${labels ?? ''}}`;
    assert.ok(!seen.has(key), `twice: ${key}`);
    seen.add(key);
    family.samples.push({ name, labels: readLabels(labels), value: Number(value) });
  }
  for (const f of Object.values(families)) {
    if (f.type === 'counter') assert.match(f.name, /_total$/);
    if (f.type === 'histogram') checkHistogram(f);
  }
  return families;
}
