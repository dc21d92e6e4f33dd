#!/usr/bin/env node
// A scripted stand-in for ds4-server: same command line, same start-up behaviour, same wire format, no model.
// It answers a prompt with reasoning and one call of pi's bash tool, and a tool result with "Tool said: ...".
//   MOCK_LOG_DIR    every request is written there as NNN.json {method, url, headers, body}; pid as pid.NNN
//   MOCK_HOLD       a file: while it exists /health says "loading", 40 %
//   MOCK_DELAY_MS   pause between pieces of an answer
//   MOCK_SAY        lines written to standard error first       MOCK_EXIT       then exit with this status
//   MOCK_IGNORE_TERM  only SIGKILL ends it                 MOCK_FLAGS      what --help lists beside the basic flags
//   MOCK_CRASH_ONCE a file: if it does not exist, it is created and the process dies in the middle of an answer
import fs from "node:fs";
import http from "node:http";
import path from "node:path";

const env = process.env;
if (process.argv.includes("--help")) {
  // MOCK_FLAGS: what the engine claims to know beside what every one knows.
  console.log(`-m --ctx --host --port ${env.MOCK_FLAGS ?? "--kv-disk-dir --kv-disk-space-mb"}`);
  process.exit(0);
}
const options = new Map();
for (let i = 2; i < process.argv.length; i += 2) options.set(process.argv[i], process.argv[i + 1]);
const port = Number(options.get("--port"));
const delayMs = Number(env.MOCK_DELAY_MS ?? 0);
const MODEL = "deepseek-v4-flash";
const STATUS = {
  object: "ds4.status", state: "ready", uptime_seconds: 5, model: { id: MODEL, name: "mock model", context: 4096 }, backend: "cpu",
  sessions: [{ id: 1, busy: true }, { id: 2, busy: false }], requests: { active: 1, queued: 0 },
  tokens: { prompt: 400, cached: 100, generated: 9 }, speed: { prefill_tokens_per_second: 120.4, decode_tokens_per_second: 12.5 },
  kv_disk: null, steering: null,
};
const USAGE = {
  prompt_tokens: 100, completion_tokens: 9, total_tokens: 109, prompt_tokens_details: { cached_tokens: 40 },
};

if (env.MOCK_SAY) process.stderr.write(`${env.MOCK_SAY}\n`);
if (env.MOCK_EXIT) process.exit(Number(env.MOCK_EXIT));
if (!fs.existsSync(options.get("-m") ?? "")) {
  process.stderr.write(`ds4-server: cannot open model '${options.get("-m")}'\n`);
  process.exit(1);
}

function record(request, body) {
  const dir = env.MOCK_LOG_DIR;
  if (!dir) return;
  fs.mkdirSync(dir, { recursive: true });
  const number = String(fs.readdirSync(dir).filter((name) => name.endsWith(".json")).length + 1).padStart(3, "0");
  const entry = {
    pid: process.pid, argv: process.argv.slice(2), method: request.method, url: request.url, headers: request.headers, body,
  };
  fs.writeFileSync(path.join(dir, `${number}.json`), JSON.stringify(entry));
}

function sendJson(response, status, value) {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify(value));
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function pieces(text, size = 6) {
  return text.match(new RegExp(`[\\s\\S]{1,${size}}`, "g")) ?? [];
}

/** The answer to a request, as chat-completion deltas. */
function deltasFor(body, id) {
  const last = body.messages.at(-1);
  const thinking = body.thinking?.type === "disabled" ? "" : "thinking about it";
  const hasBash = (body.tools ?? []).some((tool) => tool.function?.name === "bash");
  const deltas = [{ role: "assistant", content: null }, ...pieces(thinking).map((t) => ({ reasoning_content: t }))];
  if (hasBash && last.role !== "tool") {
    const args = JSON.stringify({ command: "echo mock-$((6*7))" });
    deltas.push({ tool_calls: [{ index: 0, id, type: "function", function: { name: "bash", arguments: "" } }] });
    deltas.push(...pieces(args).map((t) => ({ tool_calls: [{ index: 0, function: { arguments: t } }] })));
    return { deltas, finish: "tool_calls" };
  }
  const text = last.role === "tool" ? `Tool said: ${last.content.trim()}` : "Hello from the mock";
  deltas.push(...pieces(text).map((t) => ({ content: t })));
  return { deltas, finish: "stop" };
}

let answers = 0;
async function chat(response, body) {
  const id = `call_${process.pid}x${++answers}`;
  const send = (value) => response.write(`data: ${typeof value === "string" ? value : JSON.stringify(value)}\n\n`);
  const chunk = (choices, extra = {}) => ({
    id: `chatcmpl-${id}`, object: "chat.completion.chunk", created: 1, model: MODEL, choices, ...extra,
  });
  const { deltas, finish } = deltasFor(body, id);
  response.writeHead(200, { "content-type": "text/event-stream" });
  response.write(": keepalive\n\n");
  for (const delta of deltas) {
    send(chunk([{ index: 0, delta, finish_reason: null }]));
    if (delayMs > 0) await pause(delayMs);
    if (env.MOCK_CRASH_ONCE && !fs.existsSync(env.MOCK_CRASH_ONCE)) {
      fs.writeFileSync(env.MOCK_CRASH_ONCE, "");
      process.kill(process.pid, "SIGKILL");
    }
  }
  send(chunk([{ index: 0, delta: {}, finish_reason: finish }]));
  if (body.stream_options?.include_usage) send(chunk([], { usage: USAGE }));
  send("[DONE]");
  response.end();
}

const server = http.createServer(async (request, response) => {
  const parts = [];
  for await (const part of request) parts.push(part);
  const text = Buffer.concat(parts).toString();
  if (request.url === "/health") {
    if (env.MOCK_HOLD && fs.existsSync(env.MOCK_HOLD)) return sendJson(response, 503, { status: "loading", progress: 0.4 });
    return sendJson(response, 200, { status: "ok" });
  }
  if (request.url === "/v1/status") return sendJson(response, 200, STATUS);
  const body = text === "" ? undefined : JSON.parse(text);
  record(request, body);
  if (request.method === "GET" && request.url === "/v1/models") {
    return sendJson(response, 200, { object: "list", data: [{ id: MODEL, object: "model", created: 1, owned_by: "ds4" }] });
  }
  if (request.method === "POST" && request.url === "/v1/chat/completions") return chat(response, body);
  sendJson(response, 404, { error: { message: "not found", type: "invalid_request_error" } });
});
server.listen(port, options.get("--host"), () => {
  if (env.MOCK_LOG_DIR) {
    fs.mkdirSync(env.MOCK_LOG_DIR, { recursive: true });
    fs.writeFileSync(path.join(env.MOCK_LOG_DIR, `pid.${process.pid}`), "");
  }
});
process.on("SIGTERM", () => env.MOCK_IGNORE_TERM || process.exit(0));
