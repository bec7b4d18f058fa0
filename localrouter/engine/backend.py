"""What the engine needs of a model: tokens in, logits out. `llama/` is the real one, `echo.py` needs no weights."""

from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from localrouter.engine.messages import ModelInfo, Segment
from localrouter.engine.scheduler import Batch, Limits

Logits: TypeAlias = NDArray[np.float32]


class LoadError(Exception):
    """The model cannot be loaded; the message is for whoever asked for it, without a path of the machine."""


class CacheFull(Exception):
    """No place was found for the rows of a batch. Nothing was computed; fewer sequences may fit."""


class BatchRefused(Exception):
    """The backend found the batch itself wrong. Nothing was computed; the requests in it cannot go on."""


class Backend(Protocol):
    """A loaded model and its cache."""

    @property
    def info(self) -> ModelInfo:
        """What it is, and where it runs."""

    @property
    def limits(self) -> Limits:
        """What a batch and the cache can hold."""

    def tokenize(self, prompt: list[Segment]) -> list[int]:
        """Return the tokens of a prompt, its beginning-of-text token included where the model wants one."""

    def piece(self, token: int) -> bytes:
        """Return the bytes that a token stands for; none for control tokens."""

    def is_end(self, token: int) -> bool:
        """Whether the token ends the model's turn."""

    def decode(self, batch: Batch) -> Logits:
        """Compute the rows of `batch` into the cache.

        Returns the logits of `batch.outputs`, shape (outputs, vocabulary), valid until the next call. Raises CacheFull
        or BatchRefused; after any other exception the backend must not be used again.
        """

    def clear(self, slot: int) -> None:
        """Free all cells of a slot."""

    def close(self) -> None:
        """Free everything."""
