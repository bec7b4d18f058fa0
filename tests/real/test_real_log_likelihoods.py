"""Log-likelihoods of real weights through HTTP, beside llama.cpp's own arithmetic for the same tokens."""

import pytest
from likelihoods import EXACT, TOLERANCE, computed, continuations, largest_difference, reported
from real_server import MODELS, path_of
from running_server import serving

pytestmark = pytest.mark.real


@pytest.mark.parametrize("alias", MODELS)
def test_they_are_those_of_llama_cpp(alias: str) -> None:
    path = path_of(MODELS[alias])
    with serving("--model", f"{alias}={path}", *EXACT, "--context", "1024") as server:
        documents = continuations(server, alias)
        found = reported(server, alias, documents)

    assert largest_difference(found, computed(path, documents)) <= TOLERANCE
