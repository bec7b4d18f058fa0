"""The demo model as a torch module: the qwen3 architecture at toy size, with the tensor names llama.cpp expects."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Shape:
    """Sizes of a qwen3 network; `heads * head_size` may differ from `width`."""

    vocabulary: int
    width: int = 192
    layers: int = 6
    heads: int = 4
    kv_heads: int = 2
    head_size: int = 64
    hidden: int = 512
    context: int = 2048
    rope_base: float = 10_000.0
    epsilon: float = 1e-6


class Norm(nn.Module):
    """RMS norm over the last dimension, with a gain."""

    def __init__(self, size: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.size, self.epsilon = (size,), epsilon

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.size, self.weight, self.epsilon)


class Layer(nn.Module):
    """One transformer block: grouped-query attention with normed queries and keys, then a gated SiLU feed-forward."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        inner, kv = shape.heads * shape.head_size, shape.kv_heads * shape.head_size
        self.attn_norm = Norm(shape.width, shape.epsilon)
        self.attn_q = nn.Linear(shape.width, inner, bias=False)
        self.attn_k = nn.Linear(shape.width, kv, bias=False)
        self.attn_v = nn.Linear(shape.width, kv, bias=False)
        self.attn_output = nn.Linear(inner, shape.width, bias=False)
        self.attn_q_norm = Norm(shape.head_size, shape.epsilon)
        self.attn_k_norm = Norm(shape.head_size, shape.epsilon)
        self.ffn_norm = Norm(shape.width, shape.epsilon)
        self.ffn_gate = nn.Linear(shape.width, shape.hidden, bias=False)
        self.ffn_up = nn.Linear(shape.width, shape.hidden, bias=False)
        self.ffn_down = nn.Linear(shape.hidden, shape.width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.attention(self.attn_norm(x), cos, sin)
        h = self.ffn_norm(x)
        down: Tensor = self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h))
        return x + down

    def attention(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Causal attention over (batch, time, width); scores in float32."""
        batch, time, _ = x.shape
        size = self.shape.head_size
        q = self.attn_q_norm(self.attn_q(x).view(batch, time, -1, size)).transpose(1, 2).float()
        k = self.attn_k_norm(self.attn_k(x).view(batch, time, -1, size)).transpose(1, 2).float()
        v = self.attn_v(x).view(batch, time, -1, size).transpose(1, 2).float()
        mixed = F.scaled_dot_product_attention(
            rotate(q, cos, sin), rotate(k, cos, sin), v, is_causal=True, enable_gqa=True
        )
        output: Tensor = self.attn_output(mixed.transpose(1, 2).reshape(batch, time, -1).to(x.dtype))
        return output


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions in the "neox" layout: halves of a head are paired, not neighbours."""
    low, high = x.chunk(2, dim=-1)
    return torch.cat((low * cos - high * sin, high * cos + low * sin), dim=-1)


class Network(nn.Module):
    """Token ids (batch, time) in, last hidden states out; `logits` maps chosen states through the tied embedding."""

    cos: Tensor
    sin: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.vocabulary, shape.width)
        self.blk = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.output_norm = Norm(shape.width, shape.epsilon)
        steps = torch.arange(0, shape.head_size, 2, dtype=torch.float64) / shape.head_size
        angles = torch.outer(torch.arange(shape.context, dtype=torch.float64), shape.rope_base**-steps)
        self.register_buffer("cos", angles.cos().float(), persistent=False)
        self.register_buffer("sin", angles.sin().float(), persistent=False)
        self.start()

    def start(self) -> None:
        """Draw the first weights; layers that write to the residual stream start at a small scale."""
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                deep = "attn_output" in name or "ffn_down" in name
                scale = 0.02 if "token_embd" in name else parameter.shape[1] ** -0.5
                nn.init.normal_(parameter, std=scale * (0.2 if deep else 1.0))

    def forward(self, tokens: Tensor) -> Tensor:
        time = tokens.shape[1]
        x = self.token_embd(tokens)
        for layer in self.blk:
            x = layer(x, self.cos[:time], self.sin[:time])
        states: Tensor = self.output_norm(x)
        return states

    def logits(self, states: Tensor) -> Tensor:
        """(n, width) -> (n, vocabulary), float32."""
        return F.linear(states, self.token_embd.weight).float()
