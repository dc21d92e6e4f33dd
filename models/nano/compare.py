#!/usr/bin/env python3
"""Does the engine compute what model.py computes? Prints the largest difference of the logits, F32 weights on both sides.

    python3 compare.py --bin build/release/bin                       random weights
    python3 compare.py --bin build/release/bin --checkpoint DIR      trained ones

The tokens are a held-out row of the corpus. Exit status 1 if a logit differs by more than 1e-3.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch

import corpus
from bpe import Tokenizer
from checkpoint import load_model
from check import shaken
from export import export
from pretokenize import HERE

LIMIT = 1e-3


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--bin", required=True, help="folder of ds4 and ds4-gguf")
    parser.add_argument("--checkpoint", help="trained weights; default: random ones")
    parser.add_argument("--tokens", type=int, default=512)
    options = parser.parse_args()
    if options.checkpoint:
        model, _ = load_model(options.checkpoint)
    else:
        with open(os.path.join(HERE, "config.json"), encoding="utf-8") as file:
            model = shaken(json.load(file), corpus.ROW)
    model = model.float().eval()
    ids = corpus.shard(5, 0, Tokenizer(), rows=1, held=True)[0][0, : options.tokens].astype(np.int64)
    starts = torch.zeros(1, len(ids), dtype=torch.long)
    with torch.no_grad():
        hidden, _ = model.hidden(torch.from_numpy(ids)[None], starts, torch.float32, exact=True)
        want = model.logits(hidden, torch.float32)[0].numpy()
    with tempfile.TemporaryDirectory() as folder:
        export(model, folder)
        gguf, tokens, out = (os.path.join(folder, name) for name in ("f32.gguf", "tokens.json", "logits.f32"))
        with open(tokens, "w", encoding="utf-8") as file:
            json.dump(ids.tolist(), file)
        run = lambda *command: subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        run(os.path.join(options.bin, "ds4-gguf"), "convert", folder, "-o", gguf, "--recipe", "f32")
        run(os.path.join(options.bin, "ds4"), "logits", "-m", gguf, "--tokens", tokens, "-o", out)
        got = np.fromfile(out, "<f4").reshape(want.shape)
    worst = float(np.abs(got - want).max())
    same = float((got.argmax(1) == want.argmax(1)).mean())
    print("%d tokens, %s weights: largest difference %.2g where the deviation of the logits is %.2g; same best token: %.1f %%"
          % (len(ids), "trained" if options.checkpoint else "random", worst, want.std(), 100 * same))
    return worst > LIMIT


if __name__ == "__main__":
    sys.exit(main())
