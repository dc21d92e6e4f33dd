// What is installed beside the programs: service units, manual pages, completions; and the readiness that units wait for.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { spawnSync, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync, chmodSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '../..');
const bin = process.env.DS4_BIN_DIR ?? join(root, 'build/release/bin');
const directory = mkdtempSync(join(tmpdir(), 'ds4-packaging-'));
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
const has = (program) => spawnSync('which', [program]).status === 0;
const filled = (path) => readFileSync(join(root, 'packaging', path), 'utf8').replaceAll('@bindir@', bin);

for (const kind of ['user', 'system']) test(`the systemd unit: ${kind}`, { skip: !has('systemd-analyze') }, () => {
  const path = join(directory, 'ds4-server.service');
  writeFileSync(path, filled(`systemd/${kind}/ds4-server.service`));
  const checked = spawnSync('systemd-analyze', ['verify', `--${kind}`, '--man=no', path], { encoding: 'utf8',
    env: { ...process.env, XDG_RUNTIME_DIR: directory } });
  const about = `${checked.stdout}${checked.stderr}`.split('\n').filter((line) => line.includes('ds4-server'));
  assert.deepEqual(about, []);
  assert.equal(checked.status, 0, checked.stderr);
});

test('the launchd agent is a property list', { skip: !has('xmllint') && !has('plutil') }, () => {
  const path = join(directory, 'agent.plist');
  writeFileSync(path, filled('launchd/pi-ds4.ds4-server.plist'));
  const [program, ...args] = has('plutil') ? ['plutil', '-lint', path] : ['xmllint', '--noout', '--nonet', path];
  const checked = spawnSync(program, args, { encoding: 'utf8' });
  assert.equal(checked.status, 0, checked.stderr);
  const text = readFileSync(path, 'utf8').replace(/<!--[^]*?-->/g, '');
  const keys = [...text.matchAll(/<key>(\w+)<\/key>\s*<(\w+)/g)].map((m) => `${m[1]}:${m[2]}`);
  for (const key of ['Label:string', 'ProgramArguments:array', 'RunAtLoad:true', 'KeepAlive:dict', 'SuccessfulExit:false'])
    assert.ok(keys.includes(key), key);
});

test('manual pages: groff has nothing to say against them', { skip: !has('groff') }, () => {
  const made = spawnSync(join(root, 'scripts/man-pages.sh'), [bin, join(directory, 'man')], { encoding: 'utf8' });
  assert.equal(made.status, 0, made.stderr);
  const pages = readdirSync(join(directory, 'man'));
  for (const name of ['ds4', 'ds4-server', 'ds4-bench', 'ds4-kv', 'ds4-gguf', 'ds4-gguf-convert', 'ds4-gguf-imatrix-collect', 'ds4-steer-build'])
    assert.ok(pages.includes(`${name}.1`), name);
  for (const page of pages) {
    const shown = spawnSync('groff', ['-man', '-Tutf8', '-ww', join(directory, 'man', page)], { encoding: 'utf8' });
    assert.equal(shown.status, 0);
    assert.equal(shown.stderr, '', page);
    assert.match(shown.stdout.replace(/.\x08/g, ''), /SYNOPSIS/);
  }
});

test('completion in bash', { skip: !has('bash') }, () => {
  const ask = (...words) => {
    const script = `source ${join(root, 'packaging/completions/ds4.bash')}; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _ds4 "$1"; printf '%s\\n' "\${COMPREPLY[@]}"`;
    return spawnSync('bash', ['-c', script, 'bash', join(bin, 'ds4-server'), ...words], { encoding: 'utf8' }).stdout.split('\n').filter(Boolean);
  };
  assert.deepEqual(ask('--idle'), ['--idle-unload']);
  assert.ok(ask('--').includes('--model') && ask('--').includes('--cors'));
  assert.deepEqual(ask('--model', ''), []);
});

test('a service manager is told READY and STOPPING', { skip: !has('python3') }, async () => {
  const model = join(directory, 'tiny.gguf');
  assert.equal(spawnSync(join(bin, 'ds4-gguf'), ['synth', '--preset', 'tiny', '--seed', '1', '-o', model]).status, 0);
  const socket = join(directory, 'notify');
  const listener = spawn('python3', ['-c', `
import socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(${JSON.stringify(socket)})
print("bound", flush=True)
for _ in range(2): print(s.recv(100).decode(), flush=True)
`], { stdio: ['ignore', 'pipe', 'inherit'] });
  let said = '';
  listener.stdout.on('data', (d) => { said += d; });
  const until = async (text) => {
    for (let i = 0; i < 3000 && !said.includes(text); i++) await new Promise((r) => setTimeout(r, 10));
    assert.ok(said.includes(text), said);
  };
  await until('bound');
  chmodSync(socket, 0o600);
  const server = spawn(join(bin, 'ds4-server'), ['-m', model, '--port', '0'], { stdio: 'ignore', env: { ...process.env, NOTIFY_SOCKET: socket, DS4_CONFIG: '/dev/null' } });
  const ended = new Promise((r) => server.on('exit', r));
  await until('READY=1');
  server.kill('SIGTERM');
  await until('STOPPING=1');
  assert.equal(await ended, 0);
  listener.kill();
});
