// Runs the real pi in a temporary HOME, offline, with this package installed from the working tree.
import { type ChildProcess, spawn } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

export const PACKAGE_DIR = path.resolve(import.meta.dirname, "..", "..", "..");
export const MOCK_SERVER = path.join(import.meta.dirname, "mock-server.mjs");
/** Another pi can be tested by naming its cli.js. */
export const PI_CLI =
  process.env["DS4_TEST_PI"] ??
  path.join(PACKAGE_DIR, "node_modules/@earendil-works/pi-coding-agent/dist/bundle/cli.js");
export const MODEL_ARGS = ["--provider", "ds4", "--model", "deepseek-v4-flash"];

const KEPT = ["PATH", "LANG", "LC_ALL", "TERM", "TMPDIR"];

let sandboxes = 0;
/** Below the range that systems hand out by themselves, and apart from those of test processes that run beside this one. */
function nextPort(): number {
  return 12_000 + ((process.pid * 16 + sandboxes++) % 20_000);
}

export interface RecordedRequest {
  pid: number;
  argv: string[];
  method: string;
  url: string;
  headers: Record<string, string>;
  body: Record<string, any>;
}

export interface Outcome {
  status: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
  ms: number;
}

export class Sandbox {
  readonly home: string;
  readonly work: string;
  readonly requestsDir: string;
  readonly env: Record<string, string>;
  private readonly children: ChildProcess[] = [];

  constructor(extra: Record<string, string> = {}) {
    this.home = fs.mkdtempSync(path.join(os.tmpdir(), "pi-ds4 höme-"));
    this.work = path.join(this.home, "work");
    this.requestsDir = path.join(this.home, "requests");
    fs.mkdirSync(this.work);
    const modelPath = path.join(this.home, "model.gguf");
    fs.writeFileSync(modelPath, "GGUF");
    const kept = Object.fromEntries(KEPT.flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : [])));
    this.env = {
      ...kept,
      // The pi of this Node.js, whatever "node" is on the caller's PATH.
      PATH: `${path.dirname(process.execPath)}:${process.env["PATH"] ?? ""}`,
      HOME: this.home,
      PI_OFFLINE: "1",
      PI_TELEMETRY: "0",
      PI_SKIP_VERSION_CHECK: "1",
      DS4_SERVER_BINARY: MOCK_SERVER,
      DS4_PORT: String(nextPort()),
      // The watchdog at the pace of a test.
      DS4_WATCHDOG_TTL: "0",
      DS4_WATCHDOG_POLL: "0",
      DS4_WATCHDOG_TICK: "0.1",
      DS4_MODEL: modelPath,
      MOCK_LOG_DIR: this.requestsDir,
      MOCK_HOLD: path.join(this.home, "hold"),
      ...extra,
    };
  }

  spawn(args: string[], extra: Record<string, string | undefined> = {}, cwd = this.work): ChildProcess {
    const env = { ...this.env, ...extra };
    const child = spawn(process.execPath, [PI_CLI, ...args], { cwd, env, stdio: ["pipe", "pipe", "pipe"] });
    this.children.push(child);
    return child;
  }

  /** A pi that is answering one prompt. pi waits for the end of a standard input that is no terminal. */
  spawnPrompt(text: string, extra: Record<string, string | undefined> = {}): ChildProcess {
    const child = this.spawn(["-p", text, ...MODEL_ARGS], extra);
    child.stdin?.end();
    return child;
  }

  /** Runs pi to its end, with an empty standard input. */
  async run(
    args: string[], extra: Record<string, string | undefined> = {}, limitMs = 60_000, cwd = this.work,
  ): Promise<Outcome> {
    const began = Date.now();
    const child = this.spawn(args, extra, cwd);
    const output = collect(child);
    child.stdin?.end();
    const killer = setTimeout(() => child.kill("SIGKILL"), limitMs);
    const [status, signal] = await ended(child);
    clearTimeout(killer);
    return { status, signal, stdout: output.stdout(), stderr: output.stderr(), ms: Date.now() - began };
  }

  prompt(
    text: string, extra: Record<string, string | undefined> = {}, more: string[] = [], cwd = this.work,
  ): Promise<Outcome> {
    return this.run(["-p", text, ...MODEL_ARGS, ...more], extra, 60_000, cwd);
  }

  async install(source: string = PACKAGE_DIR, extra: Record<string, string> = {}): Promise<Outcome> {
    return this.run(["install", source], extra);
  }

  requests(): RecordedRequest[] {
    if (!fs.existsSync(this.requestsDir)) return [];
    return fs
      .readdirSync(this.requestsDir)
      .filter((name) => name.endsWith(".json"))
      .sort()
      .map((name) => JSON.parse(fs.readFileSync(path.join(this.requestsDir, name), "utf8")) as RecordedRequest);
  }

  chatBodies(): Record<string, any>[] {
    return this.requests().filter((request) => request.url === "/v1/chat/completions").map((request) => request.body);
  }

  /** Process ids of all mock servers that ever listened. */
  serverPids(): number[] {
    if (!fs.existsSync(this.requestsDir)) return [];
    return fs
      .readdirSync(this.requestsDir)
      .filter((name) => name.startsWith("pid."))
      .map((name) => Number(name.slice(4)));
  }

  /** What ~/.pi/ds4/server.json says, if it is there. */
  server(): Record<string, any> | undefined {
    try {
      return JSON.parse(fs.readFileSync(this.state("server.json"), "utf8")) as Record<string, any>;
    } catch {
      return undefined;
    }
  }

  state(...names: string[]): string {
    return path.join(this.home, ".pi", "ds4", ...names);
  }

  /** Ends when no mock server of this sandbox runs any more. */
  async allGone(): Promise<void> {
    await until("the server is gone", () => !this.serverPids().some(isAlive));
  }

  /** Until `release`, servers say that they are loading. */
  hold(): void {
    fs.writeFileSync(this.env["MOCK_HOLD"] as string, "");
  }

  release(): void {
    fs.rmSync(this.env["MOCK_HOLD"] as string, { force: true });
  }

  clearRequests(): void {
    fs.rmSync(this.requestsDir, { recursive: true, force: true });
  }

  /** Ends every pi that a failed test left behind. */
  killPis(): void {
    for (const child of this.children) if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
  }

  async remove(): Promise<void> {
    this.killPis();
    // Servers and watchdogs end by themselves; until then they write here.
    await this.allGone().catch(() => undefined);
    fs.rmSync(this.home, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
  }
}

export function collect(child: ChildProcess): { stdout(): string; stderr(): string } {
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout?.on("data", (data: Buffer) => out.push(data));
  child.stderr?.on("data", (data: Buffer) => err.push(data));
  return { stdout: () => Buffer.concat(out).toString(), stderr: () => Buffer.concat(err).toString() };
}

export function ended(child: ChildProcess): Promise<[number | null, NodeJS.Signals | null]> {
  return new Promise((resolve) => child.once("close", (status, signal) => resolve([status, signal])));
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

export async function until(what: string, condition: () => boolean, limitMs = 20_000): Promise<void> {
  const deadline = Date.now() + limitMs;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`did not happen in ${limitMs} ms: ${what}`);
    await sleep(50);
  }
}
