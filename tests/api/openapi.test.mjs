// /openapi.json: its examples are sent, its schemas judge the answers, and it names every route.
import { test, before, after } from 'node:test';
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import Ajv2020 from 'ajv/dist/2020.js';
import { Server, request, tinyModel } from './harness.mjs';

let server, document, ajv;
before(async () => {
  server = await Server.start(['--kv-memory-mb', '64'], { model: tinyModel() });
  document = (await request(server, 'GET', '/openapi.json')).json();
  ajv = new Ajv2020({ strict: false, allErrors: true });
  ajv.addSchema({ $id: 'openapi', ...document });
});
after(async () => { if (server) assert.deepEqual(await server.stop(), { code: 0, signal: null }, server.log()); });

function validate(schema, value, what) {
  const absolute = JSON.parse(JSON.stringify(schema).replaceAll('"#/', '"openapi#/'));
  const check = ajv.compile(absolute);
  assert.ok(check(value), `${what}: ${ajv.errorsText(check.errors)}\n${JSON.stringify(value).slice(0, 1500)}`);
}

test('the document: version, references, operations', async () => {
  assert.equal(document.openapi, '3.1.0');
  assert.equal(document.info.version, (await request(server, 'GET', '/v1/status')).json().version);
  const references = [...JSON.stringify(document).matchAll(/"\$ref":"#\/components\/schemas\/(\w+)"/g)].map((m) => m[1]);
  for (const name of references) assert.ok(document.components.schemas[name], name);
  for (const name of Object.keys(document.components.schemas)) {
    assert.ok(references.includes(name), `${name} is used`);
    ajv.compile({ $ref: `openapi#/components/schemas/${name}` });
  }
  for (const [path, operations] of Object.entries(document.paths)) {
    for (const operation of Object.values(operations)) assert.ok(operation.summary && operation.responses['200'], path);
    for (const [, name] of path.matchAll(/\{(\w+)\}/g)) assert.ok(operations.get.parameters.some((p) => p.name === name), path);
  }
});

test('it names every route, and only routes', () => {
  const source = readFileSync(new URL('../../src/server/routes.c', import.meta.url), 'utf8');
  const routes = [...source.matchAll(/\{(?:\.path = )?"(\/[^"]+)"/g)].map((m) => m[1].replace(/\/ID$/, '/{id}'));
  const undocumented = new Set(['/', '/webui.css', '/webui.js']); // the page, no API
  assert.deepEqual(routes.filter((r) => !undocumented.has(r)).sort(), Object.keys(document.paths).sort());
});

test('every GET answers as it says', async () => {
  for (const [path, { get }] of Object.entries(document.paths)) {
    if (!get) continue;
    const id = get.parameters?.find((p) => p.in === 'path')?.example;
    if (path.includes('{') && !id) continue; // something must have been stored first: below
    const response = await request(server, 'GET', path.replace('{id}', id));
    assert.equal(response.status, 200, path);
    const [type, { schema }] = Object.entries(get.responses['200'].content)[0];
    assert.equal(response.headers['content-type'].split(';')[0], type, path);
    validate(schema, type === 'application/json' ? response.json() : response.text, path);
  }
});

const paths = JSON.parse(readFileSync(new URL('../../src/server/openapi.json', import.meta.url), 'utf8')).paths;
for (const [path, { post }] of Object.entries(paths)) {
  if (!post) continue;
  const { schema, examples } = post.requestBody.content['application/json'];
  for (const [name, { value }] of Object.entries(examples)) {
    test(`POST ${path}: the example ${name}`, async () => {
      validate(schema, value, 'the request');
      const response = await request(server, 'POST', path, value, { 'Content-Type': 'application/json' });
      assert.equal(response.status, 200, response.bytes.toString('latin1'));
      const type = response.headers['content-type'].split(';')[0];
      assert.equal(type, value.stream ? 'text/event-stream' : 'application/json');
      if (!value.stream) return validate(post.responses['200'].content[type].schema, response.json(), 'the answer');
      const events = response.events();
      assert.ok(events.length > 1);
      for (const { data } of events) if (data !== '[DONE]') JSON.parse(data);
      return undefined;
    });
  }
  test(`POST ${path}: errors as it says`, async () => {
    const response = await request(server, 'POST', path, '[]', { 'Content-Type': 'application/json' });
    assert.equal(response.status, 400);
    validate(post.responses['400'].content['application/json'].schema, response.json(), 'the error');
    const ajvSays = ajv.compile({ $ref: `openapi${schema.$ref}` });
    assert.ok(!ajvSays([]), 'the schema refuses it too');
  });
}

test('a stored answer can be fetched', async () => {
  const made = (await request(server, 'POST', '/v1/responses', { input: 'x', max_output_tokens: 16 })).json();
  const response = await request(server, 'GET', `/v1/responses/${made.id}`);
  assert.equal(response.status, 200);
  validate(document.paths['/v1/responses/{id}'].get.responses['200'].content['application/json'].schema, response.json(), 'it');
});
