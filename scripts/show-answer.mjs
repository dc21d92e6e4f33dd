// Prints pi's answer while it arrives, with the tools that it calls. Reads the records of `pi --mode json`. Exit status 1
// when the answer failed or lacks one of the words given as arguments; after --any no word is needed.
import readline from "node:readline";

const needed = process.argv[2] === "--any" ? [] : process.argv.slice(2);
let said = "";
let failure;
/** A model's bytes may hold terminal controls; line feeds may stay. */
const printable = (text) => text.replace(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/g, "\ufffd");

for await (const line of readline.createInterface({ input: process.stdin })) {
  const record = JSON.parse(line);
  const event = record.assistantMessageEvent;
  if (record.type === "message_update" && event?.type === "text_delta") {
    said += event.delta;
    process.stdout.write(printable(event.delta));
  }
  if (record.type === "tool_execution_start") {
    process.stdout.write(printable(`[${record.toolName}: ${JSON.stringify(record.args)}]\n`));
  }
  if (record.type === "message_end" && record.message.stopReason === "error") failure = record.message.errorMessage;
}
process.stdout.write("\n\n");
const missing = needed.filter((word) => !said.includes(word));
if (failure !== undefined || missing.length > 0) {
  console.error(`demo: failed: ${failure ?? `the answer does not name ${missing.join(", ")}`}`);
  process.exit(1);
}
console.log(`demo: ${said.length} characters arrived through pi`);
