import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import path from "node:path";
import { describe, it } from "node:test";

const GUARD = path.resolve(import.meta.dirname, "../../extension/guard.sh");

interface Guarded {
  child: ChildProcess;
  end: Promise<number | null>;
  /** The process id that the program printed. */
  pid: Promise<number>;
}

/** Runs a shell program under the guard; one that is to be watched prints its process id when it is ready. */
function guarded(script: string): Guarded {
  const child = spawn("/bin/sh", [GUARD, "/bin/sh", "-c", script, "name with space"], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const end = new Promise<number | null>((resolve) => child.once("exit", (status) => resolve(status)));
  const pid = new Promise<number>((resolve) => child.stdout?.once("data", (data: Buffer) => resolve(Number(data))));
  return { child, end, pid };
}

function gone(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return false;
  } catch {
    return true;
  }
}

describe("guard.sh", () => {
  it("passes the exit status on", async () => {
    assert.equal(await guarded("exit 7").end, 7);
    assert.equal(await guarded("kill -KILL $$").end, 128 + 9);
  });
  it("passes arguments as they are", async () => {
    assert.equal(await guarded('test "$0" = "name with space"').end, 0);
  });
  it("gives the program no standard input to read", async () => {
    assert.equal(await guarded("read -r x && exit 1; exit 5").end, 5);
  });
  it("asks the program to stop when the pipe closes", async () => {
    const run = guarded('trap "exit 3" TERM; echo $$; while :; do sleep 0.05; done');
    const pid = await run.pid;
    run.child.stdin?.end();
    assert.equal(await run.end, 3);
    assert.ok(gone(pid));
  });
  it("stops the program when it is itself asked to stop", async () => {
    const run = guarded("echo $$; exec sleep 60");
    const pid = await run.pid;
    run.child.kill("SIGTERM");
    assert.equal(await run.end, 128 + 15);
    assert.ok(gone(pid));
  });
});
