"""What a request took, as OpenAI counts it."""

from collections.abc import Sequence

from localrouter.engine.messages import TokenUsage as Counted
from localrouter.schema.chat_response import CompletionTokensDetails, PromptTokensDetails, Usage


def usage_of(counted: Sequence[Counted], answers: int) -> Usage:
    """Return what all answers took, `answers` to each prompt: every prompt once, and the tokens of each answer.

    Of a prompt that is read once for several answers, only what the first of them found in the cache was there before.
    """
    prompts = [counted[start : start + answers] for start in range(0, len(counted), answers)]
    prompt = sum(same[0].prompt_tokens for same in prompts)
    completion = sum(one.completion_tokens for one in counted)
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=prompt + completion,
        prompt_tokens_details=PromptTokensDetails(sum(min(one.cached_tokens for one in same) for same in prompts)),
        completion_tokens_details=CompletionTokensDetails(sum(one.reasoning_tokens for one in counted)),
    )
