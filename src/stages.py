"""The runs that a cell of a comparison is made of: teacher, its result file (dump), PTP, student; where teachers of folds
make PTP's labels, these, their result files, and the file that joins them.

Stages that would compute the same are one, with one folder, whose name ends in a digest of all that makes them. Nothing
is run or written here.
"""
import argparse
import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from src.argument_parser import EVERY, FLAGS, TEACHER, parse
from src.checkpoints import checkpoint_files, state_name
from src.grid import (
    COMMON,
    HELD_OUT,
    METHODS,
    OF_THE_START,
    OWN,
    RANK,
    SCRIPTS,
    SEED_OF_ROWS,
    TEACHER_CHECKPOINTS,
    WIRING,
    Cell,
    Grid,
    says,
)
from src.nli_data_processing import find_task
from src.run_log import RECORD
from src.runs import NOT_CONFIGURATION, constants_used, fold_suffix, ptp_prefix
from src.training_state import flat
from src.utils import choose_device, choose_precision

# Flags of the student that hold for the stages before it too: how rows are read and computed
INHERITED = tuple(flag.dest for flag in FLAGS if flag.scripts == EVERY)

# Arguments that are no setting of a cell, and those among them that all the same tell one comparison's cells from another's
HAS_A_COLUMN = {*OWN, *NOT_CONFIGURATION}
SETTINGS_TOO = {('student', 'bert_model'), ('student', 'teacher_hidden_layers'), ('teacher', 'train_seed'),
                *(('student', name) for name in COMMON)}

RESULT_FILES = ('dump', 'join')      # stages that write a teacher's result file

KEEP_BEST_METRIC = {'saving_criterion_acc': '-1'}


@dataclass(frozen=True)
class Stage:
    """One run of a script. Its folder and files are relative to the comparison's."""
    kind: str                        # student, ptp, teacher, dump or join
    place: str                       # the folder of its folder
    name: str                        # what its folder's name begins with
    flags: tuple[str, ...]           # all but those that name files
    needs: tuple['Stage', ...]       # the stages whose files it reads
    mark: str                        # what tells its data and the pretrained checkpoint from others
    criterion: str = ''              # of a dump: which of the teacher's saved states it is made from

    @property
    def script(self) -> str:
        """The script's file name."""
        return SCRIPTS[self.kind]

    @cached_property
    def arguments(self) -> argparse.Namespace:
        """The script's arguments after parsing, recommended settings filled in. InputError for wrong ones."""
        return parse(self.script, '', list(self.flags))

    @cached_property
    def digest(self) -> str:
        """Eight letters that tell it from stages that compute something else.

        Flags with their default value do not count, so that old runs stay what they are when the scripts get a new flag.
        When a default changes, runs made with the old one pass for runs with the new one: remove them. Constants that users
        may edit do count."""
        arguments = {name: value for name, value in flat(self.changed).items()
                     if name not in NOT_CONFIGURATION or name.endswith('_seed')}
        return _short_hash([self.script, arguments | self.constants, self.mark, self.criterion,
                            [need.digest for need in self.needs]])

    @property
    def constants(self) -> dict[str, Any]:
        """What constants that users may edit make of its flags."""
        if self.kind in RESULT_FILES:
            return {}
        return constants_used(self.arguments, find_task(self.arguments.task), self.arguments.student_hidden_layers)

    @cached_property
    def changed(self) -> dict[str, Any]:
        """The arguments whose value is not the script's default for the train type, and the train type."""
        train_type = getattr(self.arguments, 'train_type', None)
        default = vars(parse(self.script, '', [f'--train_type={train_type}'] if train_type else []))
        return {name: value for name, value in vars(self.arguments).items()
                if name == 'train_type' or value != default[name]}

    @property
    def data(self) -> str:
        """Eight letters that tell its data and the pretrained checkpoint from others."""
        return _short_hash(self.mark)

    @cached_property
    def folder(self) -> Path:
        """Its folder."""
        return Path(self.place, f'{self.name}_{self.digest}')

    @cached_property
    def prefix(self) -> str:
        """What the names of its checkpoint files begin with."""
        if self.kind == 'ptp':
            return ptp_prefix(self.arguments, self.arguments.student_hidden_layers)
        return 'BERT'

    @property
    def result(self) -> Path:
        """The file that later stages read."""
        return self.folder / 'results.pkl' if self.kind in RESULT_FILES else self.encoder('')

    @property
    def log_folder(self) -> Path:
        """Where its run.json is."""
        return self.folder / self.prefix if self.kind == 'ptp' else self.folder

    @property
    def outputs(self) -> list[Path]:
        """What is there when it has ended. A student's weights may be gone."""
        return [self.result] * (self.kind != 'student') + [self.log_folder / RECORD] * (self.kind not in RESULT_FILES)

    def encoder(self, criterion: str) -> Path:
        """The encoder file of one of its saved states."""
        return checkpoint_files(self.folder, self.prefix, criterion)[0]

    def need(self, kind: str) -> 'Stage | None':
        """The stage of that kind that it needs, at any distance."""
        found = (stage if stage.kind == kind else stage.need(kind) for stage in self.needs)
        return next(filter(None, found), None)

    def command(self, root: Path) -> list[str]:
        """The script's flags, those that name files included, for a comparison in the folder `root`."""
        return [*self.flags, *(f'--{name}={";".join(str(root / path) for path in paths)}'
                               for name, paths in self._files().items() if paths)]

    def _files(self) -> dict[str, list[Path]]:
        """The flags that name files, and these."""
        made = {kind: [need.result for need in self.needs if need.kind == kind] for kind in SCRIPTS}
        if self.kind == 'join':
            return {'join': made['dump'], 'teacher_prediction': [self.result]}
        if self.kind == 'dump':
            return {'load_model': [self.needs[0].encoder(self.criterion)], 'teacher_prediction': [self.result]}
        return {'load_model': made['ptp'], 'teacher_prediction': made['dump'] or made['join'], 'output_dir': [self.folder]}


def _short_hash(made_of: Any) -> str:
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:8]


def student_stage(grid: Grid, cell: Cell) -> Stage:
    """The last stage of a cell, with those it needs."""
    method = METHODS[cell.method]
    dump = _dump(grid, cell) if cell.train_type != 'ft' else None
    needs = tuple(filter(None, (dump, _ptp(grid, cell, dump) if method.ptp else None)))     # the dump first: see need
    settings = _settings(cell, 'student')
    if method.ptp:
        settings.pop(OF_THE_START, None)
    flags = (_start(grid, cell) | _wiring(cell) | {'train_type': cell.train_type, 'train_seed': cell.seed}
             | KEEP_BEST_METRIC | _common(grid) | settings)
    if dump:
        flags['teacher_hidden_layers'] = grid.teacher_layers
    name = f'{cell.method}_{cell.layers}layer_seed{cell.seed}'
    return _stage('student', f'runs/{cell.task}', name, flags, grid, cell, needs)


def _ptp(grid: Grid, cell: Cell, dump: Stage) -> Stage:
    # The student's shape and start too, for of a method with PTP it is PTP that starts from the checkpoint.
    settings = _settings(cell, 'ptp', (*INHERITED, WIRING, RANK, OF_THE_START))
    flags = {'teacher_hidden_layers': grid.teacher_layers, 'PTP_seed': cell.seed} | _common(grid)
    flags = _start(grid, cell) | _wiring(cell) | flags | settings
    name = f'{METHODS[cell.method].model_type}_{cell.layers}layer_seed{cell.seed}'
    return _stage('ptp', f'ptp/{cell.task}', name, flags, grid, cell, (_joined(grid, cell) if grid.teacher_folds else dump,))


def _joined(grid: Grid, cell: Cell) -> Stage:
    """The result file in which each training row has the outputs of the teacher that has not learnt it."""
    dumps = tuple(_dump(grid, cell, f'{fold}/{grid.teacher_folds}') for fold in range(1, grid.teacher_folds + 1))
    name = f'{grid.teacher_layers}layer_seed{grid.teacher_seed}_{grid.teacher_folds}folds_{grid.teacher_checkpoint}'
    flags = {flag: value for flag, value in find_task(cell.task).flags.items() if flag != 'task'}    # a file tells its task
    return _stage('join', f'teachers/{cell.task}', name, flags, grid, cell, dumps)


def _dump(grid: Grid, cell: Cell, fold: str | None = None) -> Stage:
    """The result file of the teacher, or, without the states of layers, of one that leaves out a fold 'F/K'."""
    teacher = _teacher(grid, cell, fold)
    settings = {name: value for name, value in _settings(cell, 'teacher', INHERITED).items() if name in INHERITED}
    # Named even where it is the default: the script's constants, which may have been edited, go before that. Of a fold's
    # teacher only the labels of PTP are made, of its logits.
    flags = _start(grid, cell) | {'teacher_hidden_layers': grid.teacher_layers, 'all_layers': not fold} | settings
    name = f'{teacher.name}_{grid.teacher_checkpoint}'
    return _stage('dump', f'teachers/{cell.task}', name, flags, grid, cell, (teacher,),
                  TEACHER_CHECKPOINTS[grid.teacher_checkpoint])


def _teacher(grid: Grid, cell: Cell, fold: str | None) -> Stage:
    flags = _start(grid, cell) | {'student_hidden_layers': grid.teacher_layers, 'train_seed': grid.teacher_seed}
    flags |= KEEP_BEST_METRIC | _keep_best_loss(cell) | _common(grid, fold) | _settings(cell, 'teacher', INHERITED)
    flags |= {'fold': fold} if fold else {}
    name = f'{grid.teacher_layers}layer_seed{grid.teacher_seed}{fold_suffix(fold)}'
    return _stage('teacher', f'teachers/{cell.task}', name, flags, grid, cell, ())


def _common(grid: Grid, fold: str | None = None) -> dict[str, str]:
    """The flags of all runs that train, but of those that have neither a holdout nor a fold the seed that draws them."""
    return {name: value for name, value in grid.common.items() if name != SEED_OF_ROWS or HELD_OUT in grid.common or fold}


def _keep_best_loss(cell: Cell) -> dict[str, str]:
    """The criterion below which any loss is: that of regression has the labels' unit, squared, which a task of one's own may
    have in thousands."""
    task = find_task(cell.task)
    return {'saving_criterion_loss': '1e30' if task.definition and task.labels is None else '100'}


def _stage(kind: str, place: str, name: str, flags: dict[str, Any], grid: Grid, cell: Cell, needs: tuple[Stage, ...],
           criterion: str = '') -> Stage:
    precision = None if kind == 'join' or 'fp16' in flags else flags.get('precision', 'auto')      # a join computes nothing
    if precision == 'auto' and choose_precision('auto', choose_device()) == 'fp32':
        flags = flags | {'precision': 'fp32'}    # named, else such rows pass for those of machines where auto is bf16
    words = [f'--{name}={value}' for name, value in flags.items()]
    if grid.recommended and SCRIPTS[kind] != TEACHER:
        words.append('--recommended')
    return Stage(kind, place, name, tuple(words), needs, grid.marks.get(cell.task, ''), criterion)


def _start(grid: Grid, cell: Cell) -> dict[str, Any]:
    return find_task(cell.task).flags | {'bert_model': grid.bert_model}


def _wiring(cell: Cell) -> dict[str, Any]:
    wiring = {} if says(cell, 'student', WIRING) else {'model_type': METHODS[cell.method].model_type}
    return {'student_hidden_layers': cell.layers} | wiring


def _settings(cell: Cell, kind: str, inherited: tuple[str, ...] = ()) -> dict[str, str]:
    """The flags that a cell's settings give a stage, those inherited from the student included."""
    of_student = {name: value for (stage, name), value in cell.settings if stage == 'student' and name in inherited}
    return of_student | {name: value for (stage, name), value in cell.settings if stage == kind}


def setting_columns(student: Stage) -> dict[str, str]:
    """The flags of a cell's stages that differ from their defaults, as 'student.learning_rate': '0.0001', ...

    Left out: what has a column of its own. Of the flags that a stage inherits it has those that differ from the student's,
    be it by their default."""
    columns = {}
    for kind in ('student', 'ptp', 'teacher'):
        stage = student if kind == 'student' else student.need(kind)
        if stage is None:
            continue
        settings = stage.changed
        if kind != 'student':
            inherited = {name: vars(stage.arguments)[name] for name in INHERITED}
            settings = {name: value for name, value in (settings | inherited).items()
                        if name not in inherited or value != vars(student.arguments)[name]}
        for name, value in settings.items():
            if name not in HAS_A_COLUMN or (kind, name) in SETTINGS_TOO:
                columns[f'{kind}.{name}'] = ','.join(map(str, value)) if isinstance(value, list) else str(value)
        columns |= {f'{kind}.{name}': json.dumps(value) for name, value in stage.constants.items()
                    if kind == 'student' or value != student.constants.get(name)}
    join, dump = student.need('join'), student.need('dump')
    if join:
        columns['ptp.teacher_folds'] = str(len(join.needs))
        seed = join.need('teacher').arguments.holdout_seed
        if seed != student.arguments.holdout_seed:
            columns[f'ptp.{SEED_OF_ROWS}'] = str(seed)
    if dump and dump.criterion != TEACHER_CHECKPOINTS['acc']:
        columns['teacher.checkpoint'] = state_name(dump.criterion)
    return columns
