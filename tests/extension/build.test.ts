// Where the server program comes from: engines that are scripts, so that a build takes no time.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { type BuildRun, provideServer } from "../../extension/build.ts";
import { copyEngine, engineFiles, fingerprint } from "../../extension/engine-source.ts";
import { chooseTarget, installHint, missingPrograms, presetsOf } from "../../extension/platform.ts";
import { tellingLines } from "../../extension/program.ts";
import { readSettings } from "../../extension/settings.ts";
import { StartError } from "../../extension/start-error.ts";
import { makeStateDir, statePaths } from "../../extension/state-dir.ts";

const ROOT = path.resolve(import.meta.dirname, "../..");
const root = fs.mkdtempSync(path.join(os.tmpdir(), "ds4 büild-"));
const PATH = process.env["PATH"] ?? "";
before(() => {
  // No engine that happens to be on PATH.
  process.env["PATH"] = PATH.split(":").filter((dir) => !fs.existsSync(path.join(dir, "ds4-server"))).join(":");
});
after(() => {
  process.env["PATH"] = PATH;
  fs.rmSync(root, { recursive: true, maxRetries: 5 });
});

let serial = 0;
function fresh(name: string): string {
  const dir = path.join(root, `${name} ${++serial}`);
  fs.mkdirSync(dir, { recursive: true });
  return dir;
}

/** A package whose `make ds4-server` copies a text and counts itself. */
function makePackage(recipe = "@echo '[1/2] one'; echo '[2/2] two'; mkdir -p build/release/bin; cp src/main build/release/bin/ds4-server; chmod +x build/release/bin/ds4-server; echo x >>builds"): string {
  const dir = fresh("package");
  fs.mkdirSync(path.join(dir, "src"));
  fs.cpSync(path.join(ROOT, "extension"), path.join(dir, "extension"), { recursive: true });
  fs.writeFileSync(path.join(dir, "package.json"), '{"version": "0.1.0"}');
  fs.writeFileSync(path.join(dir, "Makefile"), `ds4-server:\n\t${recipe}\n`);
  fs.writeFileSync(path.join(dir, "src", "main"), "#!/bin/sh\necho 1\n");
  return dir;
}

interface Trial extends BuildRun {
  told: string[];
  warned: string[];
  abort: AbortController;
}
function trial(packageDir: string, env: Record<string, string> = {}, home = fresh("home")): Trial {
  const settings = readSettings(env, home, home);
  const paths = statePaths(settings.stateDir);
  makeStateDir(paths);
  const told: string[] = [];
  const warned: string[] = [];
  const abort = new AbortController();
  return {
    settings, packageDir, paths, told, warned, abort, signal: abort.signal, tell: (text) => told.push(text), warn: (text) => warned.push(text),
  };
}
const builds = (dir: string) => fs.readFileSync(path.join(dir, "builds"), "utf8").length / 2;

describe("the engine of the package", () => {
  it("is built once, again when its source changes, and told for what", async () => {
    const run = trial(makePackage());
    const { binary } = await provideServer(run);
    assert.equal(execFileSync(binary, { encoding: "utf8" }), "1\n");
    assert.match(run.told.join("\n"), /building the engine for the CPU \(.*\) 50 %[\s\S]* 100 %/);
    assert.equal((await provideServer(run)).binary, binary);
    assert.equal(builds(run.paths.engine), 1);
    fs.writeFileSync(path.join(run.packageDir, "src", "main"), "#!/bin/sh\necho 2\n");
    assert.equal(execFileSync((await provideServer(run)).binary, { encoding: "utf8" }), "2\n");
    assert.equal(builds(run.paths.engine), 2);
  });
  it("that was built in the package itself is taken while it is newer than its source", async () => {
    const run = trial(makePackage());
    const own = path.join(run.packageDir, "ds4-server");
    fs.writeFileSync(own, "x", { mode: 0o755 });
    assert.equal((await provideServer(run)).binary, own);
    fs.utimesSync(own, 1, 1);
    assert.notEqual((await provideServer(run)).binary, own);
  });
  it("gives way to one on PATH of the same version, and to no other", async () => {
    const bin = fresh("bin");
    const onPath = path.join(bin, "ds4-server");
    const before = process.env["PATH"];
    process.env["PATH"] = `${bin}:${before}`;
    try {
      fs.writeFileSync(onPath, "#!/bin/sh\necho 'ds4-server (pi-ds4) 0.1.0'\n", { mode: 0o755 });
      assert.equal((await provideServer(trial(makePackage()))).binary, onPath);
      fs.writeFileSync(onPath, "#!/bin/sh\necho 'ds4-server (pi-ds4) 0.0.9'\n", { mode: 0o755 });
      assert.notEqual((await provideServer(trial(makePackage()))).binary, onPath);
    } finally {
      process.env["PATH"] = before;
    }
  });
  it("says what is wrong when it cannot be built, at once", async () => {
    const run = trial(makePackage("@echo 'main.c:1: error: no such thing' >&2; echo more; exit 3"));
    const began = Date.now();
    await assert.rejects(provideServer(run), (error) => {
      assert.ok(error instanceof StartError);
      assert.match(error.message, /^The engine could not be built: `make ds4-server` ended with status 2\. Install what a build needs/);
      assert.ok(error.lines.includes("main.c:1: error: no such thing"), error.lines.join("\n"));
      assert.equal(error.logFile, run.paths.log);
      assert.equal(error.speaker, "build");
      return true;
    });
    assert.ok(Date.now() - began < 2000);
  });
  it("is not built any further after the user gave up", async () => {
    const run = trial(makePackage("@echo $$$$ >pid; sleep 60 & echo $$! >child; wait"));
    const end = provideServer(run);
    const child = path.join(run.paths.engine, "child");
    while (!fs.existsSync(child) || fs.readFileSync(child, "utf8") === "") await new Promise((resolve) => setTimeout(resolve, 10));
    run.abort.abort();
    await assert.rejects(end, { name: "AbortError" });
    const pid = Number(fs.readFileSync(child, "utf8"));
    const gone = () => {
      try {
        process.kill(pid, 0);
        return fs.readFileSync(`/proc/${pid}/stat`, "latin1").includes(") Z ");
      } catch {
        return true;
      }
    };
    while (!gone()) await new Promise((resolve) => setTimeout(resolve, 10));
  });
});

describe("another engine", () => {
  it("in DS4_RUNTIME_DIR is used as it is, or built with make ds4-server", async () => {
    const dir = makePackage();
    const run = trial(makePackage(), { DS4_RUNTIME_DIR: dir });
    assert.deepEqual(await provideServer(run), { binary: path.join(dir, "build/release/bin/ds4-server"), cwd: dir });
    assert.equal((await provideServer(run)).cwd, dir);
    assert.equal(builds(dir), 1);
    await assert.rejects(provideServer(trial(makePackage(), { DS4_RUNTIME_DIR: fresh("nothing") })), /no checkout of an engine/);
  });
  it("in DS4_SUPPORT_REPO is cloned once for each branch", async () => {
    const repo = makePackage();
    const git = (...args: string[]) => execFileSync("git", ["-c", "user.name=a", "-c", "user.email=a@b", ...args], { cwd: repo, stdio: "ignore" });
    git("init", "-b", "main");
    git("add", "-A");
    git("commit", "-m", "1");
    git("checkout", "-b", "other");
    fs.writeFileSync(path.join(repo, "src/main"), "#!/bin/sh\necho other\n");
    git("commit", "-am", "2");
    git("checkout", "main");
    const url = `file://${repo}`;
    const run = trial(makePackage(), { DS4_SUPPORT_REPO: url });
    const first = await provideServer(run);
    assert.equal(execFileSync(first.binary, { encoding: "utf8" }), "1\n");
    assert.deepEqual(await provideServer(run), first);
    const branch = trial(makePackage(), { DS4_SUPPORT_REPO: url, DS4_SUPPORT_BRANCH: "other" });
    assert.equal(execFileSync((await provideServer(branch)).binary, { encoding: "utf8" }), "other\n");
    await assert.rejects(provideServer(trial(makePackage(), { DS4_SUPPORT_REPO: `${url}/nowhere` })), /The engine could not be fetched: `git clone/);
  });
  it("that support points to is used", async () => {
    const dir = makePackage();
    const run = trial(makePackage());
    fs.symlinkSync(dir, run.paths.support);
    assert.equal((await provideServer(run)).cwd, fs.realpathSync(dir));
  });
});

describe("the source", () => {
  it("of this repository has all its parts, and its copy the same fingerprint", () => {
    const files = engineFiles(ROOT);
    for (const file of ["Makefile", "CMakeLists.txt", "include/ds4.h", "src/server/main.c"]) assert.ok(files.includes(file), file);
    const copy = fresh("copy");
    fs.mkdirSync(path.join(copy, "src"));
    fs.writeFileSync(path.join(copy, "src", "stale.c"), "");
    copyEngine(ROOT, copy);
    assert.equal(fingerprint(copy), fingerprint(ROOT));
  });
  it("is built for what the machine has and the engine can", () => {
    const gpu = { platform: "linux", nvcc: "/usr/bin/nvcc", gpu: "NVIDIA H100" };
    assert.deepEqual(chooseTarget(gpu, ["release", "cuda"]), { preset: "cuda", said: "CUDA (NVIDIA H100)" });
    assert.match(chooseTarget(gpu, ["release"]).said, /no CUDA backend/);
    assert.match(chooseTarget({ ...gpu, nvcc: undefined }, ["release", "cuda"]).said, /nvcc of the CUDA toolkit is not/);
    assert.match(chooseTarget({ ...gpu, gpu: undefined }, ["release", "cuda"]).said, /no NVIDIA GPU/);
    assert.equal(chooseTarget({ ...gpu, platform: "darwin" }, ["release"]).preset, "release");
    assert.equal(chooseTarget({ ...gpu, platform: "darwin" }, ["release", "metal"]).preset, "metal");
    assert.ok(presetsOf(ROOT).includes("release"));
    assert.deepEqual(presetsOf("/nowhere"), []);
  });
  it("needs programs that are named, with the command that installs them", () => {
    assert.deepEqual(missingPrograms(""), ["a C compiler", "make", "cmake", "ninja", "pkg-config"]);
    const deps = fs.readFileSync(path.join(ROOT, "scripts/deps.sh"), "utf8");
    for (const name of installHint("").split(": ")[1]?.split(" ") ?? []) assert.ok(deps.includes(name), name);
  });
  it("that fails tells by its errors, or its last lines", () => {
    assert.deepEqual(tellingLines(["a", "x.c:1: error: b", "c"]), ["x.c:1: error: b"]);
    assert.deepEqual(tellingLines(["a", "b"]), ["a", "b"]);
  });
});
