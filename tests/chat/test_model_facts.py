"""Facts of a model are computed once per loaded model."""

from fake_engine import INFO
from msgspec.structs import replace

from localrouter.chat.model_facts import facts_of


def test_the_facts_of_a_loaded_model_are_computed_once() -> None:
    info = replace(INFO)

    assert facts_of("model", info) is facts_of("model", info)


def test_a_model_that_is_loaded_again_has_facts_of_its_own() -> None:
    first, second = replace(INFO, threads=1), replace(INFO, threads=2)

    assert facts_of("model", first).fingerprint != facts_of("model", second).fingerprint


def test_the_key_of_a_template_covers_everything_that_rendering_reads() -> None:
    infos = [
        INFO,
        replace(INFO, chat_template="{{ 1 }}"),
        replace(INFO, bos_token="<s>"),
        replace(INFO, eos_token="</s>"),
        replace(INFO, control_tokens=["<|im_end|>"]),
        replace(INFO, special_tokens={"<think>": 1}),
    ]

    assert len({facts_of("model", info).template.key for info in infos}) == len(infos)


def test_models_with_one_template_share_its_key() -> None:
    assert facts_of("a", replace(INFO)).template.key == facts_of("b", replace(INFO, context=1)).template.key


def test_a_control_token_that_is_listed_twice_counts_once() -> None:
    info = replace(INFO, control_tokens=["<a>", "<b>"], special_tokens={"<b>": 1, "<c>": 2})

    assert facts_of("model", info).template.control_tokens == ("<a>", "<b>", "<c>")
