"""A teacher's predictions into its result file, and going on with a dump that was stopped."""
import argparse
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np

from BERT.pytorch_pretrained_bert.file_utils import InputError
from src.argument_parser import recorded_arguments
from src.data_processing import TokenizedSplit
from src.distributed import from_main, highest, is_main
from src.dump_journal import DumpJournal
from src.evaluation import predict
from src.modeling import SequenceClassifier
from src.resuming import check_same, command_to_resume
from src.run_lock import only_writer
from src.stopping import Stopped, signals_held
from src.teacher_outputs import TeacherOutputs, result_metadata, write_results
from src.training_state import code_marks
from src.utils import versions

logger = logging.getLogger(__name__)


def dump(args: argparse.Namespace, path: Path, model: SequenceClassifier, splits: dict[str, TokenizedSplit],
         scores: Callable[[str, np.ndarray], dict], made_by: dict[str, str]) -> None:
    """Let a teacher predict every split into its result file, or with --resume the rows that are not in it yet.

    scores, made_by: as of write_results. No other process may write the file (InputError). A signal leaves the unfinished
    file and its journal (Stopped). Several processes compute, and rank 0 writes."""
    with only_writer(path), signals_held():
        _dump(args, path, model, splits, scores, made_by)


def _dump(args: argparse.Namespace, path: Path, model: SequenceClassifier, splits: dict[str, TokenizedSplit],
          scores: Callable[[str, np.ndarray], dict], made_by: dict[str, str]) -> None:
    metadata = result_metadata(splits, made_by)
    marks = {'arguments': recorded_arguments(args), 'versions': versions(), 'code': code_marks(), 'result': metadata}
    journal = DumpJournal(path, marks, args.checkpoint_every)
    if from_main(_is_finished, args, journal, metadata):
        return
    journal.rows = from_main(_rows_to_resume, args, journal)
    predictions = {name: predict(model, split, args.eval_batch_size, made_by['precision'], f'{split.task} {name}',
                                 journal.rows.get(name, 0)) for name, split in splits.items()}
    shape = (model.classifier.classifier.out_features, model.config.hidden_size, model.config.num_hidden_layers)
    if not is_main():
        try:
            for stream in predictions.values():
                next(stream, None)       # computes its share; rank 0 is given what comes of it
        except Stopped:
            highest(0)
            raise
        return
    try:
        write_results(path, splits, predictions, scores, shape, args.all_layers, made_by, journal)
    except Stopped as stop:
        highest(0)                       # what is done is noted: now the others may leave
        stop.advice = f'{sum(journal.rows.values())} rows are done; to go on: {command_to_resume()}'
        raise


def _rows_to_resume(args: argparse.Namespace, journal: DumpJournal) -> dict[str, int]:
    """The rows of each split that the dump of a journal need not compute again. InputError as of state_to_resume."""
    if not args.resume:
        if journal.unfinished():
            logger.warning('warning: a dump into %s that was stopped is made from the start; --resume goes on with one that '
                           'was made the same way', journal.path)
        return {}
    found = journal.read()
    if found is None:
        logger.info('--resume: no dump into %s was stopped: from the start', journal.path)
        return {}
    check_same(args, str(journal.file), found['made_by'], journal.made_by)
    logger.info('--resume: goes on after %d rows', sum(found['rows'].values()))
    return found['rows']


def _is_finished(args: argparse.Namespace, journal: DumpJournal, metadata: dict[str, str]) -> bool:
    """Whether --resume finds that a dump has ended, and says so. InputError where it is of something else."""
    if not args.resume or journal.unfinished() or not journal.path.is_file():
        return False
    try:
        outputs = TeacherOutputs.open(journal.path)
    except InputError:
        return False                # nothing that could be lost
    found, wanted = ({**marks, 'arguments': {'all_layers': patient}} for marks, patient in (
        (outputs.metadata, 'train.feature_maps' in outputs.arrays), (metadata, args.all_layers)))
    check_same(args, str(journal.path), found, wanted)
    if found != wanted:
        return False
    logger.info('--resume: %s is whole already; nothing is changed', journal.path)
    return True
