"""Runs that are stopped at any moment, by SIGKILL too, and go on: nothing lost, nothing twice, nothing mixed.

    PEAKD_KILLS=1000 python -m pytest tests/test_resume.py -k killed       more kills than the 24 of the suite
"""
import hashlib
import json
import os
import random
import signal
import time

import pytest
import torch

from src.argument_parser import PTP, TEACHER, TRAIN
from src.training import Trainer
from src.training_state import STATE_FILE

KILLS = int(os.environ.get('PEAKD_KILLS', '24'))
SMALL = ('--bert_model', 'tiny', '--teacher_hidden_layers', '2', '--precision', 'fp32')
FIT = (*SMALL, '--train_batch_size', '6', '--learning_rate', '3e-4', '--num_train_epochs', '2.7', '--eval_every', '3',
       '--saving_criterion_acc=-1', '--saving_criterion_loss', '100')
RUNS = {'pkd': (TRAIN, (*FIT, '--train_type', 'pkd', '--model_type', 'SPS', '--train_seed', '5',
                        '--alpha', '0.1', '--beta', '1', '--gradient_accumulation_steps', '2')),
        'ptp': (PTP, (*FIT, '--PTP_seed', '5', '--holdout', '0.2'))}


@pytest.fixture(scope='module')
def taught(make_workspace):
    """MRPC, a teacher and its results."""
    workspace = make_workspace(2)
    workspace.add_teacher()
    workspace.succeed(TEACHER, *SMALL)
    return workspace


def child(workspace, script, *flags):
    """A process that runs a script and takes no time to start; its output goes nowhere."""
    pid = os.fork()
    if pid:
        return pid
    try:
        outcome = workspace.call(script, *flags)
        print(outcome.err[:2000], file=open(workspace.folder / f'{pid}.err', 'w'), flush=True) if outcome.code else None
        os._exit(outcome.code)
    except BaseException:
        os._exit(99)


def wait(pid):
    """The exit code of a process, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def hashed(path):
    state = torch.load(path, weights_only=True)
    return hashlib.sha256(b''.join(tensor.numpy().tobytes() for tensor in state.values())).hexdigest()


def pairs(folder):
    """criterion and its hashes of each pair of files that is whole."""
    found = {}
    for encoder in folder.glob('*.encoder*.pkl'):
        classifier = encoder.with_name(encoder.name.replace('.encoder', '.cls'))
        if classifier.exists():
            found[encoder.name] = (hashed(encoder), hashed(classifier))
    return found


def result(folder):
    """All that a run leaves, but for what a clock says and a picture: weights, logs byte for byte, scores and settings."""
    logs = next(folder.rglob('run.json')).parent
    record = {name: value for name, value in json.loads((logs / 'run.json').read_text()).items() if 'seconds' not in name}
    for neutral in ('checkpoint_every', 'output_dir'):
        record['arguments'].pop(neutral)
    return record, (logs / 'train_log.txt').read_text(), (logs / 'eval_log.txt').read_text(), pairs(folder)


def leftovers(folder):
    """Names of files that are there only for a time."""
    return sorted(path.name for path in folder.rglob('*') if path.name.endswith(('.tmp', '.pending', '.part', STATE_FILE)))


@pytest.fixture(scope='module', params=RUNS)
def unbroken(request, taught):
    """A run never stopped: (script, flags, its result, the pairs of all steps at which it saved)."""
    script, flags = RUNS[request.param]
    folder, history = taught.folder / f'unbroken_{request.param}', set()
    save = Trainer._save

    def noting(trainer, criterion):
        save(trainer, criterion)
        history.update(pairs(trainer.folder).values())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, '_save', noting)
        taught.succeed(script, *flags, '--output_dir', folder)
    assert leftovers(folder) == [] and len(history) > 4
    return script, flags, result(folder), history


def kill_somewhere(pid, folder, rng):
    """SIGKILL a process at a random moment, every other time while it writes a file of weights or a state; the exit code,
    which is 0 where it has ended before."""
    awaited = rng.choice([None, None, '.training_state', '.BERT.encoder', '.BERT.cls', '.PTP.'])
    ends = time.monotonic() + (rng.uniform(0.25, 0.9) if awaited is None else 5)
    skip = rng.randrange(4)
    seen = set()
    while time.monotonic() < ends:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if awaited and folder.exists():
            new = {name for place in (folder, *folder.glob('PTP*')) if place.is_dir() for name in os.listdir(place)
                   if name.startswith(awaited) and name.endswith(('.tmp', '.pending'))} - seen
            seen |= new
            if len(seen) > skip:
                break
    os.kill(pid, signal.SIGKILL)
    return wait(pid)


def test_killed_at_random_moments(taught, unbroken, tmp_path):
    script, flags, wanted, history = unbroken
    rng = random.Random(script)
    kills = in_writing = runs = 0
    while kills < KILLS // len(RUNS):
        folder = tmp_path / str(runs)
        runs += 1
        code = None
        while code != 0:
            flags_now = (*flags, '--output_dir', folder, '--checkpoint_every', '2', '--resume')
            code = kill_somewhere(child(taught, script, *flags_now), folder, rng)
            assert code in (0, -signal.SIGKILL), code
            if code and folder.exists():
                kills += 1
                in_writing += any(name.endswith('.tmp') for name in leftovers(folder))
                assert set(pairs(folder).values()) <= history            # none of two steps
        assert result(folder) == wanted
        assert leftovers(folder) == []
    print(f'{kills} kills, {in_writing} of them in writing, {runs} runs')
    assert in_writing >= kills // 8
