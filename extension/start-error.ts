// A start that failed: one sentence, and what the program that failed said last.

export class StartError extends Error {
  readonly lines: readonly string[];
  readonly logFile: string | undefined;
  /** Who said the lines: "server", "build", ... */
  readonly speaker: string;
  constructor(message: string, lines: readonly string[] = [], logFile?: string, speaker = "server") {
    super(message);
    this.lines = lines;
    this.logFile = logFile;
    this.speaker = speaker;
  }
}
