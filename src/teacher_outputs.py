"""The teacher's result file: what a teacher says of every row, written batch by batch, checked, and memory-mapped.

The file is a safetensors container (https://github.com/huggingface/safetensors), whatever its historical name ends in:
a header and plain numbers, so reading it can run no code and maps any row without reading the others. For each split
S in train, dev, test it holds
    S.pred_logit [N, C], S.pooled_feature_maps [N, H], S.feature_maps [N, K, H] (patient files only; layer 1 first),
    S.loss and S.acc (not for test), S_labels [N], S_pred_answers [N] (bool, prediction correct; not for test),
and in its metadata what identifies the rows (see TokenizedSplit.identity).

Legend: N rows, C classes, H hidden, K teacher layers.
"""
import json
import mmap
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors

import envs
from BERT.pytorch_pretrained_bert.file_utils import InputError
from BERT.pytorch_pretrained_bert.writing import writing
from src.data_processing import TokenizedSplit
from src.dump_journal import DumpJournal
from src.evaluation import Predictions
from src.nli_data_processing import GlueTask
from src.stopping import Stopped

# Layer states are normalised to about unit size, where fp16 rounds finer than bf16 and takes half of fp32's room.
STATE_TYPE = np.dtype('float16')
TYPE_NAMES = {'float16': 'F16', 'float32': 'F32', 'float64': 'F64', 'int64': 'I64', 'bool': 'BOOL'}
NUMPY_TYPES = {name: np.dtype(numpy_name) for numpy_name, name in TYPE_NAMES.items()}


def result_file(task: GlueTask, teacher_layers: int, patient: bool) -> Path:
    """Where the result file of a task's teacher lies; patient: the one with the states of all layers."""
    kind = 'patient' if patient else 'normal'
    name = f'{task.name}_{kind}_kd_teacher_{teacher_layers}layer_result_summary.pkl'
    return envs.HOME_OUTPUT_FOLDER / task.name / name


class ResultWriter:
    """Fills a result file of known shape, rows in any order. Use `write_results`.

    resumed: go on with a file that another writer has begun; InputError when that was for other contents."""

    def __init__(self, path: Path, tensors: dict[str, tuple[np.dtype, tuple[int, ...]]], metadata: dict[str, str],
                 resumed: bool = False):
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
        self.file = open(path, 'rb+' if resumed else 'wb+')
        if resumed and (self.file.read(self.start) != begins or os.path.getsize(path) != self.start + end):
            raise InputError(f'--resume: {path} was begun with other rows, another teacher or --all_layers; remove it, or '
                             'leave --resume out')
        if not resumed:
            self.file.write(begins)
            self.file.truncate(self.start + end)
            self.file.flush()

    def put(self, name: str, rows: np.ndarray | None, values: np.ndarray) -> None:
        """Write values[i] as row rows[i] of a tensor, or, with rows None, the whole tensor."""
        dtype, _ = self.tensors[name]
        values = np.ascontiguousarray(values, dtype)
        at = self.start + self.offsets[name]
        if rows is None:
            _write_at(self.file.fileno(), values.tobytes(), at)
            return
        size = values[:1].nbytes
        for row, value in zip(rows.tolist(), values, strict=True):
            _write_at(self.file.fileno(), value.tobytes(), at + row * size)

    def read(self, name: str) -> np.ndarray:
        """A whole tensor as it was put."""
        dtype, shape = self.tensors[name]
        data = os.pread(self.file.fileno(), dtype.itemsize * int(np.prod(shape)), self.start + self.offsets[name])
        return np.frombuffer(data, dtype).reshape(shape).copy()

    def sync(self) -> None:
        """Have all that was put on disk."""
        os.fsync(self.file.fileno())


def _write_at(descriptor: int, data: bytes, at: int) -> None:
    while data:
        written = os.pwrite(descriptor, data, at)
        data, at = data[written:], at + written


def write_results(path: Path, splits: dict[str, TokenizedSplit], predictions: dict[str, Iterable[Predictions]],
                  scores: Callable[[str, np.ndarray], dict], shape: tuple[int, int, int], patient: bool,
                  made_by: dict[str, str], journal: DumpJournal | None = None) -> None:
    """Write a result file from streams of predictions, one for each split.

    scores: (split name, logits [N, C]) -> {'loss', 'acc', 'answers': bool [N]} for a split with labels;
    shape: (classes, hidden, teacher layers); made_by: words about the teacher for the metadata; journal: its rows are in the
    file already, and the streams have the others. When a stream raises Stopped, the journal tells of what was written."""
    journal = journal or DumpJournal(path)
    classes, hidden, layers = shape
    tensors = {}
    for name, split in splits.items():
        rows = len(split)
        tensors[f'{name}.pred_logit'] = (np.dtype('float32'), (rows, classes))
        tensors[f'{name}.pooled_feature_maps'] = (STATE_TYPE, (rows, hidden))
        if patient:
            tensors[f'{name}.feature_maps'] = (STATE_TYPE, (rows, layers, hidden))
        if split.labels is not None:
            tensors[f'{name}.loss'] = tensors[f'{name}.acc'] = (np.dtype('float64'), ())
            tensors[f'{name}_labels'] = (split.labels.dtype, (rows,))
            tensors[f'{name}_pred_answers'] = (np.dtype('bool'), (rows,))
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            writer = ResultWriter(journal.part, tensors, result_metadata(splits, made_by), bool(journal.rows))
            with writer.file:
                for name, split in splits.items():
                    _write_split(writer, name, split, predictions[name], scores, patient, journal)
            journal.finish()
        finally:
            journal.give_up()


def result_metadata(splits: dict[str, TokenizedSplit], made_by: dict[str, str]) -> dict[str, str]:
    """What a result file says that it was made from: words about the teacher, and each split's rows."""
    return {'format': 'peakd teacher results 1', **made_by,
            **{name: json.dumps(split.identity()) for name, split in splits.items()}}


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
    """A result file, mapped into memory: nothing is read before it is asked for."""
    path: Path
    metadata: dict[str, str]
    arrays: dict[str, np.ndarray]
    mapping: mmap.mmap

    @classmethod
    def open(cls, path: Path) -> 'TeacherOutputs':
        """Map a result file. FileNotFoundError or InputError when it is not there or not one."""
        if not path.is_file():
            raise FileNotFoundError(f'--teacher_prediction: {path} is missing; make it with save_teacher_outputs.py')
        try:
            with safetensors.safe_open(path, framework='np') as checked:     # checks the header against the file's size
                metadata = checked.metadata() or {}
        except safetensors.SafetensorError as error:
            raise InputError(f'--teacher_prediction: {path} is not a whole teacher result file ({error}); make it '
                             'with save_teacher_outputs.py') from None
        if metadata.get('format') != 'peakd teacher results 1':
            raise InputError(f'--teacher_prediction: {path} is not a teacher result file; make it with '
                             'save_teacher_outputs.py')
        with open(path, 'rb') as file:
            mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        length = int.from_bytes(mapping[:8], 'little')
        header = json.loads(mapping[8:8 + length])
        header.pop('__metadata__')
        arrays = {name: np.frombuffer(mapping, NUMPY_TYPES[entry['dtype']], int(np.prod(entry['shape'])),
                                      8 + length + entry['data_offsets'][0]).reshape(entry['shape'])
                  for name, entry in header.items()}
        return cls(path, metadata, arrays, mapping)

    def check(self, name: str, split: TokenizedSplit) -> None:
        """InputError that says what differs when the file's rows of a split are not the ones this run has."""
        made_from = json.loads(self.metadata.get(name, '{}'))
        for what, here in split.identity().items():
            there = made_from.get(what, 'none')
            if there != here:
                raise InputError(f'--teacher_prediction: {self.path} does not fit the {name} set of this run: its '
                                 f'{what} differ: {there[:24]} in the file, {here[:24]} here; make the file anew with '
                                 'save_teacher_outputs.py')

    def split(self, name: str) -> dict[str, np.ndarray]:
        """The arrays of a split: loss, acc, pred_logit, pooled_feature_maps, feature_maps, labels, pred_answers."""
        return {key.removeprefix(name)[1:]: array for key, array in self.arrays.items()
                if key.startswith((f'{name}.', f'{name}_'))}

    def forget_pages(self) -> None:
        """Give the pages read so far back to the system, so that an epoch over a large file keeps little in memory."""
        if hasattr(self.mapping, 'madvise'):
            self.mapping.madvise(mmap.MADV_DONTNEED)
