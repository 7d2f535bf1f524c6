"""Test predictions in the form of the GLUE leaderboard (https://gluebenchmark.com): index and prediction, tabs between."""
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd

from BERT.pytorch_pretrained_bert.file_utils import InputError
from BERT.pytorch_pretrained_bert.writing import replace_file
from src.evaluation import in_words
from src.nli_data_processing import GlueTask


def prediction_words(task: GlueTask, logits: np.ndarray) -> list[str]:
    """What the leaderboard takes for logits [R, C]: label words, values of regression with three digits."""
    return [value if isinstance(value, str) else f'{value:.3f}' for value in in_words(task, logits)]


def write_predictions(path: Path, task: GlueTask, logits: np.ndarray) -> None:
    """Write one task's file and check it as it stands on disk."""
    table = pd.DataFrame({'index': range(len(logits)), 'prediction': prediction_words(task, logits)})
    with replace_file(path) as temporary:
        table.to_csv(temporary, sep='\t', index=False)
    check_predictions(path, task, len(logits))


def check_predictions(path: Path, task: GlueTask, rows: int) -> None:
    """InputError when a file has not one row for each test row, in order, with a word or score of the task."""
    table = pd.read_csv(path, sep='\t', dtype=str, keep_default_na=False)
    if list(table.columns) != ['index', 'prediction']:
        raise InputError(f'{path}: columns {list(table.columns)}, expected index and prediction')
    if len(table) != rows:
        raise InputError(f'{path}: {len(table)} rows, the test set of {task.name} has {rows}')
    if table['index'].tolist() != [str(number) for number in range(rows)]:
        raise InputError(f'{path}: index must count from 0 to {rows - 1}')
    if task.labels is None:
        wrong = ~pd.to_numeric(table['prediction'], errors='coerce').between(*task.score_range)
    else:
        wrong = ~table['prediction'].isin(task.labels)
    if wrong.any():
        raise InputError(f'{path}: line {wrong.idxmax() + 2}: prediction {table["prediction"][wrong.idxmax()]!r} is none '
                         f'of {", ".join(task.labels) if task.labels else " to ".join(map(str, task.score_range))}')


def write_zip(path: Path, files: list[Path]) -> None:
    """One zip of the files, names without folders."""
    with replace_file(path) as temporary, zipfile.ZipFile(temporary, 'w', zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.write(file, file.name)
