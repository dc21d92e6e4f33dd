// Records what the installed pi sends to its model (system prompt and tools) into models/nano/.cache/pi, where pi_prompt.py
// finds it. The text is pi's, not ours, so it is not part of the repository.
//
//   node models/nano/record_pi.ts                       the pi of node_modules
//   DS4_TEST_PI=/path/to/cli.js node models/nano/record_pi.ts      another one
import fs from "node:fs";
import path from "node:path";
import { Sandbox } from "../../tests/e2e/support/pi.ts";

const folder = path.join(import.meta.dirname, ".cache", "pi");
const sandbox = new Sandbox();
try {
  const version = (await sandbox.run(["--version"])).stdout.trim();
  await sandbox.install();
  await sandbox.prompt("hello");
  const body = sandbox.chatBodies().find((one) => one["tools"]);
  if (!body) throw new Error("pi sent no request with tools");
  fs.mkdirSync(folder, { recursive: true });
  fs.writeFileSync(path.join(folder, `pi-${version}.json`), JSON.stringify({ body }));
  console.log(`recorded pi ${version}: ${body["tools"].length} tools, a system prompt of ${body["messages"][0].content.length} characters`);
} finally {
  sandbox.remove();
}
