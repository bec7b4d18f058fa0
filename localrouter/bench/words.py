"""Words of the prompts. In the synthetic vocabulary each is one token, as in a real one."""

import random

_WORDS = """
harbour lantern meadow copper violin thunder basket orchard ribbon saddle glacier pepper window marble anchor
feather candle forest butter castle donkey engine flower garden hammer island jacket kettle ladder mirror needle
oyster pillow quarry rabbit silver tunnel valley walnut yellow zipper bridge cotton dragon finger guitar hollow
insect jungle kitten lemon mountain noodle orange pencil quiver river summer timber useful velvet winter yonder
"""
WORDS = tuple(_WORDS.split())


def text(count: int, seed: int) -> str:
    """Return a text of `count` words, always the same for one seed."""
    rng = random.Random(seed)
    return " ".join(rng.choices(WORDS, k=count))
