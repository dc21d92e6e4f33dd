// Clients as they are: patient ones, and those that leave, stutter, dawdle or talk nonsense.
import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { Response, encodeRequest } from '../api/harness.mjs';

/** Writes `pieces` with pauses, reads to the end. Resolves {response, error, ms}; `timedOut` is a hang. */
function talk(port, pieces, { pause = 0, leaveAfter = Infinity, leaveAtBytes = Infinity, readPause = 0, end = false, deadline }) {
  return new Promise((resolve) => {
    const begin = Date.now();
    const parts = [];
    let bytes = 0, error = null, left = false, done = false;
    const socket = net.connect({ port, host: '127.0.0.1', highWaterMark: readPause ? 256 : undefined });
    const finish = (extra = {}) => {
      if (done) return;
      done = true;
      clearTimeout(timer);
      clearTimeout(leaving);
      socket.destroy();
      resolve({ response: new Response(Buffer.concat(parts)), error, left, ms: Date.now() - begin, ...extra });
    };
    const timer = setTimeout(() => finish({ timedOut: true }), deadline);
    const leaving = leaveAfter === Infinity ? null : setTimeout(() => { left = true; finish(); }, leaveAfter);
    socket.on('error', (e) => { error = e.code ?? String(e); });
    socket.on('close', () => finish());
    socket.on('data', (data) => {
      parts.push(data);
      bytes += data.length;
      if (bytes >= leaveAtBytes) { left = true; finish(); return; }
      if (readPause) { socket.pause(); setTimeout(() => socket.resume(), readPause); }
    });
    socket.on('connect', async () => {
      for (const piece of pieces) {
        if (done || socket.destroyed) return;
        socket.write(piece);
        if (pause) await sleep(pause);
      }
      if (end && !done) socket.end();
    });
  });
}

function cut(bytes, n, r) {
  const at = Array.from({ length: n - 1 }, () => r.below(bytes.length)).sort((a, b) => a - b);
  return [0, ...at].map((begin, i) => bytes.subarray(begin, at[i] ?? bytes.length));
}

const encode = ({ path, body }) => encodeRequest('POST', path, body, { 'Content-Type': 'application/json' });

const nonsense = [
  (r) => Buffer.from(Array.from({ length: 1 + r.below(400) }, () => r.below(256))),
  () => Buffer.from('POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n'),
  () => encodeRequest('POST', '/v1/chat/completions', '{"messages":[{"role":"user","content":'),
  () => encodeRequest('POST', '/v1/messages', '{"model":null,"messages":1}'),
  () => encodeRequest('POST', '/v1/responses', '[]'),
  () => encodeRequest('GET', '/../../etc/passwd'),
];

/** name: [weight, run(port, request, r, deadline) -> {response, error, left, ms, timedOut?}, is the answer wanted?] */
export const behaviours = {
  plain: [40, (port, q, r, deadline) => talk(port, [encode(q)], { deadline }), true],
  slowReader: [8, (port, q, r, deadline) => talk(port, [encode(q)], { readPause: 1 + r.below(20), deadline }), true],
  slowWriter: [8, (port, q, r, deadline) => talk(port, cut(encode(q), 2 + r.below(5), r), { pause: 5 + r.below(60), deadline }), true],
  chunked: [6, (port, q, r, deadline) => {
    const body = Buffer.from(JSON.stringify(q.body));
    const head = `POST ${q.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n`;
    const chunks = cut(body, 2 + r.below(4), r).filter((c) => c.length).flatMap((c) => [Buffer.from(`${c.length.toString(16)}\r\n`), c, Buffer.from('\r\n')]);
    return talk(port, [Buffer.concat([Buffer.from(head), ...chunks, Buffer.from('0\r\n\r\n')])], { deadline });
  }, true],
  leavesSoon: [10, (port, q, r, deadline) => talk(port, [encode(q)], { leaveAfter: r.below(60), deadline }), false],
  leavesInAnswer: [10, (port, q, r, deadline) => talk(port, [encode(q)], { leaveAtBytes: 1 + r.below(3000), deadline }), false],
  halfBody: [8, (port, q, r, deadline) => {
    const bytes = encode(q);
    const part = bytes.subarray(0, 1 + r.below(bytes.length - 1));
    return talk(port, [part], r.next() < 0.5 ? { end: true, deadline } : { leaveAfter: r.below(100), deadline });
  }, false],
  nonsense: [6, (port, q, r, deadline) => talk(port, [r.pick(nonsense)(r)], { end: true, deadline }), false],
  status: [4, (port, q, r, deadline) => talk(port, [encodeRequest('GET', r.pick(['/health', '/metrics', '/v1/status', '/v1/models']))], { deadline }), false],
};

const total = Object.values(behaviours).reduce((sum, [weight]) => sum + weight, 0);
export function pickBehaviour(r) {
  let at = r.below(total);
  for (const [name, [weight]] of Object.entries(behaviours)) if ((at -= weight) < 0) return name;
  throw new Error('unreachable');
}
