import assert from "node:assert/strict";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { describe, it } from "node:test";
import { loopbackFetch } from "../../extension/loopback.ts";
import { makeErrorDisplay } from "../../extension/progress.ts";
import { StartError } from "../../extension/start-error.ts";
import { explain } from "../../extension/stream.ts";

const transient = (text: string) => /503|timeout/.test(text);

describe("explain", () => {
  it("keeps one sentence for an ordinary error", () => {
    assert.equal(explain(new Error("No model found."), transient), "ds4: No model found.");
    assert.equal(explain("odd", transient), "ds4: odd");
  });
  it("adds the server's lines and the log, which pi must not take for a transient failure", () => {
    const error = new StartError("It ended.", ["reason", "timeout after 503", "more"], "/x/log");
    const text = explain(error, transient);
    assert.ok(!transient(text));
    assert.equal(text.replaceAll("\u2060", ""), "ds4: It ended.\nThe server's last lines:\n  reason\n  timeout after 503\n  more\nLog: /x/log");
    assert.equal(explain(new Error("503 GB"), transient).replaceAll("\u2060", ""), "ds4: 503 GB");
    assert.equal(explain(new StartError("x", ["y"], "/l", "build"), transient), "ds4: x\nThe build's last lines:\n  y\nLog: /l");
  });
});

describe("makeErrorDisplay", () => {
  it("writes each state once and percentages in steps of ten", () => {
    const lines: string[] = [];
    const display = makeErrorDisplay((line) => lines.push(line));
    for (const percent of [0, 3, 9, 10, 11, 55, 59]) display.show(`loading ${percent} %`);
    display.show(undefined);
    display.show("loading 50 %");
    assert.deepEqual(lines, ["loading 0 %\n", "loading 10 %\n", "loading 50 %\n", "loading 50 %\n"]);
  });
});

describe("loopbackFetch", () => {
  async function withServer(handler: http.RequestListener, use: (url: string) => Promise<void>): Promise<void> {
    const server = http.createServer(handler);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    try {
      await use(`http://127.0.0.1:${(server.address() as AddressInfo).port}/x`);
    } finally {
      server.closeAllConnections();
      server.close();
    }
  }

  it("sends method, headers and body, and streams the answer", async () => {
    await withServer(
      (request, response) => {
        const parts: Buffer[] = [];
        request.on("data", (part: Buffer) => parts.push(part));
        request.on("end", () => {
          response.writeHead(201, { "x-seen": `${request.method} ${request.headers["x-a"]}` });
          response.write("first ");
          setTimeout(() => response.end(Buffer.concat(parts)), 30);
        });
      },
      async (url) => {
        const response = await loopbackFetch(url, { method: "POST", headers: { "X-A": "1" }, body: "häl" });
        assert.equal(response.status, 201);
        assert.equal(response.headers.get("x-seen"), "POST 1");
        assert.equal(await response.text(), "first häl");
      },
    );
  });

  it("ends the connection when it is aborted, before and while the answer arrives", async () => {
    for (const begin of [false, true]) {
      const abort = new AbortController();
      let closed: (() => void) | undefined;
      const serverSawClose = new Promise<void>((resolve) => (closed = resolve));
      await withServer(
        (_request, response) => {
          response.on("close", () => closed?.());
          if (begin) response.write("x");
          else setTimeout(() => abort.abort(), 20);
        },
        async (url) => {
          const answer = loopbackFetch(url, { signal: abort.signal }).then(async (response) => {
            setTimeout(() => abort.abort(), 20);
            return response.text();
          });
          await assert.rejects(answer, { name: "AbortError" });
          await serverSawClose;
        },
      );
    }
  });

  it("rejects when nothing listens", async () => {
    await assert.rejects(loopbackFetch("http://127.0.0.1:1/"));
  });

  it("reports a connection that breaks in the middle", async () => {
    await withServer(
      (_request, response) => {
        response.writeHead(200, { "content-length": "100" });
        response.write("part");
        setTimeout(() => response.destroy(), 20);
      },
      async (url) => {
        const response = await loopbackFetch(url);
        await assert.rejects(response.text());
      },
    );
  });
});
