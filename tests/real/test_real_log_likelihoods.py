"""Log-likelihoods of real weights through HTTP, beside llama.cpp's own arithmetic for the same tokens."""

import pytest
from likelihoods import EXACT, TOLERANCE, computed, continuations, largest_difference, reported
from real_server import MODELS, path_of
from running_server import serving

pytestmark = pytest.mark.real


@pytest.mark.parametrize("exact", [True, False], ids=["kernels of the reference", "kernels by default"])
@pytest.mark.parametrize("alias", MODELS)
def test_they_are_those_of_llama_cpp_with_the_same_kernels(alias: str, exact: bool) -> None:
    path = path_of(MODELS[alias])
    with serving("--model", f"{alias}={path}", *(EXACT if exact else ()), "--context", "1024") as server:
        documents = continuations(server, alias)
        found = reported(server, alias, documents)

    assert largest_difference(found, computed(path, documents, exact=exact)) <= TOLERANCE
