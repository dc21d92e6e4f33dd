// Runs the tiers of the test suite and ends with one line "N passed, N failed[, N skipped]" that counts test cases.
//   node scripts/run-tests.mjs [--build build/release] [--tiers unit,oracle,...] [--label threads]
// unit, oracle, fuzz and api are registered with ctest under these labels; cli, extension and e2e are node:test files.
// --label keeps only those ctest tests that carry this label, too.
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { addTallies, countCtestJunit, countNodeJunit, summaryLine } from "./test-tally.mjs";

const CTEST_TIERS = ["unit", "oracle", "fuzz", "api"];
const NODE_TIERS = ["extension", "cli", "e2e"];

const root = path.resolve(import.meta.dirname, "..");
const { values } = parseArgs({
  options: {
    build: { type: "string", default: "build/release" },
    label: { type: "string" },
    tiers: { type: "string", default: [...CTEST_TIERS, ...NODE_TIERS].join(",") },
  },
});
const build = path.resolve(root, values.build);
const tiers = values.tiers.split(",");
const unknown = tiers.filter((tier) => ![...CTEST_TIERS, ...NODE_TIERS].includes(tier));
if (unknown.length > 0) {
  console.error(`run-tests: unknown tier: ${unknown.join(", ")}`);
  process.exit(2);
}
const results = path.join(build, "test-results");
fs.mkdirSync(results, { recursive: true });

/** A report that is missing or counts nothing while the runner failed must not look like success. */
function withExitStatus(tally, status, what) {
  if (status !== 0 && tally.failed === 0) {
    console.error(`run-tests: ${what} ended with ${status} although no test case reported a failure`);
    return { ...tally, failed: 1 };
  }
  return tally;
}

function readReport(file) {
  return fs.existsSync(file) ? fs.readFileSync(file, "utf8") : "";
}

function runCtest(labels, jobs) {
  const report = path.join(results, `ctest-${labels[0]}.xml`);
  fs.rmSync(report, { force: true });
  const run = spawnSync(
    "ctest",
    ["--test-dir", build, "-L", `^(${labels.join("|")})$`, ...(values.label ? ["-L", `^${values.label}$`] : []),
     "-j", String(jobs), "--output-on-failure", "--no-tests=error",
     "--test-output-size-passed", "100000", "--output-junit", report],
    { stdio: ["ignore", "inherit", "inherit"] },
  );
  return withExitStatus(countCtestJunit(readReport(report)), run.status ?? 1, "ctest");
}

function runNode(tier) {
  const dir = path.join(root, "tests", tier);
  const files = fs.existsSync(dir)
    ? fs.readdirSync(dir).filter((name) => /\.test\.(mjs|ts)$/.test(name)).map((name) => path.join(dir, name))
    : [];
  if (files.length === 0) {
    console.error(`run-tests: no test files in tests/${tier}`);
    return { passed: 0, failed: 1, skipped: 0 };
  }
  const report = path.join(results, `${tier}.xml`);
  fs.rmSync(report, { force: true });
  const run = spawnSync(
    process.execPath,
    ["--test", "--test-reporter=spec", "--test-reporter-destination=stdout", "--test-reporter=junit",
     `--test-reporter-destination=${report}`, ...files],
    { stdio: ["ignore", "inherit", "inherit"], env: { ...process.env, DS4_BIN_DIR: path.join(build, "bin") } },
  );
  return withExitStatus(countNodeJunit(readReport(report)), run.status ?? 1, `node --test (${tier})`);
}

const tallies = [];
// Nothing of another tier runs beside the api tier; which of its own tests may run together, tests/server.cmake says.
const together = tiers.filter((tier) => CTEST_TIERS.includes(tier) && tier !== "api");
if (together.length > 0) tallies.push([together.join("+"), runCtest(together, os.availableParallelism())]);
if (tiers.includes("api")) tallies.push(["api", runCtest(["api"], os.availableParallelism())]);
for (const tier of tiers.filter((name) => NODE_TIERS.includes(name))) tallies.push([tier, runNode(tier)]);

console.log("");
for (const [name, { passed, failed, skipped }] of tallies) {
  console.log(`tier ${name}: passed=${passed} failed=${failed} skipped=${skipped}`);
}
const total = addTallies(tallies.map(([, tally]) => tally));
if (total.passed === 0 && total.failed === 0) total.failed = 1;
console.log(summaryLine(total));
process.exit(total.failed > 0 ? 1 : 0);
