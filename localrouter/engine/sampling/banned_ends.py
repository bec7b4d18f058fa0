"""Tokens that end an output and must not be sampled yet, by `min_tokens` and `ignore_eos`."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from localrouter.engine.generation_request import Sampling


class BannedEnds:
    """The tokens that must not come next in one output, by the number of tokens that it has."""

    def __init__(self, sampling: Sampling, end_tokens: Iterable[int]) -> None:
        """`end_tokens` are the model's own. `ignore_eos` is about these; before `min_tokens` stop tokens wait too."""
        ends = {*end_tokens}
        self._min_tokens = sampling.min_tokens
        self._before = np.array(sorted({*ends, *sampling.stop_tokens}), np.intp)
        self._after = np.array(sorted(ends - {*sampling.stop_tokens}), np.intp) if sampling.ignore_eos else None

    def after(self, tokens: int) -> NDArray[np.intp] | None:
        """Return the tokens that must not follow so many output tokens; None for none."""
        return self._before if tokens < self._min_tokens else self._after
