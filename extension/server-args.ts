// The command line of the server. An engine that does not know a flag is not given it: engines of the ds4 family differ.
import { execFile } from "node:child_process";
import os from "node:os";
import type { Settings } from "./settings.ts";

const GIB = 2 ** 30;

/** What the disk cache may take in MiB: small machines are likely to have small disks. */
export function kvDiskDefault(memoryBytes: number): number {
  if (memoryBytes < 32 * GIB) return 2048;
  return memoryBytes < 64 * GIB ? 4096 : 8192;
}

export interface FlagGroup {
  /** What is lost without it. */
  what: string;
  args: string[];
}

/** Flags an engine may lack, in groups that make sense only together. */
export function optionalFlags(settings: Settings, kvDir: string, platform: string, memoryBytes: number): FlagGroup[] {
  const groups: FlagGroup[] = [];
  const kvMb = settings.kvDiskSpaceMb ?? kvDiskDefault(memoryBytes);
  if (kvMb > 0) groups.push({ what: "the disk cache", args: ["--kv-disk-dir", kvDir, "--kv-disk-space-mb", String(kvMb)] });
  if (settings.steering !== undefined) {
    const { file, ffn, attn, policy } = settings.steering;
    groups.push({
      what: "steering",
      args: ["--dir-steering-file", file, "--dir-steering-ffn", String(ffn), "--dir-steering-attn", String(attn)],
    });
    groups.push({ what: "the steering policy", args: ["--dir-steering-policy", policy] });
  }
  const mt = settings.mt ?? (platform === "darwin" ? "auto" : undefined);
  if (mt !== undefined) groups.push({ what: "the choice of Metal tensor routes", args: ["--mt", mt] });
  return groups;
}

/** All flags that a help text mentions. */
export function flagsIn(help: string): Set<string> {
  return new Set(help.match(/(?<![\w-])--?[a-z][a-z0-9-]*/g) ?? []);
}

function helpOf(binary: string): Promise<string> {
  return new Promise((resolve) => {
    execFile(binary, ["--help"], { timeout: 10_000, maxBuffer: 1 << 20 }, (_error, stdout, stderr) => resolve(stdout + stderr));
  });
}

export function chooseFlags(groups: FlagGroup[], known: Set<string>): { args: string[]; missing: FlagGroup[] } {
  const fits = (group: FlagGroup) => group.args.filter((arg) => arg.startsWith("--")).every((flag) => known.has(flag));
  return { args: groups.filter(fits).flatMap((group) => group.args), missing: groups.filter((group) => !fits(group)) };
}

/** The arguments, and a warning when the engine cannot do all that the settings ask for. */
export async function serverArgs(
  settings: Settings,
  binary: string,
  model: string,
  kvDir: string,
): Promise<{ args: string[]; warning: string | undefined }> {
  const base = ["-m", model, "--ctx", String(settings.contextTokens), "--host", "127.0.0.1", "--port", String(settings.port)];
  const groups = optionalFlags(settings, kvDir, process.platform, os.totalmem());
  const { args, missing } = chooseFlags(groups, flagsIn(await helpOf(binary)));
  const flags = missing.flatMap((group) => group.args.filter((arg) => arg.startsWith("--")));
  const warning =
    missing.length === 0
      ? undefined
      : `${binary} does not know ${flags.join(", ")}: it runs without ${missing.map((group) => group.what).join(" and ")}.`;
  return { args: [...base, ...args], warning };
}
