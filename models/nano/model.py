"""The deepseek4 architecture in PyTorch, for training on packed rows; the formulas are those of docs/architecture.md.

A batch is ids [B, T] and starts [B, T]: starts[b, t] is the row position where the document of token t begins, a
multiple of the longest compression window, so that windows lie inside documents. Positions count from there. Shapes in
comments: B rows, T tokens per row, H heads, D head width, R rotary lanes, C streams, E width, J = T / ratio.

`dtype` is the type of the matrix products (bfloat16 on the GPU, float32 or float64 in checks); streams, norms, softmax
and the hyper-connection arithmetic stay in float32 or better. No simulated quantisation.
"""

import json
import math

import torch
import torch.nn.functional as F
from torch import nn

NEGATIVE = -1.0e30


class Config:
    """config.json with short names."""

    def __init__(self, values):
        c = values
        self.raw = values
        self.vocab, self.width, self.layers = c["vocab_size"], c["hidden_size"], c["num_hidden_layers"]
        self.heads, self.head, self.rotary = c["num_attention_heads"], c["head_dim"], c["qk_rope_head_dim"]
        self.q_rank, self.groups, self.o_rank = c["q_lora_rank"], c["o_groups"], c["o_lora_rank"]
        self.experts, self.used, self.ff = c["n_routed_experts"], c["num_experts_per_tok"], c["moe_intermediate_size"]
        self.hash_layers, self.expert_scale = c["num_hash_layers"], c["routed_scaling_factor"]
        self.clamp, self.window = c["swiglu_limit"], c["sliding_window"]
        self.i_heads, self.i_head, self.top_k = c["index_n_heads"], c["index_head_dim"], c["index_topk"]
        self.streams, self.sinkhorn, self.hc_eps = c["hc_mult"], c["hc_sinkhorn_iters"], c["hc_eps"]
        self.eps, self.ratios = c["rms_norm_eps"], c["compress_ratios"][: c["num_hidden_layers"]]
        self.base, self.compress_base, self.yarn = c["rope_theta"], c["compress_rope_theta"], c["rope_scaling"]

    @staticmethod
    def load(path):
        with open(path, encoding="utf-8") as file:
            return Config(json.load(file))


def rope_frequencies(config, compressed):
    """Radians per position of each of the R/2 lane pairs, float64."""
    r, base = config.rotary, config.compress_base if compressed else config.base
    index = torch.arange(r // 2, dtype=torch.float64)
    plain = base ** (-2.0 * index / r)
    if not compressed:
        return plain
    factor, context = config.yarn["factor"], config.yarn["original_max_position_embeddings"]
    if factor <= 1:
        return plain / factor

    def dimension(beta):
        return r * math.log(context / (beta * 2 * math.pi)) / (2 * math.log(base))
    low = max(0, math.floor(dimension(config.yarn["beta_fast"])))
    high = min(r - 1, math.ceil(dimension(config.yarn["beta_slow"])))
    gamma = 1 - torch.clamp((index - low) / max(0.001, high - low), 0, 1)
    return plain / factor * (1 - gamma) + plain * gamma


def rope_table(config, compressed, positions):
    """cos and sin [positions, R/2] in float32; the angle is rounded only after the product."""
    angle = torch.arange(positions, dtype=torch.float64)[:, None] * rope_frequencies(config, compressed)[None]
    return torch.cos(angle).float(), torch.sin(angle).float()


def rms(x, eps, weight=None):
    y = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
    return y if weight is None else y * weight


def rotate(x, cos, sin, inverse=False):
    """Rotate the last R lanes of x in adjacent pairs. cos, sin broadcast against [..., R/2]."""
    r = 2 * cos.shape[-1]
    keep, turn = x[..., :-r], x[..., -r:]
    a, b = turn[..., 0::2], turn[..., 1::2]
    if inverse:
        sin = -sin
    return torch.cat([keep, torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)], -1)


def normed_rotate(x, eps, weight, cos, sin):
    return rotate(rms(x, eps, weight), cos, sin)


# ---- hyper-connections -----------------------------------------------------------------------------------------


def stream_controls(x, fn, dtype, eps):
    """W f for the RMS-normed concatenation of the streams; the norm factor is applied after the product."""
    flat = x.flatten(-2)
    return F.linear(flat.to(dtype), fn.to(dtype)).to(x.dtype) * torch.rsqrt(flat.square().mean(-1, keepdim=True) + eps)


def sinkhorn(z, iterations, eps):
    """z [..., C, C] -> nearly doubly stochastic matrix; ends with a column normalisation."""
    p = torch.softmax(z, -1) + eps
    p = p / (p.sum(-2, keepdim=True) + eps)
    for _ in range(iterations - 1):
        p = p / (p.sum(-1, keepdim=True) + eps)
        p = p / (p.sum(-2, keepdim=True) + eps)
    return p


def weighted_streams(x, weight):
    """sum over c of weight[..., c] x[..., c, :]."""
    return sum(weight[..., c, None] * x[..., c, :] for c in range(x.shape[-2]))


def mix_streams(x, y, post, p):
    """Stream k becomes post[k] y + sum over j of p[j, k] x[j]."""
    n = x.shape[-2]
    return torch.stack([post[..., k, None] * y + sum(p[..., j, k, None] * x[..., j, :] for j in range(n))
                        for k in range(n)], -2)


# ---- attention core --------------------------------------------------------------------------------------------


def sink_softmax_forward(scores, mask, sink, scale):
    """scores [..., W, H, K], mask [..., W, 1, K] bool, sink [H]. Returns p (type of scores) and the sink's own share."""
    s = torch.where(mask, scores.to(sink.dtype) * scale, NEGATIVE)
    top = torch.maximum(s.amax(-1), sink)
    e = torch.exp(s - top[..., None])
    alone = torch.exp(sink - top)
    total = e.sum(-1) + alone
    return (e / total[..., None]).to(scores.dtype), alone / total


def sink_softmax_backward(p, alone, grad, scale):
    dot = (grad.to(alone.dtype) * p.to(alone.dtype)).sum(-1)
    ds = (p.to(alone.dtype) * (grad.to(alone.dtype) - dot[..., None]) * scale).to(p.dtype)
    return ds, -alone * dot


class SinkSoftmax(torch.autograd.Function):
    """Softmax with a sink in the denominator. Keeps only p: the scores are the largest tensors of the model."""

    @staticmethod
    def forward(ctx, scores, mask, sink, scale):
        p, alone = FN.sink_softmax_forward(scores, mask, sink, scale)
        ctx.save_for_backward(p, alone)
        ctx.scale = scale
        return p

    @staticmethod
    def backward(ctx, grad):
        p, alone = ctx.saved_tensors
        ds, dsink = FN.sink_softmax_backward(p, alone, grad, ctx.scale)
        return ds, None, dsink.flatten(0, -2).sum(0), None


def pooled(u, g):
    """Per-lane softmax over the candidates: u, g [B, J, candidates, lanes]."""
    return (torch.softmax(g, 2) * u).sum(2)


def swiglu(gate, up, weight, clamp):
    return F.silu(gate.clamp(max=clamp)) * up.clamp(-clamp, clamp) * weight


def index_scores(dots, weight):
    """dots [B, T, heads, J], weight [B, T, heads]: the score of every row."""
    return (F.relu(dots).to(weight.dtype) * weight[..., None]).sum(2)


def indexer_loss(scores, visible, p, first):
    """Cross entropy between the heads' mean attention over the compressed rows and the softmax of the scores, weighted by
    the share of attention that goes there; queries that see fewer than two rows say nothing.

    p [..., H, K]: attention probabilities, of which K - first belong to compressed rows; no gradient goes there."""
    share = p[..., first:].to(scores.dtype).mean(-2).reshape(scores.shape)
    total = share.sum(-1)
    weight = total * (visible.sum(-1) > 1)
    log_p = torch.log_softmax(scores.masked_fill(~visible, NEGATIVE), -1)
    ce = -(share * log_p.masked_fill(~visible, 0)).sum(-1) / total.clamp(min=1e-6)
    return (ce * weight).sum() / weight.sum().clamp(min=1.0)


class Functions:
    """The elementwise groups that are worth compiling into one kernel each."""

    names = ["normed_rotate", "rotate", "rms", "stream_controls", "weighted_streams", "mix_streams", "pooled", "swiglu",
             "index_scores", "indexer_loss", "sink_softmax_forward", "sink_softmax_backward"]

    def __init__(self):
        self.compiled = {}
        self.use_plain()

    def use_plain(self):
        for name in self.names:
            setattr(self, name, globals()[name])

    def use_compiled(self):
        """Compiles on first use, once for each shape; a shape more than the limit would silently stay uncompiled."""
        import torch._dynamo
        for limit in ("recompile_limit", "cache_size_limit"):
            if hasattr(torch._dynamo.config, limit):
                setattr(torch._dynamo.config, limit, 64)
        for name in self.names:
            if name not in self.compiled:
                self.compiled[name] = torch.compile(globals()[name], dynamic=False)
            setattr(self, name, self.compiled[name])


FN = Functions()


# ---- what a batch means ----------------------------------------------------------------------------------------


class Batch:
    """Positions and visibility masks of a packed batch, shared by the layers."""

    def __init__(self, config, ids, starts, tables):
        self.ids, self.starts = ids, starts
        b, t = ids.shape
        w = config.window
        assert t % w == 0, "the row length must be a multiple of the window"
        self.blocks = t // w
        at = torch.arange(t, device=ids.device)
        self.position = at[None] - starts
        self.rope = {kind: [table[self.position].unsqueeze(2) for table in pair] for kind, pair in tables.items()}
        query = at.view(self.blocks, w)
        key = torch.cat([query - w, query], 1)
        near = (key[:, None] <= query[:, :, None]) & (key[:, None] > query[:, :, None] - w)
        self.raw = near[None] & (key[None, :, None] >= starts.view(b, self.blocks, w, 1))
        self.rows, self.row_rope, self.has_previous = {}, {}, {}
        for ratio in sorted(set(config.ratios) - {0}):
            assert t % ratio == 0, "the row length must be a multiple of every ratio"
            first = torch.arange(0, t, ratio, device=ids.device)
            begin = starts[:, ::ratio]
            done = first[None, None] + ratio - 1 <= at[None, :, None]
            self.rows[ratio] = done & (first[None, None] >= starts[:, :, None])
            self.row_rope[ratio] = [table[first[None] - begin] for table in tables[True]]
            self.has_previous[ratio] = begin < first[None]


# ---- layers ----------------------------------------------------------------------------------------------------


def matrix(rows, columns, gain=1.0, copies=None):
    shape = (rows, columns) if copies is None else (copies, rows, columns)
    return nn.Parameter(torch.randn(shape) * gain / math.sqrt(columns))


class Compressor(nn.Module):
    def __init__(self, config, ratio, width):
        super().__init__()
        self.ratio, self.lanes, self.eps = ratio, width, config.eps
        total = 2 * width if ratio == 4 else width
        self.wkv, self.wgate = matrix(total, config.width), matrix(total, config.width, 0.5)
        self.ape = nn.Parameter(torch.zeros(ratio, total))
        self.norm = nn.Parameter(torch.ones(width))

    def forward(self, xn, batch, dtype):
        """xn [B, T, E] -> finished rows [B, J, lanes], rotated to the first position of their window."""
        b, t, _ = xn.shape
        j, r, n = t // self.ratio, self.ratio, self.lanes
        x = xn.to(dtype)
        u = F.linear(x, self.wkv.to(dtype)).view(b, j, r, -1).to(xn.dtype)
        g = F.linear(x, self.wgate.to(dtype)).view(b, j, r, -1).to(xn.dtype) + self.ape
        if r == 4:
            absent = ~batch.has_previous[r][:, :, None, None]
            before_u = F.pad(u[:, :-1, :, :n], (0, 0, 0, 0, 1, 0))
            before_g = F.pad(g[:, :-1, :, :n], (0, 0, 0, 0, 1, 0)).masked_fill(absent, NEGATIVE)
            u, g = torch.cat([before_u, u[..., n:]], 2), torch.cat([before_g, g[..., n:]], 2)
        return FN.normed_rotate(FN.pooled(u, g), self.eps, self.norm, *batch.row_rope[r])


class Indexer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.wq_b = matrix(config.i_heads * config.i_head, config.q_rank)
        self.weights_proj = matrix(config.i_heads, config.width)
        self.compressor = Compressor(config, 4, config.i_head)

    def forward(self, qr, xn, batch, dtype):
        """Scores [B, T, J] of every compressed row for every query; not masked."""
        c = self.config
        b, t, _ = xn.shape
        q = F.linear(qr.to(dtype), self.wq_b.to(dtype)).view(b, t, c.i_heads, c.i_head).to(xn.dtype)
        q = FN.rotate(q, *batch.rope[True]).to(dtype)
        weight = F.linear(xn.to(dtype), self.weights_proj.to(dtype)).to(xn.dtype) / math.sqrt(c.i_head * c.i_heads)
        rows = self.compressor(xn, batch, dtype).to(dtype)
        dots = torch.matmul(q.view(b, t * c.i_heads, c.i_head), rows.transpose(1, 2)).view(b, t, c.i_heads, -1)
        return FN.index_scores(dots, weight)


def select(score, visible, top_k, exact):
    """The visible rows that a query may attend: all if they are at most top_k, else the top_k best (ties: lower row)."""
    rows = score.shape[-1]
    if rows <= top_k:
        return visible
    s = score.detach().masked_fill(~visible, NEGATIVE)
    if exact:
        best = torch.sort(s, dim=-1, descending=True, stable=True)[1][..., :top_k]
        return torch.zeros_like(visible).scatter(-1, best, True) & visible
    # In training a tie may admit a row more than top_k; sorting half a billion scores stably is not worth it.
    late = 4 * top_k
    if late >= score.shape[1]:
        return visible
    cut = torch.topk(s[:, late:], top_k, -1, sorted=True).values[..., -1:]
    return torch.cat([visible[:, :late], visible[:, late:] & (s[:, late:] >= cut)], 1)


class Attention(nn.Module):
    def __init__(self, config, layer):
        super().__init__()
        c = self.config = config
        self.ratio = c.ratios[layer]
        self.wq_a, self.q_norm = matrix(c.q_rank, c.width), nn.Parameter(torch.ones(c.q_rank))
        self.wq_b = matrix(c.heads * c.head, c.q_rank)
        self.wkv, self.kv_norm = matrix(c.head, c.width), nn.Parameter(torch.ones(c.head))
        self.wo_a = matrix(c.o_rank, c.head * c.heads // c.groups, copies=c.groups)
        self.wo_b = matrix(c.width, c.groups * c.o_rank, 0.3)
        self.attn_sink = nn.Parameter(torch.zeros(c.heads))
        self.compressor = Compressor(c, self.ratio, c.head) if self.ratio else None
        self.indexer = Indexer(c) if self.ratio == 4 else None

    def forward(self, xn, batch, dtype, exact):
        """xn [B, T, E] -> (y [B, T, E], loss of the indexer or None)."""
        c = self.config
        b, t, _ = xn.shape
        n, w = batch.blocks, c.window
        cos, sin = batch.rope[self.ratio != 0]
        x = xn.to(dtype)
        qr = FN.rms(F.linear(x, self.wq_a.to(dtype)).to(xn.dtype), c.eps, self.q_norm)
        q = F.linear(qr.to(dtype), self.wq_b.to(dtype)).view(b, t, c.heads, c.head).to(xn.dtype)
        q = FN.normed_rotate(q, c.eps, None, cos, sin).to(dtype)
        kv = F.linear(x, self.wkv.to(dtype)).to(xn.dtype)
        kv = FN.normed_rotate(kv, c.eps, self.kv_norm, cos[:, :, 0], sin[:, :, 0]).to(dtype)
        blocks = kv.view(b, n, w, c.head)
        keys = torch.cat([F.pad(blocks[:, :-1], (0, 0, 0, 0, 1, 0)), blocks], 2)
        mask, scores = batch.raw, None
        if self.ratio:
            rows = self.compressor(xn, batch, dtype).to(dtype)
            visible = batch.rows[self.ratio]
            if self.indexer is not None:
                # The indexer learns from its own loss alone; the model must not bend to please it.
                scores = self.indexer(qr.detach(), xn.detach(), batch, dtype)
                visible = select(scores, visible, c.top_k, exact)
            keys = torch.cat([keys, rows[:, None].expand(b, n, -1, -1)], 2)
            mask = torch.cat([mask, visible.view(b, n, w, -1)], 3)
        dots = torch.matmul(q.reshape(b, n, w * c.heads, c.head), keys.transpose(2, 3))
        p = SinkSoftmax.apply(dots.view(b, n, w, c.heads, -1), mask[:, :, :, None], self.attn_sink.to(xn.dtype),
                              1 / math.sqrt(c.head))
        o = torch.matmul(p.reshape(b, n, w * c.heads, -1), keys).view(b, t, c.heads, c.head).to(xn.dtype)
        o = FN.rotate(o, cos, -sin).to(dtype).view(b, t, c.groups, -1)
        low = torch.einsum("btgi,goi->btgo", o, self.wo_a.to(dtype)).flatten(2)
        y = F.linear(low, self.wo_b.to(dtype)).to(xn.dtype)
        loss = None
        if scores is not None and self.training:
            loss = FN.indexer_loss(scores, visible, p.detach(), 2 * w)
        return y, loss


class FeedForward(nn.Module):
    def __init__(self, config, layer):
        super().__init__()
        c = self.config = config
        self.hashed = layer < c.hash_layers
        self.gate = matrix(c.experts, c.width, 0.5)
        self.w1, self.w3 = matrix(c.ff, c.width, copies=c.experts), matrix(c.ff, c.width, copies=c.experts)
        self.w2 = matrix(c.width, c.ff, 0.3, copies=c.experts)
        self.shared_w1, self.shared_w3 = matrix(c.ff, c.width), matrix(c.ff, c.width)
        self.shared_w2 = matrix(c.width, c.ff, 0.3)
        if self.hashed:
            order = torch.rand(c.vocab, c.experts, generator=torch.Generator().manual_seed(layer + 1)).argsort(-1)
            self.register_buffer("tid2eid", order[:, : c.used].contiguous())
        else:
            self.register_buffer("bias", torch.zeros(c.experts))
        self.register_buffer("load", torch.zeros(c.experts), persistent=False)

    def forward(self, xn, ids, dtype):
        """All experts are computed and weighted, unused ones with 0: for a handful of experts the fastest way, and exact."""
        c = self.config
        x = xn.to(dtype)
        p = torch.sqrt(F.softplus(F.linear(x, self.gate.to(dtype)).to(xn.dtype)))
        chosen = self.tid2eid[ids] if self.hashed else (p.detach() + self.bias).topk(c.used, -1)[1]
        mask = torch.zeros_like(p).scatter(-1, chosen, 1.0)
        if self.training:
            self.load += mask.detach().flatten(0, -2).sum(0)
        p = p * mask
        weight = p / p.sum(-1, keepdim=True).clamp(min=2.0**-14) * c.expert_scale
        weight = F.pad(weight, (0, 1), value=1.0)
        w1 = torch.cat([self.w1, self.shared_w1[None]]).flatten(0, 1).to(dtype)
        w3 = torch.cat([self.w3, self.shared_w3[None]]).flatten(0, 1).to(dtype)
        w2 = torch.cat([self.w2, self.shared_w2[None]]).transpose(0, 1).flatten(1).to(dtype)
        shape = xn.shape[:-1] + (c.experts + 1, c.ff)
        mid = FN.swiglu(F.linear(x, w1).view(shape), F.linear(x, w3).view(shape), weight.to(dtype)[..., None], c.clamp)
        return F.linear(mid.flatten(-2), w2).to(xn.dtype)

    @torch.no_grad()
    def balance(self, rate):
        """Push the selection bias of rarely used experts up and of busy ones down."""
        if not self.hashed:
            self.bias += rate * torch.sign(self.load.mean() - self.load)
            self.bias -= self.bias.mean()
        self.load.zero_()


class HyperConnection(nn.Module):
    def __init__(self, config, layer):
        super().__init__()
        c = self.config = config
        n = c.streams
        self.fn = nn.Parameter(torch.randn(2 * n + n * n, n * c.width) * 0.02)
        self.scale = nn.Parameter(torch.full((3,), 0.1))
        # At the start: read mostly one stream, write to all, keep the streams apart.
        base = torch.zeros(2 * n + n * n)
        base[:n] = -2.0
        base[layer % n] = 2.0
        base[2 * n :] = 5.0 * torch.eye(n).flatten()
        self.base = nn.Parameter(base)

    def forward(self, x, dtype):
        """x [B, T, C, E] -> (input of the sub-layer, post [B, T, C], p [B, T, C, C])."""
        c, n = self.config, self.config.streams
        m = FN.stream_controls(x, self.fn, dtype, c.eps)
        pre = torch.sigmoid(m[..., :n] * self.scale[0] + self.base[:n]) + c.hc_eps
        post = 2 * torch.sigmoid(m[..., n : 2 * n] * self.scale[1] + self.base[n : 2 * n])
        z = (m[..., 2 * n :] * self.scale[2] + self.base[2 * n :]).unflatten(-1, (n, n))
        return FN.weighted_streams(x, pre), post, sinkhorn(z, c.sinkhorn, c.hc_eps)


class Layer(nn.Module):
    def __init__(self, config, layer):
        super().__init__()
        self.eps = config.eps
        self.hc_attn, self.hc_ffn = HyperConnection(config, 2 * layer), HyperConnection(config, 2 * layer + 1)
        self.attn_norm, self.ffn_norm = (nn.Parameter(torch.ones(config.width)) for _ in range(2))
        self.attn, self.ffn = Attention(config, layer), FeedForward(config, layer)

    def forward(self, x, batch, dtype, exact):
        h, post, p = self.hc_attn(x, dtype)
        y, loss = self.attn(FN.rms(h, self.eps, self.attn_norm), batch, dtype, exact)
        x = FN.mix_streams(x, y, post, p)
        h, post, p = self.hc_ffn(x, dtype)
        y = self.ffn(FN.rms(h, self.eps, self.ffn_norm), batch.ids, dtype)
        return FN.mix_streams(x, y, post, p), loss


class Model(nn.Module):
    def __init__(self, config, positions):
        """positions: the longest row that will be given."""
        super().__init__()
        c = self.config = config
        self.embed = nn.Parameter(torch.randn(c.vocab, c.width) * 0.3)
        self.blocks = nn.ModuleList(Layer(c, layer) for layer in range(c.layers))
        self.hc_head_fn = nn.Parameter(torch.randn(c.streams, c.streams * c.width) * 0.02)
        self.hc_head_scale = nn.Parameter(torch.full((1,), 0.1))
        self.hc_head_base = nn.Parameter(torch.zeros(c.streams))
        self.norm = nn.Parameter(torch.ones(c.width))
        self.head = matrix(c.vocab, c.width, 0.5)
        for kind, name in ((False, "plain"), (True, "compressed")):
            for which, table in zip(("cos", "sin"), rope_table(c, kind, positions)):
                self.register_buffer("rope_%s_%s" % (name, which), table, persistent=False)

    def hidden(self, ids, starts, dtype, exact=False):
        """Final hidden vectors [B, T, E] (after the output norm) and the sum of the indexers' losses."""
        c = self.config
        tables = {False: (self.rope_plain_cos, self.rope_plain_sin),
                  True: (self.rope_compressed_cos, self.rope_compressed_sin)}
        batch = Batch(c, ids, starts, tables)
        x = F.embedding(ids, self.embed).unsqueeze(2).repeat(1, 1, c.streams, 1)
        extra = x.new_zeros(())
        for block in self.blocks:
            x, loss = block(x, batch, dtype, exact)
            if loss is not None:
                extra = extra + loss
        m = FN.stream_controls(x, self.hc_head_fn, dtype, c.eps)
        weight = torch.sigmoid(m * self.hc_head_scale + self.hc_head_base) + c.hc_eps
        return FN.rms(FN.weighted_streams(x, weight), c.eps, self.norm), extra

    def logits(self, hidden, dtype):
        return F.linear(hidden.to(dtype), self.head.to(dtype))
