"""The training state: one file in a run's log folder from which the run can go on as if it had never stopped.

It is a dictionary by torch.save: tensors in plain containers, so that reading it can run no code. `made_by` and `progress`
are JSON: what made the run, and how far it is. `random` has the generators of each process; another number of processes
can go on from it.
"""
import hashlib
import json
import random
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import envs
from BERT.pytorch_pretrained_bert.file_utils import InputError
from BERT.pytorch_pretrained_bert.weights import load_tensors
from BERT.pytorch_pretrained_bert.writing import replace_file

STATE_FILE = 'training_state.pt'
FORMAT = 'peakd training state 1'
# What a state holds, and what of its progress is read before the run's Trainer takes it
PARTS = {'progress': dict, 'sums': torch.Tensor, 'model': dict, 'precision': dict, 'optimizer': dict, 'random': list}
COUNTED = {'steps': int, 'seconds': float, 'log_bytes': dict}
# Arguments that change nothing in what is computed; the seed itself is compared, however it was chosen.
NEUTRAL = ('output_dir', 'log_every_step', 'checkpoint_every', 'report_to', 'train_seed', 'PTP_seed', 'task_config.file')
CODE = ('*.py', 'src/*.py', 'BERT/pytorch_pretrained_bert/*.py')      # what a run computes with; envs.py is the user's
WORDS = {'arguments.': '--', 'versions.': 'the version of ', 'code.': '', 'inputs.constants.': '', 'inputs.': 'the hash of '}


def parse_period(text: str) -> tuple[int | None, float | None]:
    """'200' -> (200 steps, None); '10m' -> (None, 600 seconds). InputError for others."""
    match = re.fullmatch(r'(\d{1,9})|(\d{1,9}|\d{0,9}\.\d{1,9})m', text)
    steps, minutes = (match[1], match[2]) if match else (None, None)
    if not (steps and int(steps) or minutes and float(minutes)):
        raise InputError(f'--checkpoint_every {text!r}: must be steps, as in 200, or minutes, as in 10m')
    return steps and int(steps), minutes and 60 * float(minutes)


class Period:
    """When something is due again that --checkpoint_every asks for; with None it never is."""

    def __init__(self, text: str | None):
        self.steps, self.seconds = parse_period(text) if text else (None, None)
        self.last = time.monotonic()

    def due(self, steps: int) -> bool:
        """Whether it is after so many steps; if so, the time starts anew."""
        if self.steps:
            return steps % self.steps == 0
        if not self.seconds or time.monotonic() - self.last < self.seconds:
            return False
        self.last = time.monotonic()
        return True


def random_state() -> dict[str, Any]:
    """The state of all generators that this process draws numbers from; dropout's are torch's."""
    algorithm, keys, *rest = np.random.get_state()
    return {'python': json.dumps(random.getstate()), 'numpy': json.dumps([algorithm, keys.tolist(), *rest]),
            'torch': torch.get_rng_state(), 'cuda': torch.cuda.get_rng_state() if torch.cuda.is_available() else None}


def set_random_state(state: dict[str, Any]) -> None:
    """Put the generators back to what random_state told."""
    version, numbers, gauss = json.loads(state['python'])
    random.setstate((version, tuple(numbers), gauss))
    algorithm, keys, *rest = json.loads(state['numpy'])
    np.random.set_state((algorithm, np.array(keys, np.uint32), *rest))
    torch.set_rng_state(state['torch'])
    if state['cuda'] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'])


def write_state(path: Path, made_by: dict, progress: dict, tensors: dict[str, Any]) -> None:
    """Write a state, whole or not at all. Raises WriteError."""
    state = {'format': FORMAT, 'made_by': json.dumps(made_by, default=str),
             'progress': json.dumps(progress, default=float), **tensors}      # scores may be of NumPy's types
    with replace_file(path) as temporary, open(temporary, 'wb') as file:
        torch.save(state, file)


def outline_of(state: dict[str, Any] | None) -> dict[str, Any] | None:
    """What all processes get of a state at once: what is small, and None in the place of each tensor of the optimizer's."""
    if state is None:
        return None
    optimizer = {name: {key: None if isinstance(value, torch.Tensor) else value for key, value in values.items()}
                 for name, values in state['optimizer'].items()}
    return {name: state[name] for name in PARTS if name != 'model'} | {'optimizer': optimizer}


def read_state(path: Path) -> dict[str, Any] | None:
    """A state on the CPU, `made_by` and `progress` as dictionaries; None where there is none.

    InputError where it is damaged: every byte that counts has a checksum."""
    if not path.is_file():
        return None
    try:
        state = load_tensors(path)
        reason = 'of another version'
        if isinstance(state, dict) and state.get('format') == FORMAT:
            state |= {name: dict(json.loads(state[name])) for name in ('made_by', 'progress')}
            reason = _wrong_part(state)
            if not reason:
                return state
    except (InputError, KeyError, TypeError, ValueError, RecursionError) as error:
        reason = str(error)
    raise InputError(f'--resume: {path} is damaged or no training state of this version ({reason}); remove it to start from '
                     'the beginning')


def _wrong_part(state: dict[str, Any]) -> str:
    """What of a state is missing or of another kind; empty where nothing is."""
    wrong = [name for name, kind in PARTS.items() if not isinstance(state.get(name), kind)]
    if not wrong:
        wrong = [f'progress.{name}' for name, kind in COUNTED.items() if not isinstance(state['progress'].get(name), kind)]
        wrong += [f'optimizer.{name}' for name, values in state['optimizer'].items() if not isinstance(values, dict)]
    return f'no {wrong[0][:60]} in it' if wrong else ''


def code_marks() -> dict[str, str]:
    """Source file -> the beginning of its hash, of all that runs are computed with."""
    paths = (path for pattern in CODE for path in envs.PROJECT_FOLDER.glob(pattern) if path.name != 'envs.py')
    return {path.relative_to(envs.PROJECT_FOLDER).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()[:12]
            for path in sorted(paths)}


def differences(then: dict, now: dict) -> list[str]:
    """What differs between what made a run and what this call would make it with, in words."""
    then, now = flat(json.loads(json.dumps(then, default=str))), flat(json.loads(json.dumps(now, default=str)))
    neutral = {f'arguments.{name}' for name in NEUTRAL}
    return [f'{_named(name)} was {_short(then.get(name))}, is {_short(now.get(name))}'
            for name in sorted(then.keys() | now.keys()) if name not in neutral and then.get(name) != now.get(name)]


def flat(nested: dict, before: str = '') -> dict[str, Any]:
    """One dictionary of nested ones: {'a': {'b': 1}} -> {'a.b': 1}."""
    found = {}
    for name, value in nested.items():
        found |= flat(value, f'{before}{name}.') if isinstance(value, dict) else {before + name: value}
    return found


def _named(name: str) -> str:
    for group, words in WORDS.items():
        if name.startswith(group):
            return words + name.removeprefix(group)
    return name


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f'{text[:12]}...'
