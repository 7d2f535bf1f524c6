"""Writing files: each appears whole or not at all, and a good one stays until its successor is complete."""
import contextlib
import io
import os
import shutil
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


@contextlib.contextmanager
def replace_folder(path: str | os.PathLike, last: str) -> Iterator[Path]:
    """A temporary folder beside `path`, to be filled with files; at the end it becomes `path`, as `install_folder` says.

    What goes wrong leaves `path` as it was. Raises WriteError. Folders above it are made where they are missing."""
    path = Path(os.path.abspath(path))
    temporary = path.with_name(f'.{path.name.lstrip(".")}.{os.getpid()}.tmp')
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.mkdir()
            yield temporary
            install_folder(temporary, path, last)
        except WriteError as error:             # of a file that was to be in `path`
            raise WriteError(str(error).replace(str(temporary), str(path))) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def install_folder(staging: str | os.PathLike, folder: str | os.PathLike, last: str | None = None) -> None:
    """Make a finished folder of files appear under its name: one rename, so that it is there whole or not at all.

    Where the folder is there already, its files of the same names are replaced one by one; others stay. The file named
    `last`, without which nobody reads the folder, goes before the others are replaced and comes after them."""
    staging, folder = Path(staging), Path(folder)
    paths = sorted(staging.iterdir(), key=lambda path: (path.name == last, path.name))
    if not folder.exists():
        for path in paths:
            sync_file(path)
        os.replace(staging, folder)
        sync_folder(folder.parent)
        return
    if last:
        (folder / last).unlink(missing_ok=True)
    for path in paths:
        put_in_place(path, folder / path.name)
    staging.rmdir()


def remove_temporaries(folder: Path, prefix: str) -> None:
    """Remove what processes that were killed in replace_file have left of files whose names begin with prefix. No process
    may be writing them."""
    for path in folder.glob(f'.{prefix}*.tmp'):
        path.unlink()


def put_in_place(finished: Path, path: Path) -> None:
    """Give a finished file the name that another may have; both are on disk when it returns."""
    sync_file(finished)     # without it a power cut can leave the new name on an empty file
    os.replace(finished, path)
    sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Have a file's contents on disk."""
    with open(path, 'rb+') as file:
        os.fsync(file.fileno())


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
            write_all(file, data)
        except OSError:
            file.truncate(before)
            raise


def write_all(file: io.FileIO, data: bytes) -> None:
    """Write data to an unbuffered file."""
    while data:                             # a disk that is nearly full takes a part
        data = data[file.write(data):]
