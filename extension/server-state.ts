// server.json: the one server that pi processes share. Written by the pi that starts it; ds4-watchdog.sh fills in the
// process, and marks it as stopping or ended.
import { isRunning } from "./process-id.ts";
import { readJson, type StatePaths, writeJson } from "./state-dir.ts";

export interface ServerState {
  state: "starting" | "stopping" | "ended";
  /** 0 until the watchdog has started it. */
  pid: number;
  start: string;
  /** Exit status once it has ended and somebody saw it; -1 before. */
  status: number;
  port: number;
  model: string;
  context: number;
  binary: string;
  args: string[];
  startedAt: string;
  /** Tells one start from the next. */
  id: string;
}

export function readServer(paths: StatePaths): ServerState | undefined {
  const value = readJson(paths.server);
  if (value === undefined || typeof value["pid"] !== "number" || typeof value["port"] !== "number") return undefined;
  return value as unknown as ServerState;
}

export function writeServer(paths: StatePaths, server: ServerState): void {
  writeJson(paths.server, server);
}

export function isServerRunning(server: ServerState | undefined): server is ServerState {
  return server !== undefined && server.pid > 0 && isRunning(server);
}

/** What a shell reports as 128+N is death by signal N. */
export function describeStatus(status: number): string {
  if (status < 0) return "";
  return status > 128 ? ` by signal ${status - 128}` : ` with status ${status}`;
}
