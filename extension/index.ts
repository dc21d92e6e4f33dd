// The pi package: provider "ds4" with the model deepseek-v4-flash, served by a ds4-server on this machine.
// pi calls the factory also where no session follows (--list-models), so it only registers; docs/pi.md tells the rest.
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import type { ExtensionAPI, ExtensionContext } from "@earendil-works/pi-coding-agent";
import { currentEngine, type Engine, engineUrl, ensureEngine, stopEngine } from "./engine.ts";
import { logPath } from "./log.ts";
import { isNano, NANO_IS_A_TOY, NoModelError } from "./locate.ts";
import { describeModel } from "./model.ts";
import { type Display, makeDisplay } from "./progress.ts";
import {
  DEFAULT_CONTEXT_KILOTOKENS,
  DEFAULT_MAX_OUTPUT_TOKENS,
  PROVIDER_ID,
  readSettings,
  type Settings,
  SettingsError,
} from "./settings.ts";
import { makeStream } from "./stream.ts";

const PACKAGE_DIR = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");
/** pi waits this long for the server's end on quit; guard.sh finishes what takes longer. */
const QUIT_WAIT_MS = 3000;

function settingsNow(): Settings {
  return readSettings(process.env, os.homedir(), process.cwd());
}

/** The entry for pi's list of models; a wrong variable is reported by the first request, not by `pi --help`. */
function modelNow(): ReturnType<typeof describeModel> {
  try {
    const { contextTokens, maxOutputTokens } = settingsNow();
    return describeModel(contextTokens, maxOutputTokens);
  } catch (error) {
    if (error instanceof SettingsError) return describeModel(DEFAULT_CONTEXT_KILOTOKENS * 1000, DEFAULT_MAX_OUTPUT_TOKENS);
    throw error;
  }
}

function describeState(): string {
  const engine = currentEngine();
  if (engine === undefined) return "ds4: no server yet; the first request starts it.";
  if (engine.ended !== undefined) return `ds4: the server ended ${engine.ended}; the next request starts it again.`;
  const state = engine.ready ? `serving at ${engineUrl(engine)}` : "starting";
  const toy = isNano(engine.modelPath) ? `\n${NANO_IS_A_TOY}.` : "";
  return `ds4: ${state}, model ${engine.modelPath}${toy}`;
}

/** Whether the user, asked once per pi, lets the toy stand in for the missing model. */
async function acceptsToy(context: ExtensionContext | undefined): Promise<boolean> {
  if (context?.hasUI !== true) return false;
  return context.ui.confirm("No model of DeepSeek V4 Flash on this machine", `Go on with the toy instead? ${NANO_IS_A_TOY}.`);
}

export default function (pi: ExtensionAPI): void {
  let display: Display | undefined;
  let context: ExtensionContext | undefined;
  let toyAccepted: boolean | undefined;

  async function start(settings: Settings, signal: AbortSignal | undefined): Promise<Engine> {
    const ensure = (wanted: Settings) => ensureEngine(wanted, PACKAGE_DIR, (text) => display?.show(text), signal);
    try {
      return await ensure(toyAccepted === true ? { ...settings, modelQuant: "nano" } : settings);
    } catch (error) {
      if (!(error instanceof NoModelError) || toyAccepted !== undefined) throw error;
      toyAccepted = await acceptsToy(context);
      if (!toyAccepted) throw error;
      return ensure({ ...settings, modelQuant: "nano" });
    }
  }

  pi.registerProvider(PROVIDER_ID, {
    name: "DS4 (this machine)",
    // Never contacted as it stands: each request gets the address of the server that was started for it.
    baseUrl: "http://127.0.0.1:8000/v1",
    api: "openai-completions",
    apiKey: "dsv4-local",
    models: [modelNow()],
    streamSimple: makeStream(async (signal) => {
      const settings = settingsNow();
      const engine = await start(settings, signal);
      return { baseUrl: engineUrl(engine), seed: settings.seed };
    }),
  });

  pi.on("session_start", (_event, current) => {
    context = current;
    display = makeDisplay(current);
  });

  pi.on("session_shutdown", async (event) => {
    display = undefined;
    context = undefined;
    if (event.reason === "quit") await stopEngine(QUIT_WAIT_MS);
  });

  pi.registerCommand("ds4", {
    description: "Show what the local DeepSeek V4 Flash server is doing",
    handler: async (_args, current) => {
      current.ui.notify(`${describeState()}\nLog: ${logPath(settingsNow().stateDir)}`, "info");
    },
  });
}
