"""How far something is, as a person sees it: plain lines, and bars on a terminal of some width."""

import io
import re

import pytest
from rich.console import Console

from localrouter.cli.progress import Lines, TransferProgress, display, duration, figures, showing, watching
from localrouter.weights.manifest.pin import PinnedFile

FILE = PinnedFile("folder/a.gguf", 100_000_000, "0" * 64)
LONG = "Qwen3.6-35B-A3B-UD-Q4_K_M-of-a-house-with-a-long-name-00001-of-00003.gguf"
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Paper:
    """What is written where there is no terminal."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.said = list[str]()
        self.lines = Lines(self.said.append, self.clock)
        self.files = TransferProgress(self.lines)


def terminal(columns: int) -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return Console(file=text, force_terminal=True, width=columns, color_system=None, legacy_windows=False), text


def screen_lines(text: io.StringIO) -> list[str]:
    """Every line that was ever drawn."""
    return [line for line in re.split(r"[\r\n]", ESCAPES.sub("", text.getvalue())) if line]


def test_a_file_gets_a_line_every_five_seconds() -> None:
    paper = Paper()
    for paper.clock.now in range(21):
        paper.files.at(FILE, int(paper.clock.now) * 1_000_000)
    assert paper.said == [
        "a.gguf: 100 MB",
        "a.gguf: 5.00 MB of 100 MB (5 %), 1.00 MB/s, 2 min left",
        "a.gguf: 10.0 MB of 100 MB (10 %), 1.00 MB/s, 2 min left",
        "a.gguf: 15.0 MB of 100 MB (15 %), 1.00 MB/s, 85 s left",
        "a.gguf: 20.0 MB of 100 MB (20 %), 1.00 MB/s, 80 s left",
    ]


def test_what_an_earlier_run_brought_is_no_part_of_the_rate() -> None:
    paper = Paper()
    paper.files.at(FILE, 90_000_000)
    paper.clock.now = 2
    paper.files.at(FILE, FILE.size)
    assert paper.said == [
        "a.gguf: 100 MB; 90.0 MB already downloaded",
        "a.gguf: 100 MB of 100 MB (100 %), 5.00 MB/s",
    ]


def test_the_end_is_said_once() -> None:
    paper = Paper()
    for paper.clock.now in range(3):
        paper.files.at(FILE, FILE.size)
    assert len(paper.said) == 2


def test_reading_again_what_is_there_is_told_only_where_it_takes_long() -> None:
    paper = Paper()
    paper.files.checking(FILE, 1)
    paper.clock.now = 1
    paper.files.checking(FILE, FILE.size)
    assert paper.said == []
    paper.clock.now = 6
    paper.files.checking(FILE, 60_000_001)
    assert paper.said == ["checking a.gguf: 60.0 MB of 100 MB (60 %), 10.0 MB/s, 4 s left"]


def test_of_one_thing_nothing_is_said_for_two_seconds_and_then_every_five_and_at_its_end() -> None:
    paper = Paper()
    for paper.clock.now, done in ((0, 0), (1.9, 1_000_000), (2, 1_500_000), (6.9, 2_000_000), (7, 3_500_000), (8, 4e6)):
        paper.lines.show("x", "reading x", int(done), 4_000_000)
    assert paper.said == [
        "reading x: 1.50 MB of 4.00 MB (37 %), 750 kB/s, 3 s left",
        "reading x: 3.50 MB of 4.00 MB (87 %), 500 kB/s, 1 s left",
        "reading x: 4.00 MB of 4.00 MB (100 %), 500 kB/s",
    ]


def test_what_is_done_within_two_seconds_is_not_spoken_of() -> None:
    paper = Paper()
    paper.lines.show("x", "reading x", 0, 4)
    paper.clock.now = 1.9
    paper.lines.show("x", "reading x", 4, 4)
    assert paper.said == []


def test_messages_come_at_once() -> None:
    paper = Paper()
    paper.files.tell(FILE, "the connection was lost; trying again in 0.5 s")
    assert paper.said == ["a.gguf: the connection was lost; trying again in 0.5 s"]


def test_a_plain_line_is_not_folded_and_no_markup() -> None:
    text = io.StringIO()
    with showing(Console(file=text, width=40)) as watch:
        watch.tell(FILE, "[the connection] was cut; trying again in 0.5 s, and this is a long line")
    assert text.getvalue() == "a.gguf: [the connection] was cut; trying again in 0.5 s, and this is a long line\n"


def test_a_terminal_gets_a_bar_for_each_file() -> None:
    console, text = terminal(100)
    with showing(console) as watch:
        watch.checking(FILE, 1000)
        watch.at(FILE, 50_000_000)
        watch.at(PinnedFile("b.gguf", 10, "1" * 64), 10)
        watch.tell(FILE, "something")
    last = screen_lines(text)[-2:]
    assert [line.split()[0] for line in last] == ["a.gguf", "b.gguf"]
    assert "50.0 MB of 100 MB  50 %" in last[0]
    assert "a.gguf: something" in screen_lines(text)


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_a_long_name_gives_way_to_the_figures(columns: int) -> None:
    console, text = terminal(columns)
    with display(console) as shown:
        shown.show("x", LONG, 12_345_678_901, 22_134_528_992)
    assert {len(line) for line in screen_lines(text)} == {columns}
    last = screen_lines(text)[-1]
    assert re.match(r"Qw\S*…\S*f ", last)
    assert "12.3 GB of 22.1 GB  55 %" in last


def test_a_bar_of_one_thing_leaves_nothing_behind() -> None:
    console, text = terminal(80)
    with display(console, transient=True) as shown:
        shown.show("x", "reading", 1, 2)
    assert text.getvalue().rstrip("\x1b[?25h").endswith("\x1b[2K")


def test_one_thing_is_told_of_in_steps(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localrouter.cli.progress.PATIENCE", 0.0)
    with watching("reading x", 4_000_000) as report:
        report(1_000_000)
        report(3_000_000)
    said = capsys.readouterr()
    assert said.out == ""
    assert "reading x: 1.00 MB of 4.00 MB (25 %)" in said.err
    assert "reading x: 4.00 MB of 4.00 MB (100 %)" in said.err


def test_of_nothing_nothing_is_shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localrouter.cli.progress.PATIENCE", 0.0)
    with watching("hashing", 0) as report:
        report(0)
    assert capsys.readouterr() == ("", "")


def test_no_rate_is_no_promise() -> None:
    assert str(figures(0, 100_000_000, 0.0)) == "0 B of 100 MB (0 %), 0 B/s"
    assert str(figures(0, 100_000_000, None)) == "0 B of 100 MB (0 %)"


def test_more_than_all_is_all() -> None:
    assert figures(5, 4, 1.0).share == "100 %"


@pytest.mark.parametrize(
    ("seconds", "words"), [(3.2, "3 s"), (89, "89 s"), (90, "2 min"), (3600, "60 min"), (7260, "2 h 1 min")]
)
def test_times_are_as_exact_as_needed(seconds: float, words: str) -> None:
    assert duration(seconds) == words
