"""What a run leaves in its folder beside its weights: logs, settings and scores, curves."""
import csv
import json
import math
from pathlib import Path

from BERT.pytorch_pretrained_bert.file_utils import read_json_object
from src.utils import replace_file

TRAIN_COLUMNS = ('epoch', 'global_steps', 'step', 'acc', 'loss', 'kd_loss', 'ce_loss', 'AT_loss')


class RunLog:
    """train_log.txt (running means over the epoch) and eval_log.txt of a run folder, as CSV, begun anew."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.train_file = folder / 'train_log.txt'
        self.eval_file = folder / 'eval_log.txt'
        _write_row(self.train_file, TRAIN_COLUMNS, 'w')
        for stale in (self.eval_file, folder / 'run.json'):
            stale.unlink(missing_ok=True)

    def train_row(self, epoch: int, global_step: int, step: int, means: dict[str, float]) -> None:
        """Means since the epoch's start: acc (empty for regression), loss, kd, ce, patience."""
        acc = '' if math.isnan(means['acc']) else _short(means['acc'])
        losses = [_short(means[name]) for name in ('loss', 'kd', 'ce', 'patience')]
        _write_row(self.train_file, (epoch, global_step, step, acc, *losses), 'a')

    def eval_row(self, epoch: int, global_step: int, scores: dict[str, float]) -> None:
        """Scores on dev or the holdout, `loss` last, and the step they were taken at."""
        columns = [name for name in scores if name != 'loss'] + ['loss']
        if not self.eval_file.exists():
            _write_row(self.eval_file, ('epoch', *columns, 'global_steps'), 'w')
        _write_row(self.eval_file, (epoch, *(_short(scores[name]) for name in columns), global_step), 'a')


def _short(value: float) -> str:
    return f'{value:.6g}'


def _write_row(path: Path, row: tuple, mode: str) -> None:
    with open(path, mode, newline='', encoding='utf-8') as file:
        csv.writer(file, lineterminator='\n').writerow(row)


def write_run(folder: Path, record: dict) -> None:
    """Write run.json: everything that made a run and what came of it."""
    with replace_file(folder / 'run.json') as temporary:
        temporary.write_text(json.dumps(record, indent=2, default=str) + '\n', encoding='utf-8')


def chosen_by(record: dict) -> str:
    """What chose a run's checkpoint: holdout or dev; its scores there are {that}_best, {that}_saved and so on."""
    return 'holdout' if 'holdout_saved' in record else 'dev'


def read_run(folder: Path) -> dict | None:
    """run.json of a folder, or None when no run has ended there. InputError where it is not JSON."""
    path = folder / 'run.json'
    return read_json_object(path, 'a record of a run') if path.is_file() else None
