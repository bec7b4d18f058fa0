"""What becomes of a request before the engine has it: its prompt in tokens, its grammar compiled, or a refusal.

A megabyte of text takes a second, and so does a large grammar. In a worker this is done in a thread of its
own, so that neither running streams nor cancels wait.
"""

from localrouter.engine.backends.base import Backend
from localrouter.engine.grammar.constraint import Constraint, GrammarRefused, Grammars
from localrouter.engine.grammar.sandbox import GrammarSandbox
from localrouter.engine.messages import Finished, Generate, Segment, TokenUsage
from localrouter.engine.output.reasoning_budget import Budget, Reading
from localrouter.engine.output.spans import Spans
from localrouter.engine.scheduling.sequence import Sequence

STATE_EVERY, STATES = 512, 8
"""A copy of a recurrent state is kept after so many tokens of a prompt at the earliest. A long prompt may have so many,
or as many as take half of the memory for them: more would push out those of all others."""


class RequestPreprocessor:
    """Makes sequences of requests for one backend. For one thread, which need not be the engine's."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._grammars = Grammars(backend.grammar_vocabulary, GrammarSandbox)

    def take(self, command: Generate) -> Sequence | Finished:
        """Return what the engine works on, or the end of a request that cannot be served."""
        tokens = self._backend.tokenize(command.prompt) if command.tokens is None else command.tokens
        limit = self._backend.info.context
        if not tokens:
            return _refused(command, 0, "empty_prompt", "The prompt has no tokens.")
        if len(tokens) + 1 > limit:
            message = f"{len(tokens)} prompt tokens and one more do not fit into a context of {limit}."
            return _refused(command, len(tokens), "context_length_exceeded", message)
        try:
            constraint = self._grammars.constraint(command.grammar) if command.grammar else None
        except GrammarRefused as error:
            return _refused(command, len(tokens), "invalid_grammar", str(error))
        room = limit - len(tokens)
        most = room if command.max_tokens is None else min(command.max_tokens, room)
        return self._sequence(command, tokens, most, constraint)

    def _sequence(
        self, command: Generate, tokens: list[int], max_tokens: int, constraint: Constraint | None
    ) -> Sequence:
        marks = self._backend.info.special_tokens
        before = self._backend.piece(tokens[-1]).decode(errors="replace")
        spans = Spans(command.thinking, command.calls, marks, structured=command.structured)
        reading = Reading(spans, before)
        shown = {*command.delimiters}
        if command.thinking:
            shown |= {command.thinking.begin, command.thinking.end}
        if command.calls:
            shown |= {command.calls.begin, command.calls.end}
        return Sequence(
            command.id,
            tokens,
            max_tokens,
            command.sampling,
            constraint,
            reading,
            self._budget(command, reading),
            frozenset(number for mark, number in marks.items() if mark in shown),
            chunk_boundaries=self._chunk_boundaries(tokens),
        )

    def _budget(self, command: Generate, reading: Reading) -> Budget | None:
        thinking = command.thinking
        if thinking is None or thinking.budget is None:
            return None
        after_line, alone = (
            self._backend.tokenize([Segment(text, control=True)], begin=False)
            for text in (f"\n{thinking.end}", thinking.end)
        )
        return Budget(reading, thinking.budget, (after_line, alone))

    def _chunk_boundaries(self, tokens: list[int]) -> set[int]:
        """Where checkpoints are worth keeping: where a later prompt is likely to part from this one.

        That is after the system prompt, after the last turns, and now and then on the way.
        """
        limits = self._backend.limits
        if limits.can_fork_anywhere:
            return set()
        affordable = limits.state_bytes // (2 * limits.state_size) if limits.state_size else 0
        ends = [index + 1 for index, token in enumerate(tokens[:-1]) if self._backend.is_end(token)]
        apart = max(STATE_EVERY, len(tokens) // max(STATES, affordable))
        return {*ends[:1], *ends[-2:], *range(apart, len(tokens), apart)}


def _refused(command: Generate, prompt_tokens: int, code: str, message: str) -> Finished:
    return Finished(command.id, "error", TokenUsage(prompt_tokens, 0), code, message)
