// The chat page. One conversation, in memory; kept in localStorage only when the user asks for it.
// Text from the model is set as text, never as markup.
'use strict';

const $ = (id) => document.getElementById(id);
const KEPT = 'ds4-conversation';

/** OpenAI chat messages, as they are sent again with the next question. */
let messages = [];
let running = null; // AbortController of the answer in progress

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

// ---- what is kept ----

function keep() {
  if ($('keep').checked) localStorage.setItem(KEPT, JSON.stringify(messages));
  else localStorage.removeItem(KEPT);
}

function restore() {
  const kept = localStorage.getItem(KEPT);
  if (kept === null) return;
  $('keep').checked = true;
  try {
    messages = JSON.parse(kept);
  } catch {
    messages = [];
  }
  for (const message of messages) {
    if (message.role === 'user') showUser(message.content);
    if (message.role === 'assistant') {
      const view = new AnswerView();
      if (message.reasoning_content) view.think(message.reasoning_content);
      if (message.content) view.say(message.content);
      for (const [index, call] of (message.tool_calls ?? []).entries()) view.call(index, call);
      view.done();
    }
    if (message.role === 'tool') $('log').append(element('article', 'caption', 'result'), element('article', 'user', message.content));
  }
}

// ---- what is shown ----

function atBottom() {
  const log = $('log');
  return log.scrollHeight - log.scrollTop - log.clientHeight < 60;
}

function follow(change) {
  const stay = atBottom();
  change();
  if (stay) $('log').scrollTop = $('log').scrollHeight;
}

function showUser(text) {
  $('empty').hidden = true;
  $('log').append(element('article', 'user', text));
  $('log').scrollTop = $('log').scrollHeight;
}

/** Fenced blocks and `code`; everything else is plain text with its line breaks. */
function format(target, text) {
  target.replaceChildren();
  for (const [i, part] of text.split(/^```[^\n]*\n?/m).entries()) {
    if (i % 2 === 1) {
      const pre = element('pre');
      pre.append(element('code', '', part.replace(/\n$/, '')));
      target.append(pre);
    } else {
      for (const [j, piece] of part.split(/`([^`\n]+)`/).entries())
        target.append(j % 2 === 1 ? element('code', '', piece) : document.createTextNode(piece));
    }
  }
}

class AnswerView {
  constructor() {
    this.article = element('article', 'answer');
    this.text = element('div', 'text busy');
    this.content = '';
    this.calls = [];
    this.article.append(this.text);
    $('empty').hidden = true;
    $('log').append(this.article);
    $('log').scrollTop = $('log').scrollHeight;
  }

  think(piece) {
    follow(() => {
      if (!this.thinking) {
        this.thinking = element('details', 'thinking');
        this.thinking.append(element('summary', '', 'Thinking…'), element('div', '', ''));
        this.article.insertBefore(this.thinking, this.text);
      }
      this.thinking.lastChild.append(piece);
    });
  }

  say(piece) {
    this.content += piece;
    if (this.pending) return; // one layout per frame, however fast the tokens come
    this.pending = requestAnimationFrame(() => this.draw());
  }

  draw() {
    this.pending = 0;
    follow(() => format(this.text, this.content.replace(/^\s+/, '')));
  }

  call(index, call) {
    follow(() => {
      let shown = this.calls[index];
      if (!shown) {
        const box = element('div', 'tool');
        const title = element('div');
        title.append('calls ', element('strong', '', call.function.name));
        const pre = element('pre');
        box.append(title, pre);
        this.article.append(box);
        shown = this.calls[index] = { id: call.id, name: call.function.name, arguments: '', pre, box };
      }
      shown.arguments += call.function.arguments ?? '';
      shown.pre.textContent = shown.arguments;
    });
  }

  /** For calls that wait: the user plays the tool. */
  askResults(answered) {
    const open = this.calls.filter(Boolean);
    const results = new Map();
    for (const call of open) {
      const form = element('form');
      const input = element('textarea');
      input.rows = 1;
      input.placeholder = `result of ${call.name}`;
      input.setAttribute('aria-label', input.placeholder);
      const button = element('button', '', 'Give result');
      button.type = 'submit';
      form.append(input, button);
      form.addEventListener('submit', (event) => {
        event.preventDefault();
        results.set(call.id, input.value);
        form.replaceWith(element('div', 'caption', 'result'), element('pre', '', input.value || '(empty)'));
        if (results.size === open.length) answered(open.map(({ id }) => [id, results.get(id)]));
      });
      call.box.append(form);
    }
    open[0]?.box.querySelector('textarea')?.focus();
  }

  figures(text) {
    follow(() => this.article.append(element('div', 'figures', text)));
  }

  fail(message) {
    follow(() => this.article.append(element('div', 'error', message)));
  }

  done() {
    if (this.pending) cancelAnimationFrame(this.pending);
    this.draw();
    this.text.classList.remove('busy');
    if (this.thinking) this.thinking.firstChild.textContent = 'Thought';
    if (this.content === '') this.text.hidden = true;
  }
}

// ---- the server ----

function headers() {
  const key = $('key').value;
  return { 'Content-Type': 'application/json', ...(key ? { Authorization: `Bearer ${key}` } : {}) };
}

function body() {
  const system = $('system').value.trim();
  const tools = $('tools').value.trim() ? JSON.parse($('tools').value) : [];
  const number = (id) => ($(id).value === '' ? undefined : Number($(id).value));
  return {
    messages: [...(system ? [{ role: 'system', content: system }] : []), ...messages],
    ...(tools.length > 0 ? { tools } : {}),
    reasoning_effort: $('effort').value,
    temperature: number('temperature'), seed: number('seed'), max_tokens: number('max-tokens'),
    stream: true, stream_options: { include_usage: true },
  };
}

/** The data of the server's events, parsed, one after the other. */
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    buffer += value;
    const parts = buffer.split('\n\n');
    buffer = parts.pop();
    for (const part of parts) {
      for (const line of part.split('\n')) {
        if (line === 'data: [DONE]') return;
        if (line.startsWith('data: ')) yield JSON.parse(line.slice(6));
      }
    }
  }
}

function addDelta(view, message, delta) {
  if (delta.reasoning_content) {
    message.reasoning_content = (message.reasoning_content ?? '') + delta.reasoning_content;
    view.think(delta.reasoning_content);
  }
  if (delta.content) {
    message.content += delta.content;
    view.say(delta.content);
  }
  for (const call of delta.tool_calls ?? []) {
    message.tool_calls ??= [];
    const known = message.tool_calls[call.index];
    if (known) known.function.arguments += call.function.arguments ?? '';
    else message.tool_calls[call.index] = { id: call.id, type: 'function', function: { name: call.function.name, arguments: call.function.arguments ?? '' } };
    view.call(call.index, call);
  }
}

/** From the first piece of the answer on; an answer that came in one piece, from the question on. */
function describe(usage, asked, first, last, finish) {
  const cached = usage?.prompt_tokens_details?.cached_tokens ?? 0;
  const seconds = (last - (first && last - first > 20 ? first : asked)) / 1000;
  const parts = [];
  if (usage) {
    parts.push(`${usage.completion_tokens} tokens`);
    if (seconds > 0 && usage.completion_tokens > 1) parts.push(`${((usage.completion_tokens - 1) / seconds).toFixed(1)} t/s`);
    parts.push(`prompt ${usage.prompt_tokens}, ${cached} from the cache`);
  }
  if (finish === 'length') parts.push('cut: out of tokens');
  return parts.join(' · ');
}

async function answer() {
  const view = new AnswerView();
  const message = { role: 'assistant', content: '' };
  let usage = null, finish = null, first = 0;
  const asked = performance.now();
  setRunning(new AbortController());
  try {
    const response = await fetch('/v1/chat/completions', { method: 'POST', headers: headers(), body: JSON.stringify(body()), signal: running.signal });
    if (!response.ok) throw new Error((await response.json().catch(() => null))?.error?.message ?? `the server answers ${response.status}`);
    for await (const chunk of events(response)) {
      if (chunk.error) throw new Error(chunk.error.message);
      usage = chunk.usage ?? usage;
      const choice = chunk.choices?.[0];
      if (!choice) continue;
      finish = choice.finish_reason ?? finish;
      if (!first && Object.keys(choice.delta).some((name) => name !== 'role')) first = performance.now();
      addDelta(view, message, choice.delta);
    }
    if (finish === null) throw new Error('the connection ended before the answer');
  } catch (error) {
    view.fail(error.name === 'AbortError' ? 'stopped' : error.message);
    delete message.tool_calls; // half a call is none
  }
  view.done();
  const figures = describe(usage, asked, first, performance.now(), finish);
  if (figures) view.figures(figures);
  setRunning(null);
  if (message.content || message.tool_calls) messages.push(message);
  keep();
  if (finish === 'tool_calls' && message.tool_calls)
    view.askResults((results) => {
      for (const [id, content] of results) messages.push({ role: 'tool', tool_call_id: id, content });
      answer();
    });
}

// ---- status ----

async function showStatus() {
  const line = $('status');
  try {
    const response = await fetch('/v1/status', { headers: headers() });
    const status = await response.json();
    if (!response.ok) throw new Error(response.status === 401 ? 'the server asks for an API key (Settings)' : status.error?.message);
    const speed = status.speed ?? {}, tokens = status.tokens ?? {}, load = status.load ?? {};
    const parts = [status.model?.name ?? status.model?.id ?? '', status.state ?? ''];
    if (status.state === 'loading' && load.total_bytes) parts[1] = `loading ${Math.floor(100 * load.done_bytes / load.total_bytes)} %`;
    if (speed.decode_tokens_per_second) parts.push(`${speed.decode_tokens_per_second.toFixed(1)} t/s`);
    line.textContent = parts.filter(Boolean).join(' · ');
    line.className = '';
    const read = (tokens.prompt ?? 0) + (tokens.cached ?? 0);
    $('totals').textContent = read > 0 ? `cache ${Math.round(100 * (tokens.cached ?? 0) / read)} % of prompt tokens` : '';
  } catch (error) {
    line.textContent = error instanceof TypeError ? 'the server does not answer' : error.message;
    line.className = 'bad';
  }
}

// ---- the user ----

function setRunning(controller) {
  running = controller;
  $('send').hidden = controller !== null;
  $('stop').hidden = controller === null;
  if (controller === null) {
    $('prompt').focus();
    showStatus();
  }
}

function grow() {
  const prompt = $('prompt');
  prompt.style.height = 'auto';
  prompt.style.height = `${prompt.scrollHeight + 2}px`;
}

$('ask').addEventListener('submit', (event) => {
  event.preventDefault();
  const text = $('prompt').value.trim();
  if (running || text === '') return;
  try {
    body();
  } catch {
    $('status').textContent = 'Settings: the tools are not JSON';
    $('status').className = 'bad';
    return;
  }
  $('prompt').value = '';
  grow();
  messages.push({ role: 'user', content: text });
  showUser(text);
  answer();
});
$('prompt').addEventListener('input', grow);
$('prompt').addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $('ask').requestSubmit();
});
$('stop').addEventListener('click', () => running?.abort());
$('new').addEventListener('click', () => {
  running?.abort();
  messages = [];
  for (const article of document.querySelectorAll('#log article')) article.remove();
  $('empty').hidden = false;
  keep();
  $('prompt').focus();
});
$('settings-button').addEventListener('click', () => {
  const open = $('settings').hidden;
  $('settings').hidden = !open;
  $('settings-button').setAttribute('aria-expanded', String(open));
});
$('settings').addEventListener('submit', (event) => event.preventDefault());
$('keep').addEventListener('change', keep);
$('key').addEventListener('change', showStatus);
document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape') running?.abort();
  if (event.ctrlKey && event.shiftKey && event.key === 'O') {
    event.preventDefault();
    $('new').click();
  }
});

restore();
showStatus();
setInterval(() => { if (!document.hidden) showStatus(); }, 5000);
