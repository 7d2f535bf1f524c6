"""Broken and hostile input for every reader: what is mutated, how, and what an input may end in.

An input is a whole file (or a list of flags) and some edits of it. It must end in a result, or in an InputError or OSError
whose message is one line, within SECONDS and with memory in proportion to its size.
"""
import argparse
import contextlib
import copy
import io
import json
import os
import pickle
import re
import resource
import signal
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import safetensors.numpy
import safetensors.torch
import torch
from conftest import HEADERS, TEST_HEADERS, Workspace, own_tables, write_checkpoint, write_task

import run_glue_benchmark
from BERT.pytorch_pretrained_bert import BertConfig, BertModel, BertTokenizer
from BERT.pytorch_pretrained_bert.file_utils import InputError, sha256_of, unpack_zip
from BERT.pytorch_pretrained_bert.weights import load_weights, read_state_dict
from scripts import import_teacher_outputs, predict
from src.argument_parser import FLAGS, PTP, TEACHER, TRAIN, parse
from src.custom_tasks import define_task
from src.data_processing import SPLITS, load_split, tokenize_examples
from src.dump_journal import DumpJournal
from src.hugging_face import load_hf_teacher
from src.modeling import SequenceClassifier
from src.nli_data_processing import TASKS, find_task, processors
from src.objective import Objective
from src.preparation import set_up
from src.published_results import PublishedSplit, read_published
from src.results import Results
from src.runs import student_config
from src.saved_runs import best_runs, load_run
from src.summary import make_summaries
from src.teacher_outputs import FORMAT, TENSORS, TYPE_NAMES, ResultWriter, TeacherOutputs
from src.training import Settings, Trainer
from src.training_state import STATE_FILE, differences, outline_of, read_state
from src.utils import one_line

SECONDS = 10
MEGABYTES, MEGABYTES_PER_MEGABYTE = 300, 20      # that reading a file may take: some, and so many for each of its own

NUMBERS = (b'0', b'-1', b'1', b'2', b'255', b'256', b'65536', b'2147483647', b'2147483648', b'4294967295',
           b'9223372036854775807', b'9223372036854775808', b'-9223372036854775809', b'18446744073709551615', b'1e308',
           b'1e999', b'-1e999', b'nan', b'NaN', b'Infinity', b'0.1', b'1e-400', b'9' * 30, b'9' * 5000, b'1_0', b'0x10')
WORDS = (b'\t', b'\n', b'\r\n', b'\r', b'\0', b'"', b"'", b',', b'{', b'}', b'[', b']', b'[[[[', b'null', b'true', b'{}',
         b'[]', b'""', b':', b'\xef\xbb\xbf', b'\xff', b'\xed\xa0\x80', b'\xe2\x80\xa8', b'[CLS]', b'[SEP]', b'##',
         b' ' * 99, b'x' * 3000, b'[' * 3000, b'\\u0000', b'\\ud800', b'None', b'..', b'/', b'../x', b'x', b'R', b'\x80\x02',
         b'cos\nsystem\n', b'(', b')', b't', b'.', b'b', b'0', b'2', b'\x85', b'\x86', b'\x87', b'q\0', b'h\0', b's', b'u',
         b'Q', b'r\xff\xff\xff\x7f', b']', b'a', b'e', b'\x93', b'\x94', b'\x8a\x01\xff', b'K\0', b'J\xff\xff\xff\xff', b'N')
WIDE = (0, 1, 0x7f, 0xff, 0x7fff, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff, 0x7fffffffffffffff, 0xffffffffffffffff)


# Edits: (kind, place from 0 to 1, another place, a number)

Edit = tuple[int, float, float, int]


def _flip(data: bytearray, at: int, _: int, value: int) -> None:
    if data:
        data[min(at, len(data) - 1)] ^= 1 << value % 8


def _set(data: bytearray, at: int, _: int, value: int) -> None:
    data[at:at + 1] = bytes([value % 256])


def _insert(data: bytearray, at: int, _: int, value: int) -> None:
    data[at:at] = WORDS[value % len(WORDS)]


def _over(data: bytearray, at: int, _: int, value: int) -> None:
    word = WORDS[value % len(WORDS)]
    data[at:at + len(word)] = word


def _cut(data: bytearray, at: int, end: int, _: int) -> None:
    del data[min(at, end):min(max(at, end), min(at, end) + 1 + _ % 64)]


def _truncate(data: bytearray, at: int, *_: int) -> None:
    del data[at:]


def _repeat(data: bytearray, at: int, end: int, value: int) -> None:
    part = bytes(data[min(at, end):max(at, end)])[:200]
    data[at:at] = part * (1 + value % 4)


def _move(data: bytearray, at: int, end: int, value: int) -> None:
    part = bytes(data[at:at + 1 + value % 100])
    data[end:end] = part


def _wide(data: bytearray, at: int, _: int, value: int) -> None:
    size = (2, 4, 8)[value % 3]
    number = WIDE[value // 3 % len(WIDE)] & (1 << 8 * size) - 1
    data[at:at + size] = number.to_bytes(size, 'little' if value // 99 % 2 else 'big')


def _number(data: bytearray, at: int, _: int, value: int) -> None:
    match = re.compile(rb'-?\d+(\.\d+)?').search(data, at)
    if match:
        data[match.start():match.end()] = NUMBERS[value % len(NUMBERS)]


def _lines(data: bytearray, at: int, end: int, value: int) -> None:
    lines = bytes(data).split(b'\n')
    first, second = (int(place / (len(data) + 1) * len(lines)) for place in (at, end))
    if value % 3 == 0:
        lines.insert(second, lines[first])
    elif value % 3 == 1:
        del lines[first]
    else:
        lines[first], lines[second] = lines[second], lines[first]
    data[:] = b'\n'.join(lines)


KINDS_OF_EDIT = (_flip, _set, _insert, _over, _cut, _truncate, _repeat, _move, _wide, _number, _lines)


def edited(data: bytes, edits: list[Edit]) -> bytes:
    """The data after all edits."""
    changed = bytearray(data)
    for kind, at, other, value in edits:
        places = (int(place * (len(changed) + 1)) for place in (at, other))
        KINDS_OF_EDIT[kind % len(KINDS_OF_EDIT)](changed, *places, value)
    return bytes(changed)


def random_edits(rng) -> list[Edit]:
    """Mostly one to three."""
    count = rng.choice((0, 1, 1, 1, 1, 2, 2, 3, 5, 12))
    return [(rng.randrange(len(KINDS_OF_EDIT)), rng.random(), rng.random(), rng.randrange(1 << 16)) for _ in range(count)]


# What an input may end in

class TookTooLong(BaseException):
    """An input was not done within SECONDS."""


@contextlib.contextmanager
def time_limit():
    """Raises TookTooLong within it after SECONDS."""
    def stop(*_):
        raise TookTooLong(f'more than {SECONDS} s')
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def limit_memory(gigabytes: int = 4) -> None:
    """From here on this process gets so much more at most: what asks for more fails with MemoryError."""
    pages = int(Path('/proc/self/statm').read_text().split()[0])
    most = pages * resource.getpagesize() + (gigabytes << 30)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def peak_megabytes(begin: bool = False) -> int:
    """The most memory that this process has had since it was last to begin anew; getrusage's is that of all its time, and of
    what it was started by."""
    if begin:
        Path('/proc/self/clear_refs').write_text('5')
    return int(Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0]) >> 10


def outcome(target: 'Target', edits: list[Edit]) -> str:
    """Run one input; 'result' or 'refused'. Anything else that it ends in is raised."""
    data = target.make(edits)
    size, before = len(data) >> 20, peak_megabytes(begin=True)
    said = io.StringIO()
    try:
        with time_limit(), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            target.read(data)
        ended = 'result'
    except (InputError, OSError) as error:
        assert one_line(error), f'{type(error).__name__} without a message'
        ended = 'refused'
    grown = peak_megabytes() - before
    assert grown <= MEGABYTES + MEGABYTES_PER_MEGABYTE * size, f'{grown} MB more for a file of {size} MB'
    return ended


# Targets

@dataclass
class Target:
    """A reader, the valid files that are mutated for it, and how edits become one of its inputs."""
    name: str
    seeds: list
    read: Callable
    make_from: Callable = edited

    def make(self, edits: list[Edit]) -> bytes | list[str]:
        """The input that the edits make; the last one's number chooses the file."""
        seed = self.seeds[edits[-1][3] // 7 % len(self.seeds)] if edits else self.seeds[0]
        return self.make_from(seed, edits)


class Targets:
    """Every target, over small files in one folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.workspace = Workspace(folder / 'workspace')
        write_checkpoint(self.workspace.models / 'tiny', 2, hidden=8)
        write_task(self.workspace.glue, 'MRPC', (12, 12, 8))
        self.workspace.add_teacher()
        flags = ('--bert_model', 'tiny', '--precision', 'fp32', '--teacher_hidden_layers', 2)
        self.workspace.succeed(TEACHER, *flags)
        self.workspace.succeed(TRAIN, *flags, '--num_train_epochs', 0.5, '--output_dir', folder / 'run', '--holdout', 0.5)
        with self.workspace.active():
            self.tokenizer = BertTokenizer.from_pretrained('tiny')
            self.splits = {name: load_split(find_task('MRPC'), name, self.tokenizer, 128) for name in SPLITS}

    @cached_property
    def all(self) -> list[Target]:
        """All targets."""
        return [*self.tables(), *self.own_tasks(), *self.weights(), *self.checkpoints(), *self.hugging_face(),
                *self.teacher(), self.cache(), *self.flags(), *self.pickles(), *self.records(), *self.resuming(),
                self.archive()]

    def _file(self, name: str) -> Path:
        path = self.folder / 'input' / name
        path.parent.mkdir(exist_ok=True, parents=True)
        return path

    def _reader(self, name: str, read: Callable[[Path], object]) -> Callable[[bytes], object]:
        path = self._file(name)

        def write_and_read(data: bytes):
            path.write_bytes(data)
            return read(path)
        return write_and_read

    def tables(self):
        """The TSV readers of all tasks, and their rows as token ids."""
        glue = self.folder / 'glue'
        for task in TASKS.values():
            spelling = 'MRPC' if task.built_in else task.name
            if spelling in HEADERS:
                write_task(glue, spelling, (8, 8, 8))
            folder, splits = glue / find_task(spelling).folder, [split for split in SPLITS if task.files(split)]
            if spelling not in HEADERS:
                folder.mkdir(exist_ok=True)
                (folder / task.files('test')[0]).write_text(TEST_HEADERS[spelling] + '\n0\ta b\tc d\n1\te\tf\n')
            seeds = [(split, (folder / task.files(split)[0]).read_bytes()) for split in splits]
            yield Target(f'tsv {task.name}', seeds, partial(self._read_table, task, self._file(f'{task.name}/x').parent),
                         lambda seed, edits: (seed[0], edited(seed[1], edits)))

    def _read_table(self, task, folder, table):
        split, data = table
        (folder / task.files(split)[0]).write_bytes(data)
        tokenize_examples(processors[task.name.lower()].examples(folder, split), self.tokenizer, task, split, 32)

    def own_tasks(self):
        """Definitions of tasks with what they read, and the rows of a CSV file, bad ones skipped."""
        folder = self._file('own/x').parent
        (folder / 'a.csv').write_text('text,label\nx,"yes"\n')

        def read(path):
            with own_tables():
                task = define_task(str(path))
                tokenize_examples(processors[task.name.lower()].examples(folder, 'train'), self.tokenizer, task, 'train', 32)
        by_name = {'name': 'Own', 'train': 'a.csv', 'dev': 'a.csv', 'columns': {'text_a': 'text', 'label': 'label'},
                   'labels': ['yes', 'no'], 'metric': 'f1', 'ptp_thresholds': [0.5, 1]}
        by_place = by_name | {'columns': {'text_a': 0, 'label': -1}, 'header': True, 'test_columns': {'text_a': 1}}
        yield Target('task definition', [json.dumps(content).encode() for content in (by_name, by_place)],
                     self._reader('own/task.json', read), _edited_json)

        def predicted(data):
            task, skipped = find_task('MRPC'), []
            examples = processors['mrpc'].numbered_examples(io.BytesIO(data), 'rows.csv', task.unlabelled, 'test',
                                                            on_bad=skipped.append)
            tokenize_examples((example for _, example in examples), self.tokenizer, task, 'test', 32)
        yield Target('csv rows', [b'\xef\xbb\xbf#1 String,#2 String\r\na,"b ""c"", d\n e"\n\nf,g\n'], predicted)

    def weights(self):
        """Files of weights, loaded into a model; with torch.save's checksums mended, too."""
        config = BertConfig(20, 8, 2, 2, 8, max_position_embeddings=8)
        model = BertModel(config)
        state = model.state_dict()
        for name, old in (('zip', False), ('old', True)):
            buffer = io.BytesIO()
            torch.save(dict(state), buffer, _use_new_zipfile_serialization=not old)
            small = io.BytesIO()
            torch.save({'a': torch.ones(2), 'b': torch.zeros(3, dtype=torch.int64)}, small,
                       _use_new_zipfile_serialization=not old)
            seeds = [buffer.getvalue(), small.getvalue()]
            read = self._reader(f'{name}.bin', partial(self._load, model))
            yield Target(f'weights {name}', seeds, read)
            if not old:
                yield Target('weights zip, mended', seeds, read, _edited_entry)
        yield Target('weights safetensors', [safetensors.torch.save(dict(state)),
                                             safetensors.torch.save({'a': torch.ones(2, 3)}, {'b': 'c'})],
                     self._reader('x.safetensors', partial(self._load, model)))

    @staticmethod
    def _load(model, path):
        load_weights(model, read_state_dict(path), path, optional='pooler.')

    def checkpoints(self):
        """One file of a checkpoint folder, which is then set up and loaded."""
        source = self.workspace.models / 'tiny'
        texts = {'bert_config.json': [(source / 'bert_config.json').read_bytes(),
                                      b'{"vocab_size": 40, "hidden_size": 8, "num_hidden_layers": 2, "passes": [[0, 1]]}'],
                 'vocab.txt': [(source / 'vocab.txt').read_bytes()],
                 'tokenizer_config.json': [b'{"do_lower_case": false, "a": [1, 2]}'],
                 'SHA256SUMS': [f'{sha256_of(source / "vocab.txt")}  vocab.txt\n{"a" * 64} *x\r\n'.encode()]}
        for name, seeds in texts.items():
            folder = self._file(f'checkpoint {name}/{name}').parent
            for path in source.iterdir():
                (folder / path.name).write_bytes(path.read_bytes())
            make = _edited_json if name.endswith('.json') else edited
            yield Target(f'checkpoint {name}', seeds, partial(self._set_up, folder, name), make)

    @staticmethod
    def _set_up(folder, name, data):
        (folder / name).write_bytes(data)
        setup = set_up(argparse.Namespace(task='MRPC', bert_model=str(folder), precision='fp32', max_seq_length=16))
        BertModel.from_pretrained(folder, setup.config)
        setup.tokenizer.encode_texts(['a dog sees [SEP]'])

    def hugging_face(self):
        """A folder as export_hf.py writes it: its tokenizer alone, its configuration as a teacher's."""
        source = self.folder / 'exported'
        self.workspace.succeed('scripts.export_hf', self.folder / 'run', source)
        for name, left_out in (('tokenizer.json', ('vocab.txt', 'tokenizer_config.json')), ('config.json', ())):
            folder = self._file(f'exported {name}/{name}').parent
            for path in source.iterdir():
                if path.name not in left_out:
                    (folder / path.name).write_bytes(path.read_bytes())
            read = self._set_up if left_out else self._load_teacher
            yield Target(f'exported {name}', [(source / name).read_bytes()], partial(read, folder, name), _edited_json)

    @staticmethod
    def _load_teacher(folder, name, data):
        (folder / name).write_bytes(data)
        config = BertConfig.from_json_file(folder / name)
        load_hf_teacher(argparse.Namespace(teacher_labels=None), folder, config, find_task('MRPC'))

    def teacher(self):
        """The teacher's result file as it is, and with arrays and words changed but checksums right."""
        whole = self.workspace.result_file().read_bytes()
        read = self._reader('teacher.pkl', self._read_teacher)
        yield Target('teacher file', [whole], read)
        yield Target('teacher file, mended', [TeacherOutputs.open(self.workspace.result_file())], read, self._other_teacher)

    def _read_teacher(self, path):
        teacher = TeacherOutputs.open(path)
        for name, split in self.splits.items():
            teacher.check(name, split)
            teacher.split(name)
            for part in ('feature_maps', 'pooled_feature_maps'):
                if f'{name}.{part}' in teacher.arrays:
                    teacher.rows(f'{name}.{part}', np.arange(len(split)))

    def _other_teacher(self, teacher, edits):
        arrays, words = dict(teacher.arrays), dict(teacher.metadata)
        names, types = list(arrays), list(TYPE_NAMES)
        for kind, at, other, value in edits:
            name, second = (names[int(place * len(names))] for place in (at, other))
            if kind % 5 == 0:
                arrays.pop(name, None)
            elif kind % 5 == 1 and name in arrays:
                arrays[name] = arrays[name].astype(types[value % len(types)])
            elif kind % 5 == 2 and second in arrays:
                arrays[name if value % 2 else f'{name}x'] = arrays[second]
            elif kind % 5 == 3 and name in arrays:
                arrays[name] = arrays[name][:value % 9] if arrays[name].ndim else np.zeros((value % 3,) * 3)
            else:
                key = list(words)[value % len(words)]
                words[key] = edited(words[key].encode(), [(kind, at, other, value // 5)]).decode(errors='replace')
        return self._teacher_file(arrays, words)

    def _teacher_file(self, arrays, words):
        path = self._file('made.pkl')
        by_row = {name for name in arrays if name in TENSORS and TENSORS[name].by_row and arrays[name].ndim}
        writer = ResultWriter(path, {name: (array.dtype, array.shape) for name, array in arrays.items()}, by_row,
                              {'format': FORMAT, **words})
        for name, array in arrays.items():
            writer.put(name, np.arange(len(array)) if name in by_row else None, array)
        writer.close()
        return path.read_bytes()

    def cache(self):
        """The token cache, which is made anew where it is damaged."""
        with self.workspace.active():
            path, = (self.workspace.outputs / 'cache').glob('MRPC.dev.*')
        arrays = safetensors.numpy.load_file(path)
        others = [safetensors.numpy.save(arrays | {'labels': arrays['labels'].astype(np.float32)}, {'about': '0'})]

        def read(data):
            path.write_bytes(data)
            with self.workspace.active():
                split = load_split(find_task('MRPC'), 'dev', self.tokenizer, 128)
            assert split.identity() == self.splits['dev'].identity(), 'other rows came out of the cache'
        return Target('token cache', [path.read_bytes(), *others], read)

    def flags(self):
        """Lists of flags of every script, up to where data would be read."""
        config = BertConfig.from_json_file(self.workspace.models / 'tiny' / 'bert_config.json')
        for script in (TRAIN, PTP, TEACHER):
            yield Target(f'flags {script}', [script], partial(self._parse, script, config), _argv)
        words = ['--mode', 'compare', 'teacher', 'summary', 'evaluate', 'submit', '--tasks', 'MRPC,rte', '--layers', '1,2',
                 '--seeds', '--grid', 'alpha=0,1', '--set', 'T=5', '--jobs', '2', '--methods', 'pkd,sps', '--runs',
                 '--results', '--teacher_seed', '--base', 'kd', 'fc_layer_idx=1;2', 'ptp.ptp_threshold=median']
        yield Target('flags run_glue_benchmark.py', [words], self._parse_benchmark, _shuffled)
        words = ['a.pkl', '--task', 'RTE', '--max_seq_length', '9', '--teacher_hidden_layers', '3', '--bert_model']
        read = _without_help(import_teacher_outputs.parse_flags)
        yield Target('flags import_teacher_outputs.py', [words], read, _shuffled)
        words = ['--model', 'x', '--input', '-', 'a', 'b', '--text_a', '0', '--text_b', '--header', 'yes', '--bad_rows',
                 'skip', '--output_format', 'jsonl', '--output', '/x/y.csv']
        yield Target('flags predict.py', [words], _without_help(predict.parse_flags), _shuffled)

    @staticmethod
    def _parse(script, config, argv):
        args = _without_help(parse)(script, '', argv)
        if args and script != TEACHER:
            student_config(args, config)

    @staticmethod
    def _parse_benchmark(argv):
        parsed = _without_help(run_glue_benchmark.parse_flags)(argv)
        if parsed and hasattr(parsed[0], 'grid'):
            run_glue_benchmark.parse_axes(parsed[0].grid)
            run_glue_benchmark.parse_fixed(parsed[0].set)

    def pickles(self):
        """What the published code pickled, in every protocol."""
        rng, seeds = np.random.default_rng(0), []
        split = self.splits['train']
        results = {'train': {'pred_logit': rng.random((12, 2), np.float32), 'loss': 0.5, 'acc': np.float64(1),
                             'pooled_feature_maps': rng.random((12, 4), np.float32),
                             'feature_maps': [rng.random((12, 4), np.float32) for _ in range(2)]},
                   'train_labels': torch.from_numpy(split.labels), 'dev': None}
        small = {'train': np.arange(3.), 'a': [1, (2, 'x'), {'b': b'c'}], 't': torch.arange(4.).view(2, 2).T}
        seeds = [pickle.dumps(content, protocol) for protocol in range(6) for content in (results, small)]

        def read(path):
            results = read_published(path)
            if results.get('train') is not None:
                list(PublishedSplit(path, results, 'train', split, 2).predictions())
        yield Target('published pickle', seeds, self._reader('old.pkl', read))

    def records(self):
        """run.json of a finished run, and results.csv."""
        run, whole = self.folder / 'run', (self.folder / 'run' / 'run.json').read_bytes()

        def read(data):
            (run / 'run.json').write_bytes(data)
            with self.workspace.active():
                best_runs([run, run])
                load_run(run)
        yield Target('run.json', [whole], read, _edited_json)
        yield Target('results.csv', [_results_csv()], self._reader('results.csv', self._sum_up))

    @staticmethod
    def _sum_up(path):
        results = Results(path)
        for row in results.rows.values():
            results.best_run(row)
        for summary in make_summaries([path], 'pkd', False).values():
            summary.markdown(), summary.csv(), summary.panels()

    def resuming(self):
        """What a run or a dump goes on from: the training state, also with its checksums right, and the journal."""
        config = BertConfig.from_json_file(self.workspace.models / 'tiny' / 'bert_config.json')
        split, folder = self.splits['train'], self._file('state/x').parent
        settings = Settings(4, 1, 1.0, 1e-3, 0.1, 1, 1, 1.0, 0.0, 0, 1, 'fp32')
        model, objective = SequenceClassifier(config, 2), Objective(split.labels)
        trainer = Trainer(model, split, objective, settings, dict, 'acc', folder, 'BERT', folder)
        trainer._train_step(np.arange(4))
        trainer.steps, trainer.made_by = 1, {'seed': 1, 'arguments': {'alpha': 0.5}}
        trainer.keep_state()
        seeds = [trainer.state_file.read_bytes()]

        def read(path):
            state = read_state(path)
            differences(state['made_by'], trainer.made_by)
            trainer._load_state(outline_of(state), state)
        yield Target('training state', seeds, self._reader(STATE_FILE, read))
        yield Target('training state, mended', seeds, self._reader(STATE_FILE, read), _edited_entry)
        journal = DumpJournal(self._file('dump.pkl'), {'arguments': {'all_layers': True}})
        journal.part.touch()
        journal.rows = {'train': 7}
        journal.note()
        content = journal.file.read_bytes()
        yield Target('journal', [content], self._reader(journal.file.name, lambda _: journal.read()), _edited_json)

    def archive(self):
        """Zip archives, unpacked."""
        seeds = []
        for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            buffer = io.BytesIO()
            with zipfile.ZipFile(buffer, 'w', method) as archive:
                archive.writestr('MRPC/train.tsv', 'a\tb\n' * 9)
                archive.writestr('MRPC/x/dev.tsv', 'c')
            seeds.append(buffer.getvalue())
        folder = self._file('unpacked').parent

        def read(path):
            unpack_zip(path, folder / 'unpacked')
            outside = {'train.tsv', 'dev.tsv', 'x'} & {*os.listdir(self.folder), *os.listdir(folder)}
            assert not outside, f'written outside: {outside}'
        return Target('zip archive', seeds, self._reader('a.zip', read))


def _edited_entry(data: bytes, edits: list[Edit]) -> bytes:
    """An archive by torch.save with one of its files edited, its checksums right."""
    source, target = zipfile.ZipFile(io.BytesIO(data)), io.BytesIO()
    names = source.namelist()
    pick = next((name for name in names if name.endswith('data.pkl')) if edits and edits[0][3] % 4 else iter(names))
    with zipfile.ZipFile(target, 'w') as archive:
        for name in names:
            content = source.read(name)
            archive.writestr(name, edited(content, edits) if name == pick else content)
    return target.getvalue()


VALUES = (None, True, False, 0, -1, 1, 2, 10**6, 10**9, 2**31, 2**63, 10**30, 0.5, -0.0, 1e308, float('nan'), float('inf'),
          '', 'x', 'MRPC', 'None', '../..', '\ud800', 'y' * 5000, [], [1], [[0, True]], [[0]], [[10**9, 1]],
          ['a'], {}, {'a': 1})


def _edited_json(data: bytes, edits: list[Edit]) -> bytes:
    """A JSON file with values exchanged where it is an object, and now and then edited as bytes."""
    if not edits or edits[0][3] % 3 == 0:
        return edited(data, edits)
    values = json.loads(data)
    for _, at, other, value in edits:
        place = values
        inner = [key for key, content in values.items() if isinstance(content, dict)]
        if inner and value % 2:
            place = values[inner[int(other * len(inner))]]
        if not place:
            continue
        key = list(place)[int(at * len(place))]
        if value % 11 == 0:
            del place[key]
        else:
            place[key] = copy.deepcopy(VALUES[value // 2 % len(VALUES)])
    return json.dumps(values).encode()


def _argv(script: str, edits: list[Edit]) -> list[str]:
    """Flags of a script with values that may be theirs or not."""
    names = [name for flag in FLAGS if script in flag.scripts for name in flag.names.split()] + ['recommended']
    values = ['None', '', '0', '1', '2', '-1', '3', '1000', '1001', '1e999', 'nan', '0.5', '1,2', '1,2,1x', ',', 'True', 'x',
              'ft', 'pkd', 'kd', 'SPS', 'MRPC', 'STS-B', 'median', '0.9,0.8', '9' * 30, '9' * 5000, '1' * 999 + 'x', '٣',
              '1_0', '--', '-', '-h', '\0', '\ud800', '=', 'é', '~', 'fp32', 'fp16', '1,' * 500 + '1']
    argv = []
    for kind, at, other, value in edits * 2:
        name = names[int(at * len(names))][:None if kind % 4 else 1 + value % 12]
        text = values[int(other * len(values))]
        argv += [[f'--{name}', text], [f'--{name}={text}'], [f'--{name}'], [text]][value % 7 if value % 7 < 4 else 0]
        at, other = other, at
    return argv


def _shuffled(words: list[str], edits: list[Edit]) -> list[str]:
    """Some of the words, in any order, some of them edited."""
    argv = []
    for kind, at, other, value in edits:
        argv += [words[int(place * len(words))] for place in (at, other)]
        if value % 2:
            argv[-1] = edited(argv[-1].encode(), [(kind, other, at, value)]).decode(errors='surrogateescape')
    return argv


def _without_help(read: Callable) -> Callable:
    """The same, but --help, which leaves with code 0, gives None."""
    def reading(*arguments):
        try:
            return read(*arguments)
        except SystemExit as end:
            assert end.code == 0, f'left with {end.code}'
            return None
    return reading


def _results_csv() -> bytes:
    rows = ['task,data,method,base,layers,passes,parameters,seed,student.T,student.bert_model,student.holdout,'
            'student.holdout_seed,metric,dev_best_f1,dev_best_acc,dev_last_acc,dev_last_f1,dev_saved_f1,dev_saved_acc,'
            'holdout_best_f1,seconds,sentences_a_second,error,run']
    for seed in (1, 2):
        for method in ('pkd', 'sps'):
            rows.append(f'MRPC,abc,{method},pkd,2,2,1000,{seed},10,tiny,0,0,f1,0.{seed}5,0.7,0.6,0.5,,,,12.5,100,,'
                        f'runs/{method}{seed}')
    return '\n'.join([*rows, 'RTE,d,ptp,pkd,1,1,9,1,5,tiny,0.1,0,acc,,0.5,0.4,,,0.3,0.2,1,,failed,runs/x', '']).encode()
