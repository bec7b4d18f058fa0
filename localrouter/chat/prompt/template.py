"""The chat template of a model: renders a conversation into a prompt of the kind that the model was trained on.

Control tokens come from the template alone: a `<|im_end|>` inside a message reaches the tokenizer as plain text, by
special-token escaping (`escaping`).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property, lru_cache
from hashlib import sha256
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from localrouter.chat.prompt.escaping import Escaping, new_sentinel
from localrouter.chat.prompt.model_template import ModelTemplate
from localrouter.engine.generation_request import Segment
from localrouter.errors import InvalidRequest

ADVICE = "Name a template that works as `chat_template` of the model in the manifest."
LARGE = "template_too_large"
"""Error code for a template that runs out of memory."""
LONGEST = 64_000_000
"""Characters of a prompt: eight times the largest body, and more than the longest context holds."""
LONGEST_REASON = 500
"""Characters of a template's own error message that are passed on: it may quote the conversation."""


class ChatTemplate:
    """A compiled template together with the control tokens of its model."""

    def __init__(self, source: str, *, bos_token: str = "", eos_token: str = "", control_tokens: Sequence[str] = ()):
        """Compile `source`. Raises InvalidRequest when it is not valid Jinja."""
        self.source = source
        self._special = {"bos_token": bos_token, "eos_token": eos_token}
        environment = _environment()
        try:
            self._tree = environment.parse(source)
            self._template = environment.from_string(self._tree)
        except (jinja2.TemplateError, RecursionError, SyntaxError, ValueError) as error:
            raise self._broken(f"is not valid Jinja: {error}") from error
        self._escaping = Escaping(control_tokens, _texts(self._tree), _names(self._tree))

    @property
    def sha256(self) -> str:
        """The digest of the source, in hexadecimal digits."""
        return sha256(self.source.encode()).hexdigest()

    @cached_property
    def variables(self) -> frozenset[str]:
        """Names that the template reads, some of its own among them: `tools` where it can show tools."""
        return frozenset(name.name for name in self._tree.find_all(nodes.Name) if name.ctx == "load")

    def mentions(self, word: str) -> bool:
        """Return whether a text that the template writes or compares with contains `word`."""
        return any(word in text for text in _texts(self._tree))

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        ask: bool = True,
        continue_final: bool = False,
        variables: Mapping[str, Any] | None = None,
    ) -> list[Segment]:
        """Return the prompt for the assistant's next message, or for more of the last one (`continue_final`).

        Without `ask` the prompt ends with the last message. `variables` are the client's, `enable_thinking` for
        instance. Raises InvalidRequest with the template's own message when the template rejects the conversation, and
        when it fails.
        """
        if taken := _OWN & (variables or {}).keys():
            raise InvalidRequest(
                f"The variable {min(taken)!r} of the chat template cannot be set.",
                param=f"chat_template_kwargs.{min(taken)}",
                code="invalid_value",
            )
        sentinel, end = new_sentinel(), new_sentinel()
        try:
            escaped = [self._escaped(message, sentinel) for message in messages]
            if continue_final:
                escaped[-1]["content"] += end
            text = self._text(
                self._escaping.escaped(dict(variables or {}), sentinel)
                | self._special
                | {
                    "messages": escaped,
                    "tools": self._escaping.escaped(list(tools), sentinel) if tools else None,
                    "add_generation_prompt": ask and not continue_final,
                }
            )
        except Exception as error:  # a template is a foreign program: it can raise anything
            raise self._failure(error, (sentinel, end)) from error
        return self._escaping.segments(_until(text, end) if continue_final else text, sentinel)

    def _text(self, values: dict[str, Any]) -> str:
        """Return the text that the template renders. Raises the template's errors, and MemoryError for too long a text.

        Without tools `tools` is None, as in Hugging Face's library, or an empty list for a template that loops over it.
        """
        try:
            text = self._template.render(values)
        except TypeError:
            if values["tools"] is not None or "tools" not in self.variables:
                raise
            text = self._template.render(values | {"tools": []})
        if len(text) > LONGEST:
            raise MemoryError
        return text

    def _escaped(self, message: Mapping[str, Any], sentinel: str) -> dict[str, Any]:
        """Return a message with its strings escaped, except for the role, which templates write into delimiters."""
        escaped: dict[str, Any] = self._escaping.escaped(dict(message), sentinel)
        return escaped | {"role": message["role"]}

    def _failure(self, error: Exception, sentinels: Sequence[str]) -> InvalidRequest:
        reason = str(error)
        for sentinel in sentinels:
            reason = reason.replace(sentinel, "")
        reason = reason[:LONGEST_REASON]
        if isinstance(error, Refusal):
            return InvalidRequest(f"The model's chat template refuses this conversation: {reason}", param="messages")
        if isinstance(error, SecurityError):
            return self._broken(f"does what no template may: {reason}")
        if isinstance(error, MemoryError):
            return InvalidRequest(
                f"The model's chat template (sha256 {self.sha256[:12]}) needs too much memory for this conversation. "
                f"Send a shorter one; if short ones fail too, the template is broken. {ADVICE}",
                param="messages",
                code=LARGE,
            )
        advice = ". Set it in `chat_template_kwargs`." if _lacks_variable(error) else ""
        return InvalidRequest(
            f"The model's chat template (sha256 {self.sha256[:12]}) fails on this conversation: "
            f"{type(error).__name__}: {reason}{advice}",
            param="messages",
        )

    def _broken(self, what: str) -> InvalidRequest:
        return InvalidRequest(
            f"The model's chat template (sha256 {self.sha256[:12]}) {what[:LONGEST_REASON]}. {ADVICE}", param="model"
        )


def _lacks_variable(error: Exception) -> bool:
    """Return whether a template used a variable that is not set. The message for a missing key or attribute differs."""
    return isinstance(error, jinja2.UndefinedError) and str(error).endswith("' is undefined")


class Refusal(jinja2.TemplateError):
    """The error that a template raises on purpose, to reject a conversation."""


def _until(text: str, end: str) -> str:
    """Return the text before the sentinel `end`, which follows the text of the last message."""
    if text.count(end) != 1:
        raise InvalidRequest(
            "The model's chat template does not show the last message's text, so its answer cannot be continued there.",
            param="continue_final_message",
            code="invalid_value",
        )
    return text[: text.index(end)]


@lru_cache(maxsize=32)
def compiled(model: ModelTemplate) -> ChatTemplate:
    """Return a model's chat template, compiled. Raises InvalidRequest when it is not valid Jinja."""
    return ChatTemplate(
        model.source, bos_token=model.bos_token, eos_token=model.eos_token, control_tokens=model.control_tokens
    )


_OWN = {"messages", "tools", "add_generation_prompt", "bos_token", "eos_token"}
"""Variables that clients cannot set: text in them would count as the template's own."""


def _texts(tree: nodes.Template) -> Iterator[str]:
    """Yield the texts that a template writes or compares with."""
    for data in tree.find_all(nodes.TemplateData):
        yield data.data
    for constant in tree.find_all(nodes.Const):
        if isinstance(constant.value, str):
            yield constant.value


def _names(tree: nodes.Template) -> Iterator[str]:
    """Yield the words that a template compares with or looks up."""
    yield from _texts(tree)
    for attribute in tree.find_all(nodes.Getattr):
        yield attribute.attr


class GenerationTag(Extension):
    """`{% generation %}`, which some templates have around the assistant's text for training; it has no effect here."""

    tags = {"generation"}  # noqa: RUF012 - declared by jinja2 as an attribute of instances

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        """Return the nodes between the tags."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment() -> jinja2.Environment:
    """Return the environment that Hugging Face's templates are written for, in a sandbox."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, GenerationTag], autoescape=False
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
    raise Refusal(message)
