"""Regular expressions of schemas, and those of formats."""

import datetime
import ipaddress
import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from walks import admits

from localrouter.chat.grammar.formats import FORMATS
from localrouter.chat.grammar.json_schema import read_schema
from localrouter.chat.grammar.lark import escaped, literal, regex, text_without
from localrouter.chat.grammar.pattern import check_pattern, whole
from localrouter.errors import InvalidRequest

PATTERNS = [
    "a",
    "^a",
    "a$",
    "^a$",
    "^a|b$",
    "a|^b",
    "^(a|b)$",
    r"[ab]+c",
    r"^\d",
    r"\w\W",
    r"[^a]",
    r"a\|b",
    r"[|^$]",
    r"\$$",
]


@settings(max_examples=200)
@given(st.sampled_from(PATTERNS), st.text(alphabet="ab|^$ c1é\n", max_size=5))
def test_a_pattern_matches_any_part_of_a_string(pattern: str, text: str) -> None:
    expected = re.search(pattern.replace("$", r"\Z") if pattern not in {r"[|^$]", r"\$$"} else pattern, text, re.ASCII)
    if pattern == r"\$$":
        expected = re.search(r"\$\Z", text)
    assert admits(f"start: {regex(whole(pattern))}", text) == bool(expected)


@pytest.mark.parametrize(
    ("pattern", "right", "wrong"),
    [
        ("^[[a]b]$", ["[b]", "ab]"], ["a", "b", "[a]b]"]),
        (r"^[^[\]]+$", ["ab"], ["[", "]"]),
        ("^[a&&b]$", ["a", "&", "b"], ["&&"]),
        ("^[a~~b]$", ["~"], ["~~"]),
        ("^[[:alpha:]]$", [":]", "[]"], ["x"]),
    ],
)
def test_classes_have_no_operators(pattern: str, right: list[str], wrong: list[str]) -> None:
    text, key = ({"pattern": pattern}, {"patternProperties": {pattern: {"type": "null"}}, "minProperties": 1})
    for schema, written in ((text, '"{}"'), (key, '{{"{}": null}}')):
        read = read_schema(schema, "schema")
        grammar = f"start: {read.embedded(read.root)}"
        assert [each for each in right if not admits(grammar, written.format(each))] == []
        assert [each for each in wrong if admits(grammar, written.format(each))] == []


@settings(max_examples=200)
@given(st.text(max_size=8), st.text(max_size=8))
def test_escaped_text_stands_for_itself(text: str, other: str) -> None:
    grammar = f"start: /a{escaped(text)}/ {literal('!' + text)}"
    assert admits(grammar, f"a{text}!{text}")
    assert admits(grammar, f"a{other}!{text}") == (other == text)


@settings(max_examples=100)
@given(st.text(alphabet="</a>x\n", max_size=12))
def test_text_without_a_delimiter_has_none_in_it(text: str) -> None:
    assert admits(f"start: TEXT\nTEXT: {text_without('</a>')}", text) == ("</a>" not in text)


@pytest.mark.parametrize(
    "pattern", ["(?=a)", "(?!a)b", "(?<=a)b", r"\ba", r"a\B", r"(a)\1", r"(?<n>a)\k<n>", r"\cA", "a\\"]
)
def test_what_no_automaton_can_do_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidRequest, match="here"):
        check_pattern(pattern, "here")


@pytest.mark.parametrize("pattern", [r"[\b]", r"[(?=]", r"\\b", r"a\(?=b", "(?:a)", "(?<n>a)", ""])
def test_what_only_looks_like_it_is_not(pattern: str) -> None:
    check_pattern(pattern, "here")


def _duration(text: str) -> None:
    assert re.fullmatch(r"P(?!$)(\d+W|(\d+Y)?(\d+M)?(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+S)?)?)", text)


def _moment(text: str) -> None:
    assert datetime.datetime.fromisoformat(text).tzinfo is not None


READERS: dict[str, Callable[[str], Any]] = {
    "date": datetime.date.fromisoformat,
    "time": datetime.time.fromisoformat,
    "date-time": _moment,
    "duration": _duration,
    "ipv4": ipaddress.IPv4Address,
    "ipv6": ipaddress.IPv6Address,
    "uuid": uuid.UUID,
}


@pytest.mark.parametrize("name", READERS)
def test_what_has_a_format_can_be_read(name: str) -> None:
    @settings(max_examples=200)
    @given(st.from_regex(FORMATS[name], fullmatch=True))
    def reads(text: str) -> None:
        READERS[name](text)

    reads()


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("date", ["2024-02-29", "2000-02-29"], ["1900-02-29", "2024-13-01", "0000-01-01"]),
        ("date-time", ["2024-01-01T10:00:00Z", "2024-01-01T10:00:00.5+02:00"], ["2024-01-01T10:00:00", "2024-01-01"]),
        ("email", ["a.b+c@example.com"], ["a@b", "a b@example.com", "@example.com"]),
        ("hostname", ["a", "a-b.example"], ["-a", "a..b", ""]),
        ("ipv6", ["::", "::1", "1::", "2001:db8::1:2", "1:2:3:4:5:6:7:8"], ["1", ":::", "1::2::3"]),
        ("uri", ["https://example.com/a?b#c", "mailto:a@b.c", "http://a:80"], ["example.com", "http://a b", "http:"]),
        ("uuid4", ["f81d4fae-7dec-41d0-a765-00a0c91e6bf6"], ["f81d4fae-7dec-11d0-a765-00a0c91e6bf6"]),
        ("duration", ["P1Y2M3DT4H5M6S", "PT5M", "P2W"], ["P", "PT", "5M", "P1H"]),
    ],
)
def test_a_format_has_its_shape(name: str, right: list[str], wrong: list[str]) -> None:
    assert [text for text in right if not re.fullmatch(FORMATS[name], text)] == []
    assert [text for text in wrong if re.fullmatch(FORMATS[name], text)] == []
