// What the user chose through the environment (docs/pi.md lists every variable). Pure: reads only its arguments.
import path from "node:path";

export const PROVIDER_ID = "ds4";
export const MODEL_ID = "deepseek-v4-flash";
export const DEFAULT_SEED = 42;
export const DEFAULT_CONTEXT_KILOTOKENS = 100;
/** The most that V4 Flash is made for. */
export const DEFAULT_MAX_OUTPUT_TOKENS = 384_000;

/** q2: the 2-bit file of V4 Flash. nano: the toy that comes with this package. */
export type ModelQuant = "q2" | "nano";

export interface Settings {
  /** DS4_MODEL: the GGUF file to serve. */
  modelPath: string | undefined;
  /** DS4_MODEL_QUANT: which of the known models to serve when DS4_MODEL names none. */
  modelQuant: ModelQuant | undefined;
  /** DS4_SERVER_BINARY: the server program. */
  serverBinary: string | undefined;
  /** DS4_RUNTIME_DIR: a checkout of an engine, searched for the program and the model. */
  runtimeDir: string | undefined;
  /** Log file and other state. */
  stateDir: string;
  contextTokens: number;
  /** The longest answer; pi lowers it per request to what the context has left. */
  maxOutputTokens: number;
  /** Seed for requests that bring none; undefined when DS4_REPRODUCIBLE turns it off. */
  seed: number | undefined;
}

export class SettingsError extends Error {}

type Environment = Record<string, string | undefined>;

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

function positiveInteger(env: Environment, name: string, fallback: number): number {
  const text = value(env, name);
  if (text === undefined) return fallback;
  const number = Number(text);
  if (!/^[0-9]+$/.test(text) || !Number.isSafeInteger(number) || number < 1) {
    throw new SettingsError(`${name} must be a positive integer, not "${text}".`);
  }
  return number;
}

function modelQuant(env: Environment): ModelQuant | undefined {
  const text = value(env, "DS4_MODEL_QUANT");
  if (text === undefined || text === "q2" || text === "nano") return text;
  throw new SettingsError(`DS4_MODEL_QUANT must be q2 or nano, not "${text}".`);
}

function enabled(env: Environment, name: string): boolean {
  const text = value(env, name)?.toLowerCase();
  if (text === undefined || ["1", "true", "yes", "on"].includes(text)) return true;
  if (["0", "false", "no", "off"].includes(text)) return false;
  throw new SettingsError(`${name} must be 1 or 0, not "${text}".`);
}

/** Throws SettingsError with one sentence that names the variable. `home` and `cwd` resolve relative paths. */
export function readSettings(env: Environment, home: string, cwd: string): Settings {
  const seed = positiveInteger(env, "DS4_REPRODUCIBLE_SEED", DEFAULT_SEED);
  return {
    modelPath: pathValue(env, "DS4_MODEL", home, cwd),
    modelQuant: modelQuant(env),
    serverBinary: pathValue(env, "DS4_SERVER_BINARY", home, cwd),
    runtimeDir: pathValue(env, "DS4_RUNTIME_DIR", home, cwd),
    stateDir: path.join(home, ".pi", "ds4"),
    contextTokens: positiveInteger(env, "DS4_CONTEXT_KB", DEFAULT_CONTEXT_KILOTOKENS) * 1000,
    maxOutputTokens: positiveInteger(env, "DS4_MAX_TOKENS", DEFAULT_MAX_OUTPUT_TOKENS),
    seed: enabled(env, "DS4_REPRODUCIBLE") ? seed : undefined,
  };
}

/** The sampling parameters of a request: those it brings, plus our seed unless they hold a positive one already. */
export function withSeed(
  params: Record<string, unknown> | undefined,
  seed: number | undefined,
): Record<string, unknown> | undefined {
  const own = params?.["seed"];
  if (seed === undefined || (typeof own === "number" && own > 0)) return params;
  return { ...params, seed };
}
