// ds4-gguf imatrix and score from outside, on ds4-nano: likelihoods against those of `ds4 logits` in double arithmetic here, and
// references collected from a local fake of an official endpoint. DS4_BIN_DIR: where the programs are.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import http from "node:http";
import os from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";

const root = path.resolve(import.meta.dirname, "../..");
const bin = process.env.DS4_BIN_DIR ?? path.join(root, "build/release/bin");
const model = path.join(root, "models/nano/ds4-nano.gguf");
const EOS = 1;
let dir;

before(() => { dir = fs.mkdtempSync(path.join(os.tmpdir(), "ds4-score-")); });
after(() => fs.rmSync(dir, { recursive: true, force: true }));

function run(program, args, input = "") {
  return spawnSync(path.join(bin, program), args, { input, encoding: "utf8", cwd: dir, timeout: 120000 });
}

function write(name, content) {
  const file = path.join(dir, name);
  fs.writeFileSync(file, content);
  return file;
}

function score(cases, ...more) {
  return run("ds4-gguf", ["score", "-m", model, "--cases", write("cases.jsonl", cases.map((c) => JSON.stringify(c)).join("\n")),
    ...more]);
}

/** Token ids of a body's prompt. */
function render(body) {
  const done = run("ds4", ["render", "-m", model], JSON.stringify(body));
  assert.equal(done.status, 0, done.stderr);
  return JSON.parse(done.stdout).ids;
}

function rows(file) {
  const [, ...lines] = fs.readFileSync(file, "utf8").trim().split("\n");
  return lines.map((line) => {
    const [id, prompt, target, nll, avg, first, lcp, weight] = line.split(",");
    return { id, ...Object.fromEntries(Object.entries({ prompt, target, nll, avg, first, lcp, weight }).map(([k, v]) => [k, Number(v)])) };
  });
}

const user = (content) => ({ role: "user", content });
const off = { thinking: { type: "disabled" } };

describe("score", () => {
  test("sums of log-likelihoods are those of the logits", () => {
    const request = { messages: [user("hello there")], ...off };
    const reference = { role: "assistant", content: "Hello! I am ds4-nano." };
    const prompt = render(request);
    const whole = render({ ...request, messages: [...request.messages, reference] });
    assert.deepEqual(whole.slice(0, prompt.length), prompt);
    assert.equal(whole.at(-1), EOS);
    const done = run("ds4", ["logits", "-m", model, "--tokens", write("ids.json", JSON.stringify(whole)), "-o", "logits.f32"]);
    assert.equal(done.status, 0, done.stderr);
    const bytes = fs.readFileSync(path.join(dir, "logits.f32"));
    const logits = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
    const nVocab = logits.length / whole.length;
    let nll = 0;
    let lcp = 0;
    let same = true;
    for (let t = prompt.length; t < whole.length; t++) {
      const row = logits.subarray((t - 1) * nVocab, t * nVocab);
      const top = row.reduce((a, b) => Math.max(a, b));
      nll -= row[whole[t]] - top - Math.log(row.reduce((sum, x) => sum + Math.exp(x - top), 0));
      same &&= row[whole[t]] === top;
      if (same) lcp++;
    }
    const scored = score([{ id: "a", request, reference, weight: 3 }], "-o", "a.csv");
    assert.equal(scored.status, 0, scored.stderr);
    const [row] = rows(path.join(dir, "a.csv"));
    assert.ok(Math.abs(row.nll - nll) < 1e-6 * Math.max(1, nll), `${row.nll} and ${nll}`);
    assert.equal(row.target, whole.length - prompt.length);
    assert.equal(row.prompt, prompt.length);
    assert.equal(row.lcp, lcp);
    assert.equal(row.first, Number(lcp > 0));
    assert.equal(row.weight, 3);
    assert.ok(Math.abs(row.avg - row.nll / row.target) < 1e-8);
  });

  test("reasoning and tool calls of a reference are part of the target; a continuation is its text alone", () => {
    const tools = [{ type: "function", function: { name: "ls", parameters: { type: "object", properties: { path: { type: "string" } } } } }];
    const request = { messages: [user("list the files")], tools, thinking: { type: "enabled" } };
    const call = { id: "c", type: "function", function: { name: "ls", arguments: '{"path":"."}' } };
    const done = score([
      { id: "call", request, reference: { role: "assistant", content: "", reasoning_content: "I look.", tool_calls: [call] } },
      { id: "none", request, reference: { role: "assistant", content: "" } },
      { id: "text", prompt: "hello", continuation: "Hi!" },
    ], "-o", "b.csv");
    assert.equal(done.status, 0, done.stderr);
    const [withCall, empty, text] = rows(path.join(dir, "b.csv"));
    assert.ok(withCall.target > empty.target + 10);
    assert.equal(empty.target, 2); // </think> and the end of sentence
    assert.equal(text.target, render({ messages: [user("hello"), { role: "assistant", content: "Hi!" }], ...off }).length - text.prompt - 1);
  });

  test("a table is compared with a baseline, matched by id", () => {
    const cases = ["a", "b", "c", "d"].map((id, i) => ({ id, prompt: `what is ${i} plus 2?`, continuation: `${i + 2}` }));
    assert.equal(score(cases, "-o", "all.csv").status, 0);
    const same = score(cases.slice(1), "--baseline", "all.csv");
    assert.match(same.stdout, /against the baseline, 3 cases: .* change \+0\.000000 .*\nbetter 0, worse 0, equal 3/);
    const other = score([{ ...cases[0], continuation: "a much longer answer" }], "--baseline", "all.csv");
    assert.equal(other.status, 1);
    assert.match(other.stderr, /case a has \d+ tokens here and \d+ in the baseline/);
  });

  test("what is wrong with a case is said with its line", () => {
    for (const [line, pattern] of [
      ["{", /line 2: .*byte/],
      ['{"prompt":"a","continuation":"b"}', /line 2: id is missing/],
      ['{"id":"a,b","prompt":"a","continuation":"b"}', /without commas/],
      ['{"id":"a","prompt":"a"}', /needs the objects "request" and "reference", or the strings/],
      ['{"id":"a","prompt":"a","continuation":""}', /continuation is empty/],
      ['{"id":"a","prompt":"a","continuation":"b","weight":0}', /weight must be a number above 0/],
      ['{"id":"a","request":{"messages":[]},"reference":{"role":"assistant","content":"x"}}', /messages is empty/],
      ['{"id":"a","request":{"messages":[{"role":"user","content":"x"}]},"reference":{"role":"user","content":"x"}}', /does not continue the prompt/],
      ['{"id":"a","request":{"messages":[{"role":"user","content":7}]},"reference":{"role":"assistant","content":"x"}}', /messages\[0\]\.content/],
    ]) {
      const done = run("ds4-gguf", ["score", "-m", model, "--cases", write("bad.jsonl", `{"id":"ok","prompt":"a","continuation":"b"}\n${line}\n`)]);
      assert.equal(done.status, 1, line);
      assert.match(done.stderr, pattern);
    }
  });
});

describe("imatrix", () => {
  test("two collections merged are one collection over both texts", () => {
    const text = (n) => `===== DS4_IMATRIX_PROMPT ${n}\n<｜begin▁of▁sentence｜><｜User｜>say ${n}<｜Assistant｜></think>${n} it is.\n`;
    for (const [name, content] of [["one", text("one")], ["two", text("two")], ["both", text("one") + text("two")]]) {
      const done = run("ds4-gguf", ["imatrix", "collect", "-m", model, "--dataset", write(`${name}.txt`, content), "-o", `${name}.gguf`]);
      assert.equal(done.status, 0, done.stderr);
      assert.match(done.stdout, /102 weights, 174 matrices/);
    }
    assert.equal(run("ds4-gguf", ["imatrix", "merge", "one.gguf", "two.gguf", "-o", "merged.gguf"]).status, 0);
    const coverage = (file) => run("ds4-gguf", ["imatrix", "show", file]).stdout.split("\n").slice(0, 102);
    assert.deepEqual(coverage("merged.gguf"), coverage("both.gguf"));
    assert.equal(run("ds4-gguf", ["imatrix", "merge", "both.gguf", "-o", "both.dat"]).status, 0);
    const refused = run("ds4-gguf", ["imatrix", "merge", "one.gguf", "both.dat", "-o", "x.gguf"]);
    assert.equal(refused.status, 1);
    assert.match(refused.stderr, /cannot be merged/);
    assert.match(run("ds4-gguf", ["imatrix", "show", model]).stderr, /is a GGUF file but not an imatrix/);
  });
});

describe("the calibration corpus", () => {
  const make = (...args) => spawnSync(process.execPath, [path.join(root, "scripts/make-calibration.mjs"), ...args], { encoding: "utf8", maxBuffer: 1 << 28 });

  test("depends on its seed alone and goes through the renderer", () => {
    const made = make("--cases", "60");
    assert.equal(made.status, 0, made.stderr);
    assert.equal(make("--cases", "60").stdout, made.stdout);
    assert.notEqual(make("--cases", "60", "--seed", "1").stdout, made.stdout);
    const cases = made.stdout.trim().split("\n").map((line) => JSON.parse(line));
    assert.equal(cases.filter((c) => c.request.thinking.type === "enabled").length, 30);
    assert.ok(cases.some((c) => c.request.tools !== undefined) && /[一-鿿]{8}/.test(made.stdout));
    const done = run("ds4-gguf", ["imatrix", "collect", "-m", model, "--dataset", write("cal.jsonl", made.stdout), "-o", "cal.gguf",
      "--max-tokens", "4000"]);
    assert.equal(done.status, 0, done.stderr);
    assert.match(done.stdout, /102 weights, 174 matrices/);
    const bad = run("ds4-gguf", ["imatrix", "collect", "-m", model, "--dataset", write("bad.jsonl", '\n\n{"id":"a"}\n'), "-o", "x.gguf"]);
    assert.match(bad.stderr, /the dataset's line 3: a case needs/);
    assert.equal(make("--cases", "x").status, 1);
  });
});

describe("collecting references", () => {
  /** Answers by the script: each request takes the next reply. */
  async function fake(replies, use) {
    const seen = [];
    const server = http.createServer(async (request, response) => {
      let body = "";
      for await (const chunk of request) body += chunk;
      seen.push({ body: JSON.parse(body), key: request.headers.authorization });
      const reply = replies.shift() ?? { status: 500, body: "no more" };
      if (reply === "cut") return request.socket.destroy();
      response.writeHead(reply.status ?? 200, { "content-type": "application/json" });
      response.end(typeof reply.body === "string" ? reply.body : JSON.stringify(reply.body));
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    try {
      await use(`http://127.0.0.1:${server.address().port}/chat/completions`, seen);
    } finally {
      server.close();
    }
  }

  const answer = (content, finish_reason = "stop") => ({ body: { choices: [{ message: { role: "assistant", content }, finish_reason }] } });

  async function collect(endpoint, prompts, out) {
    const child = spawn(process.execPath, [path.join(root, "scripts/collect-references.mjs"), "--prompts",
      write("prompts.jsonl", prompts.map((p) => JSON.stringify(p)).join("\n")), "--out", path.join(dir, out), "--endpoint", endpoint],
    { env: { ...process.env, DEEPSEEK_API_KEY: "k", DS4_COLLECT_DELAY_MS: "1" }, cwd: dir });
    let text = "";
    child.stdout.on("data", (d) => { text += d; });
    child.stderr.on("data", (d) => { text += d; });
    const [status] = await once(child, "close");
    return { status, text };
  }

  test("retries what may pass, keeps what it has, and its cases can be scored", async () => {
    const prompts = [{ id: "a", prompt: "hello" }, { id: "b", prompt: "hi" }, { id: "c", prompt: "long" }];
    await fake([{ status: 429, body: "slow down" }, "cut", answer("Hello!"), answer("Hi"), answer("so it goes", "length")],
      async (endpoint, seen) => {
        const done = await collect(endpoint, prompts, "refs.jsonl");
        assert.equal(done.status, 0, done.text);
        assert.equal(seen.length, 5);
        assert.equal(seen[0].key, "Bearer k");
        assert.deepEqual(seen[0].body.messages, [user("hello")]);
        assert.equal(seen[0].body.temperature, 0);
        assert.deepEqual(seen[0].body.thinking, { type: "disabled" });
        const again = await collect(endpoint, prompts, "refs.jsonl");
        assert.match(again.text, /0 asked, 3 were there/);
        assert.equal(seen.length, 5);
      });
    const scored = run("ds4-gguf", ["score", "-m", model, "--cases", "refs.jsonl"]);
    assert.equal(scored.status, 0, scored.stderr);
    assert.match(scored.stdout, /^cases 3, /);
  });

  test("stops at an answer that will not change, and after six tries", async () => {
    await fake([{ status: 401, body: '{"error":"bad key"}' }], async (endpoint, seen) => {
      const done = await collect(endpoint, [{ id: "a", prompt: "x" }], "none.jsonl");
      assert.equal(done.status, 1);
      assert.match(done.text, /401: .*bad key/);
      assert.equal(seen.length, 1);
    });
    await fake([], async (endpoint, seen) => {
      const done = await collect(endpoint, [{ id: "a", prompt: "x" }], "none.jsonl");
      assert.equal(done.status, 1);
      assert.equal(seen.length, 6);
    });
  });
});
