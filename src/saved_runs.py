"""Runs that have ended: finding them, loading their models, predicting with them."""
import argparse
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import envs
from BERT.pytorch_pretrained_bert import BertConfig
from BERT.pytorch_pretrained_bert.file_utils import InputError, checkpoint_folder
from src.checkpoints import best_saved, checkpoint_files, load_saved
from src.custom_tasks import task_of_run, tell_changes
from src.data_processing import TokenizedSplit, load_split
from src.evaluation import predict_logits, task_scores
from src.modeling import SequenceClassifier, dropout_probs
from src.nli_data_processing import GlueTask
from src.preparation import Setup, set_up
from src.run_log import RECORD, chosen_by, read_run
from src.utils import PRECISIONS, choose_device, has_fast_bf16

logger = logging.getLogger(__name__)

# What is used of run.json, and of which kind it is: to choose among runs, and to load one
CHOOSING = {'task': str, 'metric': str, 'arguments.holdout': (int, float), 'arguments.holdout_seed': int}
LOADING = {'seed': int, 'precision': str, 'layers': int, 'passes': list, 'arguments.task': str, 'arguments.bert_model': str,
           'arguments.max_seq_length': int, 'arguments.eval_batch_size': int}
OF_CHECKPOINT = {'checkpoint.folder': str, 'checkpoint.tokenizer': str}        # earlier versions' records say nothing of it


@dataclass
class SavedRun:
    """A finished run: its record (run.json), its task and its model, in the state of `files` (encoder, classifier)."""
    folder: Path
    record: dict
    args: argparse.Namespace
    task: GlueTask
    setup: Setup
    files: tuple[Path, Path]
    model: SequenceClassifier

    @property
    def was_chosen(self) -> bool:
        """Whether dev or the holdout chose the model's state; else it is that after the last step."""
        return self.files != checkpoint_files(self.folder, 'BERT', '')

    def tokens(self, task: GlueTask, split: str) -> TokenizedSplit:
        """A split of the run's task, or of another with the same labels, as token ids."""
        return load_split(task, split, self.setup.tokenizer, self.args.max_seq_length)

    def logits(self, split: TokenizedSplit, progress: str | None = None) -> np.ndarray:
        """Logits [R, C] of all rows, as computed in the run's own evaluation."""
        return predict_logits(self.model, split, self.args.eval_batch_size, self.setup.precision, progress)

    def dev_scores(self, task: GlueTask) -> dict[str, float]:
        """The model's scores on the dev set of the run's task, or of another with the same labels."""
        dev = self.tokens(task, 'dev')
        return task_scores(dev, self.logits(dev))


def finished_record(folder: Path) -> dict:
    """The record of a folder's run. InputError when no run of NLI_KD_training.py has ended there."""
    record = read_run(folder)
    if record is None or 'dev_saved' not in record or 'ptp_counts' in record:
        raise InputError(f'{folder}: no finished run of NLI_KD_training.py (run.json) there')
    check_kinds(folder, record, CHOOSING)
    for name in ('dev_saved', 'holdout_saved'):
        if name in record:
            check_kinds(folder, record, {f'{name}.{record["metric"]}': (int, float)})
    if 'dev_also' in record:
        check_kinds(folder, record, {'dev_also': dict})
        check_kinds(folder, record['dev_also'], {f'{task}.{record["metric"]}': (int, float) for task in record['dev_also']})
    return record


def check_kinds(folder: Path, record: dict, kinds: dict[str, type | tuple[type, ...]]) -> None:
    """InputError unless what is used of a folder's record, `part.name` or `name`, is there and of its kind."""
    wrong = []
    for name, kind in kinds.items():
        part, _, key = name.rpartition('.')
        values = record.get(part) if part else record
        if not isinstance(values, dict) or not isinstance(values.get(key), kind):
            wrong.append(name)
    if wrong:
        raise InputError(f'{folder / RECORD}: not a record of a finished run: {", ".join(wrong)} missing or of another '
                         'kind')


def load_run(folder: Path) -> SavedRun:
    """The run of a folder. InputError when none has ended there."""
    record = finished_record(folder)
    check_kinds(folder, record, LOADING | (OF_CHECKPOINT if 'checkpoint' in record else {}))
    if record['arguments']['eval_batch_size'] < 1 or record['precision'] not in PRECISIONS:
        raise InputError(f'{folder / RECORD}: not a record of a finished run: eval_batch_size or precision out of range')
    args = argparse.Namespace(**{**record['arguments'], 'precision': usable_precision(folder, record)})
    task, setup = task_of_run(folder, record), setup_of(folder, record, args)
    tell_changes(task, str(folder))
    shape = {**setup.config.to_dict(), **dropout_probs(record['arguments'].get('dropout')),
             'num_hidden_layers': record['layers'], 'passes': record['passes'],
             'embedding_rank': record.get('embedding_rank')}      # earlier versions' records say nothing of it
    try:
        config, files = BertConfig.from_dict(shape), best_saved(folder)
    except InputError as error:
        raise InputError(f'{folder / RECORD}: {error}') from None
    config.check_room(files[0])
    model = SequenceClassifier(config, task.num_labels)
    load_saved(model, files)
    return SavedRun(folder, record, args, task, setup, files, model.to(setup.device))


def setup_of(folder: Path, record: dict, args: argparse.Namespace) -> Setup:
    """The checkpoint's shape and the tokenizer of a folder's run: of the first checkpoint that has the tokenizer of then.

    InputError where none has it: the model would read other words."""
    setups, then = [], record.get('checkpoint')
    for checkpoint in checkpoints_of(folder, record):
        setups.append(set_up(args, checkpoint))
        if not then or setups[-1].tokenizer.fingerprint == then['tokenizer']:
            return setups[-1]
    raise InputError(f'{setups[0].checkpoint}: its tokenizer is not the one that the run in {folder} was trained with: '
                     f'fingerprint {setups[0].tokenizer.fingerprint[:12]}, then {then["tokenizer"][:12]}, of '
                     f'{then["folder"]}; put back the vocabulary and the tokenizer_config.json of then')


def checkpoints_of(folder: Path, record: dict) -> list[Path]:
    """Folders that may be the checkpoint of a folder's run: what its --bert_model names, and the folder that it was then.

    FileNotFoundError where there is neither."""
    then = [Path(record['checkpoint']['folder'])] if 'checkpoint' in record else []
    then = [path for path in then if path.is_dir()]
    try:
        named = checkpoint_folder(record['arguments']['bert_model'])
    except FileNotFoundError as error:
        if not then:
            where = f' (then in {record["checkpoint"]["folder"]})' if 'checkpoint' in record else ''
            raise FileNotFoundError(f'{folder}: of the checkpoint that its run started from{where} configuration and '
                                    f'vocabulary are needed: {str(error).removeprefix("--bert_model ")}') from None
        return then
    return [named, *(path for path in then if path != named)]


def usable_precision(folder: Path, record: dict) -> str:
    """The precision in which the model of a folder's run computes here: the run's own, but fp32 for fp16 without CUDA, and
    for the bf16 of --precision auto where that would be slow."""
    precision, device = record['precision'], choose_device()
    if precision == 'fp16' and device.type != 'cuda':
        problem = 'which needs a CUDA device, and there is none'
    elif precision == 'bf16' and record['arguments'].get('precision') == 'auto' and not has_fast_bf16(device):
        problem = 'which the hardware here is slow at'
    else:
        return precision
    logger.warning('warning: the run in %s was made in %s, %s: its model computes in fp32', folder, precision, problem)
    return 'fp32'


def finished_runs() -> list[Path]:
    """Folders of all finished runs of NLI_KD_training.py under the outputs folder whose weights are there; teachers of
    comparisons are not among them."""
    folders = sorted({path.parent for root in (envs.OUTPUTS_FOLDER, envs.HOME_OUTPUT_FOLDER, envs.STUDENT_FOLDER,
                                               envs.COMPARE_FOLDER) for path in root.rglob(RECORD)})
    return [folder for folder in folders if has_weights(folder) and not _is_comparisons_teacher(folder)]


def _is_comparisons_teacher(folder: Path) -> bool:
    teachers = folder.parent.parent                # root/teachers/TASK/NAME; see stages.py
    return teachers.name == 'teachers' and (teachers.parent / 'runs').is_dir()


def has_weights(folder: Path) -> bool:
    """Whether a run's saved model is there, which a comparison may have removed; so it is said of one whose record cannot be
    read, which is told where it is."""
    try:
        return bool(best_saved(folder))
    except FileNotFoundError:
        return False
    except (InputError, PermissionError):
        return True


@contextmanager
def leaving_out_unreadable(folder: Path) -> Iterator[None]:
    """Within it, where the run of a folder that was found, not named, cannot be read: a warning in place of the error."""
    try:
        yield
    except (InputError, FileNotFoundError, PermissionError) as error:      # and none that something cannot be written
        logger.warning('warning: the run in %s is left out: %s', folder, error)


def best_runs(folders: list[Path]) -> list[Path]:
    """Of each test set the run of highest metric: one for MNLI and MNLI-mm, whose models predict both.

    The metric is that of the saved state on dev. Where one holdout (fraction and seed, of the same rows) chose the states of
    all runs of the test set, it is that on the holdout, so that dev stays unseen. Scores on different rows cannot be
    compared: of runs of MNLI-mm beside such of MNLI it is that on MNLI's dev set. InputError where none can be read."""
    records: dict[tuple, dict[Path, dict]] = {}
    for folder in folders:
        with leaving_out_unreadable(folder):
            record = finished_record(folder)
            task = task_of_run(folder, record)
            records.setdefault((frozenset((task.name, *task.also)), *task.marks), {})[folder] = record
    if not records:
        raise InputError(f'none of the runs found ({len(folders)}) could be read; name one with --runs')
    return [_best_run(of_one_set) for of_one_set in records.values()]


def _best_run(records: dict[Path, dict]) -> Path:
    choosers = {(chosen_by(record), record['arguments']['holdout'], record['arguments']['holdout_seed'],
                 str(record.get('inputs', {}).get('rows'))) for record in records.values()}
    by_holdout = {chooser for chooser, *_ in choosers} == {'holdout'} and len(choosers) == 1
    dev_of = min(record['task'] for record in records.values())      # MNLI, where runs of MNLI-mm are among its

    def score(record: dict) -> float:
        if by_holdout:
            return record['holdout_saved'][record['metric']]
        also = record.get('dev_also', {}) if record['task'] != dev_of else {}
        return also.get(dev_of, record['dev_saved'])[record['metric']]
    return max(records, key=lambda folder: score(records[folder]))
