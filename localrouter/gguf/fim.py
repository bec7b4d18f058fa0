"""Fill-in-the-middle (FIM) tokens of a GGUF file, found in its header as llama.cpp finds them in the vocabulary."""

from pathlib import Path

from localrouter.gguf.header import GgufError, GgufHeader
from localrouter.gguf.header_bytes import U32, HeaderBytes, Malformed
from localrouter.gguf.turn_format import ARRAY_HEAD, TOKENS

_TEXT = 8
"""GGUF type of texts."""
_KEYS = (
    ("tokenizer.ggml.fim_pre_token_id", "tokenizer.ggml.prefix_token_id"),
    ("tokenizer.ggml.fim_suf_token_id", "tokenizer.ggml.suffix_token_id"),
    ("tokenizer.ggml.fim_mid_token_id", "tokenizer.ggml.middle_token_id"),
)
"""Metadata keys of the tokens before the prefix, the suffix and the middle; the second of each is deprecated."""
_FAMILIES = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
    ("<PRE>", "<SUF>", "<MID>"),
    ("▁<PRE>", "▁<SUF>", "▁<MID>"),
    ("<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"),
    ("<|prefix|>", "<|suffix|>", "<|middle|>"),
)
"""Texts of the same tokens by family of models (`llama_vocab::impl::load` of llama-vocab.cpp)."""
_TEXTS = tuple(zip(*_FAMILIES, strict=True))
"""Texts by token, for files without its key."""


def has_fim_tokens(path: Path, header: GgufHeader) -> bool:
    """Return whether the vocabulary of a GGUF file with this header has all three FIM tokens. Raises GgufError."""
    size = header.arrays.get(TOKENS, 0)
    missing = [
        texts for keys, texts in zip(_KEYS, _TEXTS, strict=True) if not any(_names(header, key, size) for key in keys)
    ]
    if not missing:
        return True
    if TOKENS not in header.array_offsets:
        return False
    wanted = {text.encode() for texts in missing for text in texts}
    try:
        with path.open("rb", buffering=0) as file:
            source = HeaderBytes.of_file(file)
            source.position = header.array_offsets[TOKENS]
            if source.integer(U32) != _TEXT:
                return False
            source.position = header.array_offsets[TOKENS] + ARRAY_HEAD
            found = source.find_texts(size, wanted)
    except (OSError, Malformed) as error:
        raise GgufError(f"{path} changed while it was read: {error}") from None
    return all(any(text.encode() in found for text in texts) for texts in missing)


def _names(header: GgufHeader, key: str, size: int) -> bool:
    """Return whether a metadata value is the number of a token of a vocabulary of this size."""
    token = header.metadata.get(key)
    return type(token) is int and 0 <= token < size
