// Directions for tests of ds4-nano.
import { writeFileSync } from 'node:fs';

const LAYERS = 6;
const WIDTH = 256;

/** Unit vectors from a small generator; `change(values)` may spoil them. */
export function randomDirection(file, { layers = LAYERS, width = WIDTH, change = () => {} } = {}) {
  let state = 7;
  const values = new Float32Array(layers * width).map(() => {
    state = (state * 1664525 + 1013904223) % 2 ** 32;
    return state / 2 ** 31 - 1;
  });
  for (let l = 0; l < layers; l++) {
    const row = values.subarray(l * width, (l + 1) * width);
    const norm = Math.hypot(...row);
    row.forEach((v, i) => { row[i] = v / norm; });
  }
  change(values);
  writeFileSync(file, new Uint8Array(values.buffer));
  return file;
}
