"""Which cells a comparison has: tasks x methods x depths x seeds x settings. Nothing is read or run here.

A cell is one row of the comparison's table. src/stages.py says which runs of the scripts it is made of.
"""
import itertools
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from BERT.pytorch_pretrained_bert.file_utils import InputError
from src.argument_parser import FLAGS, PTP, TEACHER, TRAIN, Flag, separated
from src.nli_data_processing import find_task
from src.training_state import NEUTRAL

logger = logging.getLogger(__name__)


class Method(NamedTuple):
    """A method as flags: model type, train type (None: the comparison's base), and whether PTP goes before."""
    model_type: str
    train_type: str | None
    ptp: bool


METHODS = {
    'ft': Method('Original', 'ft', False),
    'kd': Method('Original', 'kd', False),
    'pkd': Method('Original', 'pkd', False),
    'sps_no_shuffle': Method('SPS_no_shuffle', None, False),
    'sps': Method('SPS', None, False),
    'ptp': Method('Original', None, True),
    'sps+ptp': Method('SPS', None, True),
}
BASES = ('pkd', 'kd')
# Flags of the comparison that have an effect on some methods alone -> whether they have one on a method
OF_SOME_METHODS: dict[str, Callable[[Method], bool]] = {
    'base': lambda method: method.train_type is None,
    **dict.fromkeys(('teacher_layers', 'teacher_seed', 'teacher_checkpoint'), lambda method: method.train_type != 'ft'),
    'teacher_folds': lambda method: method.ptp,
}
TEACHER_CHECKPOINTS = {'acc': '_acc', 'loss': '_loss', 'final': ''}     # name -> what the file's name says

# Stages whose flags can be set, and their scripts; the dump takes its flags from the teacher.
SCRIPTS = {'student': TRAIN, 'ptp': PTP, 'teacher': TRAIN, 'dump': TEACHER, 'join': TEACHER}
SETTABLE = ('student', 'ptp', 'teacher')

HELD_OUT, SEED_OF_ROWS = COMMON = ('holdout', 'holdout_seed')     # flags that a comparison gives every run that trains

# Flags that the comparison gives itself -> what to use instead
OWN = {'task': '--tasks', 'task_config': '--task_config', 'train_type': '--methods', 'model_type': '--methods',
       'student_hidden_layers': '--layers', 'teacher_hidden_layers': '--teacher_layers',
       'train_seed': '--seeds, --teacher_seed', 'PTP_seed': '--seeds', 'bert_model': '--bert_model',
       'fold': '--teacher_folds', **{name: f'--{name}' for name in COMMON},
       **dict.fromkeys(('load_model', 'cls_checkpoint', 'teacher_prediction', 'output_dir', 'saving_criterion_acc',
                        'saving_criterion_loss', 'all_layers'), 'nothing: the stages fit together by it')}

WIRING = 'passes'              # the flag that replaces the wiring of a method whose layers are shared
RANK = 'embedding_rank'        # the flag of students whose word embeddings are factorised
OF_THE_START = 'layer_initialization'      # the flag that says which layers of the checkpoint start those of the model

# Flags that several stages must have alike, and are set once -> these
OF_SEVERAL = {RANK: 'students and their PTP', WIRING: 'students and their PTP', 'max_seq_length': 'all stages, which read '
              'the same rows'}

Address = tuple[str, str]      # (stage, flag): ('ptp', 'learning_rate')


@dataclass(frozen=True)
class Grid:
    """What a comparison's flags say. checkpoint_layers, max_rank: of bert_model, layers and the largest rank of its word
    embeddings; teacher_folds: how many teachers, each without a fold of train, make PTP's labels, None for the teacher
    alone; fixed and axes: (stage, flag) -> value, or values of which each makes cells; common: flags of every run that
    trains, such as holdout; marks: task -> what tells its data and the checkpoint; given: those of OF_SOME_METHODS that the
    user has named, be it with their default."""
    tasks: tuple[str, ...]
    methods: tuple[str, ...]
    layers: tuple[int, ...]
    seeds: tuple[int, ...]
    bert_model: str
    checkpoint_layers: int
    max_rank: int
    teacher_layers: int
    base: str = 'pkd'
    teacher_seed: int = 1
    teacher_checkpoint: str = 'acc'
    teacher_folds: int | None = None
    recommended: bool = True
    common: dict[str, str] = field(default_factory=dict)
    fixed: dict[Address, str] = field(default_factory=dict)
    axes: dict[Address, list[str]] = field(default_factory=dict)
    marks: dict[str, str] = field(default_factory=dict)
    given: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cell:
    """One row of the table: settings are those of the grid that have an effect on it."""
    task: str
    method: str
    train_type: str
    layers: int
    seed: int
    settings: tuple[tuple[Address, str], ...]


def parse_axes(words: list[str]) -> dict[Address, list[str]]:
    """'learning_rate=5e-5,1e-4' -> its values. Values that hold commas stand between semicolons: 'fc_layer_idx=1,3;3,5'."""
    axes = {}
    for address, text in _assignments('--grid', words):
        axes[address] = separated(text)
    return axes


def parse_fixed(words: list[str]) -> dict[Address, str]:
    """'fc_layer_idx=1,3' -> its value, whole."""
    return dict(_assignments('--set', words))


def _assignments(option: str, words: list[str]) -> Iterator[tuple[Address, str]]:
    seen = set()
    for word in words:
        name, _, text = word.partition('=')
        if not text.strip(',; '):
            raise InputError(f'{option} {word!r}: must be NAME=VALUE')
        address = find_address(option, name)
        if address in seen:
            raise InputError(f'{option} {name}: given twice')
        seen.add(address)
        yield address, text


def find_address(option: str, name: str) -> Address:
    """('ptp', 'learning_rate') of 'ptp.learning_rate'; without a prefix it is a flag of the student."""
    prefix, _, word = name.rpartition('.')
    stage = prefix or 'student'
    if stage not in SETTABLE:
        raise InputError(f'{option} {name}: there is no stage {prefix}; choose one of {", ".join(SETTABLE)}')
    flag = _flag(word)
    own = OWN.get(flag.dest if flag else word)
    if own:
        raise InputError(f'{option} {name}: that is not set here; use {own}')
    if flag and flag.dest in OF_SEVERAL and stage != 'student':
        raise InputError(f'{option} {name}: that is not set here; use {flag.dest}, which is for {OF_SEVERAL[flag.dest]}')
    if flag is None or SCRIPTS[stage] not in flag.scripts or (stage == 'teacher' and 'ft' not in flag.train_types):
        raise InputError(f'{option} {name}: no flag of {SCRIPTS[stage]}{" --train_type ft" * (stage == "teacher")}')
    return stage, flag.dest


def _flag(word: str) -> Flag | None:
    return next((flag for flag in FLAGS if word in flag.names.split()), None)


def check_grid(grid: Grid) -> None:
    """InputError when a setting is both fixed and an axis, when one or a given flag has no effect on any method, or when
    cells are too deep for the checkpoint or none remains; says which are left out."""
    both = grid.fixed.keys() & grid.axes.keys()
    cells = grid_cells(grid)
    methods = [method for method in grid.methods if any(cell.method == method for cell in cells)]
    left_out = [f'{method} on {task}' for task, method in itertools.product(grid.tasks, grid.methods)
                if not has_meaning(task, method)]
    no_meaning = 'PTP needs predictions that are right or wrong, which regression does not make'
    problems = [f'--grid {".".join(address)}: --set gives it too' for address in both]
    problems += [f'--grid {".".join(address)}: it changes nothing in what is computed; use --set' for address in grid.axes
                 if address[1] in NEUTRAL]
    problems += _without_effect(grid, methods)
    seed = grid.common.get(SEED_OF_ROWS)
    if seed is not None and HELD_OUT not in grid.common and not grid.teacher_folds:
        problems.append(f'--{SEED_OF_ROWS} {seed} has no effect without --{HELD_OUT} or --teacher_folds')
    problems += _ranks_too_high(grid)
    problems += _too_deep(grid, cells) if cells else [
        f'--methods {",".join(grid.methods)} on {",".join(grid.tasks)}: {no_meaning}']
    told = [f'left out: {", ".join(left_out)}; {no_meaning}'] if left_out and cells else []
    if problems:
        raise InputError('; '.join(problems + told))
    for line in told:
        logger.info(line)


def _without_effect(grid: Grid, methods: list[str]) -> list[str]:
    """Problems of settings and given flags that change nothing in any of these methods, which are those that have cells."""
    if not methods:                # which is told by itself
        return []
    told = f'has no effect on any of --methods {",".join(methods)}'
    problems = [f'{".".join(address)} {told}' for address in (*grid.fixed, *grid.axes)
                if not any(has_effect(address, METHODS[method], train_type(grid, method)) for method in methods)]
    for name in grid.given:
        fitting = [method for method in METHODS if OF_SOME_METHODS[name](METHODS[method])]
        if not {*fitting} & {*methods}:
            problems.append(f'--{name} {getattr(grid, name)} {told}: it is for {", ".join(fitting)}')
    return problems


def _too_deep(grid: Grid, cells: list[Cell]) -> list[str]:
    """Problems of students and teachers with more layers than the checkpoint, none of which say what starts them."""
    limit = f'the checkpoint {grid.bert_model} has {grid.checkpoint_layers} layers to start from'
    students = {cell.layers for cell in cells if cell.layers > grid.checkpoint_layers
                and not says(cell, 'student', OF_THE_START)
                and not (METHODS[cell.method].ptp and says(cell, 'ptp', OF_THE_START))}
    teachers = {grid.teacher_layers for cell in cells if cell.train_type != 'ft'
                and grid.teacher_layers > grid.checkpoint_layers and not says(cell, 'teacher', OF_THE_START)}
    return [f'--{flag} {layers}: {limit}; or name them with --set {prefix}{OF_THE_START}=1,2,...'
            for flag, prefix, depths in (('layers', '', students), ('teacher_layers', 'teacher.', teachers))
            for layers in sorted(depths)]


def _ranks_too_high(grid: Grid) -> list[str]:
    values = [value for settings in (grid.axes, {name: [value] for name, value in grid.fixed.items()})
              for value in settings.get(('student', RANK), [])]
    return [f'{RANK}={value}: must be at most {grid.max_rank} for the checkpoint {grid.bert_model}' for value in values
            if value.isdecimal() and int(value) > grid.max_rank]


def says(cell: Cell, stage: str, flag: str) -> bool:
    """Whether a cell's settings give a flag of a stage a value: the word None is none."""
    return dict(cell.settings).get((stage, flag), 'None') != 'None'


def has_meaning(task: str, method: str) -> bool:
    """Whether a method can be run on a task: PTP cannot on regression."""
    return not (METHODS[method].ptp and find_task(task).labels is None)


def train_type(grid: Grid, method: str) -> str:
    """ft, kd or pkd: the method's own, or the grid's base."""
    return METHODS[method].train_type or grid.base


def has_effect(address: Address, method: Method, student_type: str) -> bool:
    """Whether a setting changes anything in the cells of a method."""
    stage, name = address
    if name == WIRING and stage == 'student':
        return method.model_type != 'Original'
    return {'student': student_type in _flag(name).train_types, 'ptp': method.ptp, 'teacher': student_type != 'ft'}[stage]


def grid_cells(grid: Grid) -> list[Cell]:
    """All cells that have a meaning, a seed of a task after the other, so that a comparison that is stopped has compared
    something."""
    cells = []
    for task, seed, layers, method in itertools.product(grid.tasks, grid.seeds, grid.layers, grid.methods):
        if not has_meaning(task, method):
            continue
        kind = train_type(grid, method)
        values = {address: [value] for address, value in grid.fixed.items()} | grid.axes
        values = {address: given for address, given in values.items() if has_effect(address, METHODS[method], kind)}
        cells += [Cell(task, method, kind, layers, seed, tuple(zip(values, chosen, strict=True)))
                  for chosen in itertools.product(*values.values())]
    return cells
