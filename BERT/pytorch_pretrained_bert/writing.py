"""Writing files: each appears whole or not at all, and a good one stays until its successor is complete."""
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


class WriteError(OSError):
    """A file could not be written; the message is one line that names it and the cause."""


@contextlib.contextmanager
def writing(path: str | os.PathLike) -> Iterator[None]:
    """Within it, what the system says against writing (full disk, read-only folder) becomes a WriteError about `path`."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        # torch.save fails a second time, as a RuntimeError, when it tries to close a file that could not be written
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError) or cause.errno is None:              # None: has its words already
            raise
        raise WriteError(f'{path} cannot be written: {cause.strerror}') from error


@contextlib.contextmanager
def replace_file(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place, whole, at the end; what goes wrong leaves `path` as it was.

    Raises WriteError. Folders are made where they are missing."""
    path = Path(path)
    temporary = path.with_name(f'.{path.name.lstrip(".")}.{os.getpid()}.tmp')
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            put_in_place(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def remove_temporaries(folder: Path, prefix: str = '') -> None:
    """Remove what processes that were killed in replace_file have left of files whose names begin with prefix. No process
    may be writing them."""
    for path in folder.glob(f'.{prefix}*.tmp'):
        path.unlink()


def put_in_place(finished: Path, path: Path) -> None:
    """Give a finished file the name that another may have; both are on disk when it returns."""
    with open(finished, 'rb+') as file:     # without the sync a power cut can leave the new name on an empty file
        os.fsync(file.fileno())
    os.replace(finished, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on disk."""
    with contextlib.suppress(OSError):      # Windows opens no folders, some network file systems sync none
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def append(path: Path, data: bytes) -> None:
    """Add to a file's end, all of `data` or nothing of it. Raises WriteError."""
    with writing(path), open(path, 'ab', buffering=0) as file:
        before = os.fstat(file.fileno()).st_size
        try:
            while data:                     # a disk that is nearly full takes a part
                data = data[file.write(data):]
        except OSError:
            file.truncate(before)
            raise
