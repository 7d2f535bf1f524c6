"""--report_to: TensorBoard and Weights & Biases get the numbers of the CSV logs, each once, whatever stops a run; and
nothing that is computed changes."""
import importlib.util
import itertools
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pandas as pd
import pytest
from conftest import ROOT

from src.argument_parser import PTP, TRAIN
from src.run_log import EVENTS, PLACES, WANDB_ID, RunLog, TensorBoard
from src.training import Trainer
from src.utils import RunError

pytest.importorskip('tensorboard', reason='the points are read with TensorBoard')

SMALL = ('--bert_model', 'tiny', '--teacher_hidden_layers', '2', '--precision', 'fp32', '--train_batch_size', '10',
         '--num_train_epochs', '2', '--eval_every', '2', '--learning_rate', '1e-3')
COMMAND = (TRAIN, *SMALL, '--train_seed', '1')             # 12 steps; dev is scored at 6, 8, 10 and 12
TO_TENSORBOARD = ('--report_to', 'tensorboard')


@pytest.fixture(scope='module')
def workspace(make_workspace):
    return make_workspace(1)


def points_of_csv(folder, scored_on='dev'):
    """name -> [(step, value)] of a run's logs."""
    points = {}
    for file, group in (('train_log.txt', 'train'), ('eval_log.txt', scored_on)):
        table = pd.read_csv(folder / file)
        for name in table.columns.difference(PLACES):
            points[f'{group}/{name}'] = list(zip(table['global_steps'], table[name], strict=True))
    return points


def points_of_tensorboard(folder):
    """The same, as TensorBoard shows them."""
    events = pytest.importorskip('tensorboard.backend.event_processing.event_accumulator')
    shown = events.EventAccumulator(str(folder), {events.SCALARS: 0}).Reload()
    return {name: [(event.step, event.value) for event in shown.Scalars(name)] for name in shown.Tags()['scalars']}


def assert_same_points(found, wanted):
    assert found.keys() == wanted.keys()
    for name, points in wanted.items():
        assert [step for step, _ in found[name]] == [step for step, _ in points], name
        assert [value for _, value in found[name]] == pytest.approx([value for _, value in points], rel=1e-6), name


@pytest.fixture(scope='module')
def plain(workspace):
    """A run that reports nowhere."""
    folder = workspace.folder / 'plain'
    workspace.succeed(*COMMAND, '--output_dir', folder)
    return folder


def test_tensorboard_has_the_points_of_the_csv_and_nothing_else_changes(workspace, plain, tmp_path):
    workspace.succeed(*COMMAND, '--output_dir', tmp_path, *TO_TENSORBOARD)
    wanted = points_of_csv(tmp_path)
    assert len(wanted['train/loss']) == 12 and [step for step, _ in wanted['dev/f1']] == [6, 8, 10, 12]
    assert_same_points(points_of_tensorboard(tmp_path), wanted)
    for name in ('train_log.txt', 'eval_log.txt', 'BERT.encoder.pkl', 'BERT.cls.pkl'):
        assert (tmp_path / name).read_bytes() == (plain / name).read_bytes()
    assert not list(plain.glob(EVENTS))


def test_of_ptp_with_a_holdout(workspace, tmp_path):
    workspace = workspace.copy(tmp_path / 'workspace')
    workspace.add_teacher()
    flags = ('--bert_model', 'tiny', '--teacher_hidden_layers', '1', '--precision', 'fp32')
    workspace.succeed('save_teacher_outputs.py', *flags)
    workspace.succeed(PTP, *SMALL, *flags, '--output_dir', tmp_path / 'out', '--holdout', '0.2', *TO_TENSORBOARD)
    folder = tmp_path / 'out' / 'PTP.Original_1layer'
    assert_same_points(points_of_tensorboard(folder), points_of_csv(folder, 'holdout'))


def stop(step, kind):
    """A step of training, or the evaluation after it, that a signal stops, or that fails as a crash would."""
    where = '_evaluate_if_due' if kind == 'evaluation' else '_train_step'
    original = getattr(Trainer, where)

    def stopping(trainer, *args):
        if trainer.steps == step:
            if kind == 'crash':
                raise RunError('a crash')
            os.kill(os.getpid(), signal.SIGTERM)
        return original(trainer, *args)
    return where, stopping


def stopped_twice(workspace, monkeypatch, folder, first, second, *flags):
    """A run that is stopped, resumed, stopped and resumed; stops are (step, kind)."""
    # TensorBoard reads files in the order of their names, which tell the second; and no process starts so soon after another
    seconds = itertools.count(int(time.time()))
    monkeypatch.setattr('tensorboard.summary.writer.event_file_writer.time', SimpleNamespace(time=lambda: next(seconds)))
    for step, kind in (first, second):
        with monkeypatch.context() as patch:
            patch.setattr(Trainer, *stop(step, kind))
            code = workspace.call(*COMMAND, '--output_dir', folder, '--checkpoint_every', '4', '--resume', *flags).code
        assert code == (1 if kind == 'crash' else 143)
    workspace.succeed(*COMMAND, '--output_dir', folder, '--resume', *flags)


STOPS = {'signals': ((3, 'signal'), (9, 'signal')), 'crashes after the state': ((7, 'crash'), (11, 'crash')),
         'in an evaluation': ((6, 'evaluation'), (10, 'evaluation')),
         'in an evaluation, then a crash before the next state': ((6, 'evaluation'), (7, 'crash'))}


@pytest.mark.parametrize('stops', STOPS.values(), ids=STOPS)
def test_a_resumed_run_has_each_point_once(workspace, plain, tmp_path, monkeypatch, stops):
    stopped_twice(workspace, monkeypatch, tmp_path, *stops, *TO_TENSORBOARD)
    assert len(list(tmp_path.glob(EVENTS))) == 3
    assert_same_points(points_of_tensorboard(tmp_path), points_of_csv(plain))


def test_points_are_written_before_a_training_state_tells_of_them(workspace, tmp_path, monkeypatch):
    noted = []
    monkeypatch.setattr(TensorBoard, 'flush', lambda reporter: noted.append('points'))
    monkeypatch.setattr('src.training.write_state', lambda *_: noted.append('state'))
    workspace.succeed(*COMMAND, '--output_dir', tmp_path, '--checkpoint_every', '4', *TO_TENSORBOARD)
    assert noted and noted == ['points', 'state'] * (len(noted) // 2)


def test_what_was_trained_before_the_flag_is_reported_too(workspace, plain, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, *stop(7, 'signal'))
        workspace.call(*COMMAND, '--output_dir', tmp_path)
    workspace.succeed(*COMMAND, '--output_dir', tmp_path, '--resume', *TO_TENSORBOARD)      # and it is the same run
    assert_same_points(points_of_tensorboard(tmp_path), points_of_csv(plain))


def test_a_new_run_in_the_folder_takes_the_points_of_the_old_one_away(workspace, tmp_path):
    workspace.succeed(*COMMAND, '--output_dir', tmp_path, *TO_TENSORBOARD)
    workspace.succeed(*COMMAND, '--output_dir', tmp_path, *TO_TENSORBOARD, '--learning_rate', '2e-3')
    assert_same_points(points_of_tensorboard(tmp_path), points_of_csv(tmp_path))
    workspace.succeed(*COMMAND, '--output_dir', tmp_path)
    assert not list(tmp_path.glob(EVENTS))


def test_the_flag_names_no_configuration(workspace):
    for flags in ((), TO_TENSORBOARD):
        workspace.succeed(*COMMAND, '--model_type', 'SPS', '--num_train_epochs', '0.2', *flags)
    assert len(list((workspace.outputs / 'PeaKD' / 'MRPC').iterdir())) == 1


# Weights & Biases, by a stand-in: it keeps a file a run, where the service would, and treats steps as the service does.
STAND_IN = '''
import json
import os
from pathlib import Path


class Error(Exception):
    pass


class Run:
    def __init__(self, id, **settings):
        self.file = Path(os.environ['STAND_IN']) / f'{id}.json'
        self.kept = json.loads(self.file.read_text()) if self.file.exists() else {'inits': [], 'rows': {}, 'ends': []}
        self.kept['inits'].append(settings)
        self.step = max(map(int, self.kept['rows']), default=-1) + 1

    def define_metric(self, name, step_metric):
        self.kept['x'] = step_metric

    def log(self, values, step, commit):
        assert commit and step >= self.step, 'the service would warn, and ignore it'
        self.kept['rows'][step] = values
        self.step = step + 1
        self.file.write_text(json.dumps(self.kept))

    def finish(self, exit_code):
        self.kept['ends'].append(exit_code)
        self.file.write_text(json.dumps(self.kept))


def init(**settings):
    if 'WANDB_REFUSES' in os.environ:
        raise Error('no API key\\nconfigured')
    return Run(settings.pop('id'), **settings)
'''


@pytest.fixture
def service(tmp_path, monkeypatch):
    """Folder of the runs that the stand-in of wandb was sent."""
    (tmp_path / 'wandb.py').write_text(STAND_IN)
    (tmp_path / 'service').mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv('STAND_IN', str(tmp_path / 'service'))
    monkeypatch.delenv('WANDB_PROJECT', raising=False)
    monkeypatch.delitem(sys.modules, 'wandb', raising=False)
    yield tmp_path / 'service'
    sys.modules.pop('wandb', None)


def points_of_wandb(run):
    points = {}
    for row in run['rows'].values():
        for name in row.keys() - {run['x']}:
            points.setdefault(name, []).append((row[run['x']], row[name]))
    return points


def only_run(service):
    return pd.read_json(next(service.iterdir()), typ='series').to_dict() if len(list(service.iterdir())) == 1 else None


def test_wandb(workspace, plain, tmp_path, service):
    workspace.succeed(*COMMAND, '--output_dir', tmp_path / 'run', '--report_to', 'wandb,tensorboard')
    run = only_run(service)
    assert_same_points(points_of_wandb(run), points_of_csv(plain))
    assert_same_points(points_of_tensorboard(tmp_path / 'run'), points_of_csv(plain))
    settings = run['inits'][0]
    assert (settings['project'], settings['name'], settings['resume']) == ('pea-kd', 'run', 'allow')
    assert (settings['config']['learning_rate'], settings['config']['seed']) == (1e-3, 1)
    assert run['ends'] == [0]
    workspace.succeed(*COMMAND, '--output_dir', tmp_path / 'run', '--report_to', 'wandb')      # another run: another id
    assert len(list(service.iterdir())) == 2


@pytest.mark.parametrize('stops', STOPS.values(), ids=STOPS)
def test_a_resumed_run_is_one_run_of_wandb(workspace, plain, tmp_path, monkeypatch, service, stops):
    stopped_twice(workspace, monkeypatch, tmp_path / 'run', *stops, '--report_to', 'wandb')
    run = only_run(service)
    assert_same_points(points_of_wandb(run), points_of_csv(plain))
    assert len(run['inits']) == 3 and run['ends'] == [1, 1, 0]
    assert next(service.iterdir()).stem == (tmp_path / 'run' / WANDB_ID).read_text()


def test_what_wandb_has_against_it_is_one_line(workspace, tmp_path, service, monkeypatch):
    monkeypatch.setenv('WANDB_REFUSES', '1')
    outcome = workspace.call(*COMMAND, '--output_dir', tmp_path / 'run', '--report_to', 'wandb')
    assert outcome.code == 2 and outcome.err.splitlines()[-1] == 'error: --report_to wandb: no API key configured'
    assert 'Traceback' not in outcome.err


# Refusals


@pytest.mark.parametrize('found', [None, 'folder'])
def test_a_library_that_is_missing_is_told_before_training(workspace, tmp_path, monkeypatch, found):
    """Also where a folder has its name, as one that wandb keeps its files in."""
    folder = importlib.util.spec_from_loader('wandb', None)
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: folder if found else None)
    outcome = workspace.call(*COMMAND, '--output_dir', tmp_path, '--report_to', 'tensorboard,wandb', '--alpha', '2')
    assert outcome.code == 2 and len(outcome.err.splitlines()) == 1
    assert 'tensorboard and wandb not installed; pip install tensorboard wandb' in outcome.err and '--alpha' in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_a_library_that_is_broken_is_told_before_training(workspace, tmp_path, monkeypatch, service):
    (service.parent / 'wandb.py').write_text('import a_module_that_nobody_has')
    outcome = workspace.call(*COMMAND, '--output_dir', tmp_path / 'run', '--report_to', 'wandb')
    assert outcome.code == 2 and 'pip install --upgrade wandb' in outcome.err.splitlines()[-1]


def test_nothing_is_imported_that_is_not_asked_for():
    code = ('import sys, NLI_KD_training, PTP\n'
            'PTP.parse("PTP.py", "", ["--report_to", "None"])\n'
            'sys.exit(any(name.split(".")[0] in ("tensorboard", "wandb") for name in sys.modules))')
    assert subprocess.run([sys.executable, '-c', code], cwd=ROOT).returncode == 0


def test_an_empty_cell_is_no_point(tmp_path):
    """The accuracy of regression."""
    with RunLog(tmp_path, ('tensorboard',)) as log:
        log.begin()
        log.train_row(0, 1, 0, float('nan'), (1.5, 0.0, 1.5, 0.0))
    assert points_of_tensorboard(tmp_path).keys() == {'train/loss', 'train/kd_loss', 'train/ce_loss', 'train/AT_loss'}
