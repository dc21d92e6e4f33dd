// The chat page in a real browser: headless Chromium, driven by playwright-core. Without Chromium the browser's part is
// skipped (scripts/deps.sh --dev installs it). DS4_WEBUI_SCREENSHOTS=DIR keeps pictures.
import test, { after, before } from 'node:test';
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Server, nanoModel, request, slowdown } from './harness.mjs';

const executablePath = [process.env.DS4_CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome']
  .find((path) => path && existsSync(path));
const skip = executablePath ? false : 'no Chromium here (scripts/deps.sh --dev installs it)';
const pictures = process.env.DS4_WEBUI_SCREENSHOTS;

let server, keyed, bare, browser;
before(async () => {
  server = await Server.start(['--ctx', '4096'], { model: nanoModel() });
  keyed = await Server.start(['--api-key', 'secret'], { model: nanoModel() });
  bare = await Server.start(['--no-webui'], { model: nanoModel() });
  if (skip) return;
  const { chromium } = await import('playwright-core');
  browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-dev-shm-usage'] });
});
after(async () => {
  await browser?.close();
  await Promise.all([server.stop(), keyed.stop(), bare.stop()]);
});

test('page, style and script come with a strict policy, and not with --no-webui', async () => {
  for (const [path, type] of [['/', /^text\/html/], ['/webui.css', /^text\/css/], ['/webui.js', /^text\/javascript/]]) {
    const reply = await request(server, 'GET', path);
    assert.equal(reply.status, 200);
    assert.match(reply.headers['content-type'], type);
    assert.match(reply.headers['content-security-policy'], /default-src 'none'/);
    assert.doesNotMatch(reply.headers['content-security-policy'], /unsafe|https?:/);
    assert.equal(reply.headers['x-content-type-options'], 'nosniff');
    assert.doesNotMatch(reply.text, /https?:\/\//, `${path} names another host`);
    assert.equal((await request(bare, 'GET', path)).status, 404);
    assert.equal((await request(keyed, 'GET', path)).status, 200, 'the page itself needs no key');
  }
});

test('only the own origin may ask', async () => {
  const ask = (origin, from = server) => request(from, 'POST', '/v1/chat/completions',
    { messages: [{ role: 'user', content: 'Hello!' }], max_tokens: 1 }, { Origin: origin, 'Content-Type': 'application/json' });
  const host = (await request(server, 'GET', '/health')) && `127.0.0.1:${server.port}`;
  assert.equal((await ask('http://evil.example')).status, 403);
  assert.equal((await ask(`http://127.0.0.1:${server.port + 1}`)).status, 403);
  assert.equal((await ask('null')).status, 403);
  assert.equal((await request(server, 'POST', '/v1/chat/completions', { messages: [{ role: 'user', content: 'Hello!' }], max_tokens: 1 },
    { Origin: `http://${host}`, Host: host, 'Content-Type': 'application/json' })).status, 200);
});

async function open(target, options = {}) {
  const context = await browser.newContext({ viewport: { width: 980, height: 760 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(20000 * slowdown);
  const problems = [];
  page.on('console', (message) => { if (message.type() === 'error' && !/401|Unauthorized/.test(message.text())) problems.push(message.text()); });
  page.on('pageerror', (error) => problems.push(error.message));
  page.on('request', (asked) => { if (!asked.url().startsWith(`http://127.0.0.1:${target.port}/`) && !asked.url().startsWith('data:')) problems.push(asked.url()); });
  await page.goto(`http://127.0.0.1:${target.port}/`);
  return { page, problems, context };
}
async function settle(page) { await page.locator('#send').waitFor({ state: 'visible' }); }
async function say(page, text) {
  await page.keyboard.type(text);
  await page.keyboard.press('Enter');
  await settle(page);
}
async function picture(page, name) { if (pictures) await page.screenshot({ path: join(pictures, `${name}.png`) }); }

test('asks and answers, with thinking folded and figures shown', { skip }, async () => {
  const { page, problems, context } = await open(server);
  await picture(page, 'empty');
  await page.locator('#settings-button').click();
  await page.locator('#seed').fill('42');
  await picture(page, 'settings');
  await page.locator('#settings-button').click();
  await page.locator('#prompt').focus();
  await say(page, 'What is 23 + 45?');
  assert.match(await page.locator('article.answer .text').last().innerText(), /68/);
  assert.equal(await page.locator('details.thinking').count(), 1);
  assert.equal(await page.locator('details.thinking').evaluate((details) => details.open), false);
  assert.match(await page.locator('.figures').last().innerText(), /\d+ tokens .*t\/s.*prompt \d+, \d+ from the cache/);
  await page.locator('#settings-button').click();
  await page.locator('#effort').selectOption('none');
  await page.locator('#settings-button').click();
  await page.locator('#prompt').focus();
  await say(page, 'Hello!');
  await say(page, 'What is 2 + 2?');
  assert.equal(await page.locator('article.user').count(), 3);
  assert.match(await page.locator('.figures').last().innerText(), /[1-9]\d* from the cache/, 'the turn before is found again');
  await page.waitForFunction(() => document.getElementById('status').textContent.includes('ready'));
  await picture(page, 'light');
  assert.deepEqual(problems, []);
  assert.deepEqual(await page.evaluate(() => ({ ...localStorage })), {}, 'nothing is stored unasked');
  await page.reload();
  assert.equal(await page.locator('article').count(), 0);
  await context.close();
});

test('shows a tool call, takes its result, and goes on', { skip }, async () => {
  const { page, problems, context } = await open(server, { colorScheme: 'dark' });
  await page.locator('#settings-button').click();
  await page.locator('#seed').fill('42');
  await page.locator('#tools').fill(JSON.stringify([{ type: 'function', function: { name: 'get_weather', description: 'Get the weather of a city.',
    parameters: { type: 'object', required: ['city'], properties: { city: { type: 'string' } } } } }]));
  await page.locator('#settings-button').click();
  await page.locator('#prompt').focus();
  await say(page, 'What is the weather in Korvana?');
  assert.match(await page.locator('.tool').innerText(), /get_weather[\s\S]*Korvana/);
  await page.locator('.tool textarea').fill('{"temperature": 17, "sky": "fog"}');
  await page.locator('.tool button').click();
  await page.locator('article.answer').nth(1).waitFor();
  await settle(page);
  assert.match(await page.locator('article.answer .text').last().innerText(), /17/);
  await picture(page, 'dark');
  assert.deepEqual(problems, []);
  await context.close();
});

test('Escape stops an answer, and the next one works', { skip }, async () => {
  const { page, problems, context } = await open(server);
  let held;
  await page.route('**/v1/chat/completions', async (route) => { held = route; }); // an answer that does not come
  await page.locator('#prompt').focus();
  await page.keyboard.type('Tell me a story about a lamp.');
  await page.keyboard.press('Enter');
  await page.locator('#stop').waitFor({ state: 'visible' });
  await page.keyboard.press('Escape');
  await settle(page);
  assert.match(await page.locator('article.answer .error').innerText(), /stopped/);
  await held?.abort().catch(() => {});
  await page.unroute('**/v1/chat/completions');
  await say(page, 'Hello!');
  assert.match(await page.locator('article.answer .text').last().innerText(), /\w/);
  assert.deepEqual(problems.filter((text) => !/ERR_FAILED|ERR_ABORTED/.test(text)), []);
  await context.close();
});

test('markup from the model or the user stays text', { skip }, async () => {
  const { page, problems, context } = await open(server);
  await page.locator('#prompt').focus();
  await say(page, 'Repeat exactly: <img src=x onerror=alert(1)><b>bold</b>');
  assert.equal(await page.locator('#log img, #log b').count(), 0);
  assert.match(await page.locator('article.user').innerText(), /<img src=x/);
  assert.deepEqual(problems, []);
  await context.close();
});

test('a kept conversation survives a reload, and is gone when that is switched off', { skip }, async () => {
  const { page, problems, context } = await open(server);
  await page.locator('#settings-button').click();
  await page.locator('#keep').check();
  await page.locator('#settings-button').click();
  await page.locator('#prompt').focus();
  await say(page, 'Hello!');
  await page.reload();
  assert.equal(await page.locator('article.user').innerText(), 'Hello!');
  assert.equal(await page.locator('article.answer').count(), 1);
  await page.locator('#settings-button').click();
  await page.locator('#keep').uncheck();
  assert.deepEqual(await page.evaluate(() => ({ ...localStorage })), {});
  assert.deepEqual(problems, []);
  await context.close();
});

test('asks for the key that a server wants', { skip }, async () => {
  const { page, context } = await open(keyed);
  await page.waitForFunction(() => /API key/.test(document.getElementById('status').textContent));
  await page.locator('#settings-button').click();
  await page.locator('#key').fill('secret');
  await page.locator('#settings-button').click();
  await page.locator('#prompt').focus();
  await say(page, 'Hello!');
  assert.match(await page.locator('article.answer .text').innerText(), /Hello|Hi/);
  await context.close();
});
