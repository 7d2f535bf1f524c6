"""Dropout whose mask costs little: 16 random bits an element, four elements a 64-bit random number.

torch's own draws a Bernoulli number an element on a CPU, one after the other, which took a quarter of a small model's
training step. On CUDA torch's own is used. Masks depend on torch's seed alone.
"""
import torch
import torch.nn.functional as F
from torch import Tensor

STEPS = 1 << 16                                   # probabilities are rounded to multiples of 1 / STEPS
BITS_OF_ONE = {torch.bfloat16: 0x3F80, torch.float16: 0x3C00}


def keep_mask(like: Tensor, dropped: int) -> Tensor:
    """1 where an element stays and 0 where it is dropped, with probability dropped / STEPS, in the type of `like`."""
    numbers = torch.empty((like.numel() + 3) // 4, dtype=torch.int64).random_(-2**63, None)
    mask = numbers.view(torch.int16)[:like.numel()].view(like.shape)
    mask.ge_(dropped - STEPS // 2)                # in place: comparing into bool, and bool times number, are slow
    if like.dtype in BITS_OF_ONE:
        return mask.mul_(BITS_OF_ONE[like.dtype]).view(like.dtype)
    return mask.to(like.dtype)


class _Dropout(torch.autograd.Function):
    """residual + mask * x / (1 - p); residual may be None."""

    @staticmethod
    def forward(ctx, x: Tensor, residual: Tensor | None, dropped: int) -> Tensor:
        mask = keep_mask(x, dropped)
        ctx.save_for_backward(mask)
        ctx.scale, ctx.has_residual = STEPS / (STEPS - dropped), residual is not None
        kept = x * mask
        return torch.add(residual, kept, alpha=ctx.scale) if ctx.has_residual else kept.mul_(ctx.scale)

    @staticmethod
    def backward(ctx, grad: Tensor):
        mask, = ctx.saved_tensors
        return (grad * mask).mul_(ctx.scale), grad if ctx.has_residual else None, None


def dropped_steps(p: float) -> int:
    """Probability p as a number of 1 / STEPS."""
    return min(round(p * STEPS), STEPS - 1)


def dropout(x: Tensor, p: float) -> Tensor:
    """x with each element set to 0 with probability p, the others divided by 1 - p."""
    if p == 0:
        return x
    return F.dropout(x, p) if x.is_cuda else _Dropout.apply(x, None, dropped_steps(p))


def dropout_add(x: Tensor, residual: Tensor, p: float) -> Tensor:
    """residual + dropout(x, p)."""
    if p == 0:
        return residual + x
    return residual + F.dropout(x, p) if x.is_cuda else _Dropout.apply(x, residual, dropped_steps(p))
