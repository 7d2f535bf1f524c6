"""What a rank costs and saves: how far factors of a checkpoint's word embeddings are off before any training, and how large
a student with them is.

    python benchmarks/embedding_rank.py --bert_model minilm-l6

Errors are norms of the difference over the norm of the matrix: of the SVD cut off, which --embedding_rank starts from and
than which no product of that rank is nearer; of tensorly's randomized SVD; and of a tensor-train matrix (TT) of at most as
many numbers, words and hidden divided into three parts each. Sizes are those of a student's whole model, its head with two
outputs, and of the encoder file that a run saves. Prints a table; takes a minute.
"""
import argparse
import math
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tensorly
import torch
from tensorly.decomposition import tensor_train_matrix
from tensorly.tenalg import svd_interface
from torch import Tensor

from BERT.pytorch_pretrained_bert import BertConfig
from BERT.pytorch_pretrained_bert.factored import WHOLE, factorise
from BERT.pytorch_pretrained_bert.file_utils import checkpoint_folder, config_file, weights_file
from BERT.pytorch_pretrained_bert.weights import read_state_dict
from src.argument_parser import Parser
from src.checkpoints import checkpoint_files, save_model
from src.modeling import SequenceClassifier, count_parameters
from src.utils import run_script


def error(matrix: Tensor, near: Tensor) -> float:
    """Norm of the difference over the norm."""
    return (torch.linalg.norm(matrix - near) / torch.linalg.norm(matrix)).item()


def randomized(matrix: Tensor, rank: int) -> Tensor:
    """The product that tensorly's randomized SVD, as it is by default, finds for a matrix."""
    u, s, vt = svd_interface(matrix, method='randomized_svd', n_eigenvecs=rank, random_state=0)
    return u * s @ vt


def parts(number: int) -> tuple[int, int, int]:
    """Three whole numbers of like size whose product is as little above `number` as can be."""
    root = number ** (1 / 3)
    near = range(math.ceil(root * 0.8), int(root * 1.25) + 1)
    triples = ((a, b, math.ceil(number / (a * b))) for a in near for b in near)
    return min(triples, key=lambda found: (math.prod(found), max(found)))


def tensor_train(matrix: Tensor, numbers: int) -> tuple[Tensor, int]:
    """A tensor-train matrix of at most so many numbers near a matrix, multiplied out, and its rank.

    Rows and columns that its parts have too many are 0 in what it is fitted to."""
    rows, columns = parts(len(matrix)), parts(matrix.size(1))
    one, two, three = (row * column for row, column in zip(rows, columns, strict=True))
    # one r + two r² + three r <= numbers; a rank beyond the shape of an end is of no use there
    rank = int((math.sqrt((one + three) ** 2 + 4 * two * numbers) - one - three) / (2 * two))
    ranks = [1, min(rank, one), min(rank, three), 1]
    padded = torch.zeros(math.prod(rows), math.prod(columns), dtype=matrix.dtype)
    padded[:len(matrix), :matrix.size(1)] = matrix
    train = tensor_train_matrix(padded.view(*rows, *columns), ranks)
    near = tensorly.tt_matrix_to_tensor(train).reshape(padded.shape)
    return near[:len(matrix), :matrix.size(1)], rank


def sizes(config: BertConfig) -> tuple[int, float]:
    """Parameters of a student, and MB (10⁶ bytes) of its encoder file."""
    model = SequenceClassifier(config, 2)
    with tempfile.TemporaryDirectory() as folder:
        save_model(model, Path(folder), 'BERT', '')
        return count_parameters(model), checkpoint_files(Path(folder), 'BERT', '')[0].stat().st_size / 1e6


def main(argv: list[str] | None = None) -> None:
    """Print a row for each rank."""
    args = parse_flags(argv)
    folder = checkpoint_folder(args.bert_model)
    config = BertConfig.from_json_file(config_file(folder))
    matrix = read_state_dict(weights_file(folder))[WHOLE].double()
    print('| rank | numbers of the word embeddings | error | randomized SVD | TT of as many numbers (its rank) | '
          f'parameters, {args.layers} layers | encoder file, MB |\n|-|-|-|-|-|-|-|')
    for rank in [None, *args.ranks]:
        student = BertConfig.from_dict({**config.to_dict(), 'num_hidden_layers': args.layers, 'embedding_rank': rank})
        numbers, errors = matrix.numel(), ['', '', '']
        if rank:
            rows, projection = factorise(matrix, rank)
            numbers = rows.numel() + projection.numel()
            near, tt_rank = tensor_train(matrix, numbers)
            errors = [f'{error(matrix, rows @ projection.T):.4f}', f'{error(matrix, randomized(matrix, rank)):.4f}',
                      f'{error(matrix, near):.4f} ({tt_rank})']
        parameters, size = sizes(student)
        print(f'| {rank or "whole"} | {numbers:,} | {" | ".join(errors)} | {parameters:,} | {size:.1f} |', flush=True)


def parse_flags(argv: list[str] | None) -> argparse.Namespace:
    """The flags of this script."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--bert_model', default='minilm-l6', help='pretrained checkpoint (minilm-l6)')
    parser.add_argument('--ranks', nargs='+', type=int, default=[16, 32, 64, 128, 192], help='(16 32 64 128 192)')
    parser.add_argument('--layers', type=int, default=3, help='of the student (3)')
    return parser.parse_args(argv)


if __name__ == '__main__':
    tensorly.set_backend('pytorch')
    run_script(main)
