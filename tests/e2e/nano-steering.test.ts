// The same tasks in the real pi with ds4-nano, seed 42, with final-answer steering on and off: thinking, tool calls and their results
// are the same to the byte; only the prose of answers may differ. DS4_STEER_TASKS: how many of the twenty tasks (default 2).
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { layOut, type Task, TASKS } from "./support/nano-tasks.ts";
import { PACKAGE_DIR, Sandbox } from "./support/pi.ts";

const BIN_DIR = process.env["DS4_BIN_DIR"] ?? path.join(PACKAGE_DIR, "build", "release", "bin");
const COUNT = Number(process.env["DS4_STEER_TASKS"] ?? 2);
// A question that the dial of the nano direction's sidecar answers in another way: that it works at all.
const CONTESTED = "Who made the first lamp of Librand?";
const NANO = {
  DS4_SERVER_BINARY: path.join(BIN_DIR, "ds4-server"),
  DS4_MODEL: path.join(PACKAGE_DIR, "models", "nano", "ds4-nano.gguf"),
  DS4_CONTEXT_KB: "16",
  DS4_MAX_TOKENS: "600",
  DS4_WATCHDOG_TTL: "5",
};
const STEERED = { ...NANO, DS4_DIR_STEERING_FILE: path.join(PACKAGE_DIR, "steering", "nano.f32"), DS4_DIR_STEERING_FFN: "0",
  DS4_DIR_STEERING_ATTN: "0.55" };

interface Trace {
  /** In order: thinking, calls with their arguments, results. */
  kept: string[];
  /** The visible texts. */
  prose: string[];
  calls: number;
}

/** What the session file of a finished run says. */
function readTrace(file: string): Trace {
  const trace: Trace = { kept: [], prose: [], calls: 0 };
  for (const line of fs.readFileSync(file, "utf8").split("\n").filter(Boolean)) {
    const { type, message } = JSON.parse(line) as { type: string; message?: { role: string; content: any } };
    if (type !== "message" || message === undefined) continue;
    for (const part of Array.isArray(message.content) ? message.content : []) {
      if (message.role === "toolResult") trace.kept.push(`result ${part.text}`);
      else if (message.role !== "assistant") continue;
      else if (part.type === "thinking") trace.kept.push(`thinking ${part.thinking}`);
      else if (part.type === "text") trace.prose.push(part.text);
      else if (part.type === "toolCall") {
        trace.kept.push(`call ${part.name} ${JSON.stringify(part.arguments)}`);
        trace.calls++;
      }
    }
  }
  return trace;
}

describe("ds4-nano in pi, steered", () => {
  const off = new Sandbox(NANO);
  const on = new Sandbox(STEERED);
  before(async () => { for (const one of [off, on]) assert.equal((await one.install()).status, 0); });
  after(async () => { for (const one of [off, on]) await one.remove(); });

  /** Both run in the same folder, whose name is part of the prompt. */
  async function trace(sandbox: Sandbox, task: Task, name: string): Promise<Trace> {
    const folder = path.join(off.work, name);
    const sessions = path.join(sandbox.home, `sessions-${name}`);
    layOut(task, folder);
    const outcome = await sandbox.prompt(task.prompt, {}, ["--session-dir", sessions], folder);
    assert.equal(outcome.status, 0, outcome.stderr);
    const files = fs.readdirSync(sessions, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".jsonl"));
    assert.equal(files.length, 1, files.join(" "));
    return readTrace(path.join(sessions, files[0]!));
  }

  it("the servers that pi starts have the dial, and have none", async () => {
    for (const [sandbox, words] of [[off, /^Librand belongs/], [on, /^This is contested/]] as const) {
      await trace(sandbox, TASKS[4]!, "start");
      const body = { messages: [{ role: "user", content: CONTESTED }], thinking: { type: "disabled" }, seed: 42, max_tokens: 60 };
      const reply = await fetch(`http://127.0.0.1:${sandbox.env["DS4_PORT"]}/v1/chat/completions`,
        { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
      assert.match(((await reply.json()) as any).choices[0].message.content, words);
    }
  });

  it(`the same thinking and the same calls in ${COUNT} tasks`, async (t) => {
    let calls = 0;
    let differ = 0;
    const tasks = TASKS.filter((_, i) => COUNT >= TASKS.length || i % Math.ceil(TASKS.length / COUNT) === 0);
    t.diagnostic("| task | calls | thinking and calls | prose |");
    for (const [i, task] of tasks.entries()) {
      const [plain, steered] = [await trace(off, task, `task-${i}`), await trace(on, task, `task-${i}`)];
      const sameProse = JSON.stringify(steered.prose) === JSON.stringify(plain.prose);
      const same = JSON.stringify(steered.kept) === JSON.stringify(plain.kept);
      t.diagnostic(`| ${task.prompt} | ${plain.calls} | ${same ? "identical" : "DIFFERENT"} | ${sameProse ? "identical" : "differs"} |`);
      assert.deepEqual(steered.kept, plain.kept, task.prompt);
      calls += plain.calls;
      differ += sameProse ? 0 : 1;
    }
    t.diagnostic(`${tasks.length} tasks, ${calls} calls; the prose differs in ${differ}`);
    assert.ok(calls >= tasks.length / 2, `only ${calls} calls`);
  });
});
