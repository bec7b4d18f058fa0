"""The tables of request fields in docs/api.md: `python -m localrouter.api.fields_table` prints them."""

from collections.abc import Iterator, Mapping

import rich_click as click
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from localrouter.schema.chat_messages import CalledFunction, Message, PriorToolCall
from localrouter.schema.chat_request import ChatRequest
from localrouter.schema.content_parts import TextPart
from localrouter.schema.field_kinds import Ignored, Unsupported
from localrouter.schema.foreign_fields.foreign_field import ForeignField, Members
from localrouter.schema.foreign_fields.table import FOREIGN_FIELDS
from localrouter.schema.infill import InfillRequest
from localrouter.schema.responses.request import ResponsesRequest
from localrouter.schema.text_completions import CompletionRequest
from localrouter.schema.tokenization import DetokenizeRequest, TokenizeRequest


def table(model: type[BaseModel]) -> str:
    """Return the fields of `model` as a Markdown table: required, then supported, ignored and rejected fields."""
    needed_first = sorted(model.model_fields.items(), key=lambda entry: not entry[1].is_required())
    rows = sorted((_row(name, field) for name, field in needed_first), key=lambda row: row[0])
    lines = [f"| `{name}` | {standing} | {note} |" for _, name, standing, note in rows]
    return "\n".join(["| field | here | note |", "|---|---|---|", *lines])


def foreign_table(fields: Mapping[str, ForeignField]) -> str:
    """Return foreign fields and their meaning here as a Markdown table: names of our fields first, rejected ones last.

    Members of an object have a row each.
    """
    rows = sorted(_foreign_rows(fields), key=lambda row: (_ORDER.index(row[1].split("`")[0].strip()), row[0]))
    lines = [f"| `{name}` | {meaning} | {note} |" for name, meaning, note in rows]
    return "\n".join(["| field | here | note |", "|---|---|---|", *lines])


_ORDER = ["as", "accepted and ignored", "400"]


def _foreign_rows(fields: Mapping[str, ForeignField], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    for name, each in fields.items():
        if isinstance(each, Members):
            yield from _foreign_rows(each.members, f"{prefix}{name}.")
        else:
            yield (f"{prefix}{name}", *each.meaning)


def _row(name: str, field: FieldInfo) -> tuple[int, str, str, str]:
    for kind in field.metadata:
        if isinstance(kind, Ignored):
            return 1, name, "accepted and ignored", kind.why
        if isinstance(kind, Unsupported):
            return 2, name, "400 `unsupported_parameter`", f"unless {_either(['null', *kind.accepted])}"
    return 0, name, "supported", field.description or ""


def _either(values: list[str]) -> str:
    *rest, last = [f"`{value}`" for value in values]
    return f"{', '.join(rest)} or {last}" if rest else last


def sections() -> Iterator[tuple[str, str]]:
    """Yield a name and a table for each request, and for the parts of one."""
    yield "request", table(ChatRequest)
    yield "message", table(Message)
    yield "part", table(TextPart)
    yield "call", table(PriorToolCall)
    yield "called function", table(CalledFunction)
    yield "completions", table(CompletionRequest)
    yield "infill", table(InfillRequest)
    yield "responses", table(ResponsesRequest)
    yield "tokenize", table(TokenizeRequest)
    yield "detokenize", table(DetokenizeRequest)
    for server, fields in FOREIGN_FIELDS.items():
        yield server, foreign_table(fields)


if __name__ == "__main__":
    click.echo("\n\n".join(text for _, text in sections()))
