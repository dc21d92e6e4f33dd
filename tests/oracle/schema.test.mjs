// Structured output against ajv: whatever the masks let a random walk write must validate, and documents that
// validate and are written canonically must be let in. The table: tests/fixtures/constraint/schemas.jsonl, one
// {"name", "schema", "good": [documents], "bad": [documents]} or {"name", "schema", "refused": PATH} a line.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { test } from "node:test";
import Ajv from "ajv/dist/2020.js";
import addFormats from "ajv-formats";

const root = new URL("../..", import.meta.url).pathname;
const probe = process.env.DS4_SCHEMA_PROBE ?? `${root}/build/release/bin/schema_probe`;
const model = process.env.DS4_NANO ?? `${root}/models/nano/ds4-nano.gguf`;
const walks = Number(process.env.DS4_SCHEMA_WALKS ?? 12);
const seed = Number(process.env.DS4_SCHEMA_SEED ?? 42);

const table = readFileSync(`${root}/tests/fixtures/constraint/schemas.jsonl`, "utf8")
    .split("\n").filter((line) => line !== "").map((line) => JSON.parse(line));
const text = (document) => (typeof document === "object" && document !== null && "$text" in document
    ? document.$text : JSON.stringify(document));

async function ask(lines) {
    const child = spawn(probe, [model], { stdio: ["pipe", "pipe", "inherit"] });
    child.stdin.end(lines.map((line) => JSON.stringify(line) + "\n").join(""));
    const answers = [];
    for await (const line of createInterface({ input: child.stdout })) answers.push(JSON.parse(line));
    const code = child.exitCode ?? await new Promise((done) => child.on("exit", done));
    assert.equal(code, 0, "schema_probe failed");
    return answers;
}

const answers = await ask(table.map((row, index) => ({
    schema: row.schema, walks: row.refused !== undefined ? 0 : walks, seed: seed * 1000 + index,
    brute: index % 4 === 0 ? 4 : 1,
    documents: [...(row.good ?? []), ...(row.bad ?? [])].map(text),
})));

test("the table is as large as it says", () => {
    assert.equal(answers.length, table.length);
    assert.ok(table.filter((row) => row.refused === undefined).length >= 60);
});

for (const [index, row] of table.entries()) {
    const answer = answers[index];
    if (row.refused !== undefined) {
        test(`refused: ${row.name}`, () => {
            assert.equal(answer.path, row.refused, answer.error ?? "it was accepted");
            assert.ok(answer.error.startsWith(row.refused), answer.error);
        });
        continue;
    }
    test(row.name, () => {
        assert.equal(answer.error, undefined);
        const ajv = addFormats.default(new Ajv.default({ strict: false, allErrors: true }));
        const validate = ajv.compile(row.schema);
        for (const document of answer.walks) {
            const value = JSON.parse(document);
            assert.ok(validate(value),
                `seed ${seed}: ${document}\n${ajv.errorsText(validate.errors)}`);
        }
        const good = row.good ?? [];
        for (const [i, document] of good.entries()) {
            assert.ok(validate(JSON.parse(text(document))), `the table is wrong: ${text(document)}`);
            assert.ok(answer.accepted[i], `not let in: ${text(document)}`);
        }
        for (const [i, document] of (row.bad ?? []).entries())
            assert.ok(!answer.accepted[good.length + i], `let in: ${text(document)}`);
    });
}
