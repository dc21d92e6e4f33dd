// Writes a calibration corpus for `ds4-gguf imatrix collect`: the work of a coding agent in English and Chinese, one case per line
// ({"id", "request", "reference"}), half of them with thinking.
//   usage: node scripts/make-calibration.mjs [--seed N] [--cases N] > calibration.jsonl
// The same seed over the same sources gives the same bytes. Of a hundred cases about 40 are sessions with tools, 35 questions about
// pieces of source, 10 functions written to their description, 15 language. 2,000 cases are about 6 MB.
import path from "node:path";
import { parseArgs } from "node:util";
import { languageCase } from "./calibration/language.mjs";
import { Random } from "./calibration/random.mjs";
import { commentedFunctions, cut, namesIn, paragraphs, readSources } from "./calibration/sources.mjs";
import { transcriptCase } from "./calibration/transcripts.mjs";

const REVIEW = {
  en: ["What does this part of {file} do? Name its functions and types.", "Review this code ({file}). What would you look at first?", "Explain {file} from line {line} on."],
  zh: ["{file} 這一段程式碼在做什麼？請列出其中的名稱。", "請審查這段程式碼（{file}），你會先看哪裡？", "請說明 {file} 從第 {line} 行開始的部分。"],
};

function reviewCase(random, sources) {
  const piece = random.pick(cut(random.pick(sources), 30 + random.below(120)));
  if (piece === undefined) return undefined;
  const zh = random.chance(50);
  const question = random.pick(REVIEW[zh ? "zh" : "en"]).replace("{file}", piece.name).replace("{line}", piece.first);
  const names = namesIn(piece.text).slice(0, 6).map((name) => `\`${name}\``).join(zh ? "、" : ", ");
  const lines = piece.text.split("\n").length;
  return {
    messages: [{ role: "user", content: `${question}\n\n\`\`\`${piece.language}\n${piece.text}\n\`\`\`` }],
    reference: zh
      ? { content: `這一段共有 ${lines} 行，主要的名稱是 ${names}。`, reasoning_content: `先看看 ${piece.name} 裡出現了哪些名稱。` }
      : { content: `These ${lines} lines are about ${names}.`, reasoning_content: `I look at which names ${piece.name} defines and uses.` },
  };
}

function functionCase(random, functions) {
  const { comment, code, name } = random.pick(functions);
  const head = code.slice(0, code.indexOf("{")).trim();
  return {
    messages: [{ role: "user", content: `Write this function for ${name}:\n\n${comment}\n\n    ${head}` }],
    reference: { content: `\`\`\`c\n${code}\n\`\`\``, reasoning_content: `The signature is given: ${head.split("(")[0]}. I write the body.` },
  };
}

function proseCase(random, prose) {
  const chosen = random.some(prose, 2);
  return {
    messages: [{ role: "user", content: `Which of these two paragraphs is longer, and how does it begin?\n\n1. ${chosen[0]}\n\n2. ${chosen[1]}` }],
    reference: {
      content: chosen[0].length >= chosen[1].length ? `The first: "${chosen[0].slice(0, 60)}..."` : `The second: "${chosen[1].slice(0, 60)}..."`,
      reasoning_content: "I compare their lengths.",
    },
  };
}

function makeCase(random, material) {
  const share = random.below(100);
  if (share < 40) return transcriptCase(random, material.sources);
  if (share < 75) return reviewCase(random, material.sources);
  if (share < 85) return functionCase(random, material.functions);
  return share < 95 ? languageCase(random) : proseCase(random, material.prose);
}

function main() {
  const { values } = parseArgs({ options: { seed: { type: "string", default: "42" }, cases: { type: "string", default: "2000" } } });
  const wanted = Number(values.cases);
  if (!/^\d+$/.test(values.seed) || !Number.isInteger(wanted) || wanted < 1) throw new Error("--seed and --cases take whole numbers");
  const sources = readSources(path.resolve(import.meta.dirname, ".."));
  const material = { sources, functions: commentedFunctions(sources), prose: paragraphs(sources) };
  const random = new Random(values.seed);
  for (let made = 0; made < wanted; ) {
    const { messages, tools, reference } = makeCase(random, material) ?? {};
    if (messages === undefined) continue;
    const thinking = made % 2 === 0;
    if (!thinking) for (const message of [...messages, reference]) delete message.reasoning_content;
    const request = { messages, ...(tools ? { tools } : {}), thinking: { type: thinking ? "enabled" : "disabled" } };
    process.stdout.write(`${JSON.stringify({ id: `case-${made}`, request, reference: { role: "assistant", ...reference } })}\n`);
    made++;
  }
}

try {
  main();
} catch (error) {
  console.error(`make-calibration: ${error.message}`);
  process.exit(1);
}
