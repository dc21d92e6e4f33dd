// A pi in RPC mode: one JSON record per line in both directions.
import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { collect, ended, MODEL_ARGS, type Sandbox } from "./pi.ts";

export type RpcRecord = Record<string, any> & { type: string };

interface Waiter {
  matches: (record: RpcRecord) => boolean;
  resolve: (record: RpcRecord) => void;
  fail: (why: string) => void;
}

export class RpcPi {
  readonly child: ChildProcess;
  readonly seen: RpcRecord[] = [];
  private readonly waiters: Waiter[] = [];
  private readonly output: { stderr(): string };
  private nextId = 1;

  constructor(sandbox: Sandbox, args: string[] = [], extra: Record<string, string | undefined> = {}) {
    this.child = sandbox.spawn(["--mode", "rpc", ...MODEL_ARGS, ...args], extra);
    this.output = collect(this.child);
    this.child.once("close", () => {
      for (const waiter of this.waiters) waiter.fail("before pi ended");
    });
    let rest = Buffer.alloc(0);
    this.child.stdout?.on("data", (data: Buffer) => {
      rest = Buffer.concat([rest, data]);
      for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
        this.take(JSON.parse(rest.subarray(0, end).toString()) as RpcRecord);
        rest = rest.subarray(end + 1);
      }
    });
  }

  private take(record: RpcRecord): void {
    this.seen.push(record);
    for (const waiter of [...this.waiters]) {
      if (!waiter.matches(record)) continue;
      this.waiters.splice(this.waiters.indexOf(waiter), 1);
      waiter.resolve(record);
    }
  }

  send(record: Record<string, unknown>): void {
    this.child.stdin?.write(`${JSON.stringify(record)}\n`);
  }

  /** The next record (from now on) that matches. */
  next(what: string, matches: (record: RpcRecord) => boolean, limitMs = 30_000): Promise<RpcRecord> {
    return new Promise((resolve, reject) => {
      const fail = (why: string) => {
        clearTimeout(timer);
        reject(new Error(`no ${what} ${why}; stderr: ${this.output.stderr()}`));
      };
      const timer = setTimeout(() => fail(`in ${limitMs} ms`), limitMs);
      this.waiters.push({
        matches,
        resolve: (record) => {
          clearTimeout(timer);
          resolve(record);
        },
        fail,
      });
    });
  }

  /** Sends a command and gives its response. */
  async call(command: Record<string, unknown>): Promise<RpcRecord> {
    const id = `t${this.nextId++}`;
    const answer = this.next(`response to ${String(command["type"])}`, (r) => r.type === "response" && r["id"] === id);
    this.send({ id, ...command });
    return answer;
  }

  /** One prompt until pi is idle again; gives the texts of the assistant's messages. */
  async prompt(message: string): Promise<string[]> {
    const from = this.seen.length;
    const settled = this.next("agent_settled", (r) => r.type === "agent_settled", 60_000);
    await this.call({ type: "prompt", message });
    await settled;
    return this.seen
      .slice(from)
      .filter((r) => r.type === "message_end" && r["message"].role === "assistant")
      .flatMap((r) => r["message"].content as { type: string; text?: string }[])
      .flatMap((part) => (part.type === "text" ? [part.text ?? ""] : []));
  }

  /** What a command of the package answers. */
  async said(command: string): Promise<string> {
    const answer = this.next("notification", (r) => r.type === "extension_ui_request" && r["method"] === "notify");
    this.send({ type: "prompt", message: command });
    return String((await answer)["message"]);
  }

  /** Ends when the status line has shown this. */
  async shows(pattern: RegExp): Promise<void> {
    const matches = (r: RpcRecord) => r["method"] === "setStatus" && pattern.test(String(r["statusText"]));
    if (!this.seen.some(matches)) await this.next(`status ${pattern}`, matches);
  }

  async close(): Promise<number | null> {
    const end = ended(this.child);
    this.child.stdin?.end();
    return (await end)[0];
  }
}

/** The text of the one failure among these records; pi must not have tried again. */
export function onlyFailure(records: RpcRecord[]): string {
  const ends = records.filter((r) => r.type === "message_end" && r["message"].role === "assistant").map((r) => r["message"]);
  assert.deepEqual(ends.map((message) => message.stopReason), ["error"], JSON.stringify(ends));
  assert.ok(!records.some((r) => r.type === "auto_retry_start"), "pi tries again");
  return String(ends[0].errorMessage).replaceAll("\u2060", ""); // stream.ts: so that pi finds no 503 in a port
}
