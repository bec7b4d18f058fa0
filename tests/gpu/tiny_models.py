"""Random models of each kind of memory, so small that a device in software computes some hundred tokens in seconds.

What costs time there is not arithmetic but barriers: each row of a normalisation takes two milliseconds. So there are
as few layers and heads as the architectures allow.
"""

from pathlib import Path

from localrouter.bench.synthetic import synthetic_vocabulary
from localrouter.bench.synthetic.model_shapes import HybridShape, SyntheticShape, WindowShape
from localrouter.bench.synthetic.model_writer import write_model

WORDS = 1024
"""Tokens of the vocabulary: a row of logits is then as aligned as any device requires."""
SHAPES: dict[str, SyntheticShape] = {
    "qwen3": SyntheticShape(
        "qwen3", layers=2, width=64, heads=1, kv_heads=1, head=64, feed_forward=128, context=2048, vocabulary=WORDS
    ),
    "gemma4": WindowShape(
        "gemma4", layers=2, width=64, heads=2, kv_heads=1, head=64, feed_forward=128, context=2048, vocabulary=WORDS,
        window=32, full_every=2,
    ),
    "qwen35moe": HybridShape(
        "qwen35moe", layers=2, width=64, heads=1, kv_heads=1, head=64, feed_forward=64, context=2048, vocabulary=WORDS,
        experts=4, expert_feed_forward=32, attention_every=2, state=32, groups=1, time_steps=2,
    ),
}  # fmt: skip
"""Attention only; a layer with a sliding window before a full one; a recurrent layer before one of attention."""
KINDS = tuple(SHAPES)


def write(folder: Path, kind: str) -> str:
    """Write the model of a kind into a folder, and return its path."""
    path = folder / f"{kind}.gguf"
    write_model(path, kind, SHAPES[kind], synthetic_vocabulary.made_up(WORDS), seed=1)
    return str(path)
