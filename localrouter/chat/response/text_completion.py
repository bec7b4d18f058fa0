"""The older route: submits raw prompts to an engine and turns the engine's events into chunks of text.

There is one path: a streamed response sends the chunks, and a response that is not streamed is `fold_text` over them.
"""

import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Self
from uuid import uuid4

import msgspec
from msgspec import UNSET, UnsetType

from localrouter.chat.engine_interface import Generation, LoadedEngine
from localrouter.chat.grammar.client_grammar import client_grammar
from localrouter.chat.grammar.output_grammar import OutputRules, Regex, output_grammar
from localrouter.chat.model_facts import ModelFacts, facts_of
from localrouter.chat.request.sampling_params import check_min_tokens, check_tokens, sampling_of
from localrouter.chat.response.completion_stream import CompletionStream, Reports
from localrouter.chat.response.generations import Admission, accepted
from localrouter.chat.response.text_choice import TextChoiceStream
from localrouter.engine.messages import GenerationRequest, Grammar, Sampling, Segment
from localrouter.errors import ContextLengthExceeded, EngineFailed, InvalidRequest, RequestError
from localrouter.schema.alias_defaults import NO_DEFAULTS, AliasDefaults
from localrouter.schema.chat_response import Timings, Usage
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
        check_min_tokens(sampling, request.max_tokens or DEFAULT_MAX_TOKENS, "max_tokens")
        reports = Reports.of(request)
        prompts = await _prompts(engine, request)
        choices = request.n or 1
        echoed = [prompt.echoed for prompt in prompts for _ in range(choices)]
        return cls(
            admission=await _begin(engine, request, prompts, sampling, reports),
            streams=[
                TextChoiceStream(index, has_logprobs=request.logprobs is not None)
                for index in range(len(prompts) * choices)
            ],
            opening=[TextChoice(index, prompt) for index, prompt in enumerate(echoed)] if request.echo else [],
            choices=choices,
            reports=reports,
            model=engine.model,
            fingerprint=model.fingerprint,
            id=f"cmpl-{uuid4().hex}",
            created=int(time.time()),
        )

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
    return TextChoice(parts[0].index, text, logprobs if known else None, parts[-1].finish_reason)


async def _prompts(engine: LoadedEngine, request: CompletionRequest) -> list[_Prompt]:
    """Return the prompts of a request. Text has no template around it, and control tokens in it are recognised."""
    given = request.prompts
    prompts = []
    for index, prompt in enumerate(given):
        param = f"prompt[{index}]" if len(given) > 1 else "prompt"
        if isinstance(prompt, str):
            prompts.append(_Prompt([Segment(prompt, control=True)], None, prompt, param))
            continue
        check_tokens(prompt, engine.info.vocabulary, param)
        pieces = (await engine.detokenize(prompt)).pieces if request.echo else []
        prompts.append(_Prompt([], prompt, b"".join(pieces).decode(errors="replace"), param))
    return prompts


async def _begin(
    engine: LoadedEngine, request: CompletionRequest, prompts: list[_Prompt], sampling: Sampling, reports: Reports
) -> Admission:
    """Submit each prompt once per choice; the engine computes a prompt that several requests share only once."""
    grammar = _grammar(request, facts_of(engine.model, engine.info))
    max_tokens = request.max_tokens or DEFAULT_MAX_TOKENS
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
                    )
                )

    return await accepted(submitted(), lambda index, error: _worded(error, request, prompts[index // choices].param))


def _worded(error: RequestError, request: CompletionRequest, param: str) -> RequestError:
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
        param = "grammar" if request.grammar is not None else "regex"
    return InvalidRequest(error.message, param=param, code=error.reason)


def _grammar(request: CompletionRequest, model: ModelFacts) -> Grammar | None:
    """Return the grammar of the output. Raises InvalidRequest for an invalid regular expression or GBNF."""
    if request.regex is None:
        return None if request.grammar is None else Grammar(client_grammar(request.grammar))
    lark = output_grammar(OutputRules(Regex(request.regex, "regex")), model.family, model.info.special_tokens)
    return None if lark is None else Grammar(lark)
