"""The token usage of a request, as OpenAI counts it."""

from collections.abc import Sequence

from localrouter.engine.messages import TokenUsage as Counted
from localrouter.schema.chat_response import CompletionTokensDetails, PromptTokensDetails, Usage


def usage_of(counted: Sequence[Counted], choices: int) -> Usage:
    """Return the usage of a request from the counts of its generations, `choices` of them per prompt.

    Each prompt counts once. Of its cached tokens the minimum over its choices counts: later choices find in the cache
    the tokens that the first choice has just computed.
    """
    prompts = [counted[start : start + choices] for start in range(0, len(counted), choices)]
    prompt = sum(same[0].prompt_tokens for same in prompts)
    completion = sum(one.completion_tokens for one in counted)
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=prompt + completion,
        prompt_tokens_details=PromptTokensDetails(sum(min(one.cached_tokens for one in same) for same in prompts)),
        completion_tokens_details=CompletionTokensDetails(sum(one.reasoning_tokens for one in counted)),
    )
