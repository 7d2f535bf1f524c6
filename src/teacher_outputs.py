"""The teacher's result file: what a teacher says of every row, written batch by batch, checked, and memory-mapped.

The file is a safetensors container (https://github.com/huggingface/safetensors), whatever its historical name ends in:
a header and plain numbers, so reading it can run no code and maps any row without reading the others. For each split
S in train, dev, test it holds
    S.pred_logit [N, C], S.pooled_feature_maps [N, H], S.feature_maps [N, K, H] (patient files only; layer 1 first),
    S.loss and S.acc (not for test), S_labels [N], S_pred_answers [N] (bool, prediction correct; not for test),
and in its metadata what identifies the rows (see TokenizedSplit.identity).

Beside each tensor X stands `crc32 X`, its CRC-32: of every row where X is one of the large ones, the states, and of the
whole otherwise; `crc32` is that of the header. Rows are checked as they are read, so that opening 14.5 GB takes no time
and a disk that goes bad later is noticed too.

Legend: N rows, C classes, H hidden, K teacher layers.
"""
import hashlib
import json
import math
import mmap
import os
import re
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors
from scipy.special import softmax

import envs
from BERT.pytorch_pretrained_bert.file_utils import InputError
from BERT.pytorch_pretrained_bert.writing import write_all, writing
from src.data_processing import SPLITS, TokenizedSplit
from src.dump_journal import DumpJournal
from src.evaluation import Predictions
from src.nli_data_processing import GlueTask, find_task
from src.stopping import Stopped

# Layer states are normalised to about unit size, where fp16 rounds finer than bf16 and takes half of fp32's room.
STATE_TYPE = 'float16'
STATE_ROWS_AT_ONCE = 4096      # rows of states in memory at a time, where files are copied
TYPE_NAMES = {'float16': 'F16', 'float32': 'F32', 'float64': 'F64', 'int64': 'I64', 'uint32': 'U32', 'bool': 'BOOL'}
NUMPY_TYPES = {name: np.dtype(numpy_name) for numpy_name, name in TYPE_NAMES.items()}
FORMAT = 'peakd teacher results 2'
EARLIER_FORMAT = 'peakd teacher results 1'
CRC, CRC_TYPE = 'crc32', np.dtype('uint32')


class TensorKind(NamedTuple):
    """What a tensor of the file is: of which split, what of it, its type (None: that of the task's labels) and rank, and
    whether it is written and checked row by row."""
    split: str
    what: str
    dtype: str | None
    rank: int
    by_row: bool


# Name -> kind, of all tensors that there can be
TENSORS = {f'{split}{mark}{kind[0]}': TensorKind(split, *kind) for split in SPLITS for mark, *kind in (
    ('.', 'pred_logit', 'float32', 2, False), ('.', 'pooled_feature_maps', STATE_TYPE, 2, True),
    ('.', 'feature_maps', STATE_TYPE, 3, True), ('.', 'loss', 'float64', 0, False), ('.', 'acc', 'float64', 0, False),
    ('_', 'labels', None, 1, False), ('_', 'pred_answers', 'bool', 1, False))}


def result_file(task: GlueTask, teacher_layers: int, patient: bool) -> Path:
    """Where the result file of a task's teacher lies; patient: the one with the states of all layers."""
    kind = 'patient' if patient else 'normal'
    name = f'{task.name}_{kind}_kd_teacher_{teacher_layers}layer_result_summary.pkl'
    return envs.HOME_OUTPUT_FOLDER / task.name / name


def teacher_folder(task: GlueTask, layers: int) -> Path:
    """Folder of a task's teacher, of its results' neighbours and of the PTP encoders learnt from it."""
    return envs.HOME_OUTPUT_FOLDER / task.name / f'teacher_{layers}layer'


def teachers_of_other_sizes(task: GlueTask, layers: int) -> str:
    """What a message that files are missing adds where there is no teacher of so many layers: those that there are."""
    if any(teacher_folder(task, layers).glob('BERT.encoder*.pkl')):
        return ''
    folders = teacher_folder(task, layers).parent.glob('teacher_*layer')
    found = sorted({int(match[1]) for folder in folders if (match := re.fullmatch(r'teacher_(\d+)layer', folder.name))
                    and any(folder.glob('BERT.encoder*.pkl'))} - {layers})
    return f'; there are teachers of other sizes: --teacher_hidden_layers {" or ".join(map(str, found))}' if found else ''


class ResultWriter:
    """Fills a result file of known shape, rows in any order. Use `write_results`.

    by_row: the tensors that `put` gets some rows at a time; resumed: go on with a file that another writer has begun;
    InputError when that was for other contents."""

    def __init__(self, path: Path, tensors: dict[str, tuple[np.dtype, tuple[int, ...]]], by_row: set[str],
                 metadata: dict[str, str], resumed: bool = False):
        self.sums = {f'{CRC} {name}': np.zeros(shape[:name in by_row], CRC_TYPE) for name, (_, shape) in tensors.items()}
        tensors = tensors | {name: (CRC_TYPE, sums.shape) for name, sums in self.sums.items()} | {CRC: (CRC_TYPE, ())}
        header, end = {'__metadata__': metadata}, 0
        # Wide types first, so that each tensor starts at a multiple of its type's size.
        self.tensors = dict(sorted(tensors.items(), key=lambda item: -item[1][0].itemsize))
        self.offsets = {}
        for name, (dtype, shape) in self.tensors.items():
            start, end = end, end + dtype.itemsize * int(np.prod(shape))
            header[name] = {'dtype': TYPE_NAMES[dtype.name], 'shape': list(shape), 'data_offsets': [start, end]}
            self.offsets[name] = start
        text = json.dumps(header).encode()
        text += b' ' * (-len(text) % 64)
        self.start = 8 + len(text)
        begins = len(text).to_bytes(8, 'little') + text
        self.file = open(path, 'rb+' if resumed else 'wb+', buffering=0)
        if resumed:
            self._go_on(path, begins, self.start + end)
        else:
            write_all(self.file, begins)
            self.file.truncate(self.start + end)
            self._write(CRC, np.array(zlib.crc32(text), CRC_TYPE).tobytes())

    def _go_on(self, path: Path, begins: bytes, size: int) -> None:
        if self.file.read(len(begins)) != begins or os.path.getsize(path) != size:
            raise InputError(f'--resume: {path} was begun with other rows, another teacher or --all_layers; remove it, or '
                             'leave --resume out')
        self.sums = {name: self.read(name) for name in self.sums}

    def put(self, name: str, rows: np.ndarray | None, values: np.ndarray) -> None:
        """Write values[i] as row rows[i] of a tensor, or, with rows None, the whole tensor."""
        dtype, _ = self.tensors[name]
        values, sums = np.ascontiguousarray(values, dtype), self.sums[f'{CRC} {name}']
        if rows is None:
            self._write(name, values.tobytes())
            sums[()] = zlib.crc32(values.tobytes())
            return
        size = values[:1].nbytes
        for row, value in zip(rows.tolist(), values, strict=True):
            self._write(name, value.tobytes(), row * size)
            sums[row] = zlib.crc32(value)

    def close(self) -> None:
        """Write the sums of what was put, and close the file."""
        self._write_sums()
        self.file.close()

    def _write_sums(self) -> None:
        for name, sums in self.sums.items():
            self._write(name, sums.tobytes())

    def _write(self, name: str, data: bytes, at: int = 0) -> None:
        """Write data into a tensor, from its byte `at` on."""
        self.file.seek(self.start + self.offsets[name] + at)
        write_all(self.file, data)

    def read(self, name: str) -> np.ndarray:
        """A whole tensor as it was put."""
        dtype, shape = self.tensors[name]
        self.file.seek(self.start + self.offsets[name])
        return np.fromfile(self.file, dtype, int(np.prod(shape))).reshape(shape)

    def sync(self) -> None:
        """Have all that was put on disk, and its sums."""
        self._write_sums()
        os.fsync(self.file.fileno())


def write_results(path: Path, splits: dict[str, TokenizedSplit], predictions: dict[str, Iterable[Predictions]],
                  scores: Callable[[str, np.ndarray], dict], shape: tuple[int, int, int], patient: bool,
                  made_by: dict[str, str], journal: DumpJournal | None = None) -> None:
    """Write a result file from streams of predictions, one for each split.

    scores: (split name, logits [N, C]) -> {'loss', 'acc', 'answers': bool [N]} for a split with labels;
    shape: (classes, hidden, teacher layers); made_by: words about the teacher for the metadata; journal: its rows are in the
    file already, and the streams have the others. When a stream raises Stopped, the journal tells of what was written."""
    journal = journal or DumpJournal(path)
    if not journal.rows:
        journal.begin()
    tensors = {name: part for split in splits for name, part in _tensors(split, splits[split], shape, patient).items()}
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            writer = ResultWriter(journal.part, tensors, row_by_row(tensors), result_metadata(splits, made_by),
                                  bool(journal.rows))
            with writer.file:
                for name, split in splits.items():
                    _write_split(writer, name, split, predictions[name], scores, patient, journal)
                writer.close()
            journal.finish()
        finally:
            journal.give_up()


def result_metadata(splits: dict[str, TokenizedSplit], made_by: dict[str, str]) -> dict[str, str]:
    """What a result file says that it was made from: words about the teacher, and each split's rows."""
    return {'format': FORMAT, **made_by, **{name: json.dumps(split.identity()) for name, split in splits.items()}}


def row_by_row(names: Iterable[str]) -> set[str]:
    """Those tensors of a result file that are written and checked row by row."""
    return {name for name in names if TENSORS[name].by_row}


def _tensors(name: str, split: TokenizedSplit, shape: tuple[int, int, int],
             patient: bool) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
    """The tensors of a split and their types and shapes."""
    classes, hidden, layers = shape
    rows = len(split)
    shapes = {'pred_logit': (rows, classes), 'pooled_feature_maps': (rows, hidden)}
    if patient:
        shapes['feature_maps'] = (rows, layers, hidden)
    if split.labels is not None:
        shapes |= {'loss': (), 'acc': (), 'labels': (rows,), 'pred_answers': (rows,)}
    return {full: (np.dtype(kind.dtype or split.labels.dtype), shapes[kind.what])
            for full, kind in TENSORS.items() if kind.split == name and kind.what in shapes}


def _write_split(writer: ResultWriter, name: str, split: TokenizedSplit, predictions: Iterable[Predictions],
                 scores: Callable[[str, np.ndarray], dict], patient: bool, journal: DumpJournal) -> None:
    logits = writer.read(f'{name}.pred_logit')

    def note() -> None:
        writer.put(f'{name}.pred_logit', None, logits)
        writer.sync()
        journal.note()
    try:
        for batch in predictions:
            logits[batch.rows] = batch.logits.numpy()
            writer.put(f'{name}.pooled_feature_maps', batch.rows, batch.pooled.numpy())
            if patient:
                writer.put(f'{name}.feature_maps', batch.rows, batch.cls_states.numpy())
            journal.rows[name] = journal.rows.get(name, 0) + len(batch.rows)
            if journal.due():
                note()
    except Stopped:
        note()
        raise
    writer.put(f'{name}.pred_logit', None, logits)
    if split.labels is not None:
        result = scores(name, logits)
        writer.put(f'{name}.loss', None, np.array(result['loss']))
        writer.put(f'{name}.acc', None, np.array(result['acc']))
        writer.put(f'{name}_labels', None, split.labels)
        writer.put(f'{name}_pred_answers', None, result['answers'])


@dataclass
class TeacherOutputs:
    """A result file, mapped into memory: nothing large is read before it is asked for.

    arrays: all of them, unchecked where they are large; `split` and `rows` give what was checked."""
    path: Path
    metadata: dict[str, str]
    arrays: dict[str, np.ndarray]
    mapping: mmap.mmap
    sums: dict[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path) -> 'TeacherOutputs':
        """Map a result file and check its header and its small arrays.

        FileNotFoundError or InputError when it is not there, not one or damaged."""
        if not path.is_file():
            raise FileNotFoundError(f'{path} is missing; make it with save_teacher_outputs.py')
        try:
            with safetensors.safe_open(path, framework='np') as checked:     # checks the header against the file's size
                metadata = checked.metadata() or {}
        except safetensors.SafetensorError as error:
            raise _unfit(path, f'is not a whole teacher result file ({error})') from None
        if metadata.get('format') == EARLIER_FORMAT:
            raise _unfit(path, 'is of an earlier version, without checksums')
        if metadata.get('format') != FORMAT:
            raise _unfit(path, 'is not a teacher result file')
        with open(path, 'rb') as file:
            mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        arrays = _map_arrays(path, mapping)
        sums = {name.removeprefix(f'{CRC} '): arrays.pop(name) for name in list(arrays) if name.startswith(f'{CRC} ')}
        opened = cls(path, metadata, arrays, mapping, sums)
        opened._check_structure()
        return opened

    def _check_structure(self) -> None:
        """InputError unless the arrays are those of a result file and the small ones have their checksums."""
        for name, array in self.arrays.items():
            kind = TENSORS.get(name)
            if kind is None or array.ndim != kind.rank or array.dtype != (kind.dtype or array.dtype) \
                    or f'{kind.split}.pred_logit' not in self.arrays \
                    or name not in self.sums or self.sums[name].shape != array.shape[:kind.by_row]:
                raise _unfit(self.path, f'is not a teacher result file: its {name[:60]!r} is not as it should be')
            if not kind.by_row and zlib.crc32(array) != self.sums[name]:
                raise _unfit(self.path, f'is damaged: wrong checksum of {name}')

    def check(self, name: str, split: TokenizedSplit) -> None:
        """InputError that says what differs when the file's rows of a split are not the ones this run has."""
        self.check_identity(name, split.identity())
        arrays, outputs = self.split(name), find_task(split.task).num_labels
        if 'pred_logit' not in arrays or arrays['pred_logit'].shape[1] != outputs \
                or any(len(array) != len(split) for array in arrays.values() if array.ndim):
            raise _unfit(self.path, f'is damaged: its arrays of {name} are not of {len(split)} rows with {outputs} outputs')

    def check_identity(self, name: str, known: dict[str, str]) -> None:
        """InputError where the file's rows of a split differ in what is known of them: see TokenizedSplit.identity."""
        made_from = _identity(self.metadata.get(name, ''))
        for what, here in known.items():
            there = made_from.get(what, 'none')
            if there != here:
                raise InputError(f'{self.path} does not fit the {name} set of this run: its '
                                 f'{what} differ: {str(there)[:24]} in the file, {here[:24]} here; make the file anew with '
                                 'save_teacher_outputs.py')

    def task(self) -> GlueTask:
        """The task whose rows it has. InputError where it does not tell a known one."""
        return find_task(_identity(self.metadata.get('train', '')).get('task', ''))

    def about(self) -> dict[str, str | float]:
        """What the file says of its teacher, in words, and, of each split that has labels, its accuracy, or of regression
        the score that decides: dev_acc, say."""
        words = {name: text for name, text in self.metadata.items() if name not in ('format', *SPLITS)}
        return words | {f'{name}_acc': float(self.arrays[f'{name}.acc']) for name in SPLITS if f'{name}.acc' in self.arrays}

    def split(self, name: str) -> dict[str, np.ndarray]:
        """The arrays of a split: loss, acc, pred_logit, labels, pred_answers, as checked when the file was opened; and
        pooled_feature_maps and feature_maps, whose rows `rows` checks."""
        return {TENSORS[key].what: array for key, array in self.arrays.items() if TENSORS[key].split == name}

    def fingerprint(self) -> str:
        """Hash of all that the file says: of its metadata and of the checksums of its rows, which alone are read."""
        found = hashlib.sha256(json.dumps(self.metadata, sort_keys=True).encode())
        for name in sorted(self.sums):
            found.update(name.encode() + self.sums[name].tobytes())
        return found.hexdigest()

    def rows(self, name: str, rows: np.ndarray) -> np.ndarray:
        """A copy of rows [B] of one of the large arrays, say 'train.feature_maps'. InputError for a wrong checksum."""
        values, sums = self.arrays[name][rows], self.sums[name][rows]
        for row, value, expected in zip(rows.tolist(), values, sums.tolist(), strict=True):
            if zlib.crc32(value) != expected:
                raise _unfit(self.path, f'is damaged: wrong checksum of row {row} of {name}')
        return values

    def forget_pages(self) -> None:
        """Give the pages read so far back to the system, so that an epoch over a large file keeps little in memory."""
        if hasattr(self.mapping, 'madvise'):
            self.mapping.madvise(mmap.MADV_DONTNEED)


def confidence_and_correct(teacher: TeacherOutputs, name: str) -> tuple[np.ndarray, np.ndarray]:
    """(confidence [N], correct, bool [N]) of a teacher on a split that has labels, of classification."""
    outputs = teacher.split(name)
    return confidence(outputs['pred_logit']), outputs['pred_answers']


def confidence(logits: np.ndarray) -> np.ndarray:
    """The largest softmax probability [N] of logits [N, C]."""
    return softmax(logits, axis=1).max(axis=1)


def begins_as_result_file(path: Path) -> bool:
    """Whether a file begins as a result file does, of this version or the earlier one, be it damaged behind that."""
    with open(path, 'rb') as file:
        begins = file.read(256)
    return any(f'"format": "{of}"'.encode() in begins for of in (FORMAT, EARLIER_FORMAT))


def check_replaceable(path: Path) -> None:
    """InputError where a result file is to be written and one of another kind would be lost, say the published code's."""
    if path.is_file() and path.stat().st_size and not begins_as_result_file(path):
        raise InputError(f'{path} is a file of another kind, which would be lost; move it, or name another file to write')


def _map_arrays(path: Path, mapping: mmap.mmap) -> dict[str, np.ndarray]:
    """The arrays of a mapped file, of which safetensors has checked that they lie within it; the header's checksum is
    compared and left out."""
    length = int.from_bytes(mapping[:8], 'little')
    text = mapping[8:8 + length]
    header = json.loads(text)
    header.pop('__metadata__')
    if not all(entry['dtype'] in NUMPY_TYPES for entry in header.values()):
        raise _unfit(path, 'is not a teacher result file: it has numbers of a type that there is none of in one')
    arrays = {name: np.frombuffer(mapping, NUMPY_TYPES[entry['dtype']], math.prod(entry['shape']),
                                  8 + length + entry['data_offsets'][0]).reshape(entry['shape'])
              for name, entry in header.items()}
    expected = arrays.pop(CRC, None)
    if expected is None or expected.shape != () or zlib.crc32(text) != expected:
        raise _unfit(path, 'is damaged: wrong checksum of its header')
    return arrays


def _identity(text: str) -> dict[str, str]:
    """What identifies a split's rows, from the metadata; empty where that says nothing."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = {}
    return found if isinstance(found, dict) else {}


def _unfit(path: Path, problem: str) -> InputError:
    return InputError(f'{path} {problem}; make it anew with save_teacher_outputs.py')
