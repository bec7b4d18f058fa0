import json
from pathlib import Path

import gguf
import pytest
from click.testing import CliRunner, Result
from gguf_bytes import SAMPLE, header, text_pair

from localrouter.cli.list import human_size, list_models
from localrouter.errors import ConfigError, ManifestError

MANIFEST = """
version = 1
[models.big]
description = "Two sizes."
[[models.big.builds]]
name = "A-rather-long-name-of-a-build-UD-Q4_K_XL"
variant = "9b"
path = "nine.gguf"
size = 5680522464
license = "apache-2.0"
[[models.big.builds]]
name = "Big-4B"
variant = "4b"
path = "four.gguf"
size = 4
license = "mit"
[models.small]
builds = [{ name = "[bold]Small", path = "small.gguf", size = 3 }]
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "manifest.toml").write_text(MANIFEST)
    (tmp_path / "four.gguf").write_bytes(b"4444")
    (tmp_path / "small.gguf").write_bytes(b"other")
    return tmp_path


def run(home: Path, *options: str, env: dict[str, str] | None = None) -> Result:
    arguments = ["--manifest", str(home / "manifest.toml"), *options]
    return CliRunner().invoke(list_models, arguments, env=env, catch_exceptions=False)


def lines(result: Result) -> list[str]:
    return [line.rstrip() for line in result.stdout.splitlines()]


def test_shows_every_build_and_marks_the_one_that_would_answer(home: Path) -> None:
    assert lines(run(home)) == [
        "big  Two sizes.",
        "  9b A-rather-long-name-of-a-build-UD-Q4_K_XL 5.68 GB apache-2.0 file missing",
        "> 4b Big-4B                                       4 B mit        on disk",
        "> the only build on disk",
        "",
        "small",
        "     [bold]Small                                  5 B            wrong size",
    ]


def test_says_why_a_build_was_chosen(home: Path) -> None:
    (home / "nine.gguf").touch()
    with (home / "nine.gguf").open("r+b") as file:
        file.truncate(5680522464)  # a hole
    assert any(line.startswith(("> the largest of 2", "> the smallest of 2")) for line in lines(run(home)))


def test_the_legend_is_talk_and_no_data(home: Path) -> None:
    result = run(home)
    assert "> serves the bare name" in result.stderr
    assert "answers" not in result.stdout


def test_a_pipe_gets_no_escape_codes(home: Path) -> None:
    assert "\x1b" not in run(home).output


def terminal(columns: int, **more: str) -> dict[str, str]:
    return {"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": str(columns), "NO_COLOR": ""} | more


def plain(line: str) -> str:
    while "\x1b[" in line:
        before, _, behind = line.partition("\x1b[")
        line = before + behind.partition("m")[2]
    return line


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_no_line_is_wider_than_the_terminal(home: Path, columns: int) -> None:
    text = [plain(line) for line in lines(run(home, env=terminal(columns)))]
    assert max(map(len, text)) <= columns
    assert any("wrong size" in line for line in text)


def test_what_to_do_about_a_wrong_size_is_said(home: Path) -> None:
    assert "run: localrouter verify NAME" in run(home).stderr


def test_colours_the_state_in_a_terminal_unless_told_not_to(home: Path) -> None:
    green = "\x1b[32m"
    assert green in run(home, env=terminal(80)).stdout
    assert green not in run(home, env=terminal(80, NO_COLOR="1")).stdout


def test_json_is_one_list_for_programs(home: Path) -> None:
    big, small = json.loads(run(home, "--json").stdout)
    assert (big["alias"], big["description"], big["reason"]) == ("big", "Two sizes.", "the only build on disk")
    assert small["reason"] is None
    assert big["builds"][1] == {
        "model": "Big-4B",
        "variant": "4b",
        "source": "path",
        "state": "on_disk",
        "size": 4,
        "license": "mit",
        "fallback_template": None,
        "chosen": True,
    }
    assert [build["state"] for build in small["builds"]] == ["wrong_size"]
    assert [build["chosen"] for build in small["builds"]] == [False]


def test_the_operator_s_own_files_are_listed(home: Path) -> None:
    writer = gguf.GGUFWriter(home / "Mine-Q8_0.gguf", "qwen3")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    result = run(home, "--model", f"mine={home / 'Mine-Q8_0.gguf'}", "--model", "e=builtin:echo", "--json")
    models = {entry["alias"]: entry["builds"][0]["model"] for entry in json.loads(result.stdout)}
    assert models["mine"] == "Mine-Q8_0"
    assert models["e"] == "localrouter-echo"


def test_the_manifest_may_come_from_the_environment(home: Path) -> None:
    environment = {"LOCALROUTER_MANIFEST": str(home / "manifest.toml")}
    result = CliRunner().invoke(list_models, ["--json"], env=environment, catch_exceptions=False)
    assert [entry["alias"] for entry in json.loads(result.stdout)] == ["big", "small"]


def test_a_manifest_without_models_lists_nothing(home: Path) -> None:
    (home / "manifest.toml").write_text("version = 1\n[models]\n")
    assert run(home).stdout == ""
    assert json.loads(run(home, "--json").stdout) == []


def test_mistakes_are_left_to_the_program_s_one_place_for_them(home: Path) -> None:
    with pytest.raises(ConfigError):
        run(home, "--model", "nonsense")
    (home / "manifest.toml").write_text("version = 2")
    with pytest.raises(ManifestError):
        run(home)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (999_499, "999 kB"),
        (999_500, "1.00 MB"),
        (2_740_937_888, "2.74 GB"),
        (22_134_528_992, "22.1 GB"),
        (10**16, "10000 TB"),
    ],
)
def test_sizes_have_three_digits(size: int, words: str) -> None:
    assert human_size(size) == words


BARE = """
version = 1
[models.bare]
builds = [
    { name = "Bare-Q8_0", path = "bare.gguf" },
    { name = "Mended-Q8_0", path = "bare.gguf", chat_template = "mended.jinja", variant = "mended" },
    { name = "Gone-Q8_0", path = "gone.gguf", variant = "gone" },
]
"""


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    (tmp_path / "manifest.toml").write_text(BARE)
    (tmp_path / "bare.gguf").write_bytes(SAMPLE)
    return tmp_path


def test_a_file_without_a_chat_template_is_warned_of_unless_the_manifest_has_one(bare: Path) -> None:
    result = run(bare)
    assert [line for line in lines(result) if "no chat template" in line] == [
        "  Bare-Q8_0: no chat template, fallback plain is used"
    ]
    assert "no chat template: use an instruction-tuned file, or name a template" in result.stderr


def test_json_names_the_fallback_of_a_file_without_a_chat_template(bare: Path) -> None:
    [entry] = json.loads(run(bare, "--json").stdout)
    assert [build["fallback_template"] for build in entry["builds"]] == ["fallback plain", None, None]


def test_where_every_file_has_a_template_nothing_is_said_of_it(bare: Path) -> None:
    (bare / "bare.gguf").write_bytes(header(text_pair("tokenizer.chat_template", "{{ messages }}")))
    assert "template" not in run(bare).output
