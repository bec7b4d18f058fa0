"""Endless batches of generated conversations: rows of similar length, and the places where the loss is taken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

from training.conversations import Generator
from training.lexicon import Lexicon
from training.template import render_example
from training.tokenizer import Vocabulary

WIDTHS = (*range(32, 288, 16), *range(288, 416, 32), 480, 576, 768, 1024, 1536)
BATCH_TOKENS = 6144
CHUNK = 6000  # conversations made at a time
PROMPT_SHARE, PROMPT_WEIGHT = 0.04, 0.3  # a few of the other tokens are learned too, lightly
FULL_LENGTH = 30  # tokens of longer answers weigh less, or stories would outweigh all else


@dataclass(frozen=True)
class Batch:
    """tokens (rows, width), and of the predicted positions: flat index, target token, weight."""

    tokens: NDArray[np.int64]
    places: NDArray[np.int64]
    targets: NDArray[np.int64]
    weights: NDArray[np.float32]


@dataclass(frozen=True)
class Marks:
    """Token ids of the delimiters around an answer."""

    start: int
    end: int
    pad: int
    opens: int
    closes: int
    assistant: tuple[int, ...]

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> Marks:
        """Return the token ids of the delimiters in a vocabulary."""
        head = tuple(vocabulary.tokenizer.encode("assistant\n").ids)
        one = vocabulary.index
        return cls(one("<|im_start|>"), one("<|im_end|>"), one("<|endoftext|>"), one("<think>"), one("</think>"), head)


def answer_weights(ids: NDArray[np.int64], marks: Marks, thinking: bool | None) -> NDArray[np.float32]:
    """Return the loss weight of each token: 1 for the assistant's tokens and its end token, 0 for the prompt."""
    weights = np.zeros(len(ids), dtype=np.float32)
    ends = np.flatnonzero(ids == marks.end)
    for start in np.flatnonzero(ids == marks.start):
        first = start + 1 + len(marks.assistant)
        if tuple(ids[start + 1 : first]) != marks.assistant:
            continue
        last = ends[np.searchsorted(ends, first)]
        if ids[first] == marks.opens:
            first += 2 if thinking else 4
        weights[first : last + 1] = min(1.0, (FULL_LENGTH / (last + 1 - first)) ** 0.5)
    return weights


class Dataset:
    """Batches drawn from a seed; every chunk of conversations is new."""

    def __init__(self, vocabulary: Vocabulary, lexicon: Lexicon, seed: int) -> None:
        self.vocabulary, self.lexicon, self.seed = vocabulary, lexicon, seed
        self.marks = Marks.of(vocabulary)
        self.random = np.random.default_rng(seed)

    def batches(self) -> Iterator[Batch]:
        """Yield an endless sequence of batches."""
        waiting: dict[int, list[tuple[NDArray[np.int64], NDArray[np.float32]]]] = {width: [] for width in WIDTHS}
        chunk = 0
        while True:
            ready = []
            for ids, weights in self._examples(chunk):
                width = next((width for width in WIDTHS if width >= len(ids)), None)
                if width is None:
                    continue
                waiting[width].append((ids, weights))
                if len(waiting[width]) == BATCH_TOKENS // width:
                    ready.append(self._batch(waiting[width], width))
                    waiting[width] = []
            Random(self.seed + chunk).shuffle(ready)
            yield from ready
            chunk += 1

    def _examples(self, chunk: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        generator = Generator(self.seed * 100_003 + chunk, self.lexicon)
        made = [generator.conversation() for _ in range(CHUNK)]
        encoded = self.vocabulary.tokenizer.encode_batch_fast([render_example(one) for one in made])
        for one, encoding in zip(made, encoded, strict=True):
            ids = np.array(encoding.ids, dtype=np.int64)
            yield ids, answer_weights(ids, self.marks, one.thinking)

    def _batch(self, rows: list[tuple[NDArray[np.int64], NDArray[np.float32]]], width: int) -> Batch:
        tokens = np.full((len(rows), width), self.marks.pad, dtype=np.int64)
        weights = np.zeros((len(rows), width), dtype=np.float32)
        for row, (ids, answers) in enumerate(rows):
            tokens[row, : len(ids)] = ids
            others = (self.random.random(len(ids)) < PROMPT_SHARE) * PROMPT_WEIGHT
            weights[row, : len(ids)] = np.maximum(answers, others)
        weights = np.roll(weights, -1, axis=1)  # the loss sits where a token is predicted, one before it stands
        weights[:, -1] = 0
        places = np.flatnonzero(weights)
        return Batch(tokens, places, tokens.reshape(-1)[places + 1], weights.reshape(-1)[places])
