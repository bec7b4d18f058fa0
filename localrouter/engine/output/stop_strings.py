"""Finds the first stop string in text that comes in pieces, and holds back text that may be the beginning of one.

Each stop string has an automaton of Knuth, Morris and Pratt (1977, "Fast Pattern Matching in Strings"). Its state is
the number of characters at the end of the text that are the beginning of the string: exactly these are held back. A
character is looked at by the automata that have begun and by those whose string it begins, so that the time for a text
hardly grows with the number of stop strings.
"""

from collections.abc import Sequence


class StopStrings:
    """Stop strings of one output. The first complete one counts; of those complete together the one that began first.

    So the result is the same however the text is cut, and an output can end with the character that completes one.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        """None of the strings in `stops` is empty."""
        self._by_first: dict[str, list[Automaton]] = {}
        """All automata, by the first character of their strings."""
        for stop in stops:
            self._by_first.setdefault(stop[0], []).append(Automaton(stop))
        self._begun: list[Automaton] = []
        """Automata of which the text ends with the beginning of the string."""
        self._held = ""
        self.found = False
        """Whether the text contains a stop string; later text is ignored."""

    def feed(self, text: str) -> str:
        """Return the text that is certain to be in no stop string, and was not returned yet."""
        if self.found:
            return ""
        text = self._held + text
        for end in range(len(self._held), len(text)):
            beginning = self._by_first.get(text[end], ())
            if not self._begun and not beginning:
                continue
            looking = [*self._begun, *(each for each in beginning if not each.matched)]
            complete = [len(each.string) for each in looking if each.step(text[end])]
            self._begun = [each for each in looking if each.matched]
            if complete:
                self.found, self._held = True, ""
                return text[: end + 1 - max(complete)]
        certain = len(text) - max((each.matched for each in self._begun), default=0)
        self._held = text[certain:]
        return text[:certain]

    def flush(self) -> str:
        """Return the held-back text, which is no part of a stop string."""
        held, self._held = self._held, ""
        for each in self._begun:
            each.reset()
        self._begun = []
        return held


class Automaton:
    """Counts the characters at the end of a text that are the beginning of one string, which is not empty."""

    def __init__(self, string: str) -> None:
        self.string = string
        self.matched = 0
        self._shorter = [0]
        """Next smaller count that may go on, for each count of matched characters but 0."""
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
