// Fetching the model from within the real pi: what is shown, once, by whom, and how it goes on after an end.
import assert from "node:assert/strict";
import crypto from "node:crypto";
import fs from "node:fs";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, beforeEach, describe, it } from "node:test";
import { Sandbox, until } from "./support/pi.ts";
import { onlyFailure, RpcPi } from "./support/rpc.ts";

const ANSWER = "Tool said: mock-42";
const NAME = "model.gguf";
const CONTENT = Buffer.concat([Buffer.from("GGUF"), crypto.createHash("shake256", { outputLength: 300_000 }).update("x").digest()]);
const SHA = crypto.createHash("sha256").update(CONTENT).digest("hex");
const HALF = 150_000;

type Handler = (request: http.IncomingMessage, response: http.ServerResponse) => void;

function head(response: http.ServerResponse): void {
  response.writeHead(200, { "content-length": CONTENT.length, "x-linked-size": CONTENT.length, "x-linked-etag": `"${SHA}"` }).end();
}

describe("the model", () => {
  let sandbox: Sandbox;
  let handler: Handler;
  /** Ranges of the GET requests; "" for the whole file. */
  let gets: string[] = [];
  let release: (() => void) | undefined;
  const host = http.createServer((request, response) => {
    if (request.method === "GET") gets.push(request.headers.range ?? "");
    handler(request, response);
  });

  const whole: Handler = (request, response) => {
    if (request.method === "HEAD") return head(response);
    const from = Number(/bytes=(\d+)-/.exec(request.headers.range ?? "")?.[1] ?? 0);
    const range = { "content-range": `bytes ${from}-${CONTENT.length - 1}/${CONTENT.length}` };
    response.writeHead(from > 0 ? 206 : 200, { "content-length": CONTENT.length - from, ...(from > 0 ? range : {}) }).end(CONTENT.subarray(from));
  };
  /** The first half; the second half after `release`. */
  const halting: Handler = (request, response) => {
    if (request.method === "HEAD") return head(response);
    response.writeHead(200, { "content-length": CONTENT.length });
    response.write(CONTENT.subarray(0, HALF));
    release = () => response.end(CONTENT.subarray(HALF));
  };

  before(async () => {
    await new Promise<void>((resolve) => host.listen(0, "127.0.0.1", resolve));
    sandbox = new Sandbox({
      HF_ENDPOINT: `http://127.0.0.1:${(host.address() as AddressInfo).port}`, DS4_MODEL: "", DS4_MODEL_FILE: NAME,
      DS4_DOWNLOAD_TICK: "0.05", DS4_DOWNLOAD_BACKOFF: "0.05",
    });
    assert.equal((await sandbox.install()).status, 0);
  });
  beforeEach(async () => {
    sandbox.killPis();
    handler = whole;
    gets = [];
    await sandbox.allGone();
    fs.rmSync(sandbox.state(), { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
    sandbox.clearRequests();
  });
  after(async () => {
    host.closeAllConnections();
    host.close();
    await sandbox.remove();
  });

  const file = () => sandbox.state("support", "gguf", NAME);

  it("that cannot be fetched is told once and soon: the host's refusal, then a full disk", async (t) => {
    let failed = 0;
    handler = (_request, response) => {
      failed = Date.now();
      response.writeHead(404).end();
    };
    const pi = new RpcPi(sandbox, ["--no-session"]);
    const shown = pi.next("the failure", (r) => r.type === "message_end" && r["message"].role === "assistant");
    const settled = pi.prompt("hi");
    await shown;
    t.diagnostic(`a download that fails is shown ${Date.now() - failed} ms after the host's answer`);
    await settled;
    assert.match(onlyFailure(pi.seen), /could not be fetched: http:.*model\.gguf does not exist \(HTTP status 404\)/);
    const from = pi.seen.length;
    handler = whole;
    fs.symlinkSync("/dev/full", `${file()}.part`);
    const asked = pi.next("the question", (r) => r["method"] === "confirm");
    const refused = pi.prompt("hi");
    pi.send({ type: "extension_ui_response", id: (await asked)["id"], confirmed: false });
    await refused;
    assert.match(onlyFailure(pi.seen.slice(from)), /could not be fetched: cannot write .*model\.gguf\.part: .* free, .* to come\. Make room/);
    assert.equal(gets.length, 1);
    assert.equal(await pi.close(), 0);
  });

  it("goes on after an abort where it was", async () => {
    handler = halting;
    const pi = new RpcPi(sandbox, ["--no-session"]);
    const settled = pi.next("agent_settled", (r) => r.type === "agent_settled");
    await pi.call({ type: "prompt", message: "hi" });
    await pi.shows(/fetching the model 49 % \(0\.0 of 0\.0 GB/);
    await pi.call({ type: "abort" });
    await settled;
    await until("the script has ended", () => fs.lstatSync(`${file()}.lock`, { throwIfNoEntry: false }) === undefined);
    const kept = fs.statSync(`${file()}.part`).size;
    assert.ok(kept > HALF / 2, `${kept} bytes are kept`);
    handler = whole;
    assert.deepEqual(await pi.prompt("hi"), [ANSWER]);
    assert.deepEqual(gets, ["", `bytes=${kept}-`]);
    assert.ok(fs.readFileSync(sandbox.state("support", "ds4flash.gguf")).equals(CONTENT));
    assert.equal(await pi.close(), 0);
  });

  it("is fetched by one pi while another waits and shows how far it is", async () => {
    handler = halting;
    const pis = [new RpcPi(sandbox, ["--no-session"]), new RpcPi(sandbox, ["--no-session"])];
    const answers = pis.map((pi) => pi.prompt("hi"));
    await Promise.all(pis.map((pi) => pi.shows(/fetching the model 49 %/)));
    release?.();
    assert.deepEqual(await Promise.all(answers), [[ANSWER], [ANSWER]]);
    assert.deepEqual(gets, [""]);
    assert.equal(sandbox.serverPids().length, 1);
    for (const pi of pis) assert.equal(await pi.close(), 0);
  });

  it("is fetched on when the pi that fetches it is killed, by the one that waits", async () => {
    handler = halting;
    const first = new RpcPi(sandbox, ["--no-session"]);
    first.prompt("hi").catch(() => undefined);
    await first.shows(/fetching the model 49 %/);
    const second = new RpcPi(sandbox, ["--no-session"]);
    const answer = second.prompt("hi");
    await second.shows(/fetching the model 49 %/);
    handler = whole;
    first.child.kill("SIGKILL");
    assert.deepEqual(await answer, [ANSWER]);
    assert.equal(gets.length, 2);
    assert.match(gets[1] ?? "", /^bytes=[1-9]\d+-$/);
    assert.equal(await second.close(), 0);
  });
});
