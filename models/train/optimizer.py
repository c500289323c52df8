"""Muon for the matrices between the layers, AdamW for everything else, both fit for a CUDA graph.

Muon (Jordan et al. 2024) replaces the momentum of a matrix by the nearest orthogonal one, by five Newton-Schulz steps; the
factor 0.2 sqrt(max(rows, columns)) gives its updates the size of Adam's (Liu et al. 2025). Matrices of one shape go together.
"""

from collections import defaultdict

import torch

MOMENTUM = 0.95


def _orthogonal(x: torch.Tensor) -> torch.Tensor:
    """[n, rows, columns] to nearly orthogonal matrices."""
    a, b, c = 3.4445, -4.7750, 2.0315
    wide = x.shape[-2] > x.shape[-1]
    x = (x.mT if wide else x).bfloat16()
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if wide else x


class Muon:
    """Muon over groups of matrices. `rate` is a tensor that the training loop fills."""

    def __init__(self, parameters: list[torch.nn.Parameter], rate: torch.Tensor, decay: float):
        self.rate, self.decay = rate, decay
        groups = defaultdict(list)
        for parameter in parameters:
            groups[tuple(parameter.shape)].append(parameter)
        self.groups = list(groups.values())
        self.momentum = [torch.zeros(len(g), *g[0].shape, device=g[0].device) for g in self.groups]

    @torch.no_grad()
    def step(self) -> None:
        for group, momentum in zip(self.groups, self.momentum):
            gradient = torch.stack([parameter.grad for parameter in group])
            momentum.lerp_(gradient, 1 - MOMENTUM)
            update = _orthogonal(gradient.lerp(momentum, MOMENTUM)).float()
            update = update * (0.2 * max(group[0].shape) ** 0.5)
            for parameter, change in zip(group, update):
                parameter.mul_(1 - self.rate * self.decay).sub_(change * self.rate)


class Optimizer:
    """Both; `rate` [1] is shared."""

    def __init__(self, model: torch.nn.Module, device: torch.device, decay: float = 0.05):
        self.rate = torch.zeros((), device=device)
        self.parameters = [p for p in model.parameters()]
        matrices = [
            p for name, p in model.named_parameters()
            if p.ndim == 2 and "embed" not in name and min(p.shape) >= 32
        ]  # fmt: skip
        chosen = {id(p) for p in matrices}
        others = [p for p in self.parameters if id(p) not in chosen]
        self.muon = Muon(matrices, self.rate, decay)
        fused = device.type == "cuda"
        self.adam = torch.optim.AdamW(
            others, lr=self.rate if fused else 0.0, betas=(0.9, 0.98), weight_decay=0.0, fused=fused, capturable=fused
        )

    def zero(self) -> None:
        for parameter in self.parameters:
            if parameter.grad is not None:
                parameter.grad.zero_()

    def step(self) -> None:
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0, foreach=True)
        if not self.adam.defaults["fused"]:
            for group in self.adam.param_groups:
                group["lr"] = float(self.rate)
        self.muon.step()
        self.adam.step()

    def state(self) -> dict:
        return {"muon": self.muon.momentum, "adam": self.adam.state_dict()}

    def load(self, state: dict) -> None:
        for ours, theirs in zip(self.muon.momentum, state["muon"]):
            ours.copy_(theirs)
        self.adam.load_state_dict(state["adam"])
        for group in self.adam.param_groups:
            if self.adam.defaults["fused"]:
                group["lr"] = self.rate
