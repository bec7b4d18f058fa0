"""Words of the generators, and invented words, which the model can only learn to copy."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from training.patterns import words

NAMES = words("words", "names")
PLACES = words("words", "places")
NOUNS = words("words", "nouns")
LOOKUP_VERBS = words("words", "lookup_verbs")
ACTION_VERBS = words("words", "action_verbs")
ADJECTIVES = words("words", "adjectives")

_STARTS = words("words", "syllable_starts")
_VOWELS = words("words", "syllable_vowels")
_ENDS = [*words("words", "syllable_ends"), "", "", ""]
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass
class Lexicon:
    """Generator of words. `pieces` are those of the tokenizer, once it exists; `banned` words are for the exam."""

    pieces: list[str] = field(default_factory=list)
    banned: frozenset[str] = frozenset()

    def invented(self, rng: Random) -> str:
        """Sample a lower-case word that need not exist: syllables, random letters or pieces of the vocabulary."""
        draw = rng.random()
        if self.pieces and draw < 0.5:
            word = "".join(rng.choice(self.pieces) for _ in range(rng.choice((1, 1, 2))))
        elif draw < 0.68:
            word = "".join(rng.choice(_LETTERS) for _ in range(rng.randint(3, 8)))
        else:
            word = "".join(syllable(rng) for _ in range(rng.choice((2, 2, 3))))
        return self.invented(rng) if word in self.banned or len(word) > 16 else word

    def letters(self, rng: Random, most: int) -> str:
        """Sample a word of a few capitals."""
        return self.invented(rng)[:most].upper()

    def name(self, rng: Random) -> str:
        """Sample a person's name: known, or invented."""
        return rng.choice(NAMES) if rng.random() < 0.35 else self.invented(rng).capitalize()

    def place(self, rng: Random) -> str:
        """Sample a place: known, invented, or of two words."""
        if rng.random() < 0.15:
            return f"{rng.choice(('New', 'Port', 'San', 'Lake', 'East', 'Fort'))} {self.invented(rng).capitalize()}"
        return rng.choice(PLACES) if rng.random() < 0.4 else self.invented(rng).capitalize()

    def noun(self, rng: Random, known: float = 0.6) -> str:
        """Sample a noun for a tool."""
        return rng.choice(NOUNS) if rng.random() < known else self.invented(rng)

    def phrase(self, rng: Random, low: int = 1, high: int = 4) -> str:
        """Sample a few words that form no sentence, for free-text values."""
        kinds = (NOUNS, ADJECTIVES, NOUNS, ACTION_VERBS)
        count = rng.randint(low, high)
        return " ".join(
            self.invented(rng) if rng.random() < 0.4 else rng.choice(rng.choice(kinds)) for _ in range(count)
        )


def syllable(rng: Random) -> str:
    """Sample a syllable."""
    return rng.choice(_STARTS) + rng.choice(_VOWELS) + rng.choice(_ENDS)


def number(rng: Random) -> str:
    """Sample a whole number of one to six digits without a leading zero."""
    digits = rng.randint(1, 6)
    return str(rng.randint(10 ** (digits - 1), 10**digits - 1))
