#!/usr/bin/env python3
"""Train ds4-nano on one GPU.

    python3 train.py --out DIR --budget 800 --seconds 400                 first part
    python3 train.py --out DIR2 --seconds 540 --resume DIR --finish       last part

The learning rate follows the share of the budget that is spent (seconds of training, compilation not counted), so the
schedule fits any GPU; --steps N makes it follow the step count instead, for an exact repetition. The corpus is drawn
from the seed as training goes; no dialogue comes twice. Writes a checkpoint, log.jsonl and, at the end of the budget,
held-out results per skill: loss, accuracy of the next token, and the share of assistant turns in which every token is
the most likely one given the turn before it (what greedy decoding would have produced).
"""

import argparse
import json
import math
import os
import shutil
import time

import numpy as np
import torch
import torch.nn.functional as F

import checkpoint
import corpus
from feed import Feed
from model import FN, Config, Model
from optimizer import Optimizer
from pretokenize import HERE

SKILLS = [name for name, _, _ in corpus.SKILLS]


def schedule(progress, step, warm_from):
    """Warm up over 60 steps, hold, then fall to 2 % over the second half."""
    warm = min(1.0, (step - warm_from + 1) / 60)
    fall = 1.0 if progress < 0.45 else 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - 0.45) / 0.55)))
    return warm * fall


class Work:
    """A batch on the device. index: flat positions whose next token is to be learned; wanted: those tokens; skill: 1..

    The indices are found on the CPU: looking for them on the GPU would make every step wait for its forward pass."""

    def __init__(self, batch, device):
        ids, starts, mask = batch
        ahead = np.zeros_like(mask)
        ahead[:, :-1] = mask[:, 1:]
        index = np.flatnonzero(ahead)
        self.index_host, self.skill = index, ahead.reshape(-1)[index].astype(int)
        wanted = np.roll(ids, -1, 1).reshape(-1)[index]
        self.ids, self.starts, self.index, self.wanted = (torch.from_numpy(x.astype(np.int64)).to(device)
                                                          for x in (ids, starts, index, wanted))


def logits_of(net, work, dtype):
    hidden, extra = net.hidden(work.ids, work.starts, dtype)
    return net.logits(hidden.flatten(0, 1)[work.index], dtype).float(), extra


def loss_of(net, work, dtype):
    logits, extra = logits_of(net, work, dtype)
    return F.cross_entropy(logits, work.wanted), extra


@torch.no_grad()
def evaluate(net, batches, device, dtype, rows, compiled):
    """Held-out figures per skill."""
    net.eval()
    FN.use_plain()      # these shapes without gradients are not worth a compilation
    table = {name: np.zeros(5) for name in SKILLS}
    for batch in batches:
        for at in range(0, len(batch[0]), rows):
            work = Work([x[at : at + rows] for x in batch], device)
            logits, _ = logits_of(net, work, dtype)
            loss = F.cross_entropy(logits, work.wanted, reduction="none").cpu().numpy()
            right = (logits.argmax(-1) == work.wanted).cpu().numpy()
            index, skill = work.index_host, work.skill
            turn = np.cumsum(np.concatenate([[0], (np.diff(index) > 1).astype(int)]))
            exact = np.ones(turn[-1] + 1, bool)
            np.logical_and.at(exact, turn, right)
            owner = skill[np.concatenate([[0], np.flatnonzero(np.diff(turn)) + 1])]
            for i, name in enumerate(SKILLS):
                mine, turns = skill == i + 1, owner == i + 1
                table[name] += [loss[mine].sum(), right[mine].sum(), mine.sum(), exact[turns].sum(), turns.sum()]
    net.train()
    if compiled:
        FN.use_compiled()
    return {name: {"loss": round(v[0] / max(v[2], 1), 4), "token": round(v[1] / max(v[2], 1), 5),
                   "turn": round(v[3] / max(v[4], 1), 4), "turns": int(v[4])} for name, v in table.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", required=True)
    parser.add_argument("--resume", help="directory of the checkpoint of the part before")
    parser.add_argument("--budget", type=float, default=800, help="seconds of training in all parts together")
    parser.add_argument("--seconds", type=float, default=430, help="seconds of this part, start and all")
    parser.add_argument("--finish", action="store_true", help="fit the budget to --seconds: this is the last part")
    parser.add_argument("--steps", type=int, default=0, help="schedule by steps instead of seconds")
    parser.add_argument("--rows", type=int, default=12)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=12)
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--scratch", default="/tmp/ds4-nano", help="optimizer state, kept on the machine")
    options = parser.parse_args()
    begin = time.time()
    first = 0
    if options.resume:
        with open(os.path.join(options.resume, "state.json"), encoding="utf-8") as file:
            first = json.load(file)["step"]
    feed = Feed(options.seed, options.rows, options.workers, first=first)
    held_feed = Feed(options.seed, options.rows, 2, held=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    torch.manual_seed(options.seed)
    if not options.no_compile:
        FN.use_compiled()
    net = Model(Config.load(os.path.join(HERE, "config.json")), corpus.ROW)
    state = checkpoint.load_into(net, options.resume) if options.resume else {"step": 0, "seconds": 0.0}
    net.to(device).train()
    optimizer = Optimizer(net, options.rate)
    kept = os.path.join(options.scratch, "optimizer.pt")
    if options.resume and os.path.exists(kept):
        saved = torch.load(kept, map_location=device, weights_only=False)
        if saved["step"] == state["step"]:
            optimizer.load(saved["optimizer"])
            print("optimizer state found", flush=True)
    os.makedirs(options.out, exist_ok=True)
    if options.resume:
        shutil.copy(os.path.join(options.resume, "log.jsonl"), options.out)
    if options.finish:      # of the last part 70 seconds are not training: start, compilation, held-out batches
        options.budget = state["seconds"] + options.seconds - 70
    log = open(os.path.join(options.out, "log.jsonl"), "a", encoding="utf-8")
    held = [held_feed.batch() for _ in range(2)]
    step, spent, progress = state["step"], state["seconds"], 0.0
    mark, marked, sums = time.time(), step, torch.zeros(2, device=device)
    warm_from, timing = step, False

    def report(**entry):
        entry = dict(entry, step=step, seconds=round(spent, 1), wall=round(time.time() - begin, 1))
        print(json.dumps(entry), flush=True)
        log.write(json.dumps(entry) + "\n")
        log.flush()

    last_eval = time.time()
    while True:
        progress = step / options.steps if options.steps else spent / options.budget
        if progress >= 1 or time.time() - begin > options.seconds:
            break
        loss, extra = loss_of(net, Work(feed.batch(), device), dtype)
        (loss + 0.1 * extra).backward()
        norm = torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step(schedule(progress, step, warm_from))
        for p in net.parameters():
            p.grad = None
        for block in net.blocks:
            block.ffn.balance(1e-3 * (1 - progress))
        sums += torch.stack([loss.detach(), extra.detach()])
        step += 1
        if step - marked >= (25 if timing else 5):
            values = (sums / (step - marked)).tolist()
            elapsed = time.time() - mark
            if timing:      # the first steps compile; they do not count against the budget
                spent += elapsed
            if not math.isfinite(values[0]):
                raise SystemExit("the loss is not finite at step %d" % step)
            if step % 100 < 25 or not timing:
                report(loss=round(values[0], 4), indexer=round(values[1], 4), norm=round(float(norm), 3),
                       rate=round(schedule(progress, step, warm_from), 4),
                       tokens_per_second=int((step - marked) * options.rows * corpus.ROW / elapsed))
            sums.zero_()
            mark, marked, timing = time.time(), step, True
            if time.time() - last_eval > 100:
                report(held=evaluate(net, held, device, dtype, 4, not options.no_compile))
                last_eval = mark = time.time()
    if timing and step > marked:
        if device.type == "cuda":
            torch.cuda.synchronize()
        spent += time.time() - mark
    checkpoint.save(net, options.out, {"step": step, "seconds": spent, "progress": progress})
    os.makedirs(options.scratch, exist_ok=True)
    torch.save({"step": step, "optimizer": optimizer.state()}, kept)
    final = options.finish or progress >= 1
    more = held + ([held_feed.batch() for _ in range(6)] if final else [])
    report(held=evaluate(net, more, device, dtype, 4, not options.no_compile), final=final)
    if device.type == "cuda":
        report(memory_gib=round(torch.cuda.max_memory_allocated() / 2**30, 1),
               loads=[[round(float(x), 3) for x in b.ffn.bias] for b in net.blocks if not b.ffn.hashed])
    feed.close()
    held_feed.close()


if __name__ == "__main__":
    main()
