// The server program: named by the user, found on PATH, or built from the source of this package or of another engine.
import { execFile } from "node:child_process";
import crypto from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { copyEngine, fingerprint, newestSource } from "./engine-source.ts";
import type { Tell } from "./launch.ts";
import { inCheckout, isExecutableFile, namedServer, SERVER } from "./locate.ts";
import { chooseTarget, installHint, lookAtMachine, missingPrograms, presetsOf, type Target } from "./platform.ts";
import { runProgram, which } from "./program.ts";
import type { Settings } from "./settings.ts";
import { StartError } from "./start-error.ts";
import { readJson, type StatePaths, writeJson } from "./state-dir.ts";

export interface BuildRun {
  settings: Settings;
  packageDir: string;
  paths: StatePaths;
  tell: Tell;
  signal: AbortSignal;
  warn: (text: string) => void;
}

export interface Server {
  binary: string;
  /** Directory that the server runs in: engines of the family look for files beside them. */
  cwd: string;
}

/** Looks in this order; the first that there is, is taken. */
export async function provideServer(run: BuildRun): Promise<Server> {
  const { settings, packageDir, paths } = run;
  const named = namedServer(settings);
  if (named !== undefined) return { binary: named, cwd: settings.runtimeDir ?? paths.dir };
  if (settings.runtimeDir !== undefined) return inEngine(run, settings.runtimeDir);
  if (settings.supportRepo !== undefined) return inEngine(run, await clone(run, settings.supportRepo));
  // scripts/install-pi-extension-local.sh makes support a link to a checkout.
  if (fs.lstatSync(paths.support, { throwIfNoEntry: false })?.isSymbolicLink() === true) return inEngine(run, fs.realpathSync(paths.support));
  const onPath = which(SERVER, process.env["PATH"] ?? "");
  if (onPath !== undefined && (await versionOf(onPath)) === packageVersion(packageDir)) return { binary: onPath, cwd: paths.dir };
  const fresh = inCheckout(packageDir).find((file) => isExecutableFile(file) && fs.statSync(file).mtimeMs >= newestSource(packageDir));
  return { binary: fresh ?? (await buildOwn(run)), cwd: paths.dir };
}

function packageVersion(packageDir: string): string {
  return String(readJson(path.join(packageDir, "package.json"))?.["version"]);
}

/** Of a server of this project; undefined for others. */
export function versionOf(binary: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    execFile(binary, ["--version"], { timeout: 5000 }, (_error, stdout) => resolve(/^ds4-server \(pi-ds4\) (\S+)/.exec(stdout)?.[1]));
  });
}

async function inEngine(run: BuildRun, dir: string): Promise<Server> {
  const built = inCheckout(dir).find(isExecutableFile);
  if (built !== undefined) return { binary: built, cwd: dir };
  if (!fs.existsSync(path.join(dir, "Makefile"))) {
    throw new StartError(`${dir} holds no ${SERVER} and no Makefile to build one: it is no checkout of an engine.`);
  }
  await make(run, dir, ["make", "ds4-server"], `ds4: building the engine in ${dir}`);
  const binary = inCheckout(dir).find(isExecutableFile);
  if (binary === undefined) throw new StartError(`\`make ds4-server\` in ${dir} succeeded but left no ${SERVER}.`);
  return { binary, cwd: dir };
}

async function clone(run: BuildRun, repo: string): Promise<string> {
  const branch = run.settings.supportBranch;
  const key = crypto.createHash("sha256").update(`${repo}\n${branch ?? ""}`).digest("hex").slice(0, 8);
  const dir = `${run.paths.checkout}-${key}`;
  if (fs.existsSync(dir)) return dir;
  const part = `${dir}.new`;
  fs.rmSync(part, { recursive: true, force: true });
  fs.mkdirSync(run.paths.support, { recursive: true });
  run.tell(`ds4: cloning ${repo}`);
  await runProgram({
    packageDir: run.packageDir, stateDir: run.paths.dir, logFile: run.paths.log, cwd: run.paths.dir, signal: run.signal,
    command: ["git", "clone", "--depth", "1", ...(branch === undefined ? [] : ["--branch", branch]), "--", repo, part],
    failure: "The engine could not be fetched", speaker: "git", line: () => undefined,
  });
  fs.renameSync(part, dir);
  return dir;
}

/** The engine of this package, built again when it has changed. */
async function buildOwn(run: BuildRun): Promise<string> {
  const { packageDir, paths } = run;
  const print = fingerprint(packageDir);
  const stampFile = path.join(paths.engine, "built.json");
  const stamp = readJson(stampFile);
  const built = String(stamp?.["binary"]);
  if (stamp?.["fingerprint"] === print && isExecutableFile(built)) return built;
  const missing = missingPrograms(process.env["PATH"] ?? "");
  if (missing.length > 0) {
    throw new StartError(`The engine has to be built once, and this machine lacks ${missing.join(", ")}. ${installHint(process.env["PATH"] ?? "")}`);
  }
  fs.mkdirSync(paths.engine, { recursive: true });
  copyEngine(packageDir, paths.engine);
  const target = chooseTarget(lookAtMachine(process.env["PATH"] ?? ""), presetsOf(paths.engine));
  const binary = await buildFor(run, target);
  writeJson(stampFile, { fingerprint: print, binary, target: target.said });
  return binary;
}

async function buildFor(run: BuildRun, target: Target): Promise<string> {
  const dir = run.paths.engine;
  const result = (preset: string) => path.join(dir, "build", preset, "bin", SERVER);
  if (target.preset !== "release") {
    try {
      const intro = `ds4: building the engine for ${target.said}`;
      await make(run, dir, ["cmake", "--preset", target.preset], intro);
      await make(run, dir, ["cmake", "--build", path.join("build", target.preset), "--target", SERVER], intro);
      return result(target.preset);
    } catch (error) {
      run.signal.throwIfAborted();
      run.warn(`The build for ${target.said} failed, so the engine is built for the CPU, which is much slower. ${(error as Error).message}`);
    }
  }
  const why = target.preset === "release" ? target.said : "the CPU";
  await make(run, dir, ["make", SERVER], `ds4: building the engine for ${why}`);
  return result("release");
}

async function make(run: BuildRun, cwd: string, command: string[], intro: string): Promise<void> {
  run.tell(intro);
  await runProgram({
    packageDir: run.packageDir, stateDir: run.paths.dir, logFile: run.paths.log, cwd, command, signal: run.signal,
    failure: "The engine could not be built", speaker: "build", hint: installHint(process.env["PATH"] ?? ""),
    line: (text) => {
      const step = /^\[(\d+)\/(\d+)\]/.exec(text);
      if (step !== null) run.tell(`${intro} ${Math.floor((Number(step[1]) / Number(step[2])) * 100)} %`);
    },
  });
}
