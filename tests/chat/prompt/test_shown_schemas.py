"""The chat templates of real models render tools whose schemas are wrong: one such tool must not fail a request."""

from typing import Any

import pytest
from fake_engine import INFO
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from real_vocabularies import needs_samples, template_text

from localrouter.chat.prompt.chat_prompt import PromptRequest, prompt_of
from localrouter.chat.prompt.history import normalised
from localrouter.chat.prompt.model_template import ModelTemplate
from localrouter.chat.request.shown_schema import shown_schema
from localrouter.schema.chat_messages import Message

pytestmark = needs_samples

TEMPLATES = ["Qwen-Qwen2.5-7B-Instruct.jinja", "Qwen3-Coder.jinja", "Qwen3.5-4B.jinja", "google-gemma-4-31B-it.jinja"]
KEYWORDS = ["type", "properties", "required", "items", "enum", "description", "anyOf", "nullable", "default", "format"]
values = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from(["string", "OBJECT", "array", "a"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(KEYWORDS), inner, max_size=5)
        | st.fixed_dictionaries({"type": st.just("object"), "properties": st.dictionaries(st.just("a"), inner)})
        | st.fixed_dictionaries({"type": st.just("array"), "items": inner})
    ),
    max_leaves=15,
)


def as_property(value: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"p": value, "q": {"type": "string"}}}


@pytest.mark.parametrize("name", TEMPLATES)
def test_any_schema_is_shown(name: str) -> None:
    template = ModelTemplate.of(replace(INFO, chat_template=template_text(name), bos_token="<bos>"))
    messages = normalised([Message.model_validate({"role": "user", "content": "Hi"})])

    @settings(max_examples=100)
    @given(st.dictionaries(st.sampled_from(KEYWORDS), values) | values.map(as_property))
    def shows(schema: dict[str, Any]) -> None:
        function = {"name": "known", "description": "", "parameters": shown_schema(schema)}
        prompt = prompt_of(template, PromptRequest(messages, [{"type": "function", "function": function}]))
        assert "known" in "".join(segment.text for segment in prompt.segments)

    shows()
