#!/usr/bin/env python3
"""Write a trained model as a checkpoint in the official layout: safetensors, config.json, tokenizer.json.

    python3 export.py --checkpoint DIR --out DIR2
    ds4-gguf convert DIR2 -o ds4-nano.gguf --recipe q8 --type 'token_embd*=q8_0'

With --blend OLD=SHARE the weights become (1 - SHARE) * DIR + SHARE * OLD: the mean of two points of one training is
often better than its end.

Everything is F32 (tid2eid I64); config.json says "ds4_simulated_quantization": "none", because training used none.
"""

import argparse
import json
import os
import shutil
import struct

import torch

from pretokenize import HERE


def tensors(model):
    """Official name -> tensor, in float32 or int64."""
    out = {"embed.weight": model.embed, "norm.weight": model.norm, "head.weight": model.head,
           "hc_head_fn": model.hc_head_fn, "hc_head_scale": model.hc_head_scale, "hc_head_base": model.hc_head_base}

    def compressor(prefix, c):
        out.update({prefix + ".wkv.weight": c.wkv, prefix + ".wgate.weight": c.wgate, prefix + ".ape": c.ape,
                    prefix + ".norm.weight": c.norm})
    for i, block in enumerate(model.blocks):
        name, a, f = "layers.%d" % i, block.attn, block.ffn
        for which, hc in (("attn", block.hc_attn), ("ffn", block.hc_ffn)):
            out.update({"%s.hc_%s_%s" % (name, which, k): getattr(hc, k) for k in ("fn", "scale", "base")})
        out[name + ".attn_norm.weight"], out[name + ".ffn_norm.weight"] = block.attn_norm, block.ffn_norm
        for key in ("wq_a", "wq_b", "wkv", "q_norm", "kv_norm", "wo_b"):
            out["%s.attn.%s.weight" % (name, key)] = getattr(a, key)
        out[name + ".attn.wo_a.weight"] = a.wo_a.flatten(0, 1)
        out[name + ".attn.attn_sink"] = a.attn_sink
        if a.compressor is not None:
            compressor(name + ".attn.compressor", a.compressor)
        if a.indexer is not None:
            out[name + ".attn.indexer.wq_b.weight"] = a.indexer.wq_b
            out[name + ".attn.indexer.weights_proj.weight"] = a.indexer.weights_proj
            compressor(name + ".attn.indexer.compressor", a.indexer.compressor)
        out[name + ".ffn.gate.weight"] = f.gate
        if f.hashed:
            out[name + ".ffn.gate.tid2eid"] = f.tid2eid
        else:
            out[name + ".ffn.gate.bias"] = f.bias
        for key in ("w1", "w2", "w3"):
            for e in range(getattr(f, key).shape[0]):
                out["%s.ffn.experts.%d.%s.weight" % (name, e, key)] = getattr(f, key)[e]
            out["%s.ffn.shared_experts.%s.weight" % (name, key)] = getattr(f, "shared_" + key)
    return {k: v.detach().cpu().to(torch.int64 if v.dtype == torch.int64 else torch.float32).contiguous()
            for k, v in out.items()}


def write_safetensors(path, items):
    header, at = {}, 0
    for name in sorted(items):
        t = items[name]
        size = t.numel() * t.element_size()
        header[name] = {"dtype": "I64" if t.dtype == torch.int64 else "F32", "shape": list(t.shape),
                        "data_offsets": [at, at + size]}
        at += size
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(head)) + head)
        for name in sorted(items):
            file.write(items[name].numpy().tobytes())


def export(model, out):
    os.makedirs(out, exist_ok=True)
    write_safetensors(os.path.join(out, "model.safetensors"), tensors(model))
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(os.path.join(HERE, name), os.path.join(out, name))


def main():
    from checkpoint import load_model
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--blend", metavar="OLD=SHARE", help="an earlier checkpoint of the same training")
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    model, state = load_model(options.checkpoint)
    if options.blend:
        old, share = options.blend.rsplit("=", 1)
        before, own = load_model(old)[0].state_dict(), model.state_dict()
        for name, value in own.items():
            if value.is_floating_point():
                value.lerp_(before[name], float(share))
    export(model, options.out)
    print("exported step %d to %s" % (state["step"], options.out))


if __name__ == "__main__":
    main()
