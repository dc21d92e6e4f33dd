#!/usr/bin/env python3
"""Draw log.jsonl of a training: python3 plot.py log.jsonl curves.png"""

import json
import sys

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402  (the backend must be chosen first)


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        entries = [json.loads(row) for row in file]
    losses = [e for e in entries if "loss" in e]
    held = [e for e in entries if "held" in e]
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.5))
    left.plot([e["step"] for e in losses], [e["loss"] for e in losses], color="black", lw=0.8, label="training")
    for name in held[0]["held"] if held else []:
        left.plot([e["step"] for e in held], [e["held"][name]["loss"] for e in held], marker=".", label="held-out " + name)
        right.plot([e["step"] for e in held], [100 * e["held"][name]["turn"] for e in held], marker=".", label=name)
    left.set(xlabel="step", ylabel="loss per learned token", yscale="log", title="Loss")
    right.set(xlabel="step", ylabel="%", ylim=(0, 100), title="Held-out turns without a single wrong token")
    for axis in (left, right):
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(sys.argv[2], dpi=110)


if __name__ == "__main__":
    main()
