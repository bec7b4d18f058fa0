import io

import pytest
from rich.console import Console

from localrouter.cli.progress import Lines, duration, line, showing
from localrouter.weights.manifest.pin import PinnedFile

FILE = PinnedFile("folder/a.gguf", 100_000_000, "0" * 64)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Paper:
    """A console that is no terminal, and what was written to it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self._text = io.StringIO()
        self.lines = Lines(Console(file=self._text, width=40), self.clock)

    def read(self) -> list[str]:
        return self._text.getvalue().splitlines()


def test_says_a_line_every_few_seconds() -> None:
    paper = Paper()
    for second in range(21):
        paper.clock.now = second
        paper.lines.at(FILE, second * 1_000_000)
    assert paper.read() == [
        "a.gguf: 100 MB",
        "a.gguf: 5.00 MB of 100 MB (5 %), 1.00 MB/s, 2 min left",
        "a.gguf: 10.0 MB of 100 MB (10 %), 1.00 MB/s, 2 min left",
        "a.gguf: 15.0 MB of 100 MB (15 %), 1.00 MB/s, 85 s left",
        "a.gguf: 20.0 MB of 100 MB (20 %), 1.00 MB/s, 80 s left",
    ]


def test_what_an_earlier_run_brought_is_no_part_of_the_rate() -> None:
    paper = Paper()
    paper.lines.at(FILE, 90_000_000)
    paper.clock.now = 2
    paper.lines.at(FILE, FILE.size)
    assert paper.read() == [
        "a.gguf: 100 MB; 90.0 MB of it are here already",
        "a.gguf: 100 MB of 100 MB (100 %), 5.00 MB/s",
    ]


def test_reading_again_what_is_there_is_told_only_where_it_takes_long() -> None:
    paper = Paper()
    paper.lines.checking(FILE, 1)
    paper.clock.now = 1
    paper.lines.checking(FILE, FILE.size)
    assert paper.read() == []
    paper.clock.now = 6
    paper.lines.checking(FILE, 60_000_001)
    assert paper.read() == ["a.gguf: 60.0 MB checked of 100 MB (60 %), 10.0 MB/s, 4 s left"]


def test_messages_come_at_once() -> None:
    paper = Paper()
    paper.lines.tell(FILE, "[the connection] was cut; trying again in 0.5 s, and this is a long line")
    assert paper.read() == ["a.gguf: [the connection] was cut; trying again in 0.5 s, and this is a long line"]


def test_a_terminal_gets_a_bar_for_each_file() -> None:
    text = io.StringIO()
    other = PinnedFile("b.gguf", 10, "1" * 64)
    with showing(Console(file=text, force_terminal=True, width=100, color_system=None)) as watch:
        watch.checking(FILE, 1000)
        watch.at(FILE, 50_000_000)
        watch.at(other, 10)
        watch.tell(other, "something")
    last = text.getvalue()
    assert "a.gguf" in last
    assert "50.0/100.0 MB" in last
    assert "b.gguf: something" in last


def test_no_rate_is_no_promise() -> None:
    assert line(FILE, 0, 0.0) == "a.gguf: 0 B of 100 MB (0 %), 0 B/s"


@pytest.mark.parametrize(
    ("seconds", "words"), [(3.2, "3 s"), (89, "89 s"), (90, "2 min"), (3600, "60 min"), (7260, "2 h 1 min")]
)
def test_times_are_as_exact_as_needed(seconds: float, words: str) -> None:
    assert duration(seconds) == words
