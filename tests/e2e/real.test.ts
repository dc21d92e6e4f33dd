// The whole way: the real pi, the real ds4-server, the small model of the repository. What it says must make sense, and
// with the same seed it must be the same.
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { ended, MODEL_ARGS, PACKAGE_DIR, Sandbox, until } from "./support/pi.ts";
import { RpcPi } from "./support/rpc.ts";

const BIN_DIR = process.env["DS4_BIN_DIR"] ?? path.join(PACKAGE_DIR, "build", "release", "bin");

/** Unit vectors that mean nothing, one for each layer: strongly applied they spoil any answer. */
function randomDirection(layers: number, width: number): Float32Array {
  let state = 7;
  const values = new Float32Array(layers * width).map(() => {
    state = (state * 1664525 + 1013904223) % 2 ** 32;
    return state / 2 ** 31 - 1;
  });
  return values.map((value, i) => {
    const from = i - (i % width);
    return value / Math.hypot(...values.subarray(from, from + width));
  });
}

describe("pi with ds4-server", () => {
  const sandbox = new Sandbox({
    DS4_SERVER_BINARY: path.join(BIN_DIR, "ds4-server"),
    DS4_MODEL: path.join(PACKAGE_DIR, "models", "nano", "ds4-nano.gguf"),
    DS4_CONTEXT_KB: "16",
    DS4_MAX_TOKENS: "300",
  });
  before(async () => assert.equal((await sandbox.install()).status, 0));
  after(() => sandbox.remove());

  it("gives the same sensible answer for the same seed", async () => {
    /** The text of one answer. JSON mode: for print mode a cut-off answer is an error in some versions of pi. */
    const answer = async () => {
      const outcome = await sandbox.run(
        ["--mode", "json", "say hello", ...MODEL_ARGS, "--no-session", "--no-tools", "--thinking", "off"],
        { DS4_REPRODUCIBLE_SEED: "7" },
      );
      const records = outcome.stdout.trim().split("\n").map((line) => JSON.parse(line) as Record<string, any>);
      const last = records.findLast((r) => r["type"] === "message_end" && r["message"].role === "assistant")?.["message"];
      assert.equal(last?.stopReason, "stop", outcome.stderr + JSON.stringify(last));
      return (last.content as { type: string; text?: string }[]).map((part) => part.text ?? "").join("");
    };
    const first = await answer();
    assert.match(first, /Hello|Hi/);
    assert.equal(await answer(), first);
  });

  it("streams reasoning, calls a tool, reads its result and counts tokens", async () => {
    fs.writeFileSync(path.join(sandbox.work, "anchor.txt"), "heavy\n");
    const pi = new RpcPi(sandbox, ["--no-session", "--thinking", "high"]);
    await pi.prompt("Which files are in this folder?");
    assert.ok(pi.seen.some((r) => r.type === "tool_execution_start" && r["toolName"] === "bash"), "a tool is called");
    const ends = pi.seen.filter((r) => r.type === "message_end" && r["message"].role === "assistant").map((r) => r["message"]);
    assert.deepEqual(ends.map((m) => m.stopReason), ["toolUse", "stop"]);
    assert.match(JSON.stringify(ends[1].content), /anchor\.txt/);
    assert.ok(ends[1].usage.output > 0 && ends[1].usage.totalTokens > ends[1].usage.output, JSON.stringify(ends[1].usage));
    const deltas = pi.seen.filter((r) => r["assistantMessageEvent"]?.type === "thinking_delta");
    assert.ok(deltas.length >= 2, "reasoning arrives in pieces");
    assert.equal(await pi.close(), 0);
  });

  for (const protocol of ["openai-responses", "anthropic"]) {
    it(`calls a tool and answers over ${protocol}`, async () => {
      fs.writeFileSync(path.join(sandbox.work, "anchor.txt"), "heavy\n");
      const pi = new RpcPi(sandbox, ["--no-session", "--thinking", "high"], { DS4_PROTOCOL: protocol });
      await pi.prompt("Which files are in this folder?");
      const ends = pi.seen.filter((r) => r.type === "message_end" && r["message"].role === "assistant").map((r) => r["message"]);
      assert.deepEqual(ends.map((m) => m.stopReason), ["toolUse", "stop"], JSON.stringify(ends));
      assert.match(JSON.stringify(ends[1].content), /anchor\.txt/);
      assert.ok(ends[1].usage.output > 0, JSON.stringify(ends[1].usage));
      assert.ok(pi.seen.some((r) => r["assistantMessageEvent"]?.type === "thinking_delta"), "it thinks");
      assert.equal(await pi.close(), 0);
    });
  }

  it("is steered by /ds4 steer N, as far as the server allows, until it is turned off", async () => {
    const file = path.join(sandbox.home, "direction.f32");
    fs.writeFileSync(file, new Uint8Array(randomDirection(6, 256).buffer));
    fs.writeFileSync(path.join(sandbox.home, "direction.json"), '{"format": "ds4-directional-steering-v1", "ds4x": {"recommended": {"mode": "add"}}}');
    const env = { DS4_DIR_STEERING_FILE: file, DS4_DIR_STEERING_FFN: "-0.25", DS4_DIR_STEERING_POLICY: "decoding" };
    const pi = new RpcPi(sandbox, ["--no-session", "--no-tools", "--thinking", "off"], env);
    const said = (command: string) => pi.said(command);
    const answer = async () => {
      await pi.call({ type: "new_session" });
      return (await pi.prompt("say hello")).join("");
    };
    assert.equal(await said("/ds4 steer"), "Steering: ffn -0.25, attn 0, policy decoding.");
    assert.equal(await said("/ds4 steer off"), "Steering is off for this pi.");
    const plain = await answer();
    assert.match(plain, /Hello|Hi/);
    assert.match(await said("/ds4 steer 4"), /from -3 to 3, not 4/);
    assert.equal(await answer(), plain, "a strength that was refused changes nothing");
    assert.equal(await said("/ds4 steer -3"), "Steering strength is -3 for this pi.");
    assert.notEqual(await answer(), plain);
    assert.match(await said("/ds4 status"), /steering ffn -0\.25, attn 0 \(decoding\)[\s\S]*Steering strength is -3 for this pi/);
    await said("/ds4 steer 0");
    assert.equal(await answer(), plain);
    assert.equal(await pi.close(), 0);
  });

  it("gives the first token soon after a cold start", async (t) => {
    await until("no server", () => sandbox.server() === undefined);
    const began = Date.now();
    const pi = sandbox.spawn(["--mode", "json", "say hello", ...MODEL_ARGS, "--no-session", "--thinking", "off"]);
    pi.stdin?.end();
    const end = ended(pi);
    const first = await new Promise<number>((resolve) => {
      let text = "";
      pi.stdout?.on("data", (data: Buffer) => {
        text += data.toString();
        if (text.includes('"text_delta"')) resolve(Date.now() - began);
      });
    });
    await end;
    // A figure, no judgement: the machine may be busy.
    t.diagnostic(`first token on nano from a cold pi: ${first} ms`);
  });

  it("asks before the toy stands in for a missing model, and says that it is one", async () => {
    const pi = new RpcPi(sandbox, ["--no-session", "--no-tools", "--thinking", "off"], { DS4_MODEL: undefined });
    const asked = pi.next("the question", (r) => r.type === "extension_ui_request" && r["method"] === "confirm");
    const answered = pi.prompt("say hello");
    const question = await asked;
    assert.match(JSON.stringify(question), /toy of 13 million parameters/);
    pi.send({ type: "extension_ui_response", id: question["id"], confirmed: true });
    assert.match((await answered).join(""), /Hello|Hi/);
    assert.equal(await pi.close(), 0);
    const refused = await sandbox.prompt("say hello", { DS4_MODEL: undefined });
    assert.equal(refused.status, 1, "print mode cannot ask");
    assert.match(refused.stderr, /No model found.*DS4_MODEL_QUANT=nano/s);
    const chosen = await sandbox.prompt("say hello", { DS4_MODEL: undefined, DS4_MODEL_QUANT: "nano" });
    assert.match(chosen.stdout, /Hello|Hi/);
    assert.match(chosen.stderr, /toy of 13 million parameters/);
  });

  it("tells what is wrong with a model file", async () => {
    const outcome = await sandbox.prompt("say hi", { DS4_MODEL: path.join(PACKAGE_DIR, "LICENSE") });
    assert.equal(outcome.status, 1);
    assert.match(outcome.stderr, /ds4-server ended with status \d+ while starting/);
    assert.match(outcome.stderr, /GGUF/);
  });
});
