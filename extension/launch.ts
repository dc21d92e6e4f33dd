// Starts the shared server under ds4-watchdog.sh, waits until it is ready, and stops it.
import { spawn } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { probeHealth } from "./health.ts";
import { lastLines, openLog } from "./log.ts";
import { isRunning } from "./process-id.ts";
import { describeStatus, isServerRunning, readServer, type ServerState, writeServer } from "./server-state.ts";
import { StartError } from "./start-error.ts";
import type { StatePaths } from "./state-dir.ts";

export type Tell = (text: string) => void;

const POLL_MS = 50;
const BIRTH_MS = 10_000;
const SILENCE_MS = 60_000;
const LAST_WORDS_MS = 1500;

export interface Launch {
  paths: StatePaths;
  packageDir: string;
  binary: string;
  args: string[];
  cwd: string;
  port: number;
  model: string;
  context: number;
}

/** `detached`: its own session, so that Ctrl-C in pi's terminal does not reach it, and it outlives pi. */
function spawnWatchdog(packageDir: string, args: string[], cwd: string, logFd: number): void {
  const script = path.join(packageDir, "extension", "ds4-watchdog.sh");
  const child = spawn("/bin/sh", [script, ...args], { cwd, detached: true, stdio: ["ignore", logFd, logFd] });
  child.on("error", () => undefined);
  child.unref();
}

/** The running process as server.json has it; where its log lines begin. */
export async function launch(how: Launch): Promise<{ server: ServerState; logStart: number }> {
  const { paths } = how;
  const id = `${process.pid}-${Date.now()}`;
  writeServer(paths, {
    state: "starting", pid: 0, start: "", status: -1, port: how.port, model: how.model, context: how.context,
    binary: how.binary, args: how.args, startedAt: new Date().toISOString(), id,
  });
  const log = openLog(paths.dir);
  try {
    spawnWatchdog(how.packageDir, ["run", paths.dir, String(how.port), "--", how.binary, ...how.args], how.cwd, log.fd);
  } finally {
    fs.closeSync(log.fd);
  }
  const deadline = Date.now() + BIRTH_MS;
  while (Date.now() < deadline) {
    const server = readServer(paths);
    if (server?.id === id && server.pid > 0) return { server, logStart: log.start };
    await sleep(POLL_MS / 2);
  }
  throw new StartError(`${how.binary} was not started within ${BIRTH_MS / 1000} seconds.`, lastLines(paths.log, log.start, 8), paths.log);
}

/** Puts a watch over a running server that has lost it. */
export function restoreWatchdog(paths: StatePaths, packageDir: string): void {
  const server = readServer(paths);
  if (!isServerRunning(server) || hasWatchdog(paths)) return;
  const log = openLog(paths.dir);
  try {
    const args = ["keep", paths.dir, String(server.port), String(server.pid), server.start];
    spawnWatchdog(packageDir, args, paths.dir, log.fd);
  } finally {
    fs.closeSync(log.fd);
  }
}

function hasWatchdog(paths: StatePaths): boolean {
  try {
    const [pid, start = ""] = fs.readFileSync(paths.watchdog, "utf8").trim().split("|");
    return isRunning({ pid: Number(pid), start });
  } catch {
    return false;
  }
}

/** Ends when the server answers; throws when it dies or its port belongs to another. */
export async function untilReady(
  paths: StatePaths,
  server: ServerState,
  logStart: number | undefined,
  tell: Tell,
  signal: AbortSignal | undefined,
): Promise<void> {
  let lastSign = Date.now();
  const failure = (sentence: string) => {
    const lines = logStart === undefined ? [] : lastLines(paths.log, logStart, 12).filter((line) => !line.startsWith("ds4-watchdog: "));
    return new StartError(sentence, lines.slice(-8), paths.log);
  };
  for (;;) {
    signal?.throwIfAborted();
    if (!isServerRunning(server)) throw failure(`ds4-server ended${await lastWords(paths, server)} while starting.`);
    const health = await probeHealth(server.port);
    if (health.state === "ready" && isServerRunning(server)) return;
    if (health.state === "foreign") throw failure(`Something else answers on port ${server.port}: ${health.detail}.`);
    if (health.state === "loading") {
      lastSign = Date.now();
      const percent = health.fraction === undefined ? "" : ` ${Math.floor(health.fraction * 100)} %`;
      tell(`ds4: loading the model${percent}`);
    } else if (Date.now() - lastSign > SILENCE_MS) {
      throw failure(`ds4-server runs but has not opened port ${server.port} in ${SILENCE_MS / 1000} seconds.`);
    }
    await sleep(POLL_MS);
  }
}

/** The watchdog notes the exit status a moment after the end. */
async function lastWords(paths: StatePaths, server: ServerState): Promise<string> {
  const deadline = Date.now() + LAST_WORDS_MS;
  while (Date.now() < deadline) {
    const now = readServer(paths);
    if (now?.id !== server.id) return "";
    if (now.state === "ended") return describeStatus(now.status);
    await sleep(POLL_MS);
  }
  return "";
}

/** Marks the server as stopping, under the lock, and asks it to end; the watchdog forces it after its grace time. */
export function beginStop(paths: StatePaths, server: ServerState): void {
  writeServer(paths, { ...server, state: "stopping" });
  try {
    process.kill(server.pid, "SIGTERM");
  } catch {
    // It has just ended, or belongs to another user: the wait for its end tells.
  }
}

export async function untilGone(server: ServerState, tell: Tell, signal: AbortSignal | undefined): Promise<void> {
  while (isServerRunning(server)) {
    signal?.throwIfAborted();
    tell("ds4: waiting for the previous server to end");
    await sleep(POLL_MS);
  }
}
