"""The older route: takes raw prompts to an engine and turns what comes back into chunks of text.

There is one path. A streamed answer sends the chunks, a plain one is `fold_text` over the same chunks.
"""

import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Self
from uuid import uuid4

import msgspec

from localrouter.chat.engine_interface import Generation, LoadedEngine
from localrouter.chat.families.detection import family_of
from localrouter.chat.grammar.output_grammar import OutputRules, Regex, answer_grammar
from localrouter.chat.request.sampling_params import check_tokens, sampling_of
from localrouter.chat.response.completion_stream import CompletionStream, fingerprint_of, wants_usage
from localrouter.chat.response.generations import begun
from localrouter.chat.response.text_choice import TextChoiceStream
from localrouter.engine.messages import GenerationRequest, Grammar, Sampling, Segment
from localrouter.engine.model_info import ModelInfo
from localrouter.errors import ContextLengthExceeded, EngineFailed, InvalidRequest, RequestError
from localrouter.schema.chat_response import Usage
from localrouter.schema.text_completions import (
    DEFAULT_MAX_TOKENS,
    CompletionRequest,
    TextChoice,
    TextCompletionResponse,
    TextLogprobs,
)


class _Prompt(NamedTuple):
    """One prompt: what the engine is given, and its text where it is to be echoed. `param` is where it stands."""

    segments: list[Segment]
    tokens: list[int] | None
    echoed: str
    param: str


@dataclass
class TextCompletion(CompletionStream[TextChoice, TextCompletionResponse]):
    """Raw prompts that an engine goes on with."""

    @classmethod
    async def begin(cls, engine: LoadedEngine, request: CompletionRequest) -> Self:
        """Hand all prompts in, each once for every answer, and wait until they are accepted.

        Raises what the engine refuses them with, so that a refusal comes before the first event, and InvalidRequest for
        tokens that the model has not. The caller must `cancel` what it gets, whatever happens.
        """
        sampling = sampling_of(request, engine.info, logprobs=request.logprobs)
        prompts = await _prompts(engine, request)
        answers = request.n or 1
        echoed = [prompt.echoed for prompt in prompts for _ in range(answers)]
        return cls(
            generations=await _begin(engine, request, prompts, sampling),
            streams=[
                TextChoiceStream(index, has_logprobs=request.logprobs is not None)
                for index in range(len(prompts) * answers)
            ],
            opening=[TextChoice(index, prompt) for index, prompt in enumerate(echoed)] if request.echo else [],
            answers=answers,
            includes_usage=wants_usage(request.stream, request.stream_options),
            model=engine.model,
            fingerprint=fingerprint_of(engine.model, engine.info),
            id=f"cmpl-{uuid4().hex}",
            created=int(time.time()),
        )

    def chunk(self, choices: list[TextChoice], usage: Usage | None) -> TextCompletionResponse:
        """Return a chunk of a raw prompt's answer."""
        chunk = TextCompletionResponse(
            id=self.id,
            created=self.created,
            model=self.model,
            system_fingerprint=self.fingerprint,
            choices=choices,
        )
        if self.includes_usage:
            chunk.usage = usage
        return chunk


async def fold_text(chunks: AsyncIterator[list[TextCompletionResponse]]) -> TextCompletionResponse:
    """Return the plain answer that a stream of chunks amounts to. Raises EngineFailed where it does not end."""
    parts: dict[int, list[TextChoice]] = {}
    last: TextCompletionResponse | None = None
    async for several in chunks:
        for last in several:
            for choice in last.choices:
                parts.setdefault(choice.index, []).append(choice)
    whole = [_whole(parts[index]) for index in sorted(parts)]
    if last is None or not isinstance(last.usage, Usage) or any(choice.finish_reason is None for choice in whole):
        raise EngineFailed("The answer ended without a finish reason.")
    return msgspec.structs.replace(last, choices=whole)


def _whole(parts: list[TextChoice]) -> TextChoice:
    told = [part.logprobs for part in parts if part.logprobs is not None]
    logprobs = TextLogprobs(
        tokens=[token for some in told for token in some.tokens],
        token_logprobs=[value for some in told for value in some.token_logprobs],
        top_logprobs=[top for some in told for top in some.top_logprobs],
        text_offset=[offset for some in told for offset in some.text_offset],
    )
    text = "".join(part.text for part in parts)
    return TextChoice(parts[0].index, text, logprobs if told else None, parts[-1].finish_reason)


async def _prompts(engine: LoadedEngine, request: CompletionRequest) -> list[_Prompt]:
    """Return the prompts of a request. Text is raw: no template, and control tokens in it are recognised."""
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
    engine: LoadedEngine, request: CompletionRequest, prompts: list[_Prompt], sampling: Sampling
) -> list[Generation]:
    """Hand in each prompt for each of its answers; the engine reads one that it is given several times but once."""
    grammar = _grammar(request, engine.info)
    max_tokens = request.max_tokens or DEFAULT_MAX_TOKENS
    answers = request.n or 1

    def submitted() -> Iterator[Generation]:
        for prompt in prompts:
            for answer in range(answers):
                # Answers to one prompt differ, and the first is the one that `n` 1 would give.
                seed = None if sampling.seed is None else sampling.seed + answer
                drawn = msgspec.structs.replace(sampling, seed=seed)
                yield engine.submit(
                    GenerationRequest(prompt.segments, drawn, max_tokens, grammar, tokens=prompt.tokens)
                )

    return await begun(submitted(), lambda index, refusal: _told(refusal, request, prompts[index // answers].param))


def _told(refusal: RequestError, request: CompletionRequest, param: str) -> RequestError:
    """Return a refusal in the words of this route, naming the prompt."""
    if isinstance(refusal, ContextLengthExceeded):
        return InvalidRequest(
            f"This model's maximum context length is {refusal.limit} tokens. However, your prompt has "
            f"{refusal.prompt_tokens} tokens. Please reduce the length of the prompt.",
            param=param,
            code=refusal.code,
        )
    if not isinstance(refusal, InvalidRequest):
        return refusal
    if refusal.reason == "invalid_grammar":
        param = "grammar" if request.grammar is not None else "regex"
    return InvalidRequest(refusal.message, param=param, code=refusal.reason)


def _grammar(request: CompletionRequest, info: ModelInfo) -> Grammar | None:
    """Return what the answers have to obey. Raises InvalidRequest for a regular expression that is none."""
    if request.regex is None:
        return None if request.grammar is None else Grammar(request.grammar)
    lark = answer_grammar(OutputRules(Regex(request.regex, "regex")), family_of(info), info.special_tokens)
    return None if lark is None else Grammar(lark)
