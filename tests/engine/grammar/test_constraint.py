"""Grammars: compiled once, refused in words, and obeyed whatever a model would rather say."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localrouter.engine.backends.echo import END, START, VOCABULARY, EchoBackend
from localrouter.engine.generation_request import Grammar, Sampling
from localrouter.engine.grammar.constraint import (
    Constraint,
    GrammarFailed,
    GrammarRefused,
    Grammars,
    GrammarVocabulary,
)
from localrouter.engine.sampling.sampler import Sampler, rng_of
from localrouter.load_options import LoadOptions

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 9}, "age": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def grammars() -> Grammars:
    return Grammars(EchoBackend(LoadOptions()).grammar_vocabulary)


def by(schema: Any) -> Grammar:
    return Grammar(f"start: %json {json.dumps(schema)}")


def tokens_of(allowed: int | np.ndarray[Any, np.dtype[np.uint8]]) -> set[int]:
    """Return which tokens are allowed."""
    if isinstance(allowed, int):
        return {allowed}
    return set(np.flatnonzero(np.unpackbits(allowed, bitorder="little", count=VOCABULARY)).tolist())


def follow(constraint: Constraint, text: str) -> Constraint:
    for byte in text.encode():
        assert byte in tokens_of(constraint.allowed())
        constraint.take(byte)
    return constraint


def test_only_tokens_that_the_grammar_expects_are_allowed(grammars: Grammars) -> None:
    constraint = follow(grammars.constraint(Grammar('start: "ab" | "ac" | "x"')), "a")

    assert tokens_of(constraint.allowed()) == {ord("b"), ord("c")}


def test_the_end_is_allowed_where_the_grammar_may_end(grammars: Grammars) -> None:
    constraint = follow(grammars.constraint(Grammar("start: /a{1,2}/")), "a")

    assert tokens_of(constraint.allowed()) == {ord("a"), *range(END, VOCABULARY)}
    assert not constraint.is_complete
    assert follow(constraint, "a").is_complete


def test_a_single_allowed_token_is_returned_as_its_id(grammars: Grammars) -> None:
    assert grammars.constraint(Grammar('start: "abc"')).allowed() == ord("a")


@pytest.mark.parametrize("last", [0, 31, 32, 255])
def test_a_single_allowed_token_is_found_at_any_bit(last: int) -> None:
    pieces = [b"", *(bytes([65 + token % 26]) * (1 + token // 26) for token in range(1, 257))]
    vocabulary = GrammarVocabulary(pieces, [], [256], lambda text: [])

    assert Grammars(lambda: vocabulary).constraint(Grammar(f"start: <[{last}]>")).allowed() == last


def test_a_special_token_is_allowed_only_where_its_id_is_named(grammars: Grammars) -> None:
    anything = grammars.constraint(Grammar(f"start: /(.|\\n)*/ <[{START}]>"))
    spelled = follow(grammars.constraint(Grammar('start: "<|im_start|>"')), "<|im_start|>")

    assert START in tokens_of(anything.allowed())
    assert START not in tokens_of(grammars.constraint(Grammar("start: /(.|\\n)*/")).allowed())
    assert spelled.is_complete


def test_tokens_are_allowed_in_a_row_without_going_there(grammars: Grammars) -> None:
    constraint = grammars.constraint(Grammar('start: "ab"'))

    assert constraint.allows(b"ab")
    assert not constraint.allows(b"aa")
    assert follow(constraint, "ab").is_complete


def test_outputs_by_the_same_grammar_do_not_affect_each_other(grammars: Grammars) -> None:
    one, other = (grammars.constraint(Grammar('start: "ab"')) for _ in range(2))

    follow(one, "ab")

    assert tokens_of(other.allowed()) == {ord("a")}


def test_a_token_out_of_place_ends_it(grammars: Grammars) -> None:
    constraint = grammars.constraint(Grammar('start: "ab"'))

    with pytest.raises(GrammarFailed) as caught:
        constraint.take(ord("x"))
    assert caught.value.code == "grammar_failed"


@pytest.mark.parametrize(
    ("lark", "words"),
    [
        ("start: foo", 'unknown name: "foo"'),
        ("start: /(/", "invalid regex .* unclosed group"),
        ('start: %json {"type": "strin"}', "Invalid type: strin"),
        ('start: %json {"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}', "No answer obeys it"),
        ("start: " + 5000 * "(" + '"a"' + 5000 * ")", "too deeply nested"),
    ],
)
def test_a_grammar_that_cannot_be_used_is_refused_in_words(grammars: Grammars, lark: str, words: str) -> None:
    for _ in range(2):  # the second time it is known already
        with pytest.raises(GrammarRefused, match=words) as caught:
            grammars.constraint(Grammar(lark))
        assert len(str(caught.value)) < 500
        assert "<" not in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_schema_too_large_to_be_followed_is_refused(grammars: Grammars) -> None:
    properties = {f"field_{number}": {"type": "string"} for number in range(10_000)}

    with pytest.raises(GrammarRefused, match="too big"):
        grammars.constraint(by({"type": "object", "properties": properties}))


def test_a_pattern_that_explodes_ends_its_output(grammars: Grammars) -> None:
    pattern = "a"
    for _ in range(10):
        pattern = f"({pattern}){{10}}"
    constraint = grammars.constraint(by({"type": "object", "properties": {"a": {"pattern": f"^{pattern}$"}}}))

    with pytest.raises(GrammarFailed, match="cannot be followed any further"):
        follow(constraint, '{"a":"' + 1000 * "a")


def test_the_vocabulary_is_asked_for_once_and_not_before_there_is_a_grammar() -> None:
    backend, asked = EchoBackend(LoadOptions()), []

    def vocabulary() -> GrammarVocabulary:
        asked.append(1)
        return backend.grammar_vocabulary()

    grammars = Grammars(vocabulary)
    assert not asked
    for lark in ('start: "a"', 'start: "b"'):
        grammars.constraint(Grammar(lark))
    assert len(asked) == 1


def test_the_least_recently_used_grammar_is_evicted() -> None:
    grammars = Grammars(EchoBackend(LoadOptions()).grammar_vocabulary, cached=2)
    larks = [f'start: "{letter}"' for letter in "abc"]

    for lark in [larks[0], larks[1], larks[0], larks[2]]:
        grammars.constraint(Grammar(lark))

    assert list(grammars._known) == [larks[0], larks[2]]


GRAMMARS = {
    by(PERSON): lambda text: set(json.loads(text)) == {"name", "age"},
    by({"enum": ["red", "green", None, 12]}): lambda text: json.loads(text) in ["red", "green", None, 12],
    by({"type": "array", "items": {"type": "boolean"}, "maxItems": 3}): lambda text: len(json.loads(text)) <= 3,
    Grammar('start: "yes" | "no" | /[0-9]{3}/'): lambda text: text in ("yes", "no") or 0 <= int(text) <= 999,
}


@given(st.sampled_from(list(GRAMMARS)), st.integers(0, 1 << 32), st.sampled_from([0.0, 1.0, 5.0]))
@settings(max_examples=60)
def test_for_any_logits_a_text_that_ended_by_itself_follows_the_grammar(
    grammars: Grammars, what: Grammar, seed: int, temperature: float
) -> None:
    constraint, sampler, text = grammars.constraint(what), Sampler(VOCABULARY), b""
    logits, source = np.random.default_rng(seed), rng_of(seed)
    while not constraint.is_complete and len(text) < 200:
        row = logits.normal(0, 3, VOCABULARY).astype(np.float32)
        token = sampler.sample(row, Sampling(temperature), source, None, constraint.allowed()).token
        if token >= START:
            break
        constraint.take(token)
        text += bytes([token])
    if len(text) < 200:
        assert GRAMMARS[what](text.decode())
