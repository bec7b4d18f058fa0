"""`localrouter bundle`: what it prints where, and how it ends."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from huggingface_hub import constants

from localrouter.cli import COMMANDS, main
from localrouter.weights.build_location import ASSETS
from localrouter.weights.registry import Registry

WEIGHTS = b"these are no weights, and nothing here loads them" * 100


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "bundle", ("localrouter.cli.bundle", "bundle"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("LOCALROUTER_MANIFEST", raising=False)
    for name in ("CONFIG", "DATA", "CACHE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle of `house`, whose file is gone from where it was."""
    (tmp_path / "House.gguf").write_bytes(WEIGHTS)
    manifest = tmp_path / "m.toml"
    manifest.write_text('version = 1\n[[models.house.builds]]\nname = "House"\npath = "House.gguf"\n')
    result = run("create", str(tmp_path / "out.tar"), "house", "demo", "--manifest", str(manifest))
    assert result.exit_code == 2  # the demo model is not in that manifest
    result = run("create", str(tmp_path / "out.tar"), "house", "--manifest", str(manifest))
    assert (result.exit_code, result.stdout) == (0, "")
    assert "House" in result.stderr
    (tmp_path / "House.gguf").unlink()
    return tmp_path / "out.tar"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["bundle", *arguments])


def test_a_bundle_is_verified_and_imported(bundle: Path, tmp_path: Path) -> None:
    verified = run("verify", str(bundle))
    assert (verified.exit_code, verified.stdout) == (0, "")
    assert "intact" in verified.stderr
    assert "not signed" in verified.stderr
    imported = json.loads(run("import", str(bundle), "--json").stdout)
    assert (imported["builds"], imported["named"]) == ({"House": "written"}, ["House"])
    [entry] = Registry.read().find("house")
    assert entry.build.path == str(tmp_path / "data/localrouter/models/House.gguf")


@pytest.mark.parametrize("command", ["verify", "import"])
def test_a_damaged_bundle_ends_with_1(bundle: Path, command: str) -> None:
    data = bundle.read_bytes()
    bundle.write_bytes(data.replace(WEIGHTS, bytes(len(WEIGHTS))))
    result = run(command, str(bundle))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "House.gguf is damaged" in result.stderr
    said = json.loads(run(command, str(bundle), "--json").stdout)
    assert said["ok"] is False


def test_what_cannot_be_done_ends_with_2(tmp_path: Path) -> None:
    for arguments in (
        ["verify", str(tmp_path / "nothing.tar")],
        ["create", str(tmp_path / "x.tar"), "nothing-of-this-name"],
        ["create", str(tmp_path / "x.tar"), "demo", "--with-wheels", "--offline"],
        ["create", str(tmp_path / "x.tar"), "demo", "--delta", str(tmp_path / "no.lock")],
    ):
        result = run(*arguments)
        assert result.exit_code == 2, result.output
        assert "hint:" in result.stderr or "no such" in result.stderr.lower()
    assert not list(tmp_path.glob("*x.tar*"))


def test_create_says_which_build_answers_to_an_alias(tmp_path: Path) -> None:
    for name, size in (("Small", 10), ("Large", 1000)):
        (tmp_path / f"{name}.gguf").write_bytes(bytes(size))
    builds = [f'[[models.two.builds]]\nname = "{name}"\npath = "{name}.gguf"\n' for name in ("Small", "Large")]
    (tmp_path / "m.toml").write_text("version = 1\n" + "".join(builds))
    result = run("create", str(tmp_path / "x.tar"), "two", "--manifest", str(tmp_path / "m.toml"))
    assert "two: Large, the largest of 2 on disk that fits in" in result.stderr


def test_create_says_in_json_what_is_inside(tmp_path: Path) -> None:
    said = json.loads(run("create", str(tmp_path / "x.tar"), "demo", "--json").stdout)
    assert said["builds"] == ["localrouter-demo-Q8_0"]
    assert said["size"] == (tmp_path / "x.tar").stat().st_size
    assert (said["signed"], said["wheels"], said["left_out"]) == (False, None, [])


def test_the_demo_model_is_not_written_where_localrouter_brings_it(tmp_path: Path) -> None:
    run("create", str(tmp_path / "x.tar"), "demo")
    imported = json.loads(run("import", str(tmp_path / "x.tar"), "--json").stdout)
    assert (imported["builds"], imported["written"], imported["named"]) == ({"localrouter-demo-Q8_0": "present"}, 0, [])
    assert not list(ASSETS.glob(".*"))


def test_a_required_signature_is_checked_before_anything_is_written(bundle: Path, tmp_path: Path) -> None:
    signers = tmp_path / "signers"
    signers.write_text("a@b ssh-ed25519 AAAA\n")
    result = run("import", str(bundle), "--signers", str(signers))
    assert result.exit_code == 1
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("name", ["create", "verify", "import"])
def test_the_help_page_names_the_exit_codes(name: str) -> None:
    assert "130" in run(name, "--help").output
