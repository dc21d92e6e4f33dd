import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, describe, it } from "node:test";
import { findModel, isNano, namedServer, NoModelError, NotFoundError } from "../../extension/locate.ts";
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

describe("namedServer", () => {
  const named = put("named/server");
  put("broken/ds4-server", 0o644);

  it("takes the binary that is named, and none where none is", () => {
    assert.equal(namedServer(settings({ DS4_SERVER_BINARY: named })), named);
    assert.equal(namedServer(settings({})), undefined);
  });
  it("says what is wrong with it", () => {
    const find = (file: string) => () => namedServer(settings({ DS4_SERVER_BINARY: file }));
    assert.throws(find(dir("nothing")), (error) => error instanceof NotFoundError && /does not exist/.test(error.message));
    assert.throws(find(dir("named")), /is not a file/);
    assert.throws(find(dir("broken/ds4-server")), /is not executable/);
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
