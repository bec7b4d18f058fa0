"""Which pip calls make the wheels that travel; pip itself is a fake here, the real one runs in e2e/test_air_gap.py."""

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from localrouter import __version__
from localrouter.weights.bundle import wheels
from localrouter.weights.bundle.index import BundleError
from localrouter.weights.bundle.wheels import (
    EVERY_VARIANT,
    Say,
    WheelSource,
    build_wheels,
    llama_flags,
    portable_compiler_flags,
    run_pip,
    wheel_target,
)


class FakePip:
    """Makes the wheel that each call is expected to make, and remembers the call."""

    def __init__(self) -> None:
        self.calls: list[tuple[Sequence[str], Mapping[str, str]]] = []

    def __call__(self, arguments: Sequence[str], environment: Mapping[str, str], say: Say) -> None:
        self.calls.append((arguments, environment))
        name = "llama_cpp_python" if "--no-binary" in arguments else "localrouter"
        (Path(arguments[arguments.index("-w") + 1]) / f"{name}-1-py3-none-any.whl").touch()


@pytest.fixture
def pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakePip:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "out").mkdir()
    return FakePip()


def test_llama_is_compiled_past_the_cache_and_for_any_cpu(pip: FakePip, tmp_path: Path) -> None:
    wheels = build_wheels(tmp_path / "out", str, pip=pip)
    (arguments, environment), (rest, _) = pip.calls
    assert {"--no-cache-dir", "--no-binary"} <= set(arguments)
    assert "-DGGML_NATIVE=OFF" in environment["CMAKE_ARGS"]
    assert str(next((tmp_path / "cache").rglob("*.whl"))) in rest
    assert [wheel.name for wheel in wheels] == ["localrouter-1-py3-none-any.whl"]


def test_compiler_flags_of_the_environment_do_not_tie_it_to_this_cpu(
    pip: FakePip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXXFLAGS", "-O2 -march=native -mavx512f -mtune=native -I/include")
    build_wheels(tmp_path / "out", str, pip=pip)
    assert pip.calls[0][1]["CXXFLAGS"] == "-O2 -mtune=native -I/include"
    assert portable_compiler_flags({"PATH": "/bin"}) == {}


def test_the_compiled_wheel_is_kept_for_the_next_time(pip: FakePip, tmp_path: Path) -> None:
    build_wheels(tmp_path / "out", str, pip=pip)
    build_wheels(tmp_path / "out", str, pip=pip)
    assert ["--no-binary" in arguments for arguments, _ in pip.calls] == [True, False, False]


@pytest.mark.parametrize(("fact", "value"), [("version", lambda _: "9.9.9"), ("NATIVE_OFF", ("-DGGML_NATIVE=MAYBE",))])
def test_a_kept_wheel_of_another_version_or_other_flags_is_not_taken(
    pip: FakePip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fact: str, value: object
) -> None:
    build_wheels(tmp_path / "out", str, pip=pip)
    monkeypatch.setattr(wheels, fact, value)
    build_wheels(tmp_path / "out", str, pip=pip)
    assert ["--no-binary" in arguments for arguments, _ in pip.calls] == [True, False, True, False]


def test_a_compilation_that_failed_is_not_kept(pip: FakePip, tmp_path: Path) -> None:
    def fail(*_: object) -> None:
        raise BundleError("no")

    with pytest.raises(BundleError):
        build_wheels(tmp_path / "out", str, pip=fail)
    build_wheels(tmp_path / "out", str, pip=pip)
    assert len(pip.calls) == 2


def test_every_variant_is_compiled_on_linux_and_lean_where_the_file_is() -> None:
    lean = Path("/x/llama.cmake")
    assert set(EVERY_VARIANT) <= set(llama_flags("Linux", None))
    assert not set(EVERY_VARIANT) & set(llama_flags("Darwin", None))
    assert f"-DCMAKE_PROJECT_llama.cpp_INCLUDE={lean}" in llama_flags("Linux", lean)


def test_a_checkout_brings_its_constraints_and_an_installation_what_is_installed(tmp_path: Path) -> None:
    assert "llama-cpp-python==" in WheelSource.here().constraints()
    installed = WheelSource(None)
    assert "llama-cpp-python==" in installed.constraints().replace("_", "-")
    assert (installed.requirement, installed.lean) == (f"localrouter=={__version__}", None)


def test_the_target_names_python_and_platform() -> None:
    target = wheel_target()
    assert target.python.startswith("cp3")
    assert platform.machine() in target.platform


def test_pips_last_words_are_in_the_error() -> None:
    with pytest.raises(BundleError, match="no such option"):
        run_pip(["wheel", "--nonsense"], {}, str)
