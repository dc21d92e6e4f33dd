// The scripts of the package: install with an engine of one's own, uninstall; and the page made from the table of variables.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, beforeEach, describe, it } from "node:test";
import { VARIABLES } from "../../extension/variables.ts";

const ROOT = path.resolve(import.meta.dirname, "../..");
const root = fs.mkdtempSync(path.join(os.tmpdir(), "ds4 scrípts-"));
after(() => fs.rmSync(root, { recursive: true }));

let home = "";
beforeEach(() => {
  home = fs.mkdtempSync(path.join(root, "home "));
});
const at = (...names: string[]) => path.join(home, ...names);
const support = () => at(".pi", "ds4", "support");
const link = () => at(".pi", "agent", "extensions", "pi-ds4");

function put(file: string, text = "x"): string {
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, text);
  return file;
}
function checkout(name = "engine"): string {
  put(at(name, "Makefile"));
  put(at(name, "ds4_server.c"));
  return fs.realpathSync(at(name));
}
function run(script: string, args: string[], input = ""): { status: number | null; out: string; err: string } {
  const env = { PATH: process.env["PATH"] ?? "", HOME: home };
  const result = spawnSync(path.join(ROOT, "scripts", script), args, { env, encoding: "utf8", input });
  return { status: result.status, out: result.stdout, err: result.stderr };
}
const install = (...args: string[]) => run("install-pi-extension-local.sh", args);

describe("install-pi-extension-local.sh", () => {
  it("links the extension and the engine, and does nothing the second time", () => {
    const engine = checkout();
    for (let i = 0; i < 2; i++) {
      const result = install(engine);
      assert.equal(result.status, 0, result.err);
      assert.equal(fs.readlinkSync(link()), ROOT);
      assert.equal(fs.readlinkSync(support()), engine);
    }
  });
  it("checks before it changes anything", () => {
    const cases: [string[], RegExp][] = [
      [[], /usage/], [["--odd", "x"], /usage/], [["a", "b"], /usage/], [[at("nowhere")], /does not exist/], [[root], /does not look like/],
    ];
    for (const [args, message] of cases) {
      const result = install(...args);
      assert.equal(result.status, 1);
      assert.match(result.err, message);
    }
    fs.mkdirSync(link(), { recursive: true });
    assert.match(install(checkout()).err, /is no link/);
    assert.ok(!fs.existsSync(support()));
    assert.equal(install("--help").status, 0);
  });
  it("moves a support directory aside only with --force, and keeps its models", () => {
    const engine = checkout();
    put(path.join(support(), "gguf", "big.gguf"), "weights");
    put(path.join(support(), "gguf", "half.gguf.part"), "half");
    put(path.join(support(), "gguf", "old.gguf"), "older");
    put(path.join(engine, "gguf", "old.gguf"), "newer");
    fs.symlinkSync("gguf/big.gguf", path.join(support(), "ds4flash.gguf"));
    const refused = install(engine);
    assert.equal(refused.status, 1);
    assert.match(refused.err, /already exists and is not this checkout/);
    assert.ok(!fs.existsSync(link()), "nothing was changed");
    const dry = install("--dry-run", "--force", engine);
    assert.equal(dry.status, 0, dry.err);
    assert.ok(!fs.lstatSync(support()).isSymbolicLink());
    const result = install("--force", engine);
    assert.equal(result.status, 0, result.err);
    assert.match(result.out, /models kept: 2, already there: 1/);
    assert.equal(fs.readFileSync(path.join(engine, "gguf", "big.gguf"), "utf8"), "weights");
    assert.equal(fs.readFileSync(path.join(engine, "gguf", "old.gguf"), "utf8"), "newer");
    assert.equal(fs.readlinkSync(path.join(engine, "ds4flash.gguf")), "gguf/big.gguf");
    const backup = fs.readdirSync(at(".pi", "ds4")).find((name) => name.startsWith("support.backup."));
    assert.ok(backup !== undefined && fs.existsSync(at(".pi", "ds4", backup, "gguf", "big.gguf")));
  });
  it("treats a link to another engine like a directory, and one that dangles", () => {
    const other = checkout("other");
    put(path.join(other, "gguf", "big.gguf"));
    install(other);
    const engine = checkout();
    assert.equal(install(engine).status, 1);
    assert.equal(install("--force", engine).status, 0);
    assert.ok(fs.existsSync(path.join(engine, "gguf", "big.gguf")) && fs.existsSync(path.join(other, "gguf", "big.gguf")));
    fs.rmSync(support());
    fs.symlinkSync(at("nowhere"), support());
    assert.equal(install(engine).status, 1);
    assert.equal(install("--force", engine).status, 0);
    assert.equal(fs.readlinkSync(support()), engine);
  });
  it("waits for no running pi", () => {
    put(at(".pi", "ds4", "clients", `${process.pid}.json`));
    assert.match(install(checkout()).err, new RegExp(`process ${process.pid}\\) uses the server`));
  });
  it("takes its links away again", () => {
    const engine = checkout();
    install(engine);
    assert.equal(install("--uninstall").status, 0);
    assert.ok(!fs.existsSync(link()) && !fs.existsSync(support()) && fs.existsSync(engine));
    assert.equal(install("--uninstall").status, 1);
  });
});

describe("uninstall-pi-extension.sh", () => {
  const uninstall = (args: string[], input = "") => run("uninstall-pi-extension.sh", args, input);
  beforeEach(() => {
    for (const name of ["log", "kv/a", "lock/progress", "support/engine/Makefile", "support/checkout-1/Makefile", "support/gguf/m.gguf"]) {
      put(at(".pi", "ds4", name));
    }
  });
  it("asks, says what it removes, and keeps the models", () => {
    const asked = uninstall([], "n\n");
    assert.equal(asked.status, 1);
    assert.match(asked.out, /kv[\s\S]*support\/engine[\s\S]*models in .* stay/);
    assert.ok(fs.existsSync(at(".pi/ds4/log")));
    assert.equal(uninstall([], "y\n").status, 0);
    assert.deepEqual(fs.readdirSync(at(".pi/ds4")), ["support"]);
    assert.deepEqual(fs.readdirSync(support()), ["gguf"]);
  });
  it("removes the models when told to, and nothing while pi runs", () => {
    const lease = put(at(".pi", "ds4", "clients", `${process.pid}.json`));
    assert.match(uninstall(["--yes", "--models"]).err, /uses the server/);
    fs.rmSync(lease);
    assert.equal(uninstall(["--yes", "--models"]).status, 0);
    assert.ok(!fs.existsSync(at(".pi/ds4")));
    assert.match(uninstall(["--yes"]).out, /Nothing to remove/);
  });
  it("leaves an engine that support only points to", () => {
    fs.rmSync(support(), { recursive: true });
    const engine = checkout();
    fs.symlinkSync(engine, support());
    assert.equal(uninstall(["--yes", "--models"]).status, 0);
    assert.ok(fs.existsSync(path.join(engine, "Makefile")));
  });
});

describe("docs/configuration.md", () => {
  it("is current", () => {
    const result = spawnSync(process.execPath, [path.join(ROOT, "scripts/config-doc.mjs"), "--check"], { encoding: "utf8" });
    assert.equal(result.status, 0, result.stderr);
  });
  it("has every variable that the extension reads, and no other", () => {
    const listed = new Set(VARIABLES.flatMap((group) => group.variables.map((variable) => variable.name)));
    const sources = fs.readdirSync(path.join(ROOT, "extension")).filter((name) => name !== "variables.ts");
    const text = sources.map((name) => fs.readFileSync(path.join(ROOT, "extension", name), "utf8")).join("\n");
    // Pace of tests, and what the scripts' own tests set.
    const internal = new Set(["DS4_WATCHDOG_TICK", "DS4_WATCHDOG_PROC", "DS4_DOWNLOAD_TICK", "DS4_DOWNLOAD_BACKOFF", "HF_ENDPOINT", "HF_TOKEN"]);
    const read = new Set((text.match(/\b(?:DS4_[A-Z_]+[A-Z]|HF_[A-Z]+)\b/g) ?? []).filter((name) => !internal.has(name)));
    for (const name of read) assert.ok(listed.has(name), `${name} is in no table`);
    for (const name of listed) assert.ok(read.has(name) || internal.has(name), `${name} is read nowhere`);
  });
});
