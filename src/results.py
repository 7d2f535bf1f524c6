"""results.csv of a comparison: one row a cell, the file whole at any time."""
import math
from pathlib import Path
from typing import Any

import pandas as pd

from BERT.pytorch_pretrained_bert.file_utils import InputError
from BERT.pytorch_pretrained_bert.writing import replace_file
from src.run_log import chosen_by

FIRST = ('task', 'data', 'method', 'base', 'layers', 'passes', 'parameters', 'seed')
LAST = ('seconds', 'sentences_a_second', 'error', 'run')
SETTING_STAGES = ('student.', 'ptp.', 'teacher.')     # what the names of columns of settings begin with
# Runs whose scores can be compared have these in common: the rows they learnt from and those that chose their state.
SCOPE = ('task', 'student.bert_model', 'data', 'student.holdout', 'student.holdout_seed')
# Accuracy of a student's PTP on dev or the holdout, and that of the majority class there
PTP_SCORES = ('ptp_acc', 'ptp_majority_acc')
DEV, HOLDOUT = 'dev_best', 'holdout_best'             # scores that chose the saved state: on dev, or on the holdout


class Results:
    """The rows of results.csv, as text, by their run folder. Every change is on disk when `put` returns."""

    def __init__(self, path: Path):
        self.path = path
        rows = read_results(path).to_dict('records') if path.is_file() else []
        self.rows: dict[str, dict[str, str]] = {row['run']: row for row in rows}

    def put(self, row: dict[str, Any]) -> None:
        """Add a row, or replace the one of the same run. None and nan, what is not known, are empty cells."""
        self.rows[row['run']] = {name: '' if pd.isna(value) else str(value) for name, value in row.items()}
        table = pd.DataFrame(self.rows.values(), columns=columns_in_order(self.rows.values())).fillna('')
        with replace_file(self.path) as temporary:
            table.to_csv(temporary, index=False)

    def succeeded(self, run: str) -> bool:
        """Whether there is a row of the run, and without an error."""
        return run in self.rows and not self.rows[run]['error']

    def best_run(self, like: dict[str, str]) -> str | None:
        """The run with the highest choosing score, or None, of those that can be compared with a row: see SCOPE."""
        scores = {run: choosing_score(row) for run, row in self.rows.items() if not row['error']
                  and all(row.get(name, '') == like.get(name, '') for name in SCOPE)}
        return max(scores, key=scores.get, default=None)


def read_results(path: Path) -> pd.DataFrame:
    """A results.csv as text, empty cells as ''. InputError when it is not one."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise InputError(f'{path}: not a results.csv of --mode compare ({error})') from None
    missing = [name for name in (*FIRST, 'metric', *LAST) if name not in table.columns]
    if missing:
        raise InputError(f'{path}: not a results.csv of --mode compare; it has no column {", ".join(missing)}')
    return table


def ptp_scores(record: dict) -> dict[str, float]:
    """PTP_SCORES of the record of a PTP run, on the rows that choose, of its last state: students start from that one where
    no other is named. nan for what the record does not tell."""
    rows = chosen_by(record)
    counts = record.get('ptp_counts', {}).get(rows, {}).values()
    majority = max(counts) / sum(counts) if any(counts) else math.nan
    return dict(zip(PTP_SCORES, (record.get(f'{rows}_last', {}).get('acc', math.nan), majority), strict=True))


def columns_in_order(rows) -> list[str]:
    """What a run is, its settings, its scores, what became of it."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    settings = sorted(name for name in names if name.startswith(SETTING_STAGES))
    scores = [name for name in names if name not in (*FIRST, *settings, *LAST, 'metric')]
    return [*FIRST, *settings, 'metric', *scores, *LAST]


def choosing_score(row: dict[str, str]) -> float:
    """The score by which the row's saved state was chosen: the task's metric on the holdout if there was one, else dev;
    -inf where that is not a number."""
    score = row.get(f'{HOLDOUT}_{row["metric"]}') or row.get(f'{DEV}_{row["metric"]}')
    try:
        return float(score or '-inf')
    except ValueError:
        return -math.inf
