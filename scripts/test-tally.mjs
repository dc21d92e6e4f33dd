// Counts test cases in JUnit reports: ctest's (where one entry is a program that holds many cases) and node:test's.

export function addTallies(tallies) {
  const sum = { passed: 0, failed: 0, skipped: 0 };
  for (const tally of tallies) for (const key of Object.keys(sum)) sum[key] += tally[key];
  return sum;
}

export function summaryLine({ passed, failed, skipped }) {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`;
}

function testcases(xml) {
  return [...xml.matchAll(/<testcase\b([^>]*?)(?:\/>|>([\s\S]*?)<\/testcase>)/g)].map((match) => ({
    attributes: match[1],
    body: match[2] ?? "",
  }));
}

export function countNodeJunit(xml) {
  const tally = { passed: 0, failed: 0, skipped: 0 };
  for (const { body } of testcases(xml)) {
    if (/<(failure|error)\b/.test(body)) tally.failed++;
    else if (/<skipped\b/.test(body)) tally.skipped++;
    else tally.passed++;
  }
  return tally;
}

function lastNumber(text, pattern) {
  let value;
  for (const match of text.matchAll(pattern)) value = Number(match[1]);
  return value;
}

/** The cases inside one test program's output: cmocka's closing lines or node:test's; undefined when it has neither. */
export function countInsideOutput(output) {
  const cmocka = [...output.matchAll(/^\[\s+(PASSED|FAILED|SKIPPED)\s+\] (?:tests: )?(\d+) (?:test\(s\))?/gm)];
  if (cmocka.length > 0) {
    const tally = { passed: 0, failed: 0, skipped: 0 };
    for (const [, kind, count] of cmocka) tally[kind.toLowerCase()] += Number(count);
    return tally;
  }
  const passed = lastNumber(output, /^(?:#|ℹ) pass (\d+)$/gm);
  if (passed === undefined) return undefined;
  const failed = lastNumber(output, /^(?:#|ℹ) fail (\d+)$/gm) ?? 0;
  const skipped = lastNumber(output, /^(?:#|ℹ) skipped (\d+)$/gm) ?? 0;
  return { passed, failed, skipped };
}

export function countCtestJunit(xml) {
  return addTallies(
    testcases(xml).map(({ attributes, body }) => {
      const status = /\bstatus="(\w+)"/.exec(attributes)?.[1];
      if (status === "notrun" || status === "disabled") return { passed: 0, failed: 0, skipped: 1 };
      const ok = status === "run";
      const output = /<system-out>([\s\S]*?)<\/system-out>/.exec(body)?.[1] ?? "";
      const inside = countInsideOutput(output);
      if (inside === undefined) return { passed: ok ? 1 : 0, failed: ok ? 0 : 1, skipped: 0 };
      // A program that crashed or leaked after its last case failed, whatever its closing lines say.
      if (!ok && inside.failed === 0) return { ...inside, failed: 1 };
      return inside;
    }),
  );
}
