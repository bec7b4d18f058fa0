"""What the engine needs of a model: tokens in, logits out. `llama/` is the real one, `echo.py` needs no weights."""

from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from localrouter.engine.grammar.constraint import GrammarVocabulary
from localrouter.engine.kv_cache.checkpoints import Checkpoint
from localrouter.engine.messages import Segment
from localrouter.engine.model_info import ModelInfo
from localrouter.engine.sampling.distribution import Exponential
from localrouter.engine.scheduling.batch import Batch
from localrouter.engine.scheduling.limits import Limits

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

    @property
    def exp(self) -> Exponential:
        """What computes exponentials of logits fastest."""

    def tokenize(self, prompt: list[Segment], *, begin: bool = True) -> list[int]:
        """Return the tokens of a prompt; with `begin` the one that begins a text included, where the model wants one.

        Only control segments can become tokens of `info.marks`.
        """

    def piece(self, token: int) -> bytes:
        """Return the bytes that a token stands for; none for control tokens."""

    def text(self, token: int) -> bytes:
        """Return the bytes that a token stands for; of a control token those by which it is written."""

    def grammar_vocabulary(self) -> GrammarVocabulary:
        """Return what grammars have to know of the vocabulary."""

    def is_end(self, token: int) -> bool:
        """Whether the token ends the model's turn."""

    def decode(self, batch: Batch) -> Logits:
        """Compute the rows of `batch` into the cache.

        Returns the logits of `batch.outputs`, shape (outputs, vocabulary), valid until the next call. Raises CacheFull
        or BatchRefused; after any other exception the backend must not be used again.
        """

    def sampled_token(self, output: int) -> int | None:
        """Return the token that the backend itself has drawn for an output of the last batch, by its sequence's recipe.

        None where it has not, as most never do; then the logits are there. Raises NotFinite.
        """

    def fork(self, source: int, slot: int, count: int, checkpoint: Checkpoint | None) -> bool:
        """Let an empty slot share the first `count` tokens of another, without computing or copying them.

        Recurrent states and windows need the `checkpoint` that was kept there, unless these are all tokens of the
        source. Returns False, and leaves the slot empty, when the cache does not hold what it takes any more.
        """

    def save_state(self, slot: int) -> Checkpoint | None:
        """Copy what cannot be cut back of a slot, a recurrent state or windows, as it is now.

        Returns None when there is no memory for it.
        """

    def discard_state(self, checkpoint: Checkpoint) -> None:
        """Free a copy."""

    def store(self, handle: int, slot: int, start: int, end: int) -> bool:
        """Copy the cells of a slot from position `start` to `end` to memory outside the cache, under this handle.

        Returns False when there is no memory for it. Only asked for where `limits.archive_cells` says so.
        """

    def restore(self, handle: int, slot: int, start: int, end: int) -> bool:
        """Bring back those of a copy from position `start` to `end` to a slot that holds all before `start`.

        Returns False when the copy is not there, or the cache has no room for all of it.
        """

    def forget(self, handle: int) -> None:
        """Free a copy of cells; nothing where there is none."""

    def clear(self, slot: int) -> None:
        """Free all cells of a slot."""

    def close(self) -> None:
        """Free everything."""
