"""The batch: the rows that one step computes."""

from dataclasses import dataclass, field
from typing import NamedTuple

from localrouter.engine.scheduling.latency_model import StepWork
from localrouter.engine.scheduling.sequence import Sequence


class ScoredTokens(NamedTuple):
    """Prompt tokens whose log probabilities a step computes.

    The first token of a prompt has no logits. Those of the others are outputs of the batch, from number `output` on.
    """

    sequence: Sequence
    tokens: range
    output: int


@dataclass(slots=True)
class Batch:
    """The rows of one step. Row i is `tokens[i]` at `positions[i]` of the sequence in `slots[i]`."""

    tokens: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    """Indices of the rows of which logits are wanted."""
    sampled: list[Sequence] = field(default_factory=list)
    """Sequences whose next token is sampled from an output."""
    sampled_outputs: list[int] = field(default_factory=list)
    """Index in `outputs` of the row that the next token of each sequence in `sampled` is sampled from."""
    scored: list[ScoredTokens] = field(default_factory=list)
    """Prompt tokens of which log probabilities are wanted."""
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

    @property
    def scored_outputs(self) -> int:
        """Number of rows with logits for log probabilities of prompts."""
        return len(self.outputs) - len(self.sampled)

    def add(self, sequence: Sequence, count: int) -> None:
        """Add rows for the next `count` pending tokens of a sequence.

        Its last token, if among them, gets logits, and so do the rows for prompt tokens whose log probabilities are
        wanted.
        """
        start, end = sequence.computed, sequence.computed + count
        if sequence.prompt_scores is not None and (due := sequence.prompt_scores.due(end)):
            self.scored.append(ScoredTokens(sequence, due, len(self.outputs)))
            self.outputs += [len(self.tokens) + token - 1 - start for token in due if token]
        self.tokens += sequence.tokens[start:end]
        self.positions += range(start, end)
        self.slots += [sequence.slot] * count
        self.chunks.append((sequence, count))
        if end == len(sequence.tokens):
            self.sampled_outputs.append(len(self.outputs))
            self.outputs.append(len(self.tokens) - 1)
            self.sampled.append(sequence)
