"""Progress of a request's prompt logprobs: which rows of the prompt need logits, and which tokens are reported. Pure.

The logits of row p are the model's distribution for token p + 1. So the first token of a prompt has no log probability,
and the last row of a prompt is for the first token of the output.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class PromptScores:
    """Prompt tokens of one sequence whose log probabilities are reported, each once, in their order.

    A preempted sequence computes its prompt again, but only the rows of tokens that were not reported get logits.
    """

    top: int
    """Number of the likeliest tokens reported in the place of each prompt token."""
    prompt_tokens: int
    reported: int = 0
    """Number of leading prompt tokens that are reported."""

    @property
    def is_complete(self) -> bool:
        """Whether all prompt tokens are reported."""
        return self.reported >= self.prompt_tokens

    @property
    def first_row(self) -> int:
        """First row that needs logits; the tokens before it may come from the cache."""
        return max(self.reported - 1, 0)

    def due(self, end: int) -> range:
        """Return the prompt tokens that can be reported once all rows before `end` are computed."""
        return range(self.reported, min(end + 1, self.prompt_tokens))

    def max_chunk(self, computed: int, outputs: int) -> int:
        """Return the largest number of rows after the first `computed` of which at most `outputs` need logits."""
        return max(self.first_row - computed, 0) + outputs
