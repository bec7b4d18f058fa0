"""Log probabilities of prompts: collected from an engine's events, in OpenAI's older form and in vLLM's."""

import codecs
from collections.abc import Iterable, Sequence

from localrouter.chat.response.logprobs import LEAST, token_text
from localrouter.engine.messages import Event, PromptLogprobs, PromptToken
from localrouter.schema.chat_response import PromptLogprob
from localrouter.schema.text_completions import TextLogprobs


class ScoredPrompt:
    """One prompt and the log probabilities of its tokens, which arrive in parts. All choices of the prompt share it."""

    def __init__(self) -> None:
        self.tokens: list[PromptToken] = []
        self.is_complete = False
        """Whether all tokens of the prompt have arrived."""

    def read(self, events: Iterable[Event]) -> None:
        """Collect the tokens in these events."""
        for event in events:
            if isinstance(event, PromptLogprobs):
                self.tokens += event.tokens
                self.is_complete = event.is_last

    def older_form(self, text: str, top: int) -> TextLogprobs:
        """Return the tokens in the form of the older route, each with the `top` likeliest tokens and itself.

        `text` is the prompt as it is echoed. Text that the tokenizer puts before it, such as a begin-of-text token, has
        the offset 0.
        """
        return TextLogprobs(
            tokens=[token_text(token.piece) for token in self.tokens],
            token_logprobs=[None if token.logprob is None else max(token.logprob, LEAST) for token in self.tokens],
            top_logprobs=[_top(token, top) for token in self.tokens],
            text_offset=_offsets([token.piece for token in self.tokens], len(text)),
        )

    def vllm_form(self, top: int) -> list[dict[int, PromptLogprob] | None]:
        """Return for each token itself and the `top` likeliest tokens by id, with ranks; null for the first token."""
        return [_ranked(token, top) for token in self.tokens]


def _top(token: PromptToken, top: int) -> dict[str, float] | None:
    """Return the likeliest tokens and the prompt's own. Of tokens with the same text, the likeliest counts."""
    if token.logprob is None:
        return None
    found: dict[str, float] = {}
    for piece, value in (*((piece, value) for _, piece, value in token.top[:top]), (token.piece, token.logprob)):
        found.setdefault(token_text(piece), max(value, LEAST))
    return found


def _ranked(token: PromptToken, top: int) -> dict[int, PromptLogprob] | None:
    if token.logprob is None or token.rank is None:
        return None
    ranked = {token.token: PromptLogprob(max(token.logprob, LEAST), token.rank, _decoded(token.piece))}
    for rank, (other, piece, value) in enumerate(token.top[:top], start=1):
        ranked.setdefault(other, PromptLogprob(max(value, LEAST), rank, _decoded(piece)))
    return ranked


def _decoded(piece: bytes) -> str:
    return piece.decode(errors="replace")


def _offsets(pieces: Sequence[bytes], length: int) -> list[int]:
    """Return where each token begins in a text of `length` characters that ends with the last token.

    Tokens that share one character have the same offset.
    """
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    offsets: list[int] = []
    end = shared = 0
    for piece in pieces:
        shared += 1
        if characters := len(decoder.decode(piece)):
            offsets += [end] * shared
            end += characters
            shared = 0
    offsets += [end] * shared
    end += len(decoder.decode(b"", final=True))
    return [min(max(offset - (end - length), 0), length) for offset in offsets]
