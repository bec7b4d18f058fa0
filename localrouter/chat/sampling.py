"""From the fields of a request to how an engine draws tokens. What is left out, or null, has OpenAI's default."""

from collections.abc import Sequence

from localrouter.engine.messages import ModelInfo, Sampling
from localrouter.errors import InvalidRequest
from localrouter.schema import ChatRequest


def sampling_of(request: ChatRequest, info: ModelInfo) -> Sampling:
    """Return how to draw. Raises InvalidRequest for a bias on a token that the model's vocabulary has not."""
    bias = request.logit_bias or {}
    _check_tokens(list(bias), info.vocabulary)
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
        logprobs=(request.top_logprobs or 0) if request.logprobs else None,
        stop=(request.stop,) if isinstance(request.stop, str) else tuple(request.stop or ()),
    )


def _check_tokens(tokens: Sequence[int], vocabulary: int) -> None:
    for token in tokens:
        if token >= vocabulary:
            raise InvalidRequest(
                f"There is no token {token} for 'logit_bias': the tokens of this model are 0 to {vocabulary - 1}.",
                param="logit_bias",
                code="invalid_value",
            )
