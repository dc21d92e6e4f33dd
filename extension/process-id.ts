// Which process a number means. Numbers are used again, so a process is named by its number and its start time:
// on Linux the ticks since boot from /proc, elsewhere what ps says in the C locale and UTC. ds4-watchdog.sh does the same.
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";

export interface ProcessId {
  pid: number;
  /** Empty when it could not be found out. */
  start: string;
  host: string;
}

/** Undefined when there is no such process; a dead one that nobody has waited for counts as none. While threads of it are
 * still ending it has its port and its memory, so then it counts. */
function startFromProc(pid: number): string | undefined {
  let stat: string;
  try {
    stat = fs.readFileSync(`/proc/${pid}/stat`, "latin1");
  } catch {
    return undefined;
  }
  // The name in parentheses may hold anything, so fields are counted from the last parenthesis: state is the third.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [state, threads, start] = [fields[0], Number(fields[17]), fields[19]];
  return state === "X" || (state === "Z" && threads <= 1) ? undefined : `t${start}`;
}

export function startFromPs(pid: number): string | undefined {
  const env = { PATH: "/bin:/usr/bin:/usr/sbin:/sbin", LC_ALL: "C", TZ: "UTC0" };
  const run = spawnSync("ps", ["-o", "stat=,lstart=", "-p", String(pid)], { env, encoding: "utf8" });
  if (run.error !== undefined) return isThere(pid) ? "" : undefined;
  const [state, ...start] = run.stdout.trim().split(/\s+/);
  return state === undefined || state === "" || state.startsWith("Z") ? undefined : start.join(" ");
}

function isThere(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

const hasProc = fs.existsSync("/proc/self/stat");

export function startOf(pid: number): string | undefined {
  return hasProc ? startFromProc(pid) : startFromPs(pid);
}

let own: ProcessId | undefined;

export function ownProcess(): ProcessId {
  return (own ??= { pid: process.pid, start: startOf(process.pid) ?? "", host: os.hostname() });
}

/** Whether exactly this process runs on this machine. An unknown start time is taken on trust. */
export function isRunning(id: { pid: number; start: string }): boolean {
  if (!Number.isSafeInteger(id.pid) || id.pid < 1) return false;
  const start = startOf(id.pid);
  return start !== undefined && (start === id.start || start === "" || id.start === "");
}
