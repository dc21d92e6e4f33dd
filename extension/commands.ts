// The command /ds4: without a word the live log (in the terminal), else status, restart, stop, steer N, doctor.
import type { ExtensionAPI, ExtensionCommandContext } from "@earendil-works/pi-coding-agent";
import { currentEngine, engineOrigin, isStarting, stopServer } from "./engine.ts";
import { describeFindings, examine } from "./doctor.ts";
import { readStatus } from "./health.ts";
import { liveLeases, otherLeases } from "./lease.ts";
import { isNano, NANO_IS_A_TOY } from "./locate.ts";
import { logPath } from "./log.ts";
import { LogOverlay } from "./overlay.ts";
import { isServerRunning, readServer } from "./server-state.ts";
import type { Settings } from "./settings.ts";
import { statePaths } from "./state-dir.ts";
import { statusLines } from "./status-text.ts";
import { describeSteer, steer } from "./steer.ts";

export interface CommandNeeds {
  packageDir: string;
  settings(): Settings;
  /** Starts the server, with progress in the status line. */
  start(signal: AbortSignal | undefined): Promise<unknown>;
  show(text: string | undefined): void;
}

const WORDS: [string, string][] = [
  ["status", "what the server does"],
  ["restart", "stop the server and start it with the settings of this pi"],
  ["stop", "stop the server; the next prompt starts it"],
  ["steer", "steer N: strength of the steering direction for this pi"],
  ["doctor", "check this machine and say what to do"],
];

/** The port of the running server, also of one that another pi started. */
function runningPort(settings: Settings): number | undefined {
  const server = readServer(statePaths(settings.stateDir));
  return isServerRunning(server) ? server.port : currentEngine()?.port;
}

async function describe(settings: Settings): Promise<string[]> {
  const paths = statePaths(settings.stateDir);
  const server = readServer(paths);
  const engine = currentEngine();
  if (isServerRunning(server)) {
    const leases = liveLeases(paths).length;
    const state = server.state === "stopping" ? "stopping" : `serving at ${engineOrigin(server.port)}/v1`;
    const toy = isNano(server.model) ? [`${NANO_IS_A_TOY}.`] : [];
    return [`ds4: ${state}, model ${server.model}, used by ${leases === 1 ? "1 pi" : `${leases} pi processes`}`, ...toy];
  }
  if (engine !== undefined && engine.server === undefined) return [`ds4: serving at ${engineOrigin(engine.port)}/v1, started by somebody else`];
  if (isStarting()) return ["ds4: starting"];
  return ["ds4: no server runs; the next prompt starts it"];
}

async function fullStatus(settings: Settings): Promise<string[]> {
  const port = runningPort(settings);
  const lines = port === undefined ? [] : statusLines(await readStatus(port));
  const steered = describeSteer();
  return [...(await describe(settings)), ...lines, ...(steered === undefined ? [] : [steered])];
}

async function showOverlay(context: ExtensionCommandContext, needs: CommandNeeds): Promise<void> {
  const settings = needs.settings();
  await context.ui.custom<undefined>(
    (tui, theme, _keys, done) =>
      new LogOverlay(tui, (color, text) => theme.fg(color, text), () => done(undefined), {
        logFile: logPath(settings.stateDir), header: () => fullStatus(settings),
      }),
    { overlay: true, overlayOptions: { width: "90%", maxHeight: "90%", anchor: "center" } },
  );
}

export function registerCommand(pi: ExtensionAPI, needs: CommandNeeds): void {
  const stop = async (context: ExtensionCommandContext) => {
    const settings = needs.settings();
    const others = otherLeases(statePaths(settings.stateDir)).length;
    const said = await stopServer(settings, context.signal, needs.show);
    return others > 0 ? `${said} ${others} other pi processes used it; their next prompt starts it again.` : said;
  };
  const actions: Record<string, (context: ExtensionCommandContext, rest: string[]) => Promise<string>> = {
    status: async () => [...(await fullStatus(needs.settings())), `Log: ${logPath(needs.settings().stateDir)}`].join("\n"),
    stop: async (context) => stop(context),
    restart: async (context) => {
      await stop(context);
      await needs.start(context.signal);
      return (await describe(needs.settings())).join("\n");
    },
    steer: async (_context, [word]) => steer(needs.settings(), runningPort(needs.settings()), word),
    doctor: async () => describeFindings(await examine(needs.settings(), needs.packageDir)),
  };
  pi.registerCommand("ds4", {
    description: "The local DeepSeek V4 Flash server: live log; status, restart, stop, steer N, doctor",
    getArgumentCompletions: (prefix) =>
      WORDS.filter(([word]) => word.startsWith(prefix)).map(([value, description]) => ({ value, label: value, description })),
    handler: async (args, context) => {
      const [word = "", ...rest] = args.trim().split(/\s+/);
      if (word === "" && context.mode === "tui") return showOverlay(context, needs);
      const action = actions[word === "" ? "status" : word];
      if (action === undefined) return context.ui.notify(`/ds4 knows ${WORDS.map(([one]) => one).join(", ")}, not "${word}".`, "error");
      try {
        context.ui.notify(await action(context, rest), "info");
      } catch (error) {
        context.ui.notify(`ds4: ${error instanceof Error ? error.message : String(error)}`, "error");
      } finally {
        needs.show(undefined);
      }
    },
  });
}
