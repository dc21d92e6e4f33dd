#!/usr/bin/env python3
"""Checkpoints in the layout of the official release, FP8 and FP4 parts included, out of a BF16 one; and what NumPy,
which shares no code with the converter, makes of them. Needs NumPy.

    official.py make SOURCE OUT          quantise: attention and shared experts FP8, routed experts FP4; two shards
    official.py dequantize OFFICIAL OUT  the same model in F32
    official.py golden OFFICIAL OUT      tests/fixtures/oracle/official: logits of models/nano/reference.py, in float64
"""

import json
import os
import re
import sys

import numpy as np

DTYPES = {"F32": "<f4", "I64": "<i8", "I32": "<i4", "U8": "u1", "I8": "i1", "F8_E4M3": "u1", "F8_E8M0": "u1", "BF16": "<u2"}
FP4 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])
FP8 = np.array([m * 2.0**-9 if e == 0 else (1 + m / 8) * 2.0 ** (e - 7) for e in range(16) for m in range(8)][:127])
DENSE = re.compile(r"attn\.(wq_a|wq_b|wkv|wo_a|wo_b|indexer\.wq_b)\.weight$|shared_experts\.w[123]\.weight$")
ROUTED = re.compile(r"ffn\.experts\.\d+\.w[123]\.weight$")
TILE, BLOCK = 128, 32


def read(directory):
    """name -> (dtype, array), of all shards."""
    tensors = {}
    for file in sorted(os.listdir(directory)):
        if not file.endswith(".safetensors"):
            continue
        with open(os.path.join(directory, file), "rb") as f:
            header = json.loads(f.read(int.from_bytes(f.read(8), "little")))
            payload = f.read()
        for name, t in header.items():
            if name != "__metadata__":
                begin, end = t["data_offsets"]
                tensors[name] = (t["dtype"], np.frombuffer(payload[begin:end], DTYPES[t["dtype"]]).reshape(t["shape"]))
    return tensors


def write(path, tensors):
    header, at = {}, 0
    for name, (dtype, array) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        for _, array in tensors.values():
            f.write(np.ascontiguousarray(array).tobytes())


def from_bf16(array):
    return (array.astype(np.uint32) << 16).view(np.float32)


def nearest(values, table):
    """Codes of magnitudes: the nearest entry, the sign in the bit above."""
    code = np.abs(np.abs(values)[..., None] - table).argmin(-1)
    return code, values < 0


def exponents(most, top):
    """E8M0 codes so that `most` fits below `top`."""
    return np.clip(np.ceil(np.log2(np.maximum(most, 1e-30) / top)), -127, 127).astype(int) + 127


def tiles(array):
    rows, columns = (-(-n // TILE) for n in array.shape)
    return rows, columns, np.repeat(np.repeat(np.arange(rows * columns).reshape(rows, columns), TILE, 0), TILE, 1)[
        : array.shape[0], : array.shape[1]
    ]


def to_fp8(array):
    rows, columns, tile = tiles(array)
    most = np.zeros(rows * columns)
    np.maximum.at(most, tile.ravel(), np.abs(array).ravel())
    e = exponents(most, 448.0)
    code, minus = nearest(array / 2.0 ** (e[tile] - 127.0), FP8)
    return ("F8_E4M3", (code | minus << 7).astype("u1")), ("F8_E8M0", e.reshape(rows, columns).astype("u1"))


def to_fp4(array):
    blocks = array.reshape(array.shape[0], -1, BLOCK)
    e = exponents(np.abs(blocks).max(-1), 6.0)
    code, minus = nearest(blocks / 2.0 ** (e[..., None] - 127.0), FP4)
    code = (code | minus << 3).reshape(array.shape)
    return ("I8", (code[:, 0::2] | code[:, 1::2] << 4).astype("u1").view("i1")), ("F8_E8M0", e.astype("u1"))


def widen(name, tensors):
    """A tensor as it counts: float64, or whole numbers."""
    dtype, array = tensors[name]
    if dtype == "BF16":
        return from_bf16(array).astype(float)
    if dtype in ("F8_E4M3", "I8"):
        scale = tensors[name.replace(".weight", ".scale")][1].astype(float)
    if dtype == "F8_E4M3":
        value = np.concatenate([FP8, [np.nan], -FP8, [np.nan]])[array]
        return value * 2.0 ** (scale.ravel()[tiles(array)[2]] - 127)
    if dtype == "I8":
        code = np.stack([array.view("u1") & 15, array.view("u1") >> 4], -1).reshape(array.shape[0], -1)
        return np.concatenate([FP4, 0 - FP4])[code] * np.repeat(2.0 ** (scale - 127), BLOCK, 1)
    return array.astype(float) if dtype == "F32" else array


def copy_config(source, out):
    os.makedirs(out, exist_ok=True)
    with open(os.path.join(source, "config.json")) as f, open(os.path.join(out, "config.json"), "w") as g:
        g.write(f.read())


def make(source, out):
    copy_config(source, out)
    tensors, result = read(source), {}
    for name, (dtype, array) in tensors.items():
        if dtype == "BF16" and (DENSE.search(name) or ROUTED.search(name)):
            weight, scale = (to_fp8 if DENSE.search(name) else to_fp4)(from_bf16(array).astype(float))
            result[name] = weight
            result[name.replace(".weight", ".scale")] = scale
        else:
            result[name] = (dtype, array)
    names, index = list(result), {}
    for shard, part in enumerate((names[: len(names) // 2], names[len(names) // 2 :]), 1):
        file = "model-0000%d-of-00002.safetensors" % shard
        write(os.path.join(out, file), {name: result[name] for name in part})
        index.update({name: file for name in part})
    with open(os.path.join(out, "model.safetensors.index.json"), "w") as f:
        json.dump({"weight_map": index}, f)


def names_of_weights(tensors):
    return [name for name in tensors if not name.endswith(".scale")]


def dequantize(official, out):
    copy_config(official, out)
    tensors = read(official)
    values = {name: widen(name, tensors) for name in names_of_weights(tensors)}
    write(os.path.join(out, "model.safetensors"),
          {n: ("F32", v.astype("<f4")) if v.dtype.kind == "f" else ("I64", v.astype("<i8")) for n, v in values.items()})


def golden(official, out):
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../models/nano"))
    from reference import Reference

    with open(os.path.join(official, "config.json")) as f:
        config = json.load(f)
    tensors = read(official)
    model = Reference(config, {name: widen(name, tensors) for name in names_of_weights(tensors)})
    tokens = [(7 * i * i + 3 * i + 1) % config["vocab_size"] for i in range(150)]
    rows = np.stack([model.step(token) for token in tokens])[-24:].astype("<f4")
    os.makedirs(out, exist_ok=True)
    rows.tofile(os.path.join(out, "logits.f32"))
    index = {"name": "official", "tokens": tokens, "first_position": len(tokens) - len(rows), "rows": len(rows),
             "offset_bytes": 0}
    with open(os.path.join(out, "logits.json"), "w") as f:
        json.dump({"sequences": [index]}, f)
        f.write("\n")


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] not in ("make", "dequantize", "golden"):
        sys.exit(__doc__)
    {"make": make, "dequantize": dequantize, "golden": golden}[sys.argv[1]](sys.argv[2], sys.argv[3])
