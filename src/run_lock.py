"""One process at a time writes a run: a lock that names its holder and ends with it, however that ends."""
import contextlib
import errno
import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from BERT.pytorch_pretrained_bert.file_utils import InputError
from BERT.pytorch_pretrained_bert.writing import writing
from src.distributed import is_main

try:
    import fcntl
except ImportError:        # Windows
    fcntl = None

logger = logging.getLogger(__name__)

WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)      # what file systems that have none answer


@contextlib.contextmanager
def only_one(lock: Path, flag: str) -> Iterator[None]:
    """Within it, no other process holds the lock file. InputError that names the one which does; flag: what names the
    place, as 'output_dir'.

    Windows, which has no such lock, does not check. Of several processes of one run rank 0 holds it for all."""
    if not is_main():
        yield
        return
    with writing(lock):
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = open(lock, 'a+', encoding='utf-8')       # not emptied before the lock is held: it names the holder
    with file:
        _take(file, lock, flag)
        with writing(lock):
            file.truncate(0)
            file.write(f'process {os.getpid()} on {socket.gethostname()}, which began at {time.strftime("%F %T")}')
            file.flush()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):          # a full disk must not hide what went wrong within
                file.truncate(0)


def only_writer(path: Path) -> contextlib.AbstractContextManager:
    """`only_one` for what writes a teacher's result file."""
    return only_one(path.with_name(f'.{path.name}.lock'), 'teacher_prediction')


def _take(file, lock: Path, flag: str) -> None:
    try:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        raise InputError(f'--{flag}: {file.read() or "another process"} is at work in {lock.parent}; wait for it, or name '
                         'another place') from None
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise
        logger.warning('warning: %s cannot be locked (%s): see that no other run writes there', lock, error.strerror)
