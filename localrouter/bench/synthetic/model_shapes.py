"""Shapes of synthetic models: numbers and sizes of layers. Speed depends on the shape, not on the weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

Number: TypeAlias = int | float
Value: TypeAlias = Number | list[int] | list[bool]


@dataclass(frozen=True)
class SyntheticShape:
    """Shape of a dense transformer, and base of all other shapes. Sizes are in elements."""

    arch: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    head: int
    """Elements of one attention head."""
    feed_forward: int
    context: int = 40960
    vocabulary: int = 151936

    def metadata(self) -> dict[str, Value]:
        """Return the GGUF metadata of the shape, with keys without the architecture's prefix."""
        return {
            "context_length": self.context,
            "embedding_length": self.width,
            "block_count": self.layers,
            "feed_forward_length": self.feed_forward,
            "attention.head_count": self.heads,
            "attention.head_count_kv": self.kv_heads,
            "attention.key_length": self.head,
            "attention.value_length": self.head,
            "attention.layer_norm_rms_epsilon": 1e-6,
            "rope.freq_base": 1e6,
            "vocab_size": self.vocabulary,
        }


@dataclass(frozen=True)
class HybridShape(SyntheticShape):
    """Shape of a hybrid mixture of experts: recurrent layers, and attention in every `attention_every`-th (Qwen3.5)."""

    experts: int = 8
    experts_used: int = 2
    expert_feed_forward: int = 128
    attention_every: int = 4
    state: int = 64
    groups: int = 2
    time_steps: int = 4
    convolution: int = 4

    @property
    def inner(self) -> int:
        """Size of the values of a recurrent layer, in elements."""
        return self.state * self.time_steps

    @property
    def mixed(self) -> int:
        """Size of queries, keys and values of a recurrent layer together, in elements."""
        return 2 * self.state * self.groups + self.inner

    def metadata(self) -> dict[str, Value]:
        """Return the GGUF metadata of the shape, with keys without the architecture's prefix."""
        rotated = self.head // 4
        return super().metadata() | {
            "ssm.conv_kernel": self.convolution,
            "ssm.inner_size": self.inner,
            "ssm.state_size": self.state,
            "ssm.time_step_rank": self.time_steps,
            "ssm.group_count": self.groups,
            "full_attention_interval": self.attention_every,
            "rope.dimension_sections": [rotated // 4, rotated // 4, 0, 0],
            "rope.dimension_count": rotated,
            "expert_count": self.experts,
            "expert_used_count": self.experts_used,
            "expert_feed_forward_length": self.expert_feed_forward,
            "expert_shared_feed_forward_length": self.expert_feed_forward,
        }


@dataclass(frozen=True)
class WindowShape(SyntheticShape):
    """Shape with sliding-window layers of smaller heads; every `full_every`-th layer has full attention (Gemma 4)."""

    window: int = 128
    window_head: int = 64
    full_every: int = 6

    def is_full(self, layer: int) -> bool:
        """Whether a layer has full attention instead of a sliding window."""
        return (layer + 1) % self.full_every == 0

    def metadata(self) -> dict[str, Value]:
        """Return the GGUF metadata of the shape, with keys without the architecture's prefix."""
        return super().metadata() | {
            "attention.sliding_window": self.window,
            "attention.sliding_window_pattern": [not self.is_full(layer) for layer in range(self.layers)],
            "attention.key_length_swa": self.window_head,
            "attention.value_length_swa": self.window_head,
            "embedding_length_per_layer_input": 0,
            "rope.freq_base_swa": 1e4,
            "rope.dimension_count": self.head,
            "rope.dimension_count_swa": self.window_head,
            "final_logit_softcapping": 30.0,
        }


SHAPES: Mapping[str, SyntheticShape] = {
    "qwen3-tiny": SyntheticShape("qwen3", layers=4, width=256, heads=4, kv_heads=2, head=64, feed_forward=768),
    "qwen3-0.6b": SyntheticShape("qwen3", layers=28, width=1024, heads=16, kv_heads=8, head=128, feed_forward=3072),
    "qwen3-4b": SyntheticShape("qwen3", layers=36, width=2560, heads=32, kv_heads=8, head=128, feed_forward=9728),
    "qwen35moe-tiny": HybridShape("qwen35moe", layers=8, width=256, heads=4, kv_heads=2, head=64, feed_forward=256),
    "qwen35moe-35b-a3b": HybridShape(
        "qwen35moe", layers=40, width=2048, heads=16, kv_heads=2, head=256, feed_forward=512,
        experts=256, experts_used=8, expert_feed_forward=512, state=128, groups=16, time_steps=32,
    ),
    "gemma4-tiny": WindowShape("gemma4", layers=6, width=256, heads=4, kv_heads=1, head=128, feed_forward=768),
}  # fmt: skip
