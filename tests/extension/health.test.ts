import assert from "node:assert/strict";
import http from "node:http";
import net, { type AddressInfo } from "node:net";
import { describe, it } from "node:test";
import { listsModel, loadedFraction, probeHealth } from "../../extension/health.ts";

type Answers = Record<string, [status: number, body: string]>;

async function probe(answers: Answers) {
  const server = http.createServer((request, response) => {
    const [status, body] = answers[request.url ?? ""] ?? [404, "not here"];
    response.writeHead(status).end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    return await probeHealth((server.address() as AddressInfo).port);
  } finally {
    server.close();
  }
}

describe("probeHealth", () => {
  it("tells ready, loading and how far", async () => {
    assert.deepEqual(await probe({ "/health": [200, "{}"] }), { state: "ready" });
    assert.deepEqual(await probe({ "/health": [503, '{"progress":0.25}'] }), { state: "loading", fraction: 0.25 });
    assert.deepEqual(await probe({ "/health": [503, "busy"] }), { state: "loading", fraction: undefined });
  });
  it("accepts an engine without /health by its list of models", async () => {
    const models = '{"data":[{"id":"deepseek-v4-flash"}]}';
    assert.deepEqual(await probe({ "/v1/models": [200, models] }), { state: "ready" });
  });
  it("recognises something that is no engine", async () => {
    assert.equal((await probe({})).state, "foreign");
    assert.equal((await probe({ "/v1/models": [200, '{"data":[{"id":"other"}]}'] })).state, "foreign");
    assert.equal((await probe({ "/health": [302, ""] })).state, "foreign");
  });
  it("says unreachable where nothing listens and where no HTTP is spoken", async () => {
    const silent = net.createServer((socket) => socket.on("error", () => undefined).resume().end("hello\n"));
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    const { port } = silent.address() as AddressInfo;
    assert.deepEqual(await probeHealth(port), { state: "unreachable" });
    await new Promise((resolve) => silent.close(resolve));
    assert.deepEqual(await probeHealth(port), { state: "unreachable" });
  });
});

describe("loadedFraction", () => {
  it("reads both forms and ignores nonsense", () => {
    assert.equal(loadedFraction({ progress: { done: 1, total: 4 } }), 0.25);
    assert.equal(loadedFraction({ progress: { done: 9, total: 4 } }), 1);
    for (const progress of [2, -1, "0.5", null, { done: 1 }, { done: 1, total: 0 }]) {
      assert.equal(loadedFraction({ progress }), undefined);
    }
    assert.equal(loadedFraction(null), undefined);
  });
});

it("listsModel survives any JSON", () => {
  for (const body of [null, 3, [], { data: 3 }, { data: [null, 3] }]) assert.equal(listsModel(body), false);
});
