"""The main job, on a tiny checkpoint and task: every stage once, a table, a picture; and nothing twice."""
import pandas as pd
import pytest
from conftest import ROOT, write_checkpoint, write_task

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


def test_a_second_call_repeats_nothing(demo):
    workspace, first = demo
    before = {path: path.stat().st_mtime_ns for path in workspace.outputs.rglob('*.pkl')}
    second = workspace.run(DEMO)
    assert second.code == 0, second.err
    assert second.out.count('done before') == 5 and '$ python' not in second.out
    assert {path: path.stat().st_mtime_ns for path in workspace.outputs.rglob('*.pkl')} == before
    assert (workspace.outputs / 'demo' / 'MRPC' / 'results.md').read_text() in first.out + '\n'
