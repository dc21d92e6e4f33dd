// What the user chose through the environment: variables.ts lists every variable. Pure: reads only its arguments.
import path from "node:path";

export const PROVIDER_ID = "ds4";
export const MODEL_ID = "deepseek-v4-flash";
export const DEFAULT_SEED = 42;
export const DEFAULT_CONTEXT_KILOTOKENS = 100;
/** The most that V4 Flash is made for. */
export const DEFAULT_MAX_OUTPUT_TOKENS = 384_000;
export const DEFAULT_PORT = 8000;
export const DEFAULT_MODEL_REPO = "audreyt/CyberNeurova-DeepSeek-V4-Flash-abliterated-GGUF";
export const DEFAULT_MODEL_FILE =
  "cyberneurova-DeepSeek-V4-Flash-abliterated-IQ2XXS-w2Q2K-AProjQ8-SExpQ8-OutQ8-chat-v2-imatrix-aligned.gguf";

/** q2: the 2-bit file of V4 Flash. nano: the toy that comes with this package. */
export type ModelQuant = "q2" | "nano";
export type Protocol = "openai" | "openai-responses" | "anthropic";
export type SteeringPolicy = "final-answer" | "decoding" | "always" | "off";

export interface Steering {
  file: string;
  ffn: number;
  attn: number;
  policy: SteeringPolicy;
}

export interface Settings {
  /** DS4_MODEL: the GGUF file to serve. */
  modelPath: string | undefined;
  /** DS4_MODEL_QUANT: which of the known models to serve when DS4_MODEL names none. */
  modelQuant: ModelQuant | undefined;
  modelRepo: string;
  modelFile: string;
  /** Where the model is fetched from, without a slash at the end. */
  modelHost: string;
  ggufDir: string;
  /** PI_OFFLINE: nothing is fetched, except from this machine. */
  offline: boolean;
  ignoreMemory: boolean;
  /** DS4_SERVER_BINARY: the server program. */
  serverBinary: string | undefined;
  /** DS4_RUNTIME_DIR: a checkout of an engine, searched for the program and the model. */
  runtimeDir: string | undefined;
  supportRepo: string | undefined;
  supportBranch: string | undefined;
  /** Leases, lock, log, engine, models: ~/.pi/ds4 */
  stateDir: string;
  port: number;
  protocol: Protocol;
  contextTokens: number;
  /** The longest answer; pi lowers it per request to what the context has left. */
  maxOutputTokens: number;
  /** Seed for requests that bring none; undefined when DS4_REPRODUCIBLE turns it off. */
  seed: number | undefined;
  /** 0 turns the disk cache off; undefined lets the machine's memory decide. */
  kvDiskSpaceMb: number | undefined;
  steering: Steering | undefined;
  /** DS4_MT, or the older DS4_MPP. */
  mt: string | undefined;
}

export class SettingsError extends Error {}

export type Environment = Record<string, string | undefined>;

function value(env: Environment, name: string): string | undefined {
  const text = env[name]?.trim();
  return text === "" ? undefined : text;
}

function pathValue(env: Environment, name: string, home: string, cwd: string): string | undefined {
  const text = value(env, name);
  if (text === undefined) return undefined;
  const expanded = text === "~" || text.startsWith("~/") ? path.join(home, text.slice(1)) : text;
  return path.resolve(cwd, expanded);
}

function integer(env: Environment, name: string, least: number, most: number): number | undefined {
  const text = value(env, name);
  if (text === undefined) return undefined;
  const number = Number(text);
  if (/^[0-9]+$/.test(text) && Number.isSafeInteger(number) && number >= least && number <= most) return number;
  const range = most === Number.MAX_SAFE_INTEGER ? (least === 1 ? "a positive integer" : "an integer from 0 on") : `${least} to ${most}`;
  throw new SettingsError(`${name} must be ${range}, not "${text}".`);
}

function positiveInteger(env: Environment, name: string, fallback: number): number {
  return integer(env, name, 1, Number.MAX_SAFE_INTEGER) ?? fallback;
}

function scale(env: Environment, name: string, fallback: number): number {
  const text = value(env, name);
  if (text === undefined) return fallback;
  const number = Number(text);
  if (Number.isFinite(number) && Math.abs(number) <= 100) return number;
  throw new SettingsError(`${name} must be a number from -100 to 100, not "${text}".`);
}

function oneOf<T extends string>(env: Environment, name: string, known: readonly T[]): T | undefined {
  const text = value(env, name);
  if (text === undefined || (known as readonly string[]).includes(text)) return text as T | undefined;
  const list = known.length === 2 ? known.join(" or ") : `one of ${known.join(", ")}`;
  throw new SettingsError(`${name} must be ${list}, not "${text}".`);
}

function enabled(env: Environment, name: string, fallback: boolean): boolean {
  const text = value(env, name)?.toLowerCase();
  if (text === undefined) return fallback;
  if (["1", "true", "yes", "on"].includes(text)) return true;
  if (["0", "false", "no", "off"].includes(text)) return false;
  throw new SettingsError(`${name} must be 1 or 0, not "${text}".`);
}

const POLICIES: Record<string, SteeringPolicy> = {
  "final-answer": "final-answer", final: "final-answer", "tool-safe": "final-answer",
  decoding: "decoding", decode: "decoding", always: "always", off: "off", none: "off",
};

/** Off without a direction file, with policy off, and when both scales are 0; wrong values are refused all the same. */
function steering(env: Environment, home: string, cwd: string): Steering | undefined {
  const file = pathValue(env, "DS4_DIR_STEERING_FILE", home, cwd);
  const ffn = scale(env, "DS4_DIR_STEERING_FFN", -0.75);
  const attn = scale(env, "DS4_DIR_STEERING_ATTN", 0);
  const text = value(env, "DS4_DIR_STEERING_POLICY") ?? "final-answer";
  const policy = Object.hasOwn(POLICIES, text) ? POLICIES[text] : undefined;
  if (policy === undefined) {
    throw new SettingsError(`DS4_DIR_STEERING_POLICY must be one of final-answer, decoding, always, off, not "${text}".`);
  }
  if (file === undefined || policy === "off" || (ffn === 0 && attn === 0)) return undefined;
  return { file, ffn, attn, policy };
}

function host(env: Environment): string {
  const text = value(env, "HF_ENDPOINT") ?? "https://huggingface.co";
  if (!/^https?:\/\/[^\s]+$/.test(text)) throw new SettingsError(`HF_ENDPOINT must be an http or https URL, not "${text}".`);
  return text.replace(/\/+$/, "");
}

function modelFile(env: Environment): string {
  const text = value(env, "DS4_MODEL_FILE") ?? DEFAULT_MODEL_FILE;
  if (text.includes("/") || text.startsWith(".")) throw new SettingsError(`DS4_MODEL_FILE must be the name of a file, not "${text}".`);
  return text;
}

/** Throws SettingsError with one sentence that names the variable. `home` and `cwd` resolve relative paths. */
export function readSettings(env: Environment, home: string, cwd: string): Settings {
  const seed = positiveInteger(env, "DS4_REPRODUCIBLE_SEED", DEFAULT_SEED);
  const stateDir = pathValue(env, "DS4_STATE_DIR", home, cwd) ?? path.join(home, ".pi", "ds4");
  const modelHost = host(env);
  return {
    modelPath: pathValue(env, "DS4_MODEL", home, cwd),
    modelQuant: oneOf(env, "DS4_MODEL_QUANT", ["q2", "nano"]),
    modelRepo: value(env, "DS4_MODEL_REPO") ?? DEFAULT_MODEL_REPO,
    modelFile: modelFile(env),
    modelHost,
    offline: value(env, "PI_OFFLINE") !== undefined && !/^https?:\/\/(127\.0\.0\.1|localhost)[:/]/.test(`${modelHost}/`),
    ggufDir: pathValue(env, "DS4_GGUF_DIR", home, cwd) ?? path.join(stateDir, "support", "gguf"),
    ignoreMemory: enabled(env, "DS4_IGNORE_MEMORY", false),
    serverBinary: pathValue(env, "DS4_SERVER_BINARY", home, cwd),
    runtimeDir: pathValue(env, "DS4_RUNTIME_DIR", home, cwd),
    supportRepo: value(env, "DS4_SUPPORT_REPO"),
    supportBranch: value(env, "DS4_SUPPORT_BRANCH"),
    stateDir,
    port: integer(env, "DS4_PORT", 1, 65535) ?? DEFAULT_PORT,
    protocol: oneOf(env, "DS4_PROTOCOL", ["openai", "openai-responses", "anthropic"]) ?? "openai",
    contextTokens: positiveInteger(env, "DS4_CONTEXT_KB", DEFAULT_CONTEXT_KILOTOKENS) * 1000,
    maxOutputTokens: positiveInteger(env, "DS4_MAX_TOKENS", DEFAULT_MAX_OUTPUT_TOKENS),
    seed: enabled(env, "DS4_REPRODUCIBLE", true) ? seed : undefined,
    kvDiskSpaceMb: integer(env, "DS4_KV_DISK_SPACE_MB", 0, Number.MAX_SAFE_INTEGER),
    steering: steering(env, home, cwd),
    mt: oneOf(env, "DS4_MT", ["auto", "on", "off"]) ?? oneOf(env, "DS4_MPP", ["auto", "on", "off"]),
  };
}

/** The sampling parameters of a request: those it brings, plus our seed unless they hold a positive one already. */
export function withSeed(
  params: Record<string, unknown> | undefined,
  seed: number | undefined,
): Record<string, unknown> | undefined {
  const own = params?.["seed"];
  if (seed === undefined || (typeof own === "number" && Number.isInteger(own) && own > 0)) return params;
  return { ...params, seed };
}
