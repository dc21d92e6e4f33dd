// The server's life: it never outlives its pi, comes back after a crash, and a start that fails says why, once.
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { after, before, beforeEach, describe, it } from "node:test";
import { ended, isAlive, MOCK_SERVER, Sandbox, until } from "./support/pi.ts";
import { RpcPi } from "./support/rpc.ts";

const ANSWER = "Tool said: mock-42";

describe("a start that fails", () => {
  const sandbox = new Sandbox();
  before(async () => {
    assert.equal((await sandbox.install()).status, 0);
  });
  beforeEach(() => sandbox.clearRequests());
  after(() => sandbox.remove());

  /** pi repeats errors that look transient after 2, 4 and 8 seconds: staying well below shows that it did not. */
  async function failsAtOnce(extra: Record<string, string | undefined>, expected: RegExp): Promise<string> {
    const outcome = await sandbox.prompt("hi", extra);
    assert.equal(outcome.status, 1);
    assert.equal(outcome.stdout, "");
    assert.match(outcome.stderr, expected);
    assert.equal(outcome.stderr.match(new RegExp(expected, "g"))?.length, 1, outcome.stderr);
    assert.ok(outcome.ms < 12_000, `took ${outcome.ms} ms`);
    return outcome.stderr;
  }

  it("names a server binary that is missing", async () => {
    await failsAtOnce({ DS4_SERVER_BINARY: "/nowhere/ds4-server" }, /names \/nowhere\/ds4-server, which does not exist/);
  });

  it("names a server binary that cannot be run", async () => {
    const file = path.join(sandbox.home, "plain");
    fs.writeFileSync(file, "x", { mode: 0o644 });
    await failsAtOnce({ DS4_SERVER_BINARY: file }, /which is not executable/);
  });

  it("names a model that is missing", async () => {
    await failsAtOnce({ DS4_MODEL: "/nowhere/x.gguf" }, /DS4_MODEL names \/nowhere\/x\.gguf, which does not exist/);
  });

  it("says where it looked for a model", async () => {
    await failsAtOnce({ DS4_MODEL: undefined }, /No model found\. Looked for .*\.pi\/ds4\/support\/ds4flash\.gguf/);
  });

  it("shows the last lines of a server that dies, and what ended it", async () => {
    const said = await failsAtOnce(
      { MOCK_EXIT: "3", MOCK_SAY: "loading\n\u001b[31mthe model needs 87 GB\u001b[0m" },
      /ds4-server ended with status 3 while starting/,
    );
    assert.ok(said.includes("the model needs 87 GB"));
    assert.ok(!said.includes("\u001b[31m"), "terminal escapes are removed");
    assert.ok(said.includes(path.join(sandbox.home, ".pi", "ds4", "log")));
  });

  it("is not repeated because the server's lines look like a transient failure", async () => {
    const said = await failsAtOnce({ MOCK_EXIT: "1", MOCK_SAY: "plain reason\ntimeout, error 503" }, /ended with status 1/);
    assert.ok(said.includes("plain reason"));
    assert.match(said.replaceAll("\u2060", ""), /timeout, error 503/);
  });
});

describe("the server", () => {
  const sandbox = new Sandbox();
  before(async () => {
    assert.equal((await sandbox.install()).status, 0);
  });
  beforeEach(async () => {
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
    const pi = sandbox.spawnPrompt("hi", { MOCK_LOAD_MS: "60000" });
    const end = ended(pi);
    await until("a server", () => sandbox.serverPids().length > 0);
    pi.kill("SIGKILL");
    await end;
    await allGone();
  });

  it("is awaited while it loads, and the progress is told", async () => {
    const outcome = await sandbox.prompt("hi", { MOCK_LOAD_MS: "1500" });
    assert.equal(outcome.stdout.trim(), ANSWER);
    assert.match(outcome.stderr, /loading the model \d+ %/);
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
    const pi = new RpcPi(sandbox, ["--no-session"], { MOCK_LOAD_MS: "60000" });
    const settled = pi.next("agent_settled", (r) => r.type === "agent_settled", 10_000);
    await pi.call({ type: "prompt", message: "hi" });
    await until("a server", () => sandbox.serverPids().length > 0);
    const began = Date.now();
    await pi.call({ type: "abort" });
    await settled;
    assert.ok(Date.now() - began < 3000);
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
