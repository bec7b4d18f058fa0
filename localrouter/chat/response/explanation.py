"""The rendered prompt and the effective parameters of a chat request, without generating anything."""

from localrouter.chat.engine_interface import LoadedEngine
from localrouter.chat.model_facts import facts_of
from localrouter.chat.prompt.chat_prompt import Renderer
from localrouter.chat.request.prepared_request import prepare
from localrouter.engine.generation_request import Sampling
from localrouter.schema.alias_defaults import NO_DEFAULTS, AliasDefaults
from localrouter.schema.chat_request import ChatRequest
from localrouter.schema.explain import (
    ExplainedReasoning,
    ExplainedSampling,
    ExplainedStep,
    ExplainedTemplate,
    ExplainedToken,
    Explanation,
    as_sent,
)
from localrouter.schema.ignored_fields import ignored_fields


async def explain(
    engine: LoadedEngine, request: ChatRequest, renderer: Renderer, defaults: AliasDefaults = NO_DEFAULTS
) -> Explanation:
    """Return the rendered prompt and the effective parameters of a request.

    `defaults` are values for fields that the request leaves out.

    Raises the error with which the request would be rejected; a prompt longer than the context is no error here.
    """
    info = engine.info
    model = facts_of(engine.model, info, defaults)
    prepared = await prepare(request, model, renderer)
    prompt = prepared.prompt.segments
    tokens = await engine.tokenize(prompt)
    room = max(0, info.context - len(tokens.tokens))
    return Explanation(
        model=engine.model,
        system_fingerprint=model.fingerprint,
        template=ExplainedTemplate(info.template_source, model.template.sha256, prepared.family.name),
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
        alias_defaults=list(prepared.alias_defaults),
        reasoning=ExplainedReasoning(prepared.reasoning, prepared.thinking.budget if prepared.thinking else None),
        callable=[function.name for function in prepared.tools.callable],
        must_call=prepared.tools.must_call,
        grammar=prepared.grammar.lark if prepared.grammar else None,
        ignored=[*ignored_fields(request), *as_sent(prepared.ignored, request)],
        not_enforced=as_sent(prepared.not_enforced, request),
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
        stop_token_ids=list(sampling.stop_tokens),
        min_tokens=sampling.min_tokens,
        ignore_eos=sampling.ignore_eos,
    )
