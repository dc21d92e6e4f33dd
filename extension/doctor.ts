// /ds4 doctor: looks at everything a start needs and says what to do about what is wrong. It changes nothing.
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { versionOf } from "./build.ts";
import { whoListens } from "./health.ts";
import { liveLeases } from "./lease.ts";
import { findModel, isNano } from "./locate.ts";
import { chooseTarget, installHint, lookAtMachine, missingPrograms, presetsOf } from "./platform.ts";
import { which } from "./program.ts";
import { isServerRunning, readServer } from "./server-state.ts";
import type { Settings } from "./settings.ts";
import { makeStateDir, readJson, statePaths } from "./state-dir.ts";

export interface Finding {
  level: "ok" | "note" | "wrong";
  what: string;
  /** What to do about it. */
  advice?: string;
}

const NEEDED_MEMORY = 96e9;
const MODEL_BYTES = 87e9;

const gb = (bytes: number) => `${(bytes / 1e9).toFixed(1)} GB`;
const failure = (error: unknown) => (error instanceof Error ? error.message : String(error));

export function checkNode(version: string): Finding {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  if (major > 22 || (major === 22 && minor >= 19)) return { level: "ok", what: `Node.js ${version}` };
  return { level: "wrong", what: `Node.js ${version} is too old`, advice: "install Node.js 22.19 or newer" };
}

function checkState(settings: Settings): Finding {
  try {
    makeStateDir(statePaths(settings.stateDir));
    return { level: "ok", what: `state directory ${settings.stateDir}` };
  } catch (error) {
    return { level: "wrong", what: failure(error), advice: "set DS4_STATE_DIR to a directory that can be written" };
  }
}

async function checkEngine(settings: Settings, packageDir: string): Promise<Finding[]> {
  const search = process.env["PATH"] ?? "";
  if (settings.serverBinary !== undefined) {
    const version = await versionOf(settings.serverBinary);
    return [{ level: fs.existsSync(settings.serverBinary) ? "ok" : "wrong",
      what: `DS4_SERVER_BINARY ${settings.serverBinary} (version ${version ?? "unknown"})`, advice: "name a program that is there" }];
  }
  const target = chooseTarget(lookAtMachine(search), presetsOf(packageDir));
  const missing = missingPrograms(search);
  const stamp = readJson(path.join(statePaths(settings.stateDir).engine, "built.json"));
  const built: Finding =
    stamp === undefined
      ? { level: "note", what: `the engine is not built yet; it will be built for ${target.said}` }
      : { level: "ok", what: `the engine was built for ${String(stamp["target"])}` };
  if (missing.length === 0) return [built, { level: "ok", what: "compiler and build programs are there" }];
  return [built, { level: stamp === undefined ? "wrong" : "note", what: `missing for a build: ${missing.join(", ")}`, advice: installHint(search) }];
}

function freeBytes(dir: string): number | undefined {
  try {
    const { bavail, bsize } = fs.statfsSync(dir);
    return bavail * bsize;
  } catch {
    return undefined;
  }
}

function checkModel(settings: Settings, packageDir: string): Finding[] {
  try {
    const model = findModel(settings, packageDir);
    const fd = fs.openSync(model, "r");
    const magic = Buffer.alloc(4);
    fs.readSync(fd, magic);
    fs.closeSync(fd);
    if (magic.toString("latin1") !== "GGUF") return [{ level: "wrong", what: `${model} is not a GGUF file`, advice: "remove it, or set DS4_MODEL" }];
    return [{ level: "ok", what: `model ${model}, ${gb(fs.statSync(model).size)}${isNano(model) ? ", the toy" : ""}` }, checkMemory(fs.statSync(model).size)];
  } catch (error) {
    if (settings.modelPath !== undefined) return [{ level: "wrong", what: failure(error), advice: "correct DS4_MODEL" }];
  }
  const part = path.join(settings.ggufDir, `${settings.modelFile}.part`);
  const have = fs.statSync(part, { throwIfNoEntry: false })?.size ?? 0;
  const free = freeBytes(fs.existsSync(settings.ggufDir) ? settings.ggufDir : path.dirname(settings.stateDir));
  const findings: Finding[] = [{ level: "note", what: have > 0 ? `the model is fetched in part: ${gb(have)}` : "the model is not here yet; the first prompt fetches it" }];
  if (free !== undefined && free < MODEL_BYTES - have) {
    findings.push({ level: "wrong", what: `${gb(free)} of disk are free, about ${gb(MODEL_BYTES - have)} are needed`, advice: "make room, or set DS4_GGUF_DIR" });
  }
  if (which("curl", process.env["PATH"] ?? "") === undefined) findings.push({ level: "wrong", what: "curl is missing", advice: "install curl" });
  findings.push(checkMemory(MODEL_BYTES));
  return findings;
}

function checkMemory(modelBytes: number): Finding {
  const memory = os.totalmem();
  const needed = Math.min(NEEDED_MEMORY, modelBytes * 1.1);
  const what = `${gb(memory)} of memory, the model needs about ${gb(needed)}`;
  if (memory >= needed) return { level: "ok", what };
  return { level: "wrong", what, advice: "DS4_MODEL_QUANT=nano tries the toy; the real model needs a larger machine" };
}

async function checkServer(settings: Settings): Promise<Finding[]> {
  const paths = statePaths(settings.stateDir);
  const server = readServer(paths);
  const leases = liveLeases(paths).length;
  if (isServerRunning(server)) {
    return [{ level: "ok", what: `the server (process ${server.pid}) has port ${server.port}, model ${server.model}; ${leases} pi processes use it` }];
  }
  const found = await whoListens(settings.port);
  if (found.kind === "none") return [{ level: "ok", what: `no server runs; port ${settings.port} is free` }];
  if (found.kind === "ds4") return [{ level: "note", what: `a ds4-server that pi did not start has port ${settings.port}; it is used as it is` }];
  return [{ level: "wrong", what: `port ${settings.port} is taken by something else (${found.detail})`, advice: "stop that program, or set DS4_PORT" }];
}

export async function examine(settings: Settings, packageDir: string): Promise<Finding[]> {
  return [
    checkNode(process.versions.node),
    checkState(settings),
    ...(await checkEngine(settings, packageDir)),
    ...checkModel(settings, packageDir),
    ...(await checkServer(settings)),
  ];
}

const MARKS = { ok: "ok   ", note: "note ", wrong: "WRONG" };

export function describeFindings(findings: Finding[]): string {
  const lines = findings.flatMap((finding) => [
    `${MARKS[finding.level]} ${finding.what}`,
    ...(finding.level !== "ok" && finding.advice !== undefined ? [`      -> ${finding.advice}`] : []),
  ]);
  const wrong = findings.filter((finding) => finding.level === "wrong").length;
  return [...lines, wrong === 0 ? "Nothing is wrong." : `${wrong} to mend.`].join("\n");
}
