"""What every client is put through: `python CLIENT.py BASE_URL STEP...` exits nonzero with a sentence if one fails."""

import sys
from collections.abc import Callable, Mapping

MODEL = "demo"
KEY = "local"
QUESTION = "What is the capital of Italy?"
ANSWER = "Rome"
WEATHER = "What is the weather in Paris?"
RESULT = '{"temperature": 21, "sky": "clear"}'
"""What the tool of the round trip says."""
PERSON = "Tell me of a person."
"""The answer is held to a schema, so that it does not matter what the model would say."""


def expect(kept: object, otherwise: str) -> None:
    """End the program with these words unless this is so."""
    if not kept:
        sys.exit(otherwise)


def run(steps: Mapping[str, Callable[[str], object]]) -> None:
    """Take the steps of the command line, one after the other, with the base URL that stands there first."""
    _, base_url, *names = sys.argv
    for name in names:
        steps[name](base_url)
        sys.stdout.write(f"{name}: done\n")
