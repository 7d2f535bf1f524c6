"""SIGTERM and SIGINT: a script stops where nothing is lost by it, says how to go on, and leaves with 128 + the signal."""
import contextlib
import signal
import threading
import time
from collections.abc import Iterator

from src.distributed import highest, world_size

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SAME_SECONDS = 1.0      # signals that come so close are one: `timeout` tells its child, and then its child's process group


class Stopped(KeyboardInterrupt):
    """A signal came. `advice`: what the script's last line says beside its name."""

    def __init__(self, number: int):
        super().__init__(number)
        self.number, self.advice = number, ''

    def __str__(self) -> str:
        return '; '.join(filter(None, (f'stopped by {signal.Signals(self.number).name}', self.advice)))


class _Noted:
    """What the handlers know: how many signals_held there are around, and the signal that came within them."""
    held = 0
    number: int | None = None


@contextlib.contextmanager
def stop_signals() -> Iterator[None]:
    """Within it SIGTERM and SIGINT raise Stopped; one that comes later than SAME_SECONDS after has the effect that it had
    before. Of several processes it has none: Slurm and torchrun both pass one on, and torchrun kills what has not ended
    after 30 seconds.

    After a signal this holds beyond the context, until a later one. A signal that this process was started to ignore (nohup,
    a shell's background) stays ignored."""
    if threading.current_thread() is not threading.main_thread():      # where Python allows no handlers
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    before = {number: handler for number, handler in before.items() if handler != signal.SIG_IGN}

    first = None                  # when the first one came

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def handle(number: int, _) -> None:
        nonlocal first
        if first is None:
            first = time.monotonic()
            if not _Noted.held:
                raise Stopped(number)
            _Noted.number = number
        elif world_size() == 1 and time.monotonic() - first > SAME_SECONDS:
            restore()
            signal.raise_signal(number)

    for number in before:
        signal.signal(number, handle)
    try:
        yield
    finally:
        if first is None:
            restore()             # else the same signal may still come again; `handle` restores at a later one
        _Noted.number = None


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Within it a signal raises Stopped only in stop_if_asked, or at the end."""
    _Noted.held += 1
    try:
        yield
    finally:
        _Noted.held -= 1
    if not _Noted.held:
        stop_if_asked()


def stop_if_asked() -> None:
    """Raise Stopped if a signal has come within signals_held; all processes do, if it has come to one."""
    number = highest(_Noted.number or 0)
    if number:
        _Noted.number = None
        raise Stopped(number)
