"""Batches without padding: the tokens of all examples, one after the other, and where attention finds them.

Everything in BERT but attention works on one token at a time, so it runs on rows [N, H] that hold real tokens only.
Attention needs the tokens of one example beside each other: it reads the rows through a padded grid, cut into groups
of examples of like length so that little of it is padding.

Legend: B examples, T tokens of the longest one, N rows, M places of the grid, H hidden, b and t: B and T of a group.
"""
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

ROW_MULTIPLE = 128   # oneDNN builds a kernel for each new shape: few different row counts keep its cache warm
GROUP_SIZE = 8       # examples a group; fewer: less padding in attention, more and smaller products


class AttentionGroup(NamedTuple):
    """`examples` consecutive examples, padded to `tokens`, on `examples * tokens` places of the grid from `start` on."""
    start: int
    first_example: int
    examples: int
    tokens: int
    mask: Tensor | None   # bool [b, 1, 1, t], True where a token may be attended to; None: everywhere


@dataclass
class Layout:
    """Where each row stands in the grid and back. `rows` and `places` None: the grid is the rows."""
    groups: list[AttentionGroup]
    first_rows: Tensor          # [B] row of each example's first token, [CLS]
    rows: Tensor | None         # [M] row of each place; padding reads the last row, which is spare
    places: Tensor | None       # [N] place of each row; 0 for spare rows
    num_tokens: int             # rows from here on are spare

    def to_grid(self, rows: Tensor) -> Tensor:
        """[N, H] -> [M, H]."""
        return rows if self.rows is None else _ToGrid.apply(rows, self)

    def to_rows(self, grid: Tensor) -> Tensor:
        """[M, H] -> [N, H], spare rows 0."""
        return grid if self.rows is None else _ToRows.apply(grid, self)

    def gather_rows(self, grid: Tensor) -> Tensor:
        rows = grid.index_select(0, self.places)
        rows[self.num_tokens:] = 0
        return rows


class _ToGrid(torch.autograd.Function):
    """Backward is a gather too (each token has one place), where autograd would add into zeros."""

    @staticmethod
    def forward(ctx, rows: Tensor, layout: Layout) -> Tensor:
        ctx.layout = layout
        return rows.index_select(0, layout.rows)

    @staticmethod
    def backward(ctx, grad: Tensor):
        return ctx.layout.gather_rows(grad), None


class _ToRows(torch.autograd.Function):
    """Nothing reads the spare rows, so their gradient, which padding gets here, is 0."""

    @staticmethod
    def forward(ctx, grid: Tensor, layout: Layout) -> Tensor:
        ctx.layout = layout
        return layout.gather_rows(grid)

    @staticmethod
    def backward(ctx, grad: Tensor):
        return grad.index_select(0, ctx.layout.rows), None


class TokenBatch(NamedTuple):
    """What BERT reads: one row a token."""
    input_ids: Tensor      # [N]
    segment_ids: Tensor    # [N]
    position_ids: Tensor   # [N]
    layout: Layout

    def to(self, device) -> 'TokenBatch':
        """The batch on another device."""
        if torch.device(device).type == 'cpu':
            return self

        def move(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.pin_memory().to(device, non_blocking=True)

        layout = self.layout
        groups = [group._replace(mask=move(group.mask)) for group in layout.groups]
        layout = Layout(groups, move(layout.first_rows), move(layout.rows), move(layout.places), layout.num_tokens)
        return TokenBatch(move(self.input_ids), move(self.segment_ids), move(self.position_ids), layout)


def packed_layout(lengths: np.ndarray) -> Layout:
    """Layout of examples with `lengths` [B] tokens each, standing one after the other.

    Give the examples sorted by length: groups are made of neighbours."""
    lengths = np.asarray(lengths, dtype=np.int64)
    starts = np.concatenate(([0], np.cumsum(lengths)))
    num_tokens = int(starts[-1])
    num_rows = (num_tokens // ROW_MULTIPLE + 1) * ROW_MULTIPLE     # at least one spare row
    places = np.zeros(num_rows, dtype=np.int64)
    grid, groups, place = [], [], 0
    for first in range(0, len(lengths), GROUP_SIZE):
        group_lengths = lengths[first:first + GROUP_SIZE]
        tokens = -int(group_lengths.max()) // 8 * -8               # few different shapes here too
        position = np.arange(tokens)
        real = position < group_lengths[:, None]                   # [b, t]
        grid.append(np.where(real, starts[first:first + len(group_lengths), None] + position, num_rows - 1).ravel())
        places[starts[first]:starts[first + len(group_lengths)]] = place + np.flatnonzero(real)
        mask = torch.from_numpy(real)[:, None, None]
        groups.append(AttentionGroup(place, first, len(group_lengths), tokens, mask))
        place += real.size
    return Layout(groups, torch.from_numpy(starts[:-1]), torch.from_numpy(np.concatenate(grid)),
                  torch.from_numpy(places), num_tokens)


def packed_batch(input_ids: np.ndarray, first_lengths: np.ndarray, lengths: np.ndarray) -> TokenBatch:
    """A batch from ragged token ids.

    input_ids: [n] ids of all examples, one after the other; lengths: [B] tokens of each;
    first_lengths: [B] tokens of each example's first segment, `[CLS] a [SEP]`."""
    layout = packed_layout(lengths)
    position_ids = np.concatenate([np.arange(length) for length in lengths])
    segment_ids = position_ids >= np.repeat(first_lengths, lengths)
    spare = (0, len(layout.places) - layout.num_tokens)

    def rows(values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.pad(values.astype(np.int64), spare))

    return TokenBatch(rows(input_ids), rows(segment_ids), rows(position_ids), layout)


def padded_batch(input_ids: Tensor, segment_ids: Tensor | None, attention_mask: Tensor | None) -> TokenBatch:
    """A batch from padded [B, T] tensors in which padding is a row like any other (so each has an output)."""
    batch_size, tokens = input_ids.shape
    device = input_ids.device
    segment_ids = torch.zeros_like(input_ids) if segment_ids is None else segment_ids
    mask = None if attention_mask is None else attention_mask.to(torch.bool)[:, None, None]
    layout = Layout([AttentionGroup(0, 0, batch_size, tokens, mask)],
                    torch.arange(batch_size, device=device) * tokens, None, None, input_ids.numel())
    position_ids = torch.arange(tokens, device=device).repeat(batch_size)
    return TokenBatch(input_ids.reshape(-1), segment_ids.reshape(-1), position_ids, layout)
