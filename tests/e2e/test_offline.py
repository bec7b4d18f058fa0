"""A machine without a network: every command does its work there, or says what it lacks and how to bring it."""

import sys
from pathlib import Path

import pytest
from gguf_bytes import SAMPLE
from island import Island, needs_namespaces
from offline_commands import OFFLINE, SERVE, Offline, all_commands

LOCALROUTER = [sys.executable, "-m", "localrouter"]
CONNECT = "import socket\ntry: socket.create_connection(('{}', 9), 1)\nexcept OSError as error: print(error)"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with the embedded model."""
    island = Island(tmp_path_factory.mktemp("bundle"))
    done = island.run(*LOCALROUTER, "bundle", "create", "house.tar", "demo")
    assert done.returncode == 0, done.stderr
    return island.home / "house.tar"


@pytest.fixture
def island(tmp_path: Path) -> Island:
    """An empty home under watch."""
    island = Island(tmp_path)
    island.environment["PYTHONPATH"] = str(island.watch)
    return island


def test_every_command_is_tried() -> None:
    assert {use.command for use in OFFLINE} | {SERVE} == {*all_commands()}


@pytest.mark.slow
@pytest.mark.parametrize("use", OFFLINE, ids=str)
def test_offline_a_command_works_or_says_what_it_lacks(use: Offline, island: Island, bundle: Path) -> None:
    (island.home / "house.tar").hardlink_to(bundle)
    for name in ("mine", "noise"):
        (island.home / f"{name}.gguf").write_bytes(SAMPLE)
    own = island.home / ".config" / "localrouter" / "model_manifest.toml"
    own.parent.mkdir(parents=True)
    own.write_text(f'version = 1\n[[models.noise.builds]]\nname = "Noise"\npath = "{island.home}/noise.gguf"\n')

    done = island.run(*LOCALROUTER, *use.line, **use.environment)

    assert island.tried == ""
    assert "localrouter" in island.watched
    assert done.returncode == use.status, done.stderr
    assert [words for words in use.says if words not in done.stdout + done.stderr] == []
    assert "Traceback" not in done.stderr


def test_offline_the_embedded_model_answers_and_another_is_a_404_that_says_how_to_bring_it(island: Island) -> None:
    serve = [*LOCALROUTER, "serve", "--offline", "--port", "0", "--threads", "1"]

    answers = island.ask(serve, "demo", "qwen")

    status, answer = answers["demo"]
    assert (status, answer["choices"][0]["message"]["content"]) == (200, "The capital of Italy is Rome.")
    status, refusal = answers["qwen"]
    assert status == 404
    assert "localrouter pull Qwen3.5-0.8B-Q4_K_M" in refusal["error"]["message"]
    assert island.tried == ""
    assert "localrouter.engine.ipc.worker" in island.watched


@pytest.mark.parametrize("host", ["192.0.2.1", "example.org"])
def test_what_tries_to_leave_is_stopped_and_written_down_also_from_a_child(island: Island, host: str) -> None:
    code = CONNECT.format(host)
    child = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {code!r}])"
    for each in (code, child):
        island.forget()
        done = island.run(sys.executable, "-c", each)
        assert "leaves the machine" in done.stdout
        assert repr(host) in island.tried


@needs_namespaces
def test_there_is_no_way_out_for_what_no_hook_sees(island: Island) -> None:
    code = CONNECT.format("192.0.2.1")

    assert "unreachable" in island.run(sys.executable, "-I", "-S", "-c", code).stdout
    assert island.tried == ""
