// What the environment and pi's own options change in the requests that reach the server.
import assert from "node:assert/strict";
import { after, before, beforeEach, describe, it } from "node:test";
import { Sandbox } from "./support/pi.ts";
import { RpcPi } from "./support/rpc.ts";

describe("requests", () => {
  const sandbox = new Sandbox();
  before(async () => {
    assert.equal((await sandbox.install()).status, 0);
  });
  beforeEach(() => sandbox.clearRequests());
  after(() => sandbox.remove());

  it("carry the seed and ask for no more tokens than the user set", async () => {
    await sandbox.prompt("hi", { DS4_REPRODUCIBLE_SEED: "7", DS4_MAX_TOKENS: "123" });
    assert.deepEqual(sandbox.chatBodies().map((body) => [body["seed"], body["max_tokens"]]), [[7, 123], [7, 123]]);
  });

  it("carry no seed when reproducibility is off", async () => {
    await sandbox.prompt("hi", { DS4_REPRODUCIBLE: "0" });
    const bodies = sandbox.chatBodies();
    assert.equal(bodies.length, 2);
    for (const body of bodies) assert.ok(!("seed" in body));
  });

  // tests/extension/settings.test.ts has all variables and their wrong values.
  it("are not sent when a variable makes no sense", async () => {
    const outcome = await sandbox.prompt("hi", { DS4_REPRODUCIBLE_SEED: "-3" });
    assert.equal(outcome.status, 1);
    assert.equal(outcome.stdout, "");
    assert.match(outcome.stderr, /DS4_REPRODUCIBLE_SEED must be a positive integer, not "-3"/);
    assert.deepEqual(sandbox.chatBodies(), []);
  });

  it("ask for the thinking that pi's level stands for", async () => {
    const pi = new RpcPi(sandbox, ["--no-session"]);
    // pi's level, then what the server is asked for.
    for (const [level, thinking, effort] of [
      ["off", "disabled", undefined],
      ["minimal", "enabled", "high"],
      ["medium", "enabled", "high"],
      ["high", "enabled", "high"],
      ["xhigh", "enabled", "max"],
      ["max", "enabled", "max"],
    ] as const) {
      await pi.call({ type: "set_thinking_level", level });
      await pi.prompt("hi");
      const body = sandbox.chatBodies().at(-1);
      assert.deepEqual([level, body?.["thinking"].type, body?.["reasoning_effort"]], [level, thinking, effort]);
    }
    assert.equal(await pi.close(), 0);
  });

  it("reach the server also where a proxy is configured", async () => {
    const proxy = "http://127.0.0.1:1";
    const outcome = await sandbox.prompt("hi", { HTTP_PROXY: proxy, http_proxy: proxy });
    assert.equal(outcome.stdout.trim(), "Tool said: mock-42", outcome.stderr);
  });
});
