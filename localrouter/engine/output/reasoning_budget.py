"""Reasoning of an output: the count of its tokens, and the budget at which it is ended."""

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
        """Tokens of reasoning so far, those that complete its two delimiters included."""
        self.tokens_inside = 0
        """Tokens of reasoning without those that complete a begin delimiter; a budget limits this number."""

    @property
    def in_reasoning(self) -> bool:
        """Whether the output so far ends inside reasoning."""
        return self._spans.in_reasoning

    @property
    def ends_line(self) -> bool:
        """Whether the output so far ends with the end of a line."""
        return self._last == "\n"

    def feed(self, text: str, token: int | None = None) -> list[Span]:
        """Return the spans that are certain after one more token; text that may begin a delimiter is held back."""
        was_inside = self.in_reasoning
        spans = self._spans.feed(text, token)
        self._last = text[-1:] or self._last
        self.tokens_inside += was_inside
        self.reasoning_tokens += was_inside or any(span.kind == "reasoning" for span in spans)
        return spans

    def flush(self, text: str = "") -> list[Span]:
        """Return the rest at the end of the output, with `text` that belongs to no token."""
        return self._spans.flush(text)


class Budget:
    """Ends reasoning that has used up its budget: its tokens take the place of sampled ones."""

    def __init__(self, reading: Reading, tokens: int, ends: tuple[list[int], list[int]]) -> None:
        """`ends` are the tokens of the end delimiter in two forms: after the end of a line, and alone."""
        self._reading = reading
        self._tokens = tokens
        self._after_text, self._alone = ends
        self._writing: deque[int] = deque()

    def next(self, allows: Callable[[Collection[int]], bool]) -> int | None:
        """Return the token that has to come next; None where the next one is sampled.

        The end of reasoning waits until `allows` is true for the tokens of one of its two forms.
        """
        if not self._writing and self._is_due:
            forms = [self._alone] if self._reading.ends_line else [self._after_text, self._alone]
            self._writing.extend(next((form for form in forms if allows(form)), ()))
        return self._writing.popleft() if self._writing else None

    @property
    def _is_due(self) -> bool:
        return self._reading.in_reasoning and self._reading.tokens_inside >= self._tokens
