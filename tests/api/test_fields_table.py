"""docs/api.md shows the tables that the code makes."""

from pathlib import Path

import pytest

from localrouter.api.fields import sections

DOCS = Path(__file__).parents[2] / "docs" / "api.md"


@pytest.mark.parametrize(("name", "table"), list(sections()))
def test_the_docs_show_the_table_of_the_code(name: str, table: str) -> None:
    shown = DOCS.read_text().split(f"<!-- fields: {name} -->")[1].split("<!-- end -->")[0]
    assert shown.strip() == table, "run: python -m localrouter.api.fields"
