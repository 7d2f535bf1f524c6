"""Linear layers that train in fp32 with oneDNN on CPUs with AVX-512.

torch gives fp32 products to MKL, which runs on AMD's processors with AVX-512 at half the speed of oneDNN; both are as exact.
With this a training step in fp32 took 0.6 of its time on AMD EPYC (Zen 5; one layer: benchmarks/kernels.py). With AVX2 alone
(Zen 3) MKL is the faster one. bf16 goes to oneDNN anyway, evaluation by inference.py.
"""
import torch
from torch import Tensor, nn

TRAINS_WITH_ONEDNN = torch.backends.cpu.get_cpu_capability() == 'AVX512'      # in fp32


def has_onednn(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether oneDNN has a linear layer for this: on a CPU, in a build of torch with oneDNN, bf16 where the CPU knows it."""
    if device.type != 'cpu' or not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, '_linear_pointwise')):
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def onednn_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, gelu: bool = False) -> Tensor:
    """x [N, K], weight [out, K], plain or packed -> [N, out], with GELU (by erf) after it or not."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, *(('gelu', [], 'none') if gelu else ('none', [], '')))


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return onednn_linear(x, weight, bias)

    @staticmethod
    def backward(ctx, grad: Tensor):
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        return (onednn_linear(grad, weight.t()) if needs_x else None,
                onednn_linear(grad.t(), x.t()) if needs_weight else None, grad.sum(0) if needs_bias else None)


class Linear(nn.Linear):
    """nn.Linear for rows [N, K] -> [N, out]."""

    def forward(self, x: Tensor) -> Tensor:
        fp32 = x.dtype == self.weight.dtype == torch.float32 and not torch.is_autocast_enabled(x.device.type)
        if TRAINS_WITH_ONEDNN and fp32 and torch.is_grad_enabled() and has_onednn(x.device, torch.float32):
            return _Linear.apply(x, self.weight, self.bias)
        return super().forward(x)
