// The server's log file: where it is, and its last lines for an error message.
import fs from "node:fs";
import path from "node:path";

const MAX_LOG_BYTES = 8 * 1024 * 1024;
const TAIL_BYTES = 16 * 1024;

export function logPath(stateDir: string): string {
  return path.join(stateDir, "log");
}

/** Opens the log for appending (an overlong one is moved aside first) and tells where new lines begin. */
export function openLog(stateDir: string): { fd: number; start: number } {
  fs.mkdirSync(stateDir, { recursive: true, mode: 0o700 });
  const file = logPath(stateDir);
  if (fs.existsSync(file) && fs.statSync(file).size > MAX_LOG_BYTES) fs.renameSync(file, `${file}.old`);
  const fd = fs.openSync(file, "a", 0o600);
  return { fd, start: fs.fstatSync(fd).size };
}

/** Removes terminal escapes and control characters: these lines are shown inside pi's screen. */
export function plainText(line: string): string {
  return line
    .replace(/\u001b\[[0-9;?]*[ -/]*[@-~]/g, "")
    .replace(/\u001b\][^\u0007\u001b]*(?:\u0007|\u001b\\)/g, "")
    .replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, "")
    .replace(/\t/g, "    ");
}

/** The last `count` non-empty lines written to `file` at or after offset `start`. */
export function lastLines(file: string, start: number, count: number): string[] {
  let fd: number;
  try {
    fd = fs.openSync(file, "r");
  } catch {
    return [];
  }
  try {
    const size = fs.fstatSync(fd).size;
    // The file was moved aside meanwhile when it is shorter than where we began.
    const from = Math.max(start <= size ? start : 0, size - TAIL_BYTES);
    const buffer = Buffer.alloc(size - from);
    const read = fs.readSync(fd, buffer, 0, buffer.length, from);
    const lines = buffer.toString("utf8", 0, read).split(/[\r\n]+/).map(plainText);
    return lines.filter((line) => line.trim() !== "").slice(-count);
  } finally {
    fs.closeSync(fd);
  }
}
