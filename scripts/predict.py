"""Predict with a trained model: the rows of a TSV or CSV file, those of standard input, or a text or pair of texts.

    python scripts/predict.py --model data/outputs/KD/MRPC/teacher_12layer --input rows.tsv --output predictions.tsv
    python scripts/predict.py --model data/outputs/KD/MRPC/teacher_12layer "It rains." "Rain is falling."
    cut -f 2,3 rows.tsv | python scripts/predict.py --model RUN_FOLDER --input - --text_a first --text_b second

--model is the folder of a finished run of NLI_KD_training.py. Of a table the columns that the run's task names in its header
are read, or those of --text_a and --text_b. Each row gives, in the table's order, its index (0-based), its line in the
file, the predicted label and the probability of each (for regression the value), as TSV, CSV or JSON lines (--output_format,
or what --output ends in). Few rows are in memory at a time. Progress and messages go to standard error.

A bad row (too few columns, not UTF-8, quotes that do not close in a CSV file) is named with its line. With --bad_rows stop
it ends the work with exit code 2, and nothing is left in --output, which appears whole or not at all; with skip the other
rows are predicted.
"""
import argparse
import contextlib
import logging
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from BERT.pytorch_pretrained_bert.file_utils import InputError, path_of
from BERT.pytorch_pretrained_bert.writing import replace_file
from src.argument_parser import Parser
from src.nli_data_processing import Column, GlueReader, GlueTask, InputExample, Layout, NoHeader
from src.row_predictions import WRITERS, predict_rows
from src.saved_runs import load_run
from src.table_files import FORMATS, format_of, stop
from src.utils import run_script

logger = logging.getLogger(__name__)

STREAM = '-'      # standard input


def main(argv: list[str] | None = None) -> None:
    """Check the flags, load the model, predict what is asked for."""
    args = parse_flags(argv)
    with open_input(args) as file:
        run = load_run(args.model)
        layout = chosen_columns(args, run.task)
        skipped = Skipped()
        with logging_redirect_tqdm(), bar(file) as progress:
            examples = read_file(args, run.task, layout, file, progress, skipped) if file else of_texts(args)
            write(args, WRITERS[output_format(args)](run.task, predict_rows(run, examples)))
    if skipped.rows:
        logger.warning('warning: %s: %d bad row(s) skipped', args.input, skipped.rows)


def parse_flags(argv: list[str] | None) -> argparse.Namespace:
    """The flags, and what contradicts each other among them."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add('texts', metavar='TEXT', nargs='*', help='in place of --input: a text, or the two of a pair')
    add('--model', type=path_of, required=True, metavar='RUN_FOLDER', help='folder of a finished run (run.json, weights)')
    add('--input', metavar='FILE', help='a TSV or CSV file; - for standard input')
    add('--input_format', choices=FORMATS, help='csv where the name ends so, else tsv')
    add('--text_a', metavar='COLUMN', help='column of the first text: its name in the header, or its position from 0 on')
    add('--text_b', metavar='COLUMN', help='column of the second text')
    add('--header', choices=('yes', 'no'), help='with positions: whether the first row is a header')
    add('--output', type=path_of, metavar='FILE', help='standard output')
    add('--output_format', choices=WRITERS, help='by what --output ends in, else tsv')
    add('--bad_rows', choices=('skip', 'stop'), default='stop', help='what to do about a bad row (stop)')
    args = parser.parse_args(argv)
    args.input = args.input and os.path.expanduser(args.input)
    problems = [f'TEXT {text!r}: must be UTF-8' for text in args.texts if not _is_utf8(text)]
    if (args.input is None) == (not args.texts):
        problems.append('give --input, or a text (of a pair two) as arguments, and not both')
    if args.texts:
        problems += [f'--{name} has no effect without --input' for name in ('input_format', 'text_a', 'text_b', 'header')
                     if getattr(args, name)]
    if problems:
        raise InputError('; '.join(problems))
    check_output(args)
    return args


def _is_utf8(text: str) -> bool:
    """Whether an argument's bytes were; Python keeps others as halves of characters."""
    return not any('\ud800' <= character <= '\udfff' for character in text)


def check_output(args: argparse.Namespace) -> None:
    """InputError for an --output that no file can take the place of, or that is what is read."""
    output = args.output
    if output is None:
        return
    if output.exists() and not output.is_file():
        raise InputError(f'--output {output}: not a file; name one, or leave --output out for standard output')
    if args.input and output.exists() and Path(args.input).exists() and output.samefile(args.input):
        raise InputError(f'--output {output}: that is --input; name another file')


def open_input(args: argparse.Namespace) -> contextlib.AbstractContextManager[BinaryIO | None]:
    """What --input names, open for reading; None where texts are given instead."""
    if args.input in (None, STREAM):
        return contextlib.nullcontext(sys.stdin.buffer if args.input else None)
    path = Path(args.input)
    if not path.exists() or path.is_dir():
        raise FileNotFoundError(f'--input {args.input}: no such file')
    return open(path, 'rb')


def chosen_columns(args: argparse.Namespace, task: GlueTask) -> Layout:
    """The columns that the flags name, else those of the task's files without labels. InputError where they do not fit."""
    names = [f'--{flag}' for flag in ('text_a', 'text_b') if getattr(args, flag)]
    wanted = ['--text_a', '--text_b'] if task.unlabelled.text_b else ['--text_a']
    model = f'the model of {args.model} ({task.name})'
    if args.texts and len(args.texts) != len(wanted):
        raise InputError(f'{len(args.texts)} text(s) as arguments: {model} takes {len(wanted)}')
    if not names:
        if args.header:
            raise InputError(f'--header {args.header} has no effect without {" and ".join(wanted)}')
        return task.unlabelled
    if names != wanted:
        raise InputError(f'{" and ".join(names)}: {model} needs {" and ".join(wanted)}')
    columns = [value for value in (args.text_a, args.text_b) if value]
    if len({int(value) if value.isdecimal() else value.lower() for value in columns}) < len(columns):
        raise InputError(f'--text_a {args.text_a} --text_b {args.text_b}: name two different columns')
    positions = [value.isdecimal() for value in columns]
    if len(set(positions)) > 1:
        raise InputError(f'--text_a {args.text_a} --text_b {args.text_b}: name both by words, or give the positions of both')
    if positions[0] and not args.header:
        raise InputError(f'--text_a {args.text_a}: a position needs --header yes or no: is the first row one?')
    if args.header and not positions[0]:
        raise InputError(f'--header {args.header} has no effect on columns named by words')
    chosen = (Column(None, int(value)) if positions[0] else Column(value, None) for value in columns)
    return Layout(*chosen, header=args.header == 'yes' if args.header else None)


class Skipped:
    """Reports bad rows that are skipped, and counts them."""
    rows = 0

    def __call__(self, error: InputError) -> None:
        self.rows += 1
        logger.warning('skipped: %s', error)


def bar(file: BinaryIO | None) -> tqdm:
    """A bar over the bytes of a file, whose number is not known of a pipe."""
    size = os.fstat(file.fileno()).st_size if file and file is not sys.stdin.buffer else None
    return tqdm(total=size, unit='B', unit_scale=True, disable=file is None)


def read_file(args: argparse.Namespace, task: GlueTask, layout: Layout, file: Iterable[bytes], progress: tqdm,
              skipped: Skipped) -> Iterator[tuple[int, InputExample]]:
    """(line, example) of each row of --input."""
    name = 'standard input' if args.input == STREAM else args.input

    def counted() -> Iterator[bytes]:
        try:
            for line in file:
                progress.update(len(line))
                yield line
        except OSError as error:            # else it would be told of --output, which is being written
            raise InputError(f'--input: {name} cannot be read: {error.strerror}') from None
    try:
        yield from GlueReader(task).numbered_examples(
            counted(), name, layout, 'test', kind=args.input_format or format_of(args.input),
            on_bad=skipped if args.bad_rows == 'skip' else stop)
    except NoHeader as error:
        columns = '--text_a and --text_b' if layout.text_b else '--text_a'
        raise InputError(f'{error}; name the columns with {columns}, or the kind of file with --input_format') from None


def of_texts(args: argparse.Namespace) -> list[tuple[int, InputExample]]:
    """The texts given as arguments, as the only row of a file."""
    return [(1, InputExample('test-0', *args.texts))]


def output_format(args: argparse.Namespace) -> str:
    """A key of WRITERS."""
    ending = args.output.suffix.lower().removeprefix('.') if args.output else ''
    return args.output_format or (ending if ending in WRITERS else 'tsv')


def write(args: argparse.Namespace, lines: Iterable[str]) -> None:
    """Write lines to --output, whole or not at all, or to standard output, as long as something reads it."""
    if args.output:
        with replace_file(args.output) as temporary, open(temporary, 'w', encoding='utf-8', newline='') as file:
            file.writelines(lines)
        return
    try:
        sys.stdout.writelines(lines)
        sys.stdout.flush()
    except BrokenPipeError:           # `| head` has seen enough; what Python would still flush at its end goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == '__main__':
    run_script(main, sys.stderr, alone=True)
