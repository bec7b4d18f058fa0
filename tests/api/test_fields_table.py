"""docs/api.md shows the tables that the code makes, and every code that an error may have."""

import re
from pathlib import Path

import pytest

from localrouter.api.fields_table import sections
from localrouter.chat.prompt.template import LARGE
from localrouter.chat.response.choice import BY_GRAMMAR

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "api.md"
SAYS_A_CODE = re.compile(r'\bcode(?:: ClassVar\[str \| None\])? ?= ?"([a-z_]+)"')


@pytest.mark.parametrize(("name", "table"), list(sections()))
def test_the_docs_show_the_table_of_the_code(name: str, table: str) -> None:
    pages = "".join(page.read_text() for page in DOCS.parent.glob("*.md"))
    shown = pages.split(f"<!-- fields: {name} -->")[1].split("<!-- end -->")[0]
    assert shown.strip() == table, "run: python -m localrouter.api.fields_table"


def test_the_docs_list_every_code_of_an_error() -> None:
    package = ROOT / "localrouter"
    files = [package / "errors.py", *(package / "api").rglob("*.py"), *(package / "chat").rglob("*.py")]
    codes = {*BY_GRAMMAR, LARGE, *(code for file in files for code in SAYS_A_CODE.findall(file.read_text()))}
    table = DOCS.read_text().split("## Errors")[1]

    assert len(codes) > 15
    assert sorted(code for code in codes if f"`{code}`" not in table) == []
