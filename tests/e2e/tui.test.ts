// The package in pi's terminal interface, driven through tmux.
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import fs from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { after, before, describe, it } from "node:test";
import { isAlive, MODEL_ARGS, PI_CLI, Sandbox, until } from "./support/pi.ts";

const hasTmux = spawnSync("tmux", ["-V"]).status === 0;

class Screen {
  private readonly socket = `pi-ds4-${process.pid}`;

  start(sandbox: Sandbox, extra: Record<string, string>): void {
    const quote = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;
    const line = [process.execPath, PI_CLI, ...MODEL_ARGS].map(quote).join(" ");
    execFileSync("tmux", ["-L", this.socket, "-f", "/dev/null", "new-session", "-d", "-s", "t", "-x", "100", "-y", "30",
      `cd ${quote(sandbox.work)} && ${line}; echo EXITED rc=$?; sleep 30`], {
      env: { ...sandbox.env, TERM: "xterm-256color", ...extra },
    });
  }

  private tmux(...args: string[]): string {
    return execFileSync("tmux", ["-L", this.socket, ...args], { encoding: "utf8" });
  }

  text(): string {
    return this.tmux("capture-pane", "-p", "-t", "t");
  }

  type(text: string): void {
    this.tmux("send-keys", "-t", "t", "-l", text);
  }

  press(key: string): void {
    this.tmux("send-keys", "-t", "t", key);
  }

  resize(columns: number, rows: number): void {
    this.tmux("resize-window", "-t", "t", "-x", String(columns), "-y", String(rows));
  }

  async shows(pattern: RegExp, limitMs = 20_000): Promise<void> {
    try {
      await until(String(pattern), () => pattern.test(this.text()), limitMs);
    } catch (error) {
      throw new Error(`${(error as Error).message}\n${this.text()}`);
    }
  }

  /** What is typed while pi makes its editor anew (/reload) is lost: then it is typed again. */
  async write(text: string): Promise<void> {
    for (let i = 0; i < 5; i++) {
      this.type(text);
      for (let j = 0; j < 20; j++) {
        if (this.text().includes(text)) return;
        await sleep(100);
      }
    }
    throw new Error(`${text} is not shown\n${this.text()}`);
  }

  /** A line entered before pi's start-up has ended stays in the editor, so Enter is repeated until its effect shows. */
  async enterUntil(pattern: RegExp): Promise<void> {
    for (let i = 0; i < 10; i++) {
      this.press("Enter");
      for (let j = 0; j < 10; j++) {
        if (pattern.test(this.text())) return;
        await sleep(100);
      }
    }
    throw new Error(`Enter never led to ${pattern}\n${this.text()}`);
  }

  close(): void {
    spawnSync("tmux", ["-L", this.socket, "kill-server"]);
  }
}

describe("the terminal interface", { skip: hasTmux ? false : "tmux is not installed" }, () => {
  const sandbox = new Sandbox();
  const screen = new Screen();
  before(async () => {
    assert.equal((await sandbox.install()).status, 0);
    sandbox.hold();
    screen.start(sandbox, {});
    await screen.shows(/\[Extensions\]/);
  });
  after(async () => {
    screen.close();
    await sandbox.remove();
  });

  it("cancels a start with Escape, without an error and without a second try", async () => {
    screen.type("say nothing");
    await screen.enterUntil(/ds4: loading the model 40 %/);
    screen.press("Escape");
    await screen.shows(/Operation aborted/);
    assert.doesNotMatch(screen.text(), /ds4: loading/);
    assert.deepEqual(sandbox.chatBodies(), []);
  });

  it("shows, after a /reload in the middle of that start, the same model loading in the status line, then the answer", async () => {
    screen.type("/reload");
    await screen.enterUntil(/Reloaded/);
    screen.type("say hi");
    await screen.enterUntil(/ds4: loading the model 40 %/);
    sandbox.release();
    await screen.shows(/Tool said: mock-42/);
    await until("the status is cleared", () => !/ds4: loading/.test(screen.text()));
    assert.equal(sandbox.serverPids().length, 1, "the server whose start was cancelled serves now");
  });

  for (const [columns, rows] of [[100, 30], [60, 20]] as const) {
    it(`shows the live log with /ds4 in a window of ${columns} x ${rows}`, async () => {
      screen.resize(columns, rows);
      screen.type("/ds4");
      await screen.shows(/→ ds4 /);
      await screen.enterUntil(/╭─ ds4 log: esc closes/);
      await screen.shows(/mock model \| context 4096/);
      await screen.shows(/sessions 2 \(1 busy\)/);
      await screen.shows(/following/);
      const log = sandbox.state("log");
      fs.appendFileSync(log, Array.from({ length: 80 }, (_, i) => `line ${i} \u001b[31mred\u001b[0m\r\n`).join(""));
      await screen.shows(/│ line 79 red +│/);
      screen.press("Home");
      await screen.shows(/lines below/);
      fs.appendFileSync(log, "newest line\n");
      screen.press("PageDown");
      await until("it stays where it is", () => !/newest line/.test(screen.text()));
      screen.resize(columns - 7, rows - 3);
      await screen.shows(/ds4 log: esc closes[\s\S]*lines below/);
      for (const line of screen.text().split("\n")) assert.ok(line.length <= columns - 7);
      screen.press("End");
      await screen.shows(/newest line[\s\S]*following/);
      screen.press("Escape");
      await until("it is closed", () => !/esc closes/.test(screen.text()));
      fs.truncateSync(log);
    });
  }

  it("completes the words of /ds4 and shows their answer", async () => {
    screen.resize(100, 30);
    screen.type("/ds4 status");
    await screen.enterUntil(/serving at .*used by 1 pi/s);
  });

  it("keeps the server over /reload and /new", async () => {
    screen.type("/reload");
    await screen.enterUntil(/Reloaded/);
    await screen.write("/new");
    await screen.enterUntil(/New session/);
    await screen.write("once more");
    await screen.enterUntil(/once more[\s\S]*Tool said: mock-42/);
    assert.equal(sandbox.serverPids().length, 1);
  });

  it("stops the server on /quit", async () => {
    screen.type("/quit");
    await screen.enterUntil(/EXITED rc=0/);
    const pids = sandbox.serverPids();
    await until("the server is gone", () => !pids.some(isAlive));
  });
});
