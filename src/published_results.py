"""Teacher results as Pea-KD's earlier published code pickled them: read without running anything, and checked against rows.

Such a file is one pickle of nested dictionaries, lists, NumPy arrays and torch tensors: for each split S `S` (pred_logit
[N, C], pooled_feature_maps [N, H], feature_maps: per layer [N, H], loss, acc), `S_labels`, `S_pred_answers`, and
`S_input_ids`, `S_input_mask` and `S_segment_ids` [N, T]. scripts/import_teacher_outputs.py makes a result file
of it.

Legend: N rows, C classes, H hidden, K teacher layers, T tokens.
"""
import io
import logging
import math
import mmap
import re
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from BERT.pytorch_pretrained_bert.file_utils import InputError
from BERT.pytorch_pretrained_bert.plain_pickle import Refused, Unfinished, load_pickle
from BERT.pytorch_pretrained_bert.weights import check_torch_file
from src.data_processing import TokenizedSplit
from src.evaluation import Predictions, predicted_labels
from src.nli_data_processing import find_task
from src.teacher_outputs import STATE_ROWS_AT_ONCE, begins_as_result_file

logger = logging.getLogger(__name__)


def read_published(path: Path) -> dict[str, Any]:
    """The dictionary that a file of the published code holds, tensors as arrays.

    FileNotFoundError, or InputError where it is damaged or holds anything but arrays, tensors and plain containers."""
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file')
    try:
        if path.stat().st_size == 0:
            raise Refused('it is empty')
        if begins_as_result_file(path):
            raise Refused('it is what save_teacher_outputs.py wrote')
        with open(path, 'rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapping:
            results = load_pickle(mapping, _Calls(mapping.size()).table)
    except Refused as error:
        raise InputError(f"{path}: not the published code's teacher results: {error}") from None
    except MemoryError:
        raise InputError(f'{path}: too large for the memory of this machine, or damaged') from None
    if type(results) is not dict:
        raise InputError(f"{path}: not the published code's teacher results: expected a dictionary")
    return results


class _Calls:
    """What the names in such a pickle stand for. What they make is views of the file's bytes, or is counted."""

    def __init__(self, size: int):
        self.room = 2 * size       # for copies: bytes written as text become bytes, and these a storage
        self.table: dict[str, Callable | None] = {
            'numpy.ndarray': None, 'numpy.dtype': lambda code, *_: Unfinished(partial(_dtype, code)),
            'collections.OrderedDict': lambda *_: {}, '_codecs.encode': self.encode,
            'builtins.bytes': bytes_of_nothing, '__builtin__.bytes': bytes_of_nothing,
            'torch.storage._load_from_bytes': self.storage, 'torch._utils._rebuild_tensor_v2': _tensor,
            'torch._utils._rebuild_parameter': lambda tensor, *_: tensor}
        for core in ('numpy.core', 'numpy._core'):       # NumPy 1 and 2
            self.table |= {f'{core}.multiarray._reconstruct': lambda *_: Unfinished(self.array),
                           f'{core}.multiarray.scalar': lambda dtype, data: self.array((1, (), dtype, False, data))[()],
                           f'{core}.numeric._frombuffer': self.from_buffer}

    def take(self, size: int) -> None:
        """Count a copy of so many bytes; Refused when a pickle makes more of them than it has bytes."""
        self.room -= size
        if self.room < 0:
            raise Refused('it asks for more memory than its size explains')

    def encode(self, text: str, encoding: str) -> bytes:
        """Bytes as protocols 0 to 2 write them: as text."""
        if type(text) is not str or encoding not in ('latin1', 'latin-1'):
            raise Refused('it has text in another encoding than latin1')
        self.take(len(text))
        return text.encode('latin1')

    def array(self, state: tuple) -> np.ndarray:
        """An array from the state that NumPy pickles: version, shape, type, whether columns go first, numbers."""
        *_, shape, dtype, fortran, data = state
        data = self.encode(data, 'latin1') if type(data) is str else data      # of Python 2
        return self.from_buffer(data, dtype, shape, 'F' if fortran else 'C')

    def from_buffer(self, data: bytes, dtype: np.dtype, shape: tuple[int, ...], order: str) -> np.ndarray:
        """A view of bytes as an array."""
        if not isinstance(dtype, np.dtype) or type(data) not in (bytes, bytearray) or type(shape) is not tuple \
                or len(shape) > 8 or not all(type(size) is int and size >= 0 for size in shape):
            raise Refused('it has an array of something else than numbers')
        if math.prod(shape) * dtype.itemsize != len(data):
            raise Refused(f'it has an array whose shape needs another number of bytes than its {len(data):,}')
        return np.frombuffer(data, dtype).reshape(shape, order='F' if order == 'F' else 'C')

    def storage(self, data: bytes) -> torch.Tensor:
        """The numbers [n] of a storage that torch.save wrote into the pickle."""
        if type(data) is not bytes:
            raise Refused('it has a storage that is no bytes')
        self.take(len(data))
        check_torch_file(io.BytesIO(data))
        with warnings.catch_warnings(action='ignore'):      # that storages of a type will be no more
            storage = torch.load(io.BytesIO(data), map_location='cpu', weights_only=True)
            if not isinstance(storage, torch.storage.TypedStorage):
                raise Refused('it has a storage that is none')
            return torch.empty(0, dtype=storage.dtype).set_(storage.untyped())


def bytes_of_nothing() -> bytes:
    """b'' as protocols 0 to 2 write it."""
    return b''


def _dtype(code: str, state: tuple) -> np.dtype:
    """A type of numbers from NumPy's state of it; objects, text and records are refused."""
    if type(code) is not str or not re.fullmatch('b1|[iu][1248]|f[248]', code) or state[1] not in ('<', '>', '|', '='):
        raise Refused('it has an array of something else than numbers')
    return np.dtype(code).newbyteorder(state[1])


def _tensor(numbers: torch.Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> np.ndarray:
    """A view of a storage's numbers [n] as an array of this shape; Refused where it would reach beyond them."""
    if not isinstance(numbers, torch.Tensor) or not len(size) == len(stride) <= 8 or not all(
            type(value) is int and value >= 0 for value in (offset, *size, *stride)):
        raise Refused('it has a tensor of something else than numbers')
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if math.prod(size) and (last >= numbers.numel() or math.prod(size) > numbers.numel()):
        raise Refused('it has a tensor that is larger than its storage')
    return numbers.as_strided(size, stride, offset).numpy() if math.prod(size) else np.empty(size, np.float32)


class PublishedSplit:
    """One split of such a file, which is checked to be of these rows. InputError that names what does not fit."""

    def __init__(self, path: Path, results: dict[str, Any], name: str, split: TokenizedSplit, layers: int):
        self.path, self.name, self.split, self.results = path, name, split, results
        outputs = results[name]
        if type(outputs) is not dict:
            raise self._unfit(f'{name!r} is no dictionary')
        classes = find_task(split.task).num_labels
        self.logits = self._numbers(outputs.get('pred_logit'), 'pred_logit', (len(split), classes))
        self.pooled = self._numbers(outputs.get('pooled_feature_maps'), 'pooled_feature_maps', (len(split), None))
        hidden = self.pooled.shape[1]
        maps = outputs.get('feature_maps')
        maps = [] if maps is None else maps
        if type(maps) not in (list, tuple) and np.ndim(maps) == 0 or len(maps) not in (0, layers):
            raise self._unfit(f'{name} feature_maps are not of {layers} layers; check --teacher_hidden_layers')
        self.states = [self._numbers(layer, 'feature_maps', (len(split), hidden)) for layer in maps]
        self._check_labels()
        self._check_tokens()

    @property
    def hidden(self) -> int:
        """Width of the states."""
        return self.pooled.shape[1]

    def predictions(self) -> Iterator[Predictions]:
        """All rows, some at a time."""
        for start in range(0, len(self.split), STATE_ROWS_AT_ONCE):
            part = slice(start, start + STATE_ROWS_AT_ONCE)
            states = np.stack([layer[part] for layer in self.states] or [self.pooled[part]], axis=1)
            logits, pooled, states = (torch.from_numpy(values.astype(np.float32))
                                      for values in (self.logits[part], self.pooled[part], states))
            yield Predictions(np.arange(len(self.split))[part], logits, pooled, states)

    def _numbers(self, value: Any, what: str, shape: tuple[int, int | None]) -> np.ndarray:
        """An array of finite numbers of that shape (None: any size)."""
        if not isinstance(value, np.ndarray) or value.ndim != 2 or value.dtype.kind not in 'fiu':
            raise self._unfit(f'{self.name} {what} is no table of numbers')
        if any(wanted not in (None, size) for wanted, size in zip(shape, value.shape, strict=True)):
            raise self._unfit(f'{self.name} {what} is {list(value.shape)}, and this task and its rows need '
                              f'[{shape[0]}, {shape[1] or "hidden"}]')
        if not np.isfinite(value).all():
            raise self._unfit(f'{self.name} {what} has numbers that are not finite')
        return value

    def _check_labels(self) -> None:
        if self.split.labels is None:
            return
        labels = self._rows('labels', 1)
        if labels is None:
            raise self._unfit(f'it has no {self.name}_labels to tell its rows by (the files of PKD\'s own code have none)')
        wrong = int((labels != self.split.labels).sum())
        if wrong:
            raise self._unfit(f'{wrong:,} of {len(labels):,} {self.name}_labels are others: other rows, another order or '
                              'another numbering of labels')
        answers = self._rows('pred_answers', 1)
        if answers is not None and find_task(self.split.task).labels:
            wrong = int((answers.astype(bool) != (predicted_labels(self.logits) == labels)).sum())
            if wrong:
                raise self._unfit(f'{wrong:,} of {len(labels):,} {self.name}_pred_answers are not what its logits say')

    def _check_tokens(self) -> None:
        """Compare the token ids, where the file has them."""
        ids, mask, segments = (self._rows(part, 2) for part in ('input_ids', 'input_mask', 'segment_ids'))
        if ids is None or mask is None or segments is None:
            logger.warning('warning: %s has no token ids: its %s rows were compared by their number and labels alone',
                           self.path, self.name)
            return
        real = mask.astype(bool)
        if not ids.shape == mask.shape == segments.shape:
            raise self._unfit(f'{self.name}_input_ids, _input_mask and _segment_ids are of different shapes')
        differs = real.sum(1) != self.split.lengths
        differs |= (real & (segments == 0)).sum(1) != self.split.first_lengths
        if not differs.any():
            different_ids = ids[real] != self.split.input_ids
            differs |= np.add.reduceat(different_ids, self.split.starts[:-1]) > 0
        if differs.any():
            raise self._unfit(f'{int(differs.sum()):,} of {len(differs):,} {self.name} rows have other tokens, the first is '
                              f'row {int(differs.argmax())}; check --task, --bert_model, --max_seq_length and the data')

    def _rows(self, part: str, rank: int) -> np.ndarray | None:
        """`S_part` of the file, [N] or [N, T]; None where it is not there."""
        value = self.results.get(f'{self.name}_{part}')
        if value is None:
            return None
        if not isinstance(value, np.ndarray) or value.ndim != rank or len(value) != len(self.split) or \
                value.dtype.kind not in 'bfiu':
            raise self._unfit(f'{self.name}_{part} is not of the {len(self.split):,} rows of this task')
        return value

    def _unfit(self, problem: str) -> InputError:
        return InputError(f'{self.path} does not fit: {problem}')
