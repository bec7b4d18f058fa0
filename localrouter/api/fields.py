"""The table of request fields in docs/api.md: `python -m localrouter.api.fields` prints it."""

from collections.abc import Iterator

import rich_click as click
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from localrouter.schema import ChatRequest, Ignored, Later, Message


def table(model: type[BaseModel]) -> str:
    """Return the fields of `model` as a Markdown table: honoured ones first, then ignored, then refused."""
    rows = sorted((_row(name, field) for name, field in model.model_fields.items()), key=lambda row: row[0])
    lines = [f"| `{name}` | {standing} | {note} |" for _, name, standing, note in rows]
    return "\n".join(["| field | here | note |", "|---|---|---|", *lines])


def _row(name: str, field: FieldInfo) -> tuple[int, str, str, str]:
    for mark in field.metadata:
        if isinstance(mark, Ignored):
            return 1, name, "accepted, no effect", mark.why
        if isinstance(mark, Later):
            return 2, name, "400 `unsupported_parameter`", f"unless {_either(['null', *mark.accepted])}"
    return 0, name, "honoured", field.description or ""


def _either(values: list[str]) -> str:
    *rest, last = [f"`{value}`" for value in values]
    return f"{', '.join(rest)} or {last}" if rest else last


def sections() -> Iterator[tuple[str, str]]:
    """Yield a name and a table for each part of the request."""
    yield "request", table(ChatRequest)
    yield "message", table(Message)


if __name__ == "__main__":
    click.echo("\n\n".join(text for _, text in sections()))
