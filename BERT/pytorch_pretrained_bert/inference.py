"""Many forward passes with the same weights on a CPU: linear layers laid out for oneDNN once, GELU inside the product.

In training weights change at every step, so this is for evaluation. torch's own linear layer lays the weights out anew in
every call, writes the bias to the result before the product, and leaves GELU to a pass of its own; without all that
bert-base is evaluated in a sixth less time (one layer: benchmarks/kernels.py).
"""
import contextlib
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .linear import has_onednn, onednn_linear
from .modeling import BertIntermediate


class PackedLinear(nn.Module):
    """A linear layer of oneDNN with its weights as they are now, and GELU after it or not: [N, K] -> [N, out]."""

    def __init__(self, linear: nn.Linear, dtype: torch.dtype, gelu: bool):
        super().__init__()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach().to(dtype), None)
        self.bias = None if linear.bias is None else linear.bias.detach().to(dtype)
        self.dtype, self.gelu = dtype, gelu

    def forward(self, x: Tensor) -> Tensor:
        return onednn_linear(x.to(self.dtype), self.weight, self.bias, self.gelu)


def _identity(x: Tensor) -> Tensor:
    return x


@contextlib.contextmanager
def packed_for_inference(encoder: nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """The encoder with packed linear layers that compute in dtype, where that can be had, for as long as this lasts."""
    replaced = []
    try:
        for module in list(encoder.modules()) if has_onednn(next(encoder.parameters()).device, dtype) else []:
            fused = isinstance(module, BertIntermediate) and module.activation is F.gelu
            if fused:
                replaced.append((module, 'activation', module.activation))
                module.activation = _identity
            for name, linear in module.named_children():
                if isinstance(linear, nn.Linear):
                    replaced.append((module, name, linear))
                    setattr(module, name, PackedLinear(linear, dtype, fused))
        yield
    finally:
        for module, name, original in replaced:
            setattr(module, name, original)
