"""Sampling parameters of the engine from the fields of a request; omitted and null fields have OpenAI's default."""

from collections.abc import Sequence

from localrouter.engine.messages import Sampling
from localrouter.engine.model_info import ModelInfo
from localrouter.errors import InvalidRequest
from localrouter.schema.chat_request import ChatRequest
from localrouter.schema.text_completions import CompletionRequest


def sampling_of(request: ChatRequest | CompletionRequest, info: ModelInfo, *, logprobs: int | None) -> Sampling:
    """Return the sampling parameters. `logprobs`: likeliest tokens reported per position; None for no logprobs.

    Raises InvalidRequest for a bias on a token that is not in the model's vocabulary.
    """
    bias = request.logit_bias or {}
    check_tokens(list(bias), info.vocabulary, "logit_bias")
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
        stop=(request.stop,) if isinstance(request.stop, str) else tuple(request.stop or ()),
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
