"""Files appear whole or not at all; a full disk and a read-only folder are told in a line and damage nothing."""
import contextlib
import ctypes
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, full_disk

from BERT.pytorch_pretrained_bert import writing
from BERT.pytorch_pretrained_bert.writing import WriteError, append, remove_temporaries, replace_file, replace_folder
from src.argument_parser import PTP, TEACHER, TRAIN
from src.training_state import STATE_FILE

SMALL = ('--bert_model', 'tiny', '--teacher_hidden_layers', '2', '--precision', 'fp32')
FIT = (*SMALL, '--num_train_epochs', '2', '--train_batch_size', '8', '--saving_criterion_acc=-1', '--saving_criterion_loss',
       '100')


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob('*')
            if path.is_file() and path.name not in ('.lock',)}


# The mechanism


def test_a_file_that_cannot_be_finished_leaves_the_old_one(tmp_path):
    path = tmp_path / 'a' / 'file'
    for content in ('old', 'new'):
        with replace_file(path) as temporary:
            temporary.write_text(content)
            assert not path.exists() or path.read_text() == 'old'
    with pytest.raises(ZeroDivisionError), replace_file(path) as temporary:
        temporary.write_text('half')
        raise ZeroDivisionError
    with pytest.raises(WriteError, match=f'{path} cannot be written: File too large'), full_disk(10), \
            replace_file(path) as temporary:
        temporary.write_text('x' * 100)
    assert path.read_text() == 'new' and os.listdir(path.parent) == ['file']


def test_file_and_folder_are_on_disk_before_the_name_counts(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, 'fsync', lambda descriptor: (done.append(stat.S_ISDIR(os.fstat(descriptor).st_mode)),
                                                         fsync(descriptor)))
    monkeypatch.setattr(os, 'replace', lambda *paths: (done.append('replace'), replace(*paths)))
    with replace_file(tmp_path / 'file') as temporary:
        temporary.write_text('x')
    assert done == [False, 'replace', True]


def fill(folder, content):
    for name in ('a', 'config.json', 'z'):
        (folder / name).write_text(content)


def test_a_folder_appears_whole_and_another_keeps_what_is_not_replaced(tmp_path):
    place = tmp_path / 'above' / 'folder'
    for content in ('old', 'new'):
        with replace_folder(place, 'config.json') as folder:
            fill(folder, content)
            assert not (place.exists() and content == 'old')
        assert files(place).items() >= dict.fromkeys(map(Path, ('a', 'config.json', 'z')), content.encode()).items()
        (place / 'mine').write_text('mine')
    assert (place / 'mine').exists() and [path.name for path in place.parent.iterdir()] == ['folder']


@pytest.mark.parametrize('done', [0, 1, 2])
def test_a_folder_is_never_read_half_old_half_new(tmp_path, monkeypatch, done):
    """What ends it between two files leaves the one without which nobody reads the others missing."""
    (tmp_path / 'folder').mkdir()
    fill(tmp_path / 'folder', 'old')
    left = iter(range(done))

    def put_in_place(finished, path):
        if next(left, None) is None:
            raise KeyboardInterrupt
        os.replace(finished, path)
    monkeypatch.setattr(writing, 'put_in_place', put_in_place)
    with pytest.raises(KeyboardInterrupt), replace_folder(tmp_path / 'folder', 'config.json') as folder:
        fill(folder, 'new')
    assert set(files(tmp_path)) == {Path('folder/a'), Path('folder/z')}


@pytest.mark.parametrize('there', [True, False])
def test_a_folder_that_cannot_be_finished_leaves_the_old_one(tmp_path, there):
    if there:
        (tmp_path / 'folder').mkdir()
        fill(tmp_path / 'folder', 'old')
    before = files(tmp_path)
    with pytest.raises(WriteError, match=r'folder cannot be written: File too large'), full_disk(100), \
            replace_folder(tmp_path / 'folder', 'config.json') as folder:
        (folder / 'a').write_text('x' * 1000)
    assert files(tmp_path) == before and [path.name for path in tmp_path.iterdir()] == ['folder'] * there


def test_rows_are_appended_whole_or_not_at_all(tmp_path):
    path = tmp_path / 'log'
    append(path, b'0123456789\n')
    with pytest.raises(WriteError, match=f'{path} cannot be written'), full_disk(15):
        append(path, b'0123456789\n')
    assert path.read_bytes() == b'0123456789\n'
    append(path, b'more\n')
    assert path.read_bytes() == b'0123456789\nmore\n'


def test_what_killed_processes_left_is_removed_by_prefix(tmp_path):
    for name in ('.BERT.cls.pkl.7.tmp', '.PTP.SPS.cls.pkl.7.tmp', 'BERT.cls.pkl'):
        (tmp_path / name).touch()
    remove_temporaries(tmp_path, 'BERT.')
    assert sorted(os.listdir(tmp_path)) == ['.PTP.SPS.cls.pkl.7.tmp', 'BERT.cls.pkl']


# The scripts


@pytest.fixture(scope='module')
def taught(make_workspace):
    workspace = make_workspace(2)
    workspace.add_teacher()
    workspace.succeed(TEACHER, *SMALL)
    workspace.succeed(TRAIN, *FIT, '--train_seed', 1, '--output_dir', workspace.folder / 'run')
    workspace.succeed(PTP, *FIT, '--PTP_seed', 1, '--output_dir', workspace.folder / 'run')
    return workspace


def assert_told(outcome, path):
    assert outcome.code == 2, outcome.err
    line = outcome.err.splitlines()[-1].rpartition('\r')[2]
    assert line.startswith('error: ') and str(path) in line and 'Traceback' not in outcome.err, outcome.err
    return line


# A state needs about 250 kB here, an encoder 75, a result file 21, the token cache and a picture more than 4
@pytest.mark.parametrize('script, flags, file_bytes', [
    (TRAIN, ('--checkpoint_every', '3'), 120_000), (TRAIN, ('--checkpoint_every', '3'), 20_000), (TRAIN, (), 20_000),
    (PTP, (), 20_000), (TRAIN, (), 100), (TEACHER, (), 10_000), (TEACHER, (), 100)])
def test_full_disk(taught, tmp_path, script, flags, file_bytes):
    """One line that names the file; weights, records and result files of earlier runs as they were."""
    workspace = taught.copy(tmp_path / 'workspace')
    folder = workspace.folder / 'run'
    target = ('--teacher_prediction', workspace.result_file()) if script == TEACHER else ('--output_dir', folder)
    before = files(workspace.folder)
    with full_disk(file_bytes):
        outcome = workspace.call(script, *(SMALL if script == TEACHER else FIT), *target, *flags)
    line = assert_told(outcome, workspace.folder)
    assert line.endswith('cannot be written: File too large')
    after = files(workspace.folder)
    assert not [path for path in after if path.name.endswith(('.tmp', '.pending', '.part')) or path.name == STATE_FILE]
    for path, content in before.items():
        mine = path.parent.name in ('run', *(place.name for place in folder.glob('PTP*'))) and (
            path.suffix in ('.txt', '.json', '.png') or path.name.startswith('BERT.' if script == TRAIN else 'PTP.'))
        assert mine or after[path] == content, path
    if file_bytes < 60_000:              # before the first successor is complete
        assert all(after[path] == content for path, content in before.items() if path.suffix == '.pkl')


def test_full_disk_and_then_room_again(taught, tmp_path):
    """The state before it still serves."""
    command = (TRAIN, *FIT, '--train_seed', 1, '--checkpoint_every', '3', '--output_dir', tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        from src import training
        write = training.write_state

        def filling(path, made_by, progress, tensors):
            with full_disk(1000) if progress['steps'] == 6 else contextlib.nullcontext():
                write(path, made_by, progress, tensors)
        patch.setattr(training, 'write_state', filling)
        assert_told(taught.call(*command), tmp_path / STATE_FILE)
    assert 'goes on after step 3' in taught.succeed(*command, '--resume').out
    for name in ('BERT.encoder.pkl', 'BERT.encoder_acc.pkl', 'train_log.txt', 'eval_log.txt'):
        assert (tmp_path / name).read_bytes() == (taught.folder / 'run' / name).read_bytes()


def without_root_rights():
    """Let what is executed next lack CAP_DAC_OVERRIDE (linux/capability.h), by which root writes read-only folders."""
    ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)        # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE


@pytest.mark.skipif(sys.platform != 'linux', reason='root writes read-only folders, and only Linux can take that from it')
@pytest.mark.parametrize('script', [TRAIN, TEACHER])
def test_read_only_folder(taught, tmp_path, script):
    workspace = taught.copy(tmp_path / 'workspace')
    folder = workspace.folder / 'run' if script == TRAIN else workspace.result_file().parent
    target = ('--teacher_prediction', folder / 'new.pkl') if script == TEACHER else ('--output_dir', folder)
    flags = [*(SMALL if script == TEACHER else FIT), *target]
    before = files(workspace.folder)
    folder.chmod(0o555)
    try:
        done = subprocess.run([sys.executable, ROOT / script, *map(str, flags)], capture_output=True, text=True,
                              env=os.environ | workspace.variables, preexec_fn=without_root_rights)
    finally:
        folder.chmod(0o755)
    assert done.returncode == 2 and done.stderr.count('\n') == 1 and done.stderr.endswith('Permission denied\n'), done.stderr
    assert str(folder) in done.stderr and files(workspace.folder) == before


def test_results_under_a_file(taught, tmp_path):
    (tmp_path / 'file').write_text('mine')
    outcome = taught.call(TEACHER, *SMALL, '--teacher_prediction', tmp_path / 'file' / 'results.pkl')
    assert_told(outcome, tmp_path / 'file')
    assert (tmp_path / 'file').read_text() == 'mine'
