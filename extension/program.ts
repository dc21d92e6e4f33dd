// Runs a program (a build, git) that ends when this process ends, writes to the log, and can be cancelled with all its children.
import { spawn } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { lastLines, openLog, plainText } from "./log.ts";
import { StartError } from "./start-error.ts";
import { isExecutableFile } from "./locate.ts";

export interface ProgramRun {
  packageDir: string;
  stateDir: string;
  logFile: string;
  cwd: string;
  command: string[];
  /** What failed, for the error: "The engine could not be built". */
  failure: string;
  /** Who spoke last: "build". */
  speaker: string;
  hint?: string;
  signal: AbortSignal;
  line: (text: string) => void;
}

/** Lines that say what is wrong, or else the last ones. */
export function tellingLines(lines: string[]): string[] {
  const wrong = lines.filter((line) => /\berror\b|not found|no such file|no rule|missing|fatal/i.test(line));
  return wrong.length > 0 ? wrong.slice(0, 8) : lines.slice(-8);
}

export async function runProgram(run: ProgramRun): Promise<void> {
  run.signal.throwIfAborted();
  const log = openLog(run.stateDir);
  fs.writeSync(log.fd, `$ ${run.command.join(" ")}\n`);
  const guard = path.join(run.packageDir, "extension", "guard.sh");
  const child = spawn("/bin/sh", [guard, "--group", ...run.command], { cwd: run.cwd, detached: true, stdio: ["pipe", "pipe", "pipe"] });
  child.stdin.on("error", () => undefined);
  const stop = () => child.stdin.end();
  run.signal.addEventListener("abort", stop, { once: true });
  let rest = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (data: Buffer) => {
      fs.writeSync(log.fd, data);
      const lines = (rest + data.toString()).split(/[\r\n]+/);
      rest = lines.pop() ?? "";
      for (const line of lines) run.line(plainText(line));
    });
  }
  try {
    const status = await new Promise<number | null>((resolve, reject) => {
      child.once("error", reject);
      child.once("close", (code) => resolve(code));
    });
    run.signal.throwIfAborted();
    if (status === 0) return;
    const lines = tellingLines(lastLines(run.logFile, log.start, 400).filter((line) => !line.startsWith("$ ")));
    const hint = run.hint === undefined ? "" : ` ${run.hint}`;
    throw new StartError(`${run.failure}: \`${run.command.join(" ")}\` ended with status ${status}.${hint}`, lines, run.logFile, run.speaker);
  } finally {
    run.signal.removeEventListener("abort", stop);
    fs.closeSync(log.fd);
  }
}

/** Where a program is on PATH. */
export function which(name: string, pathVariable: string, more: string[] = []): string | undefined {
  const dirs = [...pathVariable.split(path.delimiter).filter((dir) => path.isAbsolute(dir)), ...more];
  return dirs.map((dir) => path.join(dir, name)).find(isExecutableFile);
}
