"""run_glue_benchmark.py --mode compare: which cells a grid has, which stages they share, and that no way of stopping it
changes the table."""
import contextlib
import csv
import ctypes
import errno
import fcntl
import importlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from functools import partial

import pandas as pd
import pytest
from conftest import ROOT, own_tables

import envs
import run_glue_benchmark
from BERT.pytorch_pretrained_bert.file_utils import InputError
from src import argument_parser, modeling, nli_data_processing
from src import compare as compare_module
from src.argument_parser import PTP, TEACHER, TRAIN
from src.checkpoints import best_saved
from src.compare import scores_of, source_marks
from src.grid import METHODS, Cell, Grid, check_grid, find_address, grid_cells, parse_axes, parse_fixed
from src.nli_data_processing import add_task, find_task
from src.results import Results, choosing_score
from src.speed import SPEED_FILE, kept_speed
from src.stage_runner import CALL, LOG, StageRunner, _end_with, _error
from src.stages import _keep_best_loss, setting_columns, student_stage
from src.teacher_outputs import TeacherOutputs
from src.training import Trainer
from src.training_state import code_marks

BENCHMARK = 'run_glue_benchmark.py'
BRIEF = ('precision=fp32', 'num_train_epochs=1', 'learning_rate=1e-3', 'teacher.num_train_epochs=2',
         'teacher.learning_rate=1e-3')
FLAGS = ('--mode', 'compare', '--bert_model', 'tiny', '--layers', '1', '--seeds', '1', '--set', *BRIEF)
BOTH = (*FLAGS, 'ptp.num_train_epochs=1', '--methods', 'pkd,sps+ptp')
CLOCK = ('seconds', 'sentences_a_second')


# Cells


def grid(**changes):
    settings = {'tasks': ('MRPC',), 'methods': ('pkd',), 'layers': (3,), 'seeds': (1,), 'bert_model': 'tiny',
                'checkpoint_layers': 6, 'max_rank': 31, 'teacher_layers': 6, 'recommended': False}
    return Grid(**settings | changes)


def plan(**changes):
    chosen = grid(**changes)
    return {stage.folder: stage for stage in (student_stage(chosen, cell) for cell in grid_cells(chosen))}


@pytest.fixture(autouse=True)
def fast_bf16(monkeypatch):
    """What --precision auto comes to, and so what columns there are, depends on the machine."""
    monkeypatch.setattr('src.utils.has_fast_bf16', lambda device: True)


def only(**changes):
    stages = list(plan(**changes).values())
    assert len(stages) == 1
    return stages[0]


def given(stage):
    """A stage's flags as names and values."""
    return dict(word.removeprefix('--').partition('=')[::2] for word in stage.flags)


@pytest.mark.parametrize('stage', ['ptp', 'teacher'])
def test_wiring_is_the_students(stage):
    with pytest.raises(InputError, match=f'{stage}.passes: that is not set here; use passes'):
        find_address('--grid', f'{stage}.passes')


def test_tasks_may_be_one(tmp_path):
    """--task is short for --tasks, whatever other flags begin so."""
    for mode in ('compare', 'teacher'):
        args, _ = run_glue_benchmark.parse_flags(['--mode', mode, '--task', 'rte'])
        assert args.tasks == ('RTE',)
        with pytest.raises(InputError, match='--task_config .*none.json'):
            run_glue_benchmark.parse_flags(['--mode', mode, '--task_c', str(tmp_path / 'none.json')])
        with pytest.raises(InputError, match='--task_config .: no such file'):         # a variable that is not set, say
            run_glue_benchmark.parse_flags(['--mode', mode, '--task_config', ''])


def test_settings_as_words():
    assert parse_axes(['learning_rate=5e-5,1e-4', 'ptp.ptp_threshold=.9,.7;median', 'fc_layer_idx=1,3;']) == {
        ('student', 'learning_rate'): ['5e-5', '1e-4'], ('ptp', 'ptp_threshold'): ['.9,.7', 'median'],
        ('student', 'fc_layer_idx'): ['1,3']}
    assert parse_fixed(['fc_layer_idx=1,3', 'teacher.num_train_epochs=3', 'student.T=5']) == {
        ('student', 'fc_layer_idx'): '1,3', ('teacher', 'num_train_epochs'): '3', ('student', 'T'): '5'}


@pytest.mark.parametrize('name, said', [
    ('nonsense', 'no flag of NLI_KD_training.py'), ('dev.T', 'there is no stage dev; choose one of student, ptp, teacher'),
    ('ptp.alpha', 'no flag of PTP.py'), ('teacher.alpha', 'no flag of NLI_KD_training.py --train_type ft'),
    ('ptp_threshold', 'no flag of NLI_KD_training.py'), ('train_seed', 'that is not set here; use --seeds, --teacher_seed'),
    ('student_hidden_layers', 'that is not set here; use --layers'),
    ('load_model_dir', 'that is not set here; use nothing: the stages fit together by it'),
    ('ptp.passes', 'that is not set here; use passes, which is for students and their PTP'),
    ('teacher.max_seq_length', 'that is not set here; use max_seq_length, which is for all stages, which '
     'read the same rows'),
    ('holdout', 'that is not set here; use --holdout'), ('task', 'that is not set here; use --tasks')])
def test_settings_that_cannot_be_set(name, said):
    with pytest.raises(InputError) as told:
        find_address('--grid', name)
    assert str(told.value) == f'--grid {name}: {said}'


@pytest.mark.parametrize('words', [['T'], ['T='], ['T=,'], ['T=1', 'T=2'], ['T=1', 'student.T=2']])
def test_settings_that_are_not_whole(words):
    for read in (parse_axes, parse_fixed):
        with pytest.raises(InputError):
            read(words)


def test_a_grid_is_a_product():
    cells = grid_cells(grid(tasks=('MRPC', 'RTE'), methods=tuple(METHODS), layers=(1, 2), seeds=(1, 2, 3)))
    assert len(cells) == len(set(cells)) == 2 * 7 * 2 * 3
    assert {cell.train_type for cell in cells if cell.method in ('sps', 'ptp', 'sps+ptp', 'sps_no_shuffle')} == {'pkd'}
    assert [(cell.task, cell.seed) for cell in cells] == sorted((cell.task, cell.seed) for cell in cells)


@pytest.mark.parametrize('name, numbers', [
    ('learning_rate', (2, 2, 2, 2, 2)), ('alpha', (1, 2, 2, 2, 2)), ('beta', (1, 1, 2, 2, 2)), ('T', (1, 2, 2, 2, 2)),
    ('ptp.learning_rate', (1, 1, 1, 1, 2)), ('ptp.ptp_threshold', (1, 1, 1, 1, 2)),
    ('teacher.learning_rate', (1, 2, 2, 2, 2)), ('passes', (1, 1, 1, 2, 2)), ('eval_batch_size', (2, 2, 2, 2, 2))])
def test_an_axis_multiplies_the_cells_it_has_an_effect_on(name, numbers):
    methods = ('ft', 'kd', 'pkd', 'sps', 'sps+ptp')
    cells = grid_cells(grid(methods=methods, axes=parse_axes([f'{name}=1;2'])))
    assert tuple(sum(cell.method == method for cell in cells) for method in methods) == numbers


def test_with_kd_as_base_patience_has_no_effect():
    assert len(grid_cells(grid(methods=('kd', 'sps'), base='kd', axes=parse_axes(['T=1,2'])))) == 4
    with pytest.raises(InputError, match='student.beta has no effect on any of --methods kd,sps'):
        check_grid(grid(methods=('kd', 'sps'), base='kd', axes=parse_axes(['beta=1,2'])))
    with pytest.raises(InputError, match='student.log_every_step: it changes nothing'):
        check_grid(grid(axes=parse_axes(['log_every_step=1,2'])))
    with pytest.raises(InputError, match='--set gives it too'):
        check_grid(grid(fixed=parse_fixed(['T=1']), axes=parse_axes(['T=1,2'])))


LEARN_BY_THE_BASE, TAUGHT = 'sps_no_shuffle, sps, ptp, sps+ptp', 'kd, pkd, sps_no_shuffle, sps, ptp, sps+ptp'


@pytest.mark.parametrize('name, value, methods, fitting', [
    ('base', 'kd', ('ft', 'pkd'), LEARN_BY_THE_BASE), ('base', 'pkd', ('kd',), LEARN_BY_THE_BASE),
    ('teacher_layers', 6, ('ft',), TAUGHT), ('teacher_seed', 1, ('ft',), TAUGHT),
    ('teacher_checkpoint', 'loss', ('ft',), TAUGHT), ('teacher_folds', 3, ('pkd', 'sps'), 'ptp, sps+ptp')])
def test_a_flag_that_no_method_heeds(name, value, methods, fitting):
    """Also with its default's value: the user believes that it does something. The default itself is no flag given."""
    changes = {name: value, 'given': (name,)}
    with pytest.raises(InputError) as told:
        check_grid(grid(methods=methods, **changes))
    assert str(told.value) == f'--{name} {value} has no effect on any of --methods {",".join(methods)}: it is for {fitting}'
    check_grid(grid(methods=methods))
    for method in fitting.split(', '):
        check_grid(grid(methods=(*methods, method), **changes))


def test_ptp_is_left_out_where_it_has_no_meaning(caplog):
    mixed = grid(tasks=('STS-B', 'MRPC'), methods=('pkd', 'ptp', 'sps+ptp'))
    assert [(cell.task, cell.method) for cell in grid_cells(mixed)] == [
        ('STS-B', 'pkd'), ('MRPC', 'pkd'), ('MRPC', 'ptp'), ('MRPC', 'sps+ptp')]
    with caplog.at_level('INFO'):
        check_grid(mixed)
    [message] = [record.message for record in caplog.records]
    assert message.startswith('left out: ptp on STS-B, sps+ptp on STS-B; PTP needs predictions that are right or wrong')
    with pytest.raises(InputError, match='^--methods ptp on STS-B: PTP needs predictions'):
        check_grid(grid(tasks=('STS-B',), methods=('ptp',), teacher_folds=3, given=('teacher_folds',)))
    with pytest.raises(InputError, match='--methods pkd: it is for ptp, sps.ptp; left out: ptp on STS-B; PTP needs'):
        check_grid(grid(tasks=('STS-B',), methods=('pkd', 'ptp'), teacher_folds=3, given=('teacher_folds',)))
    with pytest.raises(InputError, match='ptp.learning_rate has no effect'):
        check_grid(grid(tasks=('STS-B',), methods=('pkd', 'ptp'), fixed=parse_fixed(['ptp.learning_rate=1e-5'])))


@pytest.mark.parametrize('changes, words, told', [
    ({'layers': (6, 7, 8)}, '', '--layers 7: the checkpoint tiny has 6 layers.*--layers 8: '),
    ({'teacher_layers': 12}, '', '--teacher_layers 12: the checkpoint tiny has 6 layers'),
    ({'layers': (7,), 'methods': ('pkd', 'ptp')}, 'ptp.layer_initialization=1,2,3,4,5,6,6', '--layers 7'),
    ({'layers': (7,), 'methods': ('ptp',)}, 'ptp.layer_initialization=1,2,3,4,5,6,6', ''),
    ({'layers': (7,), 'methods': ('pkd', 'ptp')}, 'layer_initialization=1,2,3,4,5,6,6', ''),
    ({'teacher_layers': 12, 'methods': ('ft',)}, '', '')])
def test_students_and_teachers_deeper_than_the_checkpoint(changes, words, told):
    chosen = grid(**changes, fixed=parse_fixed([words] if words else []))
    with pytest.raises(InputError, match=told) if told else contextlib.nullcontext():
        check_grid(chosen)


# Stages


def test_the_stages_of_a_method():
    student = only(methods=('sps+ptp',))
    dump, ptp = student.needs
    assert [stage.script for stage in (student, ptp, dump, dump.needs[0])] == [TRAIN, PTP, TEACHER, TRAIN]
    assert ptp.needs == (dump,) and student.need('teacher') is dump.needs[0]
    assert [stage.kind for stage in only().needs] == ['dump'] and only(methods=('ft',)).needs == ()
    assert given(student).items() >= {'train_type': 'pkd', 'model_type': 'SPS', 'student_hidden_layers': '3',
                                      'train_seed': '1', 'teacher_hidden_layers': '6'}.items()
    assert given(ptp).items() >= {'model_type': 'SPS', 'student_hidden_layers': '3', 'PTP_seed': '1'}.items()
    assert student.arguments.task == 'MRPC' and dump.arguments.teacher_hidden_layers == 6


def test_commands_name_each_others_files(tmp_path):
    student = only(methods=('sps+ptp',), teacher_checkpoint='loss')
    dump, ptp = student.needs
    assert f'--load_model={tmp_path / ptp.folder / "PTP.SPS_3layer.encoder.pkl"}' in student.command(tmp_path)
    assert f'--teacher_prediction={tmp_path / dump.folder / "results.pkl"}' in student.command(tmp_path)
    assert f'--teacher_prediction={tmp_path / dump.folder / "results.pkl"}' in ptp.command(tmp_path)
    assert f'--load_model={tmp_path / dump.needs[0].folder / "BERT.encoder_loss.pkl"}' in dump.command(tmp_path)
    assert f'--output_dir={tmp_path / dump.needs[0].folder}' in dump.needs[0].command(tmp_path)


def test_the_teachers_state_of_lowest_loss_is_kept_however_high_it_is():
    """That of regression is in the labels' unit, squared, which a task of one's own may have in thousands."""
    with own_tables():
        add_task(replace(find_task('STS-B'), name='Warmth', definition={'file': 'warmth.json'}))
        for task, bound in {'MRPC': '100', 'STS-B': '100', 'Warmth': '1e30'}.items():
            assert _keep_best_loss(Cell(task, 'pkd', 'pkd', 3, 1, ())) == {'saving_criterion_loss': bound}


def shared(kind, **changes):
    """How many stages of a kind the cells of a grid have."""
    return len({stage.need(kind).folder for stage in plan(**changes).values()})


def test_what_is_shared():
    axes = parse_axes(['alpha=0.5,0.7', 'ptp.learning_rate=1e-5,2e-5'])
    changes = {'methods': ('ptp', 'sps+ptp'), 'seeds': (1, 2, 3), 'layers': (1, 2), 'axes': axes}
    assert len(plan(**changes)) == 2 * 3 * 2 * 4
    assert shared('teacher', **changes) == shared('dump', **changes) == 1
    assert shared('ptp', **changes) == 2 * 3 * 2 * 2
    assert shared('teacher', axes=parse_axes(['teacher.learning_rate=1e-5,2e-5'])) == 2
    assert shared('teacher', axes=parse_axes(['max_seq_length=64,128'])) == 2      # how rows are read holds for all
    assert shared('teacher', axes=parse_axes(['train_batch_size=16,32'])) == 1


def test_equal_settings_are_one_cell():
    assert len(plan(axes=parse_axes(['learning_rate=5e-5,0.00005,1e-4']))) == 2
    default, same = only(), only(fixed=parse_fixed(['alpha=0.7']))
    assert default.folder == same.folder
    assert len({only().folder, only(teacher_seed=2).folder, only(teacher_checkpoint='loss').folder, only(base='kd').folder,
                only(marks={'MRPC': 'other rows'}).folder}) == 4                 # base has no effect on pkd
    assert only(teacher_checkpoint='loss').need('teacher').folder == only().need('teacher').folder


def test_a_new_flag_with_a_default_leaves_runs_what_they_are(monkeypatch):
    old = [stage.folder for stage in plan(methods=tuple(METHODS)).values()]
    monkeypatch.setattr(argument_parser, 'FLAGS', [*argument_parser.FLAGS, argument_parser.Flag(
        'novelty', float, 0.5, argument_parser.EVERY, 'for a test')])
    assert [stage.folder for stage in plan(methods=tuple(METHODS)).values()] == old
    assert len({folder.name.rpartition('_')[2] for folder in old}) == len(METHODS)


def test_constants_that_users_edit_make_other_runs(monkeypatch):
    """Thresholds those of PTP, which layers run twice all that share layers; none a teacher."""
    def folders():
        return {stage.name: stage.folder for student in plan(methods=tuple(METHODS)).values()
                for stage in (student, student.need('ptp'), student.need('teacher')) if stage}

    def changed():
        return {name for name, folder in folders().items() if folder != before[name]}
    before = folders()
    monkeypatch.setitem(nli_data_processing.PTP_THRESHOLDS, 'mrpc', (0.9, 0.7))
    assert changed() == {'ptp_3layer_seed1', 'sps+ptp_3layer_seed1', 'Original_3layer_seed1', 'SPS_3layer_seed1'}
    assert only(methods=('sps+ptp',), fixed=parse_fixed(['ptp.ptp_threshold=median'])).need('ptp').constants.keys() == {
        'REPEATED_LAYERS'}                                          # where the flag says all, the table has no part
    [student] = plan(methods=('sps+ptp',)).values()
    assert setting_columns(student)['ptp.PTP_THRESHOLDS'] == '[0.9, 0.7]'          # two settings of results.csv, not one
    monkeypatch.setitem(nli_data_processing.PTP_THRESHOLDS, 'mrpc', (0.95, 0.75))
    assert changed() == set()
    monkeypatch.setitem(modeling.REPEATED_LAYERS, 3, [1, 2])
    assert changed() == {'sps_3layer_seed1', 'sps_no_shuffle_3layer_seed1', 'sps+ptp_3layer_seed1', 'SPS_3layer_seed1'}


@pytest.mark.parametrize('method', ['ft', 'sps+ptp'])
def test_settings_are_the_recommended_ones(method):
    """Of each stage that trains; MRPC's teacher and what else is fine-tuned there learn without dropout."""
    of_ft, of_ptp, of_pkd = (2e-5, 0.0, 6), (1e-5, None, None), (5e-5, None, None)      # rate, dropout, eval_every
    expected = {'ft': {'student': of_ft}, 'sps+ptp': {'student': of_pkd, 'ptp': of_ptp, 'teacher': of_ft}}[method]
    for recommended in (True, False):
        student = only(recommended=recommended, bert_model='minilm-l6', methods=(method,))
        stages = {stage.kind: stage.arguments for stage in (student, student.need('ptp'), student.need('teacher')) if stage}
        found = {kind: (args.learning_rate, args.dropout, args.eval_every) for kind, args in stages.items()}
        assert found == (expected if recommended else dict.fromkeys(expected, (2e-5, None, None)))


def test_one_precision_in_two_spellings_is_one_setting():
    stages = [only(fixed=parse_fixed([spelling])) for spelling in ('precision=fp16', 'fp16=True')]
    assert stages[0].folder == stages[1].folder and setting_columns(stages[0]) == setting_columns(stages[1])
    assert setting_columns(stages[0])['student.precision'] == 'fp16' and 'student.fp16' not in setting_columns(stages[0])


def test_a_dump_leaves_nothing_to_constants():
    assert given(only().need('dump'))['all_layers'] == 'True'


def test_where_a_student_starts_is_for_ptp_to_say():
    fixed = parse_fixed(['layer_initialization=2,4,6'])
    assert given(only(fixed=fixed))['layer_initialization'] == '2,4,6'
    student = only(methods=('ptp',), fixed=fixed)
    assert 'layer_initialization' not in given(student)
    assert given(student.need('ptp'))['layer_initialization'] == '2,4,6'


def test_a_wiring_in_place_of_the_methods():
    student = only(methods=('sps+ptp',), fixed=parse_fixed(['passes=1,2,3,1x']))
    for stage in (student, student.need('ptp')):
        assert given(stage)['passes'] == '1,2,3,1x' and 'model_type' not in given(stage)
    assert student.need('ptp').result.name == 'PTP.passes_1-2-3-1x_3layer.encoder.pkl'


def test_a_wiring_of_none_is_the_methods():
    """As one value of an axis among others, and for its PTP too."""
    of_none, other = plan(methods=('sps+ptp',), axes=parse_axes(['passes=None;1,2,3,1x'])).values()
    for stage in (of_none, of_none.need('ptp')):
        assert (stage.arguments.model_type, stage.arguments.passes) == ('SPS', None)
    assert of_none.folder == only(methods=('sps+ptp',)).folder and other.arguments.passes == '1,2,3,1x'


def test_a_holdout_is_for_all_runs_that_train():
    student = only_unparsed(methods=('sps+ptp',), common={'holdout': '0.1'})
    holdouts = {stage.kind: given(stage).get('holdout') for stage in
                (student, student.need('ptp'), student.need('teacher'), student.need('dump'))}
    assert holdouts == {'student': '0.1', 'ptp': '0.1', 'teacher': '0.1', 'dump': None}


def only_unparsed(**changes):
    chosen = grid(**changes)
    return student_stage(chosen, grid_cells(chosen)[0])


def test_columns_are_the_settings_that_differ_from_defaults():
    fixed = parse_fixed(['alpha=0.7', 'T=5', 'fc_layer_idx=1,3,5,5,5', 'max_seq_length=64', 'ptp.learning_rate=1e-5',
                         'teacher.num_train_epochs=3'])
    student = only(methods=('sps+ptp',), fixed=fixed, teacher_checkpoint='final')
    assert setting_columns(student) == {
        'student.bert_model': 'tiny', 'student.teacher_hidden_layers': '6', 'student.T': '5.0', 'teacher.train_seed': '1',
        'student.fc_layer_idx': '1,3,5,5,5', 'student.max_seq_length': '64', 'ptp.learning_rate': '1e-05',
        'teacher.num_train_epochs': '3.0', 'teacher.checkpoint': 'final', 'ptp.PTP_THRESHOLDS': '[0.95, 0.75]',
        'student.REPEATED_LAYERS': '[[0, false], [1, false], [2, false], [0, true], [1, true], [2, true]]'}


@pytest.mark.parametrize('fixed, axis, columns', [
    (['precision=fp32'], 'teacher.precision=auto,fp32', [{'teacher.precision': 'auto'}, {}]),
    (['eval_batch_size=64'], 'ptp.eval_batch_size=32,64', [{'ptp.eval_batch_size': '32'}, {}])])
def test_what_a_stage_does_not_inherit_has_a_column_though_it_be_the_default(fixed, axis, columns):
    stages = plan(methods=('sps+ptp',), fixed=parse_fixed(fixed), axes=parse_axes([axis])).values()
    found = [setting_columns(stage) for stage in stages]
    assert len({stage.folder for stage in stages}) == 2
    assert [{name: value for name, value in of_one.items() if name.startswith(axis.partition('=')[0])}
            for of_one in found] == columns


def test_what_auto_comes_to_in_fp32_is_a_setting(monkeypatch):
    """Else rows of machines with and without bf16 would pass for runs of one kind."""
    named = set()
    for fast in (True, False):
        monkeypatch.setattr('src.utils.has_fast_bf16', lambda device, fast=fast: fast)
        auto, fp32 = (only(methods=('sps+ptp',), teacher_folds=3, fixed=parse_fixed(words))
                      for words in ([], ['precision=fp32']))
        columns = [setting_columns(stage) for stage in (auto, fp32)]
        assert columns[1]['student.precision'] == 'fp32' and (columns[0] == columns[1]) != fast
        assert (auto.folder == fp32.folder) != fast
        for stage in (fp32, *map(fp32.need, ('teacher', 'dump', 'ptp'))):
            assert '--precision=fp32' in stage.flags
        named.add(fp32.folder)
    assert len(named) == 1


def test_wrong_values_are_told_before_anything_runs():
    with pytest.raises(InputError, match='--T 0.0'):
        plan(fixed=parse_fixed(['T=0']))


# Real runs


@pytest.fixture(scope='module')
def compared(make_workspace):
    """A workspace in which a comparison has run, each stage in a process of its own."""
    workspace = make_workspace()
    outcome = workspace.run(BENCHMARK, *BOTH)
    assert outcome.code == 0, outcome.err
    return workspace, outcome


def folder_of(workspace):
    return workspace.outputs / 'compare'


def rows_of(workspace):
    with open(folder_of(workspace) / 'results.csv', newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


def table_of(workspace):
    """The rows but for what a clock says, by run."""
    return {row['run']: {name: value for name, value in row.items() if name not in CLOCK} for row in rows_of(workspace)}


def test_one_row_a_cell(compared):
    rows = {row['method']: row for row in rows_of(compared[0])}
    assert list(rows) == ['pkd', 'sps+ptp']
    for method, passes in (('pkd', '1'), ('sps+ptp', '2')):
        row, record = rows[method], json.loads((folder_of(compared[0]) / rows[method]['run'] / 'run.json').read_text())
        assert (row['task'], row['base'], row['layers'], row['passes'], row['seed']) == ('MRPC', 'pkd', '1', passes, '1')
        assert (row['error'], row['metric'], int(row['parameters'])) == ('', 'f1', record['parameters'])
        for kind in ('dev_best', 'dev_last'):
            assert {f'{kind}_{name}': str(value) for name, value in record[kind].items()}.items() <= row.items()
        assert float(row['seconds']) >= record['seconds_training'] and int(row['sentences_a_second']) > 0
        assert row['student.learning_rate'] == '0.001' and row['teacher.num_train_epochs'] == '2.0'
        assert row['ptp_acc'] == row['ptp_majority_acc'] == '' or method == 'sps+ptp'
    ptp = json.loads(next(folder_of(compared[0]).rglob('PTP.*/run.json')).read_text())
    assert float(rows['sps+ptp']['ptp_acc']) == ptp['dev_last']['acc']
    assert float(rows['sps+ptp']['ptp_majority_acc']) == max(ptp['ptp_counts']['dev'].values()) / 30
    assert (rows['pkd']['ptp.num_train_epochs'], rows['sps+ptp']['ptp.num_train_epochs']) == ('', '1.0')
    assert '2/2' in compared[1].err


def test_shared_stages_are_made_once_and_leave_logs(compared):
    logs = sorted(folder_of(compared[0]).rglob(LOG))
    assert len(logs) == 5
    for log in logs:
        assert log.read_text().startswith('$ python ')


def test_the_best_runs_weights_stay(compared):
    workspace = compared[0]
    scores = {row['run']: float(row['dev_best_f1']) for row in rows_of(workspace)}
    kept = [run for run in scores if list((folder_of(workspace) / run).glob('BERT.*.pkl'))]
    assert len(kept) == 1 and scores[kept[0]] == max(scores.values())
    assert best_saved(folder_of(workspace) / kept[0])


def test_stopped_and_killed_and_side_by_side(compared, tmp_path):
    """Neither Ctrl-C nor SIGKILL leaves a process behind; the same command, two jobs at a time, ends in the same table."""
    workspace = compared[0].copy(tmp_path)
    root = folder_of(workspace)
    shutil.rmtree(root)
    assert stop(workspace, 'teachers/*/*/log.txt', signal.SIGINT) == 130
    assert stop(workspace, 'runs/*/*/train_log.txt', signal.SIGKILL) == -signal.SIGKILL
    half = table_of(workspace) if (root / 'results.csv').is_file() else {}
    assert half.items() <= table_of(compared[0]).items()
    outcome = workspace.run(BENCHMARK, *BOTH, '--jobs', '2')
    assert outcome.code == 0, outcome.err
    assert table_of(workspace) == table_of(compared[0])


def stop(workspace, sign, how):
    """Start the comparison, send it a signal once a file is there, and return its exit code."""
    root = folder_of(workspace)
    command = [sys.executable, str(ROOT / BENCHMARK), *BOTH, '--jobs', '2']
    # A shell starts what runs in its background with SIGINT ignored, and these tests may run there.
    process = subprocess.Popen(command, env=os.environ | workspace.variables, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    deadline = time.time() + 300
    while not list(root.glob(sign)) and process.poll() is None and time.time() < deadline:
        time.sleep(0.02)
    there = bool(list(root.glob(sign)))
    process.send_signal(how)
    code = process.wait()
    until = time.time() + 30                 # for the kernel to end its children
    while [pid for pid in os.listdir('/proc') if pid.isdecimal() and str(root) in command_line(pid)]:
        assert time.time() < until, 'its children go on'
        time.sleep(0.1)
    assert there, sign
    return code


def command_line(pid):
    try:
        with open(f'/proc/{pid}/cmdline', encoding='utf-8', errors='replace') as file:
            return file.read()
    except OSError:
        return ''


# Runs in this process


@pytest.fixture
def again(compared, tmp_path):
    """A copy of what `compared` has done."""
    return compared[0].copy(tmp_path)


def compare(workspace, *flags, methods=None):
    """The comparison of `compared`, or one of other methods."""
    return workspace.call(BENCHMARK, *(BOTH if methods is None else (*FLAGS, '--methods', methods)), *flags)


def compare_ft(workspace, *flags):
    """The comparison of fine-tuned students alone, which need no teacher: its settings would be idle."""
    return workspace.call(BENCHMARK, *FLAGS[:FLAGS.index('--set')], '--methods', 'ft', '--set', *BRIEF[:3], *flags)


def test_a_second_start_does_nothing(again, calls):
    before = again.tree()
    outcome = compare(again)
    assert outcome.code == 0 and calls == [], outcome.err
    assert again.tree() == before


def test_only_what_is_missing_is_done(again, calls):
    wanted, rows = table_of(again), rows_of(again)
    results = folder_of(again) / 'results.csv'
    results.write_text('\n'.join(line for line in results.read_text().splitlines() if rows[0]['run'] not in line) + '\n')
    assert compare(again).code == 0 and calls == []            # its run is there: a row was missing
    assert table_of(again) == wanted
    (folder_of(again) / rows[1]['run'] / 'run.json').unlink()
    assert compare(again).code == 0 and calls == [TRAIN]       # as a run that was stopped half-way
    assert table_of(again) == wanted
    assert compare(again, '--seeds', '1,2', methods='pkd').code == 0 and calls == [TRAIN] * 2
    assert set(wanted) < set(table_of(again))


def test_other_rows_other_runs(again, calls):
    path = again.glue / 'MRPC' / 'train.tsv'
    path.write_text('\n'.join(path.read_text().splitlines()[:40]) + '\n')
    kept = {path.parent for path in folder_of(again).glob('runs/*/*/BERT.*.pkl')}
    assert compare(again, methods='pkd').code == 0 and calls == [TRAIN, TEACHER, TRAIN]
    old, same, new = rows_of(again)
    assert old['data'] == same['data'] != new['data']
    assert {path.parent for path in folder_of(again).glob('runs/*/*/BERT.*.pkl')} == kept | {folder_of(again) / new['run']}


def test_marks_tell_every_file_that_runs_read(make_workspace):
    workspace = make_workspace(tasks=('MNLI',))
    files = [workspace.glue / 'MNLI' / f'{name}.tsv' for name in ('train', 'dev_matched', 'dev_mismatched')]
    marks = []
    with workspace.active():
        for changed in (None, *files):
            if changed:
                shutil.copyfile(workspace.glue / 'MNLI' / 'test_matched.tsv', changed)
            marks.append(source_marks(('MNLI',), 'tiny')['MNLI'])
    assert len(set(marks)) == 4


def test_marks_tell_how_words_are_read(workspace):
    """As a file beside the vocabulary has it; one that says what is so without it changes nothing."""
    marks = []
    with workspace.active():
        for rules in (None, {'do_lower_case': True}, {'do_lower_case': False}):
            if rules:
                (workspace.models / 'tiny' / 'tokenizer_config.json').write_text(json.dumps(rules))
            marks.append(source_marks(('MRPC',), 'tiny')['MRPC'])
    assert marks[0] == marks[1] != marks[2] and marks[2].startswith(marks[0])


def test_a_failed_cell_is_a_row(workspace, calls):
    """A teacher layer to match, and a student of one pass that has none to match it with."""
    flags = ('--set', 'fc_layer_idx=0', '--seeds', '1,2')
    outcome = compare(workspace, *flags, methods='pkd,sps')
    assert outcome.code == 1 and '4 cells, 2 failed' in outcome.out
    for row in rows_of(workspace):
        failed = row['method'] == 'pkd'
        assert row['error'].startswith('--fc_layer_idx 0 names 1 teacher layers') == failed
        assert (row['dev_best_f1'] == '') == failed
        assert (str(folder_of(workspace) / row['run'] / LOG) in outcome.out) == failed
    calls.clear()
    assert compare(workspace, *flags, '--no-retry_failed', methods='pkd,sps').code == 1 and calls == []
    assert compare(workspace, *flags, methods='pkd,sps').code == 1 and calls == [TRAIN] * 2
    assert len(rows_of(workspace)) == 4


def test_a_failed_stage_fails_its_cells_alone_and_is_tried_again(workspace, calls, monkeypatch):
    import PTP as ptp_script
    with monkeypatch.context() as patch:
        patch.setattr(ptp_script, 'label_splits', lambda *_: (_ for _ in ()).throw(InputError('no labels')))
        assert compare(workspace, methods='ft,ptp').code == 1
    errors = {row['method']: row['error'] for row in rows_of(workspace)}
    assert errors == {'ft': '', 'ptp': 'ptp Original_1layer_seed1: no labels'}
    calls.clear()
    assert compare(workspace, methods='ft,ptp').code == 0 and calls == [PTP, TRAIN]
    assert {row['error'] for row in rows_of(workspace)} == {''}


@pytest.mark.parametrize('keep, weights, encoders', [('all', 2, 1), ('best', 1, 1), ('none', 0, 0)])
def test_weights_to_keep(workspace, calls, keep, weights, encoders):
    assert compare(workspace, '--keep_weights', keep).code == 0
    root = folder_of(workspace)
    assert len(list(root.glob('runs/*/*/BERT.encoder_acc.pkl'))) == weights
    assert len(list(root.glob('ptp/*/*/PTP.*.encoder.pkl'))) == encoders
    assert len(list(root.glob('teachers/*/*/BERT.encoder*.pkl'))) == 3


def test_weights_of_other_comparisons_stay(workspace, calls):
    assert compare(workspace, '--keep_weights', 'all', methods='pkd').code == 0
    assert compare(workspace, '--keep_weights', 'none', '--seeds', '2', methods='pkd').code == 0
    kept = folder_of(workspace).glob('runs/*/*/BERT.encoder.pkl')
    assert [path.parent.name.rpartition('_')[0] for path in kept] == ['pkd_1layer_seed1']


def test_the_error_of_a_stage_is_that_of_its_last_call(tmp_path):
    """A stage that went on has what was printed before in its log too."""
    log = tmp_path / LOG
    log.write_text(f'{CALL}a.py\nerror: the loss is not finite\n{CALL}a.py --resume\nTraceback\nMemoryError: none left\n')
    assert _error(log, 1) == 'MemoryError: none left'
    log.write_text(f'{log.read_text()}{CALL}a.py --resume\nerror: no such file\nmore\n')
    assert _error(log, 2) == 'no such file' and _error(log, -9) == 'killed by SIGKILL'


def test_a_row_that_cannot_be_made_is_an_error(workspace, calls, monkeypatch):
    monkeypatch.setattr(compare_module, 'scores_of', lambda record: 1 // 0)
    outcome = compare(workspace, methods='pkd')
    assert outcome.code == 1 and 'ZeroDivisionError' in outcome.out
    assert rows_of(workspace)[0]['error'].startswith('ZeroDivisionError')


def test_a_speed_that_cannot_be_measured_is_an_empty_cell(workspace, calls, monkeypatch):
    monkeypatch.setattr(compare_module, 'sentences_a_second', lambda folder: 1 // 0)
    outcome = compare_ft(workspace)
    assert outcome.code == 0 and 'ZeroDivisionError' in outcome.out
    assert (rows_of(workspace)[0]['error'], rows_of(workspace)[0]['sentences_a_second']) == ('', '')


def forget_speeds(workspace):
    """As after a stop between the end of students and the measurement of their speeds."""
    path = folder_of(workspace) / 'results.csv'
    pd.read_csv(path, dtype=str, keep_default_na=False).assign(sentences_a_second='').to_csv(path, index=False)
    for kept in folder_of(workspace).glob(f'runs/*/*/{SPEED_FILE}'):
        kept.unlink()


def test_its_best_student_is_submitted_and_evaluated(again, tmp_path):
    """The only one whose weights are there; a better run elsewhere goes before it."""
    again.succeed(BENCHMARK, '--mode', 'evaluate', '--output_dir', tmp_path / 'out')
    [scores] = pd.read_csv(tmp_path / 'out' / 'dev_scores.csv').to_dict('records')
    row = max(rows_of(again), key=lambda row: float(row['dev_best_f1']))
    assert scores['run'] == f'compare/{row["run"]}' and scores['f1'] == float(row['dev_best_f1'])
    assert row['run'] in again.succeed(BENCHMARK, '--mode', 'submit', '--output_dir', tmp_path / 'out').out
    assert len((tmp_path / 'out' / 'MRPC.tsv').read_text().splitlines()) == 21
    better = again.outputs / 'PeaKD' / 'MRPC' / 'better'
    shutil.copytree(folder_of(again) / row['run'], better)
    record = json.loads((better / 'run.json').read_text())
    record['dev_saved']['f1'] += 0.01
    (better / 'run.json').write_text(json.dumps(record))
    assert f'from {better}' in again.succeed(BENCHMARK, '--mode', 'submit', '--output_dir', tmp_path / 'out').out


def test_missing_speeds_are_measured_without_training_again(again, calls):
    """Where the weights are still there, which `compared` has kept of its best student alone."""
    wanted = table_of(again)
    forget_speeds(again)
    assert compare(again).code == 0 and calls == []
    kept = {str(path.parent.relative_to(folder_of(again))) for path in folder_of(again).glob('runs/*/*/BERT.*.pkl')}
    assert {row['run'] for row in rows_of(again) if row['sentences_a_second']} == kept and len(kept) == 1
    assert table_of(again) == wanted


@pytest.mark.parametrize('damaged', [b'', b'fast', b'12\xff', b'-3'])
def test_a_speed_that_is_no_number_was_not_measured(tmp_path, damaged):
    (tmp_path / 'run.json').write_text('{}')
    (tmp_path / SPEED_FILE).write_bytes(b'123')
    assert kept_speed(tmp_path) == 123
    (tmp_path / SPEED_FILE).write_bytes(damaged)
    assert kept_speed(tmp_path) is None


def test_speeds_are_measured_while_nothing_else_runs(workspace, monkeypatch):
    """Of stages side by side, the later ones wait until the speeds of so many students are known."""
    events, lock = [], threading.Lock()

    def note(what):
        with lock:
            events.append(what)

    def run(self, stage):
        note('start')
        (self.root / stage.folder).mkdir(parents=True)
        (self.root / stage.folder / 'run.json').write_text('{}')
        (self.root / stage.folder / 'BERT.encoder.pkl').touch()
        (self.root / stage.folder / 'BERT.cls.pkl').touch()
        note('end')
    monkeypatch.setattr(StageRunner, '__call__', run)
    monkeypatch.setattr(compare_module, 'UNMEASURED', 2)
    monkeypatch.setattr(compare_module, 'finished_columns', lambda stage, root: {
        'metric': 'f1', 'dev_best_f1': 0.5, 'sentences_a_second': None})
    monkeypatch.setattr(compare_module, 'sentences_a_second', lambda folder: note('measure') or 7)
    assert compare_ft(workspace, '--jobs', '2', '--seeds', '1,2,3,4,5').code == 0
    for number, what in enumerate(events):
        assert what != 'measure' or events[:number].count('start') == events[:number].count('end')
    assert events.count('measure') == 5 and events.index('measure') < 10
    assert [row['sentences_a_second'] for row in rows_of(workspace)] == ['7'] * 5
    assert len(list(folder_of(workspace).glob('runs/*/*/BERT.cls.pkl'))) == 1


def test_seconds_of_a_ptp_that_is_gone_are_an_empty_cell(again, calls):
    shutil.rmtree(folder_of(again) / 'ptp')
    path = folder_of(again) / 'results.csv'
    path.write_text('\n'.join(line for line in path.read_text().splitlines() if 'sps+ptp' not in line) + '\n')
    assert compare(again).code == 0 and calls == []
    assert {row['method']: row['seconds'] == '' for row in rows_of(again)} == {'pkd': False, 'sps+ptp': True}
    again.succeed(BENCHMARK, '--mode', 'summary')


def test_a_stage_that_cannot_start_fails_its_cells_alone(workspace, calls, monkeypatch):
    run = StageRunner._run

    def full_once(self, words, log):
        if calls:
            return run(self, words, log)
        calls.append('')
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(StageRunner, '_run', full_once)
    assert compare_ft(workspace, '--seeds', '1,2').code == 1
    assert [row['error'] for row in rows_of(workspace)] == [f'OSError: [Errno {errno.ENOSPC}] No space left on device', '']


def test_the_script_can_be_imported_on_windows(monkeypatch):
    monkeypatch.setattr(sys, 'platform', 'win32')
    monkeypatch.setattr(ctypes, 'CDLL', None)
    monkeypatch.delattr(signal, 'SIGKILL')
    monkeypatch.setitem(sys.modules, 'fcntl', None)
    for name in (BENCHMARK.removesuffix('.py'), 'src.compare', 'src.run_lock', 'src.stage_runner'):
        monkeypatch.delitem(sys.modules, name)
    importlib.import_module(BENCHMARK.removesuffix('.py'))


def test_the_teachers_checkpoint(workspace, calls):
    assert compare(workspace, '--teacher_checkpoint', 'loss', methods='pkd').code == 0
    results = next(folder_of(workspace).glob('teachers/*/*/results.pkl'))
    assert TeacherOutputs.open(results).metadata['teacher'] == 'BERT.encoder_loss.pkl'
    assert rows_of(workspace)[0]['teacher.checkpoint'] == 'loss'


def test_one_compare_at_a_time(again, calls):
    with open(folder_of(again) / '.lock', 'w') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        outcome = compare(again)
    assert outcome.code == 2 and 'another process is at work' in outcome.err


@pytest.mark.parametrize('flag', [
    ('--base', 'kd'), ('--base', 'pkd'), ('--teacher_seed', 1), ('--teacher_checkpoint', 'acc'), ('--teacher_layers', 2),
    ('--teacher_folds', 3)], ids=str)
def test_flags_that_no_method_heeds_are_refused(workspace, calls, flag):
    outcome = compare_ft(workspace, *flag)
    assert outcome.code == 2 and calls == [] and outcome.out == ''
    assert f'error: {flag[0]} {flag[1]} has no effect on any of --methods ft: it is for ' in outcome.err


@pytest.mark.parametrize('flags, said', [
    (('--tasks', 'nonsense'), 'CoLA, SST-2, MRPC'), (('--tasks', 'RTE'), 'RTE'),
    (('--methods', 'pkd,tkd'), 'sps_no_shuffle'), (('--layers', '0'), '--layers'),
    (('--seeds', 'x'), '--seeds'), (('--jobs', '0'), '--jobs'),
    (('--grid', 'T=0,1'), '--T 0.0'), (('--grid', 'nonsense=1'), 'nonsense'), (('--nonsense', '1'), '--nonsense'),
    (('--bert_model', 'missing'), '--bert_model'), (('--layers', '3'), '--layers 3: the checkpoint tiny has 2 layers')])
def test_wrong_flags(workspace, calls, flags, said):
    outcome = workspace.call(BENCHMARK, *FLAGS, *flags)
    assert outcome.code == 2 and said in outcome.err and len(outcome.err.splitlines()) == 1, outcome.err
    assert calls == [] and not list(workspace.outputs.rglob('results.csv'))


def test_a_results_file_of_something_else(workspace, tmp_path):
    path = tmp_path / 'results.csv'
    path.write_text('a,b\n1,2\n')
    with pytest.raises(InputError, match='results.csv of --mode compare'):
        Results(path)


def test_what_a_holdout_adds_to_a_row():
    best, last, dev = ({'acc': value, 'global_step': 7} for value in (.9, .8, .7))
    record = {'holdout_best': best, 'holdout_last': last, 'holdout_saved': best, 'dev_saved': dev,
              'dev_also': {'MNLI-mm': {'acc': .6}}}
    assert scores_of(record) == {
        'holdout_best_acc': .9, 'holdout_best_global_step': 7, 'holdout_last_acc': .8, 'holdout_last_global_step': 7,
        'dev_saved_acc': .7, 'dev_saved_global_step': 7, 'MNLI-mm_acc': .6}
    assert scores_of({'dev_best': best, 'dev_last': last, 'dev_saved': dev}).keys() == {
        'dev_best_acc', 'dev_best_global_step', 'dev_last_acc', 'dev_last_global_step'}
    row = {'metric': 'acc', 'holdout_best_acc': '0.9', 'dev_best_acc': '', 'dev_saved_acc': '0.7'}
    assert choosing_score(row) == 0.9 and choosing_score(row | {'holdout_best_acc': '', 'dev_best_acc': '0.5'}) == 0.5
    assert choosing_score({'metric': 'acc', 'dev_best_acc': ''}) == -math.inf


def test_stopping_ends_what_runs(tmp_path, monkeypatch):
    (tmp_path / 'sleep.py').write_text('import time; time.sleep(60)')
    monkeypatch.setattr(envs, 'PROJECT_FOLDER', tmp_path)
    runner, codes = StageRunner(tmp_path, 1), []
    with open(tmp_path / LOG, 'w', encoding='utf-8') as log:
        thread = threading.Thread(target=lambda: codes.append(runner._run(['sleep.py'], log)))
        with pytest.raises(KeyboardInterrupt), runner:
            thread.start()
            while not runner.running:
                time.sleep(0.01)
            raise KeyboardInterrupt
        thread.join(10)
        assert codes == [-signal.SIGTERM]
        assert runner._run(['sleep.py'], log) == -signal.SIGKILL      # none is started afterwards


def test_a_process_that_does_not_stop_is_killed(tmp_path, monkeypatch):
    (tmp_path / 'deaf.py').write_text('import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n'
                                      'open("deaf", "w"); time.sleep(60)')
    monkeypatch.setattr(envs, 'PROJECT_FOLDER', tmp_path)
    monkeypatch.setattr(sys.modules['src.stage_runner'], 'SECONDS_TO_STOP', 0.2)
    monkeypatch.chdir(tmp_path)
    runner, codes = StageRunner(tmp_path, 1), []
    with open(tmp_path / LOG, 'w', encoding='utf-8') as log:
        thread = threading.Thread(target=lambda: codes.append(runner._run(['deaf.py'], log)))
        with runner:
            thread.start()
            while not (tmp_path / 'deaf').exists():
                time.sleep(0.01)
        thread.join(10)
    assert codes == [-signal.SIGKILL]


def test_a_stopped_stage_goes_on(again, calls, monkeypatch):
    """From its training state; from the start where that is of another version."""
    wanted, run = table_of(again), rows_of(again)[0]['run']
    folder = folder_of(again) / run
    train = Trainer._train_step

    def stop_in_the_middle():
        """As Ctrl-C leaves a stage."""
        (folder / 'run.json').unlink()
        with monkeypatch.context() as patch:
            patch.setattr(StageRunner, '_run', lambda self, words, log: importlib.import_module(TRAIN[:-3]).main(words[1:]))
            patch.setattr(Trainer, '_train_step', stopping)
            assert compare(again, methods='pkd').code == 130
        assert (folder / 'training_state.pt').is_file() and not (folder / 'run.json').exists()

    def stopping(trainer, rows):
        os.kill(os.getpid(), signal.SIGINT)
        return train(trainer, rows)
    steps = []
    monkeypatch.setattr(Trainer, '_train_step', lambda trainer, rows: (steps.append(trainer.steps), train(trainer, rows))[1])
    for version, first in ((code_marks, 1), (lambda: {'src/training.py': 'another'}, 0)):
        stop_in_the_middle()
        steps.clear()
        monkeypatch.setattr('src.runs.code_marks', version)
        assert compare(again, methods='pkd').code == 0
        assert steps[0] == first and not (folder / 'training_state.pt').exists()
        assert table_of(again) == wanted


@pytest.mark.skipif(sys.platform != 'linux', reason='prctl is Linux')
def test_a_process_whose_parent_is_gone_already_ends():
    assert subprocess.run(['true'], preexec_fn=partial(_end_with, 0)).returncode == -signal.SIGKILL


# Teachers in one go


def test_teacher_mode_writes_what_the_script_writes(workspace, tmp_path):
    workspace.add_teacher()
    workspace.succeed(TEACHER, '--bert_model', 'tiny', '--teacher_hidden_layers', 2, '--precision', 'fp32')
    wanted = workspace.result_file().read_bytes()
    workspace.result_file().unlink()
    workspace.succeed(BENCHMARK, '--mode', 'teacher', '--tasks', 'mrpc', '--teacher_hidden_layers', 2, '--bert_model',
                      'tiny', '--precision', 'fp32')
    assert workspace.result_file().read_bytes() == wanted


@pytest.mark.parametrize('flags, said', [(('--teacher_prediction', 'x.pkl'), '--teacher_prediction'),
                                         (('--nonsense', '1'), '--nonsense'), (('--tasks', 'x'), "'x'")])
def test_teacher_mode_checks_its_flags_first(workspace, flags, said):
    outcome = workspace.call(BENCHMARK, '--mode', 'teacher', '--teacher_hidden_layers', '1,2', *flags)
    assert outcome.code == 2 and said in outcome.err


def test_every_mode_has_help(capsys):
    for mode in run_glue_benchmark.MODES:
        with pytest.raises(SystemExit) as stop:
            run_glue_benchmark.main(['--mode', mode, '--help'])
        assert stop.value.code == 0 and '--mode' in capsys.readouterr().out
