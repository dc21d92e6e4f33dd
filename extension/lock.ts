// One process at a time builds, downloads, starts or stops. The lock is the symbolic link lock/owner, whose target text
// names the owner: it comes into being whole, and ds4-watchdog.sh can make and read it too.
import fs from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isRunning, ownProcess } from "./process-id.ts";
import { remove, writeWhole } from "./state-dir.ts";

const POLL_MS = 100;

export interface Lock {
  /** What those who wait are shown. */
  tell(text: string): void;
  release(): void;
}

interface Owner {
  pid: number;
  start: string;
  host: string;
}

let serial = 0;

function ownText(): string {
  const { pid, start, host } = ownProcess();
  return [pid, start, host, ++serial].join("|");
}

function readOwner(file: string): { text: string; owner: Owner } | undefined {
  try {
    const text = fs.readlinkSync(file);
    const [pid, start = "", host = ""] = text.split("|");
    return { text, owner: { pid: Number(pid), start, host } };
  } catch {
    return undefined;
  }
}

/** A process of another machine that shares this directory cannot be looked at, so its locks are never stale. */
function isStale(owner: Owner): boolean {
  return owner.host === ownProcess().host && !isRunning(owner);
}

function link(text: string, file: string): boolean {
  try {
    fs.symlinkSync(text, file);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

/** Takes the place of a dead owner. `taking` lets only one process at a time try, else two could both succeed. */
function replaceStale(dir: string, mine: string): boolean {
  const file = path.join(dir, "owner");
  const taking = path.join(dir, "taking");
  const other = readOwner(taking);
  if (other !== undefined && isStale(other.owner)) remove(taking);
  if (!link(mine, taking)) return false;
  try {
    const current = readOwner(file);
    if (current === undefined || !isStale(current.owner)) return false;
    fs.renameSync(taking, file);
    return true;
  } finally {
    if (readOwner(taking)?.text === mine) remove(taking);
  }
}

export function tryLock(dir: string): Lock | undefined {
  const file = path.join(dir, "owner");
  const progress = path.join(dir, "progress");
  const mine = ownText();
  if (!link(mine, file)) {
    const current = readOwner(file);
    if (current === undefined || !isStale(current.owner) || !replaceStale(dir, mine)) return undefined;
  }
  remove(progress);
  return {
    tell(text) {
      try {
        writeWhole(progress, text);
      } catch {
        // Only those who wait miss it; a full disk is reported by what fills it.
      }
    },
    release() {
      if (readOwner(file)?.text !== mine) return;
      remove(progress);
      remove(file);
    },
  };
}

/** Waits for its turn; meanwhile `waiting` hears what the owner is doing. */
export async function acquireLock(
  dir: string,
  signal: AbortSignal | undefined,
  waiting: (text: string) => void,
): Promise<Lock> {
  for (;;) {
    signal?.throwIfAborted();
    const lock = tryLock(dir);
    if (lock !== undefined) return lock;
    waiting(ownersProgress(dir) ?? "ds4: waiting for another pi");
    await sleep(POLL_MS);
  }
}

function ownersProgress(dir: string): string | undefined {
  try {
    return fs.readFileSync(path.join(dir, "progress"), "utf8");
  } catch {
    return undefined;
  }
}
