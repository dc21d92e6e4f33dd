// The programs ds4 and ds4-bench from outside, on a synthesised tiny model. DS4_BIN_DIR: where the programs are.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";

const root = path.resolve(import.meta.dirname, "../..");
const bin = process.env.DS4_BIN_DIR ?? path.join(root, "build/release/bin");
const BOS = "<｜begin▁of▁sentence｜>";
let dir, model, env;

before(() => {
  dir = fs.mkdtempSync(path.join(os.tmpdir(), "ds4-cli-"));
  model = path.join(dir, "tiny.gguf");
  // Nothing of the user's own surroundings may reach the programs.
  env = { PATH: process.env.PATH, HOME: dir, TERM: "xterm", LANG: "C.UTF-8" };
  const made = spawnSync(path.join(bin, "ds4-gguf"), ["synth", "--preset", "tiny", "--seed", "1", "-o", model],
    { encoding: "utf8", env });
  assert.equal(made.status, 0, `ds4-gguf synth: ${made.error ?? made.stderr}`);
});
after(() => fs.rmSync(dir, { recursive: true, force: true }));

function run(program, args, input = "", extra = {}) {
  const done = spawnSync(path.join(bin, program), args,
    { input, encoding: "utf8", env: { ...env, ...extra }, cwd: dir, timeout: 120000, maxBuffer: 1 << 28 });
  // A program may end before it has read its input.
  if (done.error?.code !== "EPIPE") assert.equal(done.error, undefined, `${program} ${args.join(" ")}: ${done.error}`);
  return done;
}
const ds4 = (args, input, extra) => run("ds4", args, input, extra);
const bench = (args, input, extra) => run("ds4-bench", args, input, extra);

function json(args, input) {
  const done = ds4(args, input);
  assert.equal(done.status, 0, done.stderr);
  assert.ok(done.stdout.endsWith("\n"));
  return JSON.parse(done.stdout);
}

/** Exit status, nothing on stdout, and the first line on stderr. */
function refused(done, status, pattern) {
  assert.match(done.stderr, pattern);
  assert.equal(done.status, status, done.stderr);
  assert.equal(done.stdout, "");
}

function write(name, content) {
  const file = path.join(dir, name);
  fs.writeFileSync(file, content);
  return file;
}

describe("options", () => {
  test("--help of every program and command fits 80 columns and goes to stdout", () => {
    for (const [program, args] of [["ds4", []], ["ds4", ["tokenize"]], ["ds4", ["render"]], ["ds4", ["parse"]],
      ["ds4", ["logits"]], ["ds4-bench", []]]) {
      for (const flag of ["--help", "-h"]) {
        const done = run(program, [...args, flag]);
        assert.equal(done.status, 0);
        assert.equal(done.stderr, "");
        assert.match(done.stdout, new RegExp(`^usage: ${[program, ...args].join(" ")} \\[options\\]`));
        for (const line of done.stdout.split("\n")) assert.ok([...line].length <= 80, line);
      }
    }
    const help = ds4(["--help"]).stdout;
    for (const flag of ["-m, --model", "-p, --prompt ", "-sys, --system", "-c, --ctx", "-n, --tokens", "--temp", "--top-k",
      "--top-p", "--min-p", "--seed", "--nothink", "--think-max", "-t, --threads", "--kv-sim", "--activations",
      "--prompt-file", "--warm-weights"]) assert.ok(help.includes(flag), flag);
  });

  test("the other documents", () => {
    assert.match(ds4(["--help=man"]).stdout, /^\.TH DS4 1 [\s\S]*\.SH OPTIONS\n[\s\S]*\.B \\-m, \\-\\-model FILE\n/);
    assert.match(ds4(["--help=markdown"]).stdout, /^# ds4\n[\s\S]*\| `-c`, `--ctx N` \| `32768` \|/);
    assert.match(bench(["--help=completion"]).stdout, /^--ctx-max=$/m);
    assert.match(ds4(["--version"]).stdout, /^ds4 \(pi-ds4\) \d+\.\d+\.\d+\n$/);
  });

  test("mistakes end with status 2 and one sentence", () => {
    refused(ds4(["--bogus"]), 2, /^ds4: unknown option: --bogus\n/);
    refused(ds4(["--nothnk"]), 2, /^ds4: unknown option: --nothnk \(did you mean --nothink\?\)\n/);
    refused(ds4(["-n", "abc"]), 2, /^ds4: invalid value for -n: abc \(an integer from 1 to 2147483647\)\n/);
    refused(ds4(["--temp=nan"]), 2, /^ds4: invalid value for --temp: nan /);
    refused(ds4(["--kv-sim", "half"]), 2, /^ds4: invalid value for --kv-sim: half \(default, full, fp4 or none\)\n/);
    refused(ds4(["-p"]), 2, /^ds4: missing value for -p\n/);
    refused(ds4(["--mtp", "x"]), 2, /^ds4: --mtp: not in this version of ds4 /);
    refused(ds4(["tokenise"]), 2, /^ds4: unexpected argument: tokenise\n/);
    refused(ds4(["-p", "a", "--prompt-file", "b"]), 2, /^ds4: specify only one prompt source\n/);
    refused(ds4(["--prompt-file", "none"]), 2, /^ds4: prompt file: cannot open none: No such file or directory\n/);
    refused(ds4(["logits", "-m", model]), 2, /^ds4 logits: --tokens FILE and --out FILE are needed\n/);
    refused(bench(["-m", model]), 2, /^ds4-bench: specify exactly one of --prompt-file or --chat-prompt-file/);
    refused(bench(["--synthetic-prompt", "--prompt-file", "x"]), 2, /^ds4-bench: specify exactly one of/);
    refused(bench(["--synthetic-prompt", "--ctx-start", "9", "--ctx-max", "8"]), 2, /--ctx-start 9 is above --ctx-max 8/);
    refused(bench(["--synthetic-prompt", "--step-mul", "0.5"]), 2, /invalid value for --step-mul: 0.5 /);
  });

  test("environment and configuration file", () => {
    refused(ds4(["-p", "x"], "", { DS4_MODEL: "from-env.gguf" }), 3, /no model at from-env\.gguf/);
    refused(ds4(["-p", "x", "-m", "flag.gguf"], "", { DS4_MODEL: "from-env.gguf" }), 3, /no model at flag\.gguf/);
    const config = write("config", "model = from-file.gguf\n[ds4-bench]\nmodel = other.gguf\n");
    refused(ds4(["-p", "x"], "", { DS4_CONFIG: config }), 3, /no model at from-file\.gguf/);
    refused(bench(["--synthetic-prompt"], "", { DS4_CONFIG: config }), 1, /no model at other\.gguf/);
    refused(ds4([], "", { DS4_CONFIG: write("bad-config", "[ds4]\ntemp = hot\n") }), 2,
      /bad-config, line 2: invalid value for temp: hot /);
  });
});

describe("models that cannot be used", () => {
  test("missing, unfinished, dangling", () => {
    refused(ds4(["-p", "x"]), 3, /^ds4: no model at ds4flash\.gguf: pass -m FILE .*make demo/);
    write("half.gguf.part", "x".repeat(1000));
    refused(ds4(["-p", "x", "-m", "half.gguf"]), 3, /unfinished download of 0\.0 GB in half\.gguf\.part/);
    fs.symlinkSync("gone.gguf", path.join(dir, "link.gguf"));
    refused(ds4(["-p", "x", "-m", "link.gguf"]), 3, /link points to gone\.gguf, which does not exist/);
    refused(ds4(["-p", "x", "-m", dir]), 3, /is a directory/);
  });

  test("no GGUF, truncated anywhere", () => {
    refused(ds4(["-p", "x", "-m", write("text.gguf", "<!DOCTYPE html><html>nothing here</html>".repeat(9))]), 3, /text\.gguf|GGUF/);
    refused(ds4(["-p", "x", "-m", write("empty.gguf", "")]), 3, /^ds4: .+\n$/);
    const whole = fs.readFileSync(model);
    for (const n of [3, 20, 1000, Math.floor(whole.length / 2), whole.length - 1]) {
      refused(ds4(["tokenize", "-m", write("cut.gguf", whole.subarray(0, n))], "x"), 3, /^ds4: .+\n$/);
    }
  });
});

describe("ds4 tokenize", () => {
  test("text becomes ids, and nothing in it becomes a control token", () => {
    assert.deepEqual(json(["tokenize", "-m", model], ""), []);
    const plain = json(["tokenize", "-m", model], `${BOS}hi`);
    const special = json(["tokenize", "-m", model, "--special"], `${BOS}hi`);
    assert.ok(plain.length > special.length);
    assert.deepEqual(special.slice(1), json(["tokenize", "-m", model], "hi"));
    assert.ok(!plain.includes(special[0]));
  });

  test("any bytes", () => {
    for (const bytes of [[0], [0xff, 0xfe], [0x61, 0, 0x62], [0xe4, 0xbd]]) {
      const done = ds4(["tokenize", "-m", model], Buffer.from(bytes));
      assert.equal(done.status, 0, done.stderr);
      assert.ok(JSON.parse(done.stdout).length > 0);
    }
  });
});

describe("ds4 render", () => {
  const body = { messages: [{ role: "system", content: "Be kind." }, { role: "user", content: "Hi\n</think>" }] };

  test("text and ids of the prompt", () => {
    const { text, ids } = json(["render", "-m", model, "--ctx", "4096"], JSON.stringify(body));
    assert.equal(text, `${BOS}Be kind.<｜User｜>Hi\n</think><｜Assistant｜><think>`);
    const think = json(["tokenize", "-m", model, "--special"], "<think>")[0];
    const thinkEnd = json(["tokenize", "-m", model, "--special"], "</think>")[0];
    assert.equal(ids.at(-1), think);
    assert.ok(!ids.includes(thinkEnd), "the user's </think> is text");
  });

  test("the context decides about the greatest effort", () => {
    const max = JSON.stringify({ ...body, reasoning_effort: "max" });
    assert.ok(!json(["render", "-m", model, "--ctx", "393215"], max).text.includes("Absolute maximum"));
    assert.ok(json(["render", "-m", model, "--ctx", "393216"], max).text.includes("Absolute maximum"));
  });

  test("bad bodies are named", () => {
    refused(ds4(["render", "-m", model], "{"), 1, /^ds4: .+\n$/);
    refused(ds4(["render", "-m", model], '{"messages":[{"role":"user","content":7}]}'), 1, /messages\[0\]\.content/);
  });
});

describe("ds4 parse", () => {
  const block = (value) => `<｜DSML｜tool_calls>\n<｜DSML｜invoke name="bash">\n` +
    `<｜DSML｜parameter name="command" string="true">${value}</｜DSML｜parameter>\n` +
    `<｜DSML｜parameter name="n" string="false">3</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>`;

  test("reasoning, content and calls", () => {
    const message = json(["parse"], `why</think>Look:\n\n${block('ls "a" & b')}`);
    assert.equal(message.role, "assistant");
    assert.equal(message.reasoning_content, "why");
    assert.equal(message.content, "Look:");
    assert.equal(message.finish_reason, "tool_calls");
    assert.equal(message.tool_calls.length, 1);
    assert.equal(message.tool_calls[0].type, "function");
    assert.match(message.tool_calls[0].id, /^call_[0-9a-f]{32}$/);
    assert.equal(message.tool_calls[0].function.name, "bash");
    assert.equal(message.tool_calls[0].function.arguments, '{"command":"ls \\"a\\" & b","n":3}');
  });

  test("the same output gives the same bytes", () => {
    assert.equal(ds4(["parse"], block("x")).stdout, ds4(["parse"], block("x")).stdout);
  });

  test("what the flags decide", () => {
    assert.deepEqual(json(["parse"], "plain"), { role: "assistant", content: "plain", finish_reason: "stop" });
    assert.deepEqual(json(["parse", "--think", "--cut-off"], "plain"),
      { role: "assistant", content: "", reasoning_content: "plain", finish_reason: "length" });
    const text = json(["parse", "--no-tools"], block("x"));
    assert.equal(text.tool_calls, undefined);
    assert.equal(text.finish_reason, "stop");
    assert.ok(text.content.includes("invoke name"));
    assert.equal(json(["parse", "--nothink"], "a</think>b").reasoning_content, undefined);
  });

  test("bytes that are no text", () => {
    assert.equal(json(["parse"], Buffer.from([0x61, 0, 0xff, 0x62])).content, "a\u0000\ufffdb");
  });
});

describe("ds4 logits", () => {
  const ids = Array.from({ length: 150 }, (_, i) => (i * 37) % 250);
  const logits = (list, extra = []) => {
    const out = path.join(dir, "out.f32");
    const done = ds4(["logits", "-m", model, "--tokens", write("ids.json", JSON.stringify(list)), "--out", out, ...extra]);
    assert.equal(done.status, 0, done.stderr);
    const bytes = fs.readFileSync(out);
    fs.rmSync(out);
    return bytes;
  };

  test("one row per token; cuts and threads change nothing", () => {
    const whole = logits(ids);
    const row = whole.length / ids.length;
    assert.equal(row % 4, 0);
    assert.ok(row / 4 >= 256);
    for (let at = 0; at < whole.length; at += 4) assert.ok(Number.isFinite(whole.readFloatLE(at)));
    for (const extra of [["--chunk", "1"], ["--chunk", "7", "--threads", "1"], ["--chunk", "64", "--threads", "2"],
      ["--chunk", "100000"], ["--backend", "cpu"]]) assert.ok(whole.equals(logits(ids, extra)), extra.join(" "));
    assert.ok(whole.subarray(0, 40 * row).equals(logits(ids.slice(0, 40))), "row i depends on tokens 0..i only");
    assert.equal(logits([]).length, 0);
  });

  test("the simulated quantisation is a switch", () => {
    const full = logits(ids, ["--kv-sim", "full"]);
    assert.ok(!full.equals(logits(ids, ["--kv-sim", "none"])));
    assert.equal(full.length, logits(ids, ["--kv-sim", "fp4"]).length);
  });

  test("bad lists leave no file behind", () => {
    const out = path.join(dir, "bad.f32");
    for (const [list, pattern] of [["[1,2,", /is not a JSON array of token ids/], ['{"a":1}', /is not a JSON array/],
      ["[1,-1]", /element 1 is -1, expected an id from 0 to \d+/], ["[1.5]", /element 0 is 1\.5/],
      ['["1"]', /element 0 is "1"/], ["[99999999]", /element 0 is 99999999/], ["[[1]]", /element 0 is/],
      ["[null]", /element 0 is null/], ["", /is not a JSON array/]]) {
      refused(ds4(["logits", "-m", model, "--tokens", write("bad.json", list), "--out", out]), 1, pattern);
      assert.ok(!fs.existsSync(out));
    }
    refused(ds4(["logits", "-m", model, "--tokens", "none.json", "--out", out]), 1, /cannot open none\.json/);
    refused(ds4(["logits", "-m", model, "--tokens", write("ok.json", "[1]"), "--out", "no/dir/x"]), 1, /cannot create no\/dir\/x/);
  });
});

describe("ds4 -p", () => {
  const ask = (args) => {
    const done = ds4(["-m", model, "--ctx", "2048", "-n", "40", ...args]);
    assert.equal(done.status, 0, done.stderr);
    return done;
  };

  test("the same seed gives the same answer, another one another", () => {
    const first = ask(["-p", "Hello", "--seed", "42"]);
    assert.ok(first.stdout.length > 0);
    assert.match(first.stderr, /^ds4: prefill: \d+\.\d\d t\/s, generation: \d+\.\d\d t\/s\n$/);
    assert.equal(ask(["-p", "Hello", "--seed", "42", "--threads", "1"]).stdout, first.stdout);
    assert.notEqual(ask(["-p", "Hello", "--seed", "43"]).stdout, first.stdout);
    assert.notEqual(ask(["-p", "Hello"]).stdout, ask(["-p", "Hello"]).stdout);
  });

  test("the prompt may come from a file or standard input", () => {
    const wanted = ask(["-p", "Hello", "--seed", "7"]).stdout;
    assert.equal(ask(["--prompt-file", write("prompt", "Hello"), "--seed", "7"]).stdout, wanted);
    const piped = ds4(["-m", model, "--ctx", "2048", "-n", "40", "--prompt-file", "-", "--seed", "7"], "Hello");
    assert.equal(piped.stdout, wanted);
  });

  test("a prompt that is rendered already gives the same answer", () => {
    const body = { messages: [{ role: "system", content: "You are a helpful assistant" }, { role: "user", content: "Hello" }] };
    const { text } = json(["render", "-m", model, "--ctx", "2048"], JSON.stringify(body));
    assert.equal(ask(["-p", text, "--seed", "9"]).stdout, ask(["-p", "Hello", "--seed", "9"]).stdout);
  });

  test("options that change the prompt change the answer", () => {
    const plain = ask(["-p", "Hello", "--temp", "0"]).stdout;
    assert.notEqual(ask(["-p", "Hello", "--temp", "0", "--system", ""]).stdout, plain);
    assert.notEqual(ask(["-p", "Hello", "--temp", "0", "--nothink"]).stdout, plain);
    assert.equal(ask(["-p", "Hello", "--temp", "0", "--think-max"]).stdout, plain, "the context is too small for max");
    assert.match(ask(["-p", "Hello", "--think-max"]).stderr, /^ds4: warning: --think-max needs --ctx 393216 or more/);
  });

  test("thinking can go elsewhere", () => {
    const both = ask(["-p", "Hello", "--seed", "5"]);
    const split = ask(["-p", "Hello", "--seed", "5", "--show-thinking", "stderr"]);
    const answer = ask(["-p", "Hello", "--seed", "5", "--show-thinking", "never"]).stdout;
    assert.equal(split.stdout, answer);
    assert.ok(both.stdout.length > answer.length);
    assert.ok(split.stderr.length > both.stderr.length);
    assert.ok(!both.stdout.includes("\x1b"), "no colours when piped");
    assert.ok(ask(["-p", "Hello", "--seed", "5", "--color", "always"]).stdout.startsWith("\x1b[90m"));
  });

  test("a prompt that does not fit says what would", () => {
    refused(ds4(["-m", model, "--ctx", "64", "-p", "word ".repeat(200)]), 1,
      /^ds4: the prompt has \d+ tokens, --ctx is 64; use --ctx \d+ or more\n$/);
    refused(ds4(["-m", model, "--ctx", "2000000000", "-p", "x"]), 1, /^ds4: .*2000000000/);
  });

  test("SIGINT ends the line, shows the numbers and exits 130", async () => {
    const child = spawn(path.join(bin, "ds4"), ["-m", model, "--ctx", "100000", "--temp", "0", "-p", "Hello"],
      { env, cwd: dir });
    let out = "", err = "";
    child.stdout.on("data", (data) => { if (out === "") child.kill("SIGINT"); out += data; });
    child.stderr.on("data", (data) => { err += data; });
    const status = await new Promise((resolve) => { child.on("close", resolve); });
    assert.equal(status, 130, err);
    assert.ok(out.endsWith("\n"));
    assert.match(err, /^ds4: prefill: .* generation: .*\n$/m);
  });
});

describe("interactive", () => {
  const talk = (lines, args = []) => ds4(["-m", model, "--ctx", "4096", "-n", "20", "--seed", "3", ...args], lines.join("\n"));

  test("commands", () => {
    const done = talk(["/help", "/nothink", "/think", "/think-max", "/ctx", "/bogus", "/ctx abc", "/temp", "/temp hot", "/undo", "/quit", "x"]);
    assert.equal(done.status, 0, done.stderr);
    assert.match(done.stdout, /\/read +FILE/);
    assert.match(done.stdout, /Thinking mode: none\.\nThinking mode: high\.\nThinking mode: high \(ctx below 393216\)\.\n/);
    assert.match(done.stdout, /Context: \d+ of 4096 tokens used\./);
    assert.match(done.stderr, /ds4: unknown command: \/bogus\nds4: type \/help for commands\n/);
    assert.match(done.stderr, /ds4: invalid value for --ctx: abc /);
    assert.match(done.stderr, /ds4: missing value for \/temp\n/);
    assert.match(done.stderr, /ds4: invalid value for --temp: hot /);
    assert.match(done.stderr, /ds4: nothing has been said yet\n/);
    assert.ok(!done.stderr.includes("prefill"), "nothing behind /quit is answered");
  });

  test("a second turn evaluates only what is new", () => {
    const done = talk(["word ".repeat(100), "/stats", "And?", "/stats"], ["--nothink"]);
    assert.equal(done.status, 0, done.stderr);
    const counts = [...done.stdout.matchAll(/Last answer: (\d+) prompt tokens evaluated/g)].map((m) => Number(m[1]));
    assert.equal(counts.length, 2);
    assert.ok(counts[0] > 100 && counts[1] < 60, `${counts}`);
  });

  test("/retry repeats a seeded answer, /undo forgets, /ctx keeps the conversation", () => {
    const once = talk(["Hi"], ["--nothink"]).stdout;
    assert.ok(once.length > 0);
    assert.equal(talk(["Hi", "/retry"], ["--nothink"]).stdout, once + once);
    assert.equal(talk(["Hi", "/undo", "Hi"], ["--nothink"]).stdout, once + once);
    const two = talk(["Hi", "Go on"], ["--nothink"]).stdout;
    assert.equal(talk(["Hi", "/ctx 2048", "Go on"], ["--nothink"]).stdout, two.slice(0, once.length) +
      "Context: 2048 tokens.\n" + two.slice(once.length));
    assert.match(talk([`${"word ".repeat(50)}`, "/ctx 16", "/stats"]).stderr, /the conversation has \d+ tokens already/);
  });

  test("/read says what is in a file", () => {
    const file = write("read.txt", "Hi");
    assert.equal(talk([`/read ${file}`], ["--nothink"]).stdout, talk(["Hi"], ["--nothink"]).stdout);
    assert.match(talk(["/read none.txt", "/read"]).stderr, /cannot open none\.txt: .*\nds4: \/read needs a file\n/);
  });
});

const hasPython = spawnSync("python3", ["-c", "import pty"]).status === 0;
describe("on a terminal", { skip: hasPython ? false : "python3 is not installed" }, () => {
  const drive = (steps, args = []) => {
    const done = spawnSync("python3", [path.join(import.meta.dirname, "pty_drive.py"), JSON.stringify(steps),
      path.join(bin, "ds4"), "-m", model, "--ctx", "100000", "--temp", "0", ...args], { encoding: "utf8", env, cwd: dir, timeout: 180000 });
    assert.equal(done.status, 0, done.stderr);
    const result = JSON.parse(done.stdout);
    assert.equal(result.failed, null, result.output.slice(-2000));
    return result;
  };

  test("Ctrl-C stops the answer, not the program; Ctrl-D leaves", () => {
    const result = drive([["expect", "ds4> "], ["send", "Hello\r"], ["expect", "\x1b[90m"], ["pause", 0.5], ["send", "\x03"],
      ["expect", "generation:"], ["expect", "ds4> "], ["send", "/stats\r"], ["expect", "Last answer:"], ["expect", "ds4> "],
      ["send", "\x04"]]);
    assert.equal(result.exit, 0);
    assert.match(result.output, /\x1b\[0m/, "the colour is reset");
  });

  test("Ctrl-C at the prompt gives up the line", () => {
    const result = drive([["expect", "ds4> "], ["send", "/quit"], ["pause", 0.3], ["send", "\x03"], ["expect", "ds4> "],
      ["send", "/nothink\r"], ["expect", "Thinking mode: none."], ["expect", "ds4> "], ["send", "/quit\r"]]);
    assert.equal(result.exit, 0);
  });

  test("history is kept between runs", () => {
    drive([["expect", "ds4> "], ["send", "/nothink\r"], ["expect", "none."], ["expect", "ds4> "], ["send", "\x04"]]);
    assert.match(fs.readFileSync(path.join(dir, ".ds4_history"), "utf8"), /nothink/);
    const result = drive([["expect", "ds4> "], ["send", "\x10"], ["pause", 0.3], ["send", "\r"], ["expect", "Thinking mode: none."],
      ["expect", "ds4> "], ["send", "\x04"]]);
    assert.equal(result.exit, 0);
  });
});

describe("ds4-bench", () => {
  const legacy = "ctx_tokens,prefill_tokens,prefill_tps,gen_tokens,gen_tps,kvcache_bytes";
  const rows = (csv) => csv.trim().split("\n").slice(1).map((line) => line.split(","));

  test("CSV: header, columns, frontiers", () => {
    const done = bench(["-m", model, "--synthetic-prompt", "--ctx-start", "16", "--ctx-max", "70", "--step-incr", "16", "-n", "3"]);
    assert.equal(done.status, 0, done.stderr);
    const header = done.stdout.split("\n")[0];
    assert.ok(header.startsWith(`${legacy},`));
    const names = header.split(",");
    const table = rows(done.stdout);
    assert.deepEqual(table.map((row) => Number(row[0])), [16, 32, 48, 64, 70]);
    assert.deepEqual(table.map((row) => Number(row[1])), [16, 16, 16, 16, 6]);
    for (const row of table) {
      assert.equal(row.length, names.length);
      assert.match(row.slice(0, 6).join(","), /^\d+,\d+,\d+\.\d\d,3,\d+\.\d\d,\d+$/);
      for (const cell of row) assert.ok(Number(cell) > 0, `${names}\n${row}`);
      const cell = (name) => Number(row[names.indexOf(name)]);
      assert.ok(Math.abs(cell("gen_gb_per_s") - cell("weight_bytes_per_token") * cell("gen_tps") / 1e9) < 0.01);
      assert.ok(Math.abs(cell("roof_fraction") - cell("gen_gb_per_s") / cell("roof_gb_per_s")) < 0.01);
    }
  });

  test("growing steps, repeats, files, no roof", () => {
    const csv = path.join(dir, "bench.csv");
    const done = bench(["-m", model, "--synthetic-prompt", "--ctx-start", "20", "--ctx-max", "100", "--step-mul", "1.5", "-n", "2",
      "--repeat", "3", "--no-roof", "--csv", csv]);
    assert.equal(done.status, 0, done.stderr);
    assert.equal(done.stdout, "");
    const text = fs.readFileSync(csv, "utf8");
    const names = text.split("\n")[0].split(",");
    assert.deepEqual(rows(text).map((row) => Number(row[0])), [20, 30, 45, 68, 100]);
    for (const row of rows(text)) {
      const cell = (name) => row[names.indexOf(name)];
      assert.equal(cell("roof_gb_per_s"), "");
      for (const what of ["prefill_tps", "gen_tps"]) {
        assert.ok(Number(cell(`${what}_min`)) <= Number(cell(what)) && Number(cell(what)) <= Number(cell(`${what}_max`)));
      }
    }
  });

  test("the cost of steering is one more column", () => {
    const args = ["-m", model, "--synthetic-prompt", "--ctx-start", "16", "--ctx-max", "32", "--step-incr", "16", "-n", "4", "--repeat", "3", "--no-roof", "--steering"];
    const done = bench(args);
    assert.equal(done.status, 0, done.stderr);
    const names = done.stdout.split("\n")[0].split(",");
    assert.equal(names.at(-1), "steering_cost_percent");
    for (const row of rows(done.stdout)) {
      assert.equal(row.length, names.length);
      assert.match(row.at(-1), /^-?\d+\.\d{3}$/);
      assert.ok(Number(row.at(-1)) > -100);
    }
    for (const row of JSON.parse(bench([...args, "--json"]).stdout).rows) assert.equal(typeof row.steering_cost_percent, "number");
  });

  test("JSON", () => {
    const done = bench(["-m", model, "--synthetic-prompt", "--ctx-start", "16", "--ctx-max", "32", "--step-incr", "16", "-n", "2", "--json", "--no-roof"]);
    const report = JSON.parse(done.stdout);
    assert.equal(report.version, 1);
    assert.equal(report.roof_gb_per_s, null);
    assert.deepEqual(report.rows.map((row) => row.ctx_tokens), [16, 32]);
    assert.ok(report.rows[0].prefill_tps.median > 0);
  });

  test("a text as prompt, plain or as chat", () => {
    const file = write("book.txt", "It was a bright cold day. ".repeat(20));
    for (const flag of ["--prompt-file", "--chat-prompt-file"]) {
      const done = bench(["-m", model, flag, file, "--ctx-start", "32", "--ctx-max", "32", "-n", "2", "--no-roof"]);
      assert.equal(done.status, 0, done.stderr);
      assert.equal(rows(done.stdout).length, 1);
    }
  });

  test("a prompt that is missing or too short is found before anything is computed", () => {
    refused(bench(["-m", "none.gguf", "--prompt-file", "none.txt"]), 1, /^ds4-bench: cannot open none\.txt: /);
    refused(bench(["-m", model, "--prompt-file", write("short.txt", "short"), "--ctx-max", "5000"]), 1,
      /^ds4-bench: prompt has \d+ tokens, need at least --ctx-max=5000\n$/);
  });
});
