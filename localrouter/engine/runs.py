"""The text of an answer cut into thoughts, calls of functions and the rest, by the marks around them.

Marks are looked for in the text, over the borders of tokens: not every vocabulary has them as tokens.
"""

from typing import NamedTuple, TypeAlias

from localrouter.engine.stop_strings import Automaton

Marks: TypeAlias = tuple[str, str]
"""What stands before something, and after it."""


class Run(NamedTuple):
    """A part of an answer that is all of one kind, marks included."""

    text: str
    is_thought: bool = False
    is_call: bool = False


class _Kind:
    """Something between marks, and how much of these has come."""

    def __init__(self, marks: Marks, run: Run) -> None:
        self.begin, self.end = map(Automaton, marks)
        self.run = run


class Runs:
    """Cuts the text of one answer. Inside a thought or a call only its own end is a mark."""

    def __init__(self, thought: Marks | None = None, call: Marks | None = None, *, in_thought: bool = False) -> None:
        """What has no marks here is not looked for. `in_thought`: the text begins inside a thought."""
        marked = [(thought, Run("", is_thought=True)), (call, Run("", is_call=True))]
        self._kinds = [_Kind(marks, run) for marks, run in marked if marks is not None]
        self._inside = self._kinds[0] if in_thought else None
        self._held = ""

    @property
    def in_thought(self) -> bool:
        """Whether the text so far ends inside a thought."""
        return self._inside is not None and self._inside.run.is_thought

    def feed(self, text: str) -> list[Run]:
        """Return what is certain by now; an end of the text that may begin a mark waits."""
        if not self._kinds:
            return [Run(text)] if text else []
        runs: list[Run] = []
        part, self._held = self._held, ""
        for character in text:
            part += character
            if self._inside is None and (kind := self._begun(character)) is not None:
                mark = len(part) - len(kind.begin.string)
                runs += [Run(part[:mark]), kind.run._replace(text=part[mark:])]
                part = ""
            elif self._inside is not None and self._inside.end.step(character):
                runs.append(self._inside.run._replace(text=part))
                part, self._inside = "", None
        if self._inside is None:
            certain = len(part) - max((kind.begin.matched for kind in self._kinds), default=0)
            part, self._held = part[:certain], part[certain:]
        inside = Run("") if self._inside is None else self._inside.run
        return [run for run in [*runs, inside._replace(text=part)] if run.text]

    def flush(self, text: str = "") -> list[Run]:
        """Return the rest at the end of the answer, which is this text and what waited."""
        runs = self.feed(text)
        held, self._held = self._held, ""
        return [*runs, Run(held)] if held else runs

    def _begun(self, character: str) -> _Kind | None:
        """Take a character outside of all marks. Return what it begins, which the text is inside of then."""
        begun = [kind for kind in self._kinds if kind.begin.step(character)]
        if not begun:
            return None
        for kind in self._kinds:
            kind.begin.reset()
        self._inside = begun[0]
        self._inside.end.reset()
        return self._inside
