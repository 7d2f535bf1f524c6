"""Runs that are stopped at any moment, by SIGKILL too, and go on: nothing lost, nothing twice, nothing mixed.

    PEAKD_KILLS=1000 python -m pytest tests/test_resume.py -k killed       more kills than the 24 of the suite
"""
import hashlib
import json
import multiprocessing
import os
import random
import re
import shlex
import shutil
import signal
import sys
import time
from multiprocessing import forkserver
from pathlib import Path

import pytest
import torch

from BERT.pytorch_pretrained_bert import BertConfig
from BERT.pytorch_pretrained_bert.file_utils import InputError, weights_file
from BERT.pytorch_pretrained_bert.weights import read_state_dict
from src import modeling
from src.argument_parser import PTP, TEACHER, TRAIN
from src.checkpoints import checkpoint_files, save_model, settle
from src.modeling import SequenceClassifier
from src.run_lock import only_one
from src.training import Trainer
from src.training_state import STATE_FILE, Period, code_marks, parse_period, read_state, write_state

KILLS = int(os.environ.get('PEAKD_KILLS', '24'))
SMALL = ('--bert_model', 'tiny', '--teacher_hidden_layers', '2', '--precision', 'fp32')
FIT = (*SMALL, '--train_batch_size', '6', '--learning_rate', '3e-4', '--num_train_epochs', '2.7', '--eval_every', '3',
       '--saving_criterion_acc=-1', '--saving_criterion_loss', '100')
RUNS = {'pkd': (TRAIN, (*FIT, '--train_type', 'pkd', '--model_type', 'SPS', '--train_seed', '1',
                        '--learning_rate', '2e-3', '--alpha', '0.1', '--beta', '1', '--gradient_accumulation_steps', '2')),
        'ptp': (PTP, (*FIT, '--PTP_seed', '5', '--holdout', '0.2'))}


@pytest.fixture(scope='module')
def taught(make_workspace):
    """MRPC, a teacher and its results."""
    workspace = make_workspace(2)
    workspace.add_teacher()
    workspace.succeed(TEACHER, *SMALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('OMP_NUM_THREADS', '1')
        patch.setenv('PYTHONPATH', os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])]))
        forkserver.ensure_running()
    return workspace


# Of a process that has no threads: a fork of one that has some, as pytest's after its first product, may wait for ever for a
# lock that one of them held. What a run needs is imported before, so that it takes no time to start.
FORKS = multiprocessing.get_context('forkserver')
FORKS.set_forkserver_preload(['test_resume', *(script.removesuffix('.py') for script in (TRAIN, PTP, TEACHER))])


def _call(workspace, script, flags):
    outcome = workspace.call(script, *flags)
    if outcome.code:
        print(outcome.err[:2000], file=sys.stderr, flush=True)
    os._exit(outcome.code)


def child(workspace, script, *flags):
    """A process that runs a script."""
    process = FORKS.Process(target=_call, args=(workspace, script, flags))
    process.start()
    return process


def wait(process):
    """The exit code of a process, negative for a signal."""
    process.join(120)
    assert process.exitcode is not None, 'it hangs'
    return process.exitcode


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
    """A run never stopped: (script, flags, its result, (file, step) -> the pair that it saved there)."""
    script, flags = RUNS[request.param]
    folder, history = taught.folder / f'unbroken_{request.param}', {}
    save = Trainer._save

    def noting(trainer, criterion):
        save(trainer, criterion)
        name = checkpoint_files(trainer.folder, trainer.prefix, criterion)[0].name
        history[name, trainer.steps] = pairs(trainer.folder)[name]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, '_save', noting)
        taught.succeed(script, *flags, '--output_dir', folder)
    assert leftovers(folder) == [] and len(history) > 4
    return script, flags, result(folder), history


def kill_somewhere(process, folder, rng, names=('.training_state', '.BERT.encoder', '.BERT.cls', '.PTP.')):
    """SIGKILL a process at a random moment after its folder is there, or while it writes a file whose name begins with one
    of names; its exit code, which is 0 where it has ended before."""
    awaited = rng.choice([None, None, *names])
    while process.exitcode is None and not folder.exists():
        time.sleep(0.0005)
    ends = time.monotonic() + (rng.uniform(0.25, 0.9) if awaited is None else 5)
    skip = rng.randrange(3)
    seen = set()
    while time.monotonic() < ends:
        if process.exitcode is not None:
            return process.exitcode
        if awaited and folder.exists():
            new = {name for place in (folder, *folder.glob('PTP*')) if place.is_dir() for name in os.listdir(place)
                   if name.startswith(awaited) and name.endswith(('.tmp', '.pending', '.part'))} - seen
            seen |= new
            if len(seen) > skip:
                break
        time.sleep(0.0005)
    process.kill()
    return wait(process)


def kill_after(process, file, seconds):
    """SIGKILL a process so many seconds after a file is there, unless it has ended before; its exit code."""
    while process.exitcode is None and not file.exists():
        time.sleep(0.0005)
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
    return wait(process)


def assert_no_pair_is_mixed(folder, history):
    """And when the training state has its way, as on resuming, all are of the steps that it tells of."""
    assert pairs(folder).items() <= {(name, pair) for (name, _), pair in history.items()}
    for path in folder.rglob(STATE_FILE):
        saved = read_state(path)['progress']['saved']
        prefix = next(iter(history))[0].partition('.encoder')[0]
        settle(folder, prefix, saved)
        assert not saved or pairs(folder) == {
            name: history[name, step] for criterion, step in saved.items()
            for name in [checkpoint_files(folder, prefix, criterion)[0].name]}


class PowerCut(BaseException):
    """What ends a process between two operations on files."""


def test_settling_may_be_broken_off_anywhere(tmp_path, monkeypatch):
    config = BertConfig(20, 8, 1, 2, 16, max_position_embeddings=8)
    models = {step: SequenceClassifier(config, 2) for step in (1, 2, 3)}
    hashes = {}
    for step, model in models.items():
        save_model(model, tmp_path / str(step), 'BERT', '_acc')
        hashes[step] = next(iter(pairs(tmp_path / str(step)).values()))
    broken_off = 0
    for operations in range(12):
        folder = tmp_path / f'run{operations}'
        save_model(models[1], folder, 'BERT', '_acc')
        save_model(models[1], folder, 'BERT', '_loss')            # an earlier run's: goes
        save_model(models[2], folder, 'BERT', '_acc', 20)
        if operations % 2:
            save_model(models[3], folder, 'BERT', '_loss', 30)    # nobody tells of it: goes
        left = [operations]

        def counted(original, left=left):
            def run(*args, **options):
                if not left[0]:
                    raise PowerCut
                left[0] -= 1
                return original(*args, **options)
            return run
        with monkeypatch.context() as patch:
            patch.setattr(os, 'replace', counted(os.replace))
            patch.setattr(Path, 'unlink', counted(Path.unlink))
            try:
                settle(folder, 'BERT', {'_acc': 20})
            except PowerCut:
                broken_off += 1
        assert pairs(folder).get('BERT.encoder_acc.pkl') in (None, hashes[1], hashes[2])
        settle(folder, 'BERT', {'_acc': 20})
        assert pairs(folder) == {'BERT.encoder_acc.pkl': hashes[2]}
        assert len(list(folder.iterdir())) == 2
    assert 4 <= broken_off < 12


def test_killed_at_random_moments(taught, unbroken, tmp_path):
    script, flags, wanted, history = unbroken
    rng = random.Random(script)
    kills = in_writing = runs = 0
    while kills < KILLS // len(RUNS):
        folder = tmp_path / str(runs)
        runs += 1
        code, launches = None, 0
        while code != 0:
            process = child(taught, script, *flags, '--output_dir', folder, '--checkpoint_every', '2', '--resume')
            launches += 1
            code = kill_somewhere(process, folder, rng) if launches <= 6 else wait(process)
            assert code in (0, -signal.SIGKILL), code
            if code and folder.exists():
                kills += 1
                in_writing += any(name.endswith('.tmp') for name in leftovers(folder))
                assert_no_pair_is_mixed(folder, history)
        assert result(folder) == wanted
        assert leftovers(folder) == []
    print(f'{kills} kills, {in_writing} of them in writing, {runs} runs')
    assert in_writing >= kills // 8


# The dump


@pytest.mark.parametrize('every', ['1', '3'])
def test_killed_dump_goes_on(taught, tmp_path, every):
    part = tmp_path / '.results.pkl.part'
    rng, kills, resumed = random.Random(every), 0, []
    flags = (*SMALL, '--max_seq_length', '32', '--eval_batch_size', '1', '--teacher_prediction', tmp_path / 'results.pkl')
    taught.succeed(TEACHER, *flags, '--teacher_prediction', tmp_path / 'unbroken.pkl')
    wanted = (tmp_path / 'unbroken.pkl').read_bytes()
    code = None
    while code != 0 or kills < 6:
        if code == 0:
            (tmp_path / 'results.pkl').unlink()
        resumed.append((tmp_path / '.results.pkl.journal').exists())
        process = child(taught, TEACHER, *flags, '--checkpoint_every', every, '--resume')
        if kills >= 6:              # else a machine on which its start takes as long as it may live would never see it end
            code = wait(process)
        else:
            code = kill_after(process, tmp_path / '.results.pkl.journal', rng.uniform(0.2, 2) if resumed[-1] else
                              rng.uniform(0, 0.05))
        assert code in (0, -signal.SIGKILL), code
        kills += code != 0
        if code == 0:
            assert (tmp_path / 'results.pkl').read_bytes() == wanted and not part.exists()
            assert not (tmp_path / '.results.pkl.journal').exists()
    assert sum(resumed) > 1


# Signals


def test_a_signal_keeps_the_run_and_says_how_to_go_on(taught, unbroken, tmp_path):
    """In a process of its own: the exit code and the line are what a shell sees."""
    script, flags, wanted, _ = unbroken
    number = signal.SIGTERM if script == TRAIN else signal.SIGINT
    folder = tmp_path / 'run'
    command = (script, *flags, '--output_dir', str(folder))
    process = taught.start(*command)
    while not list(folder.rglob('eval_log.txt')):
        time.sleep(0.01)
        assert process.poll() is None
    process.send_signal(number)
    err = process.communicate()[1]
    assert process.returncode == 128 + number
    line = err.splitlines()[-1].rpartition('\r')[2]
    assert line.startswith(f'stopped by {number.name}; ') and ' steps are done; to go on: python ' in line, err
    assert line.endswith(f'{shlex.join(command)} --resume') and 'Traceback' not in err
    assert STATE_FILE in leftovers(folder) and not list(folder.rglob('run.json'))
    outcome = taught.succeed(*command, '--resume')
    assert 'goes on after step' in outcome.out
    assert result(folder) == wanted and leftovers(folder) == []


def stop_at(monkeypatch, step, where='_train_step'):
    """Send SIGTERM to this process in a step of training, or in the evaluation after it."""
    original = getattr(Trainer, where)

    def stopping(trainer, *args):
        if trainer.steps == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(trainer, *args)
    monkeypatch.setattr(Trainer, where, stopping)


def stopped(workspace, monkeypatch, step, *command, where='_train_step'):
    """A run that SIGTERM stops after a step."""
    with monkeypatch.context() as patch:
        stop_at(patch, step, where)
        outcome = workspace.call(*command)
    assert outcome.code == 143, outcome.err
    return outcome


@pytest.mark.parametrize('step, where', [(0, '_train_step'), (9, '_train_step'), (9, '_evaluate_if_due'),
                                         (10, '_evaluate_if_due'), (10, '_train_step'), (26, '_train_step')])
def test_stopped_anywhere(taught, unbroken, tmp_path, monkeypatch, step, where):
    """Also before an epoch's evaluation, which the resumed run makes up for, and after the last step."""
    script, flags, wanted, _ = unbroken
    if script == PTP:
        step = {0: 0, 9: 7, 10: 8, 26: 21}[step]
    command = (script, *flags, '--output_dir', tmp_path)
    outcome = stopped(taught, monkeypatch, step, *command, where=where)
    assert f'{step + (where == "_train_step")} of ' in outcome.err
    taught.succeed(*command, '--resume')
    assert result(tmp_path) == wanted and leftovers(tmp_path) == []


def test_a_signal_in_the_scoring_at_the_end(taught, tmp_path, monkeypatch):
    """The model has another state's weights then."""
    script, flags = RUNS['ptp']
    taught.succeed(script, *flags, '--output_dir', tmp_path / 'unbroken')
    import src.runs
    original, loaded = src.runs.load_saved, []

    def stopping(model, files):
        if not loaded:
            os.kill(os.getpid(), signal.SIGTERM)
        loaded.append(files)
        return original(model, files)
    command = (script, *flags, '--output_dir', tmp_path / 'run')
    with monkeypatch.context() as patch:
        patch.setattr(src.runs, 'load_saved', stopping)
        assert taught.call(*command).code == 143
    state = read_state(next((tmp_path / 'run').rglob(STATE_FILE)))
    final = checkpoint_files(tmp_path / 'run', 'PTP.Original_2layer', '')
    weights = read_state_dict(final[0])
    assert loaded[0] != final and all(torch.equal(state['model'][f'encoder.bert.{name}'], weights[name]) for name in weights)
    assert not list((tmp_path / 'run').rglob('run.json'))
    taught.succeed(*command, '--resume')
    assert result(tmp_path / 'run') == result(tmp_path / 'unbroken') and leftovers(tmp_path) == []


def test_a_run_stopped_in_the_scoring_at_the_end_made_longer_or_shorter(taught, tmp_path, monkeypatch):
    """Longer, its final weights are those of its new last step; one shorter than what is done is refused."""
    import src.runs
    command = (TRAIN, *FIT, '--train_seed', '1', '--holdout', '0.2', '--output_dir', tmp_path / 'run')
    original = src.runs.load_saved

    def stopping(model, files):
        patch.undo()
        os.kill(os.getpid(), signal.SIGTERM)
        return original(model, files)
    with monkeypatch.context() as patch:
        patch.setattr(src.runs, 'load_saved', stopping)
        assert taught.call(*command).code == 143
    final = tmp_path / 'run' / 'BERT.encoder.pkl'
    before = final.read_bytes()
    refused = taught.call(*command, '--num_train_epochs', '1', '--resume_anyway')
    assert refused.code == 2 and 'is of step' in refused.err and '--num_train_epochs' in refused.err
    assert final.read_bytes() == before
    taught.succeed(*command, '--num_train_epochs', '4', '--resume_anyway')
    record = json.loads((tmp_path / 'run' / 'run.json').read_text())
    assert final.read_bytes() != before and record['holdout_last']['global_step'] == record['steps'] == 32


def test_a_stopped_dump_goes_on(taught, tmp_path, monkeypatch):
    import src.evaluation
    flags = (*SMALL, '--max_seq_length', '32', '--eval_batch_size', '1', '--teacher_prediction', tmp_path / 'results.pkl')
    calls = []

    def stopping():
        calls.append(1)
        if len(calls) == 20:
            os.kill(os.getpid(), signal.SIGINT)
        original()
    original = src.evaluation.stop_if_asked
    with monkeypatch.context() as patch:
        patch.setattr(src.evaluation, 'stop_if_asked', stopping)
        outcome = taught.call(TEACHER, *flags)
    done = re.search(r'(\d+) rows are done; to go on: python ', outcome.err)
    assert outcome.code == 130 and 19 <= int(done[1]) < 60
    assert not (tmp_path / 'results.pkl').exists()
    for kind in ('part', 'journal'):
        shutil.copy(tmp_path / f'.results.pkl.{kind}', tmp_path / f'.again.pkl.{kind}')
    again = taught.succeed(TEACHER, *flags, '--teacher_prediction', tmp_path / 'again.pkl')
    assert 'that was stopped is made from the start; --resume goes on' in again.out
    other = taught.call(TEACHER, *flags, '--all_layers', 'False', '--resume_anyway')
    assert other.code == 2 and 'other rows, another teacher' in other.err
    assert f'goes on after {done[1]} rows' in taught.succeed(TEACHER, *flags, '--resume').out
    taught.succeed(TEACHER, *flags, '--teacher_prediction', tmp_path / 'whole.pkl')
    assert (tmp_path / 'results.pkl').read_bytes() == (tmp_path / 'whole.pkl').read_bytes()
    again = taught.succeed(TEACHER, *flags, '--resume')
    assert 'is whole already' in again.out
    differs = taught.call(TEACHER, *flags, '--resume', '--precision', 'bf16')
    assert differs.code == 2 and 'precision was fp32, is bf16' in differs.err
    files = [tmp_path / f'BERT.{part}.pkl' for part in ('encoder', 'cls')]
    for path in files:
        path.write_bytes((taught.teacher_folder(2) / path.name).read_bytes())
    state = {name: tensor + 1 for name, tensor in read_state_dict(files[1]).items()}
    torch.save(state, files[1])
    differs = taught.call(TEACHER, *flags, '--resume', '--encoder_checkpoint', files[0])
    assert differs.code == 2 and 'classifier_sha256 was ' in differs.err


# Another run


BRIEF = (*SMALL, '--num_train_epochs', '1', '--learning_rate', '1e-3')


def test_a_finished_run_is_left_alone(taught, tmp_path):
    command = (TRAIN, *BRIEF, '--train_seed', '1', '--output_dir', tmp_path)
    taught.succeed(*command)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    outcome = taught.succeed(*command, '--resume')
    assert 'has ended already; nothing is changed' in outcome.out
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    other = taught.call(*command, '--learning_rate', '2e-3', '--resume')
    assert other.code == 2 and '--learning_rate was 0.001, is 0.002' in other.err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize('part, said', [
    ('labels', 'the hash of labels was '), ('dev', 'the hash of dev_rows was '),
    ('dev_labels', 'made otherwise: the hash of dev_labels was '), ('weights', 'the hash of pretrained_weights was '),
    ('head', 'the hash of cls_checkpoint was ')])
def test_a_finished_run_of_other_files_is_told_of(taught, tmp_path, part, said):
    workspace = taught.copy(tmp_path / 'workspace')
    command = (TRAIN, *BRIEF, '--train_seed', '1', '--output_dir', tmp_path / 'run')
    head = workspace.teacher_folder() / 'BERT.cls.pkl'
    command += ('--cls_checkpoint', head) if part == 'head' else ()
    workspace.succeed(*command)
    if part in ('weights', 'head'):
        path = head if part == 'head' else weights_file(workspace.models / 'tiny')
        state = read_state_dict(path)
        torch.save({name: tensor + 1 for name, tensor in state.items()}, path)
    else:
        path = workspace.glue / 'MRPC' / ('train.tsv' if part == 'labels' else 'dev.tsv')
        lines = path.read_text().splitlines(keepends=True)
        if part.endswith('labels'):
            lines[1] = str(1 - int(lines[1][0])) + lines[1][1:]
        path.write_text(''.join(lines[:-1] if part == 'dev' else lines))
    refused = workspace.call(*command, '--resume')
    assert refused.code == 2 and 'made otherwise: ' in refused.err and said in refused.err
    assert 'has ended already' in workspace.succeed(*command, '--resume_anyway').out
    record = json.loads((tmp_path / 'run' / 'run.json').read_text())
    record['inputs'] = {name: record['inputs'][name] for name in ('rows', 'load_model', 'teacher')}   # of an earlier version
    (tmp_path / 'run' / 'run.json').write_text(json.dumps(record))
    assert 'has ended already' in workspace.succeed(*command, '--resume').out
    (tmp_path / 'run' / 'run.json').write_text(json.dumps(record | {'inputs': {}}))           # what every version tells
    assert 'the hash of rows was None' in workspace.call(*command, '--resume').err


def test_without_anything_to_resume_it_starts(taught, tmp_path):
    outcome = taught.succeed(TRAIN, *BRIEF, '--train_seed', '1', '--output_dir', tmp_path, '--resume')
    assert 'no training state' in outcome.out and 'from the start' in outcome.out and (tmp_path / 'run.json').exists()


def test_what_differs_is_named(taught, tmp_path, monkeypatch):
    workspace = taught.copy(tmp_path / 'workspace')
    out = tmp_path / 'run'
    command = (TRAIN, *BRIEF, '--train_seed', '1', '--output_dir', out)
    stopped(workspace, monkeypatch, 0, *command)

    def refused(*flags):
        before = {path.name: path.read_bytes() for path in out.iterdir()}
        outcome = workspace.call(*command, *flags, '--resume')
        assert outcome.code == 2 and len(outcome.err.splitlines()) == 1
        assert {path.name: path.read_bytes() for path in out.iterdir()} == before
        return outcome.err
    assert '--learning_rate was 0.001, is 0.002;' in refused('--learning_rate', '2e-3')
    assert 'seed was 1, is 2' in refused('--train_seed', '2')
    assert 'made otherwise: --eval_batch_size was 32, is 16;' in refused('--eval_batch_size', '16')
    with monkeypatch.context() as patch:
        patch.setattr('src.runs.versions', lambda: {'python': '3', 'torch': '1.0', 'numpy': '1'})
        assert 'version of torch was ' in refused() and 'is 1.0' in refused()
    with monkeypatch.context() as patch:
        patch.setattr('src.runs.code_marks', lambda: code_marks() | {'src/training.py': 'x'})
        assert 'made otherwise: src/training.py was ' in refused()
    path = workspace.glue / 'MRPC' / 'dev.tsv'
    path.write_text(path.read_text().replace(' dog ', ' cat '))
    assert 'dev' in refused() and 'rows' in refused()
    outcome = workspace.succeed(*command, '--learning_rate', '2e-3', '--resume_anyway', '--log_every_step', '2')
    assert 'warning: --resume_anyway' in outcome.out and 'goes on after step 1' in outcome.out


def test_a_drawn_seed_is_found_again(taught, tmp_path, monkeypatch):
    """Its folder is named by the seed, which only the stopped run knows."""
    workspace = taught.copy(tmp_path / 'workspace')
    command = (TRAIN, *BRIEF, '--model_type', 'SPS', '--student_hidden_layers', '2')
    first = stopped(workspace, monkeypatch, 0, *command)
    seed = next(line for line in first.out.splitlines() if line.startswith('seed '))
    outcome = workspace.succeed(*command, '--resume')
    assert 'goes on after step 1' in outcome.out and f'{seed.removesuffix(" (drawn)")}\n' in outcome.out
    assert 'has ended already' in workspace.succeed(*command, '--resume').out
    with monkeypatch.context() as patch:
        patch.setitem(modeling.REPEATED_LAYERS, 2, [1])
        refused = workspace.call(*command, '--resume')
    assert refused.code == 2 and 'made otherwise: REPEATED_LAYERS was ' in refused.err
    [path] = workspace.outputs.glob('PeaKD/MRPC/*/run.json')
    record = json.loads(path.read_text())
    del record['inputs']['constants']                         # as an earlier version wrote it
    path.write_text(json.dumps(record))
    assert 'has ended already' in workspace.succeed(*command, '--resume').out
    assert len(list((workspace.outputs / 'PeaKD' / 'MRPC').iterdir())) == 1
    for _ in range(2):
        stopped(workspace, monkeypatch, 0, *command)
    both = workspace.call(*command, '--resume')
    assert both.code == 2 and 'several runs' in both.err and '--train_seed' in both.err


@pytest.mark.parametrize('flags', [('--student_hidden_layers', '2'), ()], ids=['layers given', 'those of the checkpoint'])
def test_a_run_that_replaces_one_of_other_inputs_says_so(taught, tmp_path, monkeypatch, flags):
    """The folder's name is made of flags, and tells nothing of what is edited in the source."""
    workspace = taught.copy(tmp_path / 'workspace')
    command = (TRAIN, *BRIEF, '--model_type', 'SPS', *flags, '--train_seed', '1')
    for _ in range(2):
        assert 'warning' not in workspace.succeed(*command).out
    with monkeypatch.context() as patch:
        patch.setitem(modeling.REPEATED_LAYERS, 2, [1])
        refused = workspace.call(*command, '--resume')
        assert refused.code == 2 and 'made otherwise: REPEATED_LAYERS was ' in refused.err
        assert 'which was made with other constants in the source\n' in workspace.succeed(*command).out
    assert len(list((workspace.outputs / 'PeaKD' / 'MRPC').iterdir())) == 1


def test_without_resume_a_run_starts_anew_and_says_so(taught, tmp_path, monkeypatch):
    command = (TRAIN, *BRIEF, '--train_seed', '1', '--output_dir', tmp_path)
    stopped(taught, monkeypatch, 0, *command)
    outcome = taught.succeed(*command)
    assert 'warning: from the start' in outcome.out and leftovers(tmp_path) == []


def test_a_damaged_state_is_told(taught, tmp_path, monkeypatch):
    """Any bit of what counts: the file is cut off at, or flipped in, many places."""
    command = (TRAIN, *BRIEF, '--train_seed', '1', '--output_dir', tmp_path)
    stopped(taught, monkeypatch, 0, *command)
    path = tmp_path / STATE_FILE
    sound, rng = path.read_bytes(), random.Random(0)
    wanted = read_state(path)
    for _ in range(60):
        place = rng.randrange(len(sound))
        spoilt = bytearray(sound)
        spoilt[place] ^= 1 << rng.randrange(8)
        for content in (bytes(spoilt), sound[:place]):
            path.write_bytes(content)
            try:
                assert same(read_state(path), wanted)      # what lies between the parts of a zip does not count
            except InputError as error:
                assert str(path) in str(error)
    path.write_bytes(sound[:-1000])
    outcome = taught.call(*command, '--resume')
    assert outcome.code == 2 and f'{path} is damaged' in outcome.err


def same(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@pytest.mark.parametrize('spoil', [
    lambda state: state.pop('optimizer'), lambda state: state['progress'].pop('log_bytes'),
    lambda state: state['progress'].pop('best'), lambda state: state['model'].popitem(),
    lambda state: state['optimizer'].update(x={}), lambda state: state['optimizer'].update(x=1),
    lambda state: state['random'][0].update(torch=torch.zeros(3))])
def test_a_state_of_another_making_is_told(taught, tmp_path, monkeypatch, spoil):
    command = (TRAIN, *BRIEF, '--train_seed', '1', '--output_dir', tmp_path)
    stopped(taught, monkeypatch, 1, *command)
    path = tmp_path / STATE_FILE
    state = read_state(path)
    spoil(state)
    write_state(path, state.pop('made_by'), state.pop('progress'), state)
    outcome = taught.call(*command, '--resume')
    assert outcome.code == 2 and str(path) in outcome.err and len(outcome.err.splitlines()) == 1


def test_logs_that_were_cut_off_are_told(taught, tmp_path, monkeypatch):
    command = (TRAIN, *BRIEF, '--train_seed', '1', '--output_dir', tmp_path)
    stopped(taught, monkeypatch, 0, *command)
    (tmp_path / 'train_log.txt').write_text('')
    outcome = taught.call(*command, '--resume')
    assert outcome.code == 2 and 'train_log.txt has 0 bytes' in outcome.err


def test_a_second_run_in_the_folder_is_refused(taught, tmp_path):
    command = (TRAIN, *BRIEF, '--train_seed', '1', '--output_dir', tmp_path)
    with only_one(tmp_path / '.lock', 'output_dir'):
        outcome = taught.run(*map(str, command))
    assert outcome.code == 2 and f'process {os.getpid()} on ' in outcome.err and str(tmp_path) in outcome.err
    assert [path.name for path in tmp_path.iterdir()] == ['.lock']


# When a state is due


@pytest.mark.parametrize('text, wanted', [('200', (200, None)), ('10m', (None, 600.0)), ('0.5m', (None, 30.0))])
def test_periods(text, wanted):
    assert parse_period(text) == wanted


def test_minutes(monkeypatch):
    now = [100.0]
    monkeypatch.setattr('time.monotonic', lambda: now[0])
    period = Period('1m')
    found = []
    for step in range(6):
        now[0] += 25
        found.append(period.due(step))
    assert found == [False, False, True, False, False, True]
    assert [step for step in range(1, 10) if Period('4').due(step)] == [4, 8] and not Period(None).due(7)
