"""The reasoning of an output: how many tokens it takes, and when it must end."""

from collections import deque
from collections.abc import Callable, Collection

from localrouter.engine.output.spans import Span, Spans


class Reading:
    """Reads one output token by token: cuts it into spans, and counts the tokens of reasoning."""

    def __init__(self, spans: Spans | None = None, before: str = "") -> None:
        """Without `spans` everything is text. `before` is the end of the prompt."""
        self._spans = spans or Spans()
        self._last = before[-1:]
        self.reasoning_tokens = 0
        """Of reasoning so far, from the token that completes its beginning to the one that completes its end."""
        self.tokens_inside = 0
        """Without those that complete a beginning: what a budget is held against."""

    @property
    def in_reasoning(self) -> bool:
        """Whether the output so far ends inside reasoning."""
        return self._spans.in_reasoning

    @property
    def ends_line(self) -> bool:
        """Whether the output so far ends with a line."""
        return self._last == "\n"

    def feed(self, text: str, token: int | None = None) -> list[Span]:
        """Return what one more token and the text that it completes make certain; what may begin a delimiter waits."""
        was_inside = self.in_reasoning
        spans = self._spans.feed(text, token)
        self._last = text[-1:] or self._last
        self.tokens_inside += was_inside
        self.reasoning_tokens += was_inside or any(span.kind == "reasoning" for span in spans)
        return spans

    def flush(self, text: str = "") -> list[Span]:
        """Return the rest at the end of the output, with `text` that no token stands for."""
        return self._spans.flush(text)


class Budget:
    """Writes the end of reasoning that has taken as many tokens as it may, in the model's place."""

    def __init__(self, reading: Reading, tokens: int, ends: tuple[list[int], list[int]]) -> None:
        """`ends` are the tokens of two ways to write the end: with the end of a line before it, and alone."""
        self._reading = reading
        self._tokens = tokens
        self._after_text, self._alone = ends
        self._writing: deque[int] = deque()

    def next(self, allows: Callable[[Collection[int]], bool]) -> int | None:
        """Return the token that has to come next; None where the model may go on.

        The end of reasoning that is due waits until `allows` says that one of the two ways can stand here.
        """
        if not self._writing and self._is_due:
            ways = [self._alone] if self._reading.ends_line else [self._after_text, self._alone]
            self._writing.extend(next((way for way in ways if allows(way)), ()))
        return self._writing.popleft() if self._writing else None

    @property
    def _is_due(self) -> bool:
        return self._reading.in_reasoning and self._reading.tokens_inside >= self._tokens
