// The pi package: provider "ds4" with the model deepseek-v4-flash, served by a ds4-server on this machine.
// pi calls the factory also where no session follows (--list-models), so it only registers; docs/pi.md tells the rest.
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import type { ExtensionAPI, ExtensionContext } from "@earendil-works/pi-coding-agent";
import { registerCommand } from "./commands.ts";
import { beginHeart, type Engine, engineOrigin, ensureEngine, leave, pauseHeart, steerNow, takeWarnings } from "./engine.ts";
import { NANO_IS_A_TOY, NoModelError } from "./locate.ts";
import { APIS, describeModel } from "./model.ts";
import { type Display, makeDisplay } from "./progress.ts";
import { PROVIDER_ID, readSettings, type Settings, SettingsError } from "./settings.ts";
import { steeringOfRequest } from "./steer.ts";
import { makeStream } from "./stream.ts";

const PACKAGE_DIR = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");

function settingsNow(): Settings {
  return readSettings(process.env, os.homedir(), process.cwd());
}

/** For pi's list of models; a wrong variable is reported by the first request, not by `pi --help`. */
function settingsForList(): Settings {
  try {
    return settingsNow();
  } catch (error) {
    if (error instanceof SettingsError) return readSettings({}, os.homedir(), process.cwd());
    throw error;
  }
}

/** Whether the user, asked once per pi, lets the toy stand in for the missing model. */
async function acceptsToy(context: ExtensionContext | undefined, why: string): Promise<boolean> {
  if (context?.hasUI !== true) return false;
  return context.ui.confirm("No model of DeepSeek V4 Flash on this machine", `${why}\n\nGo on with the toy instead? ${NANO_IS_A_TOY}.`);
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
      toyAccepted = await acceptsToy(context, error.message);
      if (!toyAccepted) throw error;
      return ensure({ ...settings, modelQuant: "nano" });
    }
  }

  const listed = settingsForList();
  pi.registerProvider(PROVIDER_ID, {
    name: "DS4 (this machine)",
    // Never contacted as it stands: each request gets the address of the server that runs.
    baseUrl: `${engineOrigin(listed.port)}/v1`,
    api: APIS[listed.protocol],
    apiKey: "dsv4-local",
    models: [describeModel(listed.protocol, listed.contextTokens, listed.maxOutputTokens)],
    streamSimple: makeStream(async (signal) => {
      const settings = settingsNow();
      const engine = await start(settings, signal);
      for (const warning of takeWarnings()) display?.warn(warning);
      const steering = steeringOfRequest(steerNow());
      return { origin: engineOrigin(engine.port), seed: settings.seed, extra: steering === undefined ? undefined : { steering } };
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

  registerCommand(pi, {
    packageDir: PACKAGE_DIR,
    settings: settingsNow,
    start: (signal) => start(settingsNow(), signal),
    show: (text) => display?.show(text),
  });
}
