"""The reference: greedy outputs of concurrent requests are compared with logits computed for each request alone.

Rounding depends on which rows are computed together, so an output need not be the same: a random model has near ties.
But each of its tokens must be nearly the most likely. How nearly is measured: each conversation is computed twice, in
different batches, and the largest difference of the two in any logit is the noise.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from localrouter.engine.backends.llama.backend import LlamaBackend
from localrouter.engine.scheduling.batch import Batch

MARGIN = 3
"""A token may be this many times the noise below the most likely: output and reference both have noise."""
MIN_NOISE = 0.1
"""Smallest noise in logits that is assumed, because a small sample may have less by chance."""


@dataclass
class Verdict:
    """How far outputs were from the reference, in logits."""

    outputs: int = 0
    tokens: int = 0
    differing: int = 0
    """Number of tokens that are not the most likely."""
    noise: float = MIN_NOISE
    worst: float = 0.0
    """Largest distance of a token below the most likely."""
    worst_output: float = 0.0
    """Largest mean distance of the tokens of one output below the most likely."""
    total: float = 0.0
    """Sum of the distances of all tokens."""
    spread: float = math.inf
    """Mean distance of a random token below the most likely: that of the tokens of a wrong output."""

    def check(self) -> None:
        """Assert that tokens were no further below the most likely than rounding explains.

        Where rounding selects other experts, the noise is nearly as large as the spread, but this is rare.
        """
        assert self.worst <= MARGIN * self.noise, f"a token is wrong: {self}"
        assert self.worst_output <= self.spread / 2, f"an output is wrong: {self}"
        assert self.total <= self.tokens * self.spread / 20, f"some outputs are wrong: {self}"


class Reference:
    """Computes one conversation at a time, on a backend of its own."""

    def __init__(self, backend: LlamaBackend, *, together: int = 7) -> None:
        """`together` is the number of output tokens in each batch of the second computation."""
        self._backend, self._together = backend, min(together, backend.limits.slots)

    def verify(self, prompt: list[int], output: list[int], verdict: Verdict) -> None:
        """Compare a greedy output with the reference, and add the result to a verdict."""
        one, other = (
            self._logits([*prompt, *output[:-1]], len(prompt), *rows) for rows in ((128, 1), (50, self._together))
        )
        gaps = one.max(axis=1) - one[range(len(output)), output]
        verdict.outputs += 1
        verdict.tokens += len(output)
        verdict.differing += int((one.argmax(axis=1) != output).sum())
        verdict.noise = max(verdict.noise, float(abs(one - other).max()))
        verdict.worst = max(verdict.worst, float(gaps.max()))
        verdict.worst_output = max(verdict.worst_output, float(gaps.mean()))
        verdict.total += float(gaps.sum())
        verdict.spread = min(verdict.spread, float((one.max(axis=1) - one.mean(axis=1)).mean()))

    def _logits(self, tokens: list[int], prompt: int, rows: int, output_rows: int) -> NDArray[np.float32]:
        """Return the logits after the prompt and after each later token, computed in batches of so many rows."""
        found: list[NDArray[np.float32]] = []
        done = 0
        while done < len(tokens):
            count = min(rows, prompt - done) if done < prompt else min(output_rows, len(tokens) - done)
            span = range(done, done + count)
            outputs = [row for row, position in enumerate(span) if position >= prompt - 1]
            batch = Batch([tokens[position] for position in span], [*span], [0] * count, outputs)
            found += [row.copy() for row in self._backend.decode(batch)]
            done += count
        self._backend.clear(0)
        return np.array(found)
