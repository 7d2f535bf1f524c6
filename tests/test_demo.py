"""The main job, on a tiny checkpoint and task: every stage once, a table, a picture; and nothing twice."""
import hashlib
import json
import os
import shutil
import signal
from types import SimpleNamespace

import pandas as pd
import pytest
from conftest import ROOT, write_checkpoint, write_task

from scripts import demo as demo_script
from src.training import Trainer

DEMO = ROOT / 'scripts' / 'demo.py'


@pytest.fixture(scope='module')
def demo(make_workspace):
    """A workspace in which the demo has run."""
    workspace = make_workspace(tasks=())
    write_checkpoint(workspace.models / 'minilm-l6', 6)
    write_task(workspace.glue, 'MRPC', (40, 20, 10))
    outcome = workspace.run(DEMO)
    assert outcome.code == 0, outcome.err
    return workspace, outcome


def test_the_table(demo):
    workspace, outcome = demo
    folder = workspace.outputs / 'demo' / 'MRPC'
    table = pd.read_csv(folder / 'results.csv')
    assert table['model'].tolist() == ['teacher', 'SPS + PTP student', 'plain PKD student']
    assert table['stored layers'].tolist() == [6, 3, 3]
    assert table['passes'].tolist() == [6, 6, 3]
    assert table['parameters'][1] == table['parameters'][2] < table['parameters'][0]
    assert {'dev acc', 'dev f1', 'dev loss', 'seconds to train', 'sentences a second'} <= set(table.columns)
    assert (folder / 'results.md').read_text() in outcome.out + '\n'
    assert (folder / 'demo.png').read_bytes().startswith(b'\x89PNG')


def test_the_shared_student_starts_from_ptp(demo):
    """And the plain one from the checkpoint; both learn from the teacher's file."""
    runs = [json.loads(path.read_text()) for path in (demo[0].outputs / 'PeaKD' / 'MRPC').glob('*/run.json')]
    found = {run['arguments']['model_type']: run for run in runs}
    assert set(found) == {'SPS', 'Original'} and {run['arguments']['train_type'] for run in runs} == {'pkd'}
    ptp = demo[0].teacher_folder(6) / 'PTP.SPS_3layer.encoder.pkl'
    assert found['SPS']['arguments']['load_model'] == str(ptp)
    assert found['SPS']['inputs']['load_model'] == hashlib.sha256(ptp.read_bytes()).hexdigest()
    assert found['Original']['arguments']['load_model'] is None


def test_without_mrpc_it_is_the_sample_task(demo, monkeypatch, capsys):
    """Where it is not there and cannot be downloaded; what is downloaded is taken."""
    codes = [1, 0]
    with demo[0].active():
        monkeypatch.setattr(demo_script, '_has_files', lambda name: False)
        monkeypatch.setattr(demo_script.subprocess, 'run', lambda *_, **__: SimpleNamespace(returncode=codes.pop(0)))
        assert demo_script.choose_task() == 'Sample' and 'MRPC cannot be had here' in capsys.readouterr().out
        assert demo_script.choose_task() == 'MRPC' and codes == []


def test_a_second_call_repeats_nothing(demo):
    workspace, first = demo
    before = {path: path.stat().st_mtime_ns for path in workspace.outputs.rglob('*.pkl')}
    second = workspace.run(DEMO)
    assert second.code == 0, second.err
    assert second.out.count('done before') == 5 and '$ python' not in second.out
    assert {path: path.stat().st_mtime_ns for path in workspace.outputs.rglob('*.pkl')} == before
    assert (workspace.outputs / 'demo' / 'MRPC' / 'results.md').read_text() in first.out + '\n'


def test_a_stage_that_was_stopped_goes_on(demo, monkeypatch):
    workspace, first = demo
    script, *flags = [line.split()[2:] for line in first.out.splitlines() if line.startswith('$ python ')][-1]
    folder = next(path.parent for path in workspace.outputs.rglob('PeaKD/MRPC/pkd_Original_*/run.json'))
    before = [(folder / name).read_bytes() for name in ('train_log.txt', 'BERT.encoder_acc.pkl')]
    shutil.rmtree(folder)
    log_means = Trainer._log_means

    def stopping(trainer, *args):
        if trainer.steps == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        log_means(trainer, *args)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, '_log_means', stopping)
        assert workspace.call(script, *flags).code == 143
    then = workspace.run(DEMO)
    assert then.code == 0, then.err
    assert then.out.count('done before') == 4 and '--resume: goes on after step 3' in then.out
    assert [(folder / name).read_bytes() for name in ('train_log.txt', 'BERT.encoder_acc.pkl')] == before


def test_a_stage_that_cannot_go_on_starts_anew(demo, tmp_path, monkeypatch):
    """And one that has ended, or not begun, is not asked to go on: made otherwise, it would be refused."""
    workspace, called = demo[0].copy(tmp_path / 'workspace'), []
    path = workspace.result_file(6)
    monkeypatch.setattr(demo_script, 'run_child', lambda command, environment: called.append(command[-1]) or 2)
    teacher = ['--task', 'MRPC', '--bert_model', 'minilm-l6', '--teacher_hidden_layers', '6', '--max_seq_length', '20']
    with workspace.active():
        for resumes in (False, False, True):
            with pytest.raises(SystemExit, match='2'):
                demo_script.save_teacher_outputs(teacher)
            assert [last == '--resume' for last in called] == ([True, False] if resumes else [False])
            called.clear()
            path.with_name(f'.{path.name}.part' if (path.with_name(f'.{path.name}.journal')).exists() else
                           f'.{path.name}.journal').touch()            # neither is enough to go on from by itself
