import pytest
from hypothesis import given
from hypothesis import strategies as st

from localrouter.errors import ModelNotFound
from localrouter.weights.name_lookup import NameLookup

NAMES = NameLookup({"qwen": "q", "qwen:4b": "4", "Qwen3.5-4B": "4", "local": "l", "Local": "l", "tag:latest": "t"})


@pytest.mark.parametrize("asked", ["qwen", "qwen:4b", "Qwen3.5-4B", "Local", "tag:latest"])
def test_a_known_name_is_itself(asked: str) -> None:
    assert NAMES.find(asked) == asked


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("QWEN", "qwen"),
        ("Qwen:4B", "qwen:4b"),
        ("qwen3.5-4b", "Qwen3.5-4B"),
        ("qwen:latest", "qwen"),
        ("Qwen:LATEST", "qwen"),
        ("qwen:4b:latest", "qwen:4b"),
        ("openai/qwen", "qwen"),
        ("localrouter/Qwen3.5-4B", "Qwen3.5-4B"),
        ("OpenAI/QWEN:Latest", "qwen"),
        ("TAG:LATEST", "tag:latest"),
        ("ollama/tag:latest", "tag:latest"),
    ],
)
def test_other_forms_of_a_name_are_understood(asked: str, name: str) -> None:
    assert NAMES.find(asked) == name


@pytest.mark.parametrize(
    "asked", ["", "qwen/", "/qwen", "a/b/qwen", "openai/", ":latest", "openai/:latest", "qwen:latest:latest", "qwen:9b"]
)
def test_a_name_is_not_guessed(asked: str) -> None:
    assert NAMES.find(asked) is None


def test_the_name_as_it_is_comes_before_its_other_forms() -> None:
    lookup = NameLookup({"openai/gpt": "whole", "gpt": "rest", "GPT:latest": "tagged"})
    assert lookup.find("openai/gpt") == "openai/gpt"
    assert lookup.find("OPENAI/GPT") == "openai/gpt"
    assert lookup.find("gpt:latest") == "GPT:latest"


def test_names_of_one_model_that_differ_in_case_are_no_ambiguity() -> None:
    assert NAMES.find("LOCAL") == "local"


def test_a_case_that_could_mean_two_models_is_rejected_with_both() -> None:
    lookup = NameLookup({"qwen": "several", "Qwen": "one"})
    assert (lookup.find("qwen"), lookup.find("Qwen")) == ("qwen", "Qwen")
    with pytest.raises(ModelNotFound, match="send 'qwen' or 'Qwen'") as caught:
        lookup.find("QWEN")
    assert (caught.value.param, caught.value.reason) == ("model", "model_not_found")


@given(st.lists(st.text(min_size=1), unique=True), st.text())
def test_every_name_finds_itself_and_no_text_finds_another(names: list[str], asked: str) -> None:
    lookup = NameLookup(dict.fromkeys(names, "one"))
    assert [lookup.find(name) for name in names] == names
    found = lookup.find(asked)
    assert found is None or found.casefold() in asked.casefold()
