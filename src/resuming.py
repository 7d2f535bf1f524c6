"""Going on with a run that was stopped: finding it, and seeing that it is the same run."""
import argparse
import logging
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from BERT.pytorch_pretrained_bert.file_utils import InputError
from src.distributed import launcher
from src.run_log import read_run
from src.training_state import STATE_FILE, differences, read_state

logger = logging.getLogger(__name__)

# Of `inputs`, what earlier versions' records say nothing of
NEW_INPUTS = ('constants', 'labels', 'dev_rows', 'dev_labels', 'pretrained_weights', 'cls_checkpoint')
# What run.json and a new call must have in common for the run to be the one that is asked for
OF_A_FINISHED_RUN = ('script', 'arguments', 'inputs', 'seed')


def earlier_seed(log_folder: Callable[[int | str], Path]) -> int | None:
    """The seed of the stopped run that log_folder(seed) can mean, else of a finished one whose seed was drawn; or None.

    InputError where several were stopped."""
    pattern = log_folder('*')
    folders = [pattern] if pattern == log_folder(0) else sorted(pattern.parent.glob(pattern.name))
    runs = {folder: read_run(folder) for folder in folders}
    stopped = [folder for folder, run in runs.items() if run is None and (folder / STATE_FILE).is_file()]
    if len(stopped) > 1:
        raise InputError(f'--resume: several runs of this configuration were stopped: {", ".join(map(str, stopped))}; name '
                         'one with --train_seed or --output_dir')
    if stopped:
        return read_state(stopped[0] / STATE_FILE)['made_by'].get('seed')
    drawn = [run.get('seed') for run in runs.values() if run and _seed_was_drawn(run.get('arguments', {}))]
    return drawn[-1] if drawn else None


def _seed_was_drawn(arguments: dict) -> bool:
    return arguments.get('train_seed') is None and arguments.get('PTP_seed') is None


def finished_run(args: argparse.Namespace, folder: Path, made_by: dict, weights: Callable[[], Any]) -> dict | None:
    """The record of a folder's run where --resume finds that it has ended, and says so. InputError where it is another, or
    where its weights are gone: weights finds them, or raises FileNotFoundError."""
    run = read_run(folder) if args.resume else None
    if run is not None:
        known = run.get('inputs', {})
        made_by = made_by | {'inputs': {name: value for name, value in made_by['inputs'].items()
                                        if name in known or name not in NEW_INPUTS}}
        check_same(args, f'the finished run in {folder}', {name: run.get(name) for name in OF_A_FINISHED_RUN},
               {name: made_by[name] for name in OF_A_FINISHED_RUN})
        try:
            weights()
        except FileNotFoundError as error:
            raise InputError(f'--resume: the run has ended, but {error}; without --resume it is trained anew') from None
        logger.info('--resume: the run in %s has ended already; nothing is changed', folder)
    return run


def state_to_resume(args: argparse.Namespace, folder: Path, made_by: dict) -> dict | None:
    """The training state from which the run of a folder goes on, or None: it starts from the beginning.

    InputError where it is that of a run made otherwise, unless --resume_anyway is given."""
    path = folder / STATE_FILE
    if not args.resume:
        if path.is_file():
            logger.warning('warning: from the start; with --resume it would have gone on from %s', path)
        return None
    state = read_state(path)
    if state is None:
        logger.info('--resume: there is no training state in %s: from the start', folder)
        return None
    check_same(args, str(path), state['made_by'], made_by)
    logger.info('--resume: goes on after step %d', state['progress']['steps'])
    return state


def check_same(args: argparse.Namespace, what: str, then: dict, now: dict) -> None:
    """InputError that names the differences between what made a thing and this call, unless --resume_anyway is given."""
    found = differences(then, now)
    if not found:
        return
    if not args.resume_anyway:
        raise InputError(f'--resume: {what} was made otherwise: {"; ".join(found)}; give --resume_anyway to go on all the '
                         'same, or leave --resume out to start anew')
    logger.warning('warning: --resume_anyway: %s was made otherwise: %s', what, '; '.join(found))


def command_to_resume() -> str:
    """The command line of this process with --resume."""
    return shlex.join([*launcher(), *sys.argv, *(['--resume'] if '--resume' not in sys.argv else [])])
