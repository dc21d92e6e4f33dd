// Runs download_model.sh and tells how far it is. The script does the work, so that it can be used without pi as well.
import { spawn } from "node:child_process";
import path from "node:path";
import { plainText } from "./log.ts";
import type { Tell } from "./launch.ts";
import { findModel, NoModelError } from "./locate.ts";
import type { Settings } from "./settings.ts";
import { StartError } from "./start-error.ts";

/** The model does not fit on this machine: the toy could stand in. */
export class NoRoomError extends NoModelError {}

/** The model file, fetched if it is not here. Offline only a mirror on this machine is asked. */
export async function provideModel(settings: Settings, packageDir: string, tell: Tell, signal: AbortSignal): Promise<string> {
  try {
    return findModel(settings, packageDir);
  } catch (error) {
    if (!(error instanceof NoModelError) || settings.offline) throw error;
    await downloadModel(settings, packageDir, tell, signal);
    return path.join(settings.ggufDir, settings.modelFile);
  }
}

const NO_ROOM_STATUS = 3;

export interface Report {
  phase: string;
  done: number;
  total: number;
  /** Bytes a second; 0 while unknown. */
  rate: number;
  /** Seconds. */
  eta: number;
}

const PHASES: Record<string, string> = {
  download: "fetching the model", waiting: "waiting to go on fetching the model", verify: "checking the model's SHA-256 (some minutes)",
};

export function describeTime(seconds: number): string {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 90 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}

export function describeReport(report: Report): string {
  const percent = report.total > 0 ? Math.floor((report.done / report.total) * 100) : 0;
  const amount = `${percent} % (${(report.done / 1e9).toFixed(1)} of ${(report.total / 1e9).toFixed(1)} GB`;
  const speed = report.rate > 0 ? `, ${(report.rate / 1e6).toFixed(1)} MB/s, ${describeTime(report.eta)} left` : "";
  return `ds4: ${PHASES[report.phase] ?? report.phase} ${amount}${speed})`;
}

export function parseReport(line: string): Report | undefined {
  try {
    const { phase, done, total, rate, eta } = JSON.parse(line) as Record<string, unknown>;
    if (typeof phase !== "string") return undefined;
    const number = (value: unknown) => (typeof value === "number" && Number.isFinite(value) ? value : 0);
    return { phase, done: number(done), total: number(total), rate: number(rate), eta: number(eta) };
  } catch {
    return undefined;
  }
}

/** Calls `take` with each line, whole. */
function onLines(stream: NodeJS.ReadableStream, take: (line: string) => void): void {
  let rest = "";
  stream.setEncoding("utf8");
  stream.on("data", (piece: string) => {
    const lines = (rest + piece).split("\n");
    rest = lines.pop() ?? "";
    lines.forEach(take);
  });
  stream.on("end", () => rest !== "" && take(rest));
}

/** Fetches the model, or goes on with it. The script ends when this process does: guard.sh sees to that. */
export function downloadModel(settings: Settings, packageDir: string, tell: Tell, signal: AbortSignal): Promise<void> {
  const script = (name: string) => path.join(packageDir, "extension", name);
  const env = {
    ...process.env,
    DS4_MODEL_REPO: settings.modelRepo,
    DS4_MODEL_FILE: settings.modelFile,
    DS4_GGUF_DIR: settings.ggufDir,
    HF_ENDPOINT: settings.modelHost,
    DS4_IGNORE_MEMORY: settings.ignoreMemory ? "1" : "0",
  };
  const child = spawn("/bin/sh", [script("guard.sh"), "--group", "/bin/sh", script("download_model.sh"), "q2", "--json-progress"], {
    env, detached: true, stdio: ["pipe", "pipe", "pipe"],
  });
  child.stdin.on("error", () => undefined);
  const stop = () => child.stdin.end();
  signal.addEventListener("abort", stop, { once: true });
  const said: string[] = [];
  onLines(child.stdout, (line) => {
    const report = parseReport(line);
    if (report !== undefined) tell(describeReport(report));
  });
  onLines(child.stderr, (line) => {
    const text = plainText(line).replace(/^ds4 download: /, "");
    if (text.trim() !== "") said.push(text);
  });
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (status) => {
      signal.removeEventListener("abort", stop);
      if (signal.aborted) return reject(signal.reason as Error);
      if (status === 0) return resolve();
      const sentence = `The model could not be fetched: ${said.at(-1) ?? `download_model.sh ended with status ${status}`}`;
      reject(status === NO_ROOM_STATUS ? new NoRoomError(sentence) : new StartError(sentence, [], undefined, "download"));
    });
  });
}
