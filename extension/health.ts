// Asks a server on the loopback interface how it is. Plain node:http: a proxy from the environment must not be used.
import http from "node:http";
import net from "node:net";
import { MODEL_ID } from "./settings.ts";

export type Health =
  | { state: "unreachable" }
  | { state: "loading"; fraction: number | undefined }
  | { state: "ready" }
  | { state: "foreign"; detail: string };

interface Reply {
  status: number;
  body: unknown;
}

const PROBE_MS = 3000;
const MAX_BODY_BYTES = 1 << 20;

function get(port: number, path: string): Promise<Reply | undefined> {
  return new Promise((resolve) => {
    const request = http.get({ host: "127.0.0.1", port, path, agent: false, timeout: PROBE_MS }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (piece: string) => {
        text += piece;
        if (text.length > MAX_BODY_BYTES) request.destroy();
      });
      response.on("error", () => resolve(undefined));
      response.on("close", () => resolve(undefined));
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body: parse(text) }));
    });
    request.on("timeout", () => request.destroy());
    request.on("error", () => resolve(undefined));
    request.on("close", () => resolve(undefined));
  });
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function field(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}

/** How much of the model is loaded, 0..1: `progress` as a number or as {done, total}. */
export function loadedFraction(body: unknown): number | undefined {
  const progress = field(body, "progress");
  if (typeof progress === "number") return progress >= 0 && progress <= 1 ? progress : undefined;
  const done = field(progress, "done");
  const total = field(progress, "total");
  if (typeof done === "number" && typeof total === "number" && total > 0) return Math.min(1, done / total);
  return undefined;
}

export function listsModel(body: unknown): boolean {
  const data = field(body, "data");
  return Array.isArray(data) && data.some((model) => field(model, "id") === MODEL_ID);
}

export type Occupant = { kind: "none" } | { kind: "ds4"; ready: boolean } | { kind: "foreign"; detail: string };

/** Who listens on the port. Only a server that lists our model is taken for a ds4-server, or one that says it loads. */
export async function whoListens(port: number): Promise<Occupant> {
  if (!(await accepts(port))) return { kind: "none" };
  const models = await get(port, "/v1/models");
  if (models?.status === 200 && listsModel(models.body)) return { kind: "ds4", ready: true };
  const health = await get(port, "/health");
  if (health?.status === 503 && field(health.body, "status") === "loading") return { kind: "ds4", ready: false };
  if (models === undefined) return { kind: "foreign", detail: "it does not answer to HTTP" };
  return { kind: "foreign", detail: `GET /v1/models answered ${models.status} without ${MODEL_ID}` };
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect({ host: "127.0.0.1", port });
    const end = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.once("connect", () => end(true));
    socket.once("error", () => end(false));
    socket.setTimeout(PROBE_MS, () => end(false));
  });
}

/** GET /v1/status of a ds4-server, or undefined: other engines have none. */
export async function readStatus(port: number): Promise<Record<string, unknown> | undefined> {
  const reply = await get(port, "/v1/status");
  if (reply?.status !== 200 || typeof reply.body !== "object" || reply.body === null) return undefined;
  return reply.body as Record<string, unknown>;
}

/** Never throws. An engine without /health (404) counts as ready once /v1/models lists our model. */
export async function probeHealth(port: number): Promise<Health> {
  const health = await get(port, "/health");
  if (health === undefined) return { state: "unreachable" };
  if (health.status === 200) return { state: "ready" };
  if (health.status === 503) return { state: "loading", fraction: loadedFraction(health.body) };
  if (health.status !== 404) return { state: "foreign", detail: `GET /health answered ${health.status}` };
  const models = await get(port, "/v1/models");
  if (models === undefined) return { state: "unreachable" };
  if (models.status === 200 && listsModel(models.body)) return { state: "ready" };
  return { state: "foreign", detail: `GET /v1/models does not list ${MODEL_ID}` };
}
