"""Which tokens are computed in the next step: pure bookkeeping over ints and lists, without llama.cpp.

Every running sequence that is decoding gets one row in every step. Prompts are read in chunks: large ones while nobody
is decoding, small ones beside running streams, so that those go on. All sequences share one pool of cells. A sequence
is admitted when its tokens fit; when cells run out later, the youngest is set back: it gives up its cells and is
computed again when there is room, and its reader only notices a pause.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from localrouter.engine.sequence import Sequence, State
from localrouter.memory.plan import ROWS


@dataclass(frozen=True)
class Limits:
    """What the cache and a step can hold. All counts are of tokens, but `slots`."""

    cells: int
    """Positions of the cache, shared by all sequences."""
    slots: int
    """Sequences that can be in the cache at the same time."""
    prefill_rows: int = ROWS
    """Prompt tokens per step while nobody is decoding."""
    shared_rows: int = 64
    """Prompt tokens per step beside running streams."""
    one_prompt: bool = False
    """Read one prompt per step: recurrent layers are slow on batches of unequal lengths."""


@dataclass(slots=True)
class Batch:
    """The rows of one step. Row i is `tokens[i]` at `positions[i]` of the sequence in `slots[i]`.

    Logits are wanted for the rows in `outputs`; `sampled[k]` is the sequence that the k-th of them belongs to.
    """

    tokens: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    sampled: list[Sequence] = field(default_factory=list)
    chunks: list[tuple[Sequence, int]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.tokens)

    def add(self, sequence: Sequence, count: int) -> None:
        """Add the next `count` pending tokens of `sequence`; its last token gets logits."""
        start, end = sequence.computed, sequence.computed + count
        self.tokens += sequence.tokens[start:end]
        self.positions += range(start, end)
        self.slots += [sequence.slot] * count
        self.chunks.append((sequence, count))
        if end == len(sequence.tokens):
            self.outputs.append(len(self.tokens) - 1)
            self.sampled.append(sequence)


class Scheduler:
    """Holds every sequence that has not ended, and decides what each step computes."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        """In the order of admission: the last is the youngest."""
        self._free_slots = list(range(limits.slots - 1, -1, -1))
        self._vacated: list[int] = []
        self._of_id: dict[int, Sequence] = {}

    @property
    def cells_used(self) -> int:
        """Cells that hold computed tokens."""
        return sum(sequence.computed for sequence in self.running)

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to compute."""
        return not self._of_id

    def __contains__(self, id: int) -> bool:  # noqa: A002 - the word of the messages
        return id in self._of_id

    def add(self, sequence: Sequence) -> None:
        """Queue a new sequence. Its tokens and all that it may generate must fit into the pool when it is alone."""
        assert sequence.id not in self._of_id
        assert sequence.prompt_tokens + sequence.max_tokens - 1 <= self.limits.cells
        self._of_id[sequence.id] = sequence
        self.waiting.append(sequence)

    def end(self, id: int) -> Sequence | None:  # noqa: A002 - the word of the messages
        """Take a sequence out, wherever it stands, and free what it holds; None when there is none of that id."""
        sequence = self._of_id.pop(id, None)
        if sequence is None:
            return None
        if sequence.state is State.RUNNING:
            self.running.remove(sequence)
            self._vacate(sequence)
        else:
            self.waiting.remove(sequence)
        sequence.state = State.ENDED
        return sequence

    def set_back_youngest(self) -> Sequence | None:
        """Take the cells of the youngest running sequence and queue it first; None when only one is left to run."""
        if len(self.running) < 2:
            return None
        sequence = self.running.pop()
        self._vacate(sequence)
        sequence.state = State.WAITING
        self.waiting.appendleft(sequence)
        return sequence

    def take_vacated(self) -> list[int]:
        """Return the slots whose cells the backend must clear before they are used again, and forget them."""
        vacated, self._vacated = self._vacated, []
        return vacated

    def schedule(self) -> Batch:
        """Return the rows of the next step; an empty batch when there is nothing to do."""
        self._admit()
        self._make_room()
        batch = Batch()
        for sequence in self.running:
            if sequence.is_decoding:
                batch.add(sequence, 1)
        rows = self.limits.shared_rows if batch.chunks else self.limits.prefill_rows
        for sequence in self._prompts():
            count = min(sequence.pending, rows)
            if count:
                batch.add(sequence, count)
            rows -= count
        return batch

    def computed(self, batch: Batch) -> None:
        """Note that the backend has computed every row of `batch`."""
        for sequence, count in batch.chunks:
            sequence.computed += count

    def check(self) -> None:
        """Assert what must hold between two steps. For tests."""
        assert sorted([*self._free_slots, *(s.slot for s in self.running)]) == list(range(self.limits.slots))
        assert self.cells_used <= self.limits.cells
        assert all(s.state is State.RUNNING and 0 <= s.computed < len(s.tokens) for s in self.running)
        assert all(s.state is State.WAITING and s.computed == 0 and s.slot == -1 for s in self.waiting)
        assert {s.id for s in [*self.running, *self.waiting]} == set(self._of_id)

    def _prompts(self) -> Iterable[Sequence]:
        prompts = [sequence for sequence in self.running if not sequence.is_decoding]
        return prompts[:1] if self.limits.one_prompt else prompts

    def _admit(self) -> None:
        """Start waiting sequences, first come first served, as long as their tokens fit.

        Beside running sequences a little room is left for these to grow, or the newcomer would be set back at once.
        """
        promised = sum(len(sequence.tokens) for sequence in self.running)
        while self.waiting and self._free_slots:
            growth = max(32, self.limits.cells // 64) if self.running else 0
            sequence = self.waiting[0]
            if promised + len(sequence.tokens) + growth > self.limits.cells:
                return
            self.waiting.popleft()
            promised += len(sequence.tokens)
            sequence.slot = self._free_slots.pop()
            sequence.state = State.RUNNING
            self.running.append(sequence)

    def _make_room(self) -> None:
        """Set sequences back until every token that this step could compute has a cell."""
        while sum(len(sequence.tokens) for sequence in self.running) > self.limits.cells:
            set_back = self.set_back_youngest()
            assert set_back is not None, "a sequence that is alone always fits"

    def _vacate(self, sequence: Sequence) -> None:
        self._vacated.append(sequence.slot)
        self._free_slots.append(sequence.slot)
        sequence.slot = -1
        sequence.computed = 0
