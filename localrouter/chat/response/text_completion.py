"""The older route: submits raw prompts to an engine and turns the engine's events into chunks of text.

There is one path: a streamed response sends the chunks, and a response that is not streamed is `fold_text` over them.
"""

import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Self
from uuid import uuid4

import msgspec
from msgspec import UNSET, UnsetType

from localrouter.chat.engine_interface import Generation, LoadedEngine
from localrouter.chat.grammar.output_grammar import OutputGrammar, OutputRules, output_grammar
from localrouter.chat.model_facts import ModelFacts, facts_of
from localrouter.chat.prompt.fill_in_middle import fim_prompt
from localrouter.chat.request.response_format import content_of, grammar_param
from localrouter.chat.request.sampling_params import check_min_tokens, check_tokens, sampling_of
from localrouter.chat.response.completion_stream import CompletionStream, Reports
from localrouter.chat.response.generations import Admission, accepted
from localrouter.chat.response.prompt_logprobs import ScoredPrompt
from localrouter.chat.response.relaxed_grammar import admitted_or_relaxed
from localrouter.chat.response.text_choice import Opening, TextChoiceStream
from localrouter.engine.generation_request import GenerationRequest, Grammar, Sampling, Segment
from localrouter.engine.messages import Event
from localrouter.errors import ContextLengthExceeded, EngineFailed, InvalidRequest, RequestError
from localrouter.schema.alias_defaults import NO_DEFAULTS, AliasDefaults
from localrouter.schema.chat_response import Timings, Usage
from localrouter.schema.explain import as_sent
from localrouter.schema.generation_fields import GenerationFields
from localrouter.schema.text_completions import (
    DEFAULT_MAX_TOKENS,
    CompletionRequest,
    TextChoice,
    TextCompletionResponse,
    TextLogprobs,
)


class _Prompt(NamedTuple):
    """One prompt, as text or as tokens, with the text to echo. `param` is the place of the prompt in the request."""

    segments: list[Segment]
    tokens: list[int] | None
    echoed: str
    param: str


@dataclass
class TextCompletion(CompletionStream[TextChoice, TextCompletionResponse]):
    """The chunks of all choices for the raw prompts of one request."""

    scored: list[ScoredPrompt] = field(default_factory=list)
    """The prompts, where the request asks for their log probabilities: the first choice of each reports them."""

    @classmethod
    async def begin(
        cls, engine: LoadedEngine, request: CompletionRequest, defaults: AliasDefaults = NO_DEFAULTS
    ) -> Self:
        """Submit all prompts, each once per choice, and wait until the engine accepts them.

        `defaults` are values for sampling parameters that the request leaves out.

        Raises the error with which the engine rejects a prompt, before the first chunk, and InvalidRequest for tokens
        that are not in the model's vocabulary. The caller must always `cancel` the returned stream.
        """
        model = facts_of(engine.model, engine.info, defaults)
        sampling = sampling_of(defaults.complete(request), engine.info, logprobs=request.logprobs)
        check_min_tokens(sampling, _limit(request), "max_tokens")
        reports = Reports.of(request)
        prompts = await _prompts(engine, request)
        rules = TextRules(request, model)

        async def submitted(output: OutputGrammar) -> Admission:
            return await _begin(engine, request, prompts, sampling, output.grammar, reports)

        admission, output = await admitted_or_relaxed(rules.output(), submitted, rules.relaxed)
        choices = request.n or 1
        echoed = [prompt.echoed if request.echo else "" for prompt in prompts for _ in range(choices)]
        scored = [] if _prompt_logprobs(request) is None else [ScoredPrompt() for _ in prompts]
        is_open = request.echo and not scored
        return cls(
            admission=admission,
            streams=[
                _stream(request, index, text, scored[index // choices] if scored else None)
                for index, text in enumerate(echoed)
            ],
            opening=[TextChoice(index, text) for index, text in enumerate(echoed)] if is_open else [],
            choices=choices,
            reports=reports,
            model=engine.model,
            fingerprint=model.fingerprint,
            not_enforced=as_sent(output.not_enforced, request),
            id=f"cmpl-{uuid4().hex}",
            created=int(time.time()),
            scored=scored,
        )

    def _feed(self, index: int, events: list[Event]) -> list[TextChoice]:
        """Return the chunk choices for events; with the last token of a scored prompt also those that waited for it."""
        if not self.scored or self.scored[index // self.choices].is_complete:
            return super()._feed(index, events)
        prompt = self.scored[index // self.choices]
        prompt.read(events)
        choices = super()._feed(index, events)
        first = index // self.choices * self.choices
        for other in range(first, first + self.choices):
            if prompt.is_complete and other != index:
                choices += super()._feed(other, [])
        return choices

    def chunk(
        self, choices: list[TextChoice], usage: Usage | UnsetType | None, timings: Timings | UnsetType = UNSET
    ) -> TextCompletionResponse:
        """Return one chunk of a text completion."""
        return TextCompletionResponse(
            id=self.id,
            created=self.created,
            model=self.model,
            system_fingerprint=self.fingerprint,
            choices=choices,
            usage=usage,
            timings=timings,
        )


async def fold_text(chunks: AsyncIterator[list[TextCompletionResponse]]) -> TextCompletionResponse:
    """Return the response that all chunks add up to. Raises EngineFailed for a choice without a finish reason."""
    parts: dict[int, list[TextChoice]] = {}
    last: TextCompletionResponse | None = None
    async for several in chunks:
        for last in several:
            for choice in last.choices:
                parts.setdefault(choice.index, []).append(choice)
    whole = [_whole(parts[index]) for index in sorted(parts)]
    if last is None or not isinstance(last.usage, Usage) or any(choice.finish_reason is None for choice in whole):
        raise EngineFailed("The output ended without a finish reason.")
    return msgspec.structs.replace(last, choices=whole)


def _whole(parts: list[TextChoice]) -> TextChoice:
    known = [part.logprobs for part in parts if part.logprobs is not None]
    logprobs = TextLogprobs(
        tokens=[token for some in known for token in some.tokens],
        token_logprobs=[value for some in known for value in some.token_logprobs],
        top_logprobs=[top for some in known for top in some.top_logprobs],
        text_offset=[offset for some in known for offset in some.text_offset],
    )
    text = "".join(part.text for part in parts)
    return TextChoice(
        parts[0].index, text, logprobs if known else None, parts[-1].finish_reason, parts[0].prompt_logprobs
    )


def _prompt_logprobs(request: CompletionRequest) -> int | None:
    """Return how many likeliest tokens are needed in the place of each prompt token; None where none are."""
    asked = (request.prompt_logprobs, request.logprobs if request.echo else None)
    return max((top for top in asked if top is not None), default=None)


def _limit(request: CompletionRequest) -> int:
    """Return the limit of the output's tokens."""
    return DEFAULT_MAX_TOKENS if request.max_tokens is None else request.max_tokens


def _stream(request: CompletionRequest, index: int, echoed: str, prompt: ScoredPrompt | None) -> TextChoiceStream:
    """Return the reader of one choice. `prompt` is its prompt, where the request asks for log probabilities of it."""
    opening = None
    if prompt is not None:
        opening = Opening(prompt, echoed, request.logprobs if request.echo else None, request.prompt_logprobs)
    return TextChoiceStream(index, has_logprobs=request.logprobs is not None, opening=opening)


async def _prompts(engine: LoadedEngine, request: CompletionRequest) -> list[_Prompt]:
    """Return the prompts of a request. Text has no template around it, and control tokens in it are recognised.

    With a suffix prompt and suffix are plain text, and the output is what stands between them.
    """
    given = request.prompts
    prompts = []
    for index, prompt in enumerate(given):
        param = f"prompt[{index}]" if len(given) > 1 else "prompt"
        if not isinstance(prompt, str):
            check_tokens(prompt, engine.info.vocabulary, param)
        if request.suffix:
            prompts.append(_Prompt([], await fim_prompt(engine, prompt, request.suffix, param="suffix"), "", param))
            continue
        if isinstance(prompt, str):
            prompts.append(_Prompt([Segment(prompt, control=True)], None, prompt, param))
            continue
        pieces = (await engine.detokenize(prompt)).pieces if request.echo else []
        prompts.append(_Prompt([], prompt, b"".join(pieces).decode(errors="replace"), param))
    return prompts


async def _begin(
    engine: LoadedEngine,
    request: CompletionRequest,
    prompts: list[_Prompt],
    sampling: Sampling,
    grammar: Grammar | None,
    reports: Reports,
) -> Admission:
    """Submit each prompt once per choice; the engine computes a prompt that several requests share only once."""
    max_tokens = _limit(request)
    choices = request.n or 1

    def submitted() -> Iterator[Generation]:
        for prompt in prompts:
            for choice in range(choices):
                # Choices of one prompt differ, and the first is the one that `n` 1 would give.
                seed = None if sampling.seed is None else sampling.seed + choice
                drawn = msgspec.structs.replace(sampling, seed=seed)
                yield engine.submit(
                    GenerationRequest(
                        prompt.segments,
                        drawn,
                        max_tokens,
                        grammar,
                        tokens=prompt.tokens,
                        reports_progress=reports.progress,
                        prompt_logprobs=None if choice else _prompt_logprobs(request),
                        lists_silent=bool(request.echo),
                    )
                )

    return await accepted(submitted(), lambda index, error: worded(error, request, prompts[index // choices].param))


def worded(error: RequestError, request: GenerationFields, param: str) -> RequestError:
    """Return an error of the engine in the words of this route, naming the prompt."""
    if isinstance(error, ContextLengthExceeded):
        return InvalidRequest(
            f"This model's maximum context length is {error.limit} tokens. However, your prompt has "
            f"{error.prompt_tokens} tokens. Please reduce the length of the prompt.",
            param=param,
            code=error.code,
        )
    if not isinstance(error, InvalidRequest):
        return error
    if error.reason == "invalid_grammar":
        param = grammar_param(request) or param
    return InvalidRequest(error.message, param=param, code=error.reason)


class TextRules:
    """The rules for the output of a request with raw prompts: a schema, a regular expression or a grammar, if any."""

    def __init__(self, request: GenerationFields, model: ModelFacts) -> None:
        """Raises InvalidRequest for an invalid GBNF grammar."""
        self._rules = OutputRules(content_of(request))
        self._model = model

    def output(self) -> OutputGrammar:
        """Return the grammar of the output. Raises InvalidRequest for an invalid schema or regular expression."""
        return self._written(self._rules)

    def relaxed(self, why: str) -> OutputGrammar | None:
        """Return a grammar that enforces nothing of a schema that is not strict; None for no such schema."""
        rules = self._rules.unenforced(why)
        return None if rules is None else self._written(rules)

    def _written(self, rules: OutputRules) -> OutputGrammar:
        return output_grammar(rules, self._model.family, self._model.info.special_tokens)
