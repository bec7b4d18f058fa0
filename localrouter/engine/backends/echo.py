"""Backend without weights, whose output is the user's last message, byte by byte; again where it may not end.

It ships with the package so that clients and test suites can be tried against a real server that starts at once and has
the same output each time. Tokens are bytes, and three control tokens of ChatML.
"""

import time
from itertools import count

import numpy as np

from localrouter.engine.backends.base import Logits
from localrouter.engine.generation_request import Segment
from localrouter.engine.grammar.constraint import GrammarVocabulary
from localrouter.engine.kv_cache.checkpoints import Checkpoint
from localrouter.engine.model_info import ComputeDevice, ModelInfo
from localrouter.engine.sampling.distribution import Exponential, exponential
from localrouter.engine.scheduling.batch import Batch
from localrouter.engine.scheduling.engine_limits import EngineLimits
from localrouter.load_options import LoadOptions
from localrouter.memory.pool import sizes_without_weights

CONTROL = ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]
START, END, PADDING = 256, 257, 258
VOCABULARY = 259
_UNLIKELY = -1000.0
"""Logit of a token that is sampled only where the end token must not be."""


class EchoBackend:
    """Stores the tokens of each slot, as a KV cache would, and gives all probability to the next byte of the echo."""

    def __init__(self, options: LoadOptions, step_ms: float = 0.0) -> None:
        """`step_ms` is the duration of each step in milliseconds, spent sleeping."""
        context, cells = sizes_without_weights(options)
        self.info = ModelInfo(
            architecture="echo",
            context=context,
            cells=cells,
            max_sequences=options.max_sequences,
            parameters=0,
            size=0,
            vocabulary=VOCABULARY,
            device=ComputeDevice("CPU", 0, 0),
            threads=1,
            chat_template=None,
            bos_token="",
            eos_token=CONTROL[1],
            control_tokens=CONTROL,
            special_tokens={text: START + index for index, text in enumerate(CONTROL)},
        )
        self.exp: Exponential = exponential
        self.limits = EngineLimits(
            cells=self.info.cells, slots=2 * options.max_sequences, running=options.max_sequences
        )
        self._slots: dict[int, list[tuple[int, int]]] = {}
        """Tokens of each slot, each with the number of its cell."""
        self._numbers = count()
        self._step_seconds = step_ms / 1000

    def tokenize(self, prompt: list[Segment], *, begin: bool = True) -> list[int]:
        """Return one token per UTF-8 byte, and one per control token. There is no begin-of-text token."""
        tokens: list[int] = []
        for segment in prompt:
            rest = segment.text
            while rest:
                found = min(_controls_in(rest), default=(len(rest), None)) if segment.control else (len(rest), None)
                tokens += rest[: found[0]].encode()
                if found[1] is not None:
                    tokens.append(START + found[1])
                rest = rest[found[0] + (0 if found[1] is None else len(CONTROL[found[1]])) :]
        return tokens

    def piece(self, token: int) -> bytes:
        """Return the byte of a token; none for a control token."""
        return bytes([token]) if token < START else b""

    def text(self, token: int) -> bytes:
        """Return the byte of a token; for a control token the bytes of its spelling."""
        return self.piece(token) or CONTROL[token - START].encode()

    def grammar_vocabulary(self) -> GrammarVocabulary:
        """Return bytes and control tokens in the form that grammars need."""
        pieces = [self.text(token) for token in range(VOCABULARY)]
        return GrammarVocabulary(pieces, range(START, VOCABULARY), self.end_tokens, lambda text: list(text.encode()))

    def is_end(self, token: int) -> bool:
        """Whether the token is `<|im_end|>` or `<|endoftext|>`."""
        return token in self.end_tokens

    @property
    def end_tokens(self) -> list[int]:
        """Return `<|im_end|>` and `<|endoftext|>`."""
        return [END, PADDING]

    def decode(self, batch: Batch) -> Logits:
        """Store the rows in their slots; return logits that allow one token for each output, but for its end."""
        if self._step_seconds:
            time.sleep(self._step_seconds)
        for token, position, slot in zip(batch.tokens, batch.positions, batch.slots, strict=True):
            cells = self._slots.setdefault(slot, [])
            assert position == len(cells), "a position was skipped or computed twice"
            cells.append((token, next(self._numbers)))
        assert self.cells_used <= self.limits.cells
        logits = np.full((len(batch.outputs), VOCABULARY), -np.inf, np.float32)
        for row, output in enumerate(batch.outputs):
            byte, is_over = next_of_echo([token for token, _ in self._slots[batch.slots[output]]])
            logits[row, byte] = _UNLIKELY if is_over else 0
            if is_over:
                logits[row, END] = 0
        return logits

    def sampled_token(self, output: int) -> int | None:
        """Return None: this backend has no sampler chains."""

    def fork(self, source: int, slot: int, count: int, checkpoint: Checkpoint | None) -> bool:
        """Share the first cells of the slot `source`; returns True."""
        assert not self._slots.get(slot)
        assert checkpoint is None
        assert count <= len(self._slots[source])
        self._slots[slot] = self._slots[source][:count]
        return True

    def save_state(self, slot: int) -> Checkpoint | None:
        """Fail: a cache that can be forked at any token needs no checkpoints."""
        raise AssertionError(slot)

    def discard_state(self, checkpoint: Checkpoint) -> None:
        """Fail: there are no checkpoints."""
        raise AssertionError(checkpoint)

    def store(self, handle: int, slot: int, start: int, end: int) -> bool:
        """Fail: there is no host store."""
        raise AssertionError(handle)

    def restore(self, handle: int, slot: int, start: int, end: int) -> bool:
        """Fail: there is no host store."""
        raise AssertionError(handle)

    def forget(self, handle: int) -> None:
        """Fail: there is no host store."""
        raise AssertionError(handle)

    def clear(self, slot: int) -> None:
        """Free all cells of a slot."""
        self._slots.pop(slot, None)

    def close(self) -> None:
        """Free all slots."""
        self._slots.clear()

    @property
    def cells_used(self) -> int:
        """Number of cells in use; tests compare it with the scheduler's count."""
        return len({cell for held in self._slots.values() for _, cell in held})


def next_of_echo(tokens: list[int]) -> tuple[int, bool]:
    """Return the byte of the repeated last user message that follows the assistant's output, and whether that is whole.

    An empty message is repeated as spaces.
    """
    turns = _turns(tokens)
    output = turns[-1][1] if turns else []
    message = next((content for role, content in reversed(turns) if role == b"user"), [])
    repeated = [byte for byte in message if byte < START] or [ord(" ")]
    if len(output) < len(message):
        return message[len(output)], False
    return repeated[len(output) % len(repeated)], True


def _turns(tokens: list[int]) -> list[tuple[bytes, list[int]]]:
    """Return role and content of each turn; a text without `<|im_start|>` is one user turn, and an empty reply."""
    if START not in tokens:
        return [(b"user", tokens), (b"assistant", [])]
    turns: list[tuple[bytes, list[int]]] = []
    starts = [index for index, token in enumerate(tokens) if token == START]
    for start, stop in zip(starts, [*starts[1:], len(tokens)], strict=True):
        turn = tokens[start + 1 : stop]
        head = turn.index(10) if 10 in turn else len(turn)
        end = turn.index(END) if END in turn else len(turn)
        turns.append((bytes(token for token in turn[:head] if token < START), turn[head + 1 : end]))
    return turns


def _controls_in(text: str) -> list[tuple[int, int]]:
    return [(text.index(control), index) for index, control in enumerate(CONTROL) if control in text]
