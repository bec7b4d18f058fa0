"""Log probabilities in OpenAI's form."""

from collections.abc import Iterable

from localrouter.engine.messages import Logprob
from localrouter.schema.chat_response import TokenLogprob, TopLogprob

LEAST = -9999.0
"""OpenAI's log probability of a token that is nearly impossible; JSON has no infinity."""


def token_logprobs(tokens: Iterable[Logprob]) -> list[TokenLogprob]:
    """Return the log probabilities of tokens as chat completions have them."""
    return [
        TokenLogprob(
            token=_text(token.piece),
            logprob=max(token.value, LEAST),
            bytes=list(token.piece),
            top_logprobs=[
                TopLogprob(_text(piece), max(value, LEAST), list(piece) or None) for piece, value in token.top
            ],
        )
        for token in tokens
    ]


def token_text(piece: bytes) -> str:
    r"""Return the bytes of a token as text, or in OpenAI's form where they are not UTF-8: `bytes:\xe2\x82`."""
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in piece)


def _text(piece: bytes) -> str:
    return piece.decode(errors="replace")
