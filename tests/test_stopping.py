"""Signals that stop a script, and the lock that keeps two runs apart."""
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT

import src.stopping
from BERT.pytorch_pretrained_bert.file_utils import InputError
from src.run_lock import only_one
from src.stopping import Stopped, signals_held, stop_if_asked, stop_signals
from src.utils import RunError, run_script

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@pytest.mark.parametrize('number', SIGNALS)
def test_a_signal_stops_at_once(number, monkeypatch):
    """It may come twice, the second time perhaps when the first has been answered; a later one is another."""
    others = []
    before = signal.signal(number, lambda *_: others.append(number))
    try:
        with pytest.raises(Stopped) as stop, stop_signals():
            os.kill(os.getpid(), number)
            time.sleep(5)
        os.kill(os.getpid(), number)
        assert stop.value.number == number and others == []
        monkeypatch.setattr(src.stopping, 'SAME_SECONDS', 0.0)
        for _ in range(2):
            os.kill(os.getpid(), number)
        assert others == [number] * 2
    finally:
        signal.signal(number, before)


def test_without_a_signal_all_is_as_before():
    before = [signal.getsignal(number) for number in SIGNALS]
    with stop_signals():
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert [signal.getsignal(number) for number in SIGNALS] == before


@pytest.mark.parametrize('number', SIGNALS)
def test_held_signals_stop_where_they_are_asked_for(number):
    done = []
    with pytest.raises(Stopped), stop_signals(), signals_held():
        with signals_held():
            os.kill(os.getpid(), number)
            done.append('inner')
        done.append('outer')                 # only the end of the outermost one stops
        stop_if_asked()
        done.append('never')
    assert done == ['inner', 'outer']
    with pytest.raises(Stopped), stop_signals():
        with signals_held():
            os.kill(os.getpid(), number)
        done.append('never')
    assert done == ['inner', 'outer']
    stop_if_asked()                          # nothing is left over


def test_what_goes_wrong_goes_before_a_held_signal():
    with pytest.raises(ZeroDivisionError), stop_signals(), signals_held():
        os.kill(os.getpid(), signal.SIGTERM)
        raise ZeroDivisionError
    with stop_signals(), signals_held():
        pass


def test_an_ignored_signal_stays_ignored(monkeypatch):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stop_signals():
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_later_signal_ends_what_holds_the_first():
    script = ('import os, signal, time\nimport src.stopping as stopping\n'
              'with stopping.stop_signals(), stopping.signals_held():\n'
              '    for word in ("held", "the same", "never"):\n'
              '        os.kill(os.getpid(), signal.SIGTERM)\n        print(word, flush=True)\n'
              '        time.sleep(stopping.SAME_SECONDS + 0.2 if word == "the same" else 0)\n')
    done = subprocess.run([sys.executable, '-c', script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == -signal.SIGTERM and done.stdout == 'held\nthe same\n'


@pytest.mark.parametrize('error, code, line', [
    (InputError('--T x'), 2, 'error: --T x'), (RunError('the loss\nis nan'), 1, 'error: the loss is nan'),
    (Stopped(signal.SIGTERM), 143, 'stopped by SIGTERM'), (KeyboardInterrupt(), 130, 'stopped by SIGINT'),
    (PermissionError(13, 'Permission denied', 'a/b'), 2, 'error: a/b: Permission denied')])
def test_one_line_and_a_code(error, code, line, capsys):
    def main():
        raise error
    with pytest.raises(SystemExit) as left:
        run_script(main)
    assert left.value.code == code and capsys.readouterr().err == f'{line}\n'


def _hold(lock, held, release):
    with only_one(lock, 'output_dir'):
        held.set()
        release.wait(120)


def test_the_second_run_is_refused_and_a_dead_one_does_not_block(tmp_path):
    context = multiprocessing.get_context('spawn')
    held, release = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(tmp_path / '.lock', held, release))
    holder.start()
    assert held.wait(120)
    for _ in range(2):                       # the refusal itself changes nothing
        with (pytest.raises(InputError, match=f'--output_dir: process {holder.pid} on .*, which began at 20.*{tmp_path}'),
              only_one(tmp_path / '.lock', 'output_dir')):
            pass
    holder.kill()
    holder.join()
    assert str(holder.pid) in (tmp_path / '.lock').read_text()
    with only_one(tmp_path / '.lock', 'output_dir'):
        assert f'process {os.getpid()} ' in (tmp_path / '.lock').read_text()
    assert (tmp_path / '.lock').read_text() == ''


KEEPS_A_STATE = """
import pathlib, signal, sys, time
def keep(*_):
    time.sleep(1.5)                      # longer than subprocess.run would wait
    pathlib.Path(sys.argv[1], 'state').touch()
    sys.exit(3)
signal.signal(signal.SIGTERM, keep)
signal.signal(signal.SIGINT, lambda *_: pathlib.Path(sys.argv[1], 'interrupted').touch())
pathlib.Path(sys.argv[1], 'ready').touch()
time.sleep(60)
"""
STARTS_IT = """
import os, sys
from src.stage_runner import run_child
from src.utils import run_script
run_script(lambda: run_child([sys.executable, '-c', sys.argv[1], sys.argv[2]], dict(os.environ)))
"""


@pytest.mark.parametrize('number', SIGNALS)
def test_a_child_is_told_once_and_waited_for(tmp_path, number):
    """As with Ctrl-C in a terminal, the signal goes to the whole process group."""
    process = subprocess.Popen([sys.executable, '-c', STARTS_IT, KEEPS_A_STATE, tmp_path], cwd=ROOT, start_new_session=True)
    until = time.monotonic() + 60
    while not (tmp_path / 'ready').exists() and time.monotonic() < until:
        time.sleep(0.05)
    os.killpg(process.pid, number)
    assert process.wait(60) == 128 + number
    assert sorted(path.name for path in tmp_path.iterdir()) == ['ready', 'state']
