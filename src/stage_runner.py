"""Stages as processes: each after those whose files it reads, several at a time, none outliving this process."""
import contextlib
import ctypes
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import TextIO

import envs
from src.dump_journal import JOURNAL
from src.stages import Stage
from src.training_state import STATE_FILE

LOG = 'log.txt'               # in a stage's folder: its command and what it printed
CALL = '$ python '           # what the command of each call begins with there
OF_RESUMING = '--resume: '    # what an error begins with that is about what a run was to go on from
SECONDS_TO_STOP = 60          # before a process that was told to stop is killed
KILLED = -9                   # the code of a process that was killed; Windows has no signal.SIGKILL to name it by
# Found here, for between fork and exec little more than system calls is safe.
PRCTL = ctypes.CDLL(None).prctl if sys.platform == 'linux' else None
PR_SET_PDEATHSIG = 1          # linux/prctl.h


def is_ready(stage: Stage, root: Path) -> bool:
    """Whether a stage has ended and its files are there."""
    return all((root / path).is_file() for path in stage.outputs)


class StageRunner:
    """Runs stages of a comparison in `root` as processes of `threads` threads each; on leaving its context, all end, after
    keeping a training state where they can."""

    def __init__(self, root: Path, threads: int):
        self.root = root
        # The bar of a run goes to its log, where a line every ten seconds is enough.
        self.environment = os.environ | {'OMP_NUM_THREADS': str(threads), 'TQDM_MININTERVAL': '10'}
        self.lock = threading.Lock()
        self.running: set[subprocess.Popen] = set()
        self.stopped = False

    def __enter__(self) -> 'StageRunner':
        return self

    def __exit__(self, *_) -> None:
        with self.lock:
            self.stopped = True
            for process in self.running:
                process.terminate()
            until = time.monotonic() + SECONDS_TO_STOP
            for process in self.running:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, until - time.monotonic()))
                process.kill()

    def __call__(self, stage: Stage) -> str | None:
        """Run a stage, from where an earlier one was stopped if it can go on; returns its error in one line, or None."""
        folder = self.root / stage.folder
        words = [stage.script, *stage.command(self.root)]
        try:
            if _can_go_on(folder):
                with open(folder / LOG, 'a', encoding='utf-8') as log:
                    code = self._run([*words, '--resume'], log)
                error = None if code == 0 else _error(folder / LOG, code)
                if not (error or '').startswith(OF_RESUMING):        # else its code is a newer version, say
                    return error
            shutil.rmtree(folder, ignore_errors=True)      # an earlier run that was stopped half-way
            folder.mkdir(parents=True)
            with open(folder / LOG, 'w', encoding='utf-8') as log:
                code = self._run(words, log)
            return None if code == 0 else _error(folder / LOG, code)
        except (OSError, subprocess.SubprocessError) as problem:
            return f'{type(problem).__name__}: {problem}'

    def _run(self, words: list[str], log: TextIO) -> int:
        log.write(f'{CALL}{shlex.join(words)}\n')
        log.flush()
        command = [sys.executable, str(envs.PROJECT_FOLDER / words[0]), *words[1:]]
        with self.lock:
            if self.stopped:
                return KILLED
            # A session of its own: Ctrl-C reaches this process alone, which then ends the others.
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment,
                                       start_new_session=True, preexec_fn=PRCTL and partial(_end_with, os.getpid()))
            self.running.add(process)
        code = process.wait()
        with self.lock:
            self.running.discard(process)
        return code


def run_child(command: list[str], environment: dict[str, str]) -> int:
    """Run a command to its end and return its code. Where this process is stopped, the command is told so, once, and waited
    for: it has states to keep."""
    # A session of its own, as above: from a terminal the command would be told twice, and a late second signal kills.
    process = subprocess.Popen(command, env=environment, start_new_session=True,
                               preexec_fn=PRCTL and partial(_end_with, os.getpid()))
    try:
        return process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


def _can_go_on(folder: Path) -> bool:
    """Whether a stopped run or dump has left in a folder what it can go on from."""
    return any(folder.rglob(STATE_FILE)) or any(folder.glob(f'.*{JOURNAL}'))


def _end_with(parent: int) -> None:
    """Have Linux kill this process when `parent`, which started it, is gone, however that ended."""
    PRCTL(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:         # gone before the line above
        os.kill(os.getpid(), signal.SIGKILL)


def _error(log: Path, code: int) -> str:
    """The line of a log that says what went wrong."""
    if code < 0:
        return f'killed by {signal.Signals(-code).name}'
    text = log.read_text(encoding='utf-8', errors='replace').rpartition(CALL)[2]      # of the last call: one that was
    lines = [line.strip() for line in text.splitlines() if line.strip()]              # resumed has those before it too
    told = [line for line in lines if line.startswith('error: ')]
    return (told or lines)[-1].removeprefix('error: ')


def run_stages(last: list[Stage], runner: StageRunner, jobs: int, started: Callable[[list[Stage]], None],
               ended: Callable[[Stage, str | None], None], hold: Callable[[int], bool]) -> None:
    """Run stages, `jobs` at a time, each after those of the stages it needs that are missing.

    Of what needs a stage that failed nothing runs. started (all that run now), ended (stage, its error or None) and hold
    (how many run; whether none is to be started before one of them has ended) are called in this thread."""
    waiting = _in_order(last, runner.root)
    errors: dict[Path, str | None] = {}
    running: dict[Future, Stage] = {}
    with ThreadPoolExecutor(jobs) as pool, runner:
        while waiting or running:
            held = hold(len(running))
            for stage in list(waiting.values()):
                failed = next((need for need in stage.needs if errors.get(need.folder)), None)
                if failed:
                    errors[stage.folder] = f'{failed.kind} {failed.name}: {errors[failed.folder]}'
                    ended(waiting.pop(stage.folder), errors[stage.folder])
                elif not held and len(running) < jobs and not _waits(stage, waiting, running):
                    running[pool.submit(runner, waiting.pop(stage.folder))] = stage
            started(list(running.values()))
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                stage = running.pop(future)
                errors[stage.folder] = future.result()
                ended(stage, errors[stage.folder])


def _in_order(last: list[Stage], root: Path) -> dict[Path, Stage]:
    """These stages, each after the missing ones of those it needs."""
    found: dict[Path, Stage] = {}
    for stage in last:
        missing = [need for need in stage.needs if not is_ready(need, root)]
        found = found | _in_order(missing, root) | {stage.folder: stage}
    return found


def _waits(stage: Stage, waiting: dict[Path, Stage], running: dict[Future, Stage]) -> bool:
    """Whether a stage needs one that has not ended."""
    unfinished = {*waiting, *(other.folder for other in running.values())}
    return any(need.folder in unfinished for need in stage.needs)
