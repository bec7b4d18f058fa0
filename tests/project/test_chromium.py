"""Which programs `make browser` finds and misses."""

import pytest

from scripts.chromium import find, missing


@pytest.mark.parametrize(
    ("programs", "path"),
    [
        ({"chromium": "/a/chromium", "google-chrome": "/b/chrome"}, "/a/chromium"),
        ({"google-chrome": "/b/chrome"}, "/b/chrome"),
        ({"firefox": "/c/firefox"}, None),
    ],
)
def test_chromium_is_found_by_any_of_its_names(programs: dict[str, str], path: str | None) -> None:
    assert find(programs.get) == path


@pytest.mark.parametrize(
    ("programs", "sentence"),
    [
        ({"chromium": "/a", "npm": "/b"}, None),
        ({"npm": "/b"}, "make browser needs Chromium: apt install chromium npm"),
        ({}, "make browser needs Chromium and npm: apt install chromium npm"),
    ],
)
def test_missing_programs_are_named_with_their_packages(programs: dict[str, str], sentence: str | None) -> None:
    assert missing(programs.get) == sentence
