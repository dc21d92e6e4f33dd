import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { readSettings, SettingsError, withSeed } from "../../extension/settings.ts";

const read = (env: Record<string, string>) => readSettings(env, "/home/ü s", "/work");

describe("readSettings", () => {
  it("has the documented defaults", () => {
    assert.deepEqual(read({}), {
      modelPath: undefined,
      modelQuant: undefined,
      modelRepo: "audreyt/CyberNeurova-DeepSeek-V4-Flash-abliterated-GGUF",
      modelFile: "cyberneurova-DeepSeek-V4-Flash-abliterated-IQ2XXS-w2Q2K-AProjQ8-SExpQ8-OutQ8-chat-v2-imatrix-aligned.gguf",
      modelHost: "https://huggingface.co",
      ggufDir: "/home/ü s/.pi/ds4/support/gguf",
      offline: false,
      ignoreMemory: false,
      serverBinary: undefined,
      runtimeDir: undefined,
      supportRepo: undefined,
      supportBranch: undefined,
      stateDir: "/home/ü s/.pi/ds4",
      port: 8000,
      protocol: "openai",
      contextTokens: 100_000,
      maxOutputTokens: 384_000,
      seed: 42,
      kvDiskSpaceMb: undefined,
      steering: undefined,
      mt: undefined,
    });
  });

  it("steers only with a file, a policy and a scale", () => {
    const file = { DS4_DIR_STEERING_FILE: "v.f32" };
    assert.deepEqual(read(file).steering, { file: "/work/v.f32", ffn: -0.75, attn: 0, policy: "final-answer" });
    assert.deepEqual(read({ ...file, DS4_DIR_STEERING_ATTN: "-1.5", DS4_DIR_STEERING_POLICY: "decode" }).steering?.policy, "decoding");
    assert.equal(read({ ...file, DS4_DIR_STEERING_FFN: "0" }).steering, undefined);
    assert.equal(read({ ...file, DS4_DIR_STEERING_POLICY: "off" }).steering, undefined);
    for (const [name, text] of [["FFN", "NaN"], ["ATTN", "101"], ["POLICY", "toString"]]) {
      assert.throws(() => read({ [`DS4_DIR_STEERING_${name}`]: text as string }), SettingsError);
    }
  });

  it("refuses ports, protocols and other words it does not know, and names the variable", () => {
    for (const [name, text] of [["DS4_PORT", "0"], ["DS4_PORT", "65536"], ["DS4_PROTOCOL", "grpc"], ["DS4_MT", "yes"], ["DS4_MPP", "2"],
      ["DS4_KV_DISK_SPACE_MB", "-1"], ["HF_ENDPOINT", "ftp://x"], ["DS4_MODEL_FILE", "../x"], ["DS4_IGNORE_MEMORY", "x"]]) {
      assert.throws(() => read({ [name as string]: text as string }), (error) => error instanceof SettingsError && error.message.startsWith(`${name} must be`));
    }
    assert.equal(read({ DS4_MT: "on", DS4_MPP: "off" }).mt, "on");
    assert.equal(read({ DS4_MPP: "off" }).mt, "off");
    assert.equal(read({ HF_ENDPOINT: "http://127.0.0.1:9/" }).modelHost, "http://127.0.0.1:9");
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
