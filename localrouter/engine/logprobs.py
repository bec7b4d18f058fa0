"""Keeps the text of an answer and the log probabilities of its tokens together, so that they are sent together.

Text goes out in whole tokens, and tokens that share a character go out together: then the bytes of the tokens that are
sent with a text are the bytes of that text.
"""

from collections import deque
from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from localrouter.engine.detokenizer import Detokenizer
from localrouter.engine.messages import Logprob


class Logprobs:
    """The tokens of one answer whose text has not been sent."""

    def __init__(self) -> None:
        self._text = ""
        """What may be sent as soon as it makes up whole tokens."""
        self._groups: deque[tuple[int, list[Logprob]]] = deque()
        """Tokens that begin and end with a character, and how many characters they are."""
        self._open: list[Logprob] = []
        self._characters = 0

    def add(self, token: Logprob, characters: int, *, whole: bool) -> None:
        """Note a token that completes so many characters, and whether its last byte is the end of one."""
        self._open.append(token)
        self._characters += characters
        if whole:
            self._groups.append((self._characters, self._open))
            self._open, self._characters = [], 0

    def take(self, text: str) -> tuple[str, tuple[Logprob, ...]]:
        """Return what can be sent now that `text` may be, and its tokens."""
        self._text += text
        tokens: list[Logprob] = []
        end = 0
        while self._groups and end + self._groups[0][0] <= len(self._text):
            characters, group = self._groups.popleft()
            end += characters
            tokens += group
        taken, self._text = self._text[:end], self._text[end:]
        return taken, tuple(tokens)

    def finish(self, text: str) -> tuple[str, tuple[Logprob, ...]]:
        """Return the rest of an answer that ends with `text`. A token of which only the beginning is in it is cut."""
        text, self._text = self._text + text, ""
        rest = [token for _, group in self._groups for token in group] + self._open
        self._groups.clear()
        self._open = []
        return text, tuple(_beginning(rest, len(text)))


def _beginning(tokens: Iterable[Logprob], characters: int) -> Iterator[Logprob]:
    """Yield the tokens of the first so many characters, the last without the bytes that come after these."""
    decoder = Detokenizer()
    for token in tokens:
        kept = 0
        for byte in token.piece:
            if characters <= 0:
                break
            characters -= len(decoder.feed(bytes([byte])))
            kept += characters >= 0  # a byte may complete two: U+FFFD for what was before it, and itself
        if kept:
            yield replace(token, piece=token.piece[:kept])
