// download_model.sh against a host on this machine that behaves as hosts do on bad days.
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import crypto from "node:crypto";
import fs from "node:fs";
import http from "node:http";
import type { AddressInfo } from "node:net";
import os from "node:os";
import path from "node:path";
import { after, before, beforeEach, describe, it } from "node:test";
import { describeReport, describeTime, downloadModel, NoRoomError, parseReport } from "../../extension/download.ts";
import { readSettings } from "../../extension/settings.ts";

const ROOT = path.resolve(import.meta.dirname, "../..");
const SCRIPT = path.join(ROOT, "extension", "download_model.sh");
const NAME = "model.gguf";
const CONTENT = Buffer.concat([Buffer.from("GGUF"), crypto.createHash("shake256", { outputLength: 300_000 }).update("x").digest()]);
const SHA = crypto.createHash("sha256").update(CONTENT).digest("hex");

type Handler = (request: http.IncomingMessage, response: http.ServerResponse) => void;
interface Seen {
  method: string;
  range: string | undefined;
  authorization: string | undefined;
}

describe("download_model.sh", () => {
  const root = fs.mkdtempSync(path.join(os.tmpdir(), "ds4 döwnload-"));
  let handler: Handler;
  let seen: Seen[] = [];
  let home = "";
  const server = http.createServer((request, response) => {
    const { method = "", headers } = request;
    seen.push({ method, range: headers.range, authorization: headers.authorization });
    handler(request, response);
  });
  const port = () => (server.address() as AddressInfo).port;

  before(() => new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve)));
  after(() => {
    server.closeAllConnections();
    server.close();
    fs.rmSync(root, { recursive: true });
  });
  beforeEach(() => {
    home = fs.mkdtempSync(path.join(root, "home "));
    fs.mkdirSync(gguf(), { recursive: true });
    seen = [];
    handler = whole;
  });

  const gguf = () => path.join(home, ".pi/ds4/support/gguf");
  const file = () => path.join(gguf(), NAME);
  const part = () => `${file()}.part`;
  const link = () => path.join(home, ".pi/ds4/support/ds4flash.gguf");

  function head(response: http.ServerResponse, extra: http.OutgoingHttpHeaders = {}): void {
    response.writeHead(200, { "content-length": CONTENT.length, "x-linked-size": CONTENT.length, "x-linked-etag": `"${SHA}"`, ...extra });
    response.end();
  }
  /** The whole file, or the rest of it; `most` bytes are sent before the connection is cut. */
  function good(request: http.IncomingMessage, response: http.ServerResponse, most = Infinity): void {
    if (request.method === "HEAD") return head(response);
    const from = Number(/bytes=(\d+)-/.exec(request.headers.range ?? "")?.[1] ?? 0);
    if (from >= CONTENT.length) {
      response.writeHead(416, { "content-range": `bytes */${CONTENT.length}` }).end();
      return;
    }
    const body = CONTENT.subarray(from);
    response.writeHead(from > 0 ? 206 : 200, {
      "content-length": body.length, ...(from > 0 ? { "content-range": `bytes ${from}-${CONTENT.length - 1}/${CONTENT.length}` } : {}),
    });
    if (body.length <= most) response.end(body);
    else response.write(body.subarray(0, most), () => setTimeout(() => response.destroy(), 10));
  }

  const whole: Handler = (request, response) => good(request, response);

  function environment(extra: Record<string, string> = {}): Record<string, string> {
    return {
      PATH: process.env["PATH"] ?? "", HOME: home, TMPDIR: os.tmpdir(), HF_ENDPOINT: `http://127.0.0.1:${port()}`, DS4_MODEL_FILE: NAME,
      DS4_MODEL_REPO: "some/repo", DS4_DOWNLOAD_TICK: "0.02", DS4_DOWNLOAD_BACKOFF: "0.02", ...extra,
    };
  }
  function begin(args: string[] = [], extra: Record<string, string> = {}): ChildProcess {
    return spawn("/bin/sh", [SCRIPT, ...args], { env: environment(extra), stdio: ["ignore", "pipe", "pipe"] });
  }
  async function outcome(child: ChildProcess): Promise<{ status: number | null; out: string; err: string }> {
    let out = "";
    let err = "";
    child.stdout?.on("data", (data: Buffer) => (out += data.toString()));
    child.stderr?.on("data", (data: Buffer) => (err += data.toString()));
    const status = await new Promise<number | null>((resolve) => child.once("close", resolve));
    return { status, out, err };
  }
  const run = (args: string[] = [], extra: Record<string, string> = {}) => outcome(begin(args, extra));
  async function succeeds(args: string[] = [], extra: Record<string, string> = {}): Promise<string> {
    const { status, err } = await run(args, extra);
    assert.equal(status, 0, err);
    assert.ok(fs.readFileSync(file()).equals(CONTENT));
    assert.equal(fs.existsSync(part()), false);
    assert.equal(fs.existsSync(`${file()}.lock`) || fs.existsSync(`${part()}.meta`), false);
    return err;
  }
  async function fails(status: number, message: RegExp, extra: Record<string, string> = {}): Promise<void> {
    const result = await run([], extra);
    assert.equal(result.status, status, result.err);
    assert.match(result.err, message);
    assert.equal(fs.existsSync(file()), false);
    assert.equal(fs.existsSync(`${file()}.lock`), false);
  }

  it("fetches, checks and links the file, and does nothing when it is there", async () => {
    await succeeds();
    assert.equal(fs.readlinkSync(link()), `gguf/${NAME}`);
    assert.ok(fs.readFileSync(link()).equals(CONTENT));
    const count = seen.length;
    assert.match(await succeeds(), /the model is there/);
    assert.equal(seen.length, count);
  });
  it("goes on where a connection was cut, again and again", async () => {
    handler = (request, response) => good(request, response, 40_000);
    await succeeds();
    const ranges = seen.filter((one) => one.method === "GET").map((one) => one.range);
    assert.ok(ranges.length >= 8, `${ranges.length} requests`);
    assert.equal(ranges[0], undefined);
    assert.match(ranges[1] ?? "", /^bytes=\d+-$/);
  });
  it("finishes a complete part without fetching it again", async () => {
    fs.writeFileSync(part(), CONTENT);
    await succeeds();
    assert.deepEqual(seen.map((one) => one.method), ["HEAD"]);
  });
  it("starts anew when the part is too long, belongs to another version, or cannot be continued", async () => {
    fs.writeFileSync(part(), Buffer.concat([CONTENT, CONTENT]));
    assert.match(await succeeds(), /longer than the file/);
    fs.rmSync(file());
    fs.writeFileSync(part(), "GGUFold");
    fs.writeFileSync(`${part()}.meta`, "7 abc\n");
    assert.match(await succeeds(), /has changed/);
    fs.rmSync(file());
    fs.writeFileSync(part(), CONTENT.subarray(0, 100));
    handler = (request, response) => {
      delete request.headers.range;
      good(request, response);
    };
    assert.match(await succeeds(), /cannot send the rest/);
    fs.rmSync(file());
    fs.writeFileSync(part(), CONTENT.subarray(0, 100));
    handler = (request, response) => {
      if (request.headers.range === undefined) return good(request, response);
      response.writeHead(416).end();
    };
    assert.match(await succeeds(), /does not know the part/);
  });
  it("finds out a part with wrong bytes by its SHA-256", async () => {
    fs.writeFileSync(part(), "GGUFwrong");
    await fails(1, /damaged: its SHA-256 is [0-9a-f]{64}, the host announced/);
    assert.equal(fs.existsSync(part()), false);
    await succeeds();
  });
  it("says what 401, 403 and 404 mean, at once", async () => {
    const answer = (status: number) => (handler = (_request, response) => response.writeHead(status).end());
    answer(401);
    await fails(1, /refuses access to some\/repo \(HTTP status 401\).*set HF_TOKEN/);
    answer(403);
    await fails(1, /refuses access .*with the token that was given/, { HF_TOKEN: "hf_x" });
    answer(404);
    await fails(1, /some\/repo\/resolve\/main\/model\.gguf does not exist.*DS4_MODEL_REPO/);
    assert.equal(seen.length, 3);
  });
  it("tries again after 429 and 5xx, and gives up with the reason", async () => {
    let count = 0;
    handler = (request, response) => (++count % 2 === 1 ? response.writeHead(count % 4 === 1 ? 429 : 503).end() : good(request, response));
    assert.match(await succeeds(), /come back later \(HTTP status 429\); trying again[\s\S]*\(HTTP status 503\); trying again/);
    fs.rmSync(file());
    handler = (_request, response) => response.writeHead(502).end();
    await fails(1, /cannot answer now \(HTTP status 502\); gave up after 3 attempts/);
  });
  it("does not believe a host that lies about the length", async () => {
    handler = (request, response) => {
      if (request.method === "HEAD") return head(response, { "x-linked-size": CONTENT.length + 50 });
      good(request, response);
    };
    await fails(1, /announced 300054 bytes but has no more than 300004/);
    fs.rmSync(part());
    handler = (request, response) => {
      if (request.method === "HEAD") return head(response, { "x-linked-size": 1000 });
      good(request, response);
    };
    await fails(1, /sent more than the 1000 bytes/);
    handler = (_request, response) => response.writeHead(200, { "transfer-encoding": "chunked" }).end();
    await fails(1, /does not say how large/);
  });
  it("refuses what is no GGUF file", async () => {
    handler = (request, response) => {
      const page = "<html>please log in</html>";
      response.writeHead(200, { "content-length": page.length });
      response.end(request.method === "HEAD" ? undefined : page);
    };
    await fails(1, /not a GGUF file; it began with: <html>please log in/);
  });
  it("says so when nothing answers", async () => {
    await fails(1, /no connection to http:\/\/127\.0\.0\.1:1: .*; gave up/, { HF_ENDPOINT: "http://127.0.0.1:1" });
  });
  it("looks at disk and memory before the first byte", async () => {
    handler = (_request, response) => head(response, { "x-linked-size": 10 ** 15 });
    await fails(3, /not enough disk space in .*1000001\.1 GB.* needed, [\d.]+ GB .* free/);
    // More than any machine's memory, less than the disk has: a disk that reports much.
    const fake = path.join(home, "bin");
    fs.mkdirSync(fake);
    fs.writeFileSync(path.join(fake, "df"), "#!/bin/sh\necho h; echo x 1 1 99999999999999 1 /\n", { mode: 0o755 });
    const PATH = `${fake}:${process.env["PATH"]}`;
    await fails(3, /not enough memory for this model: about 1100000\.0 GB .* needed, this machine has [\d.]+ GB .*DS4_MODEL_QUANT=nano/, { PATH });
    assert.deepEqual(new Set(seen.map((one) => one.method)), new Set(["HEAD"]));
  });
  it("keeps what it has when the disk is full", { skip: !fs.existsSync("/dev/full") && "no /dev/full" }, async () => {
    fs.symlinkSync("/dev/full", part());
    await fails(3, /cannot write .*model\.gguf\.part: [\d.]+ GB .* free.*Make room/);
  });
  it("gives the token to the host and not to where the host points, and to no list of processes", async () => {
    const other: Seen[] = [];
    const storage = http.createServer((request, response) => {
      other.push({ method: request.method ?? "", range: request.headers.range, authorization: request.headers.authorization });
      good(request, response);
    });
    await new Promise<void>((resolve) => storage.listen(0, "127.0.0.1", resolve));
    handler = (_request, response) => {
      const location = `http://localhost:${(storage.address() as AddressInfo).port}/blob`;
      response.writeHead(302, { location, "x-linked-size": CONTENT.length, "x-linked-etag": `"${SHA}"` }).end();
    };
    fs.mkdirSync(path.join(home, ".cache/huggingface"), { recursive: true });
    fs.writeFileSync(path.join(home, ".cache/huggingface/token"), "hf_secret\n");
    await succeeds();
    storage.close();
    assert.deepEqual(seen.map((one) => one.authorization), ["Bearer hf_secret", "Bearer hf_secret"]);
    assert.deepEqual(other.map((one) => one.authorization), [undefined, undefined]);
    assert.ok(!fs.readFileSync(SCRIPT, "utf8").includes("-H"));
  });
  it("leaves a file in the link's place alone", async () => {
    fs.writeFileSync(link(), "87 GB of somebody");
    assert.match(await succeeds(), /is no link: left as it is/);
    assert.equal(fs.readFileSync(link(), "utf8"), "87 GB of somebody");
    fs.rmSync(link());
    fs.mkdirSync(link());
    await succeeds();
    assert.deepEqual(fs.readdirSync(link()), []);
    fs.rmdirSync(link());
    fs.symlinkSync("gguf/older.gguf", link());
    await succeeds();
    assert.equal(fs.readlinkSync(link()), `gguf/${NAME}`);
  });
  it("lets one process fetch at a time, and takes over from a dead one", async () => {
    let release: (() => void) | undefined;
    const reached = new Promise<void>((resolve) => {
      handler = (request, response) => {
        if (request.method === "HEAD") return head(response);
        response.writeHead(200, { "content-length": CONTENT.length });
        response.write(CONTENT.subarray(0, 1000));
        release = () => response.end(CONTENT.subarray(1000));
        resolve();
      };
    });
    const first = begin();
    const firstEnd = outcome(first);
    await reached;
    const second = await run();
    assert.equal(second.status, 1);
    assert.match(second.err, new RegExp(`process ${first.pid} is fetching`));
    release?.();
    assert.equal((await firstEnd).status, 0);
    fs.rmSync(file());
    fs.symlinkSync("9999999", `${file()}.lock`);
    handler = whole;
    await succeeds();
  });
  it("keeps the part when it is interrupted, and goes on with it", async () => {
    const reached = new Promise<void>((resolve) => {
      handler = (request, response) => {
        if (request.method === "HEAD") return head(response);
        response.writeHead(200, { "content-length": CONTENT.length });
        response.write(CONTENT.subarray(0, 70_000));
        const look = setInterval(() => {
          if (!fs.existsSync(part()) || fs.statSync(part()).size < 1) return;
          clearInterval(look);
          resolve();
        }, 10);
      };
    });
    const child = begin();
    const end = outcome(child);
    await reached;
    child.kill("SIGTERM");
    assert.equal((await end).status, 130);
    assert.equal(fs.lstatSync(file(), { throwIfNoEntry: false }), undefined);
    handler = whole;
    await succeeds();
    assert.match(seen.at(-1)?.range ?? "", /^bytes=\d+-$/);
  });
  it("prints its use, and refuses what it does not know", async () => {
    const help = await run(["--help"]);
    assert.equal(help.status, 0);
    assert.match(help.out, /usage: .*q2/);
    for (const args of [["q4"], ["--token"]]) assert.equal((await run(args)).status, 2);
    assert.deepEqual(seen, []);
  });

  describe("called by the extension", () => {
    const settings = () => readSettings({ HF_ENDPOINT: `http://127.0.0.1:${port()}`, DS4_MODEL_FILE: NAME, DS4_MODEL_REPO: "some/repo" }, home, home);
    const fetch = (told: string[], signal = new AbortController().signal) => {
      process.env["DS4_DOWNLOAD_TICK"] = "0.02";
      return downloadModel(settings(), ROOT, (text) => told.push(text), signal);
    };
    it("fetches, and a failure is one sentence", async () => {
      const told: string[] = [];
      await fetch(told);
      assert.ok(fs.readFileSync(file()).equals(CONTENT));
      fs.rmSync(file());
      handler = (_request, response) => response.writeHead(404).end();
      await assert.rejects(fetch([]), /^Error: The model could not be fetched: http:.* does not exist \(HTTP status 404\)/);
      handler = (_request, response) => head(response, { "x-linked-size": 10 ** 15 });
      await assert.rejects(fetch([]), (error) => error instanceof NoRoomError && /1000001\.1 GB/.test(error.message));
    });
    it("stops when it is told to, and keeps the part", async () => {
      const abort = new AbortController();
      handler = (request, response) => {
        if (request.method === "HEAD") return head(response);
        response.writeHead(200, { "content-length": CONTENT.length });
        response.write(CONTENT.subarray(0, 1000), () => setTimeout(() => abort.abort(), 50));
      };
      await assert.rejects(fetch([], abort.signal), { name: "AbortError" });
      assert.equal(fs.existsSync(`${file()}.lock`), false);
    });
  });
});

describe("reports", () => {
  it("are read and told", () => {
    const report = parseReport('{"phase":"download","done":10400000000,"total":87000000000,"rate":45200000,"eta":1695}');
    assert.ok(report);
    assert.equal(describeReport(report), "ds4: fetching the model 11 % (10.4 of 87.0 GB, 45.2 MB/s, 28 min left)");
    assert.equal(parseReport("no json"), undefined);
    assert.equal(parseReport('{"done":1}'), undefined);
    assert.deepEqual([1, 89, 95, 5400, 7260].map(describeTime), ["1 s", "89 s", "2 min", "1 h 30 min", "2 h 01 min"]);
  });
});
