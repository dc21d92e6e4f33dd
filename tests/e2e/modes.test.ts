// The package in the real pi: installing it, and one prompt with a tool call in every mode, against a scripted server.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import http from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { after, before, beforeEach, describe, it } from "node:test";
import { isAlive, MODEL_ARGS, PACKAGE_DIR, Sandbox, until } from "./support/pi.ts";
import { RpcPi } from "./support/rpc.ts";

const ANSWER = "Tool said: mock-42";

describe("pi with the package installed from a path", () => {
  const sandbox = new Sandbox();
  before(async () => {
    const outcome = await sandbox.install();
    assert.equal(outcome.status, 0, outcome.stderr);
  });
  beforeEach(() => sandbox.clearRequests());
  after(() => sandbox.remove());

  it("is listed", async () => {
    assert.ok((await sandbox.run(["list"])).stdout.includes(PACKAGE_DIR));
    const models = await sandbox.run(["--list-models"]);
    assert.match(models.stdout, /^ds4 .*deepseek-v4-flash/m);
    assert.deepEqual(sandbox.serverPids(), [], "listing models must not start a server");
  });

  it("answers in print mode, with a tool round trip and nothing else on standard output", async () => {
    const outcome = await sandbox.prompt("say hi", { DS4_CONTEXT_KB: "32" });
    assert.equal(outcome.stdout.trim(), ANSWER, outcome.stderr);
    assert.equal(outcome.status, 0);
    assert.match(outcome.stderr, /starting the server/);
    const requests = sandbox.requests().filter((request) => request.url === "/v1/chat/completions");
    const argv = requests[0]?.argv ?? [];
    assert.equal(argv[argv.indexOf("-m") + 1], sandbox.env["DS4_MODEL"]);
    assert.equal(argv[argv.indexOf("--ctx") + 1], "32000");
    assert.equal(argv[argv.indexOf("--host") + 1], "127.0.0.1");
    assert.ok(requests[0]?.headers["session_id"], "the session's id tells the server whose prefix it is");
    assert.equal(requests[0].headers["session_id"], requests[1]?.headers["session_id"]);
    const bodies = sandbox.chatBodies();
    assert.equal(bodies.length, 2);
    for (const body of bodies) {
      assert.equal(body["seed"], 42);
      assert.equal(body["model"], "deepseek-v4-flash");
      assert.equal(body["stream"], true);
      assert.equal(body["stream_options"].include_usage, true);
      assert.ok(body["max_tokens"] > 0);
      assert.equal(body["messages"][0].role, "system");
      for (const absent of ["store", "max_completion_tokens"]) assert.ok(!(absent in body), absent);
    }
    const replay = bodies[1]?.["messages"];
    assert.equal(replay[2].reasoning_content, "thinking about it");
    assert.equal(replay[2].tool_calls[0].id, replay[3].tool_call_id);
    assert.equal(replay[3].content, "mock-42\n");
  });

  it("answers in JSON mode", async () => {
    const outcome = await sandbox.run(["--mode", "json", "say hi", ...MODEL_ARGS, "--no-session"]);
    const records = outcome.stdout.trim().split("\n").map((line) => JSON.parse(line) as Record<string, any>);
    assert.equal(records.filter((record) => record["type"] === "agent_settled").length, 1);
    const text = records.findLast((r) => r["type"] === "message_end" && r["message"].role === "assistant");
    assert.equal(text?.["message"].content.find((part: { type: string }) => part.type === "text").text, ANSWER);
  });

  it("answers in RPC mode, over several turns with one server, and shows its state", async () => {
    const pi = new RpcPi(sandbox, ["--no-session"]);
    const commands = await pi.call({ type: "get_commands" });
    assert.ok(commands["data"].commands.some((command: { name: string }) => command.name === "ds4"));
    assert.deepEqual(await pi.prompt("say hi"), [ANSWER]);
    const status = pi.seen.filter((r) => r.type === "extension_ui_request" && r["method"] === "setStatus");
    assert.ok(status.some((r) => JSON.stringify(r).includes("starting the server")));
    const said = (command: string) => pi.said(command);
    assert.match(await said("/ds4"), /serving at http:\/\/127\.0\.0\.1:\d+/);
    assert.match(await said("/ds4 status"), /model .*model\.gguf, used by 1 pi\n.*context 4096.*\n.*25 % of prompts from cache.*answer 12\.5 t\/s/);
    assert.match(await said("/ds4 steer 1"), /DS4_DIR_STEERING_FILE names no direction file/);
    assert.match(await said("/ds4 doctor"), /Node\.js [\d.]+[\s\S]*has port \d+/);
    assert.match(await said("/ds4 dance"), /knows status, restart, stop, steer, doctor, not "dance"/);
    assert.match(await said("/ds4 restart"), /serving at/);
    assert.equal(sandbox.serverPids().length, 2);
    assert.match(await said("/ds4 stop"), /The server has ended\./);
    await until("the stopped server is gone", () => !sandbox.serverPids().some(isAlive));
    assert.deepEqual(await pi.prompt("again"), [ANSWER]);
    assert.equal(sandbox.serverPids().length, 3);
    assert.equal(await pi.close(), 0);
    const pids = sandbox.serverPids();
    await until("the server is gone", () => !pids.some(isAlive));
  });

  it("carries the seed into compaction and starts the server for it", async () => {
    const agentDir = path.join(sandbox.home, ".pi", "agent");
    const settingsFile = path.join(agentDir, "settings.json");
    const settings = JSON.parse(fs.readFileSync(settingsFile, "utf8")) as Record<string, unknown>;
    fs.writeFileSync(settingsFile, JSON.stringify({ ...settings, compaction: { keepRecentTokens: 1 } }));
    const pi = new RpcPi(sandbox, []);
    await pi.prompt("say hi");
    await pi.prompt("and again");
    const before = sandbox.chatBodies().length;
    const first = sandbox.serverPids();
    for (const pid of first) process.kill(pid, "SIGKILL");
    await until("the server is gone", () => !first.some(isAlive));
    const answer = await pi.call({ type: "compact" });
    const bodies = sandbox.chatBodies().slice(before);
    assert.equal(answer["success"], true, JSON.stringify(answer));
    assert.ok(bodies.length >= 1);
    for (const body of bodies) {
      assert.equal(body["seed"], 42);
      assert.ok(!("tools" in body), "a compaction request has no tools");
    }
    assert.equal(await pi.close(), 0);
  });
});

describe("pi with the package installed from a packed tarball and from git", () => {
  const sandbox = new Sandbox();
  let tarball = "";
  before(() => {
    const names = execFileSync("npm", ["pack", "--silent", "--pack-destination", sandbox.home], { cwd: PACKAGE_DIR, encoding: "utf8" });
    tarball = path.join(sandbox.home, names.trim());
  });
  beforeEach(() => sandbox.clearRequests());
  after(() => sandbox.remove());

  it("has everything it needs in it, and little else", async () => {
    const toy = fs.statSync(path.join(PACKAGE_DIR, "models", "nano", "ds4-nano.gguf")).size;
    assert.ok(fs.statSync(tarball).size < toy + 700_000, "the published package is small beside the toy model");
    const installed = await sandbox.install(`npm:pi-ds4@${tarball}`);
    assert.equal(installed.status, 0, installed.stdout + installed.stderr);
    const outcome = await sandbox.prompt("say hi");
    assert.equal(outcome.stdout.trim(), ANSWER, outcome.stderr);
    await sandbox.allGone();
  });

  it("brings the whole source of the engine", () => {
    const dir = path.join(sandbox.home, "unpacked");
    fs.mkdirSync(dir);
    execFileSync("tar", ["xzf", tarball, "-C", dir]);
    const source = path.join(dir, "package");
    execFileSync("cmake", ["--preset", "release"], { cwd: source, stdio: "pipe" });
    // The recipe names every file that the server is made of; that each can be compiled is what the build itself tests.
    const commands = execFileSync("ninja", ["-C", "build/release", "-t", "inputs", "ds4-server"], { cwd: source, encoding: "utf8" });
    // Embedded files are written by the build itself.
    const inputs = commands.replaceAll("'", "").split("\n").filter((line) => /\.(c|h|html|css|js|json)$/.test(line))
      .map((file) => path.resolve(source, "build/release", file)).filter((file) => !file.includes("/build/release/embedded/"));
    assert.ok(inputs.length > 100, commands.slice(0, 500));
    assert.deepEqual(inputs.filter((file) => !fs.existsSync(file)), []);
  });

  // pi runs `npm install --omit=dev` in the clone. With a lock file that is in step with package.json, and no dependency
  // that is not for development only, npm has nothing to ask a registry for.
  it("installs from a git source, and asks no registry", async () => {
    const source = path.join(sandbox.home, "unpacked", "package");
    fs.rmSync(path.join(source, "build"), { recursive: true, force: true });
    fs.copyFileSync(path.join(PACKAGE_DIR, "package-lock.json"), path.join(source, "package-lock.json"));
    const git = (...args: string[]) => execFileSync("git", ["-c", "user.name=a", "-c", "user.email=a@b", ...args], {
      cwd: source, stdio: "pipe", env: sandbox.env,
    });
    git("init", "-q", "-b", "main");
    git("add", "-A");
    git("commit", "-q", "-m", "package");
    git("config", "--global", `url.${source}.insteadOf`, "https://example.test/u/pi-ds4");
    const removed = await sandbox.run(["remove", `npm:pi-ds4@${tarball}`]);
    assert.equal(removed.status, 0, removed.stdout + removed.stderr);
    // A registry that never answers: who waits for it does not end.
    const asked: string[] = [];
    const registry = http.createServer((request) => asked.push(request.url ?? ""));
    await new Promise<void>((resolve) => registry.listen(0, "127.0.0.1", resolve));
    try {
      const installed = await sandbox.install("git:example.test/u/pi-ds4", {
        npm_config_registry: `http://127.0.0.1:${(registry.address() as AddressInfo).port}`, npm_config_update_notifier: "false",
      });
      assert.equal(installed.status, 0, installed.stdout + installed.stderr);
    } finally {
      registry.closeAllConnections();
      registry.close();
    }
    assert.deepEqual(asked, []);
    const clone = path.join(sandbox.home, ".pi", "agent", "git", "example.test", "u", "pi-ds4");
    assert.ok(fs.existsSync(path.join(clone, "extension", "index.ts")));
    assert.ok(!fs.existsSync(path.join(clone, "node_modules", "@earendil-works")), "pi itself is not fetched");
    const outcome = await sandbox.prompt("say hi");
    assert.equal(outcome.stdout.trim(), ANSWER, outcome.stderr);
  });
});
