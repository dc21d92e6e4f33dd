// Finds the server program and the model file. A name the user gave must work; otherwise known places are searched.
import fs from "node:fs";
import path from "node:path";
import type { Settings } from "./settings.ts";

export class NotFoundError extends Error {}
/** Neither a model was named nor one found where models lie: the toy could stand in. */
export class NoModelError extends NotFoundError {}

export const SERVER = "ds4-server";
const MODEL_FILE = "ds4flash.gguf";
const NANO_FILE = path.join("models", "nano", "ds4-nano.gguf");
export const NANO_IS_A_TOY = "ds4-nano is a toy of 13 million parameters: it shows how things work, not what V4 Flash can do";

export function isExecutableFile(file: string): boolean {
  try {
    fs.accessSync(file, fs.constants.X_OK);
    return fs.statSync(file).isFile();
  } catch {
    return false;
  }
}

function isFile(file: string): boolean {
  try {
    return fs.statSync(file).isFile();
  } catch {
    return false;
  }
}

function whatIsWrong(file: string): string {
  if (!fs.existsSync(file)) return "which does not exist";
  return isFile(file) ? "which is not executable" : "which is not a file";
}

export function inCheckout(dir: string): string[] {
  return [path.join(dir, SERVER), path.join(dir, "build", "release", "bin", SERVER)];
}

/** The program that DS4_SERVER_BINARY names; undefined where it names none. */
export function namedServer(settings: Settings): string | undefined {
  const { serverBinary } = settings;
  if (serverBinary === undefined || isExecutableFile(serverBinary)) return serverBinary;
  throw new NotFoundError(`DS4_SERVER_BINARY names ${serverBinary}, ${whatIsWrong(serverBinary)}.`);
}

export function isNano(modelPath: string): boolean {
  return path.basename(modelPath) === path.basename(NANO_FILE);
}

/** `packageDir` is this package's own root, where the toy lies. */
export function findModel(settings: Settings, packageDir: string): string {
  if (settings.modelPath !== undefined) {
    if (isFile(settings.modelPath)) return settings.modelPath;
    throw new NotFoundError(
      `DS4_MODEL names ${settings.modelPath}, which ${fs.existsSync(settings.modelPath) ? "is not a file" : "does not exist"}.`,
    );
  }
  if (settings.modelQuant === "nano") {
    const nano = path.join(packageDir, NANO_FILE);
    if (isFile(nano)) return nano;
    throw new NotFoundError(`DS4_MODEL_QUANT is nano, but ${nano} is missing: this copy of the package is incomplete.`);
  }
  const candidates = [
    ...(settings.runtimeDir === undefined ? [] : [path.join(settings.runtimeDir, MODEL_FILE)]),
    path.join(settings.ggufDir, "..", MODEL_FILE),
    path.join(settings.ggufDir, settings.modelFile),
  ];
  for (const file of new Set(candidates)) if (isFile(file)) return file;
  throw new NoModelError(
    `No model found. Looked for ${candidates.join(", ")}. Set DS4_MODEL to a GGUF file of DeepSeek V4 Flash, ` +
      "or try the toy that comes with this package: DS4_MODEL_QUANT=nano.",
  );
}
