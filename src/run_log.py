"""What a run leaves in its folder beside its weights: logs, settings and scores, curves. The logs are CSV; with --report_to
TensorBoard and Weights & Biases are given their numbers too.
"""
import csv
import importlib.util
import json
import math
import os
import uuid
from collections.abc import Iterable
from pathlib import Path

from BERT.pytorch_pretrained_bert.file_utils import InputError, read_json_object
from BERT.pytorch_pretrained_bert.writing import append, replace_file, writing
from src.table_files import csv_line

TRAIN_LOG, EVAL_LOG, RECORD = 'train_log.txt', 'eval_log.txt', 'run.json'
LOG_FILES = ('train', 'eval_log', RECORD)      # what the names of a run's files beside its weights begin with
TRAIN_COLUMNS = ('epoch', 'global_steps', 'step', 'acc', 'loss', 'kd_loss', 'ce_loss', 'AT_loss')


# Columns of the logs that say where in the run a row is; the others are points
PLACES = ('epoch', 'global_steps', 'step')

EVENTS = 'events.out.tfevents.*'      # TensorBoard's files in a run's folder
WANDB_ID = 'wandb_id.txt'


def parse_report_to(text: str) -> tuple[str, ...]:
    """'tensorboard,wandb' -> its names; none, in any case, -> (). InputError for others, and where a library is missing."""
    names = () if text.lower() == 'none' else tuple(dict.fromkeys(text.split(',')))
    unknown = [name for name in names if name not in REPORTERS]
    if unknown:
        raise InputError(f'--report_to {text!r}: must be none, or of {", ".join(REPORTERS)}, commas between them')
    missing = [name for name in names if not _is_installed(name)]
    if missing:
        raise InputError(f'--report_to {text}: {" and ".join(missing)} not installed; pip install {" ".join(missing)}')
    return names


def _is_installed(package: str) -> bool:
    """Without importing it. A folder of that name, as wandb leaves one, is no package."""
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None


class TensorBoard:
    """Writes points as TensorBoard's event files into a run's folder. `first`: the step from which on it wants them.

    steps: how many are done; points from there on are written anew, and hide those that an earlier process wrote."""

    def __init__(self, folder: Path, settings: dict, steps: int):
        from torch.utils.tensorboard import SummaryWriter  # optional: imported only when asked for

        begun = any(folder.glob(EVENTS))
        self.first = steps if begun else 0
        self.writer = SummaryWriter(str(folder), purge_step=steps if begun else None)

    def add(self, step: int, points: dict[str, float], of_scores: bool) -> None:
        """Points of a step: name -> value."""
        for name, value in points.items():
            self.writer.add_scalar(name, value, step)

    def flush(self) -> None:
        """Have all points in the file."""
        self.writer.flush()

    def close(self, failed: bool) -> None:
        """No more points will come."""
        self.writer.close()


class WandB:
    """Sends points to Weights & Biases, to one run there for one run here, whose id stands in its folder. See TensorBoard.

    wandb takes no second row for a step of its own, but ignores it. Its steps are twice those of the run, and one more for
    scores: so nothing is doubled after a stop, and scores that come only after one are not lost."""

    def __init__(self, folder: Path, settings: dict, steps: int):
        import wandb

        id_file = folder / WANDB_ID
        self.first = steps if id_file.is_file() else 0
        if not id_file.is_file():
            with replace_file(id_file) as temporary:
                temporary.write_text(uuid.uuid4().hex[:16], encoding='utf-8')
        try:
            self.run = wandb.init(project=os.environ.get('WANDB_PROJECT', 'pea-kd'), id=id_file.read_text(encoding='utf-8'),
                                  name=folder.name, dir=str(folder), config=settings, resume='allow')
        except wandb.Error as error:
            raise InputError(f'--report_to wandb: {error}') from None
        self.run.define_metric('*', step_metric='global_steps')

    def add(self, step: int, points: dict[str, float], of_scores: bool) -> None:
        """As of TensorBoard; of_scores: they are scores, not means over training rows."""
        of_wandb = 2 * step + of_scores
        if of_wandb >= self.run.step:
            self.run.log({**points, 'global_steps': step}, step=of_wandb, commit=True)

    def flush(self) -> None:
        """Nothing: a process of wandb's own has what was logged."""

    def close(self, failed: bool) -> None:
        """No more points will come."""
        self.run.finish(exit_code=int(failed))


REPORTERS = {'tensorboard': TensorBoard, 'wandb': WandB}


class RunLog:
    """train_log.txt (running means over the epoch) and eval_log.txt of a run folder, as CSV. First `begin` or `cut_back`.

    report_to: names of REPORTERS that get the same numbers; chosen_by: what the rows that are scored are called there. As a
    context manager it lets them end."""

    def __init__(self, folder: Path, report_to: Iterable[str] = (), chosen_by: str = 'dev'):
        self.folder, self.report_to, self.chosen_by = folder, report_to, chosen_by
        self.train_file = folder / TRAIN_LOG
        self.eval_file = folder / EVAL_LOG
        self.reporters: list[TensorBoard | WandB] = []

    def __enter__(self) -> 'RunLog':
        return self

    def __exit__(self, kind, *_) -> None:
        while self.reporters:
            self.reporters.pop().close(kind is not None)

    def begin(self, settings: dict | None = None) -> None:
        """Begin both anew; an earlier run's record goes, for the folder is no longer its own. settings: told to wandb."""
        for stale in (self.folder / RECORD, self.eval_file, self.folder / WANDB_ID, *self.folder.glob(EVENTS)):
            stale.unlink(missing_ok=True)
        with replace_file(self.train_file) as temporary:
            temporary.write_text(csv_line(TRAIN_COLUMNS), encoding='utf-8')
        self._open_reporters(settings, 0)

    def lengths(self) -> dict[str, int]:
        """Bytes of each file, all of them on disk: where `cut_back` goes back to."""
        for reporter in self.reporters:
            reporter.flush()
        found = {}
        for path in filter(Path.exists, (self.train_file, self.eval_file)):
            with open(path, 'rb+') as file:
                os.fsync(file.fileno())
                found[path.name] = os.fstat(file.fileno()).st_size
        return found

    def cut_back(self, lengths: dict[str, int], settings: dict | None = None, steps: int = 0) -> None:
        """Remove the rows that came after `lengths` was told, when so many steps were done. InputError where rows from
        before it are missing."""
        for path in (self.train_file, self.eval_file):
            found, wanted = path.stat().st_size if path.exists() else 0, lengths.get(path.name, 0)
            if found < wanted:
                raise InputError(f'--resume: {path} has {found} bytes, {wanted} at the last training state: it was cut off '
                                 'or changed; put it back, or start without --resume')
        for path in filter(Path.exists, (self.train_file, self.eval_file)):
            with writing(path):
                os.truncate(path, lengths.get(path.name, 0))
        self._open_reporters(settings, steps)

    def train_row(self, epoch: int, global_step: int, step: int, acc: float, losses: tuple[float, ...]) -> None:
        """Means since the epoch's start: accuracy (nan, and left empty, for regression), and the losses in the order of
        TRAIN_COLUMNS."""
        words = ['' if math.isnan(acc) else _short(acc), *map(_short, losses)]
        row = dict(zip(TRAIN_COLUMNS, (epoch, global_step, step, *words), strict=True))
        append(self.train_file, csv_line(row.values()).encode())
        self._report(self.train_file, row)

    def eval_row(self, epoch: int, global_step: int, scores: dict[str, float]) -> None:
        """Scores on dev or the holdout, `loss` last, and the step they were taken at."""
        columns = [name for name in scores if name != 'loss'] + ['loss']
        row = {'epoch': epoch, **{name: _short(scores[name]) for name in columns}, 'global_steps': global_step}
        begun = self.eval_file.exists() and self.eval_file.stat().st_size
        append(self.eval_file, (('' if begun else csv_line(row)) + csv_line(row.values())).encode())
        self._report(self.eval_file, row)

    def _open_reporters(self, settings: dict | None, steps: int) -> None:
        """Open those that are asked for, and give them the rows of the logs that they lack."""
        for name in self.report_to:
            try:
                self.reporters.append(REPORTERS[name](self.folder, settings or {}, steps))
            except ImportError as error:
                raise InputError(f'--report_to {name}: cannot be imported ({error}); pip install --upgrade {name}') from None
        if self.reporters:
            for path, row in self._rows():
                self._report(path, row, again=True)

    def _rows(self) -> list[tuple[Path, dict[str, float]]]:
        """The rows of both logs, in the order they were written in. InputError where one is damaged."""
        rows = []
        for path in filter(Path.exists, (self.train_file, self.eval_file)):
            try:
                with open(path, encoding='utf-8', newline='') as file:
                    for row in csv.DictReader(file):
                        numbers = {name: float(value) for name, value in row.items() if value != ''}
                        rows.append((numbers['global_steps'], path, numbers))
            except (KeyError, TypeError, ValueError, csv.Error):
                raise InputError(f'--resume: {path} is damaged: not a log of numbers; leave --report_to out, or --resume to '
                                 'start anew') from None
        return [(path, row) for _, path, row in sorted(rows, key=lambda row: row[0])]

    def _report(self, path: Path, row: dict, again: bool = False) -> None:
        """Give a row to the reporters; again: only to those that want it once more."""
        step, of_scores = int(row['global_steps']), path == self.eval_file
        group = self.chosen_by if of_scores else 'train'
        points = {f'{group}/{name}': float(value) for name, value in row.items() if name not in PLACES and value != ''}
        for reporter in self.reporters:
            if not again or step >= reporter.first:
                reporter.add(step, points, of_scores)


def _short(value: float) -> str:
    return f'{value:.6g}'


def write_run(folder: Path, record: dict) -> None:
    """Write run.json: everything that made a run and what came of it."""
    with replace_file(folder / RECORD) as temporary:
        temporary.write_text(json.dumps(record, indent=2, default=str) + '\n', encoding='utf-8')


def chosen_by(record: dict) -> str:
    """What chose a run's checkpoint: holdout or dev; its scores there are {that}_best, {that}_saved and so on."""
    return 'holdout' if 'holdout_saved' in record else 'dev'


def read_run(folder: Path) -> dict | None:
    """run.json of a folder, or None when no run has ended there. InputError where it is no such record."""
    path = folder / RECORD
    if not path.is_file():
        return None
    record = read_json_object(path, 'a record of a run')
    for name in ('arguments', 'inputs', 'checkpoint'):
        if not isinstance(record.get(name, {}), dict):
            raise InputError(f'{path}: not a record of a run: {name} must be an object, not {str(record[name])[:40]}')
    return record
