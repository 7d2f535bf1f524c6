"""Running a comparison: its cells side by side, the stages that they share once, one row of results.csv a cell."""
import contextlib
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from BERT.pytorch_pretrained_bert import BertTokenizer
from BERT.pytorch_pretrained_bert.file_utils import (
    checkpoint_folder,
    config_file,
    sha256_of,
    vocab_file,
    weights_file,
)
from src.checkpoints import remove_checkpoints
from src.grid import Cell, Grid, check_grid, grid_cells
from src.nli_data_processing import GlueReader, GlueTask, also_served, find_task, task_folder
from src.results import Results, ptp_scores
from src.run_lock import only_one
from src.run_log import chosen_by, read_run
from src.speed import can_tell_speed, kept_speed, sentences_a_second
from src.stage_runner import LOG, StageRunner, is_ready, run_stages
from src.stages import Stage, setting_columns, student_stage

logger = logging.getLogger(__name__)

CELLS_FAILED = 1        # the exit code of --mode compare when cells have failed: the others are there
KEEP_WEIGHTS = ('best', 'all', 'none')
# So many students at most wait for their speed to be measured while others run; their weights fill the disk.
UNMEASURED = 16


def source_marks(tasks: tuple[str, ...], bert_model: str) -> dict[str, str]:
    """Task -> hashes of the labelled files that its runs read and of the checkpoint, its tokenizer's rules where a file
    beside the vocabulary gives others than BERT's, and what else defines the task: with other ones, all is made anew.

    InputError or FileNotFoundError where a file is missing."""
    checkpoint = checkpoint_folder(bert_model)
    model = ' '.join(sha256_of(find(checkpoint)) for find in (config_file, vocab_file, weights_file))
    tokenizer = BertTokenizer.of_checkpoint(checkpoint).fingerprint
    if tokenizer != BertTokenizer(vocab_file(checkpoint)).fingerprint:
        model += f' {tokenizer}'
    marks = {}
    for task in map(find_task, tasks):
        labelled = [data_file(task, 'train'), *(data_file(own, 'dev') for own in (task, *also_served(task, 'dev')))]
        if task.files('test'):
            data_file(task, 'test')                                  # it is enough that it is there
        marks[task.name] = ' '.join([*map(sha256_of, labelled), model, *task.marks])
    return marks


def data_file(task: GlueTask, split: str) -> Path:
    """The file of a task's split. InputError or FileNotFoundError where there is none."""
    return GlueReader(task).path(task_folder(task), split)


def compare(grid: Grid, root: Path, jobs: int = 1, keep_weights: str = 'best', retry_failed: bool = True) -> int:
    """Run the cells of a grid that `root` has no results of; returns how many cells have failed.

    jobs: stages that run at a time; keep_weights: of which students (best: of the best of each task, by the score that
    chose its state, and of each data and holdout, between which scores cannot be compared; all; none, and no PTP encoder
    either); retry_failed: run cells again that failed before."""
    check_grid(grid)
    root = root.resolve()
    with _told_once():
        cells = {stage.folder: (cell, stage) for cell in grid_cells(grid) for stage in [student_stage(grid, cell)]}
        columns = {folder: _columns(cell, stage) for folder, (cell, stage) in cells.items()}
    with only_one(root / '.lock', 'output_dir'), logging_redirect_tqdm():
        comparison = Comparison(root, {folder: stage for folder, (_, stage) in cells.items()}, columns, keep_weights)
        return comparison.run(jobs, retry_failed)


@contextlib.contextmanager
def _told_once() -> Iterator[None]:
    """Within it, what is said of the recommended settings is said once, not once a cell."""
    told = set()
    log = logging.getLogger('src.recommended_settings')

    def is_new(record: logging.LogRecord) -> bool:
        return record.getMessage() not in told and not told.add(record.getMessage())
    log.addFilter(is_new)
    try:
        yield
    finally:
        log.removeFilter(is_new)


class Comparison:
    """The cells of a comparison in a folder: stages and columns are those of each cell's run folder.

    The speed of a student is measured when nothing else runs; until then its row lacks it and its weights stay."""

    def __init__(self, root: Path, stages: dict[Path, Stage], columns: dict[Path, dict[str, Any]], keep_weights: str):
        self.root, self.stages, self.columns, self.keep_weights = root, stages, columns, keep_weights
        self.results = Results(root / 'results.csv')
        self.bar = None
        self.unmeasured = {folder: stage for folder, stage in stages.items() if self._lacks_speed(stage)}
        self.learners: dict[Path, list[str]] = {}        # a PTP encoder's folder -> the runs that start from it
        for folder, ptp in ((folder, stage.need('ptp')) for folder, stage in stages.items()):
            if ptp:
                self.learners.setdefault(ptp.folder, []).append(str(folder))

    def run(self, jobs: int, retry_failed: bool) -> int:
        """Run all cells that are missing, with a bar; returns how many of all cells have failed."""
        missing = self._missing(retry_failed)
        threads = max(1, torch.get_num_threads() // jobs)
        with tqdm(total=len(self.stages), initial=len(self.stages) - len(missing), unit='cell') as self.bar:
            for stage in missing:
                if is_ready(stage, self.root):     # its row alone is missing
                    self._ended(stage, None)
            unfinished = [stage for stage in missing if not is_ready(stage, self.root)]
            run_stages(unfinished, StageRunner(self.root, threads), jobs, self._started, self._ended, self._hold)
            self._measure_speeds()
        failures = [folder for folder in self.stages if not self.results.succeeded(str(folder))]
        logger.info('%d cells, %d failed; saved in %s', len(self.stages), len(failures), self.results.path)
        return len(failures)

    def _missing(self, retry_failed: bool) -> list[Stage]:
        return [stage for folder, stage in self.stages.items()
                if not (self.results.succeeded(str(folder)) and is_ready(stage, self.root))
                and (retry_failed or not self.results.rows.get(str(folder), {}).get('error'))]

    def _started(self, running: list[Stage]) -> None:
        self.bar.set_postfix_str(', '.join(f'{stage.kind} {stage.name}' for stage in running))

    def _ended(self, stage: Stage, error: str | None) -> None:
        """Note what became of a stage; of a student, as a row."""
        row = self.columns.get(stage.folder, {})
        if row and not error:
            try:
                row = row | finished_columns(stage, self.root)
            except Exception as problem:          # whatever it is, it must not stop the other cells
                error = f'{type(problem).__name__}: {problem}'
        if error:
            log = self.root / stage.folder / LOG
            logger.warning('%s %s failed: %s%s', stage.kind, stage.name, error, f'; its log: {log}' if log.is_file() else '')
        if row:
            best_before = self.results.best_run(row)
            self.results.put(row | {'error': ' '.join((error or '').split()), 'run': str(stage.folder)})
            if self._lacks_speed(stage):
                self.unmeasured[stage.folder] = stage
            self._remove_weights(stage, best_before)
            self.bar.update()

    def _lacks_speed(self, stage: Stage) -> bool:
        """Whether a row lacks a speed that can still be told."""
        run = str(stage.folder)
        return (self.results.succeeded(run) and not self.results.rows[run]['sentences_a_second']
                and is_ready(stage, self.root) and can_tell_speed(self.root / run))

    def _hold(self, running: int) -> bool:
        """Measure speeds if nothing runs; whether no stage is to be started before that is done."""
        if not running:
            self._measure_speeds()
        return len(self.unmeasured) >= UNMEASURED

    def _measure_speeds(self) -> None:
        """Add the speeds that rows lack, and remove weights that were there for that alone."""
        while self.unmeasured:
            stage = self.unmeasured.pop(next(iter(self.unmeasured)))
            self.bar.set_postfix_str(f'speed of {stage.name}')
            row = self.results.rows[str(stage.folder)]
            try:
                row = row | {'sentences_a_second': sentences_a_second(self.root / stage.folder)}
            except Exception as problem:          # its scores are right all the same
                logger.warning('the speed of %s is not known: %s: %s', stage.folder, type(problem).__name__, problem)
            # The row last: after a stop before it the speed is kept and the row is filled in.
            self._remove_weights(stage)
            self.results.put(row)

    def _remove_weights(self, stage: Stage, best_before: str | None = None) -> None:
        """Remove the weights that need not be kept of this cell, and of the best one before it; for the others nothing has
        changed. Those of other comparisons in the folder stay."""
        if self.keep_weights == 'all':
            return
        best = self.results.best_run(self.columns[stage.folder]) if self.keep_weights == 'best' else None
        for folder in {stage.folder, Path(best_before or stage.folder)}:
            if folder in self.stages and folder not in self.unmeasured and str(folder) != best:
                remove_checkpoints(self.root / folder, 'BERT')
        ptp = stage.need('ptp')
        if self.keep_weights == 'none' and ptp and all(map(self.results.succeeded, self.learners[ptp.folder])):
            remove_checkpoints(self.root / ptp.folder, ptp.prefix)


def finished_columns(stage: Stage, root: Path) -> dict[str, Any]:
    """What a student's finished run adds to its row: size, scores, those of its PTP, seconds of both (nan when its PTP's are
    not known), and its speed where that has been measured."""
    record = read_run(root / stage.folder)
    ptp = stage.need('ptp')
    of_ptp = (read_run(root / ptp.log_folder) or {}) if ptp else {'seconds_training': 0}
    columns = ptp_scores(of_ptp) if ptp else {}
    return {'passes': len(record['passes']), 'parameters': record['parameters'], 'metric': record['metric'],
            **scores_of(record), **columns, 'seconds': record['seconds_training'] + of_ptp.get('seconds_training', math.nan),
            'sentences_a_second': kept_speed(root / stage.folder)}


def scores_of(record: dict) -> dict[str, float]:
    """Scores of a run as columns: at the best and the last step; where a holdout chose, dev's of the chosen state too."""
    kinds = ('holdout_best', 'holdout_last', 'dev_saved') if chosen_by(record) == 'holdout' else ('dev_best', 'dev_last')
    groups = {kind: record[kind] for kind in kinds if kind in record} | record.get('dev_also', {})
    return {f'{kind}_{name}': value for kind, scores in groups.items() for name, value in scores.items()}


def _columns(cell: Cell, stage: Stage) -> dict[str, Any]:
    """What is known of a cell before it runs."""
    return {'task': cell.task, 'data': stage.data, 'method': cell.method, 'base': cell.train_type, 'layers': cell.layers,
            'seed': cell.seed, **setting_columns(stage)}
