"""GLUE as one table: where each task's files lie, how they are read, how they are scored; and the labels of PTP.

    reader = processors['mrpc']
    examples = reader.get_train_examples(task_folder(find_task('MRPC')))
    compute_metrics('mrpc', preds, labels)      # {'acc': ..., 'f1': ..., 'acc_and_f1': ...}

Every fact about GLUE's tasks stands in `TASKS`; elsewhere their names are keys of settings and results alone. The
thresholds of PTP stand in `PTP_THRESHOLDS`, below the imports. scikit-learn and scipy, which score, are imported where they
do: that takes longer than all else that --help needs, and some tasks need neither.
"""
import itertools
import json
import logging
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import envs
from BERT.pytorch_pretrained_bert.file_utils import InputError
from src.table_files import DIVIDERS, OnBad, Row, bad_row, format_of, stop, table_rows

logger = logging.getLogger(__name__)

# ----------------------------------------------------------------------------------------------------------------------
# PTP thresholds: change them here, or give --ptp_threshold. task: (t1, t2).
# A correct prediction is "confidently" correct above t1, a wrong one "confidently" wrong above t2.
# These are the values Pea-KD published; a task that is not listed takes the medians of its own training rows.
PTP_THRESHOLDS: dict[str, tuple[float, float]] = {
    'rte': (0.80, 0.60),
    'mrpc': (0.95, 0.75),
    'sst-2': (0.98, 0.80),
    'qnli': (0.98, 0.70),
    'cola': (0.95, 0.70),
}
# ----------------------------------------------------------------------------------------------------------------------

#: What the PTP labels 0 to 3 mean.
PTP_CLASSES = ('confidently correct', 'unconfidently correct', 'confidently wrong', 'unconfidently wrong')

ENOUGH = 5      # texts with a comma from which on it is no chance that all of them stand in quotes


class NoHeader(InputError):
    """A file has no header, or another one than is needed to find its columns."""


class Column(NamedTuple):
    """A column by its header name and, for files without a header, by its 0-based position (-1: the last one).

    Without a name it is found by position alone, without a position by name alone."""
    name: str | None
    position: int | None


@dataclass(frozen=True)
class Layout:
    """The columns of one kind of file: those a reader needs. header, for columns without names: whether there is one;
    indexed: a first row that begins with a number is no header."""
    text_a: Column
    text_b: Column | None = None
    label: Column | None = None
    header: bool | None = None
    indexed: bool = False

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns this kind of file has, in the order text_a, text_b, label."""
        return tuple(column for column in (self.text_a, self.text_b, self.label) if column is not None)

    def find(self, first_row: list[str]) -> list[int] | None:
        """Positions of `columns` if `first_row` is a header that names them all (in any case), else None."""
        if self.header is not None:
            return None
        names = [cell.strip().lower() for cell in first_row]
        wanted = [column.name.lower() for column in self.columns]
        return [names.index(name) for name in wanted] if set(wanted) <= set(names) else None

    def locate(self, file: str | Path, row: Row, kind: str) -> tuple[list[int], bool]:
        """(positions of `columns`, whether that row, the first of a file of a kind, is a header). NoHeader where none can be
        told."""
        positions = self.find(row.cells)
        if positions is not None:
            self._check_once(file, row)
            return positions, True
        positions = [column.position for column in self.columns]
        # Without labels to check, only a header tells a right file from a wrong one, or, of GLUE's own, the index
        untold = self.header is None and self.label is None and not (self.indexed and row.cells[0].strip().isdecimal())
        if None in positions or untold:
            raise NoHeader(bad_row(file, row.line, f'expected a header with {self.names}, divided by {DIVIDERS[kind]}',
                                   '\t'.join(row.cells)))
        return positions, bool(self.header)

    def _check_once(self, file: str | Path, header: Row) -> None:
        wanted, names = {column.name.lower() for column in self.columns}, [cell.strip().lower() for cell in header.cells]
        twice = [cell for cell, name in zip(header.cells, names, strict=True) if name in wanted and names.count(name) > 1]
        if twice:
            raise bad_row(file, header.line, f'expected each of the columns {self.names} once, in whatever case, found '
                                             f'{", ".join(twice)}')

    @property
    def names(self) -> str:
        """The names of the columns, for messages."""
        return ', '.join(repr(column.name) for column in self.columns)


def without_file(definition: dict) -> dict:
    """The definition of a task of one's own without the place where it was read."""
    return {name: value for name, value in definition.items() if name != 'file'}


@dataclass(frozen=True)
class GlueTask:
    """One task: a row of `TASKS`.

    Of several file names the first that is there is read. `labelled` describes train and dev, `unlabelled` test;
    columns beyond those named (annotators' labels, parses, labels in a test file) are never looked at.
    """
    name: str                                   # the spelling used in messages, folders and files
    labels: tuple[str, ...] | None              # in the order of the class numbers; None: regression
    unlabelled: Layout
    labelled: Layout | None = None              # None: the task has no train and dev set
    folder: str = ''                            # under envs.GLUE_FOLDER; '' here means the task's name
    train_files: tuple[str, ...] = ('train.tsv',)
    dev_files: tuple[str, ...] = ('dev.tsv',)
    test_files: tuple[str, ...] = ('test.tsv',)
    metric: str = 'acc'                         # the key of compute_metrics' result that decides
    eval_every: int = 200                       # steps between dev evaluations, from the second epoch on
    submission_file: str | None = None          # its file on the GLUE leaderboard
    test_rows: int | None = None                # rows of it, which are those of the official test set
    aliases: tuple[str, ...] = ()               # other spellings of the name, in lower case
    skip_short_rows: bool = False               # train and dev hold broken rows, which are skipped and counted
    skip_label: str | None = None               # rows with this label have no gold label: skipped and counted
    built_in: bool = False                      # made by this repository, not downloaded
    also: tuple[str, ...] = ()                  # other tasks that its model is scored on and predicts: same labels and train
    score_range: tuple[float, float] = (0, 5)   # regression: lowest and highest value
    ptp_thresholds: tuple[float, float] | None = None     # instead of a row of PTP_THRESHOLDS
    hub_words: tuple[str, ...] = ()             # its labels as the copy of GLUE on Hugging Face's hub has them, where others
    definition: dict | None = field(default=None, compare=False)     # of a task that a file defines: see custom_tasks.py

    def __post_init__(self):
        object.__setattr__(self, 'folder', self.folder or self.name)

    @property
    def num_labels(self) -> int:
        """Outputs of the task's classifier: its classes, or 1 for regression."""
        return len(self.labels) if self.labels else 1

    @property
    def output_mode(self) -> str:
        """'classification' or 'regression'."""
        return 'classification' if self.labels else 'regression'

    def files(self, split: str) -> tuple[str, ...]:
        """File names that may hold `split` ('train', 'dev' or 'test'); none if the task has no such split."""
        return {'train': self.train_files, 'dev': self.dev_files, 'test': self.test_files}[split]

    @property
    def score_words(self) -> str:
        """What a value of regression must be, in words."""
        low, high = self.score_range
        return f'a number from {low:g} to {high:g}' if math.isfinite(high - low) else 'a number'

    def is_score(self, text: str) -> bool:
        """Whether a label of regression is a number in the task's range."""
        try:
            value = float(text)
        except ValueError:
            return False
        return math.isfinite(value) and self.score_range[0] <= value <= self.score_range[1]

    @property
    def flags(self) -> dict[str, str]:
        """The flags of a script that name the task."""
        return {'task': self.name} | ({'task_config': self.definition['file']} if self.definition else {})

    @property
    def marks(self) -> list[str]:
        """Beside name and files, what tells the task from others of its name: what its file says, if one defines it."""
        known = without_file(self.definition or {})
        return [json.dumps(known, sort_keys=True)] if known else []

    @property
    def fetch_command(self) -> str:
        """The command, from the repository's root, that puts the task's files in place."""
        if self.built_in:
            return 'python data/data_raw/make_sample_data.py'
        return f'python data/data_raw/download_glue_data.py --tasks {self.folder}'


def _layouts(text_a: tuple, text_b: tuple, label: tuple) -> dict[str, Layout]:
    """Layouts of a pair task whose texts stand in the same columns with and without labels."""
    text_a, text_b = Column(*text_a), Column(*text_b)
    return {'labelled': Layout(text_a, text_b, Column(*label)), 'unlabelled': Layout(text_a, text_b)}


_BINARY = ('0', '1')
_MNLI_LABELS = ('contradiction', 'entailment', 'neutral')
_RTE_LABELS = ('entailment', 'not_entailment')
_MRPC_COLUMNS = _layouts(('#1 String', 3), ('#2 String', 4), ('Quality', 0))
_MNLI_COLUMNS = _layouts(('sentence1', 8), ('sentence2', 9), ('gold_label', -1))
_RTE_COLUMNS = _layouts(('sentence1', 1), ('sentence2', 2), ('label', -1))

# eval_every: Pea-KD evaluates RTE and MRPC at every step, CoLA and SST-2 at every 10th, the others at every 200th. The
# values here cost less; --eval_every sets others.
_ROWS = (
    # CoLA's train and dev files have no header, so their columns are found by position
    GlueTask('CoLA', _BINARY, labelled=Layout(Column('sentence', 3), label=Column('label', 1)),
             unlabelled=Layout(Column('sentence', 1)), metric='mcc', eval_every=100, submission_file='CoLA.tsv',
             test_rows=1_063, hub_words=('unacceptable', 'acceptable')),
    GlueTask('SST-2', _BINARY, labelled=Layout(Column('sentence', 0), label=Column('label', 1)),
             unlabelled=Layout(Column('sentence', 1)), eval_every=100, submission_file='SST-2.tsv', test_rows=1_821,
             aliases=('sst2',), hub_words=('negative', 'positive')),
    GlueTask('MRPC', _BINARY, **_MRPC_COLUMNS, metric='f1', eval_every=25, submission_file='MRPC.tsv',
             test_rows=1_725, hub_words=('not_equivalent', 'equivalent')),
    GlueTask('STS-B', None, **_layouts(('sentence1', 7), ('sentence2', 8), ('score', -1)), metric='corr',
             submission_file='STS-B.tsv', test_rows=1_379, aliases=('stsb',)),
    GlueTask('QQP', _BINARY, labelled=Layout(Column('question1', 3), Column('question2', 4), Column('is_duplicate', 5)),
             unlabelled=Layout(Column('question1', 1), Column('question2', 2)), metric='f1',
             submission_file='QQP.tsv', test_rows=390_965, skip_short_rows=True,
             hub_words=('not_duplicate', 'duplicate')),
    GlueTask('MNLI', _MNLI_LABELS, **_MNLI_COLUMNS, dev_files=('dev_matched.tsv',), test_files=('test_matched.tsv',),
             submission_file='MNLI-m.tsv', test_rows=9_796, aliases=('mnli-m', 'mnli_m'),
             also=('MNLI-mm', 'diagnostic')),
    GlueTask('MNLI-mm', _MNLI_LABELS, **_MNLI_COLUMNS, folder='MNLI', dev_files=('dev_mismatched.tsv',),
             test_files=('test_mismatched.tsv',), submission_file='MNLI-mm.tsv', test_rows=9_847, aliases=('mnli_mm',),
             also=('MNLI', 'diagnostic')),
    GlueTask('QNLI', _RTE_LABELS, **_layouts(('question', 1), ('sentence', 2), ('label', -1)),
             submission_file='QNLI.tsv', test_rows=5_463),
    GlueTask('RTE', _RTE_LABELS, **_RTE_COLUMNS, eval_every=25, submission_file='RTE.tsv', test_rows=3_000),
    GlueTask('WNLI', _BINARY, **_RTE_COLUMNS, submission_file='WNLI.tsv', test_rows=146,
             hub_words=('not_entailment', 'entailment')),
    GlueTask('SNLI', _MNLI_LABELS, **_layouts(('sentence1', 7), ('sentence2', 8), ('gold_label', -1)), skip_label='-'),
    GlueTask('diagnostic', _MNLI_LABELS, unlabelled=_RTE_COLUMNS['unlabelled'], train_files=(), dev_files=(),
             test_files=('diagnostic.tsv', 'AX.tsv'), submission_file='AX.tsv', test_rows=1_104, aliases=('ax',)),
    GlueTask('Sample', _BINARY, **_MRPC_COLUMNS, metric='f1', eval_every=25, built_in=True),
)

#: Every task, by its name in lower case.
TASKS: dict[str, GlueTask] = {task.name.lower(): task for task in _ROWS}
SPELLINGS = TASKS | {alias: task for task in _ROWS for alias in task.aliases}


def add_task(task: GlueTask) -> None:
    """Make a task that a file defines a row of the table, in place of one of its name that a file defined before."""
    name = task.name.lower()
    TASKS[name] = SPELLINGS[name] = task
    processors[name], output_modes[name] = GlueReader(task), task.output_mode


def find_task(name: str) -> GlueTask:
    """The task of this name, in any case. Raises InputError with all choices if there is none."""
    task = SPELLINGS.get(str(name).strip().lower())
    if task is None:
        choices = ', '.join(row.name for row in TASKS.values())
        raise InputError(f'--task {name!r} is not a task; choose one of {choices}, or define one with --task_config')
    return task


def task_folder(task: GlueTask) -> Path:
    """The folder of the task's files: under envs.GLUE_FOLDER, or envs.SAMPLE_FOLDER for the built-in task.

    A folder of the built-in task's name under envs.GLUE_FOLDER goes first."""
    folder = envs.GLUE_FOLDER / task.folder
    return envs.SAMPLE_FOLDER if task.built_in and not folder.is_dir() else folder


def also_served(task: GlueTask, split: str) -> list[GlueTask]:
    """The other tasks whose dev or test set (`split`) the task's model serves.

    One whose file is missing is left out, and a line says so; one that has no such split is left out."""
    served = []
    for other in map(find_task, task.also):
        if any((task_folder(other) / name).is_file() for name in other.files(split)):
            served.append(other)
        elif other.files(split):
            logger.info('%s has no %s file here: left out', other.name, split)
    return served


# Readers


class InputExample(NamedTuple):
    """One row of a GLUE file. `text_b` is None for single sentences, `label` is None in test sets."""
    guid: str                   # '{split}-{n}': the n-th row (0-based) of the file, skipped rows counted
    text_a: str
    text_b: str | None = None
    label: str | None = None


class GlueReader:
    """Reads one task's files as the table says: `GlueReader(find_task('RTE')).get_dev_examples(folder)`.

    `data_dir` is the folder that holds the files. In a TSV file fields are divided by tabs and lines by '\\n' (or '\\r\\n')
    and nothing else: quotes and other kinds of line separators belong to the text. A file whose name ends in .csv is read
    as CSV. A UTF-8 byte order mark is dropped.
    Raises FileNotFoundError for a missing file; InputError for an empty one, for a split that the task lacks, and for
    a bad row, naming the file and the line.

    tell: what is called with a line about what users should know of a file, such as 'skipped 2 of 9 rows, ...'; None: it is
    logged.

    Calling a reader returns the reader itself, so that `processors[task]` and, as in the pytorch_pretrained_bert
    family, `processors[task]()` are the same.
    """

    def __init__(self, task: GlueTask, tell: Callable[[str], None] | None = None):
        self.task, self.tell = task, tell

    def __call__(self) -> 'GlueReader':
        return self

    def get_train_examples(self, data_dir: str | Path) -> list[InputExample]:
        """The rows of the training set, in the file's order."""
        return list(self.examples(data_dir, 'train'))

    def get_dev_examples(self, data_dir: str | Path) -> list[InputExample]:
        """The rows of the dev set, in the file's order."""
        return list(self.examples(data_dir, 'dev'))

    def get_test_examples(self, data_dir: str | Path) -> list[InputExample]:
        """The rows of the test set, in the file's order and none left out; their label is None."""
        return list(self.examples(data_dir, 'test'))

    def get_labels(self) -> list[str | None]:
        """The labels in the order of the class numbers; [None] for regression, so its length is the outputs' number."""
        return list(self.task.labels or (None,))

    def path(self, data_dir: str | Path, split: str) -> Path:
        """The file of a split ('train', 'dev' or 'test')."""
        task, names = self.task, self.task.files(split)
        if not names:
            instead = self._remedy() if task.definition else 'only one to predict; train with --task MNLI'
            raise InputError(f'--task {task.name} has no {split} set; {instead}')
        paths = [Path(data_dir) / name for name in names]
        path = next((path for path in paths if path.is_file()), paths[0])
        if not path.is_file():
            raise FileNotFoundError(f'{path} is missing; {self._remedy()}')
        return path

    def _remedy(self) -> str:
        """How a user gets the files, for messages."""
        if self.task.definition:
            return f'{self.task.definition["file"]} names the files of {self.task.name}'
        return (f'set PEAKD_GLUE to the folder that holds {self.task.folder}/, '
                f'or get the files with `{self.task.fetch_command}`')

    def examples(self, data_dir: str | Path, split: str) -> Iterator[InputExample]:
        """The rows of a split ('train', 'dev' or 'test') one by one, so that a large file need not fit in memory."""
        path = self.path(data_dir, split)
        layout = replace(self.task.unlabelled, indexed=True) if split == 'test' else self.task.labelled
        with open(path, 'rb') as file:
            for _, example in self.numbered_examples(file, path, layout, split, self._remedy()):
                yield example

    def numbered_examples(self, lines: Iterable[bytes], name: str | Path, layout: Layout, split: str, remedy: str = '',
                          kind: str | None = None, on_bad: OnBad = stop) -> Iterator[tuple[int, InputExample]]:
        """(line, example) of each row of any table, whose lines are bytes.

        name: what messages call it; layout: its columns; split: what the examples' names begin with; remedy: what messages
        say of a table without rows; kind: 'tsv' or 'csv', by default as the name says. on_bad: what is done about a bad row;
        a bad header raises."""
        kind = kind or format_of(name)
        rows = table_rows(lines, name, kind)
        first = next(rows, None)
        if first is None:
            raise InputError('; '.join(filter(None, (f'{name} is empty', remedy))))
        if first.error and layout.header is not False:
            raise first.error
        positions, has_header = layout.locate(name, first, kind)
        if not has_header:
            rows = itertools.chain([first], rows)
        examples = self._examples(name, split, rows, layout, positions, kind, on_bad)
        example = next(examples, None)
        if example is None:
            raise InputError('; '.join(filter(None, (f'{name} holds no examples', remedy))))
        yield example
        yield from examples

    def _examples(self, name: str | Path, split: str, rows: Iterable[Row], layout: Layout, positions: list[int], kind: str,
                  on_bad: OnBad) -> Iterator[tuple[int, InputExample]]:
        """One example a row; `positions` are those of layout.columns."""
        width = max(positions) + (2 if positions[-1] == -1 else 1)   # a last-column label stands behind the texts
        at_a, at_b = positions[0], positions[1] if layout.text_b else None
        at_label = positions[-1] if layout.label else None
        may_skip_short = self.task.skip_short_rows and split != 'test'   # a test row left out would shift all answers
        short = unlabelled = commas = quoted = 0
        for index, (line, cells, error) in enumerate(rows):
            label = None
            if error:
                on_bad(error)
                continue
            if len(cells) < width:
                if may_skip_short:
                    short += 1
                else:
                    on_bad(bad_row(name, line, f'expected at least {width} columns divided by {DIVIDERS[kind]}, found '
                                               f'{len(cells)}'))
                continue
            if at_label is not None:
                label = cells[at_label].strip()
                if label and label == self.task.skip_label:
                    unlabelled += 1
                    continue
                self._check_label(name, line, label, layout)
            text_b = None if at_b is None else cells[at_b]
            for text in (cells[at_a], text_b or ''):
                if ',' in text:
                    commas, quoted = commas + 1, quoted + (text[0] == text[-1] == '"')
            yield line, InputExample(f'{split}-{index}', cells[at_a], text_b, label)
        told = [f'skipped {count} of {index + 1} rows, {what}' for count, what in (
            (short, 'with too few columns'), (unlabelled, 'without a gold label')) if count]
        if kind == 'tsv' and quoted == commas >= ENOUGH:
            told.append(f'all {commas} texts with a comma stand in quotes, as spreadsheets write them; in a TSV file quotes '
                        'belong to the text: save it as CSV, or without them')
        for words in told:
            self.tell(words) if self.tell else logger.warning('%s: %s', name, words)

    def _check_label(self, name: str | Path, line: int, label: str, layout: Layout) -> None:
        labels = self.task.labels
        if labels is None:
            fits, expected = self.task.is_score(label), self.task.score_words
        else:
            fits, expected = label in labels, f'one of {", ".join(labels)}'
        if not fits:
            header = f' (or a header with {layout.names})' if line == 1 and layout.header is None else ''
            raise bad_row(name, line, f'expected as label {expected}{header}', label)


#: Task name in lower case -> its reader.
processors: dict[str, GlueReader] = {name: GlueReader(task) for name, task in TASKS.items()}

#: Task name in lower case -> 'classification' or 'regression'.
output_modes: dict[str, str] = {name: task.output_mode for name, task in TASKS.items()}


# Metrics


def _accuracy(preds: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    return {'acc': float(np.mean(preds == labels))}


def _accuracy_and_f1(preds: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    from sklearn.metrics import f1_score
    acc = float(np.mean(preds == labels))
    f1 = float(f1_score(labels == 1, preds == 1, zero_division=0.0))
    return {'acc': acc, 'f1': f1, 'acc_and_f1': (acc + f1) / 2}


def _matthews(preds: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    from sklearn.metrics import matthews_corrcoef
    return {'mcc': 0.0 if _constant(preds, labels) else float(matthews_corrcoef(labels, preds))}


def _correlations(preds: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    from scipy.stats import pearsonr, spearmanr
    preds, labels = preds.astype(np.float64), labels.astype(np.float64)
    if _constant(preds, labels):
        return {'pearson': 0.0, 'spearmanr': 0.0, 'corr': 0.0}
    pearson, spearman = float(pearsonr(preds, labels)[0]), float(spearmanr(preds, labels)[0])
    return {'pearson': pearson, 'spearmanr': spearman, 'corr': (pearson + spearman) / 2}


def _constant(*arrays: np.ndarray) -> bool:
    """Whether one of the arrays holds a single value, which leaves a correlation undefined."""
    return any((array == array[0]).all() for array in arrays)


# The metric that decides -> what computes it, and others beside it
_METRICS: dict[str, Callable[[np.ndarray, np.ndarray], dict[str, float]]] = {
    'acc': _accuracy, **dict.fromkeys(('f1', 'acc_and_f1'), _accuracy_and_f1), 'mcc': _matthews,
    **dict.fromkeys(('pearson', 'spearmanr', 'corr'), _correlations)}


def compute_metrics(task_name: str, preds: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The task's metrics, those of the GLUE benchmark; `find_task(task_name).metric` is the one that decides.

    preds, labels: [N], class numbers, or scores for STS-B. CoLA: mcc (Matthews correlation). MRPC, QQP, Sample: acc,
    f1 (positive = class 1), acc_and_f1 (their mean). STS-B: pearson, spearmanr, corr (their mean). Others: acc.
    A correlation with constant predictions or labels and an F1 without positives are 0.0. Raises InputError when the
    shapes differ, are not [N], or N is 0.
    """
    task, preds, labels = find_task(task_name), np.asarray(preds), np.asarray(labels)
    if preds.ndim != 1 or preds.shape != labels.shape or not preds.size:
        raise InputError(f'metrics of {task.name}: predictions of shape {preds.shape} and labels of shape '
                         f'{labels.shape}; both must be [N] with the same N > 0')
    return _METRICS[task.metric](preds, labels)


# PTP: Pretraining with Teacher's Predictions (Pea-KD)


def parse_ptp_threshold(override: str | None) -> tuple[float, float | None] | None:
    """The value of --ptp_threshold as (t1, t2): '0.95,0.75', or '0.95' for t1 alone; None for None and 'median'.

    Raises InputError for anything else and for values outside [0, 1]."""
    text = 'median' if override is None else str(override).strip().lower()
    if text == 'median':
        return None
    try:
        values = [float(part) for part in text.split(',')]
    except ValueError:
        values = []
    if len(values) not in (1, 2) or not all(0 <= value <= 1 for value in values):
        raise InputError(f"--ptp_threshold {override!r} must be 't', 't1,t2' with values from 0 to 1, or 'median'")
    return values[0], values[1] if len(values) == 2 else None


def ptp_thresholds(task_name: str, override: str | None, confidence: np.ndarray,
                   correct: np.ndarray) -> tuple[float, float]:
    """(t1, t2), the confidence above which a correct (t1) or a wrong (t2) prediction counts as confident.

    override: the value of --ptp_threshold (see `parse_ptp_threshold`); what it leaves out is that of the task's row of
    PTP_THRESHOLDS, or the median where it has none. confidence [N]: the teacher's largest softmax probability on each
    training row; correct [N]: whether it was right. The medians, by which Pea-KD defines the method: t1 of the correct
    rows, t2 of the wrong ones. Where there are no such rows, the median of all rows stands in, so that the threshold
    still divides the dev set at the teacher's usual confidence. Raises InputError for regression tasks and for bad values.
    """
    task = find_task(task_name)
    if task.output_mode == 'regression':
        raise InputError(f'--task {task.name} is regression: PTP needs predictions that are right or wrong')
    thresholds = thresholds_said(task, override)
    confidence, correct = _ptp_rows(confidence, correct)
    if None in thresholds and not confidence.size:
        raise InputError('--ptp_threshold median: there are no rows to take a median of')
    t1, t2 = (float(np.median(rows if rows.size else confidence)) if threshold is None else threshold
              for threshold, rows in zip(thresholds, (confidence[correct], confidence[~correct]), strict=True))
    return t1, t2


def published_thresholds(task: GlueTask) -> tuple[float | None, float | None]:
    """(t1, t2) of the task's own definition or of PTP_THRESHOLDS; None where the medians hold."""
    if task.ptp_thresholds:
        return task.ptp_thresholds
    names = [name for name in PTP_THRESHOLDS if SPELLINGS.get(name.lower()) is task]           # in any spelling
    if len(names) > 1:
        raise InputError(f'PTP_THRESHOLDS in {__file__}: {" and ".join(map(repr, names))} are one task; leave one of them')
    if not names:
        return None, None
    values = PTP_THRESHOLDS[names[0]]
    if not are_thresholds(values):
        raise InputError(f'PTP_THRESHOLDS in {__file__}: {names[0]!r} is {values!r}; must be (t1, t2), two numbers '
                         'from 0 to 1')
    return tuple(values)


def thresholds_said(task: GlueTask, override: str | None) -> tuple[float | None, float | None]:
    """(t1, t2) of --ptp_threshold and, what it leaves open, of the task; None where the medians hold."""
    given = parse_ptp_threshold(override)
    if override is not None and given is None:
        return None, None
    if given is None:
        return published_thresholds(task)
    t1, t2 = given
    return t1, published_thresholds(task)[1] if t2 is None else t2


def are_thresholds(values: Any) -> bool:
    """Whether that is a pair of numbers from 0 to 1."""
    return isinstance(values, list | tuple) and len(values) == 2 and all(
        isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1 for value in values)


def ptp_labels(confidence: np.ndarray, correct: np.ndarray, thresholds: tuple[float, float]) -> np.ndarray:
    """PTP's label of each row, int64 [N], numbers of PTP_CLASSES.

    correct and confidence > t1: 0; correct otherwise: 1; wrong and confidence > t2: 2; wrong otherwise: 3.
    confidence [N] and correct [N] as in `ptp_thresholds`; raises InputError when their shapes differ.
    """
    confidence, correct = _ptp_rows(confidence, correct)
    # Python floats take the array's precision, so that a float32 confidence of 0.8 does not exceed a threshold of 0.8
    t1, t2 = (float(value) for value in thresholds)
    return np.where(correct, np.where(confidence > t1, 0, 1), np.where(confidence > t2, 2, 3)).astype(np.int64)


def _ptp_rows(confidence: np.ndarray, correct: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    confidence, correct = np.asarray(confidence), np.asarray(correct, dtype=bool)
    if confidence.ndim != 1 or confidence.shape != correct.shape:
        raise InputError(f'PTP: confidence of shape {confidence.shape} and correct of shape {correct.shape}; '
                         'both must be [N]')
    return confidence, correct
