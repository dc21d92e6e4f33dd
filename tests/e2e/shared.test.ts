// One server for all pi processes: who starts it, who keeps it, who stops it, whatever is killed in between.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import fs from "node:fs";
import http from "node:http";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { after, before, beforeEach, describe, it } from "node:test";
import { collect, ended, isAlive, Sandbox, until } from "./support/pi.ts";
import { RpcPi } from "./support/rpc.ts";

const ANSWER = "Tool said: mock-42";

describe("the shared server", () => {
  const sandbox = new Sandbox();
  before(async () => {
    assert.equal((await sandbox.install()).status, 0);
  });
  beforeEach(async () => {
    sandbox.release();
    sandbox.killPis();
    await sandbox.allGone();
    sandbox.clearRequests();
    fs.rmSync(sandbox.state(), { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  });
  after(() => sandbox.remove());

  function watchdogs(): { watch: number; keeper: number } {
    const watch = Number(fs.readFileSync(sandbox.state("watchdog"), "utf8").split("|")[0]);
    const stat = fs.readFileSync(`/proc/${watch}/stat`, "latin1");
    return { watch, keeper: Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]) };
  }
  function watchIsAlive(): boolean {
    try {
      return isAlive(watchdogs().watch);
    } catch {
      return false;
    }
  }

  it("is one for three pi processes that start together, and stays when one is killed", async () => {
    sandbox.hold();
    const pis = [1, 2, 3].map(() => new RpcPi(sandbox, ["--no-session"]));
    const answers = pis.map((pi) => pi.prompt("hi"));
    await Promise.all(pis.map((pi) => pi.shows(/loading the model 40 %/)));
    sandbox.release();
    assert.deepEqual(await Promise.all(answers), [[ANSWER], [ANSWER], [ANSWER]]);
    assert.equal(sandbox.serverPids().length, 1);
    assert.equal(fs.readdirSync(sandbox.state("clients")).length, 3);
    const [first, second, third] = pis as [RpcPi, RpcPi, RpcPi];
    const end = ended(first.child);
    first.child.kill("SIGKILL");
    await end;
    assert.equal(await second.close(), 0);
    await until("the dead lease is removed", () => fs.readdirSync(sandbox.state("clients")).length === 1);
    assert.deepEqual(await third.prompt("still here?"), [ANSWER]);
    assert.equal(sandbox.serverPids().length, 1);
    assert.equal(await third.close(), 0);
    await sandbox.allGone();
    await until("server.json is removed", () => sandbox.server() === undefined);
  });

  it("stays for the time to live after the last pi, and goes a poll later at the latest", async (t) => {
    const pi = new RpcPi(sandbox, ["--no-session"], { DS4_WATCHDOG_TTL: "3", DS4_WATCHDOG_POLL: "1" });
    await pi.prompt("hi");
    const end = pi.close();
    await until("no lease", () => fs.readdirSync(sandbox.state("clients")).length === 0);
    const left = Date.now();
    await sandbox.allGone();
    const seconds = (Date.now() - left) / 1000;
    assert.equal(await end, 0);
    // Whole seconds are counted, so one may be missing. A busy machine is late, which is no fault.
    assert.ok(seconds > 2, `after ${seconds} s`);
    t.diagnostic(`ttl 3 s, poll 1 s: gone ${seconds.toFixed(1)} s after the last lease`);
  });

  it("is not stopped under a pi that is itself stopped", async () => {
    const pi = new RpcPi(sandbox, ["--no-session"]);
    await pi.prompt("hi");
    const lease = sandbox.state("clients", `${pi.child.pid}.json`);
    pi.child.kill("SIGSTOP");
    const old = JSON.parse(fs.readFileSync(lease, "utf8")) as Record<string, unknown>;
    fs.writeFileSync(lease, JSON.stringify({ ...old, heartbeat: 1 }, null, 2));
    // The watch has looked again when it has removed another, dead lease.
    const dead = sandbox.state("clients", "999999.json");
    fs.writeFileSync(dead, JSON.stringify({ ...old, pid: 999999, heartbeat: 1 }, null, 2));
    await until("the dead lease is removed", () => !fs.existsSync(dead) || sandbox.server() === undefined);
    assert.ok(sandbox.serverPids().every(isAlive));
    pi.child.kill("SIGCONT");
    assert.deepEqual(await pi.prompt("hi"), [ANSWER]);
    assert.equal(await pi.close(), 0);
  });

  it("is stopped although the pid of a lease belongs to another process now", async () => {
    const pi = new RpcPi(sandbox, ["--no-session"]);
    await pi.prompt("hi");
    fs.writeFileSync(
      sandbox.state("clients", `${process.pid}.json`),
      JSON.stringify({ pid: process.pid, start: "t1", host: "elsewhere", heartbeat: 1 }, null, 2),
    );
    assert.equal(await pi.close(), 0);
    await sandbox.allGone();
  });

  it("gets a new watch when the watch is killed, when its keeper is, and when both are", async () => {
    const pi = new RpcPi(sandbox, ["--no-session"]);
    await pi.prompt("hi");
    await until("a watch", watchIsAlive);
    const first = watchdogs();
    process.kill(first.watch, "SIGKILL");
    await until("the keeper starts another watch", () => watchIsAlive() && watchdogs().watch !== first.watch);
    const second = watchdogs();
    process.kill(second.keeper, "SIGKILL");
    await until("the watch starts another keeper", () => watchIsAlive() && watchdogs().watch !== second.watch);
    const third = watchdogs();
    process.kill(third.keeper, "SIGKILL");
    process.kill(third.watch, "SIGKILL");
    await until("no watch", () => !watchIsAlive());
    assert.deepEqual(await pi.prompt("again"), [ANSWER]);
    await until("pi starts another", watchIsAlive);
    const end = ended(pi.child);
    pi.child.kill("SIGKILL");
    await end;
    await sandbox.allGone();
  });

  it("is stopped when pi and its watch are killed at the same time", async () => {
    const pi = new RpcPi(sandbox, ["--no-session"]);
    await pi.prompt("hi");
    await until("a watch", watchIsAlive);
    process.kill(watchdogs().watch, "SIGKILL");
    pi.child.kill("SIGKILL");
    await sandbox.allGone();
  });

  it("is killed when it does not end within the grace time", async () => {
    await sandbox.prompt("hi", { MOCK_IGNORE_TERM: "1", DS4_WATCHDOG_GRACE: "1" });
    await sandbox.allGone();
    assert.match(fs.readFileSync(sandbox.state("log"), "utf8"), /did not end in 1 seconds; killing it/);
  });

  it("is awaited while it ends by a new pi, which starts another", async () => {
    await sandbox.prompt("hi", { MOCK_IGNORE_TERM: "1" });
    await until("the stop has begun", () => sandbox.server()?.["state"] === "stopping");
    const pi = sandbox.spawnPrompt("hi");
    const output = collect(pi);
    const end = ended(pi);
    await until("pi waits", () => output.stderr().includes("waiting for the previous server to end"));
    for (const pid of sandbox.serverPids()) process.kill(pid, "SIGKILL");
    await end;
    assert.equal(output.stdout().trim(), ANSWER, output.stderr());
    assert.equal(sandbox.serverPids().length, 2);
  });

  it("is built once for three pi processes that start in the same second", async () => {
    const engine = makeEngine("sleep 1; echo x >>builds; cp main ds4-server");
    const env = { DS4_SERVER_BINARY: undefined, DS4_RUNTIME_DIR: engine };
    const outcomes = await Promise.all([1, 2, 3].map(() => sandbox.prompt("hi", env)));
    assert.deepEqual(outcomes.map((outcome) => outcome.stdout.trim()), [ANSWER, ANSWER, ANSWER], outcomes.map((o) => o.stderr).join("\n"));
    assert.equal(fs.readFileSync(path.join(engine, "builds"), "utf8"), "x\n");
    assert.equal(sandbox.serverPids().length, 1);
  });

  it("whose build fails for three pi processes fails once, and all say why", async () => {
    const engine = makeEngine("sleep 2; echo x >>builds; echo 'x.c:1: error: no such thing 503' >&2; false");
    const env = { DS4_SERVER_BINARY: undefined, DS4_RUNTIME_DIR: engine };
    const outcomes = await Promise.all([1, 2, 3].map(() => sandbox.prompt("hi", env)));
    for (const outcome of outcomes) {
      assert.equal(outcome.status, 1);
      assert.equal(outcome.stderr.match(/could not be built/g)?.length, 1, outcome.stderr);
      assert.match(outcome.stderr.replaceAll("\u2060", ""), /x\.c:1: error: no such thing 503/);
    }
    assert.ok(fs.readFileSync(path.join(engine, "builds"), "utf8").length <= 4, "not by each of them");
  });

  it("has its build cancelled when pi aborts, and a later prompt builds", async () => {
    const engine = makeEngine("echo x >>builds; [ -e fast ] || sleep 60; cp main ds4-server");
    const pi = new RpcPi(sandbox, ["--no-session"], { DS4_SERVER_BINARY: undefined, DS4_RUNTIME_DIR: engine });
    const settled = pi.next("agent_settled", (r) => r.type === "agent_settled");
    await pi.call({ type: "prompt", message: "hi" });
    await until("the build", () => fs.existsSync(path.join(engine, "builds")));
    await pi.call({ type: "abort" });
    await settled;
    fs.writeFileSync(path.join(engine, "fast"), "");
    assert.deepEqual(await pi.prompt("again"), [ANSWER]);
    assert.equal(await pi.close(), 0);
  });

  /** A checkout whose `make ds4-server` runs this shell line; `main` is the mock server. */
  function makeEngine(line: string): string {
    const engine = fs.mkdtempSync(path.join(sandbox.home, "engine "));
    fs.copyFileSync(sandbox.env["DS4_SERVER_BINARY"] as string, path.join(engine, "main"));
    fs.writeFileSync(path.join(engine, "Makefile"), `ds4-server:\n\t@${line}\n`);
    return engine;
  }

  it("is started where server.json names a process that is another now, which is left alone", async () => {
    const other = spawn("/bin/sleep", ["600"], { stdio: "ignore" });
    try {
      fs.mkdirSync(sandbox.state(), { recursive: true });
      const server = { state: "starting", pid: other.pid, start: "t1", status: -1, port: Number(sandbox.env["DS4_PORT"]), model: "m", id: "x" };
      fs.writeFileSync(sandbox.state("server.json"), JSON.stringify(server, null, 2));
      const outcome = await sandbox.prompt("hi");
      assert.equal(outcome.stdout.trim(), ANSWER, outcome.stderr);
      await sandbox.allGone();
      assert.equal(other.exitCode ?? other.signalCode, null);
    } finally {
      other.kill("SIGKILL");
    }
  });

  it("is started although a dead pi left its lock behind", async () => {
    fs.mkdirSync(sandbox.state("lock"), { recursive: true });
    fs.symlinkSync(`999999|t1|${os.hostname()}|1`, sandbox.state("lock", "owner"));
    const outcome = await sandbox.prompt("hi");
    assert.equal(outcome.stdout.trim(), ANSWER, outcome.stderr);
  });

  it("is not started where another program has the port, which is left alone", async () => {
    const answering = http.createServer((_request, response) => response.end("{}"));
    const silent = net.createServer((socket) => socket.on("error", () => undefined).destroy());
    for (const foreign of [answering, silent]) {
      await new Promise<void>((resolve) => foreign.listen(Number(sandbox.env["DS4_PORT"]), "127.0.0.1", resolve));
      try {
        const outcome = await sandbox.prompt("hi");
        assert.equal(outcome.status, 1);
        // A port may hold digits that pi takes for a transient failure; then there are invisible marks between them.
        const said = outcome.stderr.replaceAll("\u2060", "");
        assert.match(said, /Port \d+ on this machine is taken by something that is not a ds4-server .*DS4_PORT/);
        assert.ok(foreign.listening);
      } finally {
        await new Promise((resolve) => foreign.close(resolve));
      }
    }
    assert.deepEqual(sandbox.serverPids(), []);
  });

  it("is adopted when somebody else started it, and left running", async () => {
    const args = ["-m", sandbox.env["DS4_MODEL"] ?? "", "--host", "127.0.0.1", "--port", sandbox.env["DS4_PORT"] ?? ""];
    const own = spawn(process.execPath, [sandbox.env["DS4_SERVER_BINARY"] ?? "", ...args], { env: sandbox.env, stdio: "ignore" });
    try {
      await until("it listens", () => sandbox.serverPids().length === 1);
      const outcome = await sandbox.prompt("hi");
      assert.equal(outcome.stdout.trim(), ANSWER, outcome.stderr);
      assert.equal(sandbox.serverPids().length, 1);
      assert.equal(sandbox.server(), undefined);
      assert.equal(own.exitCode, null);
    } finally {
      own.kill("SIGKILL");
    }
  });

  it("is not given to a pi that wants another model while others use it, and replaced when none does", async () => {
    const other = path.join(sandbox.home, "other.gguf");
    fs.writeFileSync(other, "GGUF");
    const pi = new RpcPi(sandbox, ["--no-session"]);
    await pi.prompt("hi");
    const refused = await sandbox.prompt("hi", { DS4_MODEL: other });
    assert.equal(refused.status, 1);
    assert.match(refused.stderr, /running server has the model .*model\.gguf, this pi wants .*other\.gguf, and another pi uses it/);
    assert.deepEqual(await pi.prompt("hi"), [ANSWER]);
    assert.equal(await pi.close(), 0);
    const slow = { DS4_WATCHDOG_TTL: "60" };
    await sandbox.allGone();
    await sandbox.prompt("hi", slow);
    assert.ok(sandbox.serverPids().some(isAlive), "it waits for the next pi");
    const outcome = await sandbox.prompt("hi", { DS4_MODEL: other });
    assert.equal(outcome.stdout.trim(), ANSWER, outcome.stderr);
    assert.equal(sandbox.serverPids().filter(isAlive).length <= 1, true);
    const argv = sandbox.requests().at(-1)?.argv ?? [];
    assert.equal(argv[argv.indexOf("-m") + 1], other);
  });

  it("is not started in a HOME that cannot be written, with a way out", async () => {
    // Not even root may write there.
    const readOnly = { HOME: "/sys", PI_CODING_AGENT_DIR: path.join(sandbox.home, ".pi", "agent") };
    const outcome = await sandbox.prompt("hi", readOnly);
    assert.equal(outcome.status, 1);
    assert.match(outcome.stderr, /Cannot write to \/sys\/\.pi\/ds4 \(E[A-Z]+\).*DS4_STATE_DIR/);
    const elsewhere = await sandbox.prompt("hi", { ...readOnly, DS4_STATE_DIR: path.join(sandbox.home, "other state") });
    assert.equal(elsewhere.stdout.trim(), ANSWER, elsewhere.stderr);
  });

  it("runs without flags that the engine lacks, and says so once", async () => {
    const outcome = await sandbox.prompt("hi", { MOCK_FLAGS: "--kv-disk-dir", DS4_MT: "on" });
    assert.equal(outcome.stdout.trim(), ANSWER, outcome.stderr);
    assert.equal(outcome.stderr.match(/warning: .*does not know --kv-disk-dir, --kv-disk-space-mb, --mt/g)?.length, 1, outcome.stderr);
    await sandbox.allGone();
    sandbox.clearRequests();
    await sandbox.prompt("hi", { DS4_KV_DISK_SPACE_MB: "123" });
    const argv = sandbox.requests()[0]?.argv ?? [];
    assert.deepEqual(argv.slice(argv.indexOf("--kv-disk-dir")), ["--kv-disk-dir", sandbox.state("kv"), "--kv-disk-space-mb", "123"]);
  });
});
