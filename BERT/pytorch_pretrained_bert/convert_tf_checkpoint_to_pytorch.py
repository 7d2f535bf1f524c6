"""Make weights for this project of one of Google's original BERT checkpoints (TensorFlow 1).

    python BERT/pytorch_pretrained_bert/convert_tf_checkpoint_to_pytorch.py \\
        --tf_checkpoint_path data/models/uncased_L-4_H-256_A-4/bert_model.ckpt

Reads   bert_model.ckpt.index and .data-..., and the bert_config.json beside them
Writes  pytorch_model.bin beside them, so that the unpacked archive is a checkpoint folder: --bert_model takes it. One that
        is there is replaced with --overwrite alone

Of the checkpoint the encoder is taken; heads of pretraining and what the optimizer kept are left out. Needs TensorFlow, here
alone: pip install tensorflow
"""
import argparse
import re
import sys
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

if __name__ == '__main__':
    sys.path[0] = str(Path(__file__).resolve().parents[2])      # in place of this folder
from BERT.pytorch_pretrained_bert.file_utils import SUMS_NAME, WEIGHTS_NAMES, InputError, path_of, read_sums
from BERT.pytorch_pretrained_bert.modeling import BertConfig, BertModel
from BERT.pytorch_pretrained_bert.weights import load_weights
from BERT.pytorch_pretrained_bert.writing import replace_file

SCOPE = 'bert/'
SLOTS = ('adam_m', 'adam_v')                 # what the optimizer kept of a variable


class Reader(Protocol):
    """What TensorFlow's reader of a checkpoint offers."""

    def get_variable_to_shape_map(self) -> dict[str, list[int]]:
        """Name of each variable -> its shape."""

    def get_tensor(self, name: str) -> np.ndarray:
        """The value of a variable."""


def standard_tensor(name: str, value: np.ndarray) -> tuple[str, Tensor]:
    """A variable of Google's, 'bert/encoder/layer_0/output/dense/kernel', say, by the name it has here and as it is laid out
    here: TensorFlow keeps the weights of a layer [in, out], torch [out, in]."""
    parts = re.sub(r'/layer_(\d+)/', r'/layer/\1/', name.removeprefix(SCOPE)).split('/')
    kind = parts[-1]
    if kind in ('kernel', 'gamma'):
        parts[-1] = 'weight'
    elif kind == 'beta':
        parts[-1] = 'bias'
    elif kind.endswith('_embeddings'):
        parts.append('weight')
    tensor = torch.from_numpy(np.array(value, np.float32))
    return '.'.join(parts), tensor.t().contiguous() if kind == 'kernel' else tensor


def read_tf_weights(reader: Reader, config: BertConfig, source: str | Path) -> dict[str, Tensor]:
    """The state dict of a BertModel from a TensorFlow checkpoint. InputError where it is no BERT of this shape."""
    names = [name for name in reader.get_variable_to_shape_map()
             if name.startswith(SCOPE) and name.rpartition('/')[2] not in SLOTS]
    if not names:
        raise InputError(f"--tf_checkpoint_path {source}: not one of Google's original checkpoints: no variable's name "
                         f'begins with {SCOPE}')
    state = dict(standard_tensor(name, reader.get_tensor(name)) for name in names)
    model = BertModel(config)
    load_weights(model, state, source)
    return model.state_dict()


def read_tf_checkpoint(path: Path, config: BertConfig) -> dict[str, Tensor]:
    """The state dict of a BertModel from a TensorFlow checkpoint. InputError where TensorFlow is missing, the checkpoint is
    damaged, or no BERT of this shape."""
    try:
        import tensorflow
    except ImportError:
        raise InputError('TensorFlow is missing, which is needed to read its checkpoints; to install it: '
                         'pip install tensorflow') from None
    try:
        return read_tf_weights(tensorflow.train.load_checkpoint(str(path)), config, path)
    except InputError:
        raise
    except (tensorflow.errors.OpError, ValueError) as error:
        raise InputError(f'--tf_checkpoint_path {path}: not a TensorFlow checkpoint: {error}') from None


def check_target(target: Path, overwrite: bool) -> None:
    """InputError where a file is there and is not to be replaced, or where what lies beside it would make it useless."""
    if target.exists() and not overwrite:
        raise InputError(f'--pytorch_dump_path {target}: it is there; name another file, or give --overwrite to replace it')
    preferred = target.with_name(WEIGHTS_NAMES[0])
    if target.name in WEIGHTS_NAMES[1:] and preferred.exists():
        raise InputError(f'--pytorch_dump_path {target}: {preferred.name} beside it would be read in its place; name a file '
                         f'in another folder, or move {preferred.name} away')
    if target.name in read_sums(target.parent):
        raise InputError(f'--pytorch_dump_path {target}: {SUMS_NAME} beside it has the SHA-256 of another {target.name}: '
                         f'this one would be refused as damaged; take its line out of {SUMS_NAME}')


def convert(tf_checkpoint_path: str | Path, bert_config_file: str | Path | None = None,
            pytorch_dump_path: str | Path | None = None, overwrite: bool = False) -> Path:
    """Convert a checkpoint, with the configuration beside it, to pytorch_model.bin beside it, where nothing else is given;
    returns the file written. InputError where that is there and overwrite is not given, or would be of no use there."""
    path = path_of(tf_checkpoint_path)
    path = path.with_name(re.sub(r'\.(index|meta|data-\d+-of-\d+)$', '', path.name))
    if not path.with_name(f'{path.name}.index').is_file():
        raise FileNotFoundError(f'--tf_checkpoint_path {path}: there is no {path.name}.index; give what the names of the '
                                'checkpoint\'s files begin with, as in uncased_L-4_H-256_A-4/bert_model.ckpt')
    config_file = path_of(bert_config_file) if bert_config_file else path.with_name('bert_config.json')
    if not config_file.is_file():
        raise FileNotFoundError(f'--bert_config_file {config_file}: no such file')
    config = BertConfig.from_json_file(config_file)
    target = path_of(pytorch_dump_path) if pytorch_dump_path else path.with_name('pytorch_model.bin')
    check_target(target, overwrite)
    state = read_tf_checkpoint(path, config)
    with replace_file(target) as temporary, open(temporary, 'wb') as file:
        torch.save({f'bert.{name}': tensor for name, tensor in state.items()}, file)
    return target


def main(argv: list[str] | None = None) -> int:
    """Convert what the flags name. Returns the exit code: 0, or 2 for wrong input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--tf_checkpoint_path', required=True, help="what the names of the checkpoint's files begin with")
    parser.add_argument('--bert_config_file', help='its configuration (bert_config.json beside it)')
    parser.add_argument('--pytorch_dump_path', help='the file to write (pytorch_model.bin beside it)')
    parser.add_argument('--overwrite', action='store_true', help='replace the file where it is there')
    args = parser.parse_args(argv)
    try:
        target = convert(args.tf_checkpoint_path, args.bert_config_file, args.pytorch_dump_path, args.overwrite)
        print(f'saved in {target}')
    except (InputError, OSError) as error:
        print('error:', ' '.join(str(error).split()), file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
