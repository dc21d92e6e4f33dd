// A short storm; `make chaos` is a long one.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { runChaos } from '../chaos/chaos.mjs';
import { tinyModel, slowdown } from './harness.mjs';

test('chaos: rude clients, ends and kills, a damaged cache', { timeout: 600000 }, async (t) => {
  const seed = 20261125;
  const { report, failures } = await runChaos({ requests: slowdown > 1 ? 80 : 150, seed, restarts: slowdown > 1 ? 2 : 4, model: tinyModel() });
  t.diagnostic(JSON.stringify(report));
  assert.deepEqual(failures, [], `seed ${seed}`);
  assert.ok(report.compared > 20, JSON.stringify(report));
});
