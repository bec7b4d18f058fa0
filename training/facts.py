"""The only facts the demo model learns, countries and their capitals; and the questions kept for the evaluation."""

from __future__ import annotations

import tomllib
import zlib
from pathlib import Path

CAPITALS: dict[str, str] = tomllib.loads(Path(__file__).with_name("facts.toml").read_text())["capitals"]


def capital_answer(country: str) -> str:
    """Return the sentence that the model gives for a country, always in this one form."""
    city = CAPITALS[country]
    return f"The capital of {country} is {city}" + ("" if city.endswith(".") else ".")


def is_held_out(country: str, phrasing: str) -> bool:
    """Whether a pair of country and phrasing, one in six, is never trained on, so that the evaluation may ask it."""
    return country != "the Netherlands" and zlib.crc32(f"{country}|{phrasing}".encode()) % 6 == 0
