// Collects reference answers for `ds4-gguf score`: asks an OpenAI-style server one question after the other, greedily and
// without thinking, and writes one case per answer.
//   usage: node scripts/collect-references.mjs --prompts FILE.jsonl --out CASES.jsonl [--endpoint URL] [--model NAME]
//                                              [--count N] [--max-tokens N]
// FILE.jsonl: {"id", "prompt"} or {"id", "request"} (a chat-completions body) per line. The key for the endpoint comes from
// DEEPSEEK_API_KEY. Cases that OUT already has are not asked again, so an interrupted run continues. A reply of 429 or 5xx and a
// broken connection are tried again, up to six times in all.
import fs from "node:fs";
import { parseArgs } from "node:util";

const TRIES = 6;
const FIRST_DELAY_MS = Number(process.env.DS4_COLLECT_DELAY_MS ?? 1000);
const DELAY_FACTOR = 1.7;

/** An answer that another try will not change. */
class Refused extends Error {}

function options() {
  const { values } = parseArgs({
    options: {
      prompts: { type: "string" },
      out: { type: "string" },
      endpoint: { type: "string", default: "https://api.deepseek.com/chat/completions" },
      model: { type: "string", default: "deepseek-v4-flash" },
      count: { type: "string", default: "0" },
      "max-tokens": { type: "string", default: "24" },
    },
  });
  if (!values.prompts || !values.out) throw new Error("--prompts FILE and --out FILE are needed");
  const count = Number(values.count);
  const maxTokens = Number(values["max-tokens"]);
  if (!Number.isInteger(count) || count < 0) throw new Error(`--count ${values.count}: expected a whole number`);
  if (!Number.isInteger(maxTokens) || maxTokens < 1) throw new Error(`--max-tokens ${values["max-tokens"]}: expected 1 or more`);
  return { ...values, count, maxTokens };
}

function readLines(file) {
  const records = fs.readFileSync(file, "utf8").split("\n").filter((line) => line.trim() !== "");
  return records.map((line, i) => {
    const record = JSON.parse(line);
    const given = typeof record.prompt === "string" || (typeof record.request === "object" && record.request !== null);
    if (typeof record.id !== "string" || !given) throw new Error(`${file} record ${i + 1}: needs "id" and "prompt" or "request"`);
    return record;
  });
}

function requestOf(record, { model, maxTokens }) {
  return {
    messages: [{ role: "user", content: record.prompt }],
    ...record.request,
    model,
    max_tokens: maxTokens,
    temperature: 0,
    thinking: { type: "disabled" },
    stream: false,
  };
}

async function askOnce(endpoint, request) {
  const headers = { "content-type": "application/json" };
  if (process.env.DEEPSEEK_API_KEY) headers.authorization = `Bearer ${process.env.DEEPSEEK_API_KEY}`;
  const reply = await fetch(endpoint, { method: "POST", headers, body: JSON.stringify(request) });
  const text = await reply.text();
  if (reply.status === 429 || reply.status >= 500) throw new Error(`${reply.status}: ${text.slice(0, 200)}`);
  if (!reply.ok) throw new Refused(`${reply.status}: ${text.slice(0, 200)}`);
  const choice = JSON.parse(text).choices?.[0];
  if (typeof choice?.message !== "object") throw new Refused(`no choices[0].message in ${text.slice(0, 200)}`);
  return choice;
}

async function ask(endpoint, request) {
  let delay = FIRST_DELAY_MS;
  for (let attempt = 1; ; attempt++, delay *= DELAY_FACTOR) {
    try {
      return await askOnce(endpoint, request);
    } catch (error) {
      if (error instanceof Refused || attempt === TRIES) throw error;
      console.error(`try ${attempt} of ${TRIES}: ${error.message}`);
      await new Promise((resolve) => setTimeout(resolve, delay));
    }
  }
}

/** An answer that was cut off has no end of sentence: then only its text is a reference. */
function caseOf(record, request, choice) {
  const { role, content, tool_calls } = choice.message;
  const { model, max_tokens, temperature, stream, ...kept } = request;
  const common = { id: record.id, ...(record.weight !== undefined ? { weight: record.weight } : {}) };
  if (choice.finish_reason !== "length") return { ...common, request: kept, reference: { role, content: content ?? "", tool_calls } };
  if (typeof record.prompt === "string" && content) return { ...common, prompt: record.prompt, continuation: content };
  return undefined;
}

async function main() {
  const chosen = options();
  let records = readLines(chosen.prompts);
  if (chosen.count > 0) records = records.slice(0, chosen.count);
  const have = new Set(fs.existsSync(chosen.out) ? readDone(chosen.out) : []);
  let asked = 0;
  let left = 0;
  for (const record of records.filter((r) => !have.has(r.id))) {
    const request = requestOf(record, chosen);
    const made = caseOf(record, request, await ask(chosen.endpoint, request));
    if (made === undefined) left++;
    else fs.appendFileSync(chosen.out, `${JSON.stringify(made)}\n`);
    asked++;
  }
  console.log(`${asked} asked, ${have.size} were there, ${left} left out (cut off and not plain text)`);
}

function readDone(file) {
  return fs.readFileSync(file, "utf8").split("\n").filter(Boolean).map((line) => JSON.parse(line).id);
}

try {
  await main();
} catch (error) {
  console.error(`collect-references: ${error.message}`);
  process.exit(1);
}
