// A pi in RPC mode: one JSON record per line in both directions.
import type { ChildProcess } from "node:child_process";
import { collect, ended, MODEL_ARGS, type Sandbox } from "./pi.ts";

export type RpcRecord = Record<string, any> & { type: string };

interface Waiter {
  matches: (record: RpcRecord) => boolean;
  resolve: (record: RpcRecord) => void;
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
      const timer = setTimeout(() => {
        reject(new Error(`no ${what} in ${limitMs} ms; stderr: ${this.output.stderr()}`));
      }, limitMs);
      this.waiters.push({
        matches,
        resolve: (record) => {
          clearTimeout(timer);
          resolve(record);
        },
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

  async close(): Promise<number | null> {
    const end = ended(this.child);
    this.child.stdin?.end();
    return (await end)[0];
  }
}
