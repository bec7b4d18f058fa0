"""The pages of docs/: decisions have their form and are listed, the glossary names packages, links lead somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DECISIONS = ROOT / "docs" / "decisions"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
DECISION_PAGES = sorted(DECISIONS.glob("0*.md"))
HEADINGS = ["Context", "Decision", "Figures", "Consequences"]


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> list[str]:
    """The links of a page to files or headings that do not exist."""
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_files_and_headings(page: Path) -> None:
    assert broken_links(page) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Two words\n[a](#two-words) [b](#three) [c](page.md#two-words) [d](gone.md) [e](https://x.org)")
    assert broken_links(page) == ["#three", "gone.md"]


@pytest.mark.parametrize("page", DECISION_PAGES, ids=lambda page: page.stem)
def test_a_decision_has_the_four_headings_with_text(page: Path) -> None:
    _, *sections = re.split(r"^## ", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert [section.partition("\n")[0] for section in sections] == HEADINGS
    assert all(section.partition("\n")[2].strip() for section in sections)


def test_decisions_are_numbered_without_gaps_and_listed_with_their_titles() -> None:
    listed = re.findall(r"^\| (\d{4}) \| \[(.+)\]\((.+)\) \| \S", (DECISIONS / "README.md").read_text(), re.MULTILINE)
    titles = [page.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ") for page in DECISION_PAGES]
    assert [page.name[:4] for page in DECISION_PAGES] == [f"{n:04}" for n in range(1, len(DECISION_PAGES) + 1)]
    assert listed == [(page.name[:4], title, page.name) for page, title in zip(DECISION_PAGES, titles, strict=True)]


def test_the_packages_of_the_glossary_exist() -> None:
    rows = re.findall(r"^\| .* \| .* \| (.*) \|$", (ROOT / "docs" / "glossary.md").read_text(), re.MULTILINE)
    packages = [name for row in rows for name in re.findall(r"`([\w/]+)`", row)]
    assert len(packages) > 80
    assert [name for name in packages if not (ROOT / "localrouter" / name / "__init__.py").exists()] == []
