// What the API tests share: a synthetic model, a server on a free port, and clients that see every byte.
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import net from 'node:net';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const bin = join(root, 'build', 'release', 'bin');
export const serverBinary = process.env.DS4_SERVER_BINARY ?? join(bin, 'ds4-server');
export const ggufBinary = process.env.DS4_GGUF_BINARY ?? join(bin, 'ds4-gguf');
/** Waiting times are multiplied by this: sanitizers make the server many times slower. */
export const slowdown = Number(process.env.DS4_TEST_SLOWDOWN ?? 1);
export const fixtures = join(root, 'tests', 'fixtures', 'api');

/** A directory that disappears with the test process. */
export function temporaryDirectory() {
  const directory = mkdtempSync(join(tmpdir(), 'ds4-api-'));
  process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

let model;
/** The path of a tiny synthetic model, one layer of each kind, with a byte-level vocabulary. DS4_TEST_MODEL names another one. */
export function tinyModel() {
  if (process.env.DS4_TEST_MODEL) return process.env.DS4_TEST_MODEL;
  if (!model) {
    model = join(temporaryDirectory(), 'tiny.gguf');
    const made = spawnSync(ggufBinary, ['synth', '--preset', 'tiny', '--layers', '4', '--seed', '1', '-o', model], { encoding: 'utf8' });
    if (made.status !== 0 || !existsSync(model)) throw new Error(`no model: ${made.error ?? made.stderr}`);
  }
  return model;
}

/** The trained model of the repository, for tests of what an answer means. */
export const nanoModel = () => join(root, 'models', 'nano', 'ds4-nano.gguf');

/** What `ds4-gguf inspect` says of a model. */
function inspect(path) {
  return JSON.parse(spawnSync(ggufBinary, ['inspect', path, '--json'], { encoding: 'utf8', maxBuffer: 1 << 26 }).stdout);
}

/** The tokens of a model by their ids. */
export const tokensOf = (path) => inspect(path).metadata['tokenizer.ggml.tokens'].value;

let endless;
/** The tiny model with the output rows of the tokens that end a turn set to zero: among the 40 likeliest tokens, which are
 * all that a thinking answer is drawn from, they never are. Its answers end only by a limit. */
export function endlessModel() {
  if (endless) return endless;
  const { tensors, metadata } = inspect(tinyModel());
  const bytes = readFileSync(tinyModel());
  const output = tensors.find((t) => t.name === 'output.weight');
  const row = output.bytes / output.ne[1];
  const tokens = metadata['tokenizer.ggml.tokens'].value;
  for (const token of ['<\uff5cend\u2581of\u2581sentence\uff5c>', '<\uff5cUser\uff5c>']) {
    const id = tokens.indexOf(token);
    if (id < 0 || !Number.isInteger(row)) throw new Error(`the tiny model is not as expected: ${token}, ${row}`);
    bytes.fill(0, output.offset + id * row, output.offset + (id + 1) * row);
  }
  endless = join(temporaryDirectory(), 'endless.gguf');
  writeFileSync(endless, bytes);
  return endless;
}

const running = new Set();
process.on('exit', () => { for (const child of running) child.kill('SIGKILL'); }); // what a failed test has left behind

/** A running server: `port`, `log()` so far, `stop()`, `exited` (a promise of {code, signal}). */
export class Server {
  static async start(args = [], { model = tinyModel(), ready = true, env = {}, timeout = 120000 } = {}) {
    const server = new Server();
    const all = ['-m', model, '--port', '0', '--ctx', '8192', ...args];
    server.child = spawn(serverBinary, all, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, DS4_CONFIG: '/dev/null', DS4_MODEL: '', DS4_API_KEY: '', DS4_THREADS: process.env.DS4_TEST_THREADS ?? '', ...env },
    });
    running.add(server.child);
    server.child.on('exit', () => running.delete(server.child));
    server.text = '';
    server.stdout = '';
    server.child.stderr.on('data', (d) => { server.text += d; });
    server.child.stdout.on('data', (d) => { server.stdout += d; });
    server.exited = new Promise((resolve) => {
      server.child.on('exit', (code, signal) => resolve(server.result = { code, signal }));
      server.child.on('error', (error) => resolve(server.result = { error: String(error) }));
    });
    const pattern = ready ? /listening on http:\/\/\S+:(\d+)/ : /bound \S+ port (\d+)/;
    await until(() => pattern.test(server.text) || server.result, timeout, 'the server to start');
    if (server.result) throw new Error(`the server ended (${JSON.stringify(server.result)}):\n${server.text}`);
    server.port = Number(/bound \S+ port (\d+)/.exec(server.text)[1]);
    return server;
  }
  log() { return this.text; }
  async stop(signal = 'SIGTERM') {
    if (!this.result) this.child.kill(signal);
    return this.exited;
  }
  async health() { return (await request(this, 'GET', '/health')).json(); }
}

/** Waits until `condition()` is true (polls). */
export async function until(condition, ms, what) {
  const end = Date.now() + ms * slowdown;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) throw new Error(`waited ${ms} ms for ${what}`);
    await new Promise((r) => setTimeout(r, 10));
  }
}

export class Response {
  constructor(bytes) {
    this.bytes = bytes;
    while (bytes.subarray(0, 12).toString('latin1') === 'HTTP/1.1 100') {
      this.interim = true;
      bytes = bytes.subarray(bytes.indexOf('\r\n\r\n') + 4);
    }
    const end = bytes.indexOf('\r\n\r\n');
    const lines = (end < 0 ? bytes : bytes.subarray(0, end)).toString('latin1').split('\r\n');
    this.status = bytes.length ? Number(lines[0].split(' ')[1]) : null;
    this.headers = {};
    for (const line of lines.slice(1)) {
      const colon = line.indexOf(':');
      if (colon > 0) this.headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim();
    }
    this.body = end < 0 ? Buffer.alloc(0) : bytes.subarray(end + 4);
  }
  /** The body as text; fails on malformed UTF-8. */
  get text() { return new TextDecoder('utf-8', { fatal: true }).decode(this.body); }
  json() { return JSON.parse(this.text); }
  /** [{event, data}] of a stream; comments are left out. */
  events() { return parseEvents(this.text); }
}

export function parseEvents(text) {
  const events = [];
  for (const block of text.split('\n\n')) {
    let event = null;
    const data = [];
    for (const line of block.split('\n')) {
      if (line.startsWith('event:')) event = line.slice(6).trim();
      else if (line.startsWith('data:')) data.push(line.slice(5).trimStart());
    }
    if (data.length) events.push({ event, data: data.join('\n') });
  }
  return events;
}

/** Sends raw bytes and reads to the end of the connection. */
export function raw(server, bytes, { timeout = 120000, end = false } = {}) {
  return new Promise((resolve, reject) => {
    const parts = [];
    const socket = net.connect(server.port, '127.0.0.1');
    const timer = setTimeout(() => { socket.destroy(); reject(new Error('no complete response in time')); }, timeout * slowdown);
    socket.on('connect', () => { if (end) socket.end(bytes); else socket.write(bytes); });
    socket.on('data', (d) => parts.push(d));
    socket.on('error', () => {}); // a reset behind the response is the server's right
    socket.on('close', () => { clearTimeout(timer); resolve(new Response(Buffer.concat(parts))); });
  });
}

export function encodeRequest(method, path, body, headers = {}) {
  const bytes = body === undefined ? Buffer.alloc(0) : Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
  const all = { Host: '127.0.0.1', ...headers };
  if (body !== undefined || method === 'POST' || method === 'PUT') all['Content-Length'] = bytes.length;
  const lines = Object.entries(all).map(([k, v]) => `${k}: ${v}\r\n`).join('');
  return Buffer.concat([Buffer.from(`${method} ${path} HTTP/1.1\r\n${lines}\r\n`), bytes]);
}

export function request(server, method, path, body, headers) {
  return raw(server, encodeRequest(method, path, body, headers));
}

export const chatPath = '/v1/chat/completions';
export function chat(server, body, headers) {
  return request(server, 'POST', chatPath, body, { 'Content-Type': 'application/json', ...headers });
}

export function user(content, rest = {}) {
  return { messages: [{ role: 'user', content }], ...rest };
}

/** An open chat request: `text()` so far, `leave()` closes it, `closed` resolves at its end. */
export function openChat(server, body) {
  const socket = net.connect(server.port, '127.0.0.1');
  const parts = [];
  const open = { socket, text: () => Buffer.concat(parts).toString('latin1'), leave: () => socket.destroy() };
  open.closed = new Promise((resolve) => socket.on('close', resolve));
  socket.on('error', () => {});
  socket.on('data', (d) => parts.push(d));
  socket.write(encodeRequest('POST', chatPath, body, { 'Content-Type': 'application/json' }));
  return open;
}
