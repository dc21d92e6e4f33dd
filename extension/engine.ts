// The server that every pi process of this user shares: found, adopted, or started by whoever needs it first.
//
// What belongs to this process is kept under a registered symbol of the global object: pi evaluates extensions again on
// /reload. The rest is files: lease.ts, lock.ts, server-state.ts say which.
import { setTimeout as sleep } from "node:timers/promises";
import { provideServer } from "./build.ts";
import { provideModel } from "./download.ts";
import { whoListens } from "./health.ts";
import { beginStop, launch, restoreWatchdog, type Tell, untilGone, untilReady } from "./launch.ts";
import { dropLease, otherLeases, renewLease, startHeart } from "./lease.ts";
import { findModel, isNano, NANO_IS_A_TOY } from "./locate.ts";
import { acquireLock, type Lock } from "./lock.ts";
import { serverArgs } from "./server-args.ts";
import { isServerRunning, readServer, type ServerState } from "./server-state.ts";
import type { Settings } from "./settings.ts";
import { recordFailure, sharedFailure } from "./shared-failure.ts";
import { StartError } from "./start-error.ts";
import { makeStateDir, remove, type StatePaths, statePaths } from "./state-dir.ts";

export interface Engine {
  readonly port: number;
  readonly model: string | undefined;
  /** Undefined for a ds4-server that somebody else started: it is used, and never stopped. */
  readonly server: ServerState | undefined;
}

export type Progress = (text: string | undefined) => void;

interface Start {
  promise: Promise<Engine>;
  abort: AbortController;
  /** Of every caller that waits for it; when the last one gives up, so does the start. */
  listeners: Set<Progress>;
}

interface Slot {
  engine: Engine | undefined;
  start: Start | undefined;
  paths: StatePaths | undefined;
  heart: NodeJS.Timeout | undefined;
  warnings: Set<string>;
  steer: number | undefined;
}

const SLOT = Symbol.for("pi-ds4.engine.2");

function slot(): Slot {
  const holder = globalThis as unknown as Record<symbol, Slot | undefined>;
  return (holder[SLOT] ??= { engine: undefined, start: undefined, paths: undefined, heart: undefined, warnings: new Set(), steer: undefined });
}

export function currentEngine(): Engine | undefined {
  return slot().engine;
}

export function isStarting(): boolean {
  return slot().start !== undefined;
}

export function engineOrigin(port: number): string {
  return `http://127.0.0.1:${port}`;
}

/** The strength that this pi asks for in its requests; undefined leaves it to the server. */
export function steerNow(scale?: number): number | undefined {
  if (scale !== undefined) slot().steer = scale;
  return slot().steer;
}

/** Sentences for the user that are no errors; each is given out once. */
export function takeWarnings(): string[] {
  const { warnings } = slot();
  const all = [...warnings].filter((text) => text !== "");
  warnings.clear();
  return all;
}

/** From the first request on this pi has a lease; between sessions of one process its heartbeat pauses. */
export function beginHeart(packageDir: string): void {
  const state = slot();
  const { paths } = state;
  if (paths === undefined) return;
  clearInterval(state.heart);
  state.heart = startHeart(() => {
    try {
      renewLease(paths);
      restoreWatchdog(paths, packageDir);
    } catch {
      // A full disk must not end pi; the lease counts as long as this process lives.
    }
  });
}

export function pauseHeart(): void {
  clearInterval(slot().heart);
}

export function leave(): void {
  const { paths } = slot();
  pauseHeart();
  if (paths !== undefined) dropLease(paths);
}

async function stillServes(engine: Engine, paths: StatePaths | undefined): Promise<boolean> {
  if (engine.server === undefined || paths === undefined) return (await whoListens(engine.port)).kind === "ds4";
  const now = readServer(paths);
  return isServerRunning(engine.server) && now?.id === engine.server.id && now.state === "starting";
}

/** The running server, started if need be. What it throws is what the user reads. */
export async function ensureEngine(
  settings: Settings,
  packageDir: string,
  progress: Progress,
  signal?: AbortSignal,
): Promise<Engine> {
  signal?.throwIfAborted();
  const state = slot();
  if (state.engine !== undefined && (await stillServes(state.engine, state.paths))) {
    if (state.engine.server !== undefined && state.paths !== undefined) restoreWatchdog(state.paths, packageDir);
    return state.engine;
  }
  state.engine = undefined;
  // A start that was cancelled has children to end and a lock to release first.
  while (state.start?.abort.signal.aborted === true) await state.start.promise.catch(() => undefined);
  const start = (state.start ??= begin(settings, packageDir, state));
  start.listeners.add(progress);
  try {
    return await abortable(start.promise, signal);
  } finally {
    start.listeners.delete(progress);
    if (start.listeners.size === 0) start.abort.abort();
    progress(undefined);
  }
}

function begin(settings: Settings, packageDir: string, state: Slot): Start {
  const abort = new AbortController();
  const listeners = new Set<Progress>();
  const paths = statePaths(settings.stateDir);
  const task = async () => {
    makeStateDir(paths);
    renewLease(paths);
    state.paths = paths;
    beginHeart(packageDir);
    const run: Run = { settings, packageDir, paths, state, signal: abort.signal, tell: tellAll(listeners) };
    state.engine = await findOrStart(run);
    return state.engine;
  };
  const start: Start = { promise: task(), abort, listeners };
  const done = () => {
    if (state.start === start) state.start = undefined;
  };
  start.promise.then(done, done);
  return start;
}

function tellAll(listeners: Set<Progress>): Tell {
  return (text) => {
    for (const listener of listeners) listener(text);
  };
}

function abortable<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason as Error);
    signal.addEventListener("abort", onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}

interface Run {
  settings: Settings;
  packageDir: string;
  paths: StatePaths;
  state: Slot;
  signal: AbortSignal;
  tell: Tell;
}

async function findOrStart(run: Run): Promise<Engine> {
  const { paths, signal, settings } = run;
  const waitingSince = Date.now();
  for (;;) {
    const lock = await acquireLock(paths.lock, signal, run.tell);
    let leaving: ServerState;
    try {
      const failure = sharedFailure(paths, settings, waitingSince);
      if (failure !== undefined) throw failure;
      const found = await useOrStart({ ...run, tell: tellBoth(run.tell, lock) });
      if ("engine" in found) return found.engine;
      leaving = found.leaving;
    } catch (error) {
      if (!signal.aborted) recordFailure(paths, settings, waitingSince, error);
      throw error;
    } finally {
      lock.release();
    }
    await untilGone(leaving, run.tell, signal);
  }
}

function tellBoth(tell: Tell, lock: Lock): Tell {
  let last = "";
  return (text) => {
    tell(text);
    if (text !== last) lock.tell(text);
    last = text;
  };
}

/** With the lock held. `leaving`: a server that has to be gone first. */
async function useOrStart(run: Run): Promise<{ engine: Engine } | { leaving: ServerState }> {
  const { paths, settings, tell, signal } = run;
  const server = readServer(paths);
  if (isServerRunning(server)) {
    if (server.state === "stopping") return { leaving: server };
    const conflict = modelConflict(server, settings, run.packageDir);
    if (conflict !== undefined) {
      const others = otherLeases(paths).length;
      if (others > 0) throw new StartError(conflictText(server, conflict, others));
      beginStop(paths, server);
      return { leaving: server };
    }
    restoreWatchdog(paths, run.packageDir);
    await untilReady(paths, server, undefined, tell, signal);
    warnOfContext(run, server);
    return { engine: { port: server.port, model: server.model, server } };
  }
  remove(paths.server);
  return { engine: (await adopt(settings.port, tell, signal)) ?? (await startOwn(run)) };
}

/** A model that was asked for by name, or any real one, is not the model that runs. */
function modelConflict(server: ServerState, settings: Settings, packageDir: string): string | undefined {
  if (settings.modelPath === undefined && settings.modelQuant !== "nano" && !isNano(server.model)) return undefined;
  const wanted = findModel(settings, packageDir);
  return wanted === server.model ? undefined : wanted;
}

function conflictText(server: ServerState, wanted: string, others: number): string {
  const who = others === 1 ? "another pi uses it" : `${others} other pi processes use it`;
  return (
    `The running server has the model ${server.model}, this pi wants ${wanted}, and ${who}. ` +
    "Close them and try again, or use the same model here."
  );
}

function warnOfContext(run: Run, server: ServerState): void {
  if (server.context >= run.settings.contextTokens) return;
  run.state.warnings.add(
    `The running server has a context of ${server.context} tokens, DS4_CONTEXT_KB asks for ${run.settings.contextTokens}: ` +
      "/ds4 restart applies it.",
  );
}

async function adopt(port: number, tell: Tell, signal: AbortSignal): Promise<Engine | undefined> {
  for (;;) {
    signal.throwIfAborted();
    const found = await whoListens(port);
    if (found.kind === "none") return undefined;
    if (found.kind === "foreign") {
      throw new StartError(
        `Port ${port} on this machine is taken by something that is not a ds4-server (${found.detail}). ` +
          "Stop that program, or set DS4_PORT to a free port.",
      );
    }
    if (found.ready) return { port, model: undefined, server: undefined };
    tell("ds4: a server that runs already is loading its model");
    await sleep(200);
  }
}

async function startOwn(run: Run): Promise<Engine> {
  const { paths, settings, packageDir, tell, signal, state } = run;
  // Building comes before the download: a compiler that is missing shows before 87 GB are here.
  const warn = (text: string) => void state.warnings.add(text);
  const { binary, cwd } = await provideServer({ settings, packageDir, paths, tell, signal, warn });
  const model = await provideModel(settings, packageDir, tell, signal);
  if (isNano(model)) tell(`ds4: ${NANO_IS_A_TOY}`);
  const { args, warning } = await serverArgs(settings, binary, model, paths.kv);
  if (warning !== undefined) warn(warning);
  signal.throwIfAborted();
  tell("ds4: starting the server");
  const { server, logStart } = await launch({
    paths, packageDir, binary, args, model,
    cwd,
    port: settings.port,
    context: settings.contextTokens,
  });
  await untilReady(paths, server, logStart, tell, signal);
  return { port: server.port, model: server.model, server };
}

/** Stops the shared server for good reason: the user said so. Gives what happened, as a sentence. */
export async function stopServer(settings: Settings, signal: AbortSignal | undefined, tell: Tell): Promise<string> {
  const paths = statePaths(settings.stateDir);
  makeStateDir(paths);
  const lock = await acquireLock(paths.lock, signal, tell);
  let server: ServerState | undefined;
  try {
    server = readServer(paths);
    if (!isServerRunning(server)) {
      const adopted = slot().engine?.server === undefined && slot().engine !== undefined;
      return adopted ? "The server was not started by pi, so pi does not stop it." : "No server is running.";
    }
    if (server.state !== "stopping") beginStop(paths, server);
  } finally {
    lock.release();
  }
  await untilGone(server, tell, signal);
  slot().engine = undefined;
  return "The server has ended.";
}
