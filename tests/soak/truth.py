"""What a model says when it computes one conversation alone, with nothing shared: held against answers of a crowd.

Rounding depends on which rows are computed together, so an answer need not be the same: a random model has near ties.
But each of its tokens must be nearly the likeliest. How nearly is measured: each conversation is computed twice, cut
into batches differently, and what these two differ by in any logit is the noise.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from localrouter.engine.backends.llama.backend import LlamaBackend
from localrouter.engine.scheduling.batch import Batch

MARGIN = 3
"""A token may be this many times the noise below the likeliest: the answer and the truth are both off, either way."""
LEAST = 0.1
"""Noise in logits that is there however small the sample looks."""


@dataclass
class Verdict:
    """How far answers were from the truth, in logits."""

    answers: int = 0
    tokens: int = 0
    differing: int = 0
    """Tokens that are not the likeliest."""
    noise: float = LEAST
    worst: float = 0.0
    """How far the worst of the tokens was below the likeliest."""
    worst_answer: float = 0.0
    """How far the tokens of an answer were below the likeliest on average, in the worst of the answers."""
    total: float = 0.0
    """The sum over all tokens."""
    spread: float = math.inf
    """How far a token taken at random is below the likeliest, on average: as far as those of a wrong answer."""

    def check(self) -> None:
        """Assert that tokens were no farther below the likeliest than rounding explains.

        The noise of experts that are chosen differently is nearly as large as the spread, but it is seldom.
        """
        assert self.worst <= MARGIN * self.noise, f"a token is wrong: {self}"
        assert self.worst_answer <= self.spread / 2, f"an answer is wrong: {self}"
        assert self.total <= self.tokens * self.spread / 20, f"answers are wrong now and then: {self}"


class Truth:
    """A backend of its own, which computes one conversation at a time."""

    def __init__(self, backend: LlamaBackend, *, together: int = 7) -> None:
        """`together` are the rows of an answer that the second computation puts into a batch."""
        self._backend, self._together = backend, min(together, backend.limits.slots)

    def judge(self, prompt: list[int], answer: list[int], verdict: Verdict) -> None:
        """Add an answer that was greedy to a verdict."""
        one, other = (
            self._logits([*prompt, *answer[:-1]], len(prompt), *cut) for cut in ((128, 1), (50, self._together))
        )
        gaps = one.max(axis=1) - one[range(len(answer)), answer]
        verdict.answers += 1
        verdict.tokens += len(answer)
        verdict.differing += int((one.argmax(axis=1) != answer).sum())
        verdict.noise = max(verdict.noise, float(abs(one - other).max()))
        verdict.worst = max(verdict.worst, float(gaps.max()))
        verdict.worst_answer = max(verdict.worst_answer, float(gaps.mean()))
        verdict.total += float(gaps.sum())
        verdict.spread = min(verdict.spread, float((one.max(axis=1) - one.mean(axis=1)).mean()))

    def _logits(self, tokens: list[int], prompt: int, rows: int, answer_rows: int) -> NDArray[np.float32]:
        """The logits after the prompt and after each later token, computed in batches of so many rows."""
        found: list[NDArray[np.float32]] = []
        done = 0
        while done < len(tokens):
            count = min(rows, prompt - done) if done < prompt else min(answer_rows, len(tokens) - done)
            span = range(done, done + count)
            outputs = [row for row, position in enumerate(span) if position >= prompt - 1]
            batch = Batch([tokens[position] for position in span], [*span], [0] * count, outputs)
            found += [row.copy() for row in self._backend.decode(batch)]
            done += count
        self._backend.clear(0)
        return np.array(found)
