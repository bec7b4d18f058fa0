"""Interface of a backend: tokens in, logits out. `llama/` computes with llama.cpp, `echo.py` needs no weights."""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from localrouter.engine.generation_request import Segment
from localrouter.engine.grammar.constraint import GrammarVocabulary
from localrouter.engine.kv_cache.checkpoints import Checkpoint
from localrouter.engine.model_info import ModelInfo
from localrouter.engine.sampling.distribution import Exponential
from localrouter.engine.scheduling.batch import Batch
from localrouter.engine.scheduling.engine_limits import EngineLimits

Logits: TypeAlias = NDArray[np.float32]


class LoadError(Exception):
    """The model cannot be loaded. Clients can read the message, so it has no path of the machine."""


class CacheFull(Exception):
    """The KV cache has no cells for the rows of a batch. Nothing was computed; fewer sequences may fit."""


class BatchRefused(Exception):
    """The batch is invalid for the backend. Nothing was computed; the requests in it have to end."""


class Backend(Protocol):
    """A loaded model and its KV cache."""

    @property
    def info(self) -> ModelInfo:
        """Facts about the model and its device."""

    @property
    def limits(self) -> EngineLimits:
        """Limits of a batch and of the KV cache."""

    @property
    def exp(self) -> Exponential:
        """Fastest function for exponentials of logits."""

    def tokenize(self, prompt: list[Segment], *, begin: bool = True) -> list[int]:
        """Return the tokens of a prompt, with `begin` the begin-of-text token included where the model wants one.

        Special tokens are recognised in control segments only.
        """

    def piece(self, token: int) -> bytes:
        """Return the bytes that a token stands for; none for control tokens."""

    def text(self, token: int) -> bytes:
        """Return the bytes that a token stands for; for a control token the bytes of its spelling."""

    def grammar_vocabulary(self) -> GrammarVocabulary:
        """Return the vocabulary in the form that grammars need."""

    def is_end(self, token: int) -> bool:
        """Whether the token ends the model's turn."""

    @property
    def end_tokens(self) -> Sequence[int]:
        """All tokens for which `is_end` is true."""

    def decode(self, batch: Batch) -> Logits:
        """Compute the rows of `batch`, and store their keys and values in the KV cache.

        Returns the logits of `batch.outputs`, shape (outputs, vocabulary), valid until the next call. Raises CacheFull
        or BatchRefused; after any other exception the backend must not be used again.
        """

    def sampled_token(self, output: int) -> int | None:
        """Return the token that the backend's sampler chain sampled for an output of the last batch.

        None where the sequence has no chain: then its logits have to be sampled. Raises NotFinite.
        """

    def fork(self, source: int, slot: int, count: int, checkpoint: Checkpoint | None) -> bool:
        """Let an empty slot share the first `count` tokens of the slot `source`, without computing or copying cells.

        With recurrent states or windows it needs the `checkpoint` saved at `count`, unless these are all tokens of the
        source. Returns False, and leaves the slot empty, when the KV cache has lost some of these cells.
        """

    def save_state(self, slot: int) -> Checkpoint | None:
        """Copy the recurrent state, or the windows, of a slot: the part of it that cannot be truncated later.

        Returns None without memory for the copy.
        """

    def discard_state(self, checkpoint: Checkpoint) -> None:
        """Free a copy that `save_state` made."""

    def store(self, handle: int, slot: int, start: int, end: int) -> bool:
        """Copy the cells of a slot from position `start` to `end` to the host store, under this handle.

        Returns False without memory for the copy. Called only where `limits.host_store_cells` is above 0.
        """

    def restore(self, handle: int, slot: int, start: int, end: int) -> bool:
        """Copy cells from position `start` to `end` back from the host store to a slot that holds all before `start`.

        Returns False when there is no such copy, or the KV cache has no room for all of it.
        """

    def forget(self, handle: int) -> None:
        """Free a copy in the host store, if there is one."""

    def clear(self, slot: int) -> None:
        """Free all KV cells of a slot."""

    def close(self) -> None:
        """Free the model and its KV cache."""
