"""The same forward pass in NumPy, float64, one token after the other: slow, plain, and the judge of model.py.

It reads the tensors under the names of the exported checkpoint (export.py), so it checks the export as well.
"""

import math

import numpy as np


def rms(x, eps, weight=None):
    y = x / np.sqrt((x * x).mean(-1, keepdims=True) + eps)
    return y if weight is None else y * weight


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


class Window:
    """The running window of a compressor; gives a finished row every `ratio` tokens."""

    def __init__(self, ratio, width):
        self.ratio, self.width, self.previous, self.current = ratio, width, [], []

    def feed(self, u, g):
        self.current.append((u, g))
        if len(self.current) < self.ratio:
            return None
        n = self.width
        if self.ratio == 4:
            candidates = [(u[:n], g[:n]) for u, g in self.previous] + [(u[n:], g[n:]) for u, g in self.current]
        else:
            candidates = self.current
        self.previous, self.current = self.current, []
        u, g = (np.stack(part) for part in zip(*candidates))
        return (softmax(g, 0) * u).sum(0)


class Reference:
    def __init__(self, config, tensors):
        """config: the dictionary of config.json; tensors: name -> array."""
        self.c = config
        self.t = {name: np.asarray(value, np.float64) if value.dtype.kind == "f" else value
                  for name, value in tensors.items()}
        self.position = 0
        self.steer = lambda site, layer, y: y      # edits the output of a half of a layer: "attn" or "ffn"
        self.state = []
        for ratio in config["compress_ratios"][: config["num_hidden_layers"]]:
            self.state.append({"raw": [], "rows": [], "index": [], "window": Window(ratio, config["head_dim"]),
                               "index_window": Window(ratio, config["index_head_dim"])})

    def angles(self, position, compressed):
        c, r = self.c, self.c["qk_rope_head_dim"]
        base = c["compress_rope_theta"] if compressed else c["rope_theta"]
        out = []
        for i in range(r // 2):
            frequency = base ** (-2.0 * i / r)
            if compressed:
                y = c["rope_scaling"]
                if y["factor"] > 1:
                    low, high = (r * math.log(y["original_max_position_embeddings"] / (y[k] * 2 * math.pi))
                                 / (2 * math.log(base)) for k in ("beta_fast", "beta_slow"))
                    low, high = max(0, math.floor(low)), min(r - 1, math.ceil(high))
                    ramp = 1 - min(1.0, max(0.0, (i - low) / max(0.001, high - low)))
                    frequency = frequency / y["factor"] * (1 - ramp) + frequency * ramp
                else:
                    frequency /= y["factor"]
            out.append(position * frequency)
        return np.array(out)

    def rotate(self, x, position, compressed, sign=1):
        r = self.c["qk_rope_head_dim"]
        angle = sign * self.angles(position, compressed)
        y = x.copy()
        a, b = x[..., -r::2], x[..., x.shape[-1] - r + 1 :: 2]
        y[..., -r::2] = a * np.cos(angle) - b * np.sin(angle)
        y[..., x.shape[-1] - r + 1 :: 2] = a * np.sin(angle) + b * np.cos(angle)
        return y

    def before(self, x, prefix):
        """Hyper-connection: input of the sub-layer, post, mixing matrix."""
        c, n = self.c, self.c["hc_mult"]
        scale, base, eps = self.t[prefix + "_scale"], self.t[prefix + "_base"], c["hc_eps"]
        m = self.t[prefix + "_fn"] @ rms(x.reshape(-1), c["rms_norm_eps"])
        pre = sigmoid(m[:n] * scale[0] + base[:n]) + eps
        post = 2 * sigmoid(m[n : 2 * n] * scale[1] + base[n : 2 * n])
        p = softmax((m[2 * n :] * scale[2] + base[2 * n :]).reshape(n, n), 1) + eps
        p = p / (p.sum(0, keepdims=True) + eps)
        for _ in range(c["hc_sinkhorn_iters"] - 1):
            p = p / (p.sum(1, keepdims=True) + eps)
            p = p / (p.sum(0, keepdims=True) + eps)
        return pre @ x, post, p

    def compressed_row(self, name, window, xn):
        """Feed one token; a finished row is normed and rotated to the first position of its window."""
        t, ratio = self.t, window.ratio
        gate = t[name + ".wgate.weight"] @ xn + t[name + ".ape"][self.position % ratio]
        row = window.feed(t[name + ".wkv.weight"] @ xn, gate)
        if row is None:
            return None
        row = rms(row, self.c["rms_norm_eps"], t[name + ".norm.weight"])
        return self.rotate(row, self.position + 1 - ratio, True)

    def attention(self, layer, xn):
        c, t, s = self.c, self.t, self.state[layer]
        name, eps, pos = "layers.%d.attn" % layer, self.c["rms_norm_eps"], self.position
        ratio, heads, width = c["compress_ratios"][layer], c["num_attention_heads"], c["head_dim"]
        qr = rms(t[name + ".wq_a.weight"] @ xn, eps, t[name + ".q_norm.weight"])
        q = rms((t[name + ".wq_b.weight"] @ qr).reshape(heads, width), eps)
        q = self.rotate(q, pos, ratio != 0)
        kv = rms(t[name + ".wkv.weight"] @ xn, eps, t[name + ".kv_norm.weight"])
        s["raw"].append(self.rotate(kv, pos, ratio != 0))
        rows = s["raw"] = s["raw"][-c["sliding_window"] :]
        if ratio:
            row = self.compressed_row(name + ".compressor", s["window"], xn)
            if row is not None:
                s["rows"].append(row)
            picked = range(len(s["rows"]))
            if ratio == 4:
                row = self.compressed_row(name + ".indexer.compressor", s["index_window"], xn)
                if row is not None:
                    s["index"].append(row)
                if len(s["index"]) > c["index_topk"]:
                    picked = self.select(name + ".indexer", qr, xn, s["index"])
            rows = rows + [s["rows"][j] for j in picked]
        rows = np.stack(rows)
        score, sink = q @ rows.T / math.sqrt(width), t[name + ".attn_sink"][:, None]
        top = np.maximum(score.max(1, keepdims=True), sink)
        e = np.exp(score - top)
        o = self.rotate(e @ rows / (np.exp(sink - top) + e.sum(1, keepdims=True)), pos, ratio != 0, -1)
        groups = o.reshape(c["o_groups"], -1)
        down = t[name + ".wo_a.weight"].reshape(c["o_groups"], c["o_lora_rank"], -1)
        return t[name + ".wo_b.weight"] @ np.concatenate([down[g] @ groups[g] for g in range(c["o_groups"])])

    def select(self, name, qr, xn, index):
        c, t = self.c, self.t
        q = (t[name + ".wq_b.weight"] @ qr).reshape(c["index_n_heads"], c["index_head_dim"])
        q = self.rotate(q, self.position, True)
        weight = t[name + ".weights_proj.weight"] @ xn / math.sqrt(c["index_n_heads"] * c["index_head_dim"])
        score = weight @ np.maximum(q @ np.stack(index).T, 0)
        return sorted(np.argsort(-score, kind="stable")[: c["index_topk"]])

    def feed_forward(self, layer, xn, token):
        c, t, name = self.c, self.t, "layers.%d.ffn" % layer
        p = np.sqrt(np.log1p(np.exp(t[name + ".gate.weight"] @ xn)))
        if layer < c["num_hash_layers"]:
            chosen = t[name + ".gate.tid2eid"][token]
        else:
            chosen = np.argsort(-(p + t[name + ".gate.bias"]), kind="stable")[: c["num_experts_per_tok"]]
        weight = p[chosen] / max(p[chosen].sum(), 2.0**-14) * c["routed_scaling_factor"]
        y = self.expert(name + ".shared_experts", xn, 1.0)
        for e, w in zip(chosen, weight):
            y = y + self.expert("%s.experts.%d" % (name, e), xn, w)
        return y

    def expert(self, name, xn, weight):
        t, limit = self.t, self.c["swiglu_limit"]
        gate = np.minimum(t[name + ".w1.weight"] @ xn, limit)
        up = np.clip(t[name + ".w3.weight"] @ xn, -limit, limit)
        return t[name + ".w2.weight"] @ (gate * sigmoid(gate) * up * weight)

    def step(self, token):
        """Logits after one more token."""
        c, t, eps = self.c, self.t, self.c["rms_norm_eps"]
        x = np.repeat(t["embed.weight"][token][None], c["hc_mult"], 0)
        for layer in range(c["num_hidden_layers"]):
            name = "layers.%d" % layer
            h, post, p = self.before(x, name + ".hc_attn")
            y = self.steer("attn", layer, self.attention(layer, rms(h, eps, t[name + ".attn_norm.weight"])))
            x = post[:, None] * y + p.T @ x
            h, post, p = self.before(x, name + ".hc_ffn")
            y = self.steer("ffn", layer, self.feed_forward(layer, rms(h, eps, t[name + ".ffn_norm.weight"]), token))
            x = post[:, None] * y + p.T @ x
        self.position += 1
        v = t["hc_head_fn"] @ rms(x.reshape(-1), eps)
        v = sigmoid(v * t["hc_head_scale"] + t["hc_head_base"]) + c["hc_eps"]
        return t["head.weight"] @ rms(v @ x, eps, t["norm.weight"])
