// The server process that belongs to this pi: started when the first request needs it, stopped when pi goes.
//
// One per process, whatever happens to this module: pi evaluates extensions again on /reload, so the handle is kept
// under a registered symbol of the global object. The process runs under guard.sh, which stops it as soon as our end
// of a pipe closes; that also covers a pi that is killed.
import { type ChildProcess, spawn } from "node:child_process";
import fs from "node:fs";
import net from "node:net";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { probeHealth } from "./health.ts";
import { findModel, findServer, isNano, NANO_IS_A_TOY } from "./locate.ts";
import { lastLines, logPath, openLog } from "./log.ts";
import type { Settings } from "./settings.ts";

export interface Engine {
  readonly child: ChildProcess;
  readonly port: number;
  readonly modelPath: string;
  readonly logFile: string;
  readonly logStart: number;
  ready: boolean;
  /** How it ended, once it has: "with status 1", "by SIGKILL". */
  ended: string | undefined;
}

/** A start that failed: one sentence, and what the server itself said last. */
export class StartError extends Error {
  readonly serverLines: readonly string[];
  readonly logFile: string | undefined;
  constructor(message: string, serverLines: readonly string[] = [], logFile?: string) {
    super(message);
    this.serverLines = serverLines;
    this.logFile = logFile;
  }
}

export type Progress = (text: string | undefined) => void;

interface Slot {
  engine: Engine | undefined;
  starting: Promise<Engine> | undefined;
  /** Of every caller that waits for the current start. */
  listeners: Set<Progress>;
}

const SLOT = Symbol.for("pi-ds4.engine.1");
const PORT_ATTEMPTS = 3;
const SILENCE_MS = 60_000;
const POLL_MS = 100;

function slot(): Slot {
  const holder = globalThis as unknown as Record<symbol, Slot | undefined>;
  return (holder[SLOT] ??= { engine: undefined, starting: undefined, listeners: new Set() });
}

export function currentEngine(): Engine | undefined {
  return slot().engine;
}

export function engineUrl(engine: Engine): string {
  return `http://127.0.0.1:${engine.port}/v1`;
}

/** The running server, started if need be. Ending the wait through `signal` lets a start go on for the next request. */
export async function ensureEngine(
  settings: Settings,
  packageDir: string,
  progress: Progress,
  signal?: AbortSignal,
): Promise<Engine> {
  signal?.throwIfAborted();
  const state = slot();
  if (state.engine?.ready && state.engine.ended === undefined) return state.engine;
  state.listeners.add(progress);
  state.starting ??= start(settings, packageDir, state).finally(() => {
    state.starting = undefined;
  });
  try {
    return await abortable(state.starting, signal);
  } finally {
    state.listeners.delete(progress);
    progress(undefined);
  }
}

function abortable<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason as Error);
    signal.addEventListener("abort", onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}

async function start(settings: Settings, packageDir: string, state: Slot): Promise<Engine> {
  const tell = (text: string) => {
    for (const listener of state.listeners) listener(text);
  };
  const binary = findServer(settings, packageDir, process.env["PATH"] ?? "");
  const modelPath = findModel(settings, packageDir);
  if (isNano(modelPath)) tell(`ds4: ${NANO_IS_A_TOY}`);
  for (let attempt = 1; ; attempt++) {
    const engine = launch(settings, packageDir, binary, modelPath, await freePort());
    state.engine = engine;
    try {
      await untilReady(engine, tell);
      return engine;
    } catch (error) {
      await stop(engine, 0);
      // Another program may have taken the port between our look and the server's bind.
      const lostPort = error instanceof StartError && error.serverLines.some((line) => /already in use/i.test(line));
      if (!lostPort || attempt === PORT_ATTEMPTS) throw error;
    }
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = net.createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as net.AddressInfo;
      server.close(() => resolve(port));
    });
  });
}

function launch(settings: Settings, packageDir: string, binary: string, modelPath: string, port: number): Engine {
  const log = openLog(settings.stateDir);
  const args = ["-m", modelPath, "--ctx", String(settings.contextTokens), "--host", "127.0.0.1", "--port", String(port)];
  let child: ChildProcess;
  try {
    child = spawn("/bin/sh", [path.join(packageDir, "extension", "guard.sh"), binary, ...args], {
      cwd: settings.runtimeDir ?? settings.stateDir,
      // Its own session: Ctrl-C in pi's terminal must not reach it before pi has decided what to do.
      detached: true,
      stdio: ["pipe", log.fd, log.fd],
    });
  } finally {
    fs.closeSync(log.fd);
  }
  const engine: Engine = {
    child, port, modelPath, logFile: logPath(settings.stateDir), logStart: log.start, ready: false, ended: undefined,
  };
  const end = (how: string) => {
    engine.ended ??= how;
    child.stdin?.destroy();
  };
  child.once("error", (error) => end(`before it began: ${error.message}`));
  child.once("exit", (status, signal) => end(signal === null ? describeStatus(status ?? 0) : `by ${signal}`));
  child.stdin?.on("error", () => undefined);
  // Neither the process nor the pipe may keep a finished `pi -p` alive.
  child.unref();
  (child.stdin as net.Socket | null)?.unref();
  return engine;
}

/** guard.sh reports death by signal N as 128+N, as every shell does. */
function describeStatus(status: number): string {
  return status > 128 ? `by signal ${status - 128}` : `with status ${status}`;
}

async function untilReady(engine: Engine, tell: (text: string) => void): Promise<void> {
  tell("ds4: starting the server");
  let lastSign = Date.now();
  while (engine.ended === undefined) {
    const health = await probeHealth(engine.port);
    if (engine.ended !== undefined) break;
    if (health.state === "ready") {
      engine.ready = true;
      return;
    }
    if (health.state === "foreign") throw failure(engine, `Something else answers on port ${engine.port}: ${health.detail}.`);
    if (health.state === "loading") {
      lastSign = Date.now();
      const percent = health.fraction === undefined ? "" : ` ${Math.floor(health.fraction * 100)} %`;
      tell(`ds4: loading the model${percent}`);
    } else if (Date.now() - lastSign > SILENCE_MS) {
      throw failure(engine, `ds4-server runs but has not opened port ${engine.port} in ${SILENCE_MS / 1000} seconds.`);
    }
    await sleep(POLL_MS);
  }
  throw failure(engine, `ds4-server ended ${engine.ended} while starting.`);
}

function failure(engine: Engine, sentence: string): StartError {
  return new StartError(sentence, lastLines(engine.logFile, engine.logStart, 8), engine.logFile);
}

/** Lets go of the process and waits up to `waitMs` for its end; guard.sh sees to the rest, also after we are gone. */
async function stop(engine: Engine, waitMs: number): Promise<void> {
  engine.ready = false;
  if (engine.ended !== undefined) return;
  engine.child.stdin?.destroy();
  if (waitMs === 0) return;
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, waitMs);
    engine.child.once("exit", () => {
      // A timer left behind would keep a finished `pi -p` alive.
      clearTimeout(timer);
      resolve();
    });
  });
}

export async function stopEngine(waitMs: number): Promise<void> {
  const { engine } = slot();
  if (engine !== undefined) await stop(engine, waitMs);
}
