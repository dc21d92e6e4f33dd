// The table of black-box cases: every protocol, and HTTP itself.
import { test, before, after } from 'node:test';
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Server, fixtures, raw, encodeRequest, request } from './harness.mjs';
import { expand, judge } from './match.mjs';

const cases = readFileSync(join(fixtures, 'cases.jsonl'), 'utf8').trim().split('\n').map((line) => JSON.parse(line));
let server;

before(async () => { server = await Server.start(['--queue', '32']); });
after(async () => { if (server) assert.deepEqual(await server.stop(), { code: 0, signal: null }, server.log()); });

for (const c of cases) {
  test(`${c.profile}: ${c.name}`, async () => {
    const bytes = c.raw !== undefined ? Buffer.from(c.raw, 'latin1')
      : encodeRequest(c.method, c.path, c.body === null ? undefined : expand(c.body), c.headers);
    const response = await raw(server, bytes);
    assert.deepEqual(judge(c.expect, response), []);
    if (response.status >= 400 && c.method !== 'HEAD') {
      const { type, error } = response.json();
      assert.equal(typeof error.message, 'string');
      assert.equal(typeof error.type, 'string');
      if (c.path.startsWith('/v1/messages')) assert.equal(type, 'error');
      else assert.ok('param' in error && 'code' in error);
    }
  });
}

test('the server is still there', async () => {
  const response = await request(server, 'GET', '/v1/models');
  assert.equal(response.status, 200);
  assert.equal(response.json().data[0].id, 'deepseek-v4-flash');
});
