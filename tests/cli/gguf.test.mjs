// ds4-gguf as a user calls it: from an official checkpoint to files of every recipe, and what one does with those.
// DS4_BIN_DIR: where the programs are.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

const root = path.resolve(import.meta.dirname, "../..");
const program = path.join(process.env.DS4_BIN_DIR ?? path.join(root, "build/release/bin"), "ds4-gguf");
const script = path.join(root, "tests/oracle/official.py");
const python = ["python3", "/usr/bin/python3"].find((p) => spawnSync(p, ["-c", "import numpy"]).status === 0);
let dir, official;
const at = (name) => path.join(dir, name);

function gguf(...args) {
  const done = spawnSync(program, args, { encoding: "utf8", cwd: dir, timeout: 120000, maxBuffer: 1 << 28 });
  assert.equal(done.error, undefined, `${args.join(" ")}: ${done.error}`);
  return done;
}

function made(...args) {
  const done = gguf(...args);
  assert.equal(done.status, 0, `${args.join(" ")}: ${done.stderr}`);
  return done.stdout;
}

function refused(pattern, ...args) {
  const done = gguf(...args);
  assert.equal(done.status, 1, `${args.join(" ")}: ${done.stdout}${done.stderr}`);
  assert.match(done.stderr, pattern);
}

const convert = (output, ...more) => ["convert", official, "--no-tokenizer", "-o", output, ...more];
const same = (a, b) => assert.ok(fs.readFileSync(at(a)).equals(fs.readFileSync(at(b))), `${a} and ${b} differ`);

before(() => {
  assert.ok(python, "no Python with NumPy: run scripts/deps.sh");
  dir = fs.mkdtempSync(path.join(os.tmpdir(), "ds4-gguf-"));
  official = at("model-0731");
  const done = spawnSync(python, [script, "make", path.join(root, "tests/fixtures/oracle/hf-b"), official], { encoding: "utf8" });
  assert.equal(done.status, 0, done.stderr);
  for (const recipe of ["f32", "mxfp4", "q8", "q4", "q2"]) made(...convert(`${recipe}.gguf`, "--recipe", recipe));
});
after(() => fs.rmSync(dir, { recursive: true, force: true }));

describe("recipes", () => {
  test("errors beside the F32 file grow as bits shrink; FP4 experts lose nothing in MXFP4", () => {
    const compared = (file) => JSON.parse(gguf("compare", "f32.gguf", file, "--tensors", "*_exps.weight", "--json").stdout).tensors;
    const errorOf = (file) => Math.max(...compared(file).map((t) => t.relative_rms));
    const errors = ["mxfp4", "q8", "q4", "q2"].map((recipe) => errorOf(`${recipe}.gguf`));
    console.log("relative RMS error of the experts: mxfp4 %d, q8 %d, q4 %d, q2 %d", ...errors);
    assert.equal(errors[0], 0);
    for (let i = 1; i < errors.length; i++) assert.ok(errors[i] > errors[i - 1]);
    assert.ok(errors[3] < 0.36);
    made("quantize", "f32.gguf", "refit.gguf", "--recipe", "q2", "--refit");
    // What no multiple of the stored values explains: Q2_K gains much. A refit of IQ2_XXS gains by the weights of the quantizers
    // (test_quantize) and is as good as before when all values count alike.
    const missed = (t) => 1 - t.cosine ** 2;
    const plain = compared("q2.gguf"), refit = compared("refit.gguf");
    assert.equal(refit.length, plain.length);
    console.log("what q2 misses, with a refit beside without: %s",
      refit.map((t, i) => (missed(t) / missed(plain[i])).toFixed(3)).join(" "));
    for (const [i, t] of refit.entries()) {
      const most = t.types[1] === "Q2_K" ? 0.9 : 1.002;
      assert.ok(missed(t) < most * missed(plain[i]), `${t.name}: ${missed(t)}, ${missed(plain[i])}`);
    }
  });

  test("converting and quantising give the same bytes", () => {
    made("quantize", "f32.gguf", "again.gguf", "--recipe", "q2");
    same("again.gguf", "q2.gguf");
    made("quantize", "mxfp4.gguf", "-o", "q4-of-mxfp4.gguf", "--recipe", "q4");
    const table = JSON.parse(gguf("compare", "q4-of-mxfp4.gguf", "q4.gguf", "--tensors", "*_exps.weight", "--json").stdout);
    assert.equal(table.different_tensors, 0);
  });

  test("metadata, label and patterns", () => {
    const about = JSON.parse(made("inspect", "q2.gguf", "--json"));
    const text = JSON.stringify(about);
    assert.match(text, /"general.version":\{"type":"string","is_array":false,"value":"0731"\}/);
    made(...convert("typed.gguf", "--recipe", "q2", "--type", "blk.[12].ffn_*_exps.weight=q4_k,blk.2.ffn_down_exps.weight=mxfp4",
      "--type", "output.weight=bf16", "--label", "April"));
    const typed = made("inspect", "typed.gguf", "--tensors");
    assert.match(typed, /general\.version \(string\) = April/);
    for (const line of [/blk\.0\.ffn_up_exps\.weight IQ2_XXS/, /blk\.1\.ffn_up_exps\.weight Q4_K/,
      /blk\.2\.ffn_down_exps\.weight MXFP4/, /output\.weight BF16/, /blk\.0\.attn_norm\.weight F32/]) assert.match(typed, line);
    const sizes = made(...convert("nothing.gguf", "--recipe", "q2", "--dry-run"));
    assert.match(sizes, /IQ2_XXS +6 tensors/);
    assert.ok(!fs.existsSync(at("nothing.gguf")));
  });

  test("threads do not change bytes, and nothing is replaced unasked", () => {
    made(...convert("one.gguf", "--recipe", "q2", "--threads", "1"));
    made(...convert("five.gguf", "--recipe", "q2", "--threads", "5"));
    same("one.gguf", "q2.gguf");
    same("five.gguf", "q2.gguf");
    refused(/q2\.gguf' exists; --force replaces it/, ...convert("q2.gguf", "--recipe", "q2"));
    refused(/IQ2_XXS already.*--allow-requantize/, "quantize", "q2.gguf", "x.gguf", "--recipe", "q4");
    made("quantize", "q2.gguf", "x.gguf", "--recipe", "q4", "--allow-requantize");
    assert.equal(gguf("quantize", "q2.gguf", "x.gguf").status, 2);
  });
});

describe("interruptions", () => {
  test("killed at ten random moments, the same command ends with the same bytes", async () => {
    const args = convert("killed.gguf", "--recipe", "q2", "--refit", "--threads", "1");
    const begin = Date.now();
    made(...convert("whole.gguf", "--recipe", "q2", "--refit", "--threads", "1"));
    const whole = Date.now() - begin;
    let kills = 0, resumed = 0;
    while (kills < 10) {
      const child = spawn(program, args, { cwd: dir, stdio: ["ignore", "ignore", "pipe"] });
      let said = "";
      child.stderr.on("data", (bytes) => { said += bytes; });
      const closed = new Promise((resolve) => { child.on("close", resolve); });
      // Short enough that ten of them do not finish the file, mostly.
      await sleep(Math.random() * whole / 4);
      child.kill("SIGKILL");
      await closed;
      kills++;
      if (/going on after \d+ of \d+ tensors/.test(said)) resumed++;
      if (fs.existsSync(at("killed.gguf"))) { same("killed.gguf", "whole.gguf"); fs.rmSync(at("killed.gguf")); }
    }
    console.log("%d of %d runs went on with what an earlier one had left", resumed, kills);
    made(...args);
    same("killed.gguf", "whole.gguf");
    assert.deepEqual(fs.readdirSync(dir).filter((name) => name.startsWith("killed.gguf.")), []);
  });

  test("what was left is checked: damaged tensors and other sources are made again", async () => {
    const left = () => {
      const child = spawnSync("sh", ["-c", 'trap "" XFSZ; ulimit -f 2000; exec "$@"', "sh", program,
        ...convert("damaged.gguf", "--recipe", "q2", "--threads", "1")], { cwd: dir, encoding: "utf8" });
      assert.equal(child.status, 1);
      return child.stderr;
    };
    assert.match(left(), /cannot write 'damaged\.gguf\.tmp' at byte \d+ of \d+|cannot make 'damaged\.gguf\.tmp'/);
    assert.ok(!fs.existsSync(at("damaged.gguf")));
    // A part that a kill left, with bytes of a finished tensor overwritten.
    const args = convert("damaged.gguf", "--recipe", "q2", "--threads", "1", "--refit");
    for (let tries = 0; tries < 50 && !(fs.existsSync(at("damaged.gguf.tmp.journal")) &&
      fs.readFileSync(at("damaged.gguf.tmp.journal"), "utf8").split("\n").length > 12); tries++) {
      const child = spawn(program, args, { cwd: dir, stdio: "ignore" });
      await sleep(60 + 20 * tries);
      child.kill("SIGKILL");
      await new Promise((resolve) => { child.on("close", resolve); });
      fs.rmSync(at("damaged.gguf"), { force: true });
    }
    const file = fs.openSync(at("damaged.gguf.tmp"), "r+");
    fs.writeSync(file, Buffer.alloc(8192, 0x55), 0, 8192, 40960);
    fs.closeSync(file);
    fs.appendFileSync(at("damaged.gguf.tmp.journal"), "40 00000000"); // cut off
    assert.match(gguf(...args).stderr, /going on after \d+ of 92 tensors/);
    same("damaged.gguf", "whole.gguf");
  });

  test("a disk that is too small is told beforehand", (t) => {
    fs.mkdirSync(at("small"));
    if (spawnSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", at("small")]).status !== 0) {
      t.skip("no right to mount a small disk");
      return;
    }
    try {
      refused(/small\/x\.gguf' needs \d+ bytes, but its disk has only \d+ free/, ...convert("small/x.gguf", "--recipe", "q2"));
      assert.deepEqual(fs.readdirSync(at("small")), []);
    } finally {
      spawnSync("umount", [at("small")]);
    }
  });
});

describe("files of others and parts", () => {
  test("splice takes the donor's experts and says so", () => {
    made("splice", "q2.gguf", "q4.gguf", "--layers", "1-2", "-o", "mixed.gguf");
    const about = made("inspect", "mixed.gguf", "--tensors");
    assert.match(about, /ds4\.splice\.donor \(string\) = q4\.gguf/);
    assert.match(about, /blk\.0\.ffn_gate_exps\.weight IQ2_XXS/);
    assert.match(about, /blk\.2\.ffn_down_exps\.weight Q4_K/);
    for (const [donor, pattern] of [["q4.gguf", "blk.[12].ffn_*_exps.weight"], ["q2.gguf", "blk.0.*"]]) {
      const table = JSON.parse(gguf("compare", donor, "mixed.gguf", "--tensors", pattern, "--json").stdout);
      assert.equal(table.different_tensors, 0);
      assert.ok(table.equal_tensors > 0);
    }
    for (const layers of ["2-1", "x", "1,", "-1", "1-", "9999"]) {
      assert.equal(gguf("splice", "q2.gguf", "q4.gguf", "--layers", layers, "-o", "no.gguf").status, 2, layers);
    }
    assert.equal(gguf("splice", "q2.gguf", "q4.gguf", "--take", "nothing*", "-o", "no.gguf").status, 2);
  });

  test("compare tells equal bytes, differing blocks and keys", () => {
    assert.match(made("compare", "q2.gguf", "q2.gguf"), /92 tensors equal, 0 different, 0 without counterpart; 0 keys differ/);
    const bytes = fs.readFileSync(at("q2.gguf"));
    const tensor = /blk\.1\.ffn_down_exps\.weight Q2_K \[256, 256, 4\] at (\d+)/.exec(made("inspect", "q2.gguf", "--tensors"));
    bytes[Number(tensor[1]) + 84 * 7 + 20] ^= 1;
    fs.writeFileSync(at("changed.gguf"), bytes);
    const done = gguf("compare", "q2.gguf", "changed.gguf");
    assert.equal(done.status, 1);
    assert.match(done.stdout, /blk\.1\.ffn_down_exps\.weight +Q2_K +1 of 1024 /);
    assert.match(done.stdout, /91 tensors equal, 1 different/);
    assert.equal(gguf("compare", "q2.gguf", "none.gguf").status, 1);
  });

  test("hashes change with the bytes, and only those of the tensor", () => {
    const [a, b] = ["q2.gguf", "changed.gguf"].map((file) => made("verify", "--hash", "--deep", file).trim().split("\n"));
    assert.equal(a.length, 94);
    const differing = a.filter((line, i) => line !== b[i] && !/sound/.test(line)).map((line) => line.split("  ")[1]);
    assert.deepEqual(differing, ["blk.1.ffn_down_exps.weight", "q2.gguf"]);
  });

  test("split and merge are each other's inverse", () => {
    made("split", "q2.gguf", "part", "--max-size", "0.001");
    const parts = fs.readdirSync(dir).filter((name) => name.startsWith("part-")).sort();
    assert.deepEqual(parts, [1, 2, 3].map((i) => `part-0000${i}-of-00003.gguf`));
    made("merge", parts[0], "-o", "merged.gguf");
    same("merged.gguf", "q2.gguf");
    refused(/name the first part/, "merge", parts[1], "-o", "no.gguf");
    fs.copyFileSync(at(parts[2]), at(parts[1]));
    refused(/says that it is part 3 of 3/, "merge", parts[0], "-o", "no.gguf");
    fs.rmSync(at(parts[1]));
    refused(/cannot open/, "merge", parts[0], "-o", "no.gguf");
  });

  test("a tokenizer survives being taken out and put in again", () => {
    made("synth", "--preset", "tiny", "-o", "tiny.gguf");
    made("extract-tokenizer", "tiny.gguf", "-o", "tokenizer.json");
    const tokenizer = JSON.parse(fs.readFileSync(at("tokenizer.json"), "utf8"));
    assert.equal(tokenizer.model.merges.length, 14);
    made("synth", "--preset", "tiny", "--tokenizer", "tokenizer.json", "-o", "second.gguf");
    made("extract-tokenizer", "second.gguf", "-o", "second.json");
    assert.deepEqual(JSON.parse(fs.readFileSync(at("second.json"), "utf8")), tokenizer);
    refused(/tokenizer\.ggml\.model/, "extract-tokenizer", "q2.gguf", "-o", "no.json");
  });
});

describe("checkpoints that are wrong", () => {
  const names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
  const expert = "layers.1.ffn.experts.2.w1";

  /** Copies the checkpoint with its headers and payloads changed; returns what convert says. */
  function broken(change) {
    fs.rmSync(at("broken"), { recursive: true, force: true });
    fs.cpSync(official, at("broken"), { recursive: true });
    for (const name of names) {
      const bytes = fs.readFileSync(path.join(official, name));
      const n = Number(bytes.readBigUInt64LE(0));
      const header = JSON.parse(bytes.subarray(8, 8 + n).toString()), payload = bytes.subarray(8 + n);
      if (change(header, payload, name) === false) continue;
      const text = Buffer.from(JSON.stringify(header));
      const length = Buffer.alloc(8);
      length.writeBigUInt64LE(BigInt(text.length));
      fs.writeFileSync(path.join(at("broken"), name), Buffer.concat([length, text, payload]));
    }
    return ["convert", at("broken"), "--no-tokenizer", "--recipe", "q2", "-o", "broken.gguf"];
  }

  test("all problems at once", () => {
    const done = gguf(...broken((header) => {
      for (const [name, t] of Object.entries(header)) {
        if (name === `${expert}.scale`) delete header[name];
        if (name === "norm.weight") t.dtype = "I16";
        if (name === "layers.0.attn.wq_a.scale") t.shape = [t.shape[1], t.shape[0]];
        if (name === "layers.2.attn_norm.weight") { header["layers.2.attn_norms.weight"] = t; delete header[name]; }
      }
      fs.rmSync(path.join(at("broken"), "model.safetensors.index.json"));
      fs.writeFileSync(path.join(at("broken"), "model.safetensors.index.json"),
        JSON.stringify({ weight_map: Object.fromEntries(names.map((file, i) => [i === 0 ? "embed.weight" : "head.weight", file])) }));
    }));
    assert.equal(done.status, 1);
    for (const line of [/I8, but its 'layers\.1\.ffn\.experts\.2\.w1\.scale' is missing/, /'norm\.weight' is stored as I16/,
      /'layers\.0\.attn\.wq_a\.scale' has the shape \[2, 1\]; config\.json makes it \[1, 2\]/,
      /lacks the tensor 'layers\.2\.attn_norm\.weight'/, /does not account for the tensor 'layers\.2\.attn_norms\.weight'/,
      /the checkpoint has 5 problems/]) assert.match(done.stderr, line);
    assert.ok(!fs.existsSync(at("broken.gguf")) && !fs.existsSync(at("broken.gguf.tmp")));
  });

  test("NaN codes and scales", () => {
    const poke = (tensor, byte) => broken((header, payload) => {
      if (!(tensor in header)) return false;
      payload[header[tensor].data_offsets[0] + 5] = byte;
      return true;
    });
    const nan = poke("layers.1.attn.wkv.weight", 0xFF);
    refused(/tensor 'layers\.1\.attn\.wkv\.weight' holds NaN codes of FP8; --allow-nan makes them zeros/, ...nan);
    assert.ok(!fs.existsSync(at("broken.gguf.tmp")) && !fs.existsSync(at("broken.gguf.tmp.journal")));
    made(...nan, "--allow-nan");
    fs.rmSync(at("broken.gguf"));
    refused(/tensor 'layers\.1\.ffn\.experts\.2\.w1\.weight': a block's scale is NaN/, ...poke(`${expert}.scale`, 0xFF));
    refused(/tensor 'layers\.0\.ffn\.gate\.tid2eid' names the expert \d+; there are 0 to 3/, ...poke("layers.0.ffn.gate.tid2eid", 77));
  });

  test("truncated shards and absurd headers", () => {
    const args = broken(() => false);
    const file = path.join(at("broken"), names[1]), bytes = fs.readFileSync(file);
    fs.writeFileSync(file, bytes.subarray(0, bytes.length - 100));
    refused(/ends at payload byte \d+, but the file has \d+: it is truncated/, ...args);
    for (const length of [0xFFFFFFFFFFFFFFFFn, 0x7FFFFFFFFFFFFFFFn, BigInt(bytes.length), 1n << 40n]) {
      const bad = Buffer.from(bytes);
      bad.writeBigUInt64LE(length);
      fs.writeFileSync(file, bad);
      refused(/the header claims \d+ of the file's \d+ bytes/, ...args);
    }
    fs.writeFileSync(file, bytes.subarray(0, 5));
    refused(/too short/, ...args);
  });
});
