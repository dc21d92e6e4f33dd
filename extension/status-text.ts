// GET /v1/status in a few short lines. Engines differ in what they tell, so every field may be missing.

type Fields = Record<string, unknown>;

function object(value: unknown): Fields {
  return typeof value === "object" && value !== null ? (value as Fields) : {};
}

function number(value: unknown): number | undefined {
  return typeof value === "number" && Number.isFinite(value) ? value : undefined;
}

function gib(bytes: number): string {
  return `${(bytes / 2 ** 30).toFixed(1)} GiB`;
}

export function duration(seconds: number): string {
  if (seconds < 120) return `${Math.floor(seconds)} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

function modelLine(status: Fields): string {
  const model = object(status["model"]);
  const parts = [String(model["name"] ?? model["id"] ?? "unknown model")];
  const context = number(model["context"]);
  if (context !== undefined) parts.push(`context ${context}`);
  if (typeof status["backend"] === "string") parts.push(status["backend"]);
  const total = number(object(status["memory"])["total_bytes"]);
  if (total !== undefined) parts.push(gib(total));
  const uptime = number(status["uptime_seconds"]);
  if (uptime !== undefined) parts.push(`up ${duration(uptime)}`);
  const { state } = status;
  if (typeof state === "string" && state !== "ready") parts.push(state);
  return parts.join(" | ");
}

function workLine(status: Fields): string {
  const parts: string[] = [];
  const { sessions } = status;
  if (Array.isArray(sessions)) {
    const busy = sessions.filter((session) => object(session)["busy"] === true).length;
    parts.push(`sessions ${sessions.length} (${busy} busy)`);
  }
  const queued = number(object(status["requests"])["queued"]);
  if (queued !== undefined && queued > 0) parts.push(`${queued} waiting`);
  const tokens = object(status["tokens"]);
  const prompt = number(tokens["prompt"]);
  const cached = number(tokens["cached"]);
  if (prompt !== undefined && prompt > 0 && cached !== undefined) parts.push(`${Math.round((cached / prompt) * 100)} % of prompts from cache`);
  const speed = object(status["speed"]);
  const prefill = number(speed["prefill_tokens_per_second"]);
  const decode = number(speed["decode_tokens_per_second"]);
  if (prefill !== undefined && prefill > 0) parts.push(`prompt ${prefill.toFixed(prefill < 100 ? 1 : 0)} t/s`);
  if (decode !== undefined && decode > 0) parts.push(`answer ${decode.toFixed(decode < 100 ? 1 : 0)} t/s`);
  return parts.join(" | ");
}

function extrasLine(status: Fields): string {
  const parts: string[] = [];
  const disk = object(status["kv_disk"]);
  const used = number(disk["used_bytes"]);
  const budget = number(disk["budget_bytes"]);
  if (used !== undefined && budget !== undefined) parts.push(`disk cache ${gib(used)} of ${gib(budget)}`);
  const steering = object(status["steering"]);
  const ffn = number(steering["ffn"]);
  if (ffn !== undefined) parts.push(`steering ffn ${ffn}, attn ${number(steering["attn"]) ?? 0} (${String(steering["policy"] ?? "?")})`);
  return parts.join(" | ");
}

export function statusLines(status: Record<string, unknown> | undefined): string[] {
  if (status === undefined) return [];
  return [modelLine(status), workLine(status), extrasLine(status)].filter((line) => line !== "");
}
