import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, describe, it } from "node:test";
import { lastLines, logPath, openLog, plainText } from "../../extension/log.ts";

const dir = fs.mkdtempSync(path.join(os.tmpdir(), "ds4-log-"));
after(() => fs.rmSync(dir, { recursive: true }));

describe("plainText", () => {
  it("removes colours, titles and control characters", () => {
    assert.equal(plainText("\u001b[31mred\u001b[0m\u001b]0;title\u0007 a\tb\u0000\u009b"), "red a    b");
    assert.equal(plainText("漢字 ü"), "漢字 ü");
  });
});

describe("the log", () => {
  it("gives the last lines since it was opened, not those of an earlier server", () => {
    const state = path.join(dir, "a b");
    fs.mkdirSync(state);
    fs.writeFileSync(logPath(state), "old line\n");
    const log = openLog(state);
    fs.writeSync(log.fd, "one\n\nprogress 1\rprogress 2\nthree");
    fs.closeSync(log.fd);
    assert.deepEqual(lastLines(logPath(state), log.start, 2), ["progress 2", "three"]);
    assert.deepEqual(lastLines(logPath(state), log.start, 10), ["one", "progress 1", "progress 2", "three"]);
  });
  it("is moved aside when it has become too long", () => {
    const state = path.join(dir, "long");
    fs.mkdirSync(state);
    fs.writeFileSync(logPath(state), Buffer.alloc(9 * 1024 * 1024, 0x61));
    const log = openLog(state);
    fs.closeSync(log.fd);
    assert.equal(log.start, 0);
    assert.ok(fs.existsSync(`${logPath(state)}.old`));
  });
  it("is read from the beginning when it became shorter meanwhile, and may be missing", () => {
    const file = path.join(dir, "short");
    fs.writeFileSync(file, "x\n");
    assert.deepEqual(lastLines(file, 1000, 5), ["x"]);
    assert.deepEqual(lastLines(path.join(dir, "none"), 0, 5), []);
  });
});
