"""llama.cpp's own arithmetic: log probabilities of a text in one fresh context, without any part of the engine."""

from typing import Any

import llama_cpp.llama_cpp as api
import numpy as np

from localrouter.engine.backends.llama import library


def text_logprobs(path: str, *texts: list[int], exact: bool = True) -> list[list[float]]:
    """Return for each text, in tokens, the natural log probability of each token but the first.

    `exact`: the weights are used as they are in the file, and attention has no flash kernel; otherwise llama.cpp's own
    defaults apply. Different kernels round differently.
    """
    library.start()
    model_params = api.llama_model_default_params()
    model_params.use_extra_bufts = not exact
    model_params.n_gpu_layers = 0
    model = api.llama_model_load_from_file(path.encode(), model_params)
    params = api.llama_context_default_params()
    if exact:
        params.flash_attn_type = api.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.n_ctx = params.n_batch = params.n_ubatch = max(256, *map(len, texts))
    context = api.llama_init_from_model(model, params)
    assert context
    vocabulary = api.llama_vocab_n_tokens(api.llama_model_get_vocab(model))
    found = [_evaluated(context, vocabulary, tokens) for tokens in texts]
    api.llama_free(context)
    api.llama_model_free(model)
    return found


def _evaluated(context: Any, vocabulary: int, tokens: list[int]) -> list[float]:
    api.llama_memory_clear(api.llama_get_memory(context), True)
    batch = api.llama_batch_init(len(tokens), 0, 1)
    for position, token in enumerate(tokens):
        batch.token[position], batch.pos[position], batch.logits[position] = token, position, 1
        batch.n_seq_id[position], batch.seq_id[position][0] = 1, 0
    batch.n_tokens = len(tokens)
    assert api.llama_decode(context, batch) == 0
    logits = np.ctypeslib.as_array(api.llama_get_logits(context), shape=(len(tokens), vocabulary)).astype(np.float64)
    api.llama_batch_free(batch)
    highest = logits.max(axis=1, keepdims=True)
    logprobs = logits - highest - np.log(np.exp(logits - highest).sum(axis=1, keepdims=True))
    return [float(logprobs[row, token]) for row, token in enumerate(tokens[1:])]
