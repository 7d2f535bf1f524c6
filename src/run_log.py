"""What a run leaves in its folder beside its weights: logs, settings and scores, curves."""
import csv
import io
import json
import math
import os
from pathlib import Path

from BERT.pytorch_pretrained_bert.file_utils import InputError, read_json_object
from BERT.pytorch_pretrained_bert.writing import append, replace_file, writing

LOG_FILES = ('train', 'eval_log', 'run.json')      # what the names of a run's files beside its weights begin with
TRAIN_COLUMNS = ('epoch', 'global_steps', 'step', 'acc', 'loss', 'kd_loss', 'ce_loss', 'AT_loss')


class RunLog:
    """train_log.txt (running means over the epoch) and eval_log.txt of a run folder, as CSV. First `begin` or `cut_back`."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.train_file = folder / 'train_log.txt'
        self.eval_file = folder / 'eval_log.txt'

    def begin(self) -> None:
        """Begin both anew; an earlier run's record goes, for the folder is no longer its own."""
        for stale in (self.folder / 'run.json', self.eval_file):
            stale.unlink(missing_ok=True)
        with replace_file(self.train_file) as temporary:
            temporary.write_text(_row(TRAIN_COLUMNS), encoding='utf-8')

    def lengths(self) -> dict[str, int]:
        """Bytes of each file, all of them on disk: where `cut_back` goes back to."""
        found = {}
        for path in filter(Path.exists, (self.train_file, self.eval_file)):
            with open(path, 'rb+') as file:
                os.fsync(file.fileno())
                found[path.name] = os.fstat(file.fileno()).st_size
        return found

    def cut_back(self, lengths: dict[str, int]) -> None:
        """Remove the rows that came after `lengths` was told. InputError where rows from before it are missing."""
        for path in (self.train_file, self.eval_file):
            found, wanted = path.stat().st_size if path.exists() else 0, lengths.get(path.name, 0)
            if found < wanted:
                raise InputError(f'--resume: {path} has {found} bytes, {wanted} at the last training state: it was cut off '
                                 'or changed; put it back, or start without --resume')
        for path in filter(Path.exists, (self.train_file, self.eval_file)):
            with writing(path):
                os.truncate(path, lengths.get(path.name, 0))

    def train_row(self, epoch: int, global_step: int, step: int, means: dict[str, float]) -> None:
        """Means since the epoch's start: acc (empty for regression), loss, kd, ce, patience."""
        acc = '' if math.isnan(means['acc']) else _short(means['acc'])
        losses = [_short(means[name]) for name in ('loss', 'kd', 'ce', 'patience')]
        append(self.train_file, _row((epoch, global_step, step, acc, *losses)).encode())

    def eval_row(self, epoch: int, global_step: int, scores: dict[str, float]) -> None:
        """Scores on dev or the holdout, `loss` last, and the step they were taken at."""
        columns = [name for name in scores if name != 'loss'] + ['loss']
        begun = self.eval_file.exists() and self.eval_file.stat().st_size
        header = '' if begun else _row(('epoch', *columns, 'global_steps'))
        append(self.eval_file, (header + _row((epoch, *(_short(scores[name]) for name in columns), global_step))).encode())


def _short(value: float) -> str:
    return f'{value:.6g}'


def _row(values: tuple) -> str:
    """A line of CSV."""
    line = io.StringIO()
    csv.writer(line, lineterminator='\n').writerow(values)
    return line.getvalue()


def write_run(folder: Path, record: dict) -> None:
    """Write run.json: everything that made a run and what came of it."""
    with replace_file(folder / 'run.json') as temporary:
        temporary.write_text(json.dumps(record, indent=2, default=str) + '\n', encoding='utf-8')


def chosen_by(record: dict) -> str:
    """What chose a run's checkpoint: holdout or dev; its scores there are {that}_best, {that}_saved and so on."""
    return 'holdout' if 'holdout_saved' in record else 'dev'


def read_run(folder: Path) -> dict | None:
    """run.json of a folder, or None when no run has ended there. InputError where it is no such record."""
    path = folder / 'run.json'
    if not path.is_file():
        return None
    record = read_json_object(path, 'a record of a run')
    for name in ('arguments', 'inputs'):
        if not isinstance(record.get(name, {}), dict):
            raise InputError(f'{path}: not a record of a run: {name} must be an object, not {str(record[name])[:40]}')
    return record
