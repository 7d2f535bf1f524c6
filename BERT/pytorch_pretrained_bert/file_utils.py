"""Files of checkpoints: where a named one lies, and downloads that are checked."""
import errno
import hashlib
import json
import os
import re
import stat
import struct
import sys
import time
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import requests
from tqdm import tqdm

import envs

from .writing import put_in_place, writing

# Of each kind the first that exists is taken; of configurations HF's, which alone says what a classifier's outputs are
CONFIG_NAMES = ('config.json', 'bert_config.json')
VOCAB_NAMES = ('vocab.txt', 'tokenizer.json')
WEIGHTS_NAMES = ('model.safetensors', 'pytorch_model.bin')
SUMS_NAME = 'SHA256SUMS'             # as sha256sum writes and checks it; where it is there, it is compared

RETRIES = 4                          # of a download, after its first attempt
BACKOFF_SECONDS = 0.5                # the wait before the first retry; it doubles with each one
TIMEOUT_SECONDS = (10, 60)           # to connect, and between two reads
CHUNK_BYTES = 1 << 16                # when a connection breaks, what came of the last chunk is lost
MAX_UNPACKED_BYTES = 8 << 30         # the largest real archive (MNLI) unpacks to under 2 GB
MAX_DOWNLOAD_BYTES = 16 << 30        # the largest real file (bert-large) has under 2 GB
MAX_RATIO = 200                      # text shrinks 3 to 20 times; a zip bomb about 1,000 times
_CONTENT_RANGE = re.compile(r'bytes (?:(\d+)-\d+|\*)/(\d+|\*)')


class InputError(ValueError):
    """Something a user gave (a flag, a file, a path) is wrong; the message names it and what would be right.

    The scripts print it as one line and leave with exit code 2."""


class DownloadError(OSError):
    """A file could not be had from the network; the message is one line that names the address and the cause."""


class _TryAgain(Exception):
    """One attempt at a download broke off in a way that another attempt may mend."""


# Where files lie

def path_of(text: str | os.PathLike) -> Path:
    """A file or folder that a flag names: ~ is the user's home, as a shell leaves it in --flag=~/place; ~ of no user is
    a name."""
    return Path(os.path.expanduser(text))


def checkpoint_folder(name_or_folder: str | os.PathLike, flag: str = 'bert_model') -> Path:
    """The folder of a checkpoint: a folder that exists (`~` expanded), else one of that name in envs.MODELS_FOLDER.

    A FileNotFoundError names the flag, both places, the checkpoints that are there and, for a name of a pretrained one, the
    command that fetches it."""
    given = path_of(name_or_folder)
    places = list(dict.fromkeys([Path.cwd() / given, Path(envs.MODELS_FOLDER) / given]))
    for place in places:
        if str(name_or_folder) and place.is_dir():
            return place
    found = ', '.join(_checkpoint_names(Path(envs.MODELS_FOLDER))) or 'none'
    fetch = f'; to fetch one: python data/models/fetch_checkpoint.py {given.name or "NAME"}'
    raise FileNotFoundError(
        f'--{flag} {str(name_or_folder)!r}: no such folder; looked for {" and ".join(map(str, places))}; '
        f'checkpoints in {envs.MODELS_FOLDER}: {found}{fetch if flag == "bert_model" and len(given.parts) < 2 else ""}')


def _checkpoint_names(models_folder: Path) -> list[str]:
    """Names of the folders that hold a configuration; unfinished downloads (`.name.partial`) are left out."""
    if not models_folder.is_dir():
        return []
    return sorted(folder.name for folder in models_folder.iterdir()
                  if not folder.name.startswith('.') and any((folder / name).is_file() for name in CONFIG_NAMES))


def config_file(folder: str | os.PathLike) -> Path:
    """config.json, else bert_config.json, of a checkpoint folder.

    Raises FileNotFoundError where there is neither and InputError where the file is empty or not what SHA256SUMS says."""
    return _one_of(Path(folder), CONFIG_NAMES, 'configuration')


def vocab_file(folder: str | os.PathLike) -> Path:
    """vocab.txt, else tokenizer.json, of a checkpoint folder.

    Raises FileNotFoundError where there is neither and InputError where the file is empty or not what SHA256SUMS says."""
    return _one_of(Path(folder), VOCAB_NAMES, 'vocabulary')


def weights_file(folder: str | os.PathLike) -> Path:
    """model.safetensors, else pytorch_model.bin, of a checkpoint folder.

    Raises FileNotFoundError where there is neither; InputError where the file is empty, a Git LFS pointer or not what
    SHA256SUMS says."""
    path = _one_of(Path(folder), WEIGHTS_NAMES, 'weights')
    with open(path, 'rb') as file:
        if file.read(24) == b'version https://git-lfs.':
            raise InputError(f'{path} is a Git LFS pointer, not the weights; run `git lfs pull` where it was cloned')
    return path


def _one_of(folder: Path, names: tuple[str, ...], what: str) -> Path:
    for name in names:
        path = folder / name
        if path.is_file():
            if path.stat().st_size == 0:
                raise InputError(f'{path} is empty (0 bytes): the {what} was not written out or copied in full')
            if not has_right_sum(path):
                raise InputError(f'{path}: its SHA-256 is not that of {SUMS_NAME} beside it: damaged; fetch it again, or, '
                                 f'if it was changed on purpose, take its line out of {SUMS_NAME}')
            return path
    raise FileNotFoundError(f'checkpoint folder {folder} holds no {what}: expected {" or ".join(names)}')


def has_right_sum(path: Path) -> bool:
    """Whether a file is what the SHA256SUMS of its folder says; one that it does not name may be any."""
    expected = read_sums(path.parent).get(path.name)
    return expected is None or sha256_of(path) == expected


def read_sums(folder: str | os.PathLike) -> dict[str, str]:
    """File name -> SHA-256, as a folder's SHA256SUMS has them; none where there is no such file."""
    sums = Path(folder) / SUMS_NAME
    text = sums.read_text(encoding='utf-8', errors='replace') if sums.is_file() else ''
    return {name: found.lower() for found, name in re.findall(r'^([0-9a-fA-F]{64})[ \t]+\*?(.+?)\r?$', text, re.MULTILINE)}


def write_sums(folder: str | os.PathLike, names: Iterable[str]) -> None:
    """Write the SHA-256 of files of a folder into its SHA256SUMS."""
    lines = [f'{sha256_of(Path(folder) / name)}  {name}\n' for name in names]
    (Path(folder) / SUMS_NAME).write_text(''.join(lines), encoding='utf-8')


def read_json_object(path: str | os.PathLike, what: str) -> dict:
    """The object of a JSON file. InputError, which says `what` it should be, where the file holds anything else."""
    try:
        values = json.loads(Path(path).read_text(encoding='utf-8-sig'))
    except (ValueError, RecursionError) as error:
        raise InputError(f'{path}: not {what}: {error}') from None
    if not isinstance(values, dict):
        raise InputError(f'{path}: not {what}: expected a JSON object')
    return values


# Downloads

def download(url: str, path: str | os.PathLike, sha256: str | None = None, progress: bool = True) -> Path:
    """Download url to path, which appears only when it is complete and right; returns path.

    The bytes go to `path.part`. A connection that breaks, a 5xx answer or a short read is tried again up to
    RETRIES times with growing waits, going on where the last attempt stopped if the server can. What an earlier
    run left is used only with a sha256: without one nothing shows that it is the start of the same file. A sum that
    differs makes one more download from zero; a complete file that has the sum stays. progress shows a bar on a
    terminal. Raises DownloadError."""
    path = Path(path)
    part = path.with_name(path.name + '.part')
    path.parent.mkdir(parents=True, exist_ok=True)
    if sha256 and path.is_file() and sha256_of(path) == sha256.lower():
        return path
    if sha256 is None:
        part.unlink(missing_ok=True)
    for last_chance in (False, True):
        _download_part(url, part, sha256 is not None, progress)
        found = sha256 and sha256_of(part)
        if sha256 is None or found == sha256.lower():
            put_in_place(part, path)
            return path
        part.unlink()
        if not last_chance:
            _say(f'{path.name}: wrong checksum, downloading it again from the start', progress)
    raise DownloadError(f'{url}: SHA-256 is {found}, expected {sha256.lower()}; downloaded twice, nothing was kept')


def _download_part(url: str, part: Path, checked: bool, progress: bool) -> None:
    """Fill part with the whole of url, over as many attempts as it takes."""
    known = {}                       # total (bytes) and tag (version) of the file, as the last answer gave them
    for attempt in range(RETRIES + 1):
        try:
            return _attempt(url, part, checked, known, progress)
        except requests.exceptions.SSLError as error:
            raise DownloadError(f'{url}: {_one_line(error)}') from error
        except (_TryAgain, requests.ConnectionError, requests.Timeout,
                requests.exceptions.ChunkedEncodingError) as error:
            if attempt == RETRIES:
                raise DownloadError(f'{url}: {_one_line(error)} (tried {RETRIES + 1} times)') from error
            wait = BACKOFF_SECONDS * 2 ** attempt
            _say(f'{url}: {_one_line(error)}; trying again in {wait:g} s ({attempt + 1} of {RETRIES})', progress)
            time.sleep(wait)
        except requests.RequestException as error:
            raise DownloadError(f'{url}: {_one_line(error)}') from error


def _attempt(url: str, part: Path, checked: bool, known: dict, progress: bool) -> None:
    """One request, for what part lacks; raises _TryAgain where the file is still not complete after it.

    checked: whether a checksum will be compared; without one the answer must show where the file ends."""
    offset = part.stat().st_size if part.exists() else 0
    # Compressed answers would make byte offsets and lengths those of another file
    headers = {'Accept-Encoding': 'identity'}
    if offset:
        headers['Range'] = f'bytes={offset}-'
        if known.get('tag'):
            headers['If-Range'] = known['tag']
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as response:
        start, total = _extent(response)
        if response.status_code == 416 and offset:
            if total == offset:
                return
            _start_over(part, known, f'the {offset:,} bytes at hand are not the start of this file')
        _check_status(url, response)
        now = {'total': total, 'tag': _version_tag(response)}
        changed = any(known.get(key) and value and known[key] != value for key, value in now.items())
        if response.status_code == 206 and (start != offset or changed):
            _start_over(part, known, 'the file changed on the server' if changed else 'not the part that was asked for')
        if total is None and not checked and response.headers.get('Transfer-Encoding', '').lower() != 'chunked':
            raise DownloadError(f'{url}: the server does not say how long the file is, and no checksum is known: nothing '
                                'would show that all of it came')
        if (total or 0) > MAX_DOWNLOAD_BYTES:
            raise DownloadError(f'{url}: {total:,} bytes are more than the {MAX_DOWNLOAD_BYTES:,} allowed; refused')
        known.update(now)
        _stream(url, response, part, start, total, progress)
    size = part.stat().st_size
    if total is not None and size > total:
        _start_over(part, known, f'{size:,} bytes came, {total:,} were announced')
    if total is not None and size < total:
        raise _TryAgain(f'the connection ended after {size:,} of {total:,} bytes')


def _stream(url: str, response: requests.Response, part: Path, start: int, total: int | None, progress: bool) -> None:
    """Write the body of an answer into part, from byte `start` on."""
    with writing(part), open(part, 'ab' if start else 'wb') as file, \
            tqdm(desc=part.stem, total=total, initial=start, unit='B', unit_scale=True, unit_divisor=1024,
                 disable=None if progress else True) as bar:
        for chunk in response.iter_content(CHUNK_BYTES):
            file.write(chunk)
            bar.update(len(chunk))
            if file.tell() > MAX_DOWNLOAD_BYTES:
                raise DownloadError(f'{url}: more than the {MAX_DOWNLOAD_BYTES:,} bytes allowed came; stopped')


def _extent(response: requests.Response) -> tuple[int | None, int | None]:
    """(first byte of the body within the file, length of the whole file); None where the answer does not say."""
    length = response.headers.get('Content-Length', '')
    plain = response.headers.get('Content-Encoding', 'identity') == 'identity'
    length = int(length) if length.isdigit() and plain else None
    if response.status_code == 200:
        return 0, length
    match = _CONTENT_RANGE.fullmatch(response.headers.get('Content-Range', '').strip())
    if not match or not plain:
        return None, None
    start = None if match[1] is None else int(match[1])
    if match[2] != '*':
        return start, int(match[2])
    return start, None if start is None or length is None else start + length


def _version_tag(response: requests.Response) -> str | None:
    """What names this version of the file: a strong ETag, else the date (RFC 9110, section 13.1.5: no weak ETags)."""
    tag = response.headers.get('ETag')
    return tag if tag and not tag.startswith('W/') else response.headers.get('Last-Modified')


def _check_status(url: str, response: requests.Response) -> None:
    status = response.status_code
    if status >= 500 or status in (408, 429):
        raise _TryAgain(f'the server answered {status} {response.reason}')
    if status not in (200, 206):
        raise DownloadError(f'{url}: the server answered {status} {response.reason}')


def _start_over(part: Path, known: dict, reason: str) -> None:
    part.unlink(missing_ok=True)      # of a first request there is none
    known.clear()
    raise _TryAgain(f'{reason}; starting from zero')


def _one_line(error: Exception) -> str:
    """What went wrong, in one line: requests and urllib3 wrap the cause in exceptions that repeat it."""
    while cause := next((inner for inner in (getattr(error, 'reason', None), *error.args[:1])
                         if isinstance(inner, Exception)), None):
        error = cause
    message = error.args[0] if error.args and isinstance(error.args[0], str) else str(error)
    return ' '.join(message.split()) or type(error).__name__


def _say(message: str, progress: bool) -> None:
    if progress:
        tqdm.write(message, file=sys.stderr)


def sha256_of(path: str | os.PathLike) -> str:
    """SHA-256 of a file as 64 hex digits; reads about 1 to 2 GB a second."""
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


# Archives

def zip_members(archive: str | os.PathLike) -> list[str]:
    """Names of the files in a zip archive. Raises InputError as unpack_zip does."""
    with _open_zip(Path(archive)) as opened:
        return [info.filename for info in opened.infolist() if not info.is_dir()]


def unpack_zip(archive: str | os.PathLike, folder: str | os.PathLike,
               members: Mapping[str, str] | Iterable[str] | None = None) -> list[Path]:
    """Unpack a zip archive, or some members of it, into a folder; returns the paths written.

    members is a list of names in the archive, or a map from such names to paths under the folder; None takes all.
    An archive is refused whole (InputError) when a name in it leads out of the folder or is a link, when what is
    taken overlaps or would unpack to more than MAX_UNPACKED_BYTES or more than MAX_RATIO times its packed size, and
    when it is damaged.
    Each file is written under another name and renamed when its bytes and checksum are right."""
    archive, folder = Path(archive), Path(folder)
    with _open_zip(archive) as opened:
        chosen = _choose(archive, opened, members)
        _refuse_bombs(archive, [info for info, _ in chosen])
        return [_unpack_one(archive, opened, info, folder / target) for info, target in chosen]


@contextmanager
def _open_zip(archive: Path) -> Iterator[zipfile.ZipFile]:
    """The opened archive, its names checked; turns what a damaged archive raises into InputError."""
    try:
        with zipfile.ZipFile(archive) as opened:
            for info in opened.infolist():
                _refuse_unsafe(archive, info)
            yield opened
    except InputError:
        raise
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, ValueError) as error:
        raise InputError(f'{archive} is not a complete zip archive: {_one_line(error)}') from error
    except OSError as error:
        # A wrong offset makes zipfile seek to before the start of the file
        if error.errno != errno.EINVAL:
            raise
        raise InputError(f'{archive} is not a complete zip archive: it names an offset outside of it') from error


def _refuse_unsafe(archive: Path, info: zipfile.ZipInfo) -> None:
    name = info.filename.replace('\\', '/')
    mode = stat.S_IFMT(info.external_attr >> 16)
    if not name or name.startswith('/') or re.match('[A-Za-z]:', name) or '..' in name.split('/'):
        raise InputError(f'{archive}: member {info.filename!r} would be written outside of the folder; refused')
    if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise InputError(f'{archive}: member {info.filename!r} is a link or a device, not a file; refused')
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError(f'{archive}: member {info.filename!r} is encrypted or not packed with deflate; refused')


def _choose(archive: Path, opened: zipfile.ZipFile, members) -> list[tuple[zipfile.ZipInfo, str]]:
    """(member, path under the folder) of each file to be unpacked."""
    if members is None:
        return [(info, info.filename) for info in opened.infolist() if not info.is_dir()]
    targets = members if isinstance(members, Mapping) else {name: name for name in members}
    missing = sorted(set(targets) - set(opened.namelist()))
    if missing:
        raise InputError(f'{archive} does not hold {", ".join(missing)}')
    return [(opened.getinfo(name), target) for name, target in targets.items()]


def _refuse_bombs(archive: Path, infos: list[zipfile.ZipInfo]) -> None:
    total = sum(info.file_size for info in infos)
    if sum(info.compress_size for info in infos) > archive.stat().st_size:
        raise InputError(f'{archive}: its members overlap; refused')
    if total > MAX_UNPACKED_BYTES:
        raise InputError(f'{archive} would unpack to {total:,} bytes, more than the {MAX_UNPACKED_BYTES:,} allowed; refused')
    for info in infos:
        if info.file_size > max(1 << 20, MAX_RATIO * info.compress_size):
            raise InputError(f'{archive}: member {info.filename!r} would grow from {info.compress_size:,} to '
                             f'{info.file_size:,} bytes, more than {MAX_RATIO} times; refused')


def _unpack_one(archive: Path, opened: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> Path:
    part = path.with_name(path.name + '.part')
    path.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    try:
        with opened.open(info) as source, open(part, 'wb') as file:
            while chunk := source.read(CHUNK_BYTES):
                written += len(chunk)
                if written > info.file_size:
                    break
                file.write(chunk)
        if written != info.file_size:
            raise InputError(f'{archive}: member {info.filename!r} does not hold the {info.file_size:,} bytes declared')
        put_in_place(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path
