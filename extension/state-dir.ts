// The names under ~/.pi/ds4, and how files there are written: whole or not at all.
import fs from "node:fs";
import path from "node:path";

export class StateDirError extends Error {}

export interface StatePaths {
  dir: string;
  support: string;
  engine: string;
  checkout: string;
  modelLink: string;
  kv: string;
  clients: string;
  server: string;
  watchdog: string;
  lock: string;
  failure: string;
  log: string;
}

export function statePaths(dir: string): StatePaths {
  const at = (...names: string[]) => path.join(dir, ...names);
  return {
    dir,
    support: at("support"),
    engine: at("support", "engine"),
    checkout: at("support", "checkout"),
    modelLink: at("support", "ds4flash.gguf"),
    kv: at("kv"),
    clients: at("clients"),
    server: at("server.json"),
    watchdog: at("watchdog"),
    lock: at("lock"),
    failure: at("lock", "failure.json"),
    log: at("log"),
  };
}

export function makeStateDir(paths: StatePaths): void {
  try {
    for (const dir of [paths.dir, paths.clients, paths.lock]) fs.mkdirSync(dir, { recursive: true, mode: 0o700 });
    fs.accessSync(paths.dir, fs.constants.W_OK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new StateDirError(
      `Cannot write to ${paths.dir} (${code}). The server's lock and the leases of running pi processes are kept there: ` +
        "make it writable, or set DS4_STATE_DIR to a directory that is.",
    );
  }
}

/** Readers see the old content or the new one, never a part. */
export function writeWhole(file: string, text: string): void {
  const part = `${file}.${process.pid}.new`;
  try {
    fs.writeFileSync(part, text, { mode: 0o600 });
    fs.renameSync(part, file);
  } catch (error) {
    fs.rmSync(part, { force: true });
    throw error;
  }
}

/** One field per line: ds4-watchdog.sh reads and edits these files with sed. */
export function writeJson(file: string, value: object): void {
  writeWhole(file, `${JSON.stringify(value, null, 2)}\n`);
}

export function readJson(file: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(fs.readFileSync(file, "utf8"));
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

export function remove(file: string): void {
  try {
    fs.unlinkSync(file);
  } catch {
    // It was not there, or somebody else was faster.
  }
}
