// fetch() for a server on this machine. The global one obeys HTTP_PROXY, which cannot reach our loopback address, and
// gives up on a stream that is silent for some minutes, which a long prompt on slow hardware may well be.
import http from "node:http";
import { Readable } from "node:stream";
import type { ReadableStream } from "node:stream/web";

function responseHeaders(message: http.IncomingMessage): Headers {
  const headers = new Headers();
  for (let i = 0; i + 1 < message.rawHeaders.length; i += 2) {
    headers.append(message.rawHeaders[i] as string, message.rawHeaders[i + 1] as string);
  }
  return headers;
}

export async function loopbackFetch(input: string | URL | Request, init?: RequestInit): Promise<Response> {
  const request = new Request(input, init);
  const body = Buffer.from(await request.arrayBuffer());
  request.signal.throwIfAborted();
  return new Promise((resolve, reject) => {
    const outgoing = http.request(request.url, {
      method: request.method,
      headers: { ...Object.fromEntries(request.headers), "content-length": String(body.length) },
      agent: false,
    });
    // Not http's own signal option: that would end a body with a bare "aborted" instead of the signal's reason.
    let abortable: { destroy(error: Error): unknown } = outgoing;
    const onAbort = () => abortable.destroy(request.signal.reason as Error);
    request.signal.addEventListener("abort", onAbort, { once: true });
    outgoing.on("error", reject);
    outgoing.once("close", () => request.signal.removeEventListener("abort", onAbort));
    outgoing.once("response", (message) => {
      abortable = message;
      const stream = Readable.toWeb(message) as ReadableStream<Uint8Array>;
      resolve(
        new Response(stream as unknown as BodyInit, {
          status: message.statusCode ?? 0,
          statusText: message.statusMessage ?? "",
          headers: responseHeaders(message),
        }),
      );
    });
    outgoing.end(body);
  });
}
