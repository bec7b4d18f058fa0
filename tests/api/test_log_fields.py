"""Log lines can be parsed back, whatever a client chose as the path, the method or the name of a model."""

import json
import logging
import re

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving_fakes import CHAT, HELLO, FakeRouter, client_of, make_app

from localrouter.api.access_log import MAX_PATH, AccessRecord
from localrouter.api.log_fields import fields, quoted
from localrouter.config import Settings
from localrouter.errors import ModelNotFound

FIELD = re.compile(r'(?:([a-z_]+)=)?("(?:[^"\\]|\\.)*"|[^ "=]+)(?: |$)')
ANY = st.text(st.characters(codec=None), max_size=40)
"""Any text of Python, halves of surrogate pairs included, which a JSON body or a path may have."""


def parsed(line: str) -> list[tuple[str, str]]:
    """Return the name, or "", and the value of each part of a log line. Raises ValueError for anything else in it."""
    found, end = [], 0
    while end < len(line):
        part = FIELD.match(line, end)
        if part is None:
            raise ValueError(f"no field at {line[end:]!r}")
        value = part[2]
        found.append((part[1] or "", json.loads(value) if value.startswith('"') else value))
        end = part.end()
    return found


@given(facts=st.dictionaries(st.sampled_from(["model", "path", "error", "fields"]), ANY))
def test_fields_are_parsed_back_and_printable(facts: dict[str, str]) -> None:
    line = fields(facts)
    assert line.isprintable()
    assert dict(parsed(line)) == facts


@given(method=ANY.filter(bool), path=ANY.filter(bool), model=ANY, problem=st.none() | ANY)
def test_a_line_of_the_access_log_is_parsed_back(method: str, path: str, model: str, problem: str | None) -> None:
    record = AccessRecord(status=200, model=model, problem=problem, prompt_tokens=3)
    line = record.line(method, path)
    start, named = parsed(line)[:3], dict(parsed(line)[3:])
    assert line.isprintable()
    assert start == [("", method), ("", path[:MAX_PATH]), ("", "200")]
    assert (named["model"], named.get("error"), named["prompt_tokens"]) == (model, problem, "3")
    assert named["id"] == record.id


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("demo", "demo"),
        ("模型", "模型"),
        ("/v1/models/a:b", "/v1/models/a:b"),
        ("", '""'),
        ("a b", '"a b"'),
        ("a=b", '"a=b"'),
        ('say "hi"', r'"say \"hi\""'),
        ("C:\\a", r'"C:\\a"'),
        ("a\nb\x1b[31m\x7f", r'"a\nb\u001b[31m\u007f"'),
        ("a\u2028b\u202ec", r'"a\u2028b\u202ec"'),
        ("\ud800", r'"\ud800"'),
    ],
)
def test_only_values_that_need_it_are_quoted(value: str, written: str) -> None:
    assert quoted(value) == written


FORGED = 'a" 200\nERROR localrouter: forged id=req_0'


async def test_a_model_name_and_a_path_cannot_forge_a_line(caplog: pytest.LogCaptureFixture) -> None:
    router = FakeRouter()
    router.error = ModelNotFound("no such model")
    with caplog.at_level(logging.INFO, "localrouter.access"):
        async with client_of(make_app(router)) as client:
            await client.post(CHAT, json={**HELLO, "model": FORGED})
            await client.get(httpx.URL("http://127.0.0.1/", raw_path=b"/a%22%20200%0AERROR"))
    by_model, by_path = [record.getMessage() for record in caplog.records if record.name == "localrouter.access"]
    assert dict(parsed(by_model))["model"] == FORGED
    assert [value for _, value in parsed(by_path)][:3] == ["GET", '/a" 200\nERROR', "404"]


async def test_names_of_ignored_fields_cannot_forge_a_line(caplog: pytest.LogCaptureFixture) -> None:
    settings = Settings(unknown_fields="ignore")
    with caplog.at_level(logging.DEBUG, "localrouter.api"):
        async with client_of(make_app(FakeRouter(), settings)) as client:
            answer = await client.post(CHAT, json={**HELLO, FORGED: 1})
    assert answer.status_code == 200
    lines = [record.getMessage() for record in caplog.records if record.name == "localrouter.api"]
    assert [line.split(" request=")[0].split(" field=")[0] for line in lines] == [
        "ignored fields",
        "unknown field ignored",
    ]
    assert [dict(parsed(line)).get("fields" if "fields" in line[:14] else "field") for line in lines] == [
        FORGED,
        FORGED,
    ]
