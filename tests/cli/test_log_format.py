"""The server's log: a record begins a line, and nothing in a message or a traceback looks like another record."""

import logging

from localrouter.cli.log_format import LogFormat

FORGED = "lost\n2027-01-01 00:00:00,000 ERROR localrouter: forged \x1b[2J"


def formatted(message: str, error: Exception | None = None) -> list[str]:
    info = None if error is None else (type(error), error, None)
    record = logging.LogRecord("localrouter.api", logging.ERROR, __file__, 1, message, None, info)
    return LogFormat().format(record).split("\n")


def test_a_message_is_one_line_of_printable_characters() -> None:
    (line,) = formatted(FORGED)
    assert line.isprintable()
    assert line.endswith(r"ERROR localrouter.api: lost\n2027-01-01 00:00:00,000 ERROR localrouter: forged \x1b[2J")


def test_lines_of_a_traceback_are_indented() -> None:
    first, *others = formatted("failed", ValueError(FORGED))
    assert first.endswith("ERROR localrouter.api: failed")
    assert [line.strip() for line in others] == ["ValueError: lost", *FORGED.replace("\x1b", r"\x1b").splitlines()[1:]]
    assert all(line.startswith("    ") and line.isprintable() for line in others)
