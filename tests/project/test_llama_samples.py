"""The files of llama.cpp's sources that tests read: fetched once, and only those that are pinned."""

import io
import sys
import tarfile
from hashlib import sha256
from pathlib import Path

import pytest

from scripts.backend import Refused
from scripts.install import fetch_samples
from scripts.llama_samples import PINS, folder_of, missing, pinned, unpack
from scripts.venv import Venv

FILES = {"words.gguf": b"GGUF", "templates/one.jinja": b"{{ messages }}"}
DIGESTS = {name: sha256(content).hexdigest() for name, content in FILES.items()}


def package(folder: Path, files: dict[str, bytes]) -> Path:
    """Write a source package that has these files, and others, where llama-cpp-python has them."""
    path = folder / "llama_cpp_python-1.0.tar.gz"
    others = {"README.md": b"", "vendor/llama.cpp/templates/one.jinja": b"another"}
    with tarfile.open(path, "w:gz") as archive:
        for name, content in others.items() | {(f"vendor/llama.cpp/models/{name}", files[name]) for name in files}:
            member = tarfile.TarInfo(f"llama_cpp_python-1.0/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def environment(folder: Path, script: str) -> Venv:
    """Return an environment whose Python is a script; `$dest` is the folder that pip would download to."""
    python = Venv(folder / "venv").python
    python.parent.mkdir(parents=True)
    find = 'for word; do [ "$last" = --dest ] && dest=$word; last=$word; done\n'
    python.write_text(f"#!/bin/sh\n{find}{script}\n", encoding="utf-8")
    python.chmod(0o755)
    return Venv(folder / "venv")


def test_the_pinned_files_of_a_package_are_unpacked_and_no_others(tmp_path: Path) -> None:
    unpack(package(tmp_path, FILES | {"more.gguf": b"GGUF"}), tmp_path / "samples", DIGESTS)

    found = [path for path in (tmp_path / "samples").rglob("*") if path.is_file()]
    assert {path.relative_to(tmp_path / "samples").as_posix(): path.read_bytes() for path in found} == FILES


def test_a_file_with_other_bytes_than_those_pinned_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"words\.gguf of llama_cpp_python-1\.0\.tar\.gz is not the file"):
        unpack(package(tmp_path, FILES | {"words.gguf": b"GGUX"}), tmp_path / "samples", DIGESTS)

    assert "words.gguf" in missing(tmp_path / "samples", DIGESTS)


def test_a_package_that_lacks_a_pinned_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"lacks templates/one\.jinja"):
        unpack(package(tmp_path, {"words.gguf": b"GGUF"}), tmp_path / "samples", DIGESTS)


def test_a_file_that_was_changed_since_is_missing(tmp_path: Path) -> None:
    unpack(package(tmp_path, FILES), tmp_path, DIGESTS)
    (tmp_path / "templates" / "one.jinja").write_bytes(b"{{ other }}")

    assert missing(tmp_path, DIGESTS) == ["templates/one.jinja"]


@pytest.mark.skipif(sys.platform == "win32", reason="the fake pip is a script of a POSIX shell")
def test_files_are_downloaded_once(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    venv = environment(tmp_path, f'echo called >> "{calls}"; cp "{package(tmp_path, FILES)}" "$dest"')

    for _ in range(2):
        fetch_samples(venv, DIGESTS)

    assert missing(folder_of(venv.folder), DIGESTS) == []
    assert calls.read_text(encoding="utf-8") == "called\n"


@pytest.mark.skipif(sys.platform == "win32", reason="the fake pip is a script of a POSIX shell")
def test_without_a_network_the_installation_goes_on_and_says_that_tests_are_skipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch_samples(environment(tmp_path, 'echo "ERROR: no network"; exit 1'), DIGESTS)

    said = capsys.readouterr().err
    assert "tests that read them are skipped" in said
    assert "ERROR: no network" in said


def test_every_pin_is_a_sha256_of_a_vocabulary_or_a_template() -> None:
    pins = pinned(PINS.read_text(encoding="utf-8"))

    assert [digest for digest in pins.values() if len(bytes.fromhex(digest)) != 32] == []
    assert [name for name in pins if not name.startswith(("ggml-vocab-", "templates/"))] == []
