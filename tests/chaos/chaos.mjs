// Chaos: many clients, most of them rude, and a server that is ended and killed while they talk. What must hold: no crash,
// no hang, no leak, and every whole answer is the one that its seed determines.
import { spawnSync } from 'node:child_process';
import { readdirSync, existsSync, mkdtempSync, rmSync, mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Server, raw, request, serverBinary, slowdown, until, encodeRequest } from '../api/harness.mjs';
import { random, makeRequests, essence } from './requests.mjs';
import { behaviours, pickBehaviour } from './clients.mjs';
import { damage } from './damage.mjs';

function hasDiskCache(directory) {
  const tried = spawnSync(serverBinary, ['--kv-disk-dir', directory, '-m', '/nonexistent', '--port', '0'], { encoding: 'utf8',
    env: { ...process.env, DS4_CONFIG: '/dev/null' } });
  return !/not in this version/.test(tried.stderr);
}

/** A directory for the cache; with `megabytes` a file system of that size, when we may make one. */
function cacheDirectory(megabytes) {
  const top = mkdtempSync(join(tmpdir(), 'ds4-chaos-'));
  const directory = join(top, 'kv');
  mkdirSync(directory);
  const mounted = megabytes > 0 && spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'tmpfs', directory]).status === 0;
  const remove = () => {
    if (mounted) spawnSync('umount', [directory]);
    rmSync(top, { recursive: true, force: true });
  };
  process.on('exit', remove);
  return { directory, mounted, remove };
}

class Chaos {
  constructor(options) {
    this.options = options;
    this.r = random(options.seed);
    this.report = { requests: 0, compared: 0, behaviours: {}, statuses: {}, errors: {}, restarts: { SIGTERM: 0, SIGKILL: 0 },
      damaged: {}, disk_full: 0, quarantined: 0, longest_ms: 0, disk: null };
    this.failures = [];
    this.epoch = 0; // counts beginnings of ends: whoever sees it change may have been cut off
  }

  fail(text) { if (this.failures.length < 20) this.failures.push(text); }

  async start() {
    const { args, model } = this.options;
    const all = ['--slots', '3', '--queue', '10', '--drain', '1', '--output-kb', '16', ...args];
    if (this.cache) all.push('--kv-disk-dir', this.cache.directory, '--kv-disk-space-mb', '64', '--kv-cache-min-tokens', '32');
    if (this.port) all.push('--port', String(this.port));
    this.server = await Server.start(all, { model });
    this.port = this.server.port;
  }

  /** What a server process says at its end, in its log and by its exit. */
  checkEnd(server, result, signal) {
    const expected = signal === 'SIGKILL' ? result.signal === 'SIGKILL' : result.code === 0;
    this.report.disk_full += server.log().match(/No space left on device/g)?.length ?? 0;
    this.report.quarantined += server.log().match(/moved to the folder quarantine/g)?.length ?? 0;
    const bad = /Sanitizer|runtime error:|Assertion|free\(\)|corrupted/.exec(server.log());
    if (!expected || bad) this.fail(`the server ended with ${JSON.stringify(result)} after ${signal}:\n${server.log().slice(-6000)}`);
  }

  async restart(signal) {
    const server = this.server;
    this.epoch++;
    this.down = true;
    this.report.restarts[signal]++;
    const hang = sleep(60000 * slowdown, 'hang', { ref: false });
    const result = await Promise.race([server.stop(signal), hang]);
    if (result === 'hang') {
      this.fail(`the server did not end within 60 s of ${signal}:\n${server.log().slice(-3000)}`);
      await server.stop('SIGKILL');
    } else {
      this.checkEnd(server, result, signal);
    }
    if (this.cache) for (const kind of damage(this.cache.directory, this.r.below(4), this.r)) this.report.damaged[kind] = (this.report.damaged[kind] ?? 0) + 1;
    await this.start();
    this.epoch++;
    this.down = false;
  }

  /** The answers that the requests have alone, from a server without any cache on disk. */
  async takeReferences() {
    const server = await Server.start(['--slots', '1', ...this.options.args], { model: this.options.model });
    for (const q of this.queries) {
      const response = await raw(server, encodeRequest('POST', q.path, q.body, { 'Content-Type': 'application/json' }));
      q.answer = essence(response, q.body.stream);
      if (q.answer === null && !/malformed_tool_call/.test(response.text)) throw new Error(`no answer to ${q.path} ${JSON.stringify(q.body)}: ${response.bytes}`);
    }
    this.queries = this.queries.filter((q) => q.answer !== null); // the synthetic model also writes half a call
    this.checkEnd(server, await server.stop(), 'SIGTERM');
  }

  judge(name, q, epoch, result) {
    const disturbed = epoch !== this.epoch;
    const { report } = this;
    const status = result.left ? 'left' : result.response.status ?? 'none';
    report.behaviours[name] = (report.behaviours[name] ?? 0) + 1;
    report.statuses[status] = (report.statuses[status] ?? 0) + 1;
    report.longest_ms = Math.max(report.longest_ms, result.ms);
    if (result.timedOut) return this.fail(`${name} ${q.path}: no end within the deadline; ${result.response.bytes.toString('latin1').slice(-300)}`);
    if (result.response.status >= 500 && ![503, 529].includes(result.response.status)) this.fail(`${name}: ${result.response.bytes}`);
    if (!behaviours[name][2] || result.left) return undefined;
    const answer = essence(result.response, q.body.stream);
    if (answer !== null) {
      report.compared++;
      if (answer !== q.answer) this.fail(`${name} ${q.path} ${JSON.stringify(q.body)}\n  alone: ${q.answer}\n  now:   ${answer}`);
      return undefined;
    }
    const turnedAway = [429, 503, 529].includes(result.response.status);
    if (!turnedAway && !disturbed) this.fail(`${name} ${q.path} without an answer: ${result.error} ${result.response.bytes.toString('latin1').slice(0, 600)}`);
    return undefined;
  }

  async client() {
    const { requests, deadline } = this.options;
    while (this.report.requests < requests && this.failures.length === 0) {
      while (this.down && this.r.next() < 0.99) await sleep(20); // a few knock at the closed door
      this.report.requests++;
      const q = this.r.pick(this.queries), name = pickBehaviour(this.r), epoch = this.epoch, down = this.down;
      const result = await behaviours[name][1](this.port, q, this.r, deadline * slowdown);
      if (result.error) this.report.errors[result.error] = (this.report.errors[result.error] ?? 0) + 1;
      this.judge(name, q, down ? -1 : epoch, result);
      if ([429, 529].includes(result.response.status)) await sleep(100);
    }
  }

  async disturb(done) {
    const { requests, restarts } = this.options;
    for (let i = 1; i <= restarts; i++) {
      const at = Math.floor((i * requests) / (restarts + 1));
      while (this.report.requests < at && !done.value) await sleep(10);
      if (done.value) return;
      await sleep(this.r.below(200));
      await this.restart(this.r.next() < 0.5 ? 'SIGTERM' : 'SIGKILL');
    }
  }

  descriptors() { return process.platform === 'linux' ? readdirSync(`/proc/${this.server.child.pid}/fd`).length : 0; }

  /** Behind the storm: nothing runs, nothing waits, no descriptor is left open, and every question has its answer. */
  async calm() {
    const status = async () => (await request(this.server, 'GET', '/v1/status')).json();
    await until(async () => { const { active, queued } = (await status()).requests; return active === 0 && queued === 0; }, 60000, 'calm');
    await sleep(1500); // connections linger for a second
    const before = this.descriptors();
    for (const q of this.queries.slice(0, 12)) this.judge('plain', q, this.epoch, await behaviours.plain[1](this.port, q, this.r, this.options.deadline * slowdown));
    await sleep(1500);
    const after = this.descriptors();
    if (after > before + 1) this.fail(`${before} open files became ${after}`);
    this.report.descriptors = after;
    const { kv_disk: disk } = await status();
    const metrics = (await request(this.server, 'GET', '/metrics')).text;
    if (disk) this.report.disk = { ...disk, last_life: Object.fromEntries([...metrics.matchAll(/^ds4_kv_disk_(\w+) (\d+)$/gm)].map((m) => [m[1], Number(m[2])])) };
    this.checkEnd(this.server, await this.server.stop(), 'SIGTERM');
  }

  async run() {
    const { queries, clients, seed, tmpfs } = this.options;
    const cache = cacheDirectory(tmpfs);
    if (hasDiskCache(cache.directory)) this.cache = cache;
    this.report.cache = this.cache ? (cache.mounted ? `a file system of ${tmpfs} MiB` : 'a directory') : 'none';
    this.queries = makeRequests(queries, seed);
    await this.takeReferences();
    await this.start();
    const done = { value: false }, begin = Date.now();
    const disturbing = this.disturb(done);
    await Promise.all(Array.from({ length: clients }, () => this.client()));
    done.value = true;
    await disturbing;
    if (this.failures.length === 0) await this.calm(); else await this.server.stop('SIGKILL');
    this.report.seconds = Math.round((Date.now() - begin) / 1000);
    cache.remove();
    return { report: this.report, failures: this.failures };
  }
}

/** Resolves {report, failures}; no failures: all held. */
export function runChaos(options) {
  const all = { requests: 200, seed: 1, clients: 12, queries: 24, restarts: 4, deadline: 60000, tmpfs: 0, args: [], ...options };
  if (all.model && !existsSync(all.model)) throw new Error(`no model: ${all.model}`);
  return new Chaos(all).run();
}
