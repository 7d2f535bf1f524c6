"""Rows of TSV and CSV files, one by one as they are read or written, and what is said of bad ones.

In a TSV file cells are divided by tabs and lines by '\\n' (or '\\r\\n') and nothing else: quotes and other kinds of line
separators belong to the text. In a CSV file a cell may stand in double quotes and then hold commas, line ends and doubled
quotes (RFC 4180). Both are UTF-8; a byte order mark is dropped.
"""
import codecs
import csv
import io
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from BERT.pytorch_pretrained_bert.file_utils import InputError

# What is done about a bad row: the error is raised, or noted, to go on with the next row.
OnBad = Callable[[InputError], None]

FORMATS = ('tsv', 'csv')
DIVIDERS = {'tsv': 'tabs', 'csv': 'commas'}


class Row(NamedTuple):
    """A row of a file: `line`, 1-based, is where it begins; a bad row has no cells but an error."""
    line: int
    cells: list[str]
    error: InputError | None = None


def stop(error: InputError) -> None:
    """An OnBad: the first bad row ends the reading."""
    raise error


def format_of(path: str | Path) -> str:
    """'csv' for a name that ends so, 'tsv' for any other."""
    return 'csv' if Path(path).suffix.lower() == '.csv' else 'tsv'


def csv_line(cells: Iterable) -> str:
    """A line of a CSV file."""
    line = io.StringIO()
    csv.writer(line, lineterminator='\n').writerow(cells)
    return line.getvalue()


def table_rows(lines: Iterable[bytes], name: str | Path, kind: str) -> Iterator[Row]:
    """The rows of a table of a kind ('tsv', 'csv'), whose lines end in b'\\n' as those of a binary file do; empty lines at
    the end are left out. name: what errors call the file."""
    blank = []
    for row in (_tsv_rows if kind == 'tsv' else _csv_rows)(_without_mark(lines), name):
        if row.cells == ['']:
            blank.append(row)
            continue
        yield from blank
        blank.clear()
        yield row


def bad_row(name: str | Path, line: int, problem: str, found: str | None = None) -> InputError:
    """The error about one line of a file; a long `found` is cut."""
    if found is not None:
        problem += f', found {found[:57] + "..." if len(found) > 60 else found!r}'
    return InputError(f'{name}, line {line}: {problem}')


def _without_mark(lines: Iterable[bytes]) -> Iterator[bytes]:
    lines = iter(lines)
    for first in lines:
        yield first.removeprefix(codecs.BOM_UTF8)
        yield from lines


def _tsv_rows(lines: Iterator[bytes], name: str | Path) -> Iterator[Row]:
    for line, raw in enumerate(lines, 1):
        try:
            yield Row(line, raw.decode('utf-8').rstrip('\r\n').split('\t'))
        except UnicodeDecodeError as error:
            found = f'byte 0x{raw[error.start]:02x} at byte {error.start + 1} of the line'
            yield Row(line, [], bad_row(name, line, f'expected UTF-8 text, found {found}'))


def _csv_rows(lines: Iterator[bytes], name: str | Path) -> Iterator[Row]:
    # Bytes that are not UTF-8 pass through the reader as surrogates, so that the row as a whole is known to be bad.
    reader = csv.reader((raw.decode('utf-8', 'surrogateescape') for raw in lines), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
            if cells is None:
                return
            '\t'.join(cells).encode('utf-8')
        except csv.Error as error:
            yield Row(line, [], bad_row(name, line, f'expected CSV, with quotes in pairs and cells of at most '
                                        f'{csv.field_size_limit():,} characters ({error}; at line {reader.line_num})'))
        except UnicodeEncodeError as error:
            byte = ord(error.object[error.start]) - 0xdc00
            yield Row(line, [], bad_row(name, line, f'expected UTF-8 text, found byte 0x{byte:02x}'))
        else:
            yield Row(line, cells or [''])
