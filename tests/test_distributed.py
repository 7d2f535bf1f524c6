"""Several processes of one run: real ones, with gloo, against one process that does the same.

Most are forked from the tests', which takes no time, and given what torchrun gives; two tests start torchrun itself.
"""
import contextlib
import io
import json
import os
import pickle
import re
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT

import src.data_processing
import src.distributed
from BERT.pytorch_pretrained_bert.file_utils import InputError
from src.argument_parser import PTP, TEACHER, TRAIN
from src.checkpoints import checkpoint_files
from src.distributed import gathered, is_main, joined, launcher, own_batches, own_rows, rank, world_size
from src.mixed_precision import MixedPrecision
from src.run_lock import only_one
from src.run_log import EVENTS
from src.training import Trainer
from src.training_state import STATE_FILE, read_state

GLUE = 'run_glue_benchmark.py'
SMALL = ('--bert_model', 'tiny', '--teacher_hidden_layers', '2', '--precision', 'fp32', '--eval_batch_size', '1')
KEEP = ('--saving_criterion_acc=-1', '--saving_criterion_loss', '100')
# 60 rows. ft: the second batch of each epoch has one row, so one of two processes has none. pkd: parts of 3 and 4 rows.
RUNS = {
    'ft': (TRAIN, (*SMALL, *KEEP, '--train_seed', '1', '--train_batch_size', '59', '--num_train_epochs', '26')),
    'pkd': (TRAIN, (*SMALL, *KEEP, '--train_seed', '1', '--train_batch_size', '7', '--num_train_epochs', '6',
                    '--gradient_accumulation_steps', '2', '--train_type', 'pkd', '--model_type', 'SPS',
                    '--learning_rate', '3e-4', '--report_to', 'tensorboard')),
    'ptp': (PTP, (*SMALL, *KEEP, '--PTP_seed', '1', '--train_batch_size', '5', '--num_train_epochs', '6', '--holdout', '0.2',
                  '--model_type', 'SPS', '--learning_rate', '3e-4'))}


@pytest.fixture(scope='module')
def taught(make_workspace):
    """MRPC, a checkpoint without dropout and a teacher's results."""
    workspace = make_workspace(2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    workspace.add_teacher()
    workspace.succeed(TEACHER, *SMALL)
    return workspace


def free_port():
    with socket.socket() as places:
        places.bind(('127.0.0.1', 0))
        return places.getsockname()[1]


def at_once(work, size=2, seconds=300):
    """work(rank) in each of `size` processes that are to be one run: what each returns, None of those that are killed."""
    variables = {'WORLD_SIZE': str(size), 'LOCAL_WORLD_SIZE': str(size), 'MASTER_ADDR': '127.0.0.1',
                 'MASTER_PORT': str(free_port()), 'TORCHELASTIC_USE_AGENT_STORE': 'True'}
    children = []
    for number in range(size):
        result = Path(tempfile.mkstemp()[1])
        pid = os.fork()
        if not pid:
            os.environ.update(variables | {'RANK': str(number), 'LOCAL_RANK': str(number)})
            result.write_bytes(pickle.dumps(work(number)))
            os._exit(0)
        children.append((pid, result))
    store = torch.distributed.TCPStore('127.0.0.1', int(variables['MASTER_PORT']), is_master=True, wait_for_workers=False)
    found, until = [], time.monotonic() + seconds
    for pid, result in children:
        while not os.waitpid(pid, os.WNOHANG)[0]:
            if time.monotonic() > until:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
        found.append(pickle.loads(result.read_bytes()) if result.stat().st_size else None)
        result.unlink()
    del store                # torchrun keeps it as long as any of them
    return found


def together(workspace, *command, size=2, notes=None, seconds=60):
    """A script in `size` processes: (exit code, output, errors, notes) of each."""
    def work(_):
        outcome = workspace.call(*command)
        return [*outcome, notes]
    return at_once(work, size, seconds)


@pytest.fixture
def notes(monkeypatch):
    """What each process does: losses of all steps, gradients of some, weights at the end, seeds, what it tokenizes."""
    found = {'losses': [], 'gradients': [], 'weights': [], 'tokenized': [], 'seeds': []}
    train_step, step, train, tokenize = (Trainer._train_step, MixedPrecision.step, Trainer.train,
                                         src.data_processing.tokenize_examples)

    def noting_step(trainer, rows):
        sums = train_step(trainer, rows)
        found['losses'].append((sums[0] / len(rows)).item())
        return sums

    def noting_gradients(precision):
        if len(found['losses']) in (0, 1, 30):
            found['gradients'].append([parameter.grad.numpy().copy()
                                       for group in precision.optimizer.param_groups for parameter in group['params']])
        return step(precision)

    def noting_weights(trainer, *args):
        record = train(trainer, *args)
        found['weights'] = [tensor.double().sum().item() for tensor in trainer.model.state_dict().values()]
        found['seeds'] += [trainer.settings.seed, torch.initial_seed()]
        return record

    def noting_tokens(*args):
        found['tokenized'].append(args[3])
        return tokenize(*args)
    monkeypatch.setattr(Trainer, '_train_step', noting_step)
    monkeypatch.setattr(MixedPrecision, 'step', noting_gradients)
    monkeypatch.setattr(Trainer, 'train', noting_weights)
    monkeypatch.setattr(src.data_processing, 'tokenize_examples', noting_tokens)
    return found


def forget(notes):
    for noted in notes.values():
        noted.clear()


def logs(folder):
    """train_log.txt and eval_log.txt as numbers."""
    return [np.genfromtxt(next(folder.rglob(name)), delimiter=',', skip_header=1)
            for name in ('train_log.txt', 'eval_log.txt')]


def files_of(folder):
    """Names of all files; those of TensorBoard's tell the time and the process."""
    return sorted(path.name.partition('.tfevents')[0] for path in folder.rglob('*'))


def record_of(folder):
    return json.loads(next(folder.rglob('run.json')).read_text())


# Training


@pytest.mark.parametrize('kind', RUNS)
def test_the_same_training(taught, tmp_path, notes, kind):
    """Losses and gradients of steps, dev scores, logs; every process has the same weights in the end, bit for bit."""
    script, flags = RUNS[kind]
    taught.succeed(script, *flags, '--output_dir', tmp_path / 'one')
    alone = {name: list(noted) for name, noted in notes.items()}
    forget(notes)
    outcomes = together(taught, script, *flags, '--output_dir', tmp_path / 'two', notes=notes)
    assert [outcome[0] for outcome in outcomes] == [0, 0], outcomes
    assert len(alone['losses']) >= 50
    for *_, noted in outcomes:
        np.testing.assert_allclose(noted['losses'], alone['losses'], rtol=0, atol=1e-5)
        for ours, wanted in zip(noted['gradients'], alone['gradients'], strict=True):
            for gradient, of_one in zip(ours, wanted, strict=True):
                np.testing.assert_allclose(gradient, of_one, rtol=0, atol=1e-5 * max(1, np.linalg.norm(of_one)))
        assert noted['weights'] == outcomes[0][3]['weights']
    for ours, wanted in zip(logs(tmp_path / 'two'), logs(tmp_path / 'one'), strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=0, atol=1.1e-5)
    ours, wanted = record_of(tmp_path / 'two'), record_of(tmp_path / 'one')
    assert (ours['processes'], wanted['processes']) == (2, 1)
    scores = [name for name in wanted if name.startswith(('dev_', 'holdout_'))]
    assert len(scores) >= 4
    for name in scores:
        assert ours[name].pop('loss') == pytest.approx(wanted[name].pop('loss'), abs=1e-5)
        assert ours[name] == wanted[name]
    assert len(list((tmp_path / 'two').glob(EVENTS))) == ('--report_to' in flags)
    assert files_of(tmp_path / 'two') == files_of(tmp_path / 'one')


def test_layers_that_never_run(taught, tmp_path):
    flags = (*SMALL, '--train_seed', '1', '--student_hidden_layers', '2', '--passes', '1,1x', '--num_train_epochs', '2')
    out = taught.succeed(TRAIN, *flags, '--output_dir', tmp_path / 'one').out
    assert out.count('warning: --passes 1,1x: layers that never run: 2 (of 2)') == 1
    outcomes = together(taught, TRAIN, *flags, '--output_dir', tmp_path / 'two')
    assert [outcome[0] for outcome in outcomes] == [0, 0], outcomes
    files = (checkpoint_files(tmp_path / name, 'BERT', '')[0] for name in ('two', 'one'))
    ours, wanted = (torch.load(path, weights_only=True) for path in files)
    for name, tensor in wanted.items():
        torch.testing.assert_close(ours[name], tensor, rtol=0, atol=1e-5)


def test_one_seed_and_masks_of_its_own_for_each(make_workspace, tmp_path, notes):
    workspace = make_workspace()
    outcomes = together(workspace, TRAIN, *SMALL, '--num_train_epochs', '1', '--output_dir', tmp_path, notes=notes)
    assert [outcome[0] for outcome in outcomes] == [0, 0], outcomes
    (seed, of_masks), (other, of_other_masks) = (outcome[3]['seeds'] for outcome in outcomes)
    assert seed == other == record_of(tmp_path)['seed'] == of_masks != of_other_masks
    assert outcomes[0][3]['weights'] == outcomes[1][3]['weights']
    assert [outcome[3]['tokenized'] for outcome in outcomes] == [['train', 'dev'], []]     # the others read the cache


@pytest.mark.parametrize('rows, processes, wanted', [
    (5, 2, [[0, 2, 4], [1, 3]]), (2, 2, [[0], [1]]), (1, 3, [[0], [], []]), (4, 1, [[0, 1, 2, 3]])])
def test_parts_of_a_batch(monkeypatch, rows, processes, wanted):
    monkeypatch.setattr(src.distributed, 'world_size', lambda: processes)
    for number, counted_rows in enumerate(wanted):
        monkeypatch.setattr(src.distributed, 'rank', lambda number=number: number)
        own, counted = own_rows(np.arange(rows))
        assert own[:counted].tolist() == counted_rows and len(own) == max(1, counted)


@pytest.mark.parametrize('processes', [1, 2, 3, 7])
def test_rounds_of_batches(monkeypatch, processes):
    monkeypatch.setattr(src.distributed, 'world_size', lambda: processes)
    shares = []
    for number in range(processes):
        monkeypatch.setattr(src.distributed, 'rank', lambda number=number: number)
        shares.append(list(own_batches(list('abcde'))))
    rounds = [batch for of_round in zip(*shares, strict=True) for batch in of_round if batch]
    assert rounds == list('abcde')


def test_what_is_gathered_comes_in_the_order_of_ranks():
    def work(number):
        with joined():
            return gathered(number or None), gathered(f'batch {number}')
    assert at_once(work, 3) == [([1, 2], ['batch 0', 'batch 1', 'batch 2']), ([], []), ([], [])]


# Predictions


def test_the_same_result_file(taught, tmp_path):
    """Byte for byte: batches have the same rows by however many processes they are computed."""
    flags = (*SMALL, '--teacher_prediction')
    taught.succeed(TEACHER, *flags, tmp_path / 'one.pkl')
    outcomes = together(taught, TEACHER, *flags, tmp_path / 'three.pkl', size=3)
    assert [outcome[0] for outcome in outcomes] == [0, 0, 0], outcomes
    assert (tmp_path / 'three.pkl').read_bytes() == (tmp_path / 'one.pkl').read_bytes()
    assert len(list(tmp_path.glob('.*.part'))) == 0


@pytest.mark.parametrize('first, then', [(2, 1), (1, 2)])
def test_a_stopped_dump_goes_on_with_another_number(taught, tmp_path, monkeypatch, first, then):
    import src.evaluation
    original, calls = src.evaluation.stop_if_asked, []

    def stopping():
        calls.append(1)
        if len(calls) == 6 and rank() == first - 1:          # the signal comes to one of them
            os.kill(os.getpid(), signal.SIGTERM)
        original()
    flags = (*SMALL, '--teacher_prediction', tmp_path / 'results.pkl')

    def run(size, *more):
        return ([[*taught.call(TEACHER, *flags, *more)]] if size == 1
                else together(taught, TEACHER, *flags, *more, size=size))
    with monkeypatch.context() as patch:
        patch.setattr(src.evaluation, 'stop_if_asked', stopping)
        outcomes = run(first)
    assert {outcome[0] for outcome in outcomes} == {143}
    done = re.search(r'(\d+) rows are done; to go on: (\w+)', outcomes[0][2])
    assert int(done[1]) > 0 and done[2] == ('python' if first == 1 else 'torchrun')
    outcomes = run(then, '--resume')
    assert {outcome[0] for outcome in outcomes} == {0}, outcomes
    assert f'goes on after {done[1]} rows' in outcomes[0][1]
    taught.succeed(TEACHER, *flags, '--teacher_prediction', tmp_path / 'whole.pkl')
    assert (tmp_path / 'results.pkl').read_bytes() == (tmp_path / 'whole.pkl').read_bytes()


def test_evaluate_submit_and_what_is_refused(taught, tmp_path):
    taught.succeed(TRAIN, *SMALL, *KEEP, '--train_seed', '1', '--num_train_epochs', '1', '--output_dir', tmp_path / 'run')
    for mode in ('evaluate', 'submit'):
        command = (GLUE, '--mode', mode, '--runs', tmp_path / 'run', '--output_dir')
        taught.succeed(*command, tmp_path / 'one')
        outcomes = together(taught, *command, tmp_path / 'two')
        assert [outcome[0] for outcome in outcomes] == [0, 0], outcomes
    ours, wanted = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir() if path.suffix != '.zip'}
                    for name in ('two', 'one'))
    assert ours == wanted and len(ours) == 2
    for mode in ('compare', 'summary'):
        outcomes = together(taught, GLUE, '--mode', mode)
        assert [outcome[0] for outcome in outcomes] == [2, 2]
        assert ''.join(outcome[2] for outcome in outcomes).count(f'--mode {mode} with torchrun') == 1


@pytest.mark.parametrize('name', ['demo', 'export_hf', 'export_onnx', 'import_teacher_outputs', 'plot_results', 'predict',
                                  'study'])
def test_the_work_of_one_process_is_refused_to_several(name):
    """Before a flag is read: both would write the same files."""
    script = str(ROOT / 'scripts' / f'{name}.py')

    def work(_):
        errors = io.StringIO()
        sys.argv = [script]
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(errors):
            try:
                runpy.run_path(script, run_name='__main__')
            except SystemExit as left:
                return left.code, errors.getvalue()
    outcomes = at_once(work)
    assert [code for code, _ in outcomes] == [2, 2]
    assert ''.join(told for _, told in outcomes) == (
        f'error: {name}.py with torchrun: it does not divide its work over processes; start it with python\n')


# Stopping and going on


def stopped(workspace, monkeypatch, step, size, *command, notes):
    """A run of `size` processes that a signal to one of them stops after a step."""
    original = Trainer._log_means

    def stopping(trainer, *args):
        if trainer.steps == step and rank() == size - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        original(trainer, *args)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, '_log_means', stopping)
        return runs(workspace, size, *command, notes=notes)


def runs(workspace, size, *command, notes):
    if size > 1:
        return together(workspace, *command, size=size, notes=notes)
    return [[*workspace.call(*command), {name: list(noted) for name, noted in notes.items()}]]


@pytest.mark.parametrize('first, then', [(2, 1), (1, 2)])
def test_a_stopped_run_goes_on_with_another_number(taught, tmp_path, monkeypatch, notes, first, then):
    script, flags = RUNS['pkd']
    taught.succeed(script, *flags, '--output_dir', tmp_path / 'unbroken')
    wanted = list(notes['losses'])
    forget(notes)
    command = (script, *flags, '--output_dir', tmp_path / 'run')
    outcomes = stopped(taught, monkeypatch, 20, first, *command, notes=notes)
    assert {outcome[0] for outcome in outcomes} == {143} and len(outcomes[0][3]['losses']) == 20, outcomes
    assert sum('stopped by SIGTERM; 20 of 54 steps are done' in outcome[2] for outcome in outcomes) == 1
    state = read_state(tmp_path / 'run' / STATE_FILE)
    assert len(state['random']) == first and state['progress']['steps'] == 20
    forget(notes)
    outcomes = runs(taught, then, *command, '--resume', notes=notes)
    assert {outcome[0] for outcome in outcomes} == {0}, outcomes
    for *_, noted in outcomes:
        np.testing.assert_allclose(noted['losses'], wanted[20:], rtol=0, atol=1e-5)
    for ours, unbroken in zip(logs(tmp_path / 'run'), logs(tmp_path / 'unbroken'), strict=True):
        np.testing.assert_allclose(ours, unbroken, rtol=0, atol=1.1e-5)
    assert not (tmp_path / 'run' / STATE_FILE).exists()


def test_resumed_with_dropout_by_as_many_it_ends_in_the_same_bits(make_workspace, tmp_path, monkeypatch, notes):
    workspace = make_workspace()
    flags = (*SMALL, *KEEP, '--train_seed', '1', '--train_batch_size', '7', '--num_train_epochs', '2')
    unbroken = together(workspace, TRAIN, *flags, '--output_dir', tmp_path / 'unbroken', notes=notes)
    command = (TRAIN, *flags, '--output_dir', tmp_path / 'run', '--checkpoint_every', '0.0001m')
    assert {outcome[0] for outcome in stopped(workspace, monkeypatch, 6, 2, *command, notes=notes)} == {143}
    resumed = together(workspace, *command, '--resume', notes=notes)
    assert [outcome[0] for outcome in resumed] == [0, 0], resumed
    assert [outcome[3]['weights'] for outcome in resumed] == [outcome[3]['weights'] for outcome in unbroken]
    assert resumed[1][3]['losses'] == unbroken[1][3]['losses'][6:]


# Errors


def test_an_error_of_input_is_told_once(taught, tmp_path):
    for command in ((TRAIN, *SMALL, '--alpha', '7'), (TRAIN, *SMALL, '--load_model', 'nowhere')):
        outcomes = together(taught, *command)
        assert [outcome[0] for outcome in outcomes] == [2, 2]
        assert outcomes[0][2].startswith('error: --') and outcomes[1][2] == ''


def test_an_error_of_rank_0_ends_all(taught, tmp_path):
    with only_one(tmp_path / '.lock', 'output_dir'):
        outcomes = together(taught, TRAIN, *SMALL, '--output_dir', tmp_path)
    assert [outcome[0] for outcome in outcomes] == [2, 2]
    assert f'process {os.getpid()} on' in outcomes[0][2] and outcomes[1][2] == ''


def test_an_error_of_another_rank_ends_all(taught, tmp_path, monkeypatch):
    original = Trainer._train_step

    def failing(trainer, rows):
        if trainer.steps == 2 and rank() == 1:
            raise InputError('this machine is different')
        return original(trainer, rows)
    monkeypatch.setattr(Trainer, '_train_step', failing)
    outcomes = together(taught, TRAIN, *SMALL, '--train_batch_size', '7', '--output_dir', tmp_path)
    assert [outcome[0] for outcome in outcomes] == [2, 2]
    assert outcomes[1][2] == 'error: this machine is different (rank 1)\n' and 'error' not in outcomes[0][2]


def test_a_process_that_hangs_ends_the_others(taught, tmp_path, monkeypatch):
    original = Trainer._train_step

    def hanging(trainer, rows):
        if trainer.steps == 2 and rank() == 1:
            time.sleep(20)
        return original(trainer, rows)
    monkeypatch.setattr(Trainer, '_train_step', hanging)
    monkeypatch.setattr(src.distributed, 'TIMEOUT', src.distributed.timedelta(seconds=10))
    outcomes = together(taught, TRAIN, *SMALL, '--train_batch_size', '7', '--output_dir', tmp_path)
    assert [outcome[0] for outcome in outcomes] == [1, 1]
    assert 'error: another process of this run has ended' in outcomes[0][2] and 'error' not in outcomes[1][2]


def test_more_processes_than_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    for name, value in {'RANK': '2', 'WORLD_SIZE': '3', 'LOCAL_RANK': '2'}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match='process 3 of this machine finds 2 CUDA devices; give at most 2'), joined():
        pass


@pytest.mark.parametrize('variables', [{}, {'RANK': '0', 'WORLD_SIZE': '1'}, {'WORLD_SIZE': '4'}])
def test_one_process_has_no_group(monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with joined():
        assert not torch.distributed.is_initialized() and is_main() and world_size() == 1
    assert launcher() == ['python']


# torchrun itself


def torchrun(workspace, *command):
    words = [sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node=2', '--master_port', str(free_port())]
    return subprocess.Popen([*words, *map(str, command)], cwd=ROOT, text=True, env=os.environ | workspace.variables,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_torchrun_and_a_rank_that_is_killed(taught, tmp_path):
    process = torchrun(taught, TRAIN, *SMALL, '--num_train_epochs', '9999', '--output_dir', tmp_path / 'run')
    try:
        while not (tmp_path / 'run' / 'train_log.txt').exists() or len(os.listdir(tmp_path / 'run')) < 3:
            assert process.poll() is None
            time.sleep(0.05)
        os.kill(child_of_rank(process.pid, 1), signal.SIGKILL)
        killed = time.monotonic()
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    print(f'ended {time.monotonic() - killed:.1f} s after the kill')
    assert process.returncode != 0 and 'error: another process of this run has ended' in err and 'SIGKILL' in err
    assert out.count('seed ') == 1 and out.count('Traceback') == 0
    assert time.monotonic() - killed < 60


def child_of_rank(parent, number):
    """The process that torchrun has started as this rank."""
    for pid in map(int, filter(str.isdecimal, os.listdir('/proc'))):
        try:
            status = open(f'/proc/{pid}/stat').read().rpartition(')')[2].split()
            variables = open(f'/proc/{pid}/environ').read().split('\0')
        except OSError:
            continue
        if int(status[1]) == parent and f'RANK={number}' in variables:
            return pid
    raise AssertionError('not started')


def test_torchrun_passes_a_signal_on(taught, tmp_path):
    script, flags = RUNS['pkd']
    command = (script, *flags, '--num_train_epochs', '9999', '--output_dir', tmp_path / 'run')
    process = torchrun(taught, *command)
    try:
        while not (tmp_path / 'run' / 'eval_log.txt').exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.terminate()
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert err.count('stopped by SIGTERM; ') == 1 and 'to go on: torchrun --nproc_per_node=2 ' in err
    assert read_state(tmp_path / 'run' / STATE_FILE)['progress']['steps'] > 8
