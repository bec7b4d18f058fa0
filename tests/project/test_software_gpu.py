"""What a Vulkan build needs: which parts are missing, which headers are new enough, where newer ones come from."""

from pathlib import Path

import pytest

from scripts import vulkan_headers
from scripts.backend import Machine, Refused
from scripts.install import include_paths
from scripts.venv import Venv
from scripts.vulkan_headers import DRIVER, PARTS, deb822, headers, missing, new_enough, one_line, sources, with_include

DEFINED = "  struct LayerSettingEXT\n  {\n"
DECLARED = "  struct LayerSettingEXT;\n"
KEY = "/usr/share/keyrings/debian-archive-keyring.gpg"
STANZAS = f"""\
# made by hand
Types: deb deb-src
# http://old.example
URIs: http://mirror.example/debian
 http://second.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: {KEY}

Types: deb
URIs: http://mirror.example/security
Suites: bookworm-security
Components: main
"""


def write(root: Path, file: str, text: str = "") -> None:
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def debian_12(root: Path) -> None:
    write(root, "etc/os-release", 'ID=debian\nVERSION_CODENAME="bookworm"\n')
    write(root, "etc/apt/sources.list.d/debian.sources", STANZAS)
    write(root, "usr/include/vulkan/vulkan.h")
    write(root, "usr/include/vulkan/vulkan_structs.hpp", "struct Other\n{\n")


def tools(folder: Path, *names: str) -> dict[str, str]:
    for name in names:
        write(folder, name, "#!/bin/sh\nexit 1\n")
        (folder / name).chmod(0o755)
    return {"PATH": str(folder)}


def fetched(monkeypatch: pytest.MonkeyPatch, text: str) -> list[Path]:
    """Let `fetch` write headers with this text; return the list of the folders it is called with."""
    folders = []

    def fetch(folder: Path, _lists: object) -> None:
        folders.append(folder)
        write(folder, "usr/include/vulkan/vulkan_structs.hpp", text)

    monkeypatch.setattr(vulkan_headers, "fetch", fetch)
    return folders


def test_a_copied_stanza_differs_in_suite_and_names_only_debians_main_packages() -> None:
    stanza = {line.partition(": ")[0]: line.partition(": ")[2] for line in deb822(STANZAS, "bookworm").splitlines()}
    assert stanza == {
        "types": "deb",
        "uris": "http://mirror.example/debian",
        " http://second.example/debian": "",
        "suites": "trixie",
        "components": "main",
        "signed-by": KEY,
    }


@pytest.mark.parametrize(
    ("field", "other"),
    [
        ("Signed-By: " + KEY, "Signed-By: /etc/keyrings/vendor.gpg"),
        ("Suites: bookworm ", "Suites: nodistro "),
        ("Components: main", "Components: stable"),
        ("Types: deb deb-src", "Types: deb-src"),
        ("Types: deb", "Enabled: no\nTypes: deb"),
    ],
)
def test_stanzas_of_others_or_switched_off_are_left_out(field: str, other: str) -> None:
    assert not deb822(STANZAS.replace(field, other, 1), "bookworm")


@pytest.mark.parametrize(
    ("line", "copy"),
    [
        ("deb http://m.example/debian bookworm main contrib # ours", "deb http://m.example/debian trixie main\n"),
        (f"deb [signed-by={KEY}] http://m bookworm main", f"deb [signed-by={KEY}] http://m trixie main\n"),
        ("deb [signed-by=/etc/vendor.gpg] http://m bookworm main", ""),
        ("deb http://m bookworm-security main", ""),
        ("deb http://m bookworm stable", ""),
        ("deb-src http://m bookworm main", ""),
        ("# deb http://m bookworm main", ""),
    ],
)
def test_a_copied_line_is_debians_own_with_another_suite(line: str, copy: str) -> None:
    assert one_line(f"{line}\n", "bookworm") == copy


def test_only_files_that_apt_reads_are_copied(tmp_path: Path) -> None:
    debian_12(tmp_path)
    write(tmp_path, "etc/apt/sources.list", "deb http://m bookworm main\n")
    write(tmp_path, "etc/apt/sources.list.d/old.list.disabled", "deb http://m bookworm main\n")
    write(tmp_path, "etc/apt/sources.list.d/vendor.list", "deb http://m stable main\n")
    assert list(sources(tmp_path)) == ["sources.list", "debian.sources"]


def test_without_a_mirror_of_debian_there_is_no_source(tmp_path: Path) -> None:
    write(tmp_path, "etc/os-release", "ID=debian\nVERSION_CODENAME=bookworm\n")
    with pytest.raises(Refused, match="bookworm"):
        sources(tmp_path)


@pytest.mark.parametrize(("text", "enough"), [(DEFINED, True), (DECLARED, False), ("", False)])
@pytest.mark.parametrize("file", ["vulkan.hpp", "vulkan_structs.hpp"])
def test_headers_are_new_enough_when_they_define_layer_settings(
    tmp_path: Path, file: str, text: str, enough: bool
) -> None:
    write(tmp_path, f"vulkan/{file}", text)
    assert new_enough(tmp_path) is enough


def test_new_headers_of_the_system_are_taken_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    debian_12(tmp_path)
    write(tmp_path, "usr/include/vulkan/vulkan_structs.hpp", DEFINED)
    monkeypatch.setattr(vulkan_headers, "fetch", pytest.fail)
    assert headers(tmp_path / "kept", tmp_path, {}) is None


def test_headers_of_a_named_sdk_go_before_the_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    debian_12(tmp_path)
    write(tmp_path, "sdk/include/vulkan/vulkan.h")
    write(tmp_path, "sdk/include/vulkan/vulkan_structs.hpp", DEFINED)
    monkeypatch.setattr(vulkan_headers, "fetch", pytest.fail)
    assert headers(tmp_path / "kept", tmp_path, {"VULKAN_SDK": str(tmp_path / "sdk")}) is None


def test_old_headers_are_replaced_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    debian_12(tmp_path)
    folders, kept = fetched(monkeypatch, DEFINED), tmp_path / "kept"
    path = tools(tmp_path / "bin", "apt-get", "dpkg")
    found = [headers(kept, tmp_path, path) for _ in range(2)]
    assert found == [kept / "usr/include"] * 2
    assert folders == [kept]


def test_fetched_headers_that_are_too_old_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    debian_12(tmp_path)
    fetched(monkeypatch, DECLARED)
    with pytest.raises(Refused, match="LayerSettingEXT"):
        headers(tmp_path / "kept", tmp_path, tools(tmp_path / "bin", "apt-get", "dpkg"))


def test_old_headers_without_apt_are_refused_in_one_line(tmp_path: Path) -> None:
    debian_12(tmp_path)
    with pytest.raises(Refused, match=r"apt-get, which.*VULKAN_SDK") as refusal:
        headers(tmp_path / "kept", tmp_path, tools(tmp_path / "bin", "dpkg"))
    assert "\n" not in str(refusal.value)


def test_old_headers_of_another_system_are_refused(tmp_path: Path) -> None:
    debian_12(tmp_path)
    write(tmp_path, "etc/os-release", "ID=ubuntu\nVERSION_CODENAME=jammy\n")
    with pytest.raises(Refused, match="VULKAN_SDK"):
        headers(tmp_path / "kept", tmp_path, {})


def test_a_download_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools(tmp_path / "bin", "apt-get")
    write(tmp_path, "bin/apt-get", "#!/bin/sh\necho 'E: no network' >&2\n")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(Refused, match="E: no network"):
        vulkan_headers.fetch(tmp_path / "kept", {"debian.sources": ""})
    assert not (tmp_path / "kept").exists()


def test_everything_that_is_missing_stands_in_one_command(tmp_path: Path) -> None:
    sentence = missing(tmp_path, {}, (*PARTS, DRIVER))
    assert sentence is not None
    assert "sudo apt install glslc libvulkan-dev spirv-headers mesa-vulkan-drivers" in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("lost", "package"),
    [
        ("usr/bin/glslc", "glslc"),
        ("usr/lib/x86_64-linux-gnu/libvulkan.so", "libvulkan-dev"),
        ("usr/share/cmake/SPIRV-Headers", "spirv-headers"),
        ("usr/share/vulkan/icd.d/lvp_icd.x86_64.json", "mesa-vulkan-drivers"),
        ("", ""),
    ],
)
def test_each_missing_part_is_named_by_its_package(tmp_path: Path, lost: str, package: str) -> None:
    tools(tmp_path / "usr/bin", "glslc")
    for file in (
        "lib/x86_64-linux-gnu/libvulkan.so",
        "share/cmake/SPIRV-Headers",
        "share/vulkan/icd.d/lvp_icd.x86_64.json",
    ):
        write(tmp_path, f"usr/{file}")
    (tmp_path / lost).unlink() if lost else None
    sentence = missing(tmp_path, {"PATH": str(tmp_path / "usr/bin")}, (*PARTS, DRIVER))
    assert (sentence or "").partition("apt install ")[2].partition(" (")[0] == package


def test_an_sdk_and_a_driver_that_are_named_count(tmp_path: Path) -> None:
    named = {"VULKAN_SDK": "/opt/vulkan", "VK_DRIVER_FILES": "/opt/lvp.json"} | tools(tmp_path, "glslc")
    assert missing(tmp_path, named, (*PARTS, DRIVER)) is None


def test_new_headers_go_before_the_users_own() -> None:
    found = with_include(Path("/new"), {"C_INCLUDE_PATH": "/mine"})
    assert found == {"CPLUS_INCLUDE_PATH": "/new", "C_INCLUDE_PATH": "/new:/mine"}


@pytest.mark.parametrize(("backend", "system"), [("cuda", "Linux"), ("vulkan", "Windows")])
def test_other_installations_look_for_no_headers(
    backend: str, system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vulkan_headers, "headers", pytest.fail)
    assert include_paths(Venv(tmp_path), backend, Machine(system)) == {}


def test_an_installation_for_vulkan_keeps_headers_in_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vulkan_headers, "headers", lambda folder, _root, _environment: folder / "usr/include")
    found = include_paths(Venv(tmp_path), "vulkan", Machine("Linux"))
    assert found["CPLUS_INCLUDE_PATH"].startswith(str(tmp_path / "vulkan-headers/usr/include"))
