"""Turns the bytes of tokens into text, without cutting a character in two."""

import codecs


class Detokenizer:
    """Decodes the bytes of one output. A character that spans several tokens is returned when it is complete."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, piece: bytes) -> str:
        """Return the characters that `piece` completes. Bytes that are no UTF-8 become U+FFFD."""
        return self._decoder.decode(piece)

    @property
    def is_whole(self) -> bool:
        """Whether the bytes so far end with the end of a character."""
        return not self._decoder.getstate()[0]

    def flush(self) -> str:
        """Return the rest at the end of the output: U+FFFD for an unfinished character, else nothing."""
        return self._decoder.decode(b"", final=True)
