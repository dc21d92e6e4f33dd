// What /ds4 shows: lines of a status, the window of a log, findings; drawn without a terminal.
import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, describe, it } from "node:test";
import { type TUI, visibleWidth } from "@earendil-works/pi-tui";
import { checkNode, describeFindings, examine } from "../../extension/doctor.ts";
import { APIS, describeModel } from "../../extension/model.ts";
import { LogOverlay, visibleLines } from "../../extension/overlay.ts";
import { readSettings } from "../../extension/settings.ts";
import { duration, statusLines } from "../../extension/status-text.ts";

const root = fs.mkdtempSync(path.join(os.tmpdir(), "ds4 üi-"));
after(() => fs.rmSync(root, { recursive: true }));

describe("statusLines", () => {
  it("tells what the server tells", () => {
    const status = {
      state: "loading", uptime_seconds: 7300, model: { name: "M", context: 100000 }, backend: "cuda", memory: { total_bytes: 3 * 2 ** 30 },
      sessions: [{ busy: true }, {}], requests: { queued: 2 }, tokens: { prompt: 200, cached: 150 },
      speed: { prefill_tokens_per_second: 512.3, decode_tokens_per_second: 9.87 },
      kv_disk: { used_bytes: 2 ** 30, budget_bytes: 2 ** 33 }, steering: { ffn: -0.75, attn: 0, policy: "final-answer" },
    };
    assert.deepEqual(statusLines(status), [
      "M | context 100000 | cuda | 3.0 GiB | up 2 h 1 min | loading",
      "sessions 2 (1 busy) | 2 waiting | 75 % of prompts from cache | prompt 512 t/s | answer 9.9 t/s",
      "disk cache 1.0 GiB of 8.0 GiB | steering ffn -0.75, attn 0 (final-answer)",
    ]);
  });
  it("makes do with less, or with nonsense", () => {
    assert.deepEqual(statusLines(undefined), []);
    assert.deepEqual(statusLines({}), ["unknown model"]);
    assert.deepEqual(statusLines({ model: null, sessions: 7, tokens: { prompt: "x" }, speed: [], kv_disk: null }), ["unknown model"]);
    assert.deepEqual([5, 119, 300, 7199].map(duration), ["5 s", "119 s", "5 min", "119 min"]);
  });
});

describe("the log overlay", () => {
  const lines = Array.from({ length: 50 }, (_, i) => `l${i}`);
  it("shows a window of the log", () => {
    assert.deepEqual(visibleLines(lines, 3, 0), { shown: ["l47", "l48", "l49"], bottom: 0 });
    assert.deepEqual(visibleLines(lines, 3, 10).shown, ["l37", "l38", "l39"]);
    assert.deepEqual(visibleLines(lines, 3, 999), { shown: ["l0", "l1", "l2"], bottom: 47 });
    assert.deepEqual(visibleLines(lines, 3, -5).bottom, 0);
    assert.deepEqual(visibleLines([], 3, 2), { shown: [], bottom: 0 });
  });
  it("draws no line wider than the window, at any size, with any text", async () => {
    const logFile = path.join(root, "log");
    fs.writeFileSync(logFile, `${"wide 漢字 ".repeat(30)}\n\u001b[31mred\u001b[0m\ttab\r\n👩‍👩‍👧 family\n`);
    for (const [columns, rows] of [[100, 30], [60, 20], [20, 6], [9, 3], [3, 1]] as const) {
      let draws = 0;
      const tui = { terminal: { rows, columns }, requestRender: () => draws++ } as unknown as TUI;
      const overlay = new LogOverlay(tui, (_color, text) => text, () => undefined, { logFile, header: async () => ["a header line that is long ".repeat(9)] });
      await new Promise((resolve) => setImmediate(resolve));
      for (const line of overlay.render(columns)) {
        assert.ok(visibleWidth(line) <= columns, `${visibleWidth(line)} > ${columns}: ${line}`);
        assert.ok(!/[\u0000-\u0008\u000b-\u001a\u001c-\u001f]/.test(line));
      }
      overlay.handleInput("\u001b[5~");
      assert.ok(draws > 0);
      overlay.dispose();
    }
  });
});

describe("the doctor", () => {
  it("judges Node.js and counts what is wrong", () => {
    assert.deepEqual(["22.18.0", "22.19.0", "23.0.0", "20.9.9"].map((version) => checkNode(version).level), ["wrong", "ok", "ok", "wrong"]);
    assert.match(describeFindings([{ level: "wrong", what: "x", advice: "y" }, { level: "ok", what: "z", advice: "no" }]), /^WRONG x\n +-> y\nok {4}z\n1 to mend\.$/);
  });
  it("examines a machine without a model, and one with a wrong file", async () => {
    const home = fs.mkdtempSync(path.join(root, "home "));
    const package_ = path.resolve(import.meta.dirname, "../..");
    const bad = path.join(home, "x.gguf");
    fs.writeFileSync(bad, "no model");
    const text = async (env: Record<string, string>) => describeFindings(await examine(readSettings({ DS4_PORT: "1", ...env }, home, home), package_));
    assert.match(await text({}), /the model is not here yet[\s\S]*no server runs; port 1 is free/);
    assert.match(await text({ DS4_MODEL: bad }), /WRONG .*x\.gguf is not a GGUF file/);
    assert.match(await text({ DS4_MODEL: "/nowhere" }), /WRONG DS4_MODEL names \/nowhere/);
    assert.match(await text({ DS4_MODEL_QUANT: "nano" }), /ok .*ds4-nano\.gguf, .* the toy/);
  });
});

describe("the model", () => {
  it("is described for each protocol", () => {
    assert.deepEqual(APIS, { openai: "openai-completions", "openai-responses": "openai-responses", anthropic: "anthropic-messages" });
    for (const protocol of ["openai", "openai-responses", "anthropic"] as const) {
      const model = describeModel(protocol, 1000, 2000);
      assert.equal(model.thinkingLevelMap?.max, "max");
      assert.equal(model.contextWindow, 1000);
    }
  });
});
