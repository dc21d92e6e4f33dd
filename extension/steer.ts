// /ds4 steer N: how strongly the requests of this pi are steered. The server holds the direction and sets the limits.
import { steerNow } from "./engine.ts";
import { readStatus } from "./health.ts";
import type { Settings } from "./settings.ts";

/** The member "steering" of a request; undefined leaves the dial to the server. */
export function steeringOfRequest(scale: number | undefined): Record<string, number> | undefined {
  if (scale === undefined) return undefined;
  return scale === 0 ? { ffn: 0, attn: 0 } : { ffn: scale };
}

/** What `/ds4 status` says of it; undefined where this pi asks for nothing of its own. */
export function describeSteer(): string | undefined {
  const scale = steerNow();
  if (scale === undefined) return undefined;
  return scale === 0 ? "Steering is off for this pi." : `Steering strength is ${scale} for this pi.`;
}

function present(settings: Settings): string {
  if (settings.steering === undefined) return "Steering is off: DS4_DIR_STEERING_FILE names no direction file, or its strength is 0.";
  const { ffn, attn, policy } = settings.steering;
  return describeSteer() ?? `Steering: ffn ${ffn}, attn ${attn}, policy ${policy}.`;
}

/** `port`: of the running server; without one the next request finds out what its server allows. Throws what is wrong. */
export async function steer(settings: Settings, port: number | undefined, word: string | undefined): Promise<string> {
  if (word === undefined) return present(settings);
  const scale = word === "off" ? 0 : Number(word);
  if (!Number.isFinite(scale)) throw new Error(`The strength must be a number, or off, not "${word}".`);
  if (scale !== 0) {
    if (settings.steering === undefined) throw new Error("Nothing can be steered: DS4_DIR_STEERING_FILE names no direction file.");
    const most = port === undefined ? 100 : await limitOf(port);
    if (Math.abs(scale) > most) throw new Error(`The strength must be from -${most} to ${most}, not ${word}.`);
  }
  steerNow(scale);
  return describeSteer() as string;
}

async function limitOf(port: number): Promise<number> {
  const dial = (await readStatus(port))?.["steering"] as { max_scale?: unknown } | null | undefined;
  if (dial === undefined) throw new Error("The engine that runs takes no steering from a request; DS4_DIR_STEERING_FFN and /ds4 restart change its own.");
  if (dial === null) throw new Error("The running server was started without a direction file: /ds4 restart gives it the one of this pi.");
  return typeof dial.max_scale === "number" ? dial.max_scale : 100;
}
