"""What a chat request would ask of a model, shown without asking it."""

from localrouter.chat.engine_interface import LoadedEngine
from localrouter.chat.prompt.chat_prompt import Renderer
from localrouter.chat.prompt.template import template_digest
from localrouter.chat.request.prepared_request import prepare
from localrouter.chat.response.completion_stream import fingerprint_of
from localrouter.engine.messages import Sampling
from localrouter.schema.chat_request import ChatRequest
from localrouter.schema.explain import (
    ExplainedReasoning,
    ExplainedSampling,
    ExplainedStep,
    ExplainedTemplate,
    ExplainedToken,
    Explanation,
)


async def explain(engine: LoadedEngine, request: ChatRequest, renderer: Renderer) -> Explanation:
    """Return all that decides the answer to a request. Raises what it would be refused with, a long prompt aside."""
    info = engine.info
    prepared = await prepare(request, info, renderer)
    prompt = prepared.prompt.segments
    tokens = await engine.tokenize(prompt)
    room = max(0, info.context - len(tokens.tokens))
    return Explanation(
        model=engine.model,
        system_fingerprint=fingerprint_of(engine.model, info),
        template=ExplainedTemplate(info.template_source, template_digest(info), prepared.family.name),
        steps=[ExplainedStep(step.what, step.where, step.why) for step in prepared.prompt.steps],
        prompt="".join(segment.text for segment in prompt),
        prompt_tokens=len(tokens.tokens),
        tokens=[
            ExplainedToken(token, piece.decode(errors="replace"), list(piece))
            for token, piece in zip(tokens.tokens, tokens.pieces, strict=True)
        ],
        context_length=info.context,
        max_completion_tokens=min(room, prepared.max_tokens or room),
        n=prepared.choices,
        sampling=_sampling(prepared.sampling),
        reasoning=ExplainedReasoning(prepared.thought, prepared.thinking.budget if prepared.thinking else None),
        callable=[function.name for function in prepared.offer.callable],
        must_call=prepared.offer.must_call,
        grammar=prepared.grammar.lark if prepared.grammar else None,
    )


def _sampling(sampling: Sampling) -> ExplainedSampling:
    return ExplainedSampling(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        min_p=sampling.min_p,
        presence_penalty=sampling.presence_penalty,
        frequency_penalty=sampling.frequency_penalty,
        repeat_penalty=sampling.repeat_penalty,
        logit_bias={str(token): bias for token, bias in sampling.logit_bias.items()},
        seed=sampling.seed,
        stop=list(sampling.stop),
    )
