"""Logits processors of a request: penalties for tokens that occurred, and the logit bias.

First the repeat penalty, for tokens of the prompt and of the output: a logit l > 0 becomes l / penalty, others
l * penalty (Keskar et al. 2019, "CTRL", with the sign of l heeded as llama.cpp and Transformers do). Then terms are
added: for tokens of the output, sampled c > 0 times, -presence_penalty - c * frequency_penalty, and the bias, both as
OpenAI defines them. The factor comes before the terms, so that a bias adds exactly the number in the request.
"""

from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from localrouter.engine.generation_request import Sampling


class SeenTokens:
    """Distinct tokens of a sequence, and how often each was sampled. Those of `prompt` count as sampled 0 times."""

    def __init__(self, prompt: Iterable[int] = ()) -> None:
        distinct = list(dict.fromkeys(prompt))
        self._places = {token: place for place, token in enumerate(distinct)}
        self._tokens = np.array(distinct, np.intp)
        self._times = np.zeros(len(distinct), np.float32)

    def add(self, token: int) -> None:
        """Count a token that was sampled."""
        place = self._places.get(token)
        if place is None:
            place = self._places[token] = len(self._places)
            if place == len(self._tokens):
                size = max(64, 2 * place)
                self._tokens, self._times = np.resize(self._tokens, size), np.resize(self._times, size)
            self._tokens[place], self._times[place] = token, 0
        self._times[place] += 1

    @property
    def tokens(self) -> NDArray[np.intp]:
        """Tokens that occurred, each once."""
        return self._tokens[: len(self._places)]

    @property
    def times(self) -> NDArray[np.float32]:
        """Number of times that each of `tokens` was sampled."""
        return self._times[: len(self._places)]


class Penalties:
    """Penalties and logit bias of one sequence.

    It keeps a reference to the sequence's list of tokens: each call of `apply` counts the tokens appended since the
    last one. Nothing is counted for a request without penalties.
    """

    def __init__(self, sampling: Sampling, tokens: Sequence[int]) -> None:
        """`tokens` is the list of the sequence: the prompt now, and later the sampled tokens too."""
        self._sampling = sampling
        self._tokens = tokens
        self._counted = len(tokens)
        self._seen: SeenTokens | None = None
        bias = sorted(sampling.logit_bias.items())
        self._biased = np.array([token for token, _ in bias], np.intp)
        self._bias = np.array([value for _, value in bias], np.float32)

    def apply(self, row: NDArray[np.float32], out: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the processed logits in `out`; `row` itself, uncopied, without penalties and biases."""
        if not self._penalizes and not len(self._biased):
            return row
        np.copyto(out, row)
        if self._penalizes:
            self._penalize(out)
        if len(self._biased):
            assert 0 <= self._biased[0] <= self._biased[-1] < len(row), "a bias for a token outside of the vocabulary"
            out[self._biased] += self._bias
        return out

    @property
    def _penalizes(self) -> bool:
        how = self._sampling
        return how.repeat_penalty != 1 or how.presence_penalty != 0 or how.frequency_penalty != 0

    def _penalize(self, logits: NDArray[np.float32]) -> None:
        how, seen = self._sampling, self._count()
        values = logits[seen.tokens]
        if how.repeat_penalty != 1:
            penalty = np.float32(how.repeat_penalty)
            values = np.where(values > 0, values / penalty, values * penalty)
        values -= np.float32(how.frequency_penalty) * seen.times
        values -= np.float32(how.presence_penalty) * (seen.times > 0)
        logits[seen.tokens] = values

    def _count(self) -> SeenTokens:
        """Return the tokens that occurred. The prompt is counted once, and only where the repeat penalty needs it."""
        if self._seen is None:
            prompt = self._tokens[: self._counted] if self._sampling.repeat_penalty != 1 else ()
            self._seen = SeenTokens(prompt)
        for token in islice(self._tokens, self._counted, None):
            self._seen.add(token)
        self._counted = len(self._tokens)
        return self._seen
