"""Shape of a model: the sizes that decide how much memory it takes, from GGUF headers or from the manifest.

Metadata is read as llama.cpp reads it (src/llama-model.cpp, src/llama-hparams.cpp and src/models/ at 0c1e570).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from localrouter.gguf.header import GgufHeader, Number

FLOAT = 4
"""Bytes of an element of recurrent states, activations and logits: llama.cpp computes in f32."""

Source = Literal["file", "hub", "manifest", "size"]
"""Source of a shape: the header of a local file, the header on the hub, the manifest, or the file's size alone."""

# The every-n-th layer that sees the whole context, where the architecture and not the file says so.
_FULL_EVERY = {"gemma2": 2, "gemma3": 6, "gemma3n": 5}
_LAYERS_WITH_CACHE = {"gemma3n": 20}
_RECURRENT_BUT_EVERY = {"qwen3next": 4, "qwen35": 4, "qwen35moe": 4}
_IN_RAM = ("token_embd", "per_layer_token_embd")


@dataclass(frozen=True)
class Layer:
    """One layer. `keys` and `values` are elements of one KV cell, `state` is bytes per sequence."""

    weights: int
    """Bytes of weights."""
    keys: int = 0
    values: int = 0
    sliding: bool = False
    """Whether the layer attends to a window of the context only."""
    state: int = 0


@dataclass(frozen=True)
class Widths:
    """Elements per row (token) of a batch inside the widest layer."""

    width: int = 0
    feed_forward: int = 0
    experts: int = 0
    """Elements between the matrices of all experts that one token uses."""
    experts_used: int = 0
    queries: int = 0
    keys: int = 0
    mixed: int = 0
    """Queries, keys and values of a recurrent layer together."""


@dataclass(frozen=True)
class Shape:
    """Sizes of a model, in bytes unless noted."""

    source: Source
    layers: tuple[Layer, ...]
    embedding: int
    """Weights that llama.cpp keeps in RAM also when layers are on a GPU."""
    output: int
    """Weights of the output layer, which goes to the GPU with the last layers."""
    tied: int = 0
    """Part of the embedding that is copied to a GPU, because it is the output layer too."""
    vocabulary: int = 0
    window: int = 0
    heads: int = 0
    trained: int | None = None
    """Tokens of context that the model was trained for."""
    widths: Widths = Widths()
    complete: bool = True
    """Whether the layers are known; otherwise only the sum of the weights is right."""

    @property
    def weights(self) -> int:
        """Bytes of all weights."""
        return self.embedding + self.output + sum(layer.weights for layer in self.layers)

    @property
    def recurrent(self) -> bool:
        """Whether some layers have a recurrent state for each sequence in place of KV cells."""
        return any(layer.state for layer in self.layers)

    @property
    def sliding(self) -> bool:
        """Whether some layers attend to a window of the context only."""
        return any(layer.sliding for layer in self.layers)


def shape_of_size(size: int) -> Shape:
    """Return the shape of a file of which only the size in bytes is known."""
    return Shape("size", (), embedding=0, output=size, complete=False)


def shape_of_headers(headers: Sequence[GgufHeader], source: Source = "file") -> Shape:
    """Return the shape of a GGUF file by its header, or by the headers of all its parts, in order."""
    facts = _Facts(headers[0])
    weights: dict[int, int] = {}
    for header in headers:
        for number, size in header.layer_bytes.items():
            weights[number] = weights.get(number, 0) + size
    total = sum(header.weight_bytes for header in headers)
    if not facts.layers:
        return replace(shape_of_size(total), source=source)
    embedding = sum(header.tensor_bytes(name) for header in headers for name in _IN_RAM)
    tied = 0 if any(header.tensor_bytes("output") for header in headers) else _embedding(headers)
    layers = tuple(facts.layer(number, weights.get(number, 0)) for number in range(facts.layers))
    return Shape(
        source=source,
        layers=layers,
        embedding=embedding,
        output=total - sum(weights.values()) - embedding,
        tied=tied,
        vocabulary=facts.vocabulary,
        window=facts.number("attention.sliding_window"),
        heads=max(facts.heads, default=0),
        trained=headers[0].context_length,
        widths=facts.widths(layers),
        complete=all(layer.weights for layer in layers),
    )


def _embedding(headers: Sequence[GgufHeader]) -> int:
    return sum(header.tensor_bytes("token_embd") for header in headers)


class _Facts:
    """Metadata of one model. Values of a wrong type count as absent."""

    def __init__(self, header: GgufHeader) -> None:
        self._header = header
        self._arch = header.architecture or ""
        blocks = min(self.number("block_count"), 65_535)  # llama.cpp takes 512 at most
        self.layers = max(0, blocks - self.number("nextn_predict_layers"))  # which llama.cpp does not load
        self.heads = self._per_layer("attention.head_count", 1)
        self._kv_heads = self._per_layer("attention.head_count_kv", self.heads)
        head = self.number("embedding_length") // max(1, self.heads[0] if self.heads else 1)
        self._keys = self.number("attention.key_length", head)
        self._values = self.number("attention.value_length", head)
        self._keys_of_window = self.number("attention.key_length_swa", self._keys)
        self._values_of_window = self.number("attention.value_length_swa", self._values)
        self._sliding = self._pattern()
        self._recurrent = self._recurrent_layers()
        shared = self.number("attention.shared_kv_layers")
        self._with_cache = _LAYERS_WITH_CACHE.get(self._arch, self.layers - shared)

    def number(self, key: str, default: int = 0) -> int:
        """Return a number of the architecture's own keys, such as `block_count`; never negative."""
        value = self._header.metadata.get(f"{self._arch}.{key}")
        return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else default

    @property
    def vocabulary(self) -> int:
        """Number of tokens of the vocabulary."""
        return self._header.arrays.get("tokenizer.ggml.tokens", 0) or self.number("vocab_size")

    def layer(self, number: int, weights: int) -> Layer:
        """Return the layer of this number, with so many bytes of weights."""
        if self._recurrent[number]:
            return Layer(weights, state=self._state())
        if number >= self._with_cache:  # it reads the cache of an earlier layer
            return Layer(weights, sliding=self._sliding[number])
        heads, sliding = self._kv_heads[number], self._sliding[number]
        keys = self._keys_of_window if sliding else self._keys
        values = self._values_of_window if sliding else self._values
        return Layer(weights, heads * keys, heads * values, sliding=sliding)

    def widths(self, layers: Sequence[Layer]) -> Widths:
        """Return the elements per row inside the widest of these layers."""
        used = self.number("expert_used_count")
        heads = max(self.heads, default=0)
        return Widths(
            width=self.number("embedding_length"),
            feed_forward=max(self._per_layer("feed_forward_length", 0), default=0) if self._dense else 0,
            experts=used * self.number("expert_feed_forward_length"),
            experts_used=used,
            queries=heads * max(self._keys, self._keys_of_window),
            keys=max((layer.keys for layer in layers), default=0),
            mixed=self._mixed(),
        )

    @property
    def _dense(self) -> bool:
        """Whether some layer has a feed-forward part beside its experts."""
        return any(tensor.name.endswith("ffn_gate.weight") for tensor in self._header.tensors)

    def _mixed(self) -> int:
        return self.number("ssm.inner_size") + 2 * self.number("ssm.group_count") * self.number("ssm.state_size")

    def _state(self) -> int:
        """Return the bytes of one sequence's state in a layer: `n_embd_r` and `n_embd_s` of llama-hparams.cpp."""
        convolution = max(0, self.number("ssm.conv_kernel") - 1) * self._mixed()
        return FLOAT * (convolution + self.number("ssm.state_size") * self.number("ssm.inner_size"))

    def _per_layer(self, key: str, default: int | list[int]) -> list[int]:
        """Return a number for each layer: the file has an array of them, or one number for all."""
        numbers = self._header.lists.get(f"{self._arch}.{key}")
        if numbers is not None and len(numbers) >= self.layers:
            return [_count(number) for number in numbers[: self.layers]]
        if isinstance(default, list) and not self.number(key):
            return default
        return [self.number(key, default if isinstance(default, int) else 0)] * self.layers

    def _flags(self, key: str) -> list[bool] | None:
        numbers = self._header.lists.get(f"{self._arch}.{key}")
        if numbers is None or len(numbers) < self.layers:
            return None
        return [bool(number) for number in numbers[: self.layers]]

    def _pattern(self) -> list[bool]:
        """Return whether each layer slides: an array in the file, or `set_swa_pattern` of llama-hparams.cpp."""
        key = "attention.sliding_window_pattern"
        every = self.number(key, _FULL_EVERY.get(self._arch, 0))
        if not self.number("attention.sliding_window"):
            return [False] * self.layers
        return self._flags(key) or [every > 0 and number % every < every - 1 for number in range(self.layers)]

    def _recurrent_layers(self) -> list[bool]:
        if not self.number("ssm.state_size"):
            return [False] * self.layers
        every = self.number("full_attention_interval", _RECURRENT_BUT_EVERY.get(self._arch, 0))
        return self._flags("attention.recurrent_layers") or [
            bool((number + 1) % every) if every else not self._kv_heads[number] for number in range(self.layers)
        ]


def _count(number: Number) -> int:
    return int(number) if 0 < number < 2**31 else 0
