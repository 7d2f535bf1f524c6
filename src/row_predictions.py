"""What a saved run predicts of the rows of any table, in their order, with few rows in memory at a time."""
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from scipy.special import softmax

from src.data_processing import tokenize_examples
from src.evaluation import in_words
from src.nli_data_processing import GlueTask, InputExample
from src.saved_runs import SavedRun
from src.table_files import csv_line

ROWS_AT_ONCE = 4096      # their texts are in memory together, and batches are made by length among them


class Prediction(NamedTuple):
    """A row's prediction. index: the row's number, 0-based, rows that were skipped counted; line: where it begins in its
    file, 1-based; value: a label's word, or a number for regression; probabilities: of each label, none for regression."""
    index: int
    line: int
    value: str | float
    probabilities: dict[str, float]


def predict_rows(run: SavedRun, examples: Iterable[tuple[int, InputExample]]) -> Iterator[Prediction]:
    """Predictions for (line, example) pairs, in their order."""
    examples = iter(examples)
    while chunk := list(itertools.islice(examples, ROWS_AT_ONCE)):
        rows = [example for _, example in chunk]
        split = tokenize_examples(rows, run.setup.tokenizer, run.task, 'test', run.args.max_seq_length)
        logits = run.logits(split)
        for (line, example), (value, probabilities) in zip(chunk, _with_probabilities(run.task, logits), strict=True):
            yield Prediction(int(example.guid.rpartition('-')[2]), line, value, probabilities)


def _with_probabilities(task: GlueTask, logits: np.ndarray) -> Iterator[tuple[str | float, dict[str, float]]]:
    """Of each row of logits [R, C] the label's word and the probabilities; for regression the value, cut to its range."""
    shares = softmax(logits.astype(np.float64), axis=1).tolist()
    for value, row in zip(in_words(task, logits), shares, strict=True):
        if task.labels is None:
            yield float(str(value)), {}          # the shortest number that tells the float32 from others
        else:
            yield value, {label: round(share, 6) for label, share in zip(task.labels, row, strict=True)}


def _table(task: GlueTask, predictions: Iterable[Prediction], write: Callable[[list], str]) -> Iterator[str]:
    for number, (index, line, value, probabilities) in enumerate(predictions):
        if number == 0:       # no header where the input turns out to be wrong before there is a row
            yield write(['index', 'line', 'prediction', *(f'p_{label}' for label in task.labels or ())])
        yield write([index, line, value, *(f'{share:.6f}' for share in probabilities.values())])


def as_tsv(task: GlueTask, predictions: Iterable[Prediction]) -> Iterator[str]:
    """Lines of a TSV file: index, line, prediction, and p_LABEL of each label."""
    return _table(task, predictions, lambda cells: '\t'.join(map(str, cells)) + '\n')


def as_csv(task: GlueTask, predictions: Iterable[Prediction]) -> Iterator[str]:
    """Lines of a CSV file, with the same columns."""
    return _table(task, predictions, csv_line)


def as_json_lines(task: GlueTask, predictions: Iterable[Prediction]) -> Iterator[str]:
    """A JSON object a line: index, line, prediction, and, but for regression, probabilities by label."""
    for index, line, value, probabilities in predictions:
        shares = {'probabilities': probabilities} if task.labels else {}
        yield json.dumps({'index': index, 'line': line, 'prediction': value, **shares}, ensure_ascii=False) + '\n'


# Name of a format, also what names of such files end in -> what writes it
WRITERS = {'tsv': as_tsv, 'csv': as_csv, 'jsonl': as_json_lines}
