// The engine's source as this package brings it: what belongs to it, its fingerprint, its copy under the state directory.
import crypto from "node:crypto";
import fs from "node:fs";
import path from "node:path";

/** Also in package.json, so that npm packs them. */
export const ENGINE_PARTS = ["Makefile", "CMakeLists.txt", "CMakePresets.json", "cmake", "include", "src"];

/** Paths of all files of the engine, relative to the package, sorted. */
export function engineFiles(packageDir: string): string[] {
  const files: string[] = [];
  const visit = (name: string) => {
    const stat = fs.statSync(path.join(packageDir, name), { throwIfNoEntry: false });
    if (stat?.isDirectory() === true) {
      for (const entry of fs.readdirSync(path.join(packageDir, name))) visit(path.join(name, entry));
    } else if (stat?.isFile() === true) files.push(name);
  };
  for (const part of ENGINE_PARTS) visit(part);
  return files.sort();
}

export function fingerprint(packageDir: string): string {
  const hash = crypto.createHash("sha256");
  for (const file of engineFiles(packageDir)) {
    const content = fs.readFileSync(path.join(packageDir, file));
    hash.update(`${file}\0${content.length}\0`).update(content);
  }
  return hash.digest("hex");
}

export function newestSource(packageDir: string): number {
  return Math.max(0, ...engineFiles(packageDir).map((file) => fs.statSync(path.join(packageDir, file)).mtimeMs));
}

/** Makes `target` hold exactly the package's files. Equal ones are left alone, so that a build does only what is new. */
export function copyEngine(packageDir: string, target: string): void {
  const wanted = engineFiles(packageDir);
  for (const file of wanted) {
    const to = path.join(target, file);
    const content = fs.readFileSync(path.join(packageDir, file));
    if (fs.existsSync(to) && fs.readFileSync(to).equals(content)) continue;
    fs.mkdirSync(path.dirname(to), { recursive: true });
    fs.writeFileSync(to, content);
  }
  const keep = new Set(wanted);
  for (const file of engineFiles(target)) if (!keep.has(file)) fs.rmSync(path.join(target, file));
}
