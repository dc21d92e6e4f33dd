// Rude clients, killed servers, damaged caches: tests/chaos at length.
//   usage: node scripts/chaos.mjs [--requests 5000] [--seed 1] [--restarts 40] [--clients 12] [--tmpfs-mb 8] [--server FILE] [--model FILE]
// The server binary: --server, else DS4_SERVER_BINARY, else build/release/bin/ds4-server.
import { parseArgs } from 'node:util';

const { values } = parseArgs({ options: Object.fromEntries(['requests', 'seed', 'restarts', 'clients', 'tmpfs-mb', 'queries', 'server', 'model', 'slowdown']
  .map((name) => [name, { type: 'string' }])) });
if (values.server) process.env.DS4_SERVER_BINARY = values.server;
if (values.slowdown) process.env.DS4_TEST_SLOWDOWN = values.slowdown;
const { runChaos } = await import('../tests/chaos/chaos.mjs');
const { nanoModel } = await import('../tests/api/harness.mjs');
const number = (name, otherwise) => Number(values[name] ?? otherwise);
const requests = number('requests', 5000);
const { report, failures } = await runChaos({ requests, seed: number('seed', 1), restarts: number('restarts', Math.ceil(requests / 125)),
  clients: number('clients', 12), queries: number('queries', 40), tmpfs: number('tmpfs-mb', 8), model: values.model ?? nanoModel() });
console.log(JSON.stringify(report, null, 2));
for (const failure of failures) console.error(`FAILED: ${failure}`);
console.log(failures.length ? `chaos: ${failures.length} failures` : 'chaos: no crash, no hang, no leak, no wrong answer');
process.exit(failures.length ? 1 : 0);
