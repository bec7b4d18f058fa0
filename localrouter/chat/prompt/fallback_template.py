"""The chat templates for models that have none of their own, one for each turn format that a vocabulary may have.

Delimiters that are special tokens end the answer in the engine. The plain format has none, so its stop strings do.
"""

from collections.abc import Mapping
from typing import NamedTuple

from localrouter.engine.model_info import ModelInfo, TemplateSource

CHATML = """\
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

GEMMA4 = """\
{%- for message in messages %}
    {%- set role = 'model' if message.role == 'assistant' else message.role %}
    {{- '<|turn>' + role + '\\n' + message.content + '<turn|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|turn>model\\n' }}
{%- endif %}
"""

GEMMA = """\
{%- for message in messages %}
    {%- if message.role not in ('user', 'assistant') %}
        {{- raise_exception('Gemma knows no turns of the ' + message.role) }}
    {%- endif %}
    {%- set role = 'model' if message.role == 'assistant' else 'user' %}
    {{- '<start_of_turn>' + role + '\\n' + message.content + '<end_of_turn>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<start_of_turn>model\\n' }}
{%- endif %}
"""

# A label stands on a line of its own: after `Assistant:` and a space most tokenizers would cut the answer's first word
# otherwise than in the texts that the model was trained on, and without the space the answer would begin with one.
PLAIN = """\
{%- for message in messages %}
    {{- message.role | capitalize + ':\\n' + message.content + '\\n\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- 'Assistant:\\n' }}
{%- endif %}
"""


class FallbackTemplate(NamedTuple):
    """A chat template, and the strings that end an answer where no special token does."""

    source: str
    stop: tuple[str, ...] = ()


FALLBACK_TEMPLATES: Mapping[TemplateSource, FallbackTemplate] = {
    "fallback chatml": FallbackTemplate(CHATML),
    "fallback gemma4": FallbackTemplate(GEMMA4),
    "fallback gemma": FallbackTemplate(GEMMA),
    # A model that was only trained on documents goes on with the dialogue: the label of the next turn ends its own.
    # Those with two line ends come first in the text and take the empty line with them.
    "fallback plain": FallbackTemplate(PLAIN, ("\n\nUser:", "\nUser:", "\n\nAssistant:", "\nAssistant:")),
}


def effective_template(info: ModelInfo) -> str:
    """Return the text of the chat template that a model is asked with: its own, or the fallback for its vocabulary."""
    return info.chat_template or FALLBACK_TEMPLATES[info.template_source].source


def template_stop(info: ModelInfo) -> tuple[str, ...]:
    """Return the strings that end an answer in the format of the model's chat template; empty where a token does."""
    return () if info.chat_template else FALLBACK_TEMPLATES[info.template_source].stop
