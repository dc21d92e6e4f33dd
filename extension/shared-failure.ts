// When several pi processes wait for one start and it fails, all of them show the failure and none tries again by itself.
import type { Settings } from "./settings.ts";
import { StartError } from "./start-error.ts";
import { readJson, type StatePaths, writeJson } from "./state-dir.ts";

/** Only a start that would have done the same fails the same way. */
function sameStart(settings: Settings): string {
  return JSON.stringify([settings.serverBinary, settings.runtimeDir, settings.supportRepo, settings.modelPath, settings.modelQuant,
    settings.modelRepo, settings.modelFile, settings.port]);
}

export function recordFailure(paths: StatePaths, settings: Settings, since: number, error: unknown): void {
  const { message, lines, logFile, speaker } =
    error instanceof StartError ? error : new StartError(error instanceof Error ? error.message : String(error));
  try {
    writeJson(paths.failure, { at: Date.now(), since, start: sameStart(settings), message, lines, logFile, speaker });
  } catch {
    // Nobody else will know, so they find out by themselves.
  }
}

/** The failure of a start that ended while this process waited for its turn. */
export function sharedFailure(paths: StatePaths, settings: Settings, waitingSince: number): StartError | undefined {
  const failure = readJson(paths.failure);
  if (failure === undefined || typeof failure["at"] !== "number" || failure["at"] < waitingSince) return undefined;
  if (failure["start"] !== sameStart(settings)) return undefined;
  return new StartError(String(failure["message"]), failure["lines"] as string[], failure["logFile"] as string, failure["speaker"] as string);
}
