"""Fill in the middle in the form of llama-server: the output between two texts, in chunks of its own form."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Self
from uuid import uuid4

import msgspec
from msgspec import UNSET, UnsetType

from localrouter.chat.engine_interface import LoadedEngine
from localrouter.chat.grammar.output_grammar import OutputGrammar
from localrouter.chat.model_facts import facts_of
from localrouter.chat.prompt.fill_in_middle import ContextFile, fim_prompt
from localrouter.chat.request.sampling_params import check_min_tokens, sampling_of
from localrouter.chat.response.completion_stream import CompletionStream, Reports
from localrouter.chat.response.generations import Admission, accepted
from localrouter.chat.response.relaxed_grammar import admitted_or_relaxed
from localrouter.chat.response.text_choice import TextChoiceStream
from localrouter.chat.response.text_completion import TextRules, worded
from localrouter.engine.generation_request import GenerationRequest
from localrouter.errors import EngineFailed
from localrouter.schema.alias_defaults import NO_DEFAULTS, AliasDefaults
from localrouter.schema.chat_response import Timings, Usage
from localrouter.schema.explain import as_sent
from localrouter.schema.infill import InfillRequest, InfillResponse
from localrouter.schema.text_completions import TextChoice

_DEFAULT_NAME = "tmp"
"""Name that llama-server gives to a file without one."""


@dataclass
class Infill(CompletionStream[TextChoice, InfillResponse]):
    """The chunks of one infill request."""

    @classmethod
    async def begin(cls, engine: LoadedEngine, request: InfillRequest, defaults: AliasDefaults = NO_DEFAULTS) -> Self:
        """Submit the prompt and wait until the engine accepts it.

        `defaults` are values for sampling parameters that the request leaves out.

        Raises the error with which the engine rejects it, and InvalidRequest for a model without fill-in-the-middle
        tokens. The caller must always `cancel` the returned stream.
        """
        model = facts_of(engine.model, engine.info, defaults)
        sampling = sampling_of(defaults.complete(request), engine.info, logprobs=None)
        files = [ContextFile(file.filename or _DEFAULT_NAME, file.text) for file in request.input_extra or ()]
        prefix = request.input_prefix + (request.prompt or "")
        tokens = await fim_prompt(engine, prefix, request.input_suffix, files=files, param="input_suffix")
        max_tokens = None if request.n_predict == -1 else request.n_predict
        check_min_tokens(sampling, max_tokens, "n_predict")
        rules = TextRules(request, model)

        async def submitted(output: OutputGrammar) -> Admission:
            asked = GenerationRequest([], sampling, max_tokens, output.grammar, tokens=tokens)
            one = (engine.submit(each) for each in [asked])
            return await accepted(one, lambda _, error: worded(error, request, "input_prefix"))

        admission, output = await admitted_or_relaxed(rules.output(), submitted, rules.relaxed)
        return cls(
            admission=admission,
            streams=[TextChoiceStream(0, has_logprobs=False)],
            opening=[],
            choices=1,
            reports=Reports(usage=False),
            model=engine.model,
            fingerprint=model.fingerprint,
            not_enforced=as_sent(output.not_enforced, request),
            id=f"infill-{uuid4().hex}",
            created=int(time.time()),
        )

    def chunk(
        self, choices: list[TextChoice], usage: Usage | UnsetType | None, timings: Timings | UnsetType = UNSET
    ) -> InfillResponse:
        """Return one chunk; the last one has the counts."""
        text = "".join(choice.text for choice in choices)
        reason = choices[-1].finish_reason
        if reason is None or self.usage is None:
            return InfillResponse(content=text, stop=False, model=self.model)
        return InfillResponse(
            content=text,
            stop=True,
            model=self.model,
            tokens_predicted=self.usage.completion_tokens,
            tokens_evaluated=self.usage.prompt_tokens,
            tokens_cached=self.usage.prompt_tokens_details.cached_tokens,
            stop_type="limit" if reason == "length" else "stop",
        )


async def fold_infill(chunks: AsyncIterator[list[InfillResponse]]) -> InfillResponse:
    """Return the response that all chunks add up to. Raises EngineFailed where the last one is missing."""
    every = [chunk async for several in chunks for chunk in several]
    if not every or not every[-1].stop:
        raise EngineFailed("The output ended without a finish reason.")
    return msgspec.structs.replace(every[-1], content="".join(chunk.content for chunk in every))
