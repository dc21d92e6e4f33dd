// Twenty differently worded tasks for ds4-nano in pi, and how one is laid out on disk.
import fs from "node:fs";
import path from "node:path";

export interface Task {
  prompt: string;
  /** What lies in the folder before: name to content. */
  files: Record<string, string>;
  /** All of these must occur in the answer. */
  says?: string[];
  /** What must lie there afterwards: name to content, without white space at the ends. */
  leaves?: Record<string, string>;
}

const text = (...lines: string[]) => `${lines.join("\n")}\n`;
const numbered = (n: number) => text(...Array.from({ length: n }, (_, i) => `entry ${i + 1}`));
const POEM = text("The night is long and the river is slow,", "a lantern burns where the tall reeds grow,",
  "the ferryman sings to the stars above,", "of winter, of harvest, of bread, of love.");
const SHOPPING = text("two loaves of rye bread", "a dozen eggs", "olive oil", "washing powder");

export const TASKS: Task[] = [
  { prompt: "Which files are in this folder?", files: { "notes.txt": "a\n", "plan.md": "b\n", "main.c": "c\n" },
    says: ["notes.txt", "plan.md", "main.c"] },
  { prompt: "please list the files here", files: { "budget.csv": "1\n", "letter.txt": "2\n" }, says: ["budget.csv", "letter.txt"] },
  { prompt: "Show me all files in the current directory", files: { "a.py": "x\n", "b.py": "y\n", "README.md": "z\n", "setup.cfg": "w\n" },
    says: ["a.py", "b.py", "README.md", "setup.cfg"] },
  { prompt: "What does this directory contain?", files: { "violin.txt": "1\n", "cello.txt": "2\n" }, says: ["violin.txt", "cello.txt"] },
  { prompt: "How many files are here?", files: { "one.txt": "1\n", "two.txt": "2\n", "three.txt": "3\n", "four.txt": "4\n" }, says: ["4"] },
  { prompt: "Read notes.txt", files: { "notes.txt": text("The meeting moved to Thursday.", "Bring the blue folder.") },
    says: ["The meeting moved to Thursday.", "Bring the blue folder."] },
  { prompt: "What is in line 3 of poem.txt?", files: { "poem.txt": POEM }, says: ["the ferryman sings to the stars above,"] },
  { prompt: "tell me what line 2 of shopping.md says", files: { "shopping.md": SHOPPING }, says: ["a dozen eggs"] },
  { prompt: "Quote line 4 of poem.txt, please", files: { "poem.txt": POEM }, says: ["of winter, of harvest, of bread, of love."] },
  { prompt: "Show the contents of server.ini", files: { "server.ini": text("host = example.org", "port = 8443") },
    says: ["example.org", "8443"] },
  { prompt: "What is the first line of shopping.md?", files: { "shopping.md": SHOPPING }, says: ["two loaves of rye bread"] },
  { prompt: "How many lines does data.csv have?", files: { "data.csv": numbered(37) }, says: ["37"] },
  { prompt: "Count the lines of words.txt with bash", files: { "words.txt": numbered(112) }, says: ["112"] },
  { prompt: "Find out how many lines there are in report.log", files: { "report.log": numbered(8) }, says: ["8"] },
  { prompt: "Create a file hello.txt with the text: Hello from the other side", files: {}, says: ["hello.txt"],
    leaves: { "hello.txt": "Hello from the other side" } },
  { prompt: "Write \"buy milk and eggs\" to todo.md", files: {}, says: ["todo.md"], leaves: { "todo.md": "buy milk and eggs" } },
  { prompt: "Make a new file named answer.txt containing \"forty-two\"", files: { "question.txt": "?\n" }, says: ["answer.txt"],
    leaves: { "answer.txt": "forty-two", "question.txt": "?" } },
  { prompt: "Replace red with green in colors.txt", files: { "colors.txt": text("my car is red", "my house is white") },
    says: ["colors.txt"], leaves: { "colors.txt": "my car is green\nmy house is white" } },
  { prompt: "Change the word winter to summer in plan.md", files: { "plan.md": text("# Travel", "We go north in winter.") },
    says: ["plan.md"], leaves: { "plan.md": "# Travel\nWe go north in summer." } },
  { prompt: "In settings.cfg, replace 8080 with 9090", files: { "settings.cfg": text("host=localhost", "port=8080") },
    says: ["settings.cfg"], leaves: { "settings.cfg": "host=localhost\nport=9090" } },
];

/** Makes the folder hold what the task begins with, and nothing else. */
export function layOut(task: Task, folder: string): void {
  fs.rmSync(folder, { recursive: true, force: true });
  fs.mkdirSync(folder);
  for (const [name, content] of Object.entries(task.files)) fs.writeFileSync(path.join(folder, name), content);
}
