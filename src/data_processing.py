"""From GLUE rows to token ids to batches. Token ids are kept ragged (one after the other) and cached on disk.

Legend: R rows (examples) of a split, n tokens of all of them, B rows of a batch.
"""
import contextlib
import functools
import hashlib
import itertools
import logging
import math
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

import envs
from BERT.pytorch_pretrained_bert import BertTokenizer
from BERT.pytorch_pretrained_bert.file_utils import InputError, sha256_of
from BERT.pytorch_pretrained_bert.packing import TokenBatch, packed_batch, positions
from BERT.pytorch_pretrained_bert.writing import WriteError, replace_file
from src.distributed import main_first
from src.nli_data_processing import GlueReader, GlueTask, InputExample, task_folder

logger = logging.getLogger(__name__)

CACHE_VERSION = '4'   # raise it when the same rows get other token ids or the file is another one
ABOUT = 'about'   # the cache file's metadata: a checksum, then lines that users should know of the table. One entry:
#                   several stand in any order, and files of the same rows would differ
SPLITS = ('train', 'dev', 'test')
ROWS_AT_ONCE = 1 << 14   # rows of text in memory at a time
SCORE_BINS = 10   # bins of about equally many rows, by which scores are stratified


@dataclass
class TokenizedSplit:
    """A split as token ids: `[CLS] a [SEP]` or `[CLS] a [SEP] b [SEP]`."""
    task: str                    # name in the GLUE table
    split: str                   # train, dev or test
    input_ids: np.ndarray        # [n]
    lengths: np.ndarray          # [R] tokens of each row
    first_lengths: np.ndarray    # [R] tokens of its first segment
    labels: np.ndarray | None    # [R] class numbers, or floats for regression; None for test
    tokenizer: str               # the tokenizer's fingerprint
    max_seq_length: int

    def __post_init__(self):
        self.starts = np.concatenate(([0], np.cumsum(self.lengths, dtype=np.int64)))   # [R + 1]

    def __len__(self) -> int:
        return len(self.lengths)

    def part(self, rows: np.ndarray) -> 'TokenizedSplit':
        """The rows with these numbers, in that order, as a split of their own."""
        return replace(self, input_ids=self._tokens(rows), lengths=self.lengths[rows],
                       first_lengths=self.first_lengths[rows], labels=None if self.labels is None else self.labels[rows])

    def batch(self, rows: np.ndarray) -> TokenBatch:
        """The rows with these numbers, which stand by_length, as what BERT reads."""
        return packed_batch(self._tokens(rows), self.first_lengths[rows], self.lengths[rows])

    def padded(self, rows: np.ndarray, length: int | None = None, pad_id: int = 0) -> tuple[np.ndarray, ...]:
        """input_ids, segment_ids, attention_mask of these rows, int64 [B, T]; T: `length`, or the longest of them."""
        lengths = self.lengths[rows]
        position = np.arange(length or lengths.max())
        mask = position < lengths[:, None]
        input_ids = np.full(mask.shape, pad_id, np.int64)
        input_ids[mask] = self._tokens(rows)
        segment_ids = (position >= self.first_lengths[rows][:, None]) & mask
        return input_ids, segment_ids.astype(np.int64), mask.astype(np.int64)

    def _tokens(self, rows: np.ndarray) -> np.ndarray:
        """Token ids of these rows, one after the other."""
        lengths = self.lengths[rows]
        return self.input_ids[np.repeat(self.starts[rows], lengths) + positions(lengths)]

    def by_length(self, rows: np.ndarray) -> np.ndarray:
        """The same rows, longest first: attention takes neighbours together. The order in a batch changes no result."""
        return rows[np.argsort(-self.lengths[rows], kind='stable')]

    def batches_by_length(self, batch_size: int, done: int = 0) -> Iterator[np.ndarray]:
        """All rows but the first `done`, longest first, in batches: for evaluation, where the composition of a batch has no
        effect.

        A batch has up to as many tokens as batch_size rows of max_seq_length, so short rows come many at a time: of
        MRPC's about 77 in place of 32, which gained 3 % at width 384."""
        rows = self.by_length(np.arange(len(self)))[done:]
        ends, start = np.cumsum(self.lengths[rows], dtype=np.int64), 0
        while start < len(rows):
            tokens = ends[start] - self.lengths[rows[start]] + min(batch_size, len(self)) * self.max_seq_length
            end = int(np.searchsorted(ends, tokens, side='right'))
            yield rows[start:end]
            start = end

    def identity(self) -> dict[str, str]:
        """What tells these rows from others, as words: see teacher_outputs.check."""
        hashes = np.concatenate([self._row_hashes(start, min(start + (1 << 16), len(self)))
                                 for start in range(0, len(self), 1 << 16)] or [np.empty(0, np.uint64)])
        labels = b'' if self.labels is None else np.ascontiguousarray(self.labels).tobytes()
        return {'task': self.task, 'tokenizer': self.tokenizer, 'max_seq_length': str(self.max_seq_length),
                'number of rows': str(len(self)), 'rows': f'{int(hashes.sum(dtype=np.uint64)):016x}',
                'order of rows': hashlib.sha256(hashes.tobytes()).hexdigest(),
                'labels': hashlib.sha256(labels).hexdigest()}

    def _row_hashes(self, first: int, last: int) -> np.ndarray:
        """uint64 hash of the tokens of each row in [first, last), by sums that wrap around."""
        start, end = self.starts[first], self.starts[last]
        lengths = self.lengths[first:last].astype(np.int64)
        mixed = (self.input_ids[start:end].astype(np.uint64) + np.uint64(1)) * _mix(positions(lengths))
        sums = np.add.reduceat(mixed, self.starts[first:last] - start)
        return _mix(sums + self.first_lengths[first:last].astype(np.uint64))


def _mix(values: np.ndarray) -> np.ndarray:
    """Spread integers over 64 bits (the finaliser of SplitMix64; Steele et al., OOPSLA 2014)."""
    values = values.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def truncated_lengths(first: np.ndarray, second: np.ndarray, room: int) -> tuple[np.ndarray, np.ndarray]:
    """Lengths [R] of both texts after popping tokens from the longer one, ties from the second, until both fit in room."""
    over = first + second > room
    kept = np.where(over, np.minimum(first, np.maximum(room - second, (room + 1) // 2)), first)
    return kept, np.where(over, room - kept, second)


def tokenize_examples(examples: Iterable[InputExample], tokenizer: BertTokenizer, task: GlueTask, split: str,
                      max_seq_length: int) -> TokenizedSplit:
    """Token ids of examples, pairs cut to max_seq_length (2 or 3 of which are special tokens).

    The examples are read a chunk at a time: of a large file only the ids are kept."""
    examples, ids_of, parts = iter(examples), {}, []
    while chunk := list(itertools.islice(examples, ROWS_AT_ONCE)):
        labels = None if split == 'test' else label_numbers(task, chunk)
        parts.append((*_tokenize(chunk, tokenizer, max_seq_length, ids_of), labels))
    input_ids, lengths, first_lengths, labels = zip(*parts, strict=True)
    return TokenizedSplit(task.name, split, np.concatenate(input_ids), np.concatenate(lengths),
                          np.concatenate(first_lengths), None if split == 'test' else np.concatenate(labels),
                          tokenizer.fingerprint, max_seq_length)


def _tokenize(examples: list[InputExample], tokenizer: BertTokenizer, max_seq_length: int,
              ids_of: dict[str, list[int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(input_ids [n], lengths [R], first_lengths [R]), all int32, of at least one example."""
    first = tokenizer.encode_texts([example.text_a for example in examples], ids_of)
    pairs = examples[0].text_b is not None
    second = tokenizer.encode_texts([example.text_b for example in examples], ids_of) if pairs else [[]] * len(examples)
    first_lengths = np.fromiter(map(len, first), np.int64, len(first))
    second_lengths = np.fromiter(map(len, second), np.int64, len(second))
    first_lengths, second_lengths = truncated_lengths(first_lengths, second_lengths, max_seq_length - 2 - pairs)
    ids: list[int] = []
    cls, sep = [tokenizer.cls_id], [tokenizer.sep_id]
    for a, b, length_a, length_b in zip(first, second, first_lengths.tolist(), second_lengths.tolist(), strict=True):
        ids += cls + a[:length_a] + sep
        if pairs:
            ids += b[:length_b] + sep
    return (np.array(ids, np.int32), (first_lengths + second_lengths + 2 + pairs).astype(np.int32),
            (first_lengths + 2).astype(np.int32))


def label_numbers(task: GlueTask, examples: list[InputExample]) -> np.ndarray:
    """Class numbers int64 [R], or float32 for regression."""
    if task.labels is None:
        return np.array([float(example.label) for example in examples], np.float32)
    number = {label: place for place, label in enumerate(task.labels)}
    return np.array([number[example.label] for example in examples], np.int64)


def hold_out(labels: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows to learn from, rows held out), row numbers in ascending order, of training rows with these labels [R].

    Of each class (of scores: of each of SCORE_BINS bins) `fraction` is held out, to within a row, and the seed alone
    says which rows. InputError where that would leave a class without a row on either side."""
    _, strata, sizes = np.unique(_strata(labels), return_inverse=True, return_counts=True)
    held_out = _part(strata, sizes, fraction, seed)
    counts = np.bincount(strata[held_out], minlength=len(sizes))
    if fraction and not ((counts > 0) & (counts < sizes)).all():
        raise InputError(f'--holdout {fraction}: each class (or tenth of the scores) needs a row held out and one to '
                         f'learn from, and the smallest has {sizes.min()} row(s); {_fitting_fractions(sizes.min())}')
    return np.setdiff1d(np.arange(len(labels)), held_out), held_out


def fold_rows(labels: np.ndarray, rows: np.ndarray, fold: str, seed: int) -> np.ndarray:
    """The numbers of those of `rows`, which have labels[rows], that are in a fold 'F/K', in ascending order.

    The K folds of a seed divide the rows by class as hold_out does, which of all rows draws the first of them.
    InputError where a class (of scores: a bin) has not a row for each fold."""
    number, folds = parse_fold(fold)
    _, strata, sizes = np.unique(_strata(labels[rows]), return_inverse=True, return_counts=True)
    if sizes.min() < folds:
        raise InputError(f'--fold {fold}: each class (or tenth of the scores) needs a row in each fold, and the smallest '
                         f'has {sizes.min()} row(s); give at most so many folds')
    return rows[_part(strata, sizes, 1 / folds, seed, number - 1)]


def parse_fold(fold: str) -> tuple[int, int]:
    """(F, K) of '2/5', fold 2 of 5. InputError for anything else."""
    found = re.fullmatch(r'(\d{1,6})/(\d{1,6})', fold)
    number, folds = map(int, found.groups()) if found else (0, 0)
    if not 1 <= number <= folds or folds < 2:
        raise InputError(f'--fold {fold!r}: must be F/K, fold F from 1 to K of at least 2 folds, as in 2/5')
    return number, folds


def _part(strata: np.ndarray, sizes: np.ndarray, fraction: float, seed: int, number: int = 0) -> np.ndarray:
    """Row numbers, ascending, of one of the parts of that size into which the seed divides rows of these strata [R].

    The parts are disjoint where `fraction` of each stratum is at least a row."""
    first, end = (_shares(part * fraction * sizes) for part in (number, number + 1))
    order = np.random.default_rng(seed).permutation(len(strata))
    return np.sort(np.concatenate([order[strata[order] == stratum][first[stratum]:end[stratum]]
                                   for stratum in range(len(sizes))]))


def _shares(wanted: np.ndarray) -> np.ndarray:
    """Whole numbers of rows nearest to these shares, whose sum is that of the shares, rounded."""
    counts = np.floor(wanted + 1e-9).astype(np.int64)          # 0.0001 * 30000 is below 3
    missing = round(wanted.sum()) - counts.sum()
    counts[np.argsort(counts - wanted, kind='stable')[:missing]] += 1     # the largest remainders are rounded up
    return counts


def _strata(labels: np.ndarray) -> np.ndarray:
    """What rows are stratified by [R]: their class, or the bin of their score."""
    if np.issubdtype(labels.dtype, np.floating):
        return np.searchsorted(np.quantile(labels, np.arange(1, SCORE_BINS) / SCORE_BINS), labels, side='right')
    return labels


def _fitting_fractions(rows: int) -> str:
    """The fractions that split so many rows, in words."""
    lowest = math.ceil(10000 / rows) / 10000
    return f'give {lowest:g} to {1 - lowest:g}' if rows > 1 else 'leave --holdout out'


def load_split(task: GlueTask, split: str, tokenizer: BertTokenizer, max_seq_length: int) -> TokenizedSplit:
    """A split as token ids, from the cache when the same file was read before with the same tokenizer and length.

    What users should know of the file, such as rows that were left out, is told each time."""
    told: list[str] = []
    reader, folder = GlueReader(task, told.append), task_folder(task)
    source = reader.path(folder, split)
    key = [CACHE_VERSION, sha256_of(source), task.name, split, tokenizer.fingerprint, str(max_seq_length), *task.marks]
    name = hashlib.sha256('\n'.join(key).encode()).hexdigest()[:16]
    cache = envs.CACHE_FOLDER / f'{task.name}.{split}.{name}.safetensors'
    with main_first():
        cached = _read_cache(cache, told)
        if cached is None or not _is_sound(cached, task, split, len(tokenizer), max_seq_length):
            if cached is not None or cache.is_file():
                logger.warning('%s is damaged: made anew', cache)
            told.clear()
            tokens = tokenize_examples(reader.examples(folder, split), tokenizer, task, split, max_seq_length)
            try:
                _write_cache(cache, tokens, told)
            except WriteError as error:          # it spares time, and nothing hangs on it
                logger.warning('warning: %s; the rows will be tokenised again (CACHE_FOLDER in envs.py)', error)
        else:
            tokens = TokenizedSplit(task.name, split, cached['input_ids'], cached['lengths'], cached['first_lengths'],
                                    cached.get('labels'), tokenizer.fingerprint, max_seq_length)
    for words in told:
        logger.warning('%s: %s', source, words)
    return tokens


def missing_files(task: GlueTask, splits: tuple[str, ...]) -> list[str]:
    """What is wrong with the files of a task's splits, as far as it can be told without reading them."""
    problems = []
    for split in splits:
        try:
            GlueReader(task).path(task_folder(task), split)
        except (InputError, FileNotFoundError) as error:
            problems.append(str(error))
    return problems


def _read_cache(path: Path, told: list[str]) -> dict[str, np.ndarray] | None:
    """The arrays of a cache file whose checksum is right; None where there is none such. Adds to `told` what was told of
    the file when it was made."""
    if not path.is_file():
        return None
    # KeyError and TypeError: numbers of a type that NumPy does not have
    with contextlib.suppress(safetensors.SafetensorError, KeyError, TypeError):
        with safetensors.safe_open(path, framework='np') as opened:
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}
            checksum, _, words = (opened.metadata() or {}).get(ABOUT, '').partition('\n')
        if checksum == _checksum(arrays, words):
            told += words.splitlines()
            return arrays
    return None


def _is_sound(arrays: dict[str, np.ndarray], task: GlueTask, split: str, words: int, max_seq_length: int) -> bool:
    """Whether a cache's arrays fit together and the task."""
    wanted = {'input_ids': np.int32, 'lengths': np.int32, 'first_lengths': np.int32}
    if split != 'test':
        wanted['labels'] = np.float32 if task.labels is None else np.int64
    if {name: array.dtype for name, array in arrays.items()} != wanted or any(array.ndim != 1 for array in arrays.values()):
        return False
    ids, lengths, first = (arrays[name] for name in ('input_ids', 'lengths', 'first_lengths'))
    labels = arrays.get('labels', lengths)
    return (len(lengths) == len(first) == len(labels) > 0 and lengths.sum(dtype=np.int64) == len(ids)
            and bool((first > 0).all() and (first <= lengths).all() and (lengths <= max_seq_length).all())
            and bool((ids >= 0).all() and (ids < words).all())
            and (task.labels is None or split == 'test' or bool(np.isin(labels, np.arange(len(task.labels))).all())))


def _checksum(arrays: dict[str, np.ndarray], words: str) -> str:
    """CRC-32 of words and arrays, in the order of their names."""
    of_words = zlib.crc32(words.encode())
    return f'{functools.reduce(lambda sum, name: zlib.crc32(arrays[name], sum), sorted(arrays), of_words):08x}'


def _write_cache(path: Path, tokens: TokenizedSplit, told: list[str]) -> None:
    arrays = {'input_ids': tokens.input_ids, 'lengths': tokens.lengths, 'first_lengths': tokens.first_lengths}
    if tokens.labels is not None:
        arrays['labels'] = tokens.labels
    words = '\n'.join(told)
    with replace_file(path) as temporary:
        temporary.write_bytes(safetensors.numpy.save(arrays, {ABOUT: f'{_checksum(arrays, words)}\n{words}'}))


def check_max_seq_length(max_seq_length: int, position_table: int) -> None:
    """InputError when a sequence of that length has no room for its special tokens or in the position table."""
    if not 4 <= max_seq_length <= position_table:
        raise InputError(f'--max_seq_length {max_seq_length}: must lie from 4 to {position_table}, the length of the '
                         f"checkpoint's position table")
