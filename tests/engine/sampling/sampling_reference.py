"""Reference of the sampler: the exact distribution by its definition, in double precision and with a sort."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from localrouter.engine.generation_request import Sampling

Row = NDArray[np.float32]
Exact = NDArray[np.float64]


def processed(row: Row, how: Sampling, prompt: Sequence[int] = (), output: Sequence[int] = ()) -> Exact:
    """Return the logits after penalties and bias, token by token."""
    logits = row.astype(np.float64)
    for token in {*prompt, *output}:
        logits[token] *= 1 / how.repeat_penalty if logits[token] > 0 else how.repeat_penalty
    for token, times in Counter(output).items():
        logits[token] -= how.presence_penalty + times * how.frequency_penalty
    for token, bias in how.logit_bias.items():
        logits[token] += bias
    return logits


def log_softmax(logits: Exact) -> Exact:
    """Return the log probabilities that logits stand for."""
    shifted = logits - logits.max()
    return np.asarray(shifted - np.log(np.exp(shifted).sum()))


def exact(row: Row, how: Sampling, prompt: Sequence[int] = (), output: Sequence[int] = ()) -> Exact:
    """Return the probability of each token."""
    logits = processed(row, how, prompt, output)
    chances = np.exp(log_softmax(logits / how.temperature))
    if 0 < how.top_k < len(row):
        chances[logits < np.sort(logits)[-how.top_k]] = 0
    if how.min_p > 0:
        chances[logits < logits.max() + how.temperature * np.log(how.min_p)] = 0
    chances /= chances.sum()
    chances[mass_above(chances) >= how.top_p] = 0
    return np.asarray(chances / chances.sum())


def mass_above(chances: Exact) -> Exact:
    """Return for each token what all strictly likelier ones sum up to; equal up to 1e-9 of it are equal."""
    order = np.argsort(-chances, kind="stable")
    ordered = chances[order]
    first = np.searchsorted(-ordered, -ordered * (1 + 1e-9))
    above = np.empty_like(chances)
    above[order] = np.concatenate([[0], ordered.cumsum()])[first]
    return above
