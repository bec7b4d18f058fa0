"""Request preprocessing: tokenizes the prompt and compiles the grammar of a request, or refuses it.

A prompt of a megabyte takes a second to tokenize, and a large grammar as long to compile. A worker does both in a
thread of its own, so that neither running streams nor cancellations wait.
"""

from localrouter.engine.backends.base import Backend
from localrouter.engine.generation_request import Sampling, Segment, Thinking
from localrouter.engine.grammar.constraint import Constraint, GrammarRefused, Grammars
from localrouter.engine.grammar.sandbox import GrammarSandbox
from localrouter.engine.messages import Finished, Generate, TokenUsage
from localrouter.engine.output.reasoning_budget import Budget, Reading
from localrouter.engine.output.spans import Spans
from localrouter.engine.sampling.banned_ends import BannedEnds
from localrouter.engine.scheduling.sequence import Sequence

_MIN_CHUNK = 512
"""Smallest distance of checkpoints within a prompt, in tokens, apart from those at the ends of messages."""
_MIN_CHECKPOINTS = 8
"""Number of checkpoints that a long prompt may have however little memory there is for them."""


class RequestPreprocessor:
    """Turns requests into sequences for one backend. For one thread, which may be another than the engine's."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._grammars = Grammars(backend.grammar_vocabulary, GrammarSandbox)

    def prepare(self, command: Generate) -> Sequence | Finished:
        """Return the sequence of a request, or its Finished with an error if it cannot be served."""
        request = command.request
        tokens = self._backend.tokenize(request.prompt) if request.tokens is None else request.tokens
        context = self._backend.info.context
        if not tokens:
            return _refused(command, 0, "empty_prompt", "The prompt has no tokens.")
        if len(tokens) + (request.max_tokens != 0) > context:
            more = "" if request.max_tokens == 0 else " and one more"
            message = f"{len(tokens)} prompt tokens{more} do not fit into a context of {context}."
            return _refused(command, len(tokens), "context_length_exceeded", message)
        try:
            constraint = self._grammars.constraint(request.grammar) if request.grammar else None
        except GrammarRefused as error:
            return _refused(command, len(tokens), "invalid_grammar", str(error))
        room = context - len(tokens)
        max_tokens = room if request.max_tokens is None else min(request.max_tokens, room)
        return self._sequence(command, tokens, max_tokens, constraint)

    def _sequence(
        self, command: Generate, tokens: list[int], max_tokens: int, constraint: Constraint | None
    ) -> Sequence:
        request = command.request
        special_tokens = self._backend.info.special_tokens
        before = self._backend.piece(tokens[-1]).decode(errors="replace")
        spans = Spans(request.thinking, request.calls, special_tokens, structured=request.structured)
        reading = Reading(spans, before)
        delimiters = {*request.delimiters}
        if request.thinking:
            delimiters |= {request.thinking.begin, request.thinking.end}
        if request.calls:
            delimiters |= {request.calls.begin, request.calls.end}
        return Sequence(
            command.id,
            tokens,
            max_tokens,
            request.sampling,
            constraint,
            reading,
            self._reasoning_budget(request.thinking, reading),
            frozenset(token for text, token in special_tokens.items() if text in delimiters),
            banned_ends=self._banned_ends(request.sampling),
            reports_progress=request.reports_progress,
            chunk_boundaries=self._chunk_boundaries(tokens),
            prompt_logprobs=request.prompt_logprobs,
            lists_silent=request.lists_silent,
        )

    def _banned_ends(self, sampling: Sampling) -> BannedEnds | None:
        is_free = not sampling.ignore_eos and not sampling.min_tokens
        return None if is_free else BannedEnds(sampling, self._backend.end_tokens)

    def _reasoning_budget(self, thinking: Thinking | None, reading: Reading) -> Budget | None:
        if thinking is None or thinking.budget is None:
            return None
        after_line, alone = (
            self._backend.tokenize([Segment(text, control=True)], begin=False)
            for text in (f"\n{thinking.end}", thinking.end)
        )
        return Budget(reading, thinking.budget, (after_line, alone))

    def _chunk_boundaries(self, tokens: list[int]) -> set[int]:
        """Return the numbers of tokens at which chunks of a prompt end, so that checkpoints can be kept there.

        A later prompt is likely to part from this one after the system prompt, after the last messages, and sometimes
        between, so there is one at regular distances too. The checkpoints of one prompt take at most half of the memory
        for all, or more would push out those of other prompts. No boundaries where slots can be forked anywhere.
        """
        limits = self._backend.limits
        if limits.can_fork_anywhere:
            return set()
        affordable = limits.state_bytes // (2 * limits.state_size) if limits.state_size else 0
        ends = [index + 1 for index, token in enumerate(tokens[:-1]) if self._backend.is_end(token)]
        distance = max(_MIN_CHUNK, len(tokens) // max(_MIN_CHECKPOINTS, affordable))
        return {*ends[:1], *ends[-2:], *range(distance, len(tokens), distance)}


def _refused(command: Generate, prompt_tokens: int, code: str, message: str) -> Finished:
    return Finished(command.id, "error", TokenUsage(prompt_tokens, 0), code, message)
