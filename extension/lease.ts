// clients/<pid>.json says that a pi uses the server. It is written before the server is looked for, renewed every ten
// seconds and removed on quit; a pi that was killed leaves it behind, so every reader checks that the process lives.
import fs from "node:fs";
import path from "node:path";
import { isRunning, ownProcess } from "./process-id.ts";
import { readJson, remove, type StatePaths, writeJson } from "./state-dir.ts";

const HEARTBEAT_MS = 10_000;
export const LEASE_TTL_SECONDS = 45;

export interface Lease {
  pid: number;
  start: string;
  host: string;
  /** Seconds since 1970. */
  heartbeat: number;
}

function leaseFile(paths: StatePaths, pid: number): string {
  return path.join(paths.clients, `${pid}.json`);
}

function asLease(value: Record<string, unknown> | undefined): Lease | undefined {
  const { pid, start, host, heartbeat } = value ?? {};
  if (typeof pid !== "number" || typeof start !== "string" || typeof host !== "string" || typeof heartbeat !== "number") {
    return undefined;
  }
  return { pid, start, host, heartbeat };
}

/** A process that is here counts however old its heartbeat is: it may be stopped, or the machine was asleep. One that
 * is not here may run on another machine, or in a container, that shares this directory: then the heartbeat counts. */
export function isLive(lease: Lease, nowSeconds: number): boolean {
  if (isRunning(lease)) return lease.start !== "" || nowSeconds - lease.heartbeat <= LEASE_TTL_SECONDS;
  return lease.host !== ownProcess().host && nowSeconds - lease.heartbeat <= LEASE_TTL_SECONDS;
}

/** Of every pi that uses the server now, our own included. */
export function liveLeases(paths: StatePaths): Lease[] {
  let names: string[];
  try {
    names = fs.readdirSync(paths.clients).filter((name) => /^[0-9]+\.json$/.test(name));
  } catch {
    return [];
  }
  const now = Date.now() / 1000;
  return names.flatMap((name) => {
    const lease = asLease(readJson(path.join(paths.clients, name)));
    return lease !== undefined && isLive(lease, now) ? [lease] : [];
  });
}

export function otherLeases(paths: StatePaths): Lease[] {
  return liveLeases(paths).filter((lease) => lease.pid !== process.pid);
}

export function renewLease(paths: StatePaths): void {
  writeJson(leaseFile(paths, process.pid), { ...ownProcess(), heartbeat: Math.floor(Date.now() / 1000) });
}

export function dropLease(paths: StatePaths): void {
  remove(leaseFile(paths, process.pid));
}

/** Calls `beat` every ten seconds without keeping the process alive. */
export function startHeart(beat: () => void): NodeJS.Timeout {
  return setInterval(beat, HEARTBEAT_MS).unref();
}
