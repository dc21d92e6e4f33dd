// Shows what the server is doing: in pi's status line where there is one, otherwise on standard error.
import type { ExtensionContext } from "@earendil-works/pi-coding-agent";

export interface Display {
  show(text: string | undefined): void;
  warn(text: string): void;
}

/** Print and JSON mode own standard output, so only standard error is free. Of lines that differ only
 * in their numbers one in every ten percent is written. */
export function makeErrorDisplay(write: (line: string) => void): Display {
  let last = "";
  return {
    show(text) {
      if (text === undefined) {
        last = "";
        return;
      }
      const coarse = text.replace(/(\d+) %/, (_, percent: string) => `${Math.floor(Number(percent) / 10) * 10} %`);
      const key = coarse.replace(/ % .*/, " %");
      if (key === last) return;
      last = key;
      write(`${key === coarse ? coarse : text}\n`);
    },
    warn: (text) => write(`ds4: warning: ${text}\n`),
  };
}

export function makeDisplay(context: ExtensionContext): Display {
  if (!context.hasUI) return makeErrorDisplay((line) => process.stderr.write(line));
  return {
    show(text) {
      try {
        context.ui.setStatus("ds4", text);
      } catch {
        // The session was replaced meanwhile; its context is no longer valid and its status line is gone.
      }
    },
    warn(text) {
      try {
        context.ui.notify(`ds4: ${text}`, "warning");
      } catch {
        // As above.
      }
    },
  };
}
