from pathlib import Path

import pytest
from gguf_bytes import SAMPLE, header

from localrouter.errors import ConfigError
from localrouter.weights import build_location
from localrouter.weights.extra_models import Echo, check_entry, demo, split_entries
from localrouter.weights.manifest.manifest import Build, default_manifest_path, load_manifest


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "Mine-Q4_K_M.gguf"
    path.write_bytes(SAMPLE)
    return path


def test_entries_are_names_and_values() -> None:
    entries = ["a=x.gguf", "b=builtin:echo?step_ms=5"]
    assert split_entries(entries) == {"a": "x.gguf", "b": "builtin:echo?step_ms=5"}


@pytest.mark.parametrize("entry", ["x.gguf", "=x.gguf", "a=", ""])
def test_an_entry_of_another_form_is_refused_with_the_form(entry: str) -> None:
    with pytest.raises(ConfigError, match="not of the form NAME=FILE") as caught:
        split_entries([entry])
    assert "NAME=FILE.gguf" in (caught.value.hint or "")


def test_a_name_that_comes_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="'a' is already in use"):
        split_entries(["a=x", "a=y"])


def test_a_file_is_named_by_its_stem_and_keeps_what_its_header_says(model: Path) -> None:
    extra = check_entry("mine", str(model))
    assert extra.origin == Build(name="Mine-Q4_K_M", path=str(model), license="apache-2.0")
    assert extra.description == "A file of this machine (qwen3, Q4_K_M)."


def test_only_the_ending_gguf_is_cut_from_the_name(tmp_path: Path) -> None:
    (tmp_path / "mine.Q4_K_M").write_bytes(header())
    assert check_entry("mine", str(tmp_path / "mine.Q4_K_M")).origin.name == "mine.Q4_K_M"


def test_a_relative_file_starts_at_the_working_directory(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(model.parent)
    assert check_entry("mine", model.name).origin == check_entry("mine", str(model)).origin


def test_a_tilde_is_the_home(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(model.parent))
    monkeypatch.setenv("USERPROFILE", str(model.parent))
    assert check_entry("mine", f"~/{model.name}").origin == check_entry("mine", str(model)).origin


def test_echo_takes_its_options_into_its_name() -> None:
    assert check_entry("e", "builtin:echo").origin == Echo("")
    extra = check_entry("e", "builtin:echo?step_ms=5")
    assert extra.origin == Echo("step_ms=5")
    assert extra.origin.name == "localrouter-echo?step_ms=5"


def test_the_demo_model_is_the_one_that_is_shipped() -> None:
    shipped = load_manifest(default_manifest_path()).models["demo"].builds[0]
    assert check_entry("d", "builtin:demo").origin == demo() == shipped


@pytest.mark.parametrize("content", [None, SAMPLE])
def test_a_demo_model_that_is_missing_or_another_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    monkeypatch.setattr(build_location, "ASSETS", tmp_path)
    if content:
        (tmp_path / "demo.gguf").write_bytes(content)
    with pytest.raises(ConfigError, match="missing from this installation"):
        check_entry("d", "builtin:demo")


@pytest.mark.parametrize("value", ["builtin:", "builtin:other", "builtin:demo?x=1", "builtin:echo?\n"])
def test_an_unknown_builtin_is_refused_with_those_there_are(value: str) -> None:
    with pytest.raises(ConfigError, match="no such builtin model") as caught:
        check_entry("a", value)
    assert "builtin:echo" in (caught.value.hint or "")


@pytest.mark.parametrize("alias", ["A", "a b", "-a", "a:b", "ä"])
def test_a_bad_alias_is_refused(model: Path, alias: str) -> None:
    with pytest.raises(ConfigError, match="a name must be of the form"):
        check_entry(alias, str(model))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--model a=.*no\.gguf: there is no such file"):
        check_entry("a", str(tmp_path / "no.gguf"))


def test_a_file_that_is_no_gguf_is_refused_with_a_hint(model: Path) -> None:
    model.write_bytes(b"PK\x03\x04 something else")
    with pytest.raises(ConfigError, match="does not start with the bytes GGUF") as caught:
        check_entry("a", str(model))
    assert caught.value.hint


def test_a_file_whose_name_cannot_be_a_model_s_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "two\nlines.gguf"
    path.write_bytes(SAMPLE)
    with pytest.raises(ConfigError, match="is not valid as a model name") as caught:
        check_entry("a", str(path))
    assert "rename" in (caught.value.hint or "")
