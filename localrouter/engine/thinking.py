"""The thoughts of an answer: how many tokens they take, and when they must end."""

from collections import deque
from collections.abc import Callable, Collection

from localrouter.engine.messages import Thinking
from localrouter.engine.runs import Marks, Run, Runs


class Thoughts:
    """Watches the text of one answer."""

    def __init__(self, thinking: Thinking, before: str = "", call: Marks | None = None) -> None:
        """`before` is the end of the prompt, `call` what stands around a call, in which no thought begins."""
        self._runs = Runs((thinking.begin, thinking.end), call, in_thought=thinking.is_open)
        self._last = before[-1:]
        self.tokens = 0
        """Of thoughts so far, from the token with which a beginning mark is whole to that of the end."""
        self.tokens_inside = 0
        """Without those with which a beginning mark is whole: what a budget is held against."""

    @property
    def is_open(self) -> bool:
        """Whether the text so far ends inside a thought."""
        return self._runs.in_thought

    @property
    def ends_line(self) -> bool:
        """Whether the text so far ends with a line."""
        return self._last == "\n"

    def feed(self, text: str) -> list[Run]:
        """Return what the text of one more token makes certain; an end of it that may begin a mark waits."""
        was_open = self.is_open
        runs = self._runs.feed(text)
        self._last = text[-1:] or self._last
        self.tokens_inside += was_open
        self.tokens += was_open or any(run.is_thought for run in runs)
        return runs

    def flush(self, text: str = "") -> list[Run]:
        """Return the rest at the end of the answer, with `text` that no token stands for."""
        return self._runs.flush(text)


class Budget:
    """Writes the end of thoughts that have taken as many tokens as they may, in the model's place."""

    def __init__(self, thoughts: Thoughts, tokens: int, ends: tuple[list[int], list[int]]) -> None:
        """`ends` are the tokens of two ways to write the end mark: with the end of a line before it, and alone."""
        self._thoughts = thoughts
        self._tokens = tokens
        self._after_text, self._alone = ends
        self._writing: deque[int] = deque()

    def next(self, allows: Callable[[Collection[int]], bool]) -> int | None:
        """Return the token that has to come next; None where the model may go on.

        The end of a thought that is due waits until `allows` says that one of the two ways can stand here.
        """
        if not self._writing and self._is_due:
            ways = [self._alone] if self._thoughts.ends_line else [self._after_text, self._alone]
            self._writing.extend(next((way for way in ways if allows(way)), ()))
        return self._writing.popleft() if self._writing else None

    @property
    def _is_due(self) -> bool:
        return self._thoughts.is_open and self._thoughts.tokens_inside >= self._tokens
