// Prints the text of pi's answer while it arrives. Reads the records of `pi --mode json`; exit status 1 when the
// answer failed, 3 when it held no text.
import readline from "node:readline";

let characters = 0;
let failure;
/** Random bytes may hold terminal controls; line feeds may stay. */
const printable = (text) => text.replace(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/g, "\ufffd");

for await (const line of readline.createInterface({ input: process.stdin })) {
  const record = JSON.parse(line);
  const event = record.assistantMessageEvent;
  if (record.type === "message_update" && event?.type === "text_delta") {
    characters += event.delta.length;
    process.stdout.write(printable(event.delta));
  }
  if (record.type === "message_end" && record.message.stopReason === "error") failure = record.message.errorMessage;
}
process.stdout.write("\n\n");
if (failure !== undefined) {
  console.error(`demo: failed: ${failure}`);
  process.exit(1);
}
if (characters === 0) {
  console.error("demo: the answer held no text");
  process.exit(3);
}
console.log(`demo: ${characters} characters arrived through pi`);
