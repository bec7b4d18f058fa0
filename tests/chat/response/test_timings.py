"""Timings of a response, from the durations of its generations."""

from localrouter.chat.response.timings import timings_of
from localrouter.chat.response.usage import usage_of
from localrouter.engine.messages import Timings as Measured
from localrouter.engine.messages import TokenUsage
from localrouter.schema.chat_response import Timings


def test_rates_count_the_tokens_that_took_the_time() -> None:
    usage = usage_of([TokenUsage(100, 11, cached_tokens=60)], 1)

    assert timings_of([Measured(5, 80, 200)], usage) == Timings(
        queued_ms=5,
        cache_n=60,
        prompt_n=40,
        prompt_ms=80,
        prompt_per_token_ms=2,
        prompt_per_second=500,
        predicted_n=11,
        predicted_ms=200,
        predicted_per_token_ms=20,
        predicted_per_second=50,
    )


def test_of_several_choices_the_longest_durations_and_all_tokens_count() -> None:
    usage = usage_of([TokenUsage(10, 6), TokenUsage(10, 6, cached_tokens=10)], 2)

    timings = timings_of([Measured(1, 20, 100), Measured(3, 10, 50)], usage)

    assert (timings.queued_ms, timings.prompt_n, timings.prompt_ms) == (3, 10, 20)
    assert (timings.predicted_n, timings.predicted_ms, timings.predicted_per_second) == (12, 100, 100)


def test_where_nothing_took_time_there_is_no_rate() -> None:
    timings = timings_of([], usage_of([TokenUsage(10, 0)], 1))

    assert (timings.prompt_ms, timings.prompt_per_second, timings.predicted_per_token_ms) == (0, None, None)
