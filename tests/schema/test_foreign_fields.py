"""Fields of other servers mean what the fields of ours that they stand for mean, or are named as ignored."""

import json
from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from served_fields import SERVED_FIELDS

from localrouter.api.request_parsing import parse_body
from localrouter.errors import InvalidRequest
from localrouter.schema.chat_request import ChatRequest
from localrouter.schema.field_kinds import MAX_TOKENS, JsonObject
from localrouter.schema.foreign_fields.canonical_body import foreign_fields
from localrouter.schema.foreign_fields.foreign_field import Alias, ForeignField, Members, Neutral, NoEffect
from localrouter.schema.foreign_fields.table import FOREIGN_FIELDS
from localrouter.schema.ignored_fields import ignored_fields
from localrouter.schema.text_completions import CompletionRequest

CHAT: JsonObject = {"model": "a", "messages": [{"role": "user", "content": "x"}]}
CITY = {"type": "object", "properties": {"city": {"type": "string"}}}
CITY_FORMAT = {"type": "json_schema", "json_schema": {"schema": CITY}}
ELSE: Mapping[str, object] = {"model": "b", "max_tokens": 7}
"""Values that differ from all values below."""


def chat(**fields: object) -> ChatRequest:
    return parse_body(json.dumps({**CHAT, **fields}).encode(), ChatRequest)


def named(request: ChatRequest) -> list[str]:
    return [each.field for each in ignored_fields(request)]


def rejected(**fields: object) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        chat(**fields)
    return caught.value


def nested(path: str, value: object) -> JsonObject:
    """Return the fields of a body with a value at `a.b`; only objects of foreign fields are written so."""
    outer, _, inner = path.partition(".")
    if inner and isinstance(foreign_fields(ChatRequest).get(outer), Members):
        return {outer: {inner: value}}
    return {path: value}


def leaves(fields: Mapping[str, ForeignField], prefix: str = "") -> Iterator[tuple[str, ForeignField]]:
    """Yield the path and the field for each that is no object of other foreign fields."""
    for name, each in fields.items():
        if isinstance(each, Members):
            yield from leaves(each.members, f"{prefix}{name}.")
        else:
            yield prefix + name, each


LEAVES = dict(leaves(foreign_fields(ChatRequest)))

MEANINGS: list[tuple[str, object, str, object, object]] = [
    # path, value, our field, its value, another value of our field
    ("repetition_penalty", 1.1, "repeat_penalty", 1.1, 1.2),
    ("n_predict", 16, "max_tokens", 16, 17),
    ("max_new_tokens", 16.0, "max_tokens", 16, 17),
    ("options.num_predict", 16, "max_tokens", 16, 17),
    ("options.temperature", 0.5, "temperature", 0.5, 1.0),
    ("n_cmpl", 2, "n", 2, 3),
    ("random_seed", 5, "seed", 5, 6),
    ("sampling_seed", 5, "seed", 5, 6),
    ("stop_sequences", ["a"], "stop", ["a"], "b"),
    ("keep_alive", "5m", "ttl", 300, 301),
    ("keep_alive", "1h30m", "ttl", 5400, 0),
    ("keep_alive", "1500ms", "ttl", 2, 3),
    ("keep_alive", 0, "ttl", 0, 1),
    ("keep_alive", "10", "ttl", 10, 1),
    ("keep_alive", -1, "ttl", 2**31 - 1, 1),
    ("keep_alive", "-1m", "ttl", 2**31 - 1, 1),
    ("think", False, "enable_thinking", False, True),
    ("think", "high", "reasoning_effort", "high", "low"),
    ("thinking.type", "disabled", "enable_thinking", False, True),
    ("thinking.type", "enabled", "enable_thinking", True, False),
    ("thinking.budget_tokens", 100, "reasoning_budget", 100, 99),
    ("thinking_budget", 100, "reasoning_budget", 100, 99),
    ("thinking_token_budget", 100, "reasoning_budget", 100, 99),
    ("reasoning.effort", "low", "reasoning_effort", "low", "high"),
    ("reasoning.enabled", True, "enable_thinking", True, False),
    ("reasoning.max_tokens", 100, "reasoning_budget", 100, 99),
    ("reasoning.exclude", True, "include_reasoning", False, True),
    ("structured_outputs.regex", "a|b", "regex", "a|b", "c"),
    ("structured_outputs.choice", ["a.b", "<c>"], "regex", r"a\.b|<c>", "c"),
    ("structured_outputs.grammar", "start: /a/", "grammar", "start: /a/", "start: /b/"),
    ("guided_regex", "a|b", "regex", "a|b", "c"),
    ("guided_choice", ["a", "b"], "regex", "a|b", "c"),
    ("guided_grammar", "start: /a/", "grammar", "start: /a/", "start: /b/"),
    ("ebnf", "start: /a/", "grammar", "start: /a/", "start: /b/"),
]


@pytest.mark.parametrize(("path", "value", "field", "ours", "_other"), MEANINGS)
def test_another_name_means_our_field(path: str, value: object, field: str, ours: object, _other: object) -> None:
    request = chat(**nested(path, value))

    assert getattr(request, field) == ours
    assert named(request) == []


@pytest.mark.parametrize(("path", "value", "field", "ours", "_other"), MEANINGS)
def test_both_names_with_one_value_pass(path: str, value: object, field: str, ours: object, _other: object) -> None:
    assert getattr(chat(**nested(path, value), **{field: ours}), field) == ours


@pytest.mark.parametrize(("path", "value", "field", "_ours", "other"), MEANINGS)
def test_two_names_with_two_values_are_rejected_by_both_names(
    path: str, value: object, field: str, _ours: object, other: object
) -> None:
    error = rejected(**nested(path, value), **{field: other})

    assert error.param == path
    assert f"'{path}'" in error.message
    assert f"'{field}'" in error.message


@pytest.mark.parametrize(
    "fields",
    [
        {"json_schema": CITY},
        {"guided_json": CITY},
        {"guided_json": json.dumps(CITY)},
        {"structured_outputs": {"json": CITY}},
        {"format": CITY},
        {"response_format": {"type": "json_object", "schema": CITY}},
        {"response_format": {"type": "json_schema", "schema": CITY}},
    ],
)
def test_a_schema_is_a_response_format_wherever_it_stands(fields: JsonObject) -> None:
    assert chat(**fields).response_format == chat(response_format=CITY_FORMAT).response_format


@pytest.mark.parametrize("fields", [{"format": "json"}, {"structured_outputs": {"json_object": True}}])
def test_any_json_object_is_a_response_format(fields: JsonObject) -> None:
    assert chat(**fields).response_format == chat(response_format={"type": "json_object"}).response_format


@pytest.mark.parametrize(
    "fields", [{"max_tokens": -1}, {"n_predict": -1}, {"n_predict": -2}, {"n_predict": -1, "max_tokens": -1}]
)
def test_a_negative_limit_of_tokens_is_no_limit(fields: JsonObject) -> None:
    assert chat(**fields).max_tokens == MAX_TOKENS


def test_n_probs_asks_for_logprobs_and_zero_for_none() -> None:
    assert (chat(n_probs=3).logprobs, chat(n_probs=3).top_logprobs) == (True, 3)
    assert chat(n_probs=0).logprobs is None
    assert named(chat(n_probs=0)) == ["n_probs"]


NEUTRAL = {path: field for path, field in LEAVES.items() if isinstance(field, Neutral)}


@pytest.mark.parametrize("path", NEUTRAL)
def test_a_value_that_asks_for_nothing_is_ignored_and_named(path: str) -> None:
    for value in map(json.loads, NEUTRAL[path].accepted):
        assert named(chat(**nested(path, value))) == [path]


@pytest.mark.parametrize("path", NEUTRAL)
def test_a_value_that_asks_for_something_is_rejected_by_name(path: str) -> None:
    error = rejected(**nested(path, {"something": "else"}))

    assert (error.param, error.reason) == (path, "unsupported_parameter")
    assert all(value in error.message for value in NEUTRAL[path].accepted)


@pytest.mark.parametrize("path", [path for path, field in LEAVES.items() if isinstance(field, NoEffect)])
@pytest.mark.parametrize("value", [1, "a", True, [], {"b": [None]}])
def test_a_field_without_effect_is_named_whatever_its_value(path: str, value: object) -> None:
    assert named(chat(**nested(path, value))) == [path]


@pytest.mark.parametrize("path", LEAVES)
def test_null_is_the_same_as_leaving_a_field_out(path: str) -> None:
    assert chat(**nested(path, None)) == chat()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("repetition_penalty", "1"),
        ("n_predict", "16"),
        ("think", "yes"),
        ("think", 1),
        ("thinking.type", True),
        ("reasoning", "high"),
        ("reasoning.effort", "huge"),
        ("reasoning.exclude", "no"),
        ("keep_alive", "soon"),
        ("keep_alive", "5 m"),
        ("keep_alive", "nan"),
        ("keep_alive", []),
        ("guided_json", "{"),
        ("guided_json", 1),
        ("guided_choice", []),
        ("guided_choice", [1]),
        ("guided_choice", [""]),
        ("structured_outputs", []),
        ("structured_outputs.json_object", "true"),
        ("n_probs", True),
        ("options", "num_ctx"),
    ],
)
def test_a_wrong_value_is_rejected_by_the_name_that_the_client_used(path: str, value: object) -> None:
    error = rejected(**nested(path, value))

    assert error.param == path
    assert error.reason in ("invalid_type", "invalid_value")


def test_an_unknown_member_of_a_foreign_object_is_rejected() -> None:
    assert rejected(options={"temprature": 1}).param == "options.temprature"


def test_the_window_of_penalties_has_no_effect_without_penalties() -> None:
    assert named(chat(repeat_last_n=64, repetition_penalty=1.0)) == ["repeat_last_n"]
    assert named(chat(repeat_last_n=-1, repetition_penalty=1.5)) == ["repeat_last_n"]
    assert rejected(repeat_last_n=64, repetition_penalty=1.5).param == "repeat_last_n"


def test_switching_reasoning_off_and_setting_an_effort_contradict_each_other() -> None:
    error = rejected(think=False, reasoning_effort="high")

    assert "'think'" in error.message
    assert "'reasoning_effort'" in error.message
    assert rejected(enable_thinking=True, reasoning_effort="none").param == "enable_thinking"
    assert rejected(enable_thinking=True, chat_template_kwargs={"enable_thinking": False}).param
    same = chat(enable_thinking=False, reasoning_effort="none", chat_template_kwargs={"enable_thinking": False})
    assert same.enable_thinking is False


@pytest.mark.parametrize("effort", ["", "default", None])
def test_the_default_effort_is_no_effort(effort: str | None) -> None:
    assert chat(reasoning_effort=effort) == chat()


def test_the_last_turn_is_begun_or_goes_on() -> None:
    assert named(chat(add_generation_prompt=True)) == ["add_generation_prompt"]
    assert named(chat(add_generation_prompt=False, continue_final_message=True)) == ["add_generation_prompt"]
    assert rejected(add_generation_prompt=False).reason == "unsupported_parameter"


def test_integers_may_have_a_point() -> None:
    request = chat(max_tokens=16.0, seed=7.0, n=1.0, top_k=5.0)

    assert (request.max_tokens, request.seed, request.n, request.top_k) == (16, 7, 1, 5)


@given(
    path=st.sampled_from(sorted(LEAVES)),
    value=st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(), st.lists),
)
def test_any_value_is_taken_or_rejected_by_name(path: str, value: object) -> None:
    try:
        chat(**nested(path, value))
    except InvalidRequest as error:
        assert error.reason  # noqa: PT017 - either outcome is right


@pytest.mark.parametrize("server", SERVED_FIELDS)
def test_every_field_of_every_server_has_a_meaning_here(server: str) -> None:
    known = {*ChatRequest.model_fields, *CompletionRequest.model_fields}
    known |= {name for fields in FOREIGN_FIELDS.values() for name in fields}

    assert [name for name in SERVED_FIELDS[server] if name not in known] == []


def test_no_field_is_listed_twice() -> None:
    names = [name for fields in FOREIGN_FIELDS.values() for name in fields]
    assert sorted(names) == sorted(set(names))


def test_aliases_stand_for_fields_that_exist() -> None:
    own = {*ChatRequest.model_fields, *CompletionRequest.model_fields}
    aliases = [each for fields in FOREIGN_FIELDS.values() for _, each in leaves(fields) if isinstance(each, Alias)]
    assert [alias.field for alias in aliases if alias.field not in own] == []
