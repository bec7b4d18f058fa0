"""Turns in which the user states a fact and asks for it later, or asks to repeat something at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from training.lexicon import Lexicon, number
from training.patterns import DATA, patterns
from training.turn import Turn

Draw = Callable[[Lexicon, Random], str]


@dataclass(frozen=True)
class Subject:
    """One thing to remember: how it is told, acknowledged, asked for and answered; {v} is the value."""

    draw: Draw
    told: list[str]
    noted: str
    asked: list[str]
    answered: str
    unknown: str


def _name(lexicon: Lexicon, rng: Random) -> str:
    return lexicon.name(rng)


def _place(lexicon: Lexicon, rng: Random) -> str:
    return lexicon.place(rng)


def _number(_: Lexicon, rng: Random) -> str:
    return number(rng)


def _word(lexicon: Lexicon, rng: Random) -> str:
    word = lexicon.noun(rng, known=0.4)
    return word.upper() if rng.random() < 0.1 else word.capitalize() if rng.random() < 0.2 else word


def _subject(draw: Draw, name: str) -> Subject:
    return Subject(draw, **DATA["memory"][name])


SUBJECTS = (
    _subject(_name, "name"),
    _subject(_number, "number"),
    _subject(_word, "word"),
    _subject(_place, "home"),
    _subject(_name, "pet"),
)
_WEIGHTS = (38, 28, 14, 11, 9)


@dataclass(frozen=True)
class Memory:
    """A value told and asked for: the two turns, to be put at some distance from each other."""

    tell: Turn
    ask: Turn


def memory(rng: Random, lexicon: Lexicon, subject: Subject) -> Memory:
    """Sample a value and the two turns about it."""
    value = subject.draw(lexicon, rng)
    noted = subject.noted.format(v=value)
    answer = subject.answered.format(v=value)
    tell = Turn.of(rng.choice(subject.told).format(v=value), noted, f"The user tells me {value}.")
    return Memory(tell, Turn.of(rng.choice(subject.asked), answer, f"The user told me {value}."))


def draw_subject(rng: Random) -> Subject:
    """Sample a subject, names and numbers most often."""
    return rng.choices(SUBJECTS, _WEIGHTS)[0]


def not_told(rng: Random) -> Turn:
    """Sample a turn that asks for a fact that was not given."""
    subject = draw_subject(rng)
    return Turn.of(rng.choice(subject.asked), subject.unknown, "The user has not told me.")


def echo(rng: Random, lexicon: Lexicon) -> Turn:
    """Sample a turn that asks to repeat a word, a number or a few words."""
    draw = rng.random()
    if draw < 0.25:
        value = number(rng)
    elif draw < 0.5:
        value = lexicon.name(rng)
    else:
        value = lexicon.phrase(rng, 1, 5)
    return Turn.of(rng.choice(patterns("echo", "requests")).format(v=value), value, "The user wants me to repeat this.")
