// The server's life: it never outlives its pi, comes back after a crash, and a start that fails says why, once.
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { after, before, beforeEach, describe, it } from "node:test";
import { collect, ended, isAlive, MOCK_SERVER, MODEL_ARGS, Sandbox, until } from "./support/pi.ts";
import { onlyFailure, RpcPi, type RpcRecord } from "./support/rpc.ts";

const ANSWER = "Tool said: mock-42";

describe("a start that fails", () => {
  const sandbox = new Sandbox();
  before(async () => {
    assert.equal((await sandbox.install()).status, 0);
  });
  beforeEach(() => sandbox.clearRequests());
  after(() => sandbox.remove());

  /** The message that pi shows, after making sure that it is shown once and that pi does not try again. */
  async function failsOnce(extra: Record<string, string | undefined>): Promise<string> {
    const outcome = await sandbox.run(["--mode", "json", "hi", ...MODEL_ARGS, "--no-session"], extra);
    const records = outcome.stdout.trim().split("\n").map((line) => JSON.parse(line) as RpcRecord);
    return onlyFailure(records);
  }

  it("names a server binary that is missing", async () => {
    assert.match(await failsOnce({ DS4_SERVER_BINARY: "/nowhere/ds4-server" }), /names \/nowhere\/ds4-server, which does not exist/);
  });

  it("says where it looked for a model", async () => {
    const outcome = await sandbox.prompt("hi", { DS4_MODEL: undefined });
    assert.equal(outcome.status, 1);
    assert.equal(outcome.stdout, "");
    assert.equal(outcome.stderr.match(/No model found\. Looked for .*\.pi\/ds4\/support\/ds4flash\.gguf/g)?.length, 1, outcome.stderr);
  });

  it("shows the last lines of a server that dies, and what ended it", async () => {
    const said = await failsOnce({ MOCK_EXIT: "3", MOCK_SAY: "loading\n\u001b[31mthe model needs 87 GB\u001b[0m" });
    assert.match(said, /ds4-server ended with status 3 while starting/);
    assert.ok(said.includes("the model needs 87 GB"));
    assert.ok(!said.includes("\u001b[31m"), "terminal escapes are removed");
    assert.ok(said.includes(path.join(sandbox.home, ".pi", "ds4", "log")));
  });

  it("is not repeated because the server's lines look like a transient failure", async () => {
    const said = await failsOnce({ MOCK_EXIT: "1", MOCK_SAY: "plain reason\ntimeout, error 503" });
    assert.match(said, /ended with status 1[\s\S]*plain reason/);
    assert.match(said, /timeout, error 503/);
  });

  it("is a build with the compiler's own words, once and soon", async (t) => {
    const engine = path.join(sandbox.home, "engine");
    fs.mkdirSync(engine);
    fs.writeFileSync(path.join(engine, "Makefile"),
      "ds4-server:\n\t@echo x >>builds; echo 'main.c:7: error: unknown type name' >&2; date +%s%3N >failed; false\n");
    const pi = new RpcPi(sandbox, ["--no-session"], { DS4_SERVER_BINARY: undefined, DS4_RUNTIME_DIR: engine });
    const shown = pi.next("the failure", (r) => r.type === "message_end" && r["message"].role === "assistant");
    const settled = pi.prompt("hi");
    await shown;
    const ms = Date.now() - Number(fs.readFileSync(path.join(engine, "failed"), "utf8"));
    await settled;
    assert.match(onlyFailure(pi.seen), /could not be built: `make ds4-server`[\s\S]*main\.c:7: error: unknown type name/);
    assert.equal(fs.readFileSync(path.join(engine, "builds"), "utf8"), "x\n");
    t.diagnostic(`a failing build is shown ${ms} ms after its end`);
    assert.equal(await pi.close(), 0);
  });
});

describe("the server", () => {
  const sandbox = new Sandbox();
  before(async () => {
    assert.equal((await sandbox.install()).status, 0);
  });
  beforeEach(async () => {
    sandbox.release();
    await sandbox.allGone();
    sandbox.clearRequests();
  });
  after(() => sandbox.remove());

  async function allGone(): Promise<void> {
    const pids = sandbox.serverPids();
    assert.ok(pids.length > 0, "a server was started");
    await until("the server is gone", () => !pids.some(isAlive));
  }

  for (const signal of ["SIGKILL", "SIGINT", "SIGTERM"] as const) {
    it(`is stopped when pi gets ${signal} in the middle of an answer`, async () => {
      const pi = sandbox.spawnPrompt("hi", { MOCK_DELAY_MS: "300" });
      const end = ended(pi);
      await until("a request", () => sandbox.chatBodies().length > 0);
      assert.ok(sandbox.serverPids().some(isAlive));
      pi.kill(signal);
      await end;
      await allGone();
    });
  }

  it("is stopped when pi is killed while the model loads", async () => {
    sandbox.hold();
    const pi = sandbox.spawnPrompt("hi");
    const end = ended(pi);
    await until("a server", () => sandbox.serverPids().length > 0);
    pi.kill("SIGKILL");
    await end;
    await allGone();
  });

  it("is awaited while it loads, and the progress is told", async () => {
    sandbox.hold();
    const pi = sandbox.spawnPrompt("hi");
    const output = collect(pi);
    const end = ended(pi);
    await until("pi tells", () => output.stderr().includes("loading the model 40 %"));
    sandbox.release();
    await end;
    assert.equal(output.stdout().trim(), ANSWER, output.stderr());
  });

  it("is started again when it died between two turns", async () => {
    const pi = new RpcPi(sandbox, ["--no-session"]);
    assert.deepEqual(await pi.prompt("hi"), [ANSWER]);
    const first = sandbox.serverPids();
    for (const pid of first) process.kill(pid, "SIGKILL");
    await until("the server is gone", () => !first.some(isAlive));
    assert.deepEqual(await pi.prompt("again"), [ANSWER]);
    assert.equal(sandbox.serverPids().length, 2);
    assert.equal(await pi.close(), 0);
    await allGone();
  });

  it("is started again when it dies in the middle of an answer, and pi repeats the call", async () => {
    const pi = new RpcPi(sandbox, ["--no-session"], { MOCK_CRASH_ONCE: path.join(sandbox.home, "crashed") });
    const texts = await pi.prompt("hi");
    assert.equal(texts.at(-1), ANSWER);
    assert.equal(sandbox.serverPids().length, 2);
    assert.equal(await pi.close(), 0);
    await allGone();
  });

  it("does not hold up an abort while it loads", async () => {
    sandbox.hold();
    const pi = new RpcPi(sandbox, ["--no-session"]);
    const settled = pi.next("agent_settled", (r) => r.type === "agent_settled");
    await pi.call({ type: "prompt", message: "hi" });
    await pi.shows(/loading the model 40 %/);
    await pi.call({ type: "abort" });
    await settled;
    assert.equal(await pi.close(), 0);
    await allGone();
  });

  it("is found in the runtime directory when no binary is named", async () => {
    const checkout = path.join(sandbox.home, "engine");
    fs.mkdirSync(checkout);
    fs.copyFileSync(MOCK_SERVER, path.join(checkout, "ds4-server"));
    fs.writeFileSync(path.join(checkout, "ds4flash.gguf"), "GGUF");
    const outcome = await sandbox.prompt("hi", {
      DS4_SERVER_BINARY: undefined, DS4_MODEL: undefined, DS4_RUNTIME_DIR: checkout,
    });
    assert.equal(outcome.stdout.trim(), ANSWER, outcome.stderr);
    const argv = sandbox.requests()[0]?.argv ?? [];
    assert.equal(argv[argv.indexOf("-m") + 1], path.join(checkout, "ds4flash.gguf"));
  });
});
