// What happens to a cache directory between two lives of a server.
import { readdirSync, statSync, readFileSync, writeFileSync, truncateSync, unlinkSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';

function files(directory) {
  const found = [];
  for (const name of readdirSync(directory)) {
    const path = join(directory, name);
    const about = statSync(path, { throwIfNoEntry: false });
    if (about?.isDirectory()) found.push(...files(path));
    else if (about?.isFile()) found.push(path);
  }
  return found;
}

const damages = {
  flip(path, r) {
    const bytes = readFileSync(path);
    for (let i = 0; i < 1 + r.below(4) && bytes.length; i++) bytes[r.below(bytes.length)] ^= 1 << r.below(8);
    writeFileSync(path, bytes);
  },
  truncate(path, r) { truncateSync(path, r.below(statSync(path).size + 1)); },
  empty(path) { truncateSync(path, 0); },
  foreign(path, r) { writeFileSync(path, Buffer.from(Array.from({ length: 200 }, () => r.below(256)))); },
  extend(path) { writeFileSync(path, Buffer.concat([readFileSync(path), Buffer.alloc(77, 0xaa)])); },
  remove(path) { unlinkSync(path); },
  link(path) { unlinkSync(path); symlinkSync('/dev/zero', path); },
};

/** Damages up to `n` files; a full disk may prevent it. Returns the kinds. */
export function damage(directory, n, r) {
  const all = files(directory), done = [];
  for (let i = 0; i < n && all.length; i++) {
    const [path] = all.splice(r.below(all.length), 1);
    const kind = r.pick(Object.keys(damages));
    try { damages[kind](path, r); done.push(kind); } catch (error) { if (error.code !== 'ENOSPC' && error.code !== 'ENOENT') throw error; }
  }
  return done;
}
