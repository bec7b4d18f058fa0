"""The text of reasoning in blocks, as OpenRouter (`reasoning_details`) and LiteLLM (`thinking_blocks`) repeat it."""

from itertools import groupby

GAP = "\n\n"
"""Separator between blocks of reasoning."""


def text_of_blocks(blocks: object) -> str:
    """Return the text of reasoning in `blocks`, a value of any type; "" where it has none, or only encrypted reasoning.

    Entries in a row with the same `index` are pieces of one block, as a stream has them.
    """
    if not isinstance(blocks, list):
        return ""
    pieces = [(_index_of(block, place), _text_of(block)) for place, block in enumerate(blocks)]
    return GAP.join(
        text for _, run in groupby(pieces, lambda piece: piece[0]) if (text := "".join(piece[1] for piece in run))
    )


def _text_of(block: object) -> str:
    if not isinstance(block, dict):
        return ""
    return next((text for name in ("thinking", "text") if isinstance(text := block.get(name), str) and text), "")


def _index_of(block: object, place: int) -> tuple[bool, int]:
    """Return the index of a block, or where it has none one of its own."""
    index = block.get("index") if isinstance(block, dict) else None
    return (True, index) if type(index) is int else (False, place)
