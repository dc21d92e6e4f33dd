#!/usr/bin/env python3
"""The first layers of a checkpoint of V4 Flash at full width, in the official layout, with random weights: what
ds4-gguf convert is measured with. Needs NumPy.

    official_slice.py OUT [--layers 4] [--experts 32]    4.3 GB; with --experts 256 16 GB
"""

import argparse
import json
import os

import numpy as np

E, V, D, H, LQ, FF, ID, IH, C, U = 4096, 129280, 512, 64, 1024, 2048, 128, 64, 4, 6
GROUPS, LO, HASHED = 8, 1024, 3


class Shard:
    """Tensors are announced first, then written in order."""

    def __init__(self):
        self.header, self.parts, self.at = {}, [], 0

    def add(self, name, dtype, shape, make):
        size = {"F8_E4M3": 1, "F8_E8M0": 1, "I8": 1, "BF16": 2, "F32": 4, "I64": 8}[dtype]
        n = int(np.prod(shape)) * size
        self.header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [self.at, self.at + n]}
        self.parts.append((make, shape))
        self.at += n

    def write(self, path):
        text = json.dumps(self.header).encode()
        with open(path, "wb") as f:
            f.write(len(text).to_bytes(8, "little") + text)
            for make, shape in self.parts:
                f.write(make(shape).tobytes())


rng = np.random.default_rng(42)


def codes(shape):  # E4M3 without NaN, of both signs
    return rng.integers(0, 0x78, shape, np.uint8) | rng.integers(0, 2, shape, np.uint8) << 7


def scales(shape):
    return rng.integers(113, 116, shape, np.uint8)


def pairs(shape):
    return rng.integers(0, 256, shape, np.uint8)


def normal(shape):  # BF16 of a normal distribution
    return (rng.standard_normal(shape, np.float32) * 0.02).view(np.uint32).__rshift__(16).astype(np.uint16)


def ones(shape):
    return np.ones(shape, np.float32)


def ids(shape):
    return np.tile(np.arange(shape[1], dtype=np.int64), (shape[0], 1))


def fp8(shard, name, rows, columns):
    shard.add(name + ".weight", "F8_E4M3", (rows, columns), codes)
    shard.add(name + ".scale", "F8_E8M0", (rows // 128, columns // 128), scales)


def fp4(shard, name, rows, columns):
    shard.add(name + ".weight", "I8", (rows, columns // 2), pairs)
    shard.add(name + ".scale", "F8_E8M0", (rows, columns // 32), scales)


def compressor(shard, name, width, dim, ratio):
    shard.add(name + ".ape", "F32", (ratio, width), ones)
    shard.add(name + ".wkv.weight", "BF16", (width, E), normal)
    shard.add(name + ".wgate.weight", "BF16", (width, E), normal)
    shard.add(name + ".norm.weight", "BF16", (dim,), normal)


def layer(shard, i, ratio, n_experts):
    name = "layers.%d." % i
    mix = C * (C + 2)
    for site in ("attn", "ffn"):
        shard.add(name + "hc_%s_fn" % site, "F32", (mix, C * E), ones)
        shard.add(name + "hc_%s_scale" % site, "F32", (3,), ones)
        shard.add(name + "hc_%s_base" % site, "F32", (mix,), ones)
        shard.add(name + "%s_norm.weight" % site, "BF16", (E,), normal)
    fp8(shard, name + "attn.wq_a", LQ, E)
    fp8(shard, name + "attn.wq_b", H * D, LQ)
    fp8(shard, name + "attn.wkv", D, E)
    fp8(shard, name + "attn.wo_a", GROUPS * LO, H * D // GROUPS)
    fp8(shard, name + "attn.wo_b", E, GROUPS * LO)
    shard.add(name + "attn.q_norm.weight", "BF16", (LQ,), normal)
    shard.add(name + "attn.kv_norm.weight", "BF16", (D,), normal)
    shard.add(name + "attn.attn_sink", "F32", (H,), ones)
    if ratio:
        compressor(shard, name + "attn.compressor", 2 * D if ratio == 4 else D, D, ratio)
    if ratio == 4:
        fp8(shard, name + "attn.indexer.wq_b", IH * ID, LQ)
        shard.add(name + "attn.indexer.weights_proj.weight", "BF16", (IH, E), normal)
        compressor(shard, name + "attn.indexer.compressor", 2 * ID, ID, ratio)
    shard.add(name + "ffn.gate.weight", "BF16", (n_experts, E), normal)
    if i < HASHED:
        shard.add(name + "ffn.gate.tid2eid", "I64", (V, U), ids)
    else:
        shard.add(name + "ffn.gate.bias", "F32", (n_experts,), ones)
    for expert in ["shared_experts"] + ["experts.%d" % e for e in range(n_experts)]:
        kind = fp8 if expert == "shared_experts" else fp4
        for part, rows, columns in (("w1", FF, E), ("w3", FF, E), ("w2", E, FF)):
            kind(shard, "%sffn.%s.%s" % (name, expert, part), rows, columns)


def config(n_layers, n_experts, ratios):
    return {"vocab_size": V, "hidden_size": E, "moe_intermediate_size": FF, "num_hidden_layers": n_layers,
            "num_attention_heads": H, "num_key_value_heads": 1, "head_dim": D, "qk_rope_head_dim": 64, "q_lora_rank": LQ,
            "o_groups": GROUPS, "o_lora_rank": LO, "n_routed_experts": n_experts, "n_shared_experts": 1,
            "num_experts_per_tok": U, "num_hash_layers": HASHED, "scoring_func": "sqrtsoftplus", "norm_topk_prob": True,
            "routed_scaling_factor": 1.5, "swiglu_limit": 10.0, "sliding_window": 128, "index_n_heads": IH,
            "index_head_dim": ID, "index_topk": 512, "hc_mult": C, "hc_sinkhorn_iters": 20, "hc_eps": 1e-6,
            "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "compress_rope_theta": 160000.0, "compress_ratios": ratios,
            "rope_scaling": {"type": "yarn", "factor": 16.0, "original_max_position_embeddings": 65536, "beta_fast": 32.0,
                             "beta_slow": 1.0}, "max_position_embeddings": 1048576, "tie_word_embeddings": False}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--experts", type=int, default=32)
    options = parser.parse_args()
    os.makedirs(options.out, exist_ok=True)
    ratios = [0, 0] + [4 if i % 2 == 0 else 128 for i in range(2, options.layers)]
    index, n = {}, options.layers + 1
    for i in range(n):
        shard, file = Shard(), "model-%05d-of-%05d.safetensors" % (i + 1, n)
        if i < options.layers:
            layer(shard, i, ratios[i], options.experts)
        else:
            shard.add("embed.weight", "BF16", (V, E), normal)
            shard.add("head.weight", "BF16", (V, E), normal)
            shard.add("norm.weight", "BF16", (E,), normal)
            shard.add("hc_head_fn", "F32", (C, C * E), ones)
            shard.add("hc_head_base", "F32", (C,), ones)
            shard.add("hc_head_scale", "F32", (1,), ones)
        index.update({name: file for name in shard.header})
        shard.write(os.path.join(options.out, file))
    with open(os.path.join(options.out, "model.safetensors.index.json"), "w") as f:
        json.dump({"weight_map": index}, f)
    with open(os.path.join(options.out, "config.json"), "w") as f:
        json.dump(config(options.layers, options.experts, ratios), f)


if __name__ == "__main__":
    main()
