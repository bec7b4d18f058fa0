"""Makes the demo model from nothing: conversations, tokenizer, network, GGUF file. Run `python -m training.train`."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin starve each other on a busy machine
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import torch
from torch.nn import functional

from training import pin, tokenizer
from training.conversations import Generator
from training.dataset import Batch, Dataset
from training.export import export
from training.held_out import EXAM_WORDS
from training.lexicon import ACTION_VERBS, ADJECTIVES, LOOKUP_VERBS, NOUNS, Lexicon
from training.network import Network, Shape
from training.optimizer import Muon
from training.pin import ASSET
from training.template import render_example
from training.tokenizer import Vocabulary
from training.tools import NUMBER_ARGUMENTS, TEXT_ARGUMENTS

SEED = 20
MERGES, SPACED_WORDS = 1560, 360
MUON_RATE, ADAM_RATE = 4e-3, 3e-3
WARM_UP_STEPS, CONSTANT_SHARE, FINAL_SHARE = 60, 0.35, 0.005


def make_vocabulary(lexicon: Lexicon) -> Vocabulary:
    """Learn the tokenizer on conversations of its own."""
    generator = Generator(SEED, lexicon)
    texts = (render_example(generator.conversation()) for _ in range(12_000))
    content = {*NOUNS, *LOOKUP_VERBS, *ACTION_VERBS, *ADJECTIVES, *TEXT_ARGUMENTS, *NUMBER_ARGUMENTS}
    return tokenizer.train(texts, MERGES, SPACED_WORDS, content)


def rate(step: int, progress: float) -> float:
    """Return the share of the full learning rate: up by steps, constant, then down to almost nothing by progress."""
    decay = 1.0 if progress < CONSTANT_SHARE else (1 - progress) / (1 - CONSTANT_SHARE)
    return min(1.0, (step + 1) / WARM_UP_STEPS) * max(FINAL_SHARE, decay)


class Trainer:
    """Float32 master weights, a bfloat16 copy that does the work, and one optimizer for each kind of parameter."""

    def __init__(self, shape: Shape) -> None:
        torch.manual_seed(SEED)
        self.master = Network(shape)
        self.worker = Network(shape)
        self.worker.to(torch.bfloat16)
        named = list(self.master.named_parameters())
        matrices = [p for name, p in named if p.ndim == 2 and name != "token_embd.weight"]
        others = [p for name, p in named if p.ndim != 2 or name == "token_embd.weight"]
        self.optimizers: list[torch.optim.Optimizer] = [
            Muon(matrices, MUON_RATE),
            torch.optim.AdamW(others, ADAM_RATE, betas=(0.9, 0.98), weight_decay=0.0),
        ]
        self.full_rates = [MUON_RATE, ADAM_RATE]

    def step(self, batch: Batch, share: float) -> float:
        """One update; returns the mean loss."""
        with torch.no_grad():
            for copy, parameter in zip(self.worker.parameters(), self.master.parameters(), strict=True):
                copy.copy_(parameter)
        states = self.worker(torch.from_numpy(batch.tokens)).flatten(0, 1)[torch.from_numpy(batch.places)]
        weights = torch.from_numpy(batch.weights)
        losses = functional.cross_entropy(self.worker.logits(states), torch.from_numpy(batch.targets), reduction="none")
        (losses * weights).sum().div(weights.sum()).backward()
        for copy, parameter in zip(self.worker.parameters(), self.master.parameters(), strict=True):
            assert copy.grad is not None
            parameter.grad = copy.grad.float()
            copy.grad = None
        for optimizer, full in zip(self.optimizers, self.full_rates, strict=True):
            optimizer.param_groups[0]["lr"] = full * share
            optimizer.step()
        return float((losses.detach() * weights).sum() / weights.sum())


def train(shape: Shape, dataset: Dataset, seconds: float) -> Network:
    """Train for a wall-clock budget; a slower machine takes fewer steps, but its learning rate still decays fully."""
    trainer = Trainer(shape)
    begin, step, tokens, average = time.monotonic(), 0, 0, 0.0
    for batch in dataset.batches():
        progress = (time.monotonic() - begin) / seconds
        if progress >= 1:
            break
        loss = trainer.step(batch, rate(step, progress))
        step, tokens = step + 1, tokens + batch.tokens.size
        keep = min(0.98, 1 - 1 / step)
        average = keep * average + (1 - keep) * loss
        if step % 20 == 0:
            minutes = (time.monotonic() - begin) / 60
            print(f"step {step:5d}  {minutes:5.1f} min  {tokens / 1e6:6.2f} M tokens  loss {average:.4f}", flush=True)
    return trainer.master


def main() -> None:
    """Train, export, and say how big the result is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=34.0, help="time for the training itself (default: 34)")
    parser.add_argument("--output", type=Path, default=ASSET, help="the GGUF file to write (default: the package's)")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    begin = time.monotonic()
    lexicon = Lexicon(banned=EXAM_WORDS)
    vocabulary = make_vocabulary(lexicon)
    lexicon.pieces = vocabulary.pieces()
    shape = Shape(vocabulary=len(vocabulary.tokens))
    print(f"vocabulary of {len(vocabulary.tokens)} after {time.monotonic() - begin:.0f} s", flush=True)
    network = train(shape, Dataset(vocabulary, lexicon, SEED), options.minutes * 60)
    export(network, vocabulary, options.output)
    if options.output.resolve() == ASSET:
        pin.write(ASSET, pin.MANIFEST)
    size = sum(parameter.numel() for parameter in network.parameters())
    written = options.output.stat().st_size
    print(f"{options.output.name}: {size} parameters, {written} bytes, {time.monotonic() - begin:.0f} s")


if __name__ == "__main__":
    main()
