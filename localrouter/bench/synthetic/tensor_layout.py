"""Tensors that llama.cpp expects of each architecture: names, dimensions, and distribution of the elements."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import sqrt

from localrouter.bench.synthetic.model_shapes import HybridShape, SyntheticShape, WindowShape
from localrouter.gguf.writer import F32, Q8_0, MetadataEntry


@dataclass(frozen=True)
class TensorSpec:
    """One tensor, rows first as in numpy. Elements are sampled with `mean` and `spread` (standard deviation)."""

    name: str
    dimensions: tuple[int, ...]
    mean: float = 0.0
    spread: float = 0.0
    quantized: bool = False

    @property
    def entry(self) -> MetadataEntry:
        """Entry of the tensor in a GGUF header."""
        return MetadataEntry(self.name, self.dimensions, Q8_0 if self.quantized else F32)


def size_of(shape: SyntheticShape) -> int:
    """Return the bytes of the weights of a model of this shape: nearly the size of its file."""
    return sum(tensor.entry.size for tensor in tensors_of(shape))


def tensors_of(shape: SyntheticShape) -> Iterator[TensorSpec]:
    """Yield every tensor of a model of this shape. Its output layer is the transposed embedding."""
    yield TensorSpec("token_embd.weight", (shape.vocabulary, shape.width), spread=0.05, quantized=True)
    yield _norm("output_norm.weight", shape.width)
    if isinstance(shape, WindowShape):
        yield _norm("rope_freqs.weight", shape.head // 2)
    layer_of = _LAYERS[shape.arch]
    for layer in range(shape.layers):
        yield from layer_of(shape, layer)


def _matrix(name: str, *dimensions: int) -> TensorSpec:
    """Return a weight matrix that preserves the norm of its input."""
    return TensorSpec(name, dimensions, spread=1 / sqrt(dimensions[-1]), quantized=True)


def _norm(name: str, size: int) -> TensorSpec:
    return TensorSpec(name, (size,), mean=1.0)


def _attention(shape: SyntheticShape, prefix: str, head: int, *, gated: bool = False) -> Iterator[TensorSpec]:
    queries, keys = shape.heads * head, shape.kv_heads * head
    yield _matrix(f"{prefix}attn_q.weight", queries * (2 if gated else 1), shape.width)
    yield _matrix(f"{prefix}attn_k.weight", keys, shape.width)
    yield _matrix(f"{prefix}attn_v.weight", keys, shape.width)
    yield _matrix(f"{prefix}attn_output.weight", shape.width, queries)
    yield _norm(f"{prefix}attn_q_norm.weight", head)
    yield _norm(f"{prefix}attn_k_norm.weight", head)


def _feed_forward(shape: SyntheticShape, prefix: str) -> Iterator[TensorSpec]:
    yield _matrix(f"{prefix}ffn_gate.weight", shape.feed_forward, shape.width)
    yield _matrix(f"{prefix}ffn_up.weight", shape.feed_forward, shape.width)
    yield _matrix(f"{prefix}ffn_down.weight", shape.width, shape.feed_forward)


def _qwen3_layer(shape: SyntheticShape, layer: int) -> Iterator[TensorSpec]:
    prefix = f"blk.{layer}."
    yield _norm(f"{prefix}attn_norm.weight", shape.width)
    yield from _attention(shape, prefix, shape.head)
    yield _norm(f"{prefix}ffn_norm.weight", shape.width)
    yield from _feed_forward(shape, prefix)


def _gemma4_layer(shape: SyntheticShape, layer: int) -> Iterator[TensorSpec]:
    assert isinstance(shape, WindowShape)
    prefix = f"blk.{layer}."
    yield from _attention(shape, prefix, shape.head if shape.is_full(layer) else shape.window_head)
    yield from _feed_forward(shape, prefix)
    for name in ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"):
        yield _norm(f"{prefix}{name}.weight", shape.width)


def _qwen35moe_layer(shape: SyntheticShape, layer: int) -> Iterator[TensorSpec]:
    assert isinstance(shape, HybridShape)
    prefix = f"blk.{layer}."
    yield _norm(f"{prefix}attn_norm.weight", shape.width)
    yield _norm(f"{prefix}post_attention_norm.weight", shape.width)
    if (layer + 1) % shape.attention_every:
        yield from _recurrent(shape, prefix)
    else:
        yield from _attention(shape, prefix, shape.head, gated=True)
    yield from _experts(shape, prefix)


def _recurrent(shape: HybridShape, prefix: str) -> Iterator[TensorSpec]:
    yield _matrix(f"{prefix}attn_qkv.weight", shape.mixed, shape.width)
    yield _matrix(f"{prefix}attn_gate.weight", shape.inner, shape.width)
    yield TensorSpec(f"{prefix}ssm_conv1d.weight", (shape.mixed, shape.convolution), spread=0.3)
    yield TensorSpec(f"{prefix}ssm_dt.bias", (shape.time_steps,), mean=0.5)
    yield TensorSpec(f"{prefix}ssm_a", (shape.time_steps,), mean=-0.05)
    yield _matrix(f"{prefix}ssm_beta.weight", shape.time_steps, shape.width)
    yield _matrix(f"{prefix}ssm_alpha.weight", shape.time_steps, shape.width)
    yield _norm(f"{prefix}ssm_norm.weight", shape.state)
    yield _matrix(f"{prefix}ssm_out.weight", shape.width, shape.inner)


def _experts(shape: HybridShape, prefix: str) -> Iterator[TensorSpec]:
    count, inner, width = shape.experts, shape.expert_feed_forward, shape.width
    yield TensorSpec(f"{prefix}ffn_gate_inp.weight", (count, width), spread=0.1)
    yield TensorSpec(f"{prefix}ffn_gate_inp_shexp.weight", (width,), spread=0.1)
    yield _matrix(f"{prefix}ffn_gate_exps.weight", count, inner, width)
    yield _matrix(f"{prefix}ffn_up_exps.weight", count, inner, width)
    yield _matrix(f"{prefix}ffn_down_exps.weight", count, width, inner)
    yield _matrix(f"{prefix}ffn_gate_shexp.weight", inner, width)
    yield _matrix(f"{prefix}ffn_up_shexp.weight", inner, width)
    yield _matrix(f"{prefix}ffn_down_shexp.weight", width, inner)


_LAYERS: Mapping[str, Callable[[SyntheticShape, int], Iterator[TensorSpec]]] = {
    "qwen3": _qwen3_layer,
    "qwen35moe": _qwen35moe_layer,
    "gemma4": _gemma4_layer,
}
