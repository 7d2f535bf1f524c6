"""Word embeddings [V, H] as a product [V, R] @ [R, H]: the module, and its start from a checkpoint's own matrix.

V words, H hidden, R rank. A rank well below H leaves R (V + H) of the V H numbers.
"""
import logging
import math
from pathlib import Path

import torch
from torch import Tensor, nn

from .file_utils import InputError
from .linear import Linear

logger = logging.getLogger(__name__)

# Names in state dicts: of the whole matrix [V, H], or of its factors [V, R] and [H, R]
WHOLE = 'embeddings.word_embeddings.weight'
ROWS, PROJECTION = 'embeddings.word_embeddings.embedding.weight', 'embeddings.word_embeddings.projection.weight'


class FactoredEmbedding(nn.Module):
    """An embedding table [V, H] of rank R: ids [N] -> [N, H]."""

    def __init__(self, num_embeddings: int, rank: int, embedding_dim: int):
        super().__init__()
        self.embedding = nn.Embedding(num_embeddings, rank)
        self.projection = Linear(rank, embedding_dim, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        return self.projection(self.embedding(ids))

    @property
    def weight(self) -> Tensor:
        """The whole table [V, H], as nn.Embedding has it."""
        return self.embedding.weight @ self.projection.weight.T


def factorise(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Factors [V, R] and [H, R] of a matrix [V, H]: of all products of that rank the nearest one (Eckart & Young, 1936).

    The first takes the singular values: its rows are as long as those of the product, their numbers of the size that BERT's
    learning rates are made for, and the columns of the second are orthonormal."""
    # Here, for it takes 0.8 s, and most runs have no use for it
    import tensorly
    from tensorly.tenalg import svd_interface

    # Of tensorly's ways to the nearest matrix of a rank the one that is exact and draws no random numbers: LAPACK's SVD,
    # cut off, with signs that are fixed. randomized_svd comes near it, CP and Tucker go there in steps, symeig_svd makes a
    # matrix [V, V]. In float64 the order of sums, which depends on the number of threads, leaves hardly a trace in fp32.
    with tensorly.backend_context('pytorch'):
        u, s, vt = svd_interface(matrix.double(), method='truncated_svd', n_eigenvecs=rank)
    return u * s, vt.T


def embedding_rank(state: dict[str, Tensor]) -> int | None:
    """The rank of the word embeddings in a state dict of standard names; None: they are whole, or are none."""
    return state[ROWS].shape[-1] if ROWS in state and state[ROWS].dim() else None


def check_rank(state: dict[str, Tensor], rank: int | None, source: str | Path) -> None:
    """InputError, which names the source, where a state dict of standard names has factors of another rank than a model's
    (None: its word embeddings are whole)."""
    stored = embedding_rank(state)
    if stored is not None and stored != rank:
        words = f'of rank {rank}' if rank else 'whole ones'
        raise InputError(f'{source} has word embeddings of rank {stored}, the model {words}: such a file fits a model of '
                         f'its own rank alone: a student of --embedding_rank {stored}')


def with_rank(state: dict[str, Tensor], rank: int | None, source: str | Path) -> dict[str, Tensor]:
    """A state dict of standard names for a model of a rank (None: whole): a whole matrix is factorised for it.

    InputError as of check_rank, and where the matrix cannot be factorised."""
    check_rank(state, rank, source)
    if rank is None or WHOLE not in state or ROWS in state:
        return state
    matrix = state[WHOLE]
    if matrix.dim() != 2 or min(matrix.shape) < rank or not torch.isfinite(matrix).all():
        raise InputError(f'{source}: {WHOLE} {list(matrix.shape)} has no factors of rank {rank}: it is too small, or holds '
                         'numbers that are not finite')
    rows, projection = factorise(matrix, rank)
    kept = float(rows.square().sum() / matrix.double().square().sum())
    logger.info('%s: word embeddings %s start as a product of rank %d, which differs from them by %.1f %% of their norm',
                source, list(matrix.shape), rank, 100 * math.sqrt(max(0.0, 1 - kept)))
    return _replaced(state, WHOLE, {ROWS: rows, PROJECTION: projection})


def whole_embeddings(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of standard names with the word embeddings as one matrix [V, H], whatever they are stored as."""
    if embedding_rank(state) is None:
        return state
    others = {name: tensor for name, tensor in state.items() if name != PROJECTION}
    return _replaced(others, ROWS, {WHOLE: state[ROWS] @ state[PROJECTION].T})


def _replaced(state: dict[str, Tensor], name: str, by: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state with other tensors in the place of one, in order."""
    return {key: value for old, tensor in state.items() for key, value in (by if old == name else {old: tensor}).items()}
