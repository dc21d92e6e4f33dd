// Locks, leases and process identities, and that the shell of ds4-watchdog.sh sees them as TypeScript does.
import assert from "node:assert/strict";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, describe, it } from "node:test";
import { isLive, type Lease } from "../../extension/lease.ts";
import { acquireLock, tryLock } from "../../extension/lock.ts";
import { isRunning, ownProcess, startFromPs, startOf } from "../../extension/process-id.ts";
import { chooseFlags, flagsIn, kvDiskDefault, optionalFlags } from "../../extension/server-args.ts";
import { readSettings } from "../../extension/settings.ts";
import { recordFailure, sharedFailure } from "../../extension/shared-failure.ts";
import { StartError } from "../../extension/start-error.ts";
import { makeStateDir, statePaths } from "../../extension/state-dir.ts";

const ROOT = path.resolve(import.meta.dirname, "../..");
const WATCHDOG = path.join(ROOT, "extension", "ds4-watchdog.sh");
const scratch = fs.mkdtempSync(path.join(os.tmpdir(), "ds4 stäte-"));
after(() => fs.rmSync(scratch, { recursive: true }));
const fresh = () => fs.mkdtempSync(path.join(scratch, "d-"));

/** What ds4-watchdog.sh says, its functions called one by one. */
function shell(script: string, dir: string, env: Record<string, string> = {}): string {
  const functions = fs.readFileSync(WATCHDOG, "utf8").split("\ncase $mode in")[0] ?? "";
  const file = path.join(scratch, "functions.sh");
  fs.writeFileSync(file, functions);
  const run = `set -- run '${dir}' 8000; . '${file}'; ${script}`;
  return execFileSync("/bin/sh", ["-c", run], { encoding: "utf8", env: { PATH: process.env["PATH"], ...env } }).trim();
}

describe("a process", () => {
  it("has the same start time for TypeScript and the shell, in any locale, with /proc and with ps", () => {
    const { pid, start } = ownProcess();
    for (const LANG of ["C", "de_DE.UTF-8", "ja_JP.UTF-8"]) assert.equal(shell(`start_of ${pid}`, "/x", { LANG }), start);
    const ps = startFromPs(pid);
    assert.match(ps ?? "", /^[A-Z][a-z]{2} [A-Z][a-z]{2} \d+ [\d:]{8} \d{4}$/);
    assert.equal(shell(`start_of ${pid}`, "/x", { DS4_WATCHDOG_PROC: "/nowhere", LC_ALL: "de_DE.UTF-8", TZ: "Asia/Tokyo" }), ps);
  });
  it("is not another with its number, nor one that has ended", async () => {
    assert.ok(isRunning(ownProcess()));
    assert.ok(!isRunning({ ...ownProcess(), start: "t1" }));
    assert.ok(!isRunning({ pid: 0, start: "" }));
    const child = spawn("/bin/true");
    await new Promise((resolve) => child.once("exit", resolve));
    assert.equal(startOf(child.pid ?? 0), undefined);
    assert.equal(startFromPs(child.pid ?? 0), undefined);
  });
  it("counts as gone when only its remains are left", async () => {
    // A shell that does not wait for its child.
    const parent = spawn("/bin/sh", ["-c", "/bin/true & echo $!; exec sleep 30"], { stdio: ["ignore", "pipe", "ignore"] });
    const pid = Number(await new Promise<Buffer>((resolve) => parent.stdout.once("data", resolve)));
    while (startOf(pid) !== undefined) await new Promise((resolve) => setTimeout(resolve, 10));
    assert.equal(shell(`is_running ${pid} "" && echo yes || echo no`, "/x"), "no");
    assert.equal(startFromPs(pid), undefined);
    parent.kill("SIGKILL");
  });
  it("counts as long as threads of it live, although its first has ended", async () => {
    const script = `
import ctypes, os, threading, time
threading.Thread(target=lambda: (time.sleep(0.1), os.write(1, b"x"), time.sleep(60))).start()
ctypes.CDLL(None).pthread_exit(None)`;
    const child = spawn("python3", ["-c", script], { stdio: ["ignore", "pipe", "inherit"] });
    const pid = child.pid ?? 0;
    await new Promise((resolve) => child.stdout.once("data", resolve));
    const state = () => fs.readFileSync(`/proc/${pid}/stat`, "latin1").replace(/^.*\) /s, "")[0];
    while (state() !== "Z") await new Promise((resolve) => setTimeout(resolve, 10));
    const start = startOf(pid);
    assert.match(start ?? "gone", /^t\d+$/);
    assert.equal(shell(`start_of ${pid}`, "/x"), start);
    child.kill("SIGKILL");
    await new Promise((resolve) => child.once("exit", resolve));
    assert.equal(startOf(pid), undefined);
  });
});

describe("a lease", () => {
  const now = Math.floor(Date.now() / 1000);
  const mine: Lease = { ...ownProcess(), heartbeat: now };
  const cases: [string, Lease, boolean][] = [
    ["of a living process", mine, true],
    ["of a living process that slept", { ...mine, heartbeat: now - 10_000 }, true],
    ["of a process that is gone", { ...mine, pid: 999_999_9 }, false],
    ["of a number that was used again", { ...mine, start: "t1" }, false],
    ["of another machine, fresh", { ...mine, pid: 999_999_9, host: "far away" }, true],
    ["of another machine, old", { ...mine, pid: 999_999_9, host: "far away", heartbeat: now - 46 }, false],
    ["without a start time, fresh", { ...mine, start: "" }, true],
    ["without a start time, old", { ...mine, start: "", heartbeat: now - 46 }, false],
  ];
  for (const [name, lease, live] of cases) {
    it(`${name} is ${live ? "live" : "dead"} for TypeScript and for the shell`, () => {
      assert.equal(isLive(lease, now), live);
      const dir = fresh();
      fs.mkdirSync(path.join(dir, "clients"));
      fs.writeFileSync(path.join(dir, "clients", `${lease.pid}.json`), JSON.stringify(lease, null, 2));
      assert.equal(shell("has_live_lease && echo live || echo dead", dir), live ? "live" : "dead");
      assert.equal(fs.readdirSync(path.join(dir, "clients")).length, live ? 1 : 0);
    });
  }
});

describe("the lock", () => {
  it("is had by one at a time, and those who wait see what the owner does", async () => {
    const state = fresh();
    const dir = path.join(state, "lock");
    fs.mkdirSync(dir);
    const lock = tryLock(dir);
    assert.ok(lock);
    assert.equal(tryLock(dir), undefined);
    assert.equal(shell("me=1; my_start=; take_lock && echo got || echo held", state), "held");
    assert.equal(shell("lock_is_held && echo held || echo free", state), "held");
    lock.tell("building 3 of 9");
    let second: Promise<void> | undefined;
    const heard = new Promise<string>((resolve) => {
      second = acquireLock(dir, undefined, resolve).then((next) => next.release());
    });
    assert.equal(await heard, "building 3 of 9");
    lock.release();
    await second;
    assert.equal(shell("lock_is_held && echo held || echo free", state), "free");
  });
  it("made by the shell holds for TypeScript, until that shell is gone", () => {
    const state = fresh();
    const dir = path.join(state, "lock");
    const said = shell(`me=$$; my_start=$(start_of $$); take_lock && ${process.execPath} --input-type=module -e '
      const { tryLock } = await import("${ROOT}/extension/lock.ts");
      console.log(tryLock(process.argv[1]) === undefined ? "held" : "free");' '${dir}'`, state);
    assert.equal(said, "held");
    const lock = tryLock(dir);
    assert.ok(lock, "the shell has ended, its lock is stale");
    lock.release();
    assert.ok(!fs.readdirSync(dir).includes("owner"));
  });
  it("of a dead owner goes to exactly one of many", async () => {
    const dir = fresh();
    fs.symlinkSync(`9999999|t1|${os.hostname()}|1`, path.join(dir, "owner"));
    const script = `
      const { tryLock } = await import("${ROOT}/extension/lock.ts");
      process.stdout.write("r");
      process.stdin.once("data", () => { process.stdout.write(tryLock(process.argv[1]) ? "1" : "0"); });
      process.stdin.once("end", () => process.exit());`;
    const children = Array.from({ length: 4 }, () =>
      spawn(process.execPath, ["--input-type=module", "-e", script, dir], { stdio: ["pipe", "pipe", "inherit"] }));
    const said = children.map(() => "");
    children.forEach((child, i) => child.stdout.on("data", (data: Buffer) => (said[i] += data.toString())));
    const all = (length: number) => said.every((text) => text.length >= length);
    while (!all(1)) await new Promise((resolve) => setTimeout(resolve, 10));
    for (const child of children) child.stdin.write("go");
    while (!all(2)) await new Promise((resolve) => setTimeout(resolve, 10));
    for (const child of children) child.stdin.end();
    assert.deepEqual(said.map((text) => text.slice(1)).sort(), ["0", "0", "0", "1"]);
  });
  it("is waited for until the caller gives up", async () => {
    const dir = fresh();
    tryLock(dir);
    const abort = new AbortController();
    await assert.rejects(acquireLock(dir, abort.signal, () => abort.abort()), { name: "AbortError" });
  });
});

describe("a failure", () => {
  it("is shared with those who waited for that start, and nobody else", () => {
    const paths = statePaths(fresh());
    makeStateDir(paths);
    const settings = readSettings({}, "/h", "/w");
    const before = Date.now() - 1;
    recordFailure(paths, settings, before, new StartError("No compiler.", ["a", "b"], "/log", "build"));
    const shared = sharedFailure(paths, settings, before);
    assert.deepEqual([shared?.message, shared?.lines, shared?.logFile, shared?.speaker], ["No compiler.", ["a", "b"], "/log", "build"]);
    assert.equal(sharedFailure(paths, settings, Date.now() + 1), undefined);
    assert.equal(sharedFailure(paths, readSettings({ DS4_MODEL: "/m" }, "/h", "/w"), before), undefined);
  });
});

describe("set_field in the shell", () => {
  it("changes one field and leaves a JSON file", () => {
    const file = path.join(fresh(), "ä.json");
    const value = { state: "starting", pid: 0, start: "", args: ["-m", "a, b"], last: 1 };
    fs.writeFileSync(file, JSON.stringify(value, null, 2));
    shell(`set_field '${file}' pid 77; set_field '${file}' start '"Mon & 1|2"'; set_field '${file}' last 9`, "/x");
    assert.deepEqual(JSON.parse(fs.readFileSync(file, "utf8")), { ...value, pid: 77, start: "Mon & 1|2", last: 9 });
    assert.equal(shell(`field '${file}' start; field '${file}' last`, "/x"), "Mon & 1|2\n9");
  });
});

describe("has_client in the shell", () => {
  it("sees a connection to the port", async () => {
    const net = await import("node:net");
    const server = net.createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as import("node:net").AddressInfo;
    const ask = () => shell(`port=${port}; has_client && echo yes || echo no`, "/x");
    assert.equal(ask(), "no");
    const client = net.connect(port, "127.0.0.1");
    await new Promise((resolve) => client.once("connect", resolve));
    assert.equal(ask(), "yes");
    client.destroy();
    server.close();
  });
});

describe("the server's flags", () => {
  const settings = (env: Record<string, string>) => readSettings(env, "/h", "/w");
  it("are left out in groups when the engine lacks them", () => {
    const groups = optionalFlags(settings({ DS4_DIR_STEERING_FILE: "/v.f32", DS4_KV_DISK_SPACE_MB: "9" }), "/kv", "darwin", 2 ** 37);
    assert.deepEqual(chooseFlags(groups, flagsIn("--kv-disk-dir D, --kv-disk-space-mb N\n --dir-steering-file --dir-steering-ffn, --dir-steering-attn=X -m")).args,
      ["--kv-disk-dir", "/kv", "--kv-disk-space-mb", "9", "--dir-steering-file", "/v.f32", "--dir-steering-ffn", "-0.75", "--dir-steering-attn", "0"]);
    assert.deepEqual(chooseFlags(groups, new Set()).missing.map((group) => group.what),
      ["the disk cache", "steering", "the steering policy", "the choice of Metal tensor routes"]);
  });
  it("have no Metal on Linux unless it is asked for, and no cache of size 0", () => {
    assert.deepEqual(optionalFlags(settings({ DS4_KV_DISK_SPACE_MB: "0" }), "/kv", "linux", 2 ** 37), []);
    assert.deepEqual(optionalFlags(settings({ DS4_KV_DISK_SPACE_MB: "0", DS4_MPP: "off" }), "/kv", "linux", 2 ** 37)[0]?.args, ["--mt", "off"]);
  });
  it("give the cache less on a small machine", () => {
    assert.deepEqual([16, 48, 128].map((gib) => kvDiskDefault(gib * 2 ** 30)), [2048, 4096, 8192]);
  });
  it("of the real server include what its help says", { skip: !fs.existsSync(path.join(ROOT, "ds4-server")) && "no server is built" }, () => {
    const known = flagsIn(spawnSync(path.join(ROOT, "ds4-server"), ["--help"], { encoding: "utf8" }).stdout);
    for (const flag of ["--ctx", "--host", "--port"]) assert.ok(known.has(flag), flag);
  });
});
