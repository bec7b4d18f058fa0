"""The batch: the rows that one step computes."""

from dataclasses import dataclass, field

from localrouter.engine.scheduling.latency_model import StepWork
from localrouter.engine.scheduling.sequence import Sequence


@dataclass(slots=True)
class Batch:
    """The rows of one step. Row i is `tokens[i]` at `positions[i]` of the sequence in `slots[i]`."""

    tokens: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    """Indices of the rows of which logits are wanted."""
    sampled: list[Sequence] = field(default_factory=list)
    """The sequence of each row in `outputs`; its next token is sampled from that row's logits."""
    chunks: list[tuple[Sequence, int]] = field(default_factory=list)
    """Sequences with their numbers of rows, in the order of the rows."""
    padding: int = 0
    """Number of rows of no sequence that fill a tile. The backend computes and forgets them, or leaves them out."""

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def work(self) -> StepWork:
        """Size of the step, without padding. Cells that several sequences share count for each of them."""
        cells = sum(sequence.computed + count for sequence, count in self.chunks)
        pairs = sum(count * (sequence.computed + (count + 1) // 2) for sequence, count in self.chunks)
        return StepWork(len(self.tokens), cells, pairs)

    def add(self, sequence: Sequence, count: int) -> None:
        """Add rows for the next `count` pending tokens of a sequence; its last token, if among them, gets logits."""
        start, end = sequence.computed, sequence.computed + count
        self.tokens += sequence.tokens[start:end]
        self.positions += range(start, end)
        self.slots += [sequence.slot] * count
        self.chunks.append((sequence, count))
        if end == len(sequence.tokens):
            self.outputs.append(len(self.tokens) - 1)
            self.sampled.append(sequence)
