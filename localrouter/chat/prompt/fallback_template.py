"""Chat templates for models without one of their own, one for each turn format that a vocabulary may have.

Delimiters that are special tokens end the output in the engine. The plain format has none: stop strings end it.
"""

from collections.abc import Mapping
from typing import NamedTuple

from localrouter.engine.model_info import TemplateSource

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

# A label is on a line of its own: after `Assistant:` and a space most tokenizers would split the output's first word
# otherwise than in the training texts, and without the space the output would begin with one.
PLAIN = """\
{%- for message in messages %}
    {{- message.role | capitalize + ':\\n' + message.content + '\\n\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- 'Assistant:\\n' }}
{%- endif %}
"""


class FallbackTemplate(NamedTuple):
    """A chat template, and its stop strings where no special token ends a turn."""

    source: str
    stop: tuple[str, ...] = ()


FALLBACK_TEMPLATES: Mapping[TemplateSource, FallbackTemplate] = {
    "fallback chatml": FallbackTemplate(CHATML),
    "fallback gemma4": FallbackTemplate(GEMMA4),
    "fallback gemma": FallbackTemplate(GEMMA),
    # A model that was only trained on documents continues the dialogue: the label of the next turn ends the output.
    # Labels after two line breaks match earlier in the text, so that the empty line is cut too.
    "fallback plain": FallbackTemplate(PLAIN, ("\n\nUser:", "\nUser:", "\n\nAssistant:", "\nAssistant:")),
}
