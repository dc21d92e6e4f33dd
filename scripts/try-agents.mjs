// Real coding agents from npm, one turn with a tool call each, against ds4-nano: offline, in a network of their own that
// has nothing but the loopback, with a temporary HOME.
//   node scripts/try-agents.mjs [--dir DIR] [--build build/release] [--install] [AGENT...]
// --install fetches the agents into DIR (about 1.5 GB); without it only those that are there are run. A turn counts when
// the server has seen a call, its result, and an answer to its end, and the agent ended with status 0.
//
// ds4-nano was trained on pi's prompt. In front of the other agents stands a small proxy that asks for the tool by name
// (tool_choice) until a result is there, and for short answers; everything else passes as it is. The tools are ones that
// read: whatever arguments a toy model writes, nothing is changed, and all but the temporary directories is read-only.
import { spawn, spawnSync } from "node:child_process";
import fs from "node:fs";
import http from "node:http";
import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";

const root = path.resolve(import.meta.dirname, "..");
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    dir: { type: "string", default: path.join(os.tmpdir(), "ds4-agents") },
    build: { type: "string", default: "build/release" },
    install: { type: "boolean", default: false },
    prompt: { type: "string", default: "Read notes.txt" },
    seconds: { type: "string", default: "400" },
    verbose: { type: "boolean", default: false },
    inside: { type: "boolean", default: false }, // this process is in the network of its own
  },
});

const model = "deepseek-v4-flash";
const key = "dsv4-local";
const json = (value) => JSON.stringify(value, null, 2);

/** How to point each agent at the server: also the table of docs/clients.md. */
const agents = {
  pi: {
    package: "@earendil-works/pi-coding-agent@0.87.1",
    program: "pi",
    files: (url) => ({ ".pi/agent/models.json": json({ providers: { ds4: { baseUrl: `${url}/v1`, api: "openai-completions", apiKey: key,
      models: [{ id: model, reasoning: true, input: ["text"], contextWindow: 100000, maxTokens: 32000 }] } } }) }),
    env: { PI_OFFLINE: "1" },
    args: (prompt) => ["-p", prompt, "--provider", "ds4", "--model", model],
  },
  codex: {
    package: "@openai/codex@0.169.0",
    program: "codex",
    tool: "get_goal",
    files: (url) => ({ ".codex/config.toml": `model = "${model}"
model_provider = "ds4"
model_context_window = 100000
check_for_update_on_startup = false
[analytics]
enabled = false
[model_providers.ds4]
name = "ds4"
base_url = "${url}/v1"
wire_api = "responses"
env_key = "DS4_API_KEY"
requires_openai_auth = false
` }),
    env: { DS4_API_KEY: key },
    args: (prompt) => ["exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", prompt],
  },
  claude: {
    package: "@anthropic-ai/claude-code@2.1.330",
    program: "claude",
    tool: "Read",
    env: (url) => ({ ANTHROPIC_BASE_URL: url, ANTHROPIC_API_KEY: key, ANTHROPIC_MODEL: model, ANTHROPIC_DEFAULT_HAIKU_MODEL: model,
      CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1", DISABLE_TELEMETRY: "1", DISABLE_AUTOUPDATER: "1", DISABLE_ERROR_REPORTING: "1" }),
    args: (prompt) => ["-p", prompt, "--allowedTools", "Bash,Read"],
  },
  opencode: {
    package: "opencode-ai@1.18.33",
    program: "opencode",
    tool: "read",
    project: (url) => ({ "opencode.json": json({ autoupdate: false, share: "disabled", model: `ds4/${model}`, small_model: `ds4/${model}`,
      provider: { ds4: { npm: "@ai-sdk/openai-compatible", options: { baseURL: `${url}/v1`, apiKey: key },
        models: { [model]: { name: "DeepSeek V4 Flash", reasoning: true, tool_call: true, interleaved: { field: "reasoning_content" },
          limit: { context: 100000, output: 32000 } } } } } }) }),
    env: { OPENCODE_DISABLE_MODELS_FETCH: "1", OPENCODE_DISABLE_AUTOUPDATE: "1" },
    args: (prompt) => ["run", prompt],
  },
  qwen: {
    package: "@qwen-code/qwen-code@0.24.4",
    program: "qwen",
    tool: "read_file",
    env: (url) => ({ OPENAI_API_KEY: key, OPENAI_BASE_URL: `${url}/v1`, OPENAI_MODEL: model }),
    args: (prompt) => ["--auth-type", "openai", "--yolo", "-p", prompt],
  },
  openclaw: {
    package: "openclaw@2026.9.2",
    program: "openclaw",
    tool: "read",
    files: (url, project) => ({ ".openclaw/openclaw.json": json({ models: { mode: "merge", providers: { ds4: { baseUrl: `${url}/v1`, apiKey: key,
      api: "openai-completions", models: [{ id: model, name: "DeepSeek V4 Flash", reasoning: true, input: ["text"],
        cost: { input: 0, output: 0, cacheRead: 0, cacheWrite: 0 }, contextWindow: 100000, maxTokens: 32000 }] } } },
      agents: { defaults: { model: { primary: `ds4/${model}` }, workspace: project } } }) }),
    env: {},
    args: (prompt) => ["agent", "--local", "--agent", "main", "--message", prompt, "--json"],
  },
};

const chosen = positionals.length > 0 ? positionals : Object.keys(agents);
for (const name of chosen) if (!agents[name]) {
  console.error(`try-agents: unknown agent ${name}; there are ${Object.keys(agents).join(", ")}`);
  process.exit(2);
}

const binary = (name) => path.join(values.dir, name, "node_modules", ".bin", agents[name].program);

function install(name) {
  const dir = path.join(values.dir, name);
  fs.mkdirSync(dir, { recursive: true });
  if (!fs.existsSync(path.join(dir, "package.json"))) fs.writeFileSync(path.join(dir, "package.json"), '{"private":true}\n');
  const run = spawnSync("npm", ["install", "--no-audit", "--no-fund", "--loglevel=error", agents[name].package], { cwd: dir, stdio: "inherit" });
  if (run.status !== 0) console.error(`try-agents: ${agents[name].package} could not be installed`);
}

function writeAll(base, files) {
  for (const [name, text] of Object.entries(files ?? {})) {
    fs.mkdirSync(path.dirname(path.join(base, name)), { recursive: true });
    fs.writeFileSync(path.join(base, name), text);
  }
}

async function until(condition, ms) {
  for (const end = Date.now() + ms; Date.now() < end; await new Promise((r) => setTimeout(r, 50))) if (condition()) return true;
  return false;
}

async function startServer(log) {
  const server = spawn(path.join(root, values.build, "bin", "ds4-server"),
    ["-m", path.join(root, "models/nano/ds4-nano.gguf"), "--port", "0", "--ctx", "131072", "--tokens", "400", "--think-budget", "40"],
    { stdio: ["ignore", "ignore", "pipe"], env: { ...process.env, DS4_CONFIG: "/dev/null" } });
  server.stderr.on("data", (d) => { log.text += d; });
  if (!await until(() => /listening on http:\/\/\S+:\d+/.test(log.text), 60000)) throw new Error(`no server:\n${log.text}`);
  return { server, url: /listening on (http:\/\/\S+:\d+)/.exec(log.text)[1] };
}

/** The request as it is to be asked: with the tool's name while no result is there, and with a short answer. */
function rewrite(url, body, name) {
  if (!Array.isArray(body.tools)) return body;
  const own = { ...body };
  for (const limit of ["max_tokens", "max_completion_tokens", "max_output_tokens"]) if (own[limit]) own[limit] = 400;
  if (/"(tool_result|function_call_output)"|"role":"tool"/.test(JSON.stringify(body.messages ?? body.input))) return own;
  if (url.includes("/messages")) own.tool_choice = { type: "tool", name };
  else if (url.includes("/responses")) own.tool_choice = { type: "function", name };
  else own.tool_choice = { type: "function", function: { name } };
  return own;
}

/** Between agent and server, for agents whose tools nano does not know. */
async function startProxy(target, name) {
  const proxy = http.createServer((request, response) => {
    const parts = [];
    request.on("data", (d) => parts.push(d));
    request.on("end", () => {
      let bytes = Buffer.concat(parts);
      try { bytes = Buffer.from(JSON.stringify(rewrite(request.url, JSON.parse(bytes), name))); } catch { /* no JSON: as it is */ }
      const headers = { ...request.headers, host: new URL(target).host };
      if (request.method === "POST") headers["content-length"] = bytes.length;
      const on = http.request(target + request.url, { method: request.method, headers }, (answer) => {
        response.writeHead(answer.statusCode, answer.headers);
        answer.pipe(response);
      });
      on.on("error", () => response.destroy());
      response.on("close", () => on.destroy());
      on.end(bytes);
    });
  });
  await new Promise((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  return { proxy, url: `http://127.0.0.1:${proxy.address().port}` };
}

/** One turn; what the server and the agent made of it. */
async function tryAgent(name) {
  const agent = agents[name];
  const log = { text: "" };
  const { server, url: direct } = await startServer(log);
  const { proxy, url } = agent.tool ? await startProxy(direct, agent.tool) : { url: direct };
  const home = fs.mkdtempSync(path.join(os.tmpdir(), `ds4-${name}-`));
  const project = path.join(home, "project");
  fs.mkdirSync(project);
  writeAll(project, { "notes.txt": "Buy bread and salt.\n", ...agent.project?.(url) });
  writeAll(home, agent.files?.(url, project));
  const own = typeof agent.env === "function" ? agent.env(url) : agent.env;
  const env = { PATH: `${path.join(root, "node_modules", ".bin")}:${process.env.PATH}`, HOME: home, TMPDIR: home, LANG: "C.UTF-8", TERM: "dumb", NO_COLOR: "1", DO_NOT_TRACK: "1", ...own };
  const child = spawn(binary(name), agent.args(values.prompt), { cwd: project, env, stdio: ["ignore", "pipe", "pipe"] });
  let out = "";
  let ended = null;
  child.stdout.on("data", (d) => { out += d; });
  child.stderr.on("data", (d) => { out += d; });
  child.on("exit", (code, signal) => { ended = code ?? signal; });
  child.on("error", (error) => { ended = String(error); });
  if (!await until(() => ended !== null, Number(values.seconds) * 1000)) { child.kill("SIGKILL"); ended = "time is up"; }
  proxy?.closeAllConnections();
  proxy?.close();
  server.kill("SIGTERM");
  await until(() => server.exitCode !== null, 20000);
  const finishes = [...log.text.matchAll(/ finish=(\w+)/g)].map((m) => m[1]);
  const call = finishes.indexOf("tool_calls");
  const turn = call >= 0 && finishes.slice(call + 1).some((f) => f === "stop" || f === "length");
  if (values.verbose) console.log(`--- ${name}: output\n${out}\n--- ${name}: server\n${log.text}`);
  fs.rmSync(home, { recursive: true, force: true, maxRetries: 5 });
  return { name, package: agent.package, ended, finishes, passed: ended === 0 && turn, last: out.trim().split("\n").at(-1)?.slice(0, 100) };
}

async function inside() {
  let failed = 0;
  for (const name of chosen) {
    if (!fs.existsSync(binary(name))) { console.log(`${name}: not installed in ${values.dir} (see --install)`); continue; }
    const r = await tryAgent(name);
    if (!r.passed) failed++;
    console.log(`${r.passed ? "ok    " : "FAILED"} ${r.package}: ended ${r.ended}; answers ended ${r.finishes.join(", ") || "-"}; last line: ${r.last}`);
  }
  process.exit(failed > 0 ? 1 : 0);
}

if (values.inside) {
  await inside();
} else {
  if (values.install) for (const name of chosen) install(name);
  // Nothing leaves and nothing stays: a network with only a loopback, a file system that is read-only but for /tmp and TMPDIR.
  const again = [process.execPath, ...process.argv.slice(1).filter((a) => a !== "--install"), "--inside"];
  const quoted = again.map((a) => `'${a.replaceAll("'", "'\\''")}'`).join(" ");
  const tmp = fs.realpathSync(os.tmpdir());
  const setup = `ip link set lo up && mount --rbind /tmp /tmp && mount --rbind '${tmp}' '${tmp}' && mount -o remount,bind,ro / && exec ${quoted}`;
  const run = spawnSync("unshare", ["--map-root-user", "--net", "--mount", "sh", "-c", setup], { stdio: "inherit" });
  if (run.error) console.error(`try-agents: ${run.error.message}; unshare and ip (util-linux, iproute2) are needed`);
  process.exit(run.status ?? 1);
}
