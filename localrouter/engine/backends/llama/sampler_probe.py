"""Probe of sampling on a GPU in a child process, which a fault of llama.cpp or a driver kills in place of the worker.

`python -m localrouter.engine.backends.llama.sampler_probe DEVICES VOCABULARY` loads a model of one layer with a
vocabulary of VOCABULARY tokens and samples as the engine does: several sequences, prompts without outputs, forks,
sequences with and without a sampler chain, chains that change between steps. It exits with 0 when every sampled token
is one that the logits allow.
"""

import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import llama_cpp.llama_cpp as api
import numpy as np

from localrouter.engine.backends.base import Logits
from localrouter.engine.backends.llama import library
from localrouter.engine.backends.llama.load_plan import machine_of
from localrouter.engine.backends.llama.model import open_model
from localrouter.engine.backends.llama.rows import Rows
from localrouter.engine.backends.llama.sampler_chains import SamplerChains
from localrouter.engine.sampling.chain_params import GREEDY, ChainParams
from localrouter.engine.scheduling.batch import Batch
from localrouter.gguf.writer import F32, MetadataEntry, Value, write_gguf
from localrouter.load_options import LoadOptions

log = logging.getLogger(__name__)

PATIENCE = 120
"""Seconds after which the probe counts as failed; it takes two, and more where a driver compiles its first shaders."""
_F16 = 1
_WIDTH, _FEED_FORWARD = 64, 128
_PROMPT = 24
_SEQUENCES = 4
_TOLERANCE = 0.05
"""Difference allowed between logits of batches of different shapes, as a share of their standard deviation."""
_TOP = ChainParams(1.0, top_k=5)
_NUCLEUS = ChainParams(0.8, top_k=40, min_p=0.02, top_p=0.9)


@cache
def device_sampling_works(devices: str, vocabulary: int) -> bool:
    """Whether sampling on these devices works in a child process. Probed once per process."""
    command = [sys.executable, "-m", "localrouter.engine.backends.llama.sampler_probe", devices, str(vocabulary)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)  # noqa: S603 - our own module
    except subprocess.TimeoutExpired:
        log.info("sampling on %s is off: its probe took more than %d s", devices, PATIENCE)
        return False
    if done.returncode:
        words = done.stderr.strip().splitlines()[-1:] or ["no reason was given"]
        log.info("sampling on %s is off: its probe exited with status %d: %s", devices, done.returncode, words[0])
    return done.returncode == 0


def write_model(path: Path, vocabulary: int) -> None:
    """Write a model of one layer with random weights and without a tokenizer."""
    rng = np.random.default_rng(1)
    table, data = [], []
    for name, dimensions in _tensors(vocabulary):
        is_norm = "norm" in name
        table.append(MetadataEntry(name, dimensions, F32 if is_norm else _F16))
        weights = rng.standard_normal(dimensions, np.float32) / 8
        data.append(np.ones(dimensions, np.float32).tobytes() if is_norm else weights.astype(np.float16).tobytes())
    with path.open("wb") as file:
        write_gguf(file, _metadata(vocabulary), table, data)


def _metadata(vocabulary: int) -> Mapping[str, Value]:
    sizes: dict[str, Value] = {
        "block_count": 1,
        "context_length": 512,
        "embedding_length": _WIDTH,
        "feed_forward_length": _FEED_FORWARD,
        "attention.head_count": 1,
        "attention.head_count_kv": 1,
        "attention.key_length": _WIDTH,
        "attention.value_length": _WIDTH,
        "attention.layer_norm_rms_epsilon": 1e-6,
        "vocab_size": vocabulary,
    }
    keyed = {f"qwen3.{key}": value for key, value in sizes.items()}
    return {"general.architecture": "qwen3", "tokenizer.ggml.model": "no_vocab", **keyed}


def _tensors(vocabulary: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "token_embd.weight", (vocabulary, _WIDTH)
    yield "output_norm.weight", (_WIDTH,)
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        yield f"blk.0.{name}.weight", (_WIDTH, _WIDTH)
    for name in ("attn_norm", "attn_q_norm", "attn_k_norm", "ffn_norm"):
        yield f"blk.0.{name}.weight", (_WIDTH,)
    yield "blk.0.ffn_gate.weight", (_FEED_FORWARD, _WIDTH)
    yield "blk.0.ffn_up.weight", (_FEED_FORWARD, _WIDTH)
    yield "blk.0.ffn_down.weight", (_WIDTH, _FEED_FORWARD)


class WrongSample(Exception):
    """A sampled token that the logits do not allow, or another failure; the message describes it."""


class SamplerProbe:
    """A model of one layer on the devices, or on the CPU without any, and the sampler chains of its context."""

    def __init__(self, devices: str, vocabulary: int) -> None:
        library.start()
        gpus = machine_of(LoadOptions(device=devices or None)).gpus
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "probe.gguf"
            write_model(path, vocabulary)
            self._model = open_model(path, gpus=gpus, shares=[1.0] * len(gpus), gpu_layers=2)
        params = api.llama_context_default_params()
        params.n_ctx = 512
        params.n_batch = params.n_ubatch = 128
        params.n_seq_max = params.n_outputs_max = 2 * _SEQUENCES
        params.n_outputs_max_per_seq = 1
        params.kv_unified = True
        self._context = api.llama_init_from_model(self._model, params)
        _require(bool(self._context), "no context could be opened")
        self._memory = api.llama_get_memory(self._context)
        self._vocabulary = vocabulary
        self._rows = Rows(128)
        self._chains = SamplerChains(self._context)

    def run(self) -> None:
        """Sample in all ways in which the engine does. Raises WrongSample for a token that the logits do not allow."""
        all_slots = list(range(_SEQUENCES))
        self._prefill(all_slots)
        rows = self._step(all_slots, [None] * _SEQUENCES)
        self._prefill(all_slots)
        self._sample(all_slots, [GREEDY] * _SEQUENCES, rows)
        self._prefill(all_slots)
        self._sample(all_slots, [GREEDY, _TOP, None, _NUCLEUS], rows)
        self._prefill(all_slots)
        fork = _SEQUENCES
        api.llama_memory_seq_cp(self._memory, 0, fork, -1, -1)
        self._sample([0, fork], [_NUCLEUS, GREEDY], rows[[0, 0]])
        self._prefill(all_slots)
        self._sample([1], [_TOP], rows[[1]])

    def _prefill(self, slots: list[int]) -> None:
        """Clear the cache, and compute a prompt for each sequence without an output."""
        api.llama_memory_clear(self._memory, True)
        for slot in slots:
            tokens = [(7 * slot + position) % self._vocabulary for position in range(_PROMPT)]
            self._decode(Batch(tokens, list(range(_PROMPT)), [slot] * _PROMPT, []), [])

    def _sample(self, slots: list[int], chain_params_of_slots: list[ChainParams | None], rows: Logits) -> None:
        self._step(slots, chain_params_of_slots)
        for output, (chain_params, row) in enumerate(zip(chain_params_of_slots, rows, strict=True)):
            token = self._chains.token(output)
            if chain_params is None:
                _require(token is None, "a token was sampled for a sequence without a chain")
                continue
            if token is None or not 0 <= token < self._vocabulary:
                raise WrongSample(f"token {token} is not in the vocabulary")
            least = np.partition(row, -chain_params.top_k)[-chain_params.top_k] - _TOLERANCE * row.std()
            _require(row[token] >= least, f"token {token} is not among the {chain_params.top_k} likeliest")

    def _step(self, slots: list[int], chain_params_of_slots: list[ChainParams | None]) -> Logits:
        """Compute one more token of each sequence; return a copy of the logits, shape (sequences, vocabulary)."""
        batch = Batch([1] * len(slots), [_PROMPT] * len(slots), slots, list(range(len(slots))))
        self._decode(batch, chain_params_of_slots)
        pointer = api.llama_get_logits(self._context)
        return np.ctypeslib.as_array(pointer, shape=(len(slots), self._vocabulary)).copy()

    def close(self) -> None:
        """Free the context and the model."""
        self._chains.close()
        api.llama_free(self._context)
        api.llama_model_free(self._model)

    def _decode(self, batch: Batch, chain_params_of_slots: Sequence[ChainParams | None]) -> None:
        self._chains.prepare(batch, chain_params_of_slots)
        code = api.llama_decode(self._context, self._rows.fill(batch))
        _require(code == 0, f"llama_decode returned {code}")


def _require(right: bool, message: str) -> None:
    """Raise WrongSample with this message unless `right`; python -O would remove an assert."""
    if not right:
        raise WrongSample(message)


def main() -> None:
    """Run the probe, and exit without the destructors of drivers."""
    try:
        SamplerProbe(sys.argv[1], int(sys.argv[2])).run()
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)  # noqa: T201 - the parent reads it
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    main()
