// What the environment and pi's own options change in the requests that reach the server.
import assert from "node:assert/strict";
import { after, before, beforeEach, describe, it } from "node:test";
import { Sandbox } from "./support/pi.ts";

describe("requests", () => {
  const sandbox = new Sandbox();
  before(async () => {
    assert.equal((await sandbox.install()).status, 0);
  });
  beforeEach(() => sandbox.clearRequests());
  after(() => sandbox.remove());

  it("carry the seed the user set", async () => {
    await sandbox.prompt("hi", { DS4_REPRODUCIBLE_SEED: "7" });
    assert.deepEqual(sandbox.chatBodies().map((body) => body["seed"]), [7, 7]);
  });

  it("carry no seed when reproducibility is off", async () => {
    await sandbox.prompt("hi", { DS4_REPRODUCIBLE: "0" });
    const bodies = sandbox.chatBodies();
    assert.equal(bodies.length, 2);
    for (const body of bodies) assert.ok(!("seed" in body));
  });

  for (const [name, value] of [
    ["DS4_REPRODUCIBLE_SEED", "-3"],
    ["DS4_REPRODUCIBLE_SEED", "4.5"],
    ["DS4_REPRODUCIBLE", "maybe"],
    ["DS4_CONTEXT_KB", "0"],
  ] as const) {
    it(`are not sent when ${name} is ${value}`, async () => {
      const outcome = await sandbox.prompt("hi", { [name]: value });
      assert.equal(outcome.status, 1);
      assert.equal(outcome.stdout, "");
      assert.ok(outcome.stderr.includes(`${name} must be`), outcome.stderr);
      assert.ok(outcome.stderr.includes(`not "${value}"`), outcome.stderr);
      assert.deepEqual(sandbox.chatBodies(), []);
    });
  }

  it("ask for no more than DS4_MAX_TOKENS", async () => {
    await sandbox.prompt("hi", { DS4_MAX_TOKENS: "123" });
    assert.deepEqual(sandbox.chatBodies().map((body) => body["max_tokens"]), [123, 123]);
  });

  // pi's level, then what the server is asked for.
  for (const [level, thinking, effort] of [
    ["off", "disabled", undefined],
    ["medium", "enabled", "high"],
    ["high", "enabled", "high"],
    ["max", "enabled", "max"],
  ] as const) {
    it(`ask for ${thinking} thinking at level ${level}`, async () => {
      await sandbox.prompt("hi", {}, ["--thinking", level]);
      const body = sandbox.chatBodies()[0];
      assert.equal(body?.["thinking"].type, thinking);
      assert.equal(body?.["reasoning_effort"], effort);
    });
  }

  it("reach the server also where a proxy is configured", async () => {
    const proxy = "http://127.0.0.1:1";
    const outcome = await sandbox.prompt("hi", { HTTP_PROXY: proxy, http_proxy: proxy });
    assert.equal(outcome.stdout.trim(), "Tool said: mock-42", outcome.stderr);
  });
});
