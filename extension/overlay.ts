// /ds4 in the terminal: the server's live log under a header that says what it does.
import fs from "node:fs";
import type { Component, TUI } from "@earendil-works/pi-tui";
import { matchesKey, truncateToWidth, visibleWidth } from "@earendil-works/pi-tui";
import { plainText } from "./log.ts";

const TAIL_BYTES = 256 * 1024;
const LOG_POLL_MS = 250;
const HEADER_POLL_MS = 1000;
/** Of the terminal's rows; pi is told the same. */
const HEIGHT = 0.8;

export interface OverlaySource {
  logFile: string;
  /** Lines above the log. */
  header(): Promise<string[]>;
}

type Paint = (color: "border" | "accent" | "muted", text: string) => string;

/** The end of the log as lines, again only when the file has changed. */
class LogTail {
  private readonly file: string;
  private seen = "";
  lines: string[] = [];
  constructor(file: string) {
    this.file = file;
  }

  /** Whether there is something new. */
  refresh(): boolean {
    const stat = fs.statSync(this.file, { throwIfNoEntry: false });
    const key = stat === undefined ? "none" : `${stat.ino}-${stat.size}`;
    if (key === this.seen) return false;
    this.seen = key;
    this.lines = stat === undefined ? [] : this.read(stat.size);
    return true;
  }

  private read(size: number): string[] {
    const from = Math.max(0, size - TAIL_BYTES);
    const buffer = Buffer.alloc(size - from);
    const fd = fs.openSync(this.file, "r");
    try {
      const length = fs.readSync(fd, buffer, 0, buffer.length, from);
      const lines = buffer.toString("utf8", 0, length).split(/[\r\n]+/).map(plainText);
      if (from > 0) lines.shift();
      return lines.filter((line) => line !== "");
    } finally {
      fs.closeSync(fd);
    }
  }
}

/** The window of `rows` lines that ends at `bottom` lines before the end; 0 follows the log. */
export function visibleLines(lines: string[], rows: number, bottom: number): { shown: string[]; bottom: number } {
  const most = Math.max(0, lines.length - rows);
  const kept = Math.min(Math.max(0, bottom), most);
  const end = lines.length - kept;
  return { shown: lines.slice(Math.max(0, end - rows), end), bottom: kept };
}

export class LogOverlay implements Component {
  private readonly tui: TUI;
  private readonly paint: Paint;
  private readonly close: () => void;
  private readonly source: OverlaySource;
  private readonly tail: LogTail;
  private readonly timers: NodeJS.Timeout[];
  private header: string[] = [];
  private bottom = 0;
  private rows = 1;

  constructor(tui: TUI, paint: Paint, close: () => void, source: OverlaySource) {
    this.tui = tui;
    this.paint = paint;
    this.close = close;
    this.source = source;
    this.tail = new LogTail(source.logFile);
    this.tail.refresh();
    void this.refreshHeader();
    this.timers = [
      setInterval(() => this.refreshLog(), LOG_POLL_MS).unref(),
      setInterval(() => void this.refreshHeader(), HEADER_POLL_MS).unref(),
    ];
  }

  private refreshLog(): void {
    const before = this.tail.lines.length;
    if (!this.tail.refresh()) return;
    // Who has scrolled up keeps seeing the same lines.
    if (this.bottom > 0) this.bottom += Math.max(0, this.tail.lines.length - before);
    this.tui.requestRender();
  }

  private async refreshHeader(): Promise<void> {
    const header = (await this.source.header()).map(plainText);
    if (header.join("\n") === this.header.join("\n")) return;
    this.header = header;
    this.tui.requestRender();
  }

  render(width: number): string[] {
    const inner = Math.max(1, width - 4);
    const rule = (left: string, right: string, title: string) => {
      const text = truncateToWidth(title, Math.max(0, width - 6));
      const fill = "─".repeat(Math.max(0, width - 5 - visibleWidth(text)));
      return truncateToWidth(this.paint("border", `${left}─ `) + this.paint("accent", text) + this.paint("border", ` ${fill}${right}`), width);
    };
    const line = (text: string) => {
      const cut = truncateToWidth(text, inner);
      const row = `${this.paint("border", "│")} ${cut}${" ".repeat(Math.max(0, inner - visibleWidth(cut)))} ${this.paint("border", "│")}`;
      return truncateToWidth(row, width);
    };
    const height = Math.max(5, Math.floor(this.tui.terminal.rows * HEIGHT));
    const header = this.header.slice(0, Math.max(0, height - 5));
    this.rows = Math.max(1, height - 2 - header.length - (header.length > 0 ? 1 : 0));
    const { shown, bottom } = visibleLines(this.tail.lines, this.rows, this.bottom);
    this.bottom = bottom;
    const body = [...shown, ...Array<string>(this.rows - shown.length).fill("")];
    const where = bottom === 0 ? "following" : `${bottom} lines below`;
    return [
      rule("╭", "╮", "ds4 log: esc closes, arrows scroll, end follows"),
      ...header.map((text) => line(this.paint("muted", truncateToWidth(text, inner)))),
      ...(header.length > 0 ? [line(this.paint("border", "─".repeat(inner)))] : []),
      ...body.map(line),
      rule("╰", "╯", where),
    ];
  }

  handleInput(data: string): void {
    if (matchesKey(data, "escape") || data === "q" || matchesKey(data, "ctrl+c")) return this.close();
    const page = Math.max(1, this.rows - 1);
    if (matchesKey(data, "up")) this.bottom += 1;
    else if (matchesKey(data, "down")) this.bottom -= 1;
    else if (matchesKey(data, "pageUp")) this.bottom += page;
    else if (matchesKey(data, "pageDown")) this.bottom -= page;
    else if (matchesKey(data, "home")) this.bottom = this.tail.lines.length;
    else if (matchesKey(data, "end") || data === "f") this.bottom = 0;
    else return;
    this.bottom = visibleLines(this.tail.lines, this.rows, this.bottom).bottom;
    this.tui.requestRender();
  }

  invalidate(): void {
    // Everything is computed at render time.
  }

  dispose(): void {
    for (const timer of this.timers) clearInterval(timer);
  }
}
