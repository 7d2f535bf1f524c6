"""Which cells a comparison has: tasks x methods x depths x seeds x settings. Nothing is read or run here.

A cell is one row of the comparison's table. src/stages.py says which runs of the scripts it is made of.
"""
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from BERT.pytorch_pretrained_bert.file_utils import InputError
from src.argument_parser import FLAGS, PTP, TEACHER, TRAIN, Flag


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
TEACHER_CHECKPOINTS = {'acc': '_acc', 'loss': '_loss', 'final': ''}     # name -> what the file's name says

# Stages whose flags can be set, and their scripts; the dump takes its flags from the teacher.
SCRIPTS = {'student': TRAIN, 'ptp': PTP, 'teacher': TRAIN, 'dump': TEACHER}
SETTABLE = ('student', 'ptp', 'teacher')

COMMON = ('holdout', 'holdout_seed')     # flags that a comparison gives every run that trains

# Flags that the comparison gives itself -> what to use instead
OWN = {'task': '--tasks', 'train_type': '--methods', 'model_type': '--methods', 'student_hidden_layers': '--layers',
       'teacher_hidden_layers': '--teacher_layers', 'train_seed': '--seeds, --teacher_seed', 'PTP_seed': '--seeds',
       'bert_model': '--bert_model', **{name: f'--{name}' for name in COMMON},
       **dict.fromkeys(('load_model', 'cls_checkpoint', 'teacher_prediction', 'output_dir', 'saving_criterion_acc',
                        'saving_criterion_loss', 'all_layers'), 'nothing: the stages fit together by it')}

WIRING = 'passes'              # the flag that replaces the wiring of a method whose layers are shared

Address = tuple[str, str]      # (stage, flag): ('ptp', 'learning_rate')


@dataclass(frozen=True)
class Grid:
    """What a comparison's flags say. fixed and axes: (stage, flag) -> value, or values of which each makes cells;
    common: flags of every run that trains, such as holdout; marks: task -> what tells its data and the checkpoint."""
    tasks: tuple[str, ...]
    methods: tuple[str, ...]
    layers: tuple[int, ...]
    seeds: tuple[int, ...]
    bert_model: str
    teacher_layers: int
    base: str = 'pkd'
    teacher_seed: int = 1
    teacher_checkpoint: str = 'acc'
    recommended: bool = True
    common: dict[str, str] = field(default_factory=dict)
    fixed: dict[Address, str] = field(default_factory=dict)
    axes: dict[Address, list[str]] = field(default_factory=dict)
    marks: dict[str, str] = field(default_factory=dict)


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
        axes[address] = [value for value in text.split(';' if ';' in text else ',') if value]
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
    if flag is None or SCRIPTS[stage] not in flag.scripts or (stage == 'teacher' and 'ft' not in flag.train_types):
        raise InputError(f'{option} {name}: no flag of {SCRIPTS[stage]}{" --train_type ft" * (stage == "teacher")}')
    return stage, flag.dest


def _flag(word: str) -> Flag | None:
    return next((flag for flag in FLAGS if word in flag.names.split()), None)


def check_grid(grid: Grid) -> None:
    """InputError when a setting is both fixed and an axis, or has no effect on any method."""
    both = grid.fixed.keys() & grid.axes.keys()
    idle = [address for address in (*grid.fixed, *grid.axes)
            if not any(has_effect(address, METHODS[method], train_type(grid, method)) for method in grid.methods)]
    problems = [f'--grid {".".join(address)}: --set gives it too' for address in both]
    problems += [f'{".".join(address)} has no effect on any of --methods {",".join(grid.methods)}' for address in idle]
    if problems:
        raise InputError('; '.join(problems))


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
    """All cells, a seed of a task after the other, so that a comparison that is stopped has compared something."""
    cells = []
    for task, seed, layers, method in itertools.product(grid.tasks, grid.seeds, grid.layers, grid.methods):
        kind = train_type(grid, method)
        values = {address: [value] for address, value in grid.fixed.items()} | grid.axes
        values = {address: given for address, given in values.items() if has_effect(address, METHODS[method], kind)}
        cells += [Cell(task, method, kind, layers, seed, tuple(zip(values, chosen, strict=True)))
                  for chosen in itertools.product(*values.values())]
    return cells
