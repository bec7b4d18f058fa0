"""A story grammar: one hero, one place, one thing and one friend, told in sentences that stay true to each other."""

from __future__ import annotations

from random import Random

from training.lexicon import NAMES, Lexicon
from training.patterns import DATA, patterns, words

HEROES = words("story", "heroes")
REQUESTS = patterns("story", "requests")
REQUESTS_ABOUT = patterns("story", "requests_about")
_PLOTS: list[list[list[str]]] = [plot["sentences"] for plot in DATA["story"]["plots"]]


def story_request(rng: Random) -> tuple[str, str | None]:
    """Sample a request for a story, and the hero that it names, if any."""
    if rng.random() < 0.5:
        return rng.choice(REQUESTS), None
    hero = rng.choice(HEROES)
    return rng.choice(REQUESTS_ABOUT).format(a="an" if hero[0] in "aeiou" else "a", h=hero), hero


def story(rng: Random, lexicon: Lexicon, hero: str | None = None) -> str:
    """Sample a story of about nine sentences with the requested hero."""
    thing = rng.choice(patterns("story", "things"))
    slots = {
        "n": rng.choice(NAMES) if rng.random() < 0.8 else lexicon.name(rng),
        "h": hero or rng.choice(HEROES),
        "t": thing,
        "T": "the " + thing.split(" ", 1)[1],
        "f": rng.choice(words("story", "friends")),
        "d": rng.choice(patterns("story", "days")),
        "p": rng.choice(patterns("story", "places")),
        "a": rng.choice(words("story", "traits")),
    }
    opening, home, ending = (rng.choice(patterns("story", part)) for part in ("openings", "homes", "endings"))
    text = " ".join((opening, home, *map(rng.choice, rng.choice(_PLOTS)), ending)).format(**slots)
    return text.replace(" a old", " an old")
