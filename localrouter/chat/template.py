"""The chat template of a model: renders a conversation into the prompt that the model was trained on.

Control tokens are the template's alone. What a user writes is marked before rendering, so that a `<|im_end|>` inside a
message reaches the tokenizer as plain text (promise 6 of the design).
"""

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from localrouter.engine.messages import ModelInfo, Segment
from localrouter.errors import InvalidRequest

CHATML = """\
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
"""What a model without a template of its own is asked with; `/v1/models` says when that is so."""


class ChatTemplate:
    """A compiled template together with the control tokens of its model."""

    def __init__(self, source: str, *, bos_token: str = "", eos_token: str = "", control_tokens: Sequence[str] = ()):
        """Compile `source`. Raises InvalidRequest when it is not valid Jinja."""
        self._special = {"bos_token": bos_token, "eos_token": eos_token}
        self._control = _any_of(control_tokens)
        try:
            self._template = _environment().from_string(source)
        except jinja2.TemplateError as error:
            raise InvalidRequest(f"The model's chat template is not valid Jinja: {error}", param="model") from error

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        **extra: object,
    ) -> list[Segment]:
        """Return the prompt that asks for the assistant's next turn.

        `extra` are variables of the template, `enable_thinking` for instance. Raises InvalidRequest with the template's
        own words when it refuses the conversation.
        """
        mark = f"\ue000{secrets.token_hex(8)}\ue001"
        try:
            text = self._template.render(
                messages=self._protect(list(messages), mark),
                tools=self._protect(list(tools), mark) if tools else None,
                add_generation_prompt=True,
                **self._special,
                **extra,
            )
        except Exception as error:  # a template is a program of somebody else: it can raise anything
            raise InvalidRequest(
                f"The model's chat template refuses this conversation: {error}", param="messages"
            ) from error
        return self._segments(text, mark)

    def _protect(self, value: Any, mark: str) -> Any:
        """Return `value` with `mark` put inside every control token that its strings spell out."""
        if isinstance(value, str):
            return self._control.sub(lambda found: found[0][0] + mark + found[0][1:], value) if self._control else value
        if isinstance(value, Mapping):
            return {key: self._protect(item, mark) for key, item in value.items()}
        if isinstance(value, list):
            return [self._protect(item, mark) for item in value]
        return value

    def _segments(self, text: str, mark: str) -> list[Segment]:
        if self._control is None or mark not in text:
            return [Segment(text, control=True)]
        written = set()
        clean = ""
        for run in text.split(mark):
            clean += run
            written.add(len(clean) - 1)
        return _split(clean, self._control, written)


def _split(text: str, control: re.Pattern[str], written: set[int]) -> list[Segment]:
    """Cut `text` so that tokens that start at a `written` position stand in segments of plain text.

    A plain segment reaches from one real control token to the next: cut anywhere else, the tokenizer would see borders
    inside words that are not there.
    """
    segments: list[Segment] = []
    start = plain_from = 0
    has_written = False
    for found in control.finditer(text):
        if found.start() in written:
            has_written = True
            continue
        if has_written:
            segments += [
                Segment(text[start:plain_from], control=True),
                Segment(text[plain_from : found.start()], False),
            ]
            start = found.start()
        plain_from, has_written = found.end(), False
    if has_written:
        segments += [Segment(text[start:plain_from], control=True), Segment(text[plain_from:], control=False)]
    else:
        segments.append(Segment(text[start:], control=True))
    return [segment for segment in segments if segment.text]


@lru_cache(maxsize=32)
def _compiled(source: str, bos_token: str, eos_token: str, control_tokens: tuple[str, ...]) -> ChatTemplate:
    return ChatTemplate(source, bos_token=bos_token, eos_token=eos_token, control_tokens=control_tokens)


def template_of(info: ModelInfo) -> ChatTemplate:
    """Return the model's own template, or ChatML when it has none."""
    return _compiled(info.chat_template or CHATML, info.bos_token, info.eos_token, tuple(info.control_tokens))


def _any_of(tokens: Sequence[str]) -> re.Pattern[str] | None:
    longest_first = sorted((token for token in tokens if token), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None


def _environment() -> jinja2.Environment:
    """Return the environment that Hugging Face's templates are written for, in a sandbox."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols], autoescape=False
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda pattern: datetime.now().strftime(pattern)
    return environment


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Jinja's own filter escapes `<`, `>`, `&` and quotes for HTML; models were trained on plain JSON."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)
