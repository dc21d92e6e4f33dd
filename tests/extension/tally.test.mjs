import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { countCtestJunit, countInsideOutput, countNodeJunit, summaryLine } from "../../scripts/test-tally.mjs";

const testcase = (status, output) =>
  `<testcase name="a" status="${status}">\n<system-out>${output}</system-out></testcase>`;

describe("the count of test cases", () => {
  it("looks into a program that holds many cases", () => {
    const output = "[==========] 4 test(s) run.\n[  PASSED  ] 2 test(s).\n[  SKIPPED ] 1 test(s), listed below:\n" +
      "[  FAILED  ] 1 test(s), listed below:\n[  FAILED  ] c\n";
    assert.deepEqual(countInsideOutput(output), { passed: 2, failed: 1, skipped: 1 });
    assert.deepEqual(countInsideOutput("# pass 3\n# fail 1\n# skipped 2\n"), { passed: 3, failed: 1, skipped: 2 });
    assert.equal(countInsideOutput("nothing known"), undefined);
  });
  it("does not believe a program that failed but counts no failure", () => {
    const xml = testcase("fail", "[  PASSED  ] 2 test(s).\n") + testcase("run", "[  PASSED  ] 3 test(s).\n");
    assert.deepEqual(countCtestJunit(xml), { passed: 5, failed: 1, skipped: 0 });
  });
  it("counts a program without cases as one", () => {
    const xml = testcase("run", "") + testcase("fail", "boom") + testcase("notrun", "");
    assert.deepEqual(countCtestJunit(xml), { passed: 1, failed: 1, skipped: 1 });
  });
  it("reads node's report", () => {
    const xml = '<testcase name="a"/><testcase name="b"><failure>x</failure></testcase>' +
      '<testcase name="c"><skipped/></testcase>';
    assert.deepEqual(countNodeJunit(xml), { passed: 1, failed: 1, skipped: 1 });
  });
  it("has one closing line", () => {
    assert.equal(summaryLine({ passed: 1, failed: 0, skipped: 0 }), "1 passed, 0 failed");
    assert.equal(summaryLine({ passed: 1, failed: 2, skipped: 3 }), "1 passed, 2 failed, 3 skipped");
  });
});
