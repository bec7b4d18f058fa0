"""The durations of a request, as llama-server reports them."""

from collections.abc import Collection

from localrouter.engine.messages import Timings as Measured
from localrouter.schema.chat_response import Timings, Usage


def timings_of(measured: Collection[Measured], usage: Usage) -> Timings:
    """Return the timings of a request from those of its generations that have begun, and from its token usage.

    Generations run at the same time: their tokens are added up, and of each duration the longest counts.
    """
    cached = usage.prompt_tokens_details.cached_tokens
    computed = usage.prompt_tokens - cached
    prompt_ms = max((each.prompt_ms for each in measured), default=0.0)
    predicted_ms = max((each.predicted_ms for each in measured), default=0.0)
    later = max(0, usage.completion_tokens - len(measured))
    return Timings(
        queued_ms=round(max((each.queued_ms for each in measured), default=0.0), 3),
        cache_n=cached,
        prompt_n=computed,
        prompt_ms=round(prompt_ms, 3),
        prompt_per_token_ms=_ratio(prompt_ms, computed),
        prompt_per_second=_ratio(1000 * computed, prompt_ms),
        predicted_n=usage.completion_tokens,
        predicted_ms=round(predicted_ms, 3),
        predicted_per_token_ms=_ratio(predicted_ms, later),
        predicted_per_second=_ratio(1000 * later, predicted_ms),
    )


def _ratio(amount: float, of: float) -> float | None:
    return round(amount / of, 3) if amount and of else None
