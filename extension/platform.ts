// What an engine can be built for on this machine, and the programs and libraries that a build needs.
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { which } from "./program.ts";

export interface Target {
  /** A preset of the engine's CMakePresets.json. */
  preset: string;
  /** For the user: what it is built for, and why not for more. */
  said: string;
}

const CUDA_DIRS = ["/usr/local/cuda/bin", "/opt/cuda/bin"];

export interface Machine {
  platform: string;
  nvcc: string | undefined;
  gpu: string | undefined;
}

export function lookAtMachine(pathVariable: string): Machine {
  const nvcc = which("nvcc", pathVariable, CUDA_DIRS);
  const smi = which("nvidia-smi", pathVariable);
  const list = smi === undefined ? "" : spawnSync(smi, ["-L"], { encoding: "utf8", timeout: 5000 }).stdout;
  return { platform: process.platform, nvcc, gpu: /^GPU 0: (.*?)(?: \(UUID|$)/m.exec(list ?? "")?.[1] };
}

export function presetsOf(engineDir: string): string[] {
  try {
    const text = fs.readFileSync(path.join(engineDir, "CMakePresets.json"), "utf8");
    const { configurePresets } = JSON.parse(text) as { configurePresets?: { name?: string }[] };
    return (configurePresets ?? []).flatMap((preset) => (preset.name === undefined ? [] : [preset.name]));
  } catch {
    return [];
  }
}

export function chooseTarget(machine: Machine, presets: string[]): Target {
  if (machine.platform === "darwin") {
    if (presets.includes("metal")) return { preset: "metal", said: "Metal" };
    return { preset: "release", said: "the CPU (this engine has no Metal backend)" };
  }
  if (machine.gpu === undefined) return { preset: "release", said: "the CPU (no NVIDIA GPU is here)" };
  if (machine.nvcc === undefined) return { preset: "release", said: `the CPU (${machine.gpu} is here, but nvcc of the CUDA toolkit is not)` };
  if (!presets.includes("cuda")) return { preset: "release", said: "the CPU (this engine has no CUDA backend)" };
  return { preset: "cuda", said: `CUDA (${machine.gpu})` };
}

const APT = "gcc make cmake ninja-build pkg-config libevent-dev libjson-c-dev libedit-dev libxxhash-dev";
const BREW = "cmake ninja pkg-config libevent json-c libedit xxhash";
export const BUILD_PROGRAMS = ["make", "cmake", "ninja", "pkg-config"];

export function missingPrograms(pathVariable: string): string[] {
  const missing = BUILD_PROGRAMS.filter((name) => which(name, pathVariable) === undefined);
  const compiler = ["cc", "gcc", "clang"].some((name) => which(name, pathVariable) !== undefined);
  return compiler ? missing : ["a C compiler", ...missing];
}

export function installHint(pathVariable: string): string {
  if (which("apt-get", pathVariable) !== undefined) return `Install what a build needs: sudo apt-get install ${APT}`;
  if (which("brew", pathVariable) !== undefined) return `Install what a build needs: brew install ${BREW}`;
  return `Install what a build needs (Debian's names): ${APT}`;
}
