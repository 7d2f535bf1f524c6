"""Batches without padding: the tokens of all examples, one after the other, and where attention finds them.

Everything in BERT but attention works on one token at a time, so it runs on rows [N, H] that hold real tokens only.
Attention needs the tokens of one example beside each other, head by head: it reads the rows at padded places, in groups
of examples of like length so that few of them are padding.

Legend: B examples, T tokens of the longest one, N rows, M places, H hidden, A heads, D = H / A, b and t: B and T of a group.
"""
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

ROW_MULTIPLE = 64    # few different row counts keep oneDNN's cache of kernels warm; 128 costs 2 to 3 %, 32 gains no more
GROUP_RATIO = 0.75   # shortest to longest example of a group in attention; 0.65 to 0.85 are alike, 0.5 costs 4 %


class AttentionGroup(NamedTuple):
    """`examples` consecutive examples, padded to `tokens`, on `examples * tokens` places from `start` on."""
    start: int
    first_example: int
    examples: int
    tokens: int


@dataclass
class Layout:
    """Where attention finds the tokens that stand in rows: places [M], padded by group, and each place's row.

    For A heads of width D, head rows [M * A, D] have the places of a group as [b, A, t]: the matrices of one head of one
    example are in one piece, as the products of attention want them."""
    groups: list[AttentionGroup]
    first_rows: Tensor          # [B] row of each example's first token, [CLS]
    rows: Tensor                # [M] row of each place; padding reads a row too, which the mask hides
    mask: Tensor | None         # bool [M] False for padding; None: no place is
    num_rows: int               # N
    num_tokens: int             # rows from here on are spare
    kept: dict = field(default_factory=dict)     # what is the same for all layers, made when it is first asked for

    def to_heads(self, rows: Tensor, num_heads: int) -> Tensor:
        """[N, H] -> head rows [M * A, D]."""
        index, inverse = self._heads(num_heads)
        return _Move.apply(rows.view(self.num_rows * num_heads, -1), index, inverse, None, self.num_tokens * num_heads)

    def to_rows(self, heads: Tensor, num_heads: int) -> Tensor:
        """Head rows [M * A, D] -> [N, H], spare rows 0."""
        index, inverse = self._heads(num_heads)
        return _Move.apply(heads, inverse, index, self.num_tokens * num_heads, None).view(self.num_rows, -1)

    def masks(self) -> list[Tensor | None]:
        """A mask [b, 1, 1, t] for each group, True where a token may be attended to; None: everywhere."""
        return [None if self.mask is None else self._part(self.mask, group)[:, None, None] for group in self.groups]

    def biases(self, num_heads: int, dtype: torch.dtype) -> list[Tensor]:
        """The masks as numbers to be added to scores, [b * A, 1, t] each: 0, or the lowest number."""
        if (num_heads, dtype) not in self.kept:
            lowest = torch.finfo(dtype).min
            bias = torch.zeros(len(self.rows), dtype=dtype, device=self.rows.device)
            bias = bias if self.mask is None else bias.masked_fill_(~self.mask, lowest)
            self.kept[num_heads, dtype] = [self._part(bias, group).repeat_interleave(num_heads, 0)[:, None]
                                           for group in self.groups]
        return self.kept[num_heads, dtype]

    def _heads(self, num_heads: int) -> tuple[Tensor, Tensor]:
        """(index [M * A], inverse [N * A]): head row i is row index[i] of [N * A, D], which stands at inverse[index[i]]."""
        if num_heads not in self.kept:
            heads = torch.arange(num_heads, device=self.rows.device)[:, None]
            index = torch.cat([(self._part(self.rows, group)[:, None] * num_heads + heads).flatten()
                               for group in self.groups])
            inverse = torch.zeros(self.num_rows * num_heads, dtype=index.dtype, device=index.device)
            inverse[index] = torch.arange(len(index), device=index.device)
            self.kept[num_heads] = index, inverse
        return self.kept[num_heads]

    @staticmethod
    def _part(places: Tensor, group: AttentionGroup) -> Tensor:
        """A group's part [b, t] of what stands at places [M]."""
        return places[group.start:group.start + group.examples * group.tokens].view(group.examples, group.tokens)


class _Move(torch.autograd.Function):
    """Rows index[i] of x; from number `used` on the result, and from `grad_used` on the gradient, is 0 (spare rows).

    Backward is a gather too, as each row that is not spare is read once, where autograd would add into zeros."""

    @staticmethod
    def forward(ctx, x: Tensor, index: Tensor, inverse: Tensor, used: int | None, grad_used: int | None) -> Tensor:
        ctx.inverse, ctx.grad_used = inverse, grad_used
        return _gather(x, index, used)

    @staticmethod
    def backward(ctx, grad: Tensor):
        return _gather(grad, ctx.inverse, ctx.grad_used), None, None, None, None


def _gather(x: Tensor, index: Tensor, used: int | None) -> Tensor:
    moved = x.index_select(0, index)
    if used is not None:
        moved[used:] = 0
    return moved


class TokenBatch(NamedTuple):
    """What BERT reads: one row a token."""
    input_ids: Tensor      # [N]
    segment_ids: Tensor    # [N]
    position_ids: Tensor   # [N]
    layout: Layout

    def to(self, device) -> 'TokenBatch':
        """The batch, which was made on the CPU, on a device."""
        if torch.device(device).type == 'cpu':
            return self

        def move(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.pin_memory().to(device, non_blocking=True)

        layout = replace(self.layout, first_rows=move(self.layout.first_rows), rows=move(self.layout.rows),
                         mask=move(self.layout.mask), kept={})
        return TokenBatch(move(self.input_ids), move(self.segment_ids), move(self.position_ids), layout)


def packed_layout(lengths: np.ndarray) -> Layout:
    """Layout of examples with `lengths` [B] tokens each, standing one after the other.

    Give the examples sorted by length, longest first: groups are made of neighbours."""
    lengths = np.asarray(lengths, dtype=np.int64)
    starts = np.concatenate(([0], np.cumsum(lengths)))
    num_tokens = int(starts[-1])
    num_rows = (num_tokens // ROW_MULTIPLE + 1) * ROW_MULTIPLE     # at least one spare row, which padding reads
    rows, masks, groups, place = [], [], [], 0
    for first, end in _alike(lengths):
        group_lengths = lengths[first:end, None]
        tokens = -int(group_lengths.max()) // 8 * -8               # few different shapes here too
        position = np.arange(tokens)
        real = position < group_lengths                            # [b, t]
        masks.append(real.ravel())
        rows.append(np.where(real, starts[first:end, None] + position, num_rows - 1).ravel())
        groups.append(AttentionGroup(place, first, end - first, tokens))
        place += real.size
    return Layout(groups, torch.from_numpy(starts[:-1]), torch.from_numpy(np.concatenate(rows)),
                  torch.from_numpy(np.concatenate(masks)), num_rows, num_tokens)


def _alike(lengths: np.ndarray) -> Iterator[tuple[int, int]]:
    """(first, end) of runs of neighbours of which none is shorter than GROUP_RATIO of the first, if that is the longest."""
    first = 0
    while first < len(lengths):
        end = first + np.count_nonzero(lengths[first:] >= GROUP_RATIO * lengths[first])
        yield first, end
        first = end


def positions(lengths: np.ndarray) -> np.ndarray:
    """The position in its example of each token of examples of lengths [B]: [3, 2] -> [0, 1, 2, 0, 1]."""
    ends = np.cumsum(lengths, dtype=np.int64)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)


def packed_batch(input_ids: np.ndarray, first_lengths: np.ndarray, lengths: np.ndarray) -> TokenBatch:
    """A batch from ragged token ids.

    input_ids: [n] ids of all examples, one after the other; lengths: [B] tokens of each;
    first_lengths: [B] tokens of each example's first segment, `[CLS] a [SEP]`."""
    layout = packed_layout(lengths)
    position_ids = positions(lengths)
    segment_ids = position_ids >= np.repeat(first_lengths, lengths)
    spare = (0, layout.num_rows - layout.num_tokens)

    def rows(values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.pad(values.astype(np.int64), spare))

    return TokenBatch(rows(input_ids), rows(segment_ids), rows(position_ids), layout)


def padded_batch(input_ids: Tensor, segment_ids: Tensor | None, attention_mask: Tensor | None) -> TokenBatch:
    """A batch from padded [B, T] tensors in which padding is a row like any other (so each has an output)."""
    batch_size, tokens = input_ids.shape
    device = input_ids.device
    segment_ids = torch.zeros_like(input_ids) if segment_ids is None else segment_ids
    mask = None if attention_mask is None else attention_mask.to(torch.bool).flatten()
    rows = torch.arange(input_ids.numel(), device=device)
    layout = Layout([AttentionGroup(0, 0, batch_size, tokens)], rows[::tokens], rows, mask, len(rows), len(rows))
    position_ids = torch.arange(tokens, device=device).repeat(batch_size)
    return TokenBatch(input_ids.reshape(-1), segment_ids.reshape(-1), position_ids, layout)
