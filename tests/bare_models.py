"""Small random models whose files have no chat template, with the turn delimiters of a family or without any."""

from dataclasses import replace
from pathlib import Path

from localrouter.bench.synthetic.model_shapes import SyntheticShape
from localrouter.bench.synthetic.model_writer import write_model
from localrouter.bench.synthetic.synthetic_vocabulary import CONTROL, TEMPLATE, SyntheticVocabulary, made_up
from localrouter.bench.words import WORDS
from localrouter.gguf.turn_format import DELIMITERS, TurnDelimiters, TurnFormat

SMALL = SyntheticShape("qwen3", layers=1, width=64, heads=2, kv_heads=1, head=32, feed_forward=64, context=4096)
SIZE = 4096
NEXT_TURN = "\n\nUser:"
"""One token of these vocabularies, which no text is tokenized to: a model can be made to say it."""
WORD = f" {WORDS[0]}"
_UNNAMED = TurnDelimiters("[PAD0]", "[PAD1]")
_TOKENS = "tokenizer.ggml.tokens"
_BYTES = {"\n": "Ċ", " ": "Ġ"}
"""How byte-level BPE spells what does not print."""


def bare_vocabulary(turns: TurnFormat) -> SyntheticVocabulary:
    """Return a vocabulary without a chat template whose last two tokens, control tokens, are delimiters of turns."""
    words = made_up(SIZE)
    tokens = words.fields[_TOKENS]
    assert isinstance(tokens, list)
    ordinary = [str(token) for token in tokens[: -len(CONTROL) - 1]]
    named = [*ordinary, _spelled(NEXT_TURN), CONTROL[0], *DELIMITERS.get(turns, _UNNAMED)]
    fields = {key: value for key, value in words.fields.items() if key != TEMPLATE}
    fields |= {_TOKENS: named, "tokenizer.ggml.eos_token_id": named.index(CONTROL[0])}
    return replace(words, key=f"bare-{turns}", fields=fields)


def write_bare_model(folder: Path, turns: TurnFormat) -> Path:
    """Write a one-layer model that is asked in this format."""
    path = folder / f"Bare-{turns}.gguf"
    write_model(path, turns, replace(SMALL, vocabulary=SIZE), bare_vocabulary(turns), seed=1)
    return path


def number_of(text: str, turns: TurnFormat) -> int:
    """Return the number of the token that is this text."""
    tokens = bare_vocabulary(turns).fields[_TOKENS]
    assert isinstance(tokens, list)
    return [str(token) for token in tokens].index(_spelled(text))


def _spelled(text: str) -> str:
    for plain, written in _BYTES.items():
        text = text.replace(plain, written)
    return text
