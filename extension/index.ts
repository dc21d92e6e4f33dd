// The pi package: provider "ds4" with the model deepseek-v4-flash, served by a ds4-server on this machine.
// pi calls the factory also where no session follows (--list-models), so it only registers; docs/pi.md tells the rest.
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import type { ExtensionAPI, ExtensionContext } from "@earendil-works/pi-coding-agent";
import { beginHeart, currentEngine, type Engine, engineUrl, ensureEngine, isStarting, leave, pauseHeart, takeWarnings } from "./engine.ts";
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
  if (engine === undefined) return isStarting() ? "ds4: starting" : "ds4: no server yet; the first request starts it.";
  const toy = engine.model !== undefined && isNano(engine.model) ? `
${NANO_IS_A_TOY}.` : "";
  return `ds4: serving at ${engineUrl(engine)}, model ${engine.model ?? "of a server that somebody else started"}${toy}`;
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
      for (const warning of takeWarnings()) display?.warn(warning);
      return { baseUrl: engineUrl(engine), seed: settings.seed };
    }),
  });

  pi.on("session_start", (_event, current) => {
    context = current;
    display = makeDisplay(current);
    beginHeart(PACKAGE_DIR);
  });

  pi.on("session_shutdown", (event) => {
    display = undefined;
    context = undefined;
    if (event.reason === "quit") leave();
    else pauseHeart();
  });

  pi.registerCommand("ds4", {
    description: "Show what the local DeepSeek V4 Flash server is doing",
    handler: async (_args, current) => {
      current.ui.notify(`${describeState()}\nLog: ${logPath(settingsNow().stateDir)}`, "info");
    },
  });
}
