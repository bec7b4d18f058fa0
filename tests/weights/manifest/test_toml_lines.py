import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localrouter.weights.manifest.toml_lines import KeyPath, TomlLines

TEXT = '''version = 1
[models.qwen]
description = """
name = "not a key"
"""
context . limit = 4096

[[models.qwen.builds]] # first
name = "a"
[[models.qwen.builds]]
"file" = "b"
[models."qwen3.5"]
builds = [{ name = "c" }]
'''


@pytest.mark.parametrize(
    ("key", "line"),
    [
        (("version",), 1),
        (("models",), 2),
        (("models", "qwen"), 2),
        (("models", "qwen", "context", "limit"), 6),
        (("models", "qwen", "builds", 0), 8),
        (("models", "qwen", "builds", 0, "name"), 9),
        (("models", "qwen", "builds", 1, "file"), 11),
        (("models", "qwen3.5"), 12),
    ],
)
def test_finds_the_line_of_a_key(key: KeyPath, line: int) -> None:
    assert TomlLines(TEXT).line(key) == line


def test_a_key_in_a_text_of_several_lines_is_no_key() -> None:
    assert TomlLines(TEXT).line(("models", "qwen", "name")) == 2


@pytest.mark.parametrize(
    ("key", "line"),
    [
        (("models", "qwen", "builds", 1, "name"), 10),
        (("models", "qwen3.5", "builds", 0, "name"), 13),
        (("elsewhere",), 1),
    ],
)
def test_what_has_no_line_stands_where_the_nearest_thing_around_it_stands(key: KeyPath, line: int) -> None:
    assert TomlLines(TEXT).line(key) == line


@given(st.text(alphabet='ab.[]="\n# {}', max_size=60))
def test_every_text_that_is_toml_has_a_line_for_every_key(text: str) -> None:
    try:
        document: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    lines = TomlLines(text)
    assert all(1 <= lines.line((key,)) <= text.count("\n") + 1 for key in document)
