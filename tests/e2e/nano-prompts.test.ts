// Twenty differently worded prompts through the real pi, the real server and ds4-nano, at seed 42: what counts is what is
// on disk afterwards and whether the answer is true. The model is a toy; at least 18 of the 20 must be right.
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { layOut, type Task, TASKS } from "./support/nano-tasks.ts";
import { PACKAGE_DIR, Sandbox } from "./support/pi.ts";

const BIN_DIR = process.env["DS4_BIN_DIR"] ?? path.join(PACKAGE_DIR, "build", "release", "bin");
const NEEDED = 18;
const AT_ONCE = 2;

describe("ds4-nano in pi", () => {
  const sandbox = new Sandbox({
    DS4_SERVER_BINARY: path.join(BIN_DIR, "ds4-server"),
    DS4_MODEL: path.join(PACKAGE_DIR, "models", "nano", "ds4-nano.gguf"),
    DS4_CONTEXT_KB: "16",
    DS4_MAX_TOKENS: "600",
    DS4_WATCHDOG_TTL: "5",
  });
  before(async () => assert.equal((await sandbox.install()).status, 0));
  after(() => sandbox.remove());

  /** What went wrong with a task; the empty text if nothing did. */
  async function fault(task: Task, number: number): Promise<string> {
    const folder = path.join(sandbox.work, `task-${number}`);
    layOut(task, folder);
    const outcome = await sandbox.prompt(task.prompt, {}, ["--no-session"], folder);
    const answer = outcome.stdout.trim();
    if (outcome.status !== 0) return `status ${outcome.status}: ${outcome.stderr.trim()}`;
    const missing = (task.says ?? []).filter((part) => !answer.includes(part));
    if (missing.length > 0) return `the answer lacks ${JSON.stringify(missing)}: ${JSON.stringify(answer)}`;
    for (const [name, content] of Object.entries(task.leaves ?? {})) {
      const file = path.join(folder, name);
      const found = fs.existsSync(file) ? fs.readFileSync(file, "utf8").trim() : "no file";
      if (found !== content) return `${name} holds ${JSON.stringify(found)}`;
    }
    return "";
  }

  it(`does at least ${NEEDED} of ${TASKS.length} tasks`, async (t) => {
    const faults = new Array<string>(TASKS.length);
    let next = 0;
    const worker = async () => {
      while (next < TASKS.length) {
        const i = next++;
        faults[i] = await fault(TASKS[i]!, i);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    const right = faults.filter((one) => one === "").length;
    faults.forEach((one, i) => one && t.diagnostic(`${TASKS[i]!.prompt} -> ${one}`));
    t.diagnostic(`${right} of ${TASKS.length} tasks done`);
    assert.ok(right >= NEEDED, `${right} of ${TASKS.length}\n${faults.filter(Boolean).join("\n")}`);
  });
});
