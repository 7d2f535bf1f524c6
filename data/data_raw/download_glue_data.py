"""Download the GLUE data (and SNLI) into one folder a task.

python data/data_raw/download_glue_data.py                            all tasks, into the folder that envs.py names
python data/data_raw/download_glue_data.py --tasks MRPC,RTE
python data/data_raw/download_glue_data.py --tasks all --data_dir ~/glue

A task's folder appears only when it is complete; run the same command again to go on after a break. What the sources
hold:
  CoLA, SST-2, STS-B, QQP, MNLI, QNLI, RTE, WNLI   zip archives with the task's .tsv files in one folder (and, left
            in the archive, the corpora they were made from)
  MRPC      msr_paraphrase_train.txt and _test.txt, tokenized, and the ids of the pairs that make GLUE's dev set.
            test.tsv is written without labels, as GLUE's own
  diagnostic   AX.tsv: index and two sentences, no labels
  SNLI      snli_1.0.zip of Stanford, whose tables have the gold label first; they are written in GLUE's order: an
            index first, the gold label last
"""
import argparse
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import envs
from BERT.pytorch_pretrained_bert.file_utils import InputError, download, path_of, unpack_zip, zip_members
from BERT.pytorch_pretrained_bert.writing import install_folder
from src.nli_data_processing import SPELLINGS

GLUE_URL = 'https://dl.fbaipublicfiles.com/glue/data'
SENTEVAL_URL = 'https://dl.fbaipublicfiles.com/senteval/senteval_data'
SNLI_URL = 'https://nlp.stanford.edu/projects/snli'
SPLITS = ('train.tsv', 'dev.tsv', 'test.tsv')
MNLI_SPLITS = ('train.tsv', 'dev_matched.tsv', 'dev_mismatched.tsv', 'test_matched.tsv', 'test_mismatched.tsv')
SNLI_COLUMNS = (b'captionID', b'pairID', b'sentence1_binary_parse', b'sentence2_binary_parse', b'sentence1_parse',
                b'sentence2_parse', b'sentence1', b'sentence2', b'label1', b'label2', b'label3', b'label4', b'label5',
                b'gold_label')


@dataclass(frozen=True)
class Source:
    """Where a task comes from: the files to fetch as (folder URL, file name, SHA-256), in the order in which
    make(paths, folder) takes them, and the names of the files that make writes."""
    files: tuple[tuple[str, str, str], ...]
    make: Callable[[list[Path], Path], None]
    names: tuple[str, ...] = SPLITS


def unpack_tables(names: tuple[str, ...], paths: list[Path], folder: Path) -> None:
    """Take the tables of these names from the archive paths[0], from whatever folder they lie in there."""
    members = {}
    for name in names:
        found = [member for member in zip_members(paths[0])
                 if PurePosixPath(member).name == name and not member.startswith('__MACOSX')]
        if not found:
            raise InputError(f'{paths[0]} does not hold {name}')
        # The archives also keep their source corpora, in deeper folders
        members[min(found, key=lambda member: member.count('/'))] = name
    unpack_zip(paths[0], folder, members)


def split_mrpc(paths: list[Path], folder: Path) -> None:
    """MRPC's train, dev and test tables from msr_paraphrase_train.txt, _test.txt and the table of dev ids.

    Rows are copied byte for byte, quotes included. The test rows get an index in place of their label."""
    train, test, ids = paths
    dev_ids = {tuple(line.split(b'\t')) for line in _lines(ids)}
    parts = {'train.tsv': [], 'dev.tsv': []}
    header, *rows = _table(train, 5)
    for row in rows:
        parts['dev.tsv' if tuple(row[1:3]) in dev_ids else 'train.tsv'].append(row)
    if len({tuple(row[1:3]) for row in parts['dev.tsv']}) != len(dev_ids):
        raise InputError(f'{ids}: {len(dev_ids)} pairs of ids, but {len(parts["dev.tsv"])} rows of {train} have them')
    for name, part in parts.items():
        _write_table(folder / name, [header, *part])
    header, *rows = _table(test, 5)
    _write_table(folder / 'test.tsv', [[b'index', *header[1:]],
                                       *([b'%d' % index, *row[1:]] for index, row in enumerate(rows))])


def reorder_snli(paths: list[Path], folder: Path) -> None:
    """SNLI's tables in GLUE's order of columns: an index first, the texts in columns 7 and 8, the gold label last."""
    unpack_tables(tuple(f'snli_1.0_{Path(name).stem}.txt' for name in SPLITS), paths, folder)
    for name in SPLITS:
        source = folder / f'snli_1.0_{Path(name).stem}.txt'
        with open(folder / name, 'wb') as file:
            for index, row in enumerate(_reordered(source)):
                file.write(b'\t'.join([b'%d' % (index - 1) if index else b'index', *row]) + b'\n')
        source.unlink()


def _reordered(path: Path) -> Iterator[list[bytes]]:
    """Rows of an SNLI table, the header first, with the columns of SNLI_COLUMNS."""
    # Most pairs have one annotator; the columns of the other four, which come last, may be left out
    rows = _table(path, len(SNLI_COLUMNS), optional=4)
    header = next(rows)
    missing = [column.decode() for column in SNLI_COLUMNS if column not in header]
    if missing:
        raise InputError(f'{path}, line 1: no column {", ".join(missing)}')
    order = [header.index(column) for column in SNLI_COLUMNS]
    yield list(SNLI_COLUMNS)
    for row in rows:
        row += [b''] * (len(header) - len(row))
        yield [row[column] for column in order]


def rename_diagnostic(paths: list[Path], folder: Path) -> None:
    """AX.tsv under the name that GLUE's own download script gave it."""
    shutil.copyfile(paths[0], folder / 'diagnostic.tsv')


def _lines(path: Path) -> Iterator[bytes]:
    # In bytes: reading as text would break lines at other characters too, and could change what is written
    with open(path, 'rb') as file:
        for line in file:
            yield line.rstrip(b'\r\n')


def _table(path: Path, columns: int, optional: int = 0) -> Iterator[list[bytes]]:
    """Rows of a tab-separated file as lists of bytes, the header first; the last `optional` columns may be missing."""
    for number, line in enumerate(_lines(path), start=1):
        row = line.split(b'\t')
        if not columns - optional <= len(row) <= columns:
            raise InputError(f'{path}, line {number}: {len(row)} columns, expected {columns}')
        yield row


def _write_table(path: Path, rows: list[list[bytes]]) -> None:
    path.write_bytes(b''.join(b'\t'.join(row) + b'\n' for row in rows))


def _archive(name: str, sha256: str, tables: tuple[str, ...] = SPLITS) -> Source:
    return Source(((GLUE_URL, name, sha256),), partial(unpack_tables, tables), tables)


# One row a task. The checksums are those that Hugging Face datasets and TensorFlow Datasets record for these files.
SOURCES = {
    'CoLA': _archive('CoLA.zip', 'f212fcd832b8f7b435fb991f101abf89f96b933ab400603bf198960dfc32cbff'),
    'SST-2': _archive('SST-2.zip', 'd67e16fb55739c1b32cdce9877596db1c127dc322d93c082281f64057c16deaa'),
    'MRPC': Source(((SENTEVAL_URL, 'msr_paraphrase_train.txt',
                     '60a9b09084528f0673eedee2b69cb941920f0b8cd0eeccefc464a98768457f89'),
                    (SENTEVAL_URL, 'msr_paraphrase_test.txt',
                     'a04e271090879aaba6423d65b94950c089298587d9c084bf9cd7439bd785f784'),
                    (GLUE_URL, 'mrpc_dev_ids.tsv',
                     '971d7767d81b997fd9060ade0ec23c4fc31cbb226a55d1bd4a1bac474eb81dc7')), split_mrpc),
    'STS-B': _archive('STS-B.zip', 'e60a6393de5a8b5b9bac5020a1554b54e3691f9d600b775bd131e613ac179c85'),
    'QQP': _archive('QQP-clean.zip', '40e7c862c04eb26ee04b67fd900e76c45c6ba8e6d8fab4f8f1f8072a1a3fbae0'),
    'MNLI': _archive('MNLI.zip', 'e7c1d896d26ed6caf700110645df426cc2d8ebf02a5ab743d5a5c68ac1c83633', MNLI_SPLITS),
    'QNLI': _archive('QNLIv2.zip', 'e634e78627a29adaecd4f955359b22bf5e70f2cbd93b493f2d624138a0c0e5f5'),
    'RTE': _archive('RTE.zip', '6bf86de103ecd335f3441bd43574d23fef87ecc695977a63b82d5efb206556ee'),
    'WNLI': _archive('WNLI.zip', 'ae0e8e4d16f4d46d4a0a566ec7ecceccfd3fbfaa4a7a4b4e02848c0f2561ac46'),
    'SNLI': Source(((SNLI_URL, 'snli_1.0.zip',
                     'afb3d70a5af5d8de0d9d81e2637e0fb8c22d1235c2749d83125ca43dab0dbd3e'),), reorder_snli),
    'diagnostic': Source(((GLUE_URL, 'AX.tsv',
                           '0e13510b1bb14436ff7e2ee82338f0efb0133ecf2e73507a697dc210db3f05fd'),),
                         rename_diagnostic, ('diagnostic.tsv',)),
}


def task_names(text: str) -> list[str]:
    """The tasks that a comma list names, in any case, each once; `all` names every one. Raises InputError."""
    known = {name: task.folder for name, task in SPELLINGS.items() if task.folder in SOURCES}
    words = [word.strip() for word in text.split(',') if word.strip()]
    unknown = [word for word in words if word.lower() not in known and word.lower() != 'all']
    if unknown or not words:
        raise InputError(f'--tasks {text!r}: unknown task {", ".join(unknown) or "(none given)"}; '
                         f'choose from all, {", ".join(SOURCES)}')
    if 'all' in map(str.lower, words):
        return list(SOURCES)
    return list(dict.fromkeys(known[word.lower()] for word in words))


def fetch_task(task: str, data_dir: Path, base_url: str | None = None, check_sums: bool = True) -> Path:
    """Download one task and write its tables to data_dir/task, which appears when all of them are there.

    base_url is a folder that holds all the source files, in place of their own. What was downloaded stays in
    data_dir/.downloads/task until the task is complete, so that another run can go on from there."""
    source = SOURCES[task]
    work = data_dir / '.downloads' / task
    tables = work / 'tables'
    paths = [download(f'{(base_url or url).rstrip("/")}/{name}', work / name, sha256 if check_sums else None)
             for url, name, sha256 in source.files]
    shutil.rmtree(tables, ignore_errors=True)
    tables.mkdir()
    source.make(paths, tables)
    empty = [name for name in source.names if (tables / name).stat().st_size == 0]
    if empty:
        raise InputError(f'{task}: {", ".join(empty)} came out empty from {", ".join(path.name for path in paths)}')
    install_folder(tables, data_dir / task)
    shutil.rmtree(work)
    return data_dir / task


def is_complete(task: str, data_dir: Path) -> bool:
    """Whether every table of the task is in data_dir/task and holds something."""
    paths = [data_dir / task / name for name in SOURCES[task].names]
    return all(path.is_file() and path.stat().st_size > 0 for path in paths)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """The flags of this script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('-d', '--data_dir', default=str(envs.GLUE_FOLDER),
                        help='folder that will hold the task folders (default: %(default)s)')
    parser.add_argument('-t', '--tasks', default='all',
                        help=f'all, or a comma list of {", ".join(SOURCES)} (default: all)')
    parser.add_argument('--base_url', help='folder URL of a mirror that holds all the source files')
    parser.add_argument('--no_checksum', action='store_true', help='take the files whatever their SHA-256 is')
    parser.add_argument('--force', action='store_true', help='fetch tasks again that are there already')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Fetch the tasks that the flags name. Returns the exit code: 0, 1 where a task failed, 2 for wrong flags."""
    args = parse_args(argv)
    data_dir = path_of(args.data_dir).resolve()
    try:
        tasks = task_names(args.tasks)
        if data_dir.exists() and not data_dir.is_dir():
            raise InputError(f'--data_dir {data_dir} is a file; give a folder')
    except InputError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    failures = {}
    for task in tasks:
        if is_complete(task, data_dir) and not args.force:
            print(f'{task}: already in {data_dir / task}')
            continue
        print(f'{task}: downloading', flush=True)
        try:
            print(f'{task}: written to {fetch_task(task, data_dir, args.base_url, not args.no_checksum)}')
        except (InputError, OSError) as error:
            failures[task] = error
            print(f'{task}: failed: {error}', file=sys.stderr)
    for folder in [*(data_dir / '.downloads').glob('*'), data_dir / '.downloads']:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    if failures:
        print(f'error: {len(failures)} of {len(tasks)} tasks failed; run the same command again to go on:\n'
              + '\n'.join(f'  {task}: {error}' for task, error in failures.items()), file=sys.stderr)
    return 1 if failures else 0


if __name__ == '__main__':
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit('stopped; run the same command again to go on')
