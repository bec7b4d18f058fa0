"""Log probabilities of prompt tokens, by the arithmetic of sampled ones. Rows of logits are read, and never copied."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from localrouter.engine.messages import PromptToken
from localrouter.engine.sampling.sampler import Sampler, rank_of


def score(
    tokens: Sequence[int],
    due: range,
    rows: NDArray[np.float32],
    top: int,
    sampler: Sampler,
    text: Callable[[int], bytes],
) -> tuple[PromptToken, ...]:
    """Return the log probabilities of the prompt tokens at the positions `due`, each with the `top` likeliest ones.

    `rows` begins with the logits for the first of them, shape (rows, vocabulary); the token at position 0 has none.
    `text` returns the bytes of a token. Raises NotFinite.
    """
    scored = [PromptToken(tokens[0], text(tokens[0]))] if due.start == 0 else []
    for row, position in zip(rows, range(max(due.start, 1), due.stop), strict=False):
        token = tokens[position]
        found = sampler.describe(row, token, top)
        likeliest = tuple((other, text(other), value) for other, value in found.top)
        scored.append(PromptToken(token, text(token), found.logprob, rank_of(row, token), likeliest))
    return tuple(scored)
