"""Models of noise: the architecture, tokenizer, marks and chat template of a family, and random weights."""

from dataclasses import replace
from functools import cache
from pathlib import Path

from real_vocabularies import SAMPLES, template_text

from benchmarks.real_vocabulary import copied
from localrouter.bench.synthetic.model_shapes import SHAPES
from localrouter.bench.synthetic.model_writer import write_model
from localrouter.bench.synthetic.synthetic_vocabulary import TEMPLATE, SyntheticVocabulary

NOISE = {
    "qwen3": ("qwen3-tiny", "ggml-vocab-qwen35.gguf", "Qwen-Qwen3-0.6B.jinja"),
    "qwen35moe": ("qwen35moe-tiny", "ggml-vocab-qwen35.gguf", "Qwen3.5-4B.jinja"),
    "gemma4": ("gemma4-tiny", "ggml-vocab-gemma-4.gguf", "google-gemma-4-31B-it.jinja"),
}
"""The shape, the vocabulary and the chat template of each family."""
_QWEN_MARKS = {
    151657: "<tool_call>",
    151658: "</tool_call>",
    151665: "<tool_response>",
    151666: "</tool_response>",
    151667: "<think>",
    151668: "</think>",
}
"""The marks of the published models, which the vocabulary-only file leaves unnamed."""


def write_noise(folder: Path, family: str, *, width: int | None = None) -> Path:
    """Write the model of a family; one of a smaller `width` computes faster."""
    name, vocabulary, template = NOISE[family]
    words = _words(vocabulary)
    words = replace(words, fields={**words.fields, TEMPLATE: template_text(template)})
    shape = replace(SHAPES[name], vocabulary=words.size, width=width or SHAPES[name].width)
    path = folder / f"{family}.gguf"
    write_model(path, family, shape, words, seed=1)
    return path


@cache
def _words(vocabulary: str) -> SyntheticVocabulary:
    """Return a vocabulary, with Qwen's marks where it has unnamed tokens for them; reading it takes seconds."""
    words = copied(SAMPLES / vocabulary)
    tokens = words.fields["tokenizer.ggml.tokens"]
    assert isinstance(tokens, list)
    named: list[str] = [
        _QWEN_MARKS.get(number, str(token)) if token == f"[PAD{number}]" else str(token)
        for number, token in enumerate(tokens)
    ]
    return replace(words, fields={**words.fields, "tokenizer.ggml.tokens": named})
