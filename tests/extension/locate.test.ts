import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, describe, it } from "node:test";
import { findModel, findServer, isNano, NoModelError, NotFoundError } from "../../extension/locate.ts";
import { readSettings } from "../../extension/settings.ts";

const root = fs.mkdtempSync(path.join(os.tmpdir(), "ds4 locate-"));
after(() => fs.rmSync(root, { recursive: true }));

function put(name: string, mode = 0o755): string {
  const file = path.join(root, name);
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, "x", { mode });
  return file;
}
const dir = (name: string) => path.join(root, name);
const settings = (env: Record<string, string>, home = "home") => readSettings(env, dir(home), root);

describe("findServer", () => {
  const named = put("named/server");
  const built = put("package/build/release/bin/ds4-server");
  const checkout = put("checkout/ds4-server");
  const onPath = put("path/ds4-server");
  put("broken/ds4-server", 0o644);

  it("takes the binary that is named, whatever else is there", () => {
    const env = { DS4_SERVER_BINARY: named, DS4_RUNTIME_DIR: dir("checkout") };
    assert.equal(findServer(settings(env), dir("package"), dir("path")), named);
  });
  it("prefers the runtime directory, then its own build, then PATH", () => {
    assert.equal(findServer(settings({ DS4_RUNTIME_DIR: dir("checkout") }), dir("package"), dir("path")), checkout);
    assert.equal(findServer(settings({}), dir("package"), dir("path")), built);
    assert.equal(findServer(settings({}), dir("empty"), `relative:${dir("path")}`), onPath);
  });
  it("passes over files that are not executable, and directories", () => {
    fs.mkdirSync(dir("folder/ds4-server"), { recursive: true });
    assert.equal(findServer(settings({}), dir("broken"), `${dir("folder")}:${dir("path")}`), onPath);
  });
  it("says what is wrong with a named binary", () => {
    const find = (file: string) => () => findServer(settings({ DS4_SERVER_BINARY: file }), dir("package"), "");
    assert.throws(find(dir("nothing")), /does not exist/);
    assert.throws(find(dir("named")), /is not a file/);
    assert.throws(find(dir("broken/ds4-server")), /is not executable/);
  });
  it("says where it looked and what to do", () => {
    assert.throws(() => findServer(settings({}), dir("empty"), ""), (error: Error) => {
      assert.ok(error instanceof NotFoundError);
      assert.match(error.message, /make ds4-server/);
      assert.ok(error.message.includes(dir("empty/ds4-server")));
      return true;
    });
  });
});

describe("findModel", () => {
  it("takes the named file and refuses another kind of thing", () => {
    const file = put("m/x.gguf", 0o644);
    assert.equal(findModel(settings({ DS4_MODEL: "m/x.gguf" }), dir("package")), file);
    assert.throws(() => findModel(settings({ DS4_MODEL: "m" }), dir("package")), /is not a file/);
    assert.throws(() => findModel(settings({ DS4_MODEL: "m/y.gguf" }), dir("package")), /does not exist/);
  });
  it("looks into the runtime directory, then into the state directory", () => {
    const own = put("home2/.pi/ds4/support/ds4flash.gguf", 0o644);
    assert.equal(findModel(settings({ DS4_RUNTIME_DIR: dir("nowhere") }, "home2"), dir("package")), own);
    const runtime = put("engine/ds4flash.gguf", 0o644);
    assert.equal(findModel(settings({ DS4_RUNTIME_DIR: dir("engine") }, "home2"), dir("package")), runtime);
    assert.throws(() => findModel(settings({}), dir("package")), (error) => error instanceof NoModelError && /DS4_MODEL/.test(error.message));
  });
  it("takes the toy of the package when told so, and a named model before it", () => {
    assert.throws(() => findModel(settings({ DS4_MODEL_QUANT: "nano" }), dir("package")), /incomplete/);
    const nano = put("package/models/nano/ds4-nano.gguf", 0o644);
    assert.equal(findModel(settings({ DS4_MODEL_QUANT: "nano" }), dir("package")), nano);
    assert.ok(isNano(nano));
    const named = put("m/x.gguf", 0o644);
    assert.equal(findModel(settings({ DS4_MODEL_QUANT: "nano", DS4_MODEL: named }), dir("package")), named);
    assert.ok(!isNano(named));
  });
});
