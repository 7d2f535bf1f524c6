"""Attention over a packed batch, group by group: forward and backward in one piece on a CPU, torch's own on CUDA.

Legend: A heads, D width of a head, M places of all groups, b examples, q queries and t keys an example of one group.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .dropout import STEPS, dropped_steps, keep_mask
from .packing import Layout


def attention(query: Tensor, key: Tensor, value: Tensor, layout: Layout, num_heads: int, first_only: bool,
              dropout_prob: float) -> Tensor:
    """Scaled dot-product attention with dropout: head rows [M * A, D] (see Layout.to_heads) -> [M * A, D].

    first_only: the queries, and so the result, are those of each example's first token alone, [B * A, D]."""
    if query.is_cuda:
        groups = zip(_parts(query, layout, num_heads, first_only), _parts(key, layout, num_heads),
                     _parts(value, layout, num_heads), layout.masks(), strict=True)
        return torch.cat([_fused(q, k, v, mask, num_heads, dropout_prob) for q, k, v, mask in groups])
    return _Attention.apply(query, key, value, layout, num_heads, first_only, dropped_steps(dropout_prob))


def _parts(heads: Tensor, layout: Layout, num_heads: int, first_only: bool = False) -> list[Tensor]:
    """The part [b * A, t, D] of head rows that belongs to each group; first_only: of head rows of first tokens, t = 1."""
    parts = []
    for group in layout.groups:
        matrices = group.examples * num_heads
        start, tokens = (group.first_example, 1) if first_only else (group.start, group.tokens)
        parts.append(heads.narrow(0, start * num_heads, matrices * tokens).view(matrices, tokens, -1))
    return parts


def _fused(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, num_heads: int, dropout_prob: float) -> Tensor:
    query, key, value = (part.unflatten(0, (-1, num_heads)) for part in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value, mask, dropout_prob).flatten(0, 2)


class _Attention(torch.autograd.Function):
    """For a CPU, where torch's fused kernel has no dropout, and takes twice as long (benchmarks/kernels.py).

    Mask and scale are part of the product that makes the scores, and dropout's scale of the one that uses the weights."""

    @staticmethod
    def forward(ctx, query: Tensor, key: Tensor, value: Tensor, layout: Layout, num_heads: int, first_only: bool,
                dropped: int) -> Tensor:
        ctx.layout, ctx.num_heads, ctx.first_only = layout, num_heads, first_only
        ctx.scale, ctx.kept_scale = query.size(1) ** -0.5, STEPS / (STEPS - dropped)
        context, saved = torch.empty_like(query), []
        groups = zip(_parts(query, layout, num_heads, first_only), _parts(key, layout, num_heads),
                     _parts(value, layout, num_heads), _parts(context, layout, num_heads, first_only),
                     layout.biases(num_heads, query.dtype), strict=True)
        for q, k, v, out, bias in groups:
            scores = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=ctx.scale)                   # [b * A, q, t]
            precise = torch.promote_types(q.dtype, torch.float32)       # in bf16 softmax takes 2 to 3 times as long
            weights = scores.softmax(-1, precise).to(q.dtype)
            mask = keep_mask(weights, dropped) if dropped else None
            kept = weights * mask if dropped else weights
            torch.baddbmm(out, kept, v, beta=0, alpha=ctx.kept_scale, out=out)
            saved += [weights, mask, kept]
        ctx.save_for_backward(query, key, value, *saved)
        return context

    @staticmethod
    def backward(ctx, grad: Tensor):
        query, key, value, *saved = ctx.saved_tensors
        grads = [torch.empty_like(tensor) for tensor in (query, key, value)]
        of_queries = [_parts(tensor, ctx.layout, ctx.num_heads, ctx.first_only)
                      for tensor in (query, grad.contiguous(), grads[0])]
        of_keys = [_parts(tensor, ctx.layout, ctx.num_heads) for tensor in (key, value, *grads[1:])]
        groups = zip(*of_queries, *of_keys, *(saved[part::3] for part in range(3)), strict=True)
        for q, grad_out, grad_q, k, v, grad_k, grad_v, weights, mask, kept in groups:
            torch.baddbmm(grad_v, kept.transpose(1, 2), grad_out, beta=0, alpha=ctx.kept_scale, out=grad_v)
            grad_kept = torch.bmm(grad_out, v.transpose(1, 2))                                    # less kept_scale
            grad_weights = grad_kept if mask is None else grad_kept.mul_(mask)
            grad_scores = torch._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
            scale = ctx.scale * ctx.kept_scale
            torch.baddbmm(grad_q, grad_scores, k, beta=0, alpha=scale, out=grad_q)
            torch.baddbmm(grad_k, grad_scores.transpose(1, 2), q, beta=0, alpha=scale, out=grad_k)
        return *grads, None, None, None, None
