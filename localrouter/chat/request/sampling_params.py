"""Sampling parameters of the engine from the fields of a request; omitted and null fields have OpenAI's default."""

from collections.abc import Sequence

from localrouter.engine.generation_request import Sampling
from localrouter.engine.model_info import ModelInfo
from localrouter.errors import InvalidRequest
from localrouter.schema.generation_fields import GenerationFields


def sampling_of(request: GenerationFields, info: ModelInfo, *, logprobs: int | None) -> Sampling:
    """Return the sampling parameters. `logprobs`: likeliest tokens reported per position; None for no logprobs.

    Raises InvalidRequest for a biased or a stop token that is not in the model's vocabulary.
    """
    bias = request.logit_bias or {}
    check_tokens(list(bias), info.vocabulary, "logit_bias")
    stop_tokens = request.stop_token_ids or []
    check_tokens(stop_tokens, info.vocabulary, "stop_token_ids")
    return Sampling(
        temperature=1.0 if request.temperature is None else request.temperature,
        top_p=1.0 if request.top_p is None else request.top_p,
        seed=request.seed,
        top_k=request.top_k or 0,
        min_p=request.min_p or 0.0,
        presence_penalty=request.presence_penalty or 0.0,
        frequency_penalty=request.frequency_penalty or 0.0,
        repeat_penalty=1.0 if request.repeat_penalty is None else request.repeat_penalty,
        logit_bias=bias,
        logprobs=logprobs,
        stop=request.stops,
        stop_tokens=tuple(dict.fromkeys(stop_tokens)),
        min_tokens=request.min_tokens or 0,
        ignore_eos=bool(request.ignore_eos),
    )


def check_min_tokens(sampling: Sampling, max_tokens: int | None, name: str) -> None:
    """Raise InvalidRequest for more `min_tokens` than `max_tokens`, whose field in the request has this name."""
    if max_tokens is not None and sampling.min_tokens > max_tokens:
        raise InvalidRequest(
            f"'min_tokens' is {sampling.min_tokens}, more than the {max_tokens} of '{name}'.",
            param="min_tokens",
            code="invalid_value",
        )


def check_tokens(tokens: Sequence[int], vocabulary: int, param: str) -> None:
    """Raise InvalidRequest for a token that is not in the model's vocabulary. `param` is the field of the tokens."""
    for token in tokens:
        if token >= vocabulary:
            raise InvalidRequest(
                f"There is no token {token} for '{param}': the tokens of this model are 0 to {vocabulary - 1}.",
                param=param,
                code="invalid_value",
            )
