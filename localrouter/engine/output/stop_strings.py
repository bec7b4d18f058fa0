"""Finds the first stop string in text that comes in pieces, and holds back what may be the beginning of one.

Text is looked at once, character by character, with the automaton of Knuth, Morris and Pratt (1977, "Fast Pattern
Matching in Strings"), one for each stop string. Its state is how many characters at the end of the text are the
beginning of that string, which is exactly what has to be held back.
"""

from collections.abc import Sequence


class StopStrings:
    """Watches one answer. The string that is complete first wins; of those complete together, the one that began first.

    So the outcome is the same however the text is cut, and an answer can end with the character that completes one.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        """`stops` are not empty strings."""
        self._automata = [Automaton(stop) for stop in stops]
        self._held = ""
        self.found = False
        """Whether the text has a stop string in it. What comes after is of no interest."""

    def feed(self, text: str) -> str:
        """Return the text that is certain to come before any stop string, and was not returned yet."""
        if self.found:
            return ""
        text = self._held + text
        for end in range(len(self._held), len(text)):
            complete = [len(each.string) for each in self._automata if each.step(text[end])]
            if complete:
                self.found, self._held = True, ""
                return text[: end + 1 - max(complete)]
        certain = len(text) - max((each.matched for each in self._automata), default=0)
        self._held = text[certain:]
        return text[:certain]

    def flush(self) -> str:
        """Return what was held back: nothing that follows can make a stop string of it."""
        held, self._held = self._held, ""
        for each in self._automata:
            each.reset()
        return held


class Automaton:
    """How many characters at the end of the text are the beginning of one string, which is not empty."""

    def __init__(self, string: str) -> None:
        self.string = string
        self.matched = 0
        self._shorter = [0]
        """For each count of matched characters but 0: the next smaller one that their end is too."""
        for character in string[1:]:
            self._shorter.append(self._next(self._shorter[-1], character))

    def step(self, character: str) -> bool:
        """Take the next character; return whether the string is complete, after which only `reset` goes on."""
        self.matched = self._next(self.matched, character)
        return self.matched == len(self.string)

    def reset(self) -> None:
        """Forget the text so far."""
        self.matched = 0

    def _next(self, matched: int, character: str) -> int:
        while matched and self.string[matched] != character:
            matched = self._shorter[matched - 1]
        return matched + (self.string[matched] == character)
