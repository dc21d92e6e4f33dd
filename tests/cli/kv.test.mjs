// ds4-kv on a directory that a server has written.
import test from 'node:test';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Server, chat, nanoModel, serverBinary, temporaryDirectory } from '../api/harness.mjs';

const binary = process.env.DS4_KV_BINARY ?? join(dirname(serverBinary), 'ds4-kv');
const run = (...args) => {
  const { status, stdout, stderr } = spawnSync(binary, args, { encoding: 'utf8' });
  return { status, stdout, stderr };
};

test('lists, verifies and prunes', async () => {
  const directory = temporaryDirectory();
  const server = await Server.start(['--kv-disk-dir', directory], { model: nanoModel() });
  const words = Array.from({ length: 200 }, (_, i) => `word${i}`).join(' ');
  assert.equal((await chat(server, { messages: [{ role: 'system', content: words }, { role: 'user', content: 'Hello!' }], max_tokens: 5 })).status, 200);
  await server.stop();
  writeFileSync(join(directory, 'notes.txt'), 'mine');

  const listed = run('list', directory);
  assert.equal(listed.status, 0, listed.stderr);
  assert.match(listed.stdout, /^ +\d+ +\d+ cold /m);
  assert.match(listed.stdout, /^ +\d+ +\d+ shutdown /m);
  assert.match(listed.stdout, /1 other files, left alone/);
  const sound = run('verify', directory);
  assert.equal(sound.status, 0);
  assert.match(sound.stdout, / 0 damaged; \d+ states, 0 of them incomplete/);

  const block = readdirSync(directory).find((f) => f.endsWith('.blk'));
  const bytes = readFileSync(join(directory, block));
  bytes[bytes.length - 1] ^= 1;
  writeFileSync(join(directory, block), bytes);
  assert.equal(run('verify', directory).status, 1);
  assert.ok(readdirSync(directory).includes(block));
  const repaired = run('verify', '--repair', directory);
  assert.match(repaired.stdout, /the checksum is wrong \(moved to quarantine\)/);
  assert.deepEqual(readdirSync(join(directory, 'quarantine')), [block]);
  assert.match(run('verify', directory).stdout, /[1-9]\d* of them incomplete/);

  const pruned = run('prune', '--space-mb', '0', '--quarantine', directory);
  assert.match(pruned.stdout, /0\.0 of \d+\.\d MiB left/);
  assert.deepEqual(readdirSync(directory).filter((f) => f !== 'tool-replay.log').sort(), ['notes.txt', 'quarantine']);
  assert.deepEqual(readdirSync(join(directory, 'quarantine')), []);
});

test('wrong usage and wrong directories', () => {
  assert.equal(run('shrink', '.').status, 2);
  assert.equal(run('list').status, 2);
  assert.equal(run('list', '/no/such/place').status, 1);
  assert.match(run('--help').stdout, /list, verify or prune/);
});
