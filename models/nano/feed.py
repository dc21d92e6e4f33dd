"""Packed batches from worker processes, in an order that depends on the seed alone."""

import multiprocessing

import corpus


def _work(queue, seed, first, stride, held, rows):
    from bpe import Tokenizer
    tokenizer = Tokenizer()
    number = first
    while True:
        queue.put(corpus.shard(seed, number, tokenizer, rows=rows, held=held))
        number += stride


class Feed:
    """Batches of `rows` rows: shard k of the stream is batch k. Workers are forked, so make this before using CUDA."""

    def __init__(self, seed, rows, workers, first=0, held=False):
        context = multiprocessing.get_context("fork")
        self.queues = [context.Queue(maxsize=6) for _ in range(workers)]
        self.next = 0
        self.processes = [context.Process(target=_work, args=(q, seed, first + i, workers, held, rows), daemon=True)
                          for i, q in enumerate(self.queues)]
        for process in self.processes:
            process.start()

    def batch(self):
        """(ids, starts, mask) as NumPy arrays."""
        out = self.queues[self.next % len(self.queues)].get(timeout=300)
        self.next += 1
        return out

    def close(self):
        for process in self.processes:
            process.terminate()
