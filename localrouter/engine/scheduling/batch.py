"""What a step computes."""

from dataclasses import dataclass, field

from localrouter.engine.scheduling.sequence import Sequence
from localrouter.engine.scheduling.step_cost import StepWork


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
    padding: int = 0
    """Rows of no sequence that fill a tile. The backend computes and forgets them, or leaves them out."""

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def work(self) -> StepWork:
        """What it takes, without padding. Cells that sequences share count for each of them."""
        cells = sum(sequence.computed + count for sequence, count in self.chunks)
        looks = sum(count * (sequence.computed + (count + 1) // 2) for sequence, count in self.chunks)
        return StepWork(len(self.tokens), cells, looks)

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
