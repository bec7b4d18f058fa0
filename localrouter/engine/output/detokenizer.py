"""Turns the bytes of tokens into text, without ever cutting a character in two."""

import codecs


class Detokenizer:
    """Collects the bytes of one answer. A character that is spread over several tokens comes out when it is whole."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, piece: bytes) -> str:
        """Return the characters that `piece` completes. Bytes that can never become one turn into U+FFFD."""
        return self._decoder.decode(piece)

    @property
    def is_whole(self) -> bool:
        """Whether the bytes so far end with the end of a character."""
        return not self._decoder.getstate()[0]

    def flush(self) -> str:
        """Return what is left at the end of the answer: U+FFFD for a character that was never finished."""
        return self._decoder.decode(b"", final=True)
