"""Checkpoints as a few raw float16 files of at most 15 MB and one JSON, so that they travel in small parcels.

state.json: {"step", "seconds", "tensors": [[name, shape]], ...}; weights.N.bin: the tensors one after the other, cut at
fixed sizes. Rounding to float16 is finer than the Q8_0 of the finished model by a factor of eight; integer buffers (the
hash table) are small numbers and survive exactly.
"""

import glob
import json
import os

import numpy as np
import torch

from model import Config, Model
from pretokenize import HERE

PIECE = 15_000_000


def save(model, out, state):
    os.makedirs(out, exist_ok=True)
    items = list(model.state_dict().items())
    flat = np.concatenate([t.detach().float().cpu().numpy().ravel() for _, t in items])
    if not np.abs(flat).max() < 60000:
        raise SystemExit("a weight is too large for float16, or not a number")
    flat = flat.astype("<f2").tobytes()
    for i in range(0, len(flat), PIECE):
        with open(os.path.join(out, "weights.%d.bin" % (i // PIECE)), "wb") as file:
            file.write(flat[i : i + PIECE])
    state = dict(state, tensors=[[name, list(t.shape)] for name, t in items], bytes=len(flat))
    with open(os.path.join(out, "state.json"), "w", encoding="utf-8") as file:
        json.dump(state, file)


def load_into(model, directory):
    with open(os.path.join(directory, "state.json"), encoding="utf-8") as file:
        state = json.load(file)
    pieces = sorted(glob.glob(os.path.join(directory, "weights.*.bin")),
                    key=lambda p: int(p.rsplit(".", 2)[1]))
    flat = b""
    for piece in pieces:
        with open(piece, "rb") as file:
            flat += file.read()
    if len(flat) != state["bytes"]:
        raise SystemExit("%s: the pieces hold %d bytes, %d are expected" % (directory, len(flat), state["bytes"]))
    values, at, own = np.frombuffer(flat, "<f2").astype(np.float32), 0, model.state_dict()
    for name, shape in state["tensors"]:
        n = int(np.prod(shape)) if shape else 1
        own[name].copy_(torch.from_numpy(values[at : at + n].reshape(shape).copy()).to(own[name].dtype))
        at += n
    return state


def load_model(directory, positions=4096):
    model = Model(Config.load(os.path.join(HERE, "config.json")), positions)
    return model, load_into(model, directory)
