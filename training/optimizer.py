"""Muon for the weight matrices (orthogonalised momentum), AdamW for the embedding and the norms."""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonal(gradients: Tensor, steps: int = 5) -> Tensor:
    """Return nearly U V^T of each matrix of a stack, by Newton-Schulz iteration (Jordan et al., Muon)."""
    a, b, c = _COEFFICIENTS
    x = gradients.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).float()


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised over all matrices of one shape at once, with decoupled weight decay."""

    def __init__(self, parameters: list[Tensor], lr: float, momentum: float = 0.95, decay: float = 0.05) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update all matrices."""
        for group in self.param_groups:
            shapes: dict[tuple[int, ...], list[Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                shapes[tuple(parameter.shape)].append(parameter)
            for shape, parameters in shapes.items():
                self._update(parameters, group, 0.2 * max(shape) ** 0.5)

    def _update(self, parameters: list[Tensor], group: dict[str, float], scale: float) -> None:
        directions = []
        for parameter in parameters:
            gradient = parameter.grad
            assert gradient is not None
            velocity = self.state[parameter].setdefault("velocity", torch.zeros_like(parameter))
            velocity.mul_(group["momentum"]).add_(gradient, alpha=1 - group["momentum"])
            directions.append(gradient.lerp(velocity, group["momentum"]))
        for parameter, update in zip(parameters, orthogonal(torch.stack(directions)), strict=True):
            parameter.mul_(1 - group["lr"] * group["decay"])
            parameter.add_(update, alpha=-group["lr"] * scale)
