import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { readSettings, SettingsError, withSeed } from "../../extension/settings.ts";

const read = (env: Record<string, string>) => readSettings(env, "/home/ü s", "/work");

describe("readSettings", () => {
  it("has the documented defaults", () => {
    assert.deepEqual(read({}), {
      modelPath: undefined,
      modelQuant: undefined,
      serverBinary: undefined,
      runtimeDir: undefined,
      stateDir: "/home/ü s/.pi/ds4",
      contextTokens: 100_000,
      maxOutputTokens: 384_000,
      seed: 42,
    });
  });

  it("takes empty and blank variables as unset", () => {
    assert.deepEqual(read({ DS4_MODEL: "", DS4_CONTEXT_KB: "  ", DS4_REPRODUCIBLE: "" }), read({}));
  });

  it("resolves paths against the working directory and the home", () => {
    assert.equal(read({ DS4_MODEL: "a/b.gguf" }).modelPath, "/work/a/b.gguf");
    assert.equal(read({ DS4_MODEL: "~/b.gguf" }).modelPath, "/home/ü s/b.gguf");
    assert.equal(read({ DS4_SERVER_BINARY: "~odd/x" }).serverBinary, "/work/~odd/x");
    assert.equal(read({ DS4_RUNTIME_DIR: "/e n" }).runtimeDir, "/e n");
  });

  it("knows two models by name", () => {
    assert.equal(read({ DS4_MODEL_QUANT: "nano" }).modelQuant, "nano");
    assert.equal(read({ DS4_MODEL_QUANT: "q2" }).modelQuant, "q2");
    assert.throws(() => read({ DS4_MODEL_QUANT: "q4" }), /DS4_MODEL_QUANT must be q2 or nano, not "q4"/);
  });

  it("counts the context in thousands of tokens", () => {
    assert.equal(read({ DS4_CONTEXT_KB: "384" }).contextTokens, 384_000);
  });

  for (const text of ["0", "-1", "1.5", "1e3", "0x10", "+5", "ten", "99999999999999999999"]) {
    it(`refuses "${text}" as a positive integer and names the variable`, () => {
      for (const name of ["DS4_REPRODUCIBLE_SEED", "DS4_CONTEXT_KB", "DS4_MAX_TOKENS"]) {
        assert.throws(() => read({ [name]: text }), (error) => {
          return error instanceof SettingsError && error.message.includes(name) && error.message.includes(text);
        });
      }
    });
  }

  it("knows the words for on and off", () => {
    for (const text of ["0", "false", "No", "OFF"]) assert.equal(read({ DS4_REPRODUCIBLE: text }).seed, undefined);
    for (const text of ["1", "true", "Yes", "ON"]) assert.equal(read({ DS4_REPRODUCIBLE: text }).seed, 42);
    assert.throws(() => read({ DS4_REPRODUCIBLE: "2" }), SettingsError);
  });

  it("checks the seed even when reproducibility is off", () => {
    assert.throws(() => read({ DS4_REPRODUCIBLE: "0", DS4_REPRODUCIBLE_SEED: "x" }), SettingsError);
    assert.equal(read({ DS4_REPRODUCIBLE_SEED: "7" }).seed, 7);
  });
});

describe("withSeed", () => {
  it("adds the seed and keeps other parameters", () => {
    assert.deepEqual(withSeed(undefined, 42), { seed: 42 });
    assert.deepEqual(withSeed({ top_p: 0.5 }, 42), { top_p: 0.5, seed: 42 });
  });
  it("lets a positive seed of the caller win, and only that", () => {
    assert.deepEqual(withSeed({ seed: 5 }, 42), { seed: 5 });
    assert.deepEqual(withSeed({ seed: 0 }, 42), { seed: 42 });
    assert.deepEqual(withSeed({ seed: -1 }, 42), { seed: 42 });
    assert.deepEqual(withSeed({ seed: "5" }, 42), { seed: 42 });
  });
  it("changes nothing when there is no seed", () => {
    assert.equal(withSeed(undefined, undefined), undefined);
    assert.deepEqual(withSeed({ seed: 0 }, undefined), { seed: 0 });
  });
});
