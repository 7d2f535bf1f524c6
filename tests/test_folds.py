"""Labels from teachers that have not learnt the rows: folds of train, and result files joined over them."""
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import write_task
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from test_compare import grid, plan

from BERT.pytorch_pretrained_bert.file_utils import InputError
from src import objective
from src.argument_parser import PTP, TEACHER, TRAIN, parse
from src.data_processing import fold_rows, hold_out
from src.grid import check_grid, parse_axes, parse_fixed
from src.joined_outputs import join_folds
from src.nli_data_processing import PTP_CLASSES, ptp_labels
from src.stages import setting_columns
from src.teacher_outputs import TeacherOutputs

K, ROWS = 3, 60
HOLDOUT = ('--holdout', 0.2, '--holdout_seed', 5)
TEACHER_FLAGS = ('--bert_model', 'tiny', '--teacher_hidden_layers', 2, '--precision', 'fp32')
FIT = (*TEACHER_FLAGS, '--learning_rate', '1e-3', '--train_batch_size', 8, '--num_train_epochs', 1)


# Which rows are in a fold


@given(st.lists(st.integers(6, 60), min_size=1, max_size=4), st.integers(2, 6), st.integers(0, 2**63 - 1))
def test_folds_are_stratified_disjoint_and_complete(sizes, folds, seed):
    """Of any rows; of all rows the first fold is what hold_out draws."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(len(sizes)) + 3, sizes))
    rows = np.arange(len(labels))
    assert np.array_equal(fold_rows(labels, rows, f'1/{folds}', seed), hold_out(labels, 1 / folds, seed)[1])
    some = np.concatenate([np.flatnonzero(labels == label)[:6] for label in np.unique(labels)])
    for chosen in (rows, np.sort(some)):
        parts = [fold_rows(labels, chosen, f'{number}/{folds}', seed) for number in range(1, folds + 1)]
        assert sorted(np.concatenate(parts)) == chosen.tolist()
        for part in parts:
            assert (np.diff(part) > 0).all()
            for label in np.unique(labels):
                assert abs((labels[part] == label).sum() - (labels[chosen] == label).sum() / folds) < 2


def test_folds_need_a_row_of_each_class():
    labels = np.repeat([0, 1], [90, 4])
    assert (labels[fold_rows(labels, np.arange(94), '4/4', 0)] == 1).sum() == 1
    with pytest.raises(InputError, match='--fold 2/5: .* the smallest has 4 row'):
        fold_rows(labels, np.arange(94), '2/5', 0)


# Teachers of folds, their files, and the file that joins them


@pytest.fixture(scope='module')
def folded(make_workspace):
    """(workspace with the teachers and result files of all folds under a holdout, rows that each teacher has learnt)."""
    workspace, learnt, call = make_workspace(), {}, objective.Objective.__call__
    for fold in range(1, K + 1):
        seen = learnt[fold] = set()

        def spy(learnt_from, rows, *outputs, seen=seen):
            seen.update(rows.tolist())
            return call(learnt_from, rows, *outputs)
        objective.Objective.__call__ = spy
        try:
            workspace.succeed(TRAIN, *FIT, *HOLDOUT, '--fold', f'{fold}/{K}', '--train_seed', 1)
        finally:
            objective.Objective.__call__ = call
        folder = workspace.outputs / 'KD' / 'MRPC' / f'teacher_2layer_fold{fold}of{K}'
        save(workspace, folder, workspace.folder / f'{fold}.pkl')
    return workspace, learnt


def save(workspace, teacher, path, *flags):
    workspace.succeed(TEACHER, *TEACHER_FLAGS, '--load_model', teacher / 'BERT.encoder.pkl', '--teacher_prediction', path,
                      *flags)
    return path


def files(workspace):
    return [workspace.folder / f'{fold}.pkl' for fold in range(1, K + 1)]


def join(workspace, *paths, joined='joined.pkl'):
    joined = workspace.folder / joined
    return joined, workspace.call(TEACHER, '--join', ','.join(map(str, paths)), '--teacher_prediction', joined)


def test_nothing_is_learnt_from_the_fold_nor_from_rows_held_out(folded):
    workspace, learnt = folded
    labels = TeacherOutputs.open(files(workspace)[0]).split('train')['labels']
    rows, held_out = hold_out(labels, 0.2, 5)
    for fold in range(1, K + 1):
        assert learnt[fold] == set(rows) - set(fold_rows(labels, rows, f'{fold}/{K}', 5))
    assert len(held_out) == 12 and set.union(*learnt.values()) == set(rows) and not set.intersection(*learnt.values())
    assert not workspace.teacher_folder().exists()         # the whole teacher's place is not taken


def test_each_row_comes_from_the_teacher_that_has_not_learnt_it(folded):
    """Rows that no teacher has learnt come from the first."""
    workspace, learnt = folded
    path, outcome = join(workspace, *reversed(files(workspace)))
    assert outcome.code == 0, outcome.err
    joined, parts = TeacherOutputs.open(path), [TeacherOutputs.open(file) for file in files(workspace)]
    assert set(joined.arrays) == set(parts[0].arrays)
    assert np.array_equal(joined.rows('train.feature_maps', np.arange(ROWS)), joined.arrays['train.feature_maps'])
    for name in ('train.pred_logit', 'train.feature_maps', 'train.pooled_feature_maps', 'train_pred_answers'):
        for row in range(ROWS):
            free = [part for fold, part in enumerate(parts, 1) if row not in learnt[fold]]
            assert len(free) in (1, K)
            assert np.array_equal(joined.arrays[name][row], free[0].arrays[name][row]), (name, row)
    for name in joined.arrays:
        if name.startswith(('dev', 'test')):
            assert np.array_equal(joined.arrays[name], parts[0].arrays[name])
    logits, labels = joined.arrays['train.pred_logit'].astype(np.float64), joined.arrays['train_labels']
    assert joined.arrays['train.acc'] == (logits.argmax(1) == labels).mean()
    assert joined.arrays['train.loss'] == pytest.approx(
        -np.log(softmax(logits, axis=1)[np.arange(ROWS), labels]).mean(), rel=1e-5)
    assert f'acc {joined.arrays["train.acc"]:.4f}' in outcome.out
    assert not np.array_equal(joined.arrays['train.pred_logit'], parts[0].arrays['train.pred_logit'])
    marks = json.loads(joined.metadata['joined'])
    assert [mark['fold'] for mark in marks] == ['1/3', '2/3', '3/3']
    assert [mark['encoder_sha256'] for mark in marks] == [part.metadata['encoder_sha256'] for part in parts]
    assert joined.metadata['holdout'] == parts[0].metadata['holdout'] == '0.2 --holdout_seed 5'


def test_ptp_learns_from_the_joined_file(folded):
    workspace, _ = folded
    path, _ = join(workspace, *files(workspace))
    outputs = TeacherOutputs.open(path).split('train')
    out = workspace.succeed(PTP, *FIT, *HOLDOUT, '--PTP_seed', 1, '--ptp_threshold', '0.5,0.5', '--teacher_prediction', path,
                            '--output_dir', workspace.folder / 'ptp').out
    assert 'was trained with' not in out
    record = json.loads((workspace.folder / 'ptp' / 'PTP.Original_2layer' / 'run.json').read_text())
    rows, _ = hold_out(outputs['labels'], 0.2, 5)
    labels = ptp_labels(softmax(outputs['pred_logit'], axis=1).max(1), outputs['pred_answers'], (0.5, 0.5))[rows]
    assert list(record['ptp_counts']['train'].values()) == np.bincount(labels, minlength=len(PTP_CLASSES)).tolist()
    assert record['inputs']['teacher'] == TeacherOutputs.open(path).fingerprint()
    other = workspace.succeed(PTP, *FIT, '--holdout', 0.1, '--PTP_seed', 1, '--teacher_prediction', path, '--output_dir',
                              workspace.folder / 'ptp').out
    assert 'was trained with --holdout 0.2 --holdout_seed 5, this run has --holdout 0.1 --holdout_seed 0' in other


# What cannot be joined


def assert_refused(workspace, paths, *words):
    joined, outcome = join(workspace, *paths, joined='refused.pkl')
    assert outcome.code == 2 and len(outcome.err.splitlines()) == 1, outcome.err
    assert [word for word in words if word not in outcome.err] == []
    assert not joined.exists()
    return outcome.err


def test_a_file_that_is_joined_is_not_written_over(folded):
    paths = files(folded[0])
    before = paths[0].read_bytes()
    _, outcome = join(folded[0], *paths, joined=paths[0].name)
    assert outcome.code == 2 and '--join reads this file' in outcome.err and paths[0].read_bytes() == before


def test_folds_that_are_missing_or_there_twice(folded):
    one, two, three = files(folded[0])
    assert_refused(folded[0], (one, three), '--join: the files are of folds 1, 3 of 3')
    assert_refused(folded[0], (one, two, two, three), 'folds 1, 2, 2, 3 of 3; give one of each')
    assert_refused(folded[0], (one, two, folded[0].folder / 'none.pkl'), '--join', 'none.pkl: no such file')
    damaged = folded[0].folder / 'damaged.pkl'
    damaged.write_bytes(one.read_bytes()[:-9])
    assert '--teacher_prediction' not in assert_refused(folded[0], (damaged, two, three), 'damaged.pkl is not a whole')


@pytest.fixture
def spoilt(folded, tmp_path):
    return folded[0].copy(tmp_path / 'copy')


@pytest.mark.parametrize('flags', [(*HOLDOUT[:2], '--holdout_seed', 6), ('--holdout_seed', 5), (*HOLDOUT, '--fold', '3/4')])
def test_folds_of_another_division(spoilt, flags):
    spoilt.succeed(TRAIN, *FIT, '--fold', '3/3', *flags, '--train_seed', 1, '--output_dir', spoilt.folder / 'other')
    save(spoilt, spoilt.folder / 'other', spoilt.folder / '3.pkl')
    assert_refused(spoilt, files(spoilt), 'different divisions, which overlap', '3 folds with --holdout 0.2 ')


def test_a_teacher_that_has_learnt_all_rows_and_a_joined_file(spoilt):
    joined, _ = join(spoilt, *files(spoilt))
    spoilt.succeed(TRAIN, *FIT, '--train_seed', 1)
    whole = save(spoilt, spoilt.teacher_folder(), spoilt.folder / 'whole.pkl')
    for path in (whole, joined):
        assert_refused(spoilt, (*files(spoilt)[:2], path), f'--join {path}', 'train one with --fold')


def test_other_rows_and_other_outputs(spoilt):
    third = spoilt.outputs / 'KD' / 'MRPC' / f'teacher_2layer_fold3of{K}'
    save(spoilt, third, spoilt.folder / '3.pkl', '--all_layers', False)
    assert_refused(spoilt, files(spoilt), 'hold different outputs: dev.feature_maps')
    write_task(spoilt.glue, 'MRPC', seed=9)
    save(spoilt, third, spoilt.folder / '3.pkl')
    assert_refused(spoilt, files(spoilt), 'were made from different train sets', 'rows differ')
    for fold, path in enumerate(files(spoilt), 1):
        save(spoilt, third.with_name(f'teacher_2layer_fold{fold}of{K}'), path)
    assert_refused(spoilt, files(spoilt), 'its teacher learnt from other rows than it predicts')


def test_scores_are_of_regression_too(make_workspace):
    workspace = make_workspace(tasks=('STS-B',))
    paths = []
    for fold in ('1/2', '2/2'):
        teacher = workspace.folder / fold[0]
        workspace.succeed(TRAIN, '--task', 'STS-B', *FIT, '--fold', fold, '--output_dir', teacher)
        paths.append(save(workspace, teacher, workspace.folder / f'{fold[0]}.pkl', '--task', 'STS-B'))
    with workspace.active():
        found = join_folds(paths, workspace.folder / 'joined.pkl')
    joined = TeacherOutputs.open(workspace.folder / 'joined.pkl').split('train')
    assert joined['loss'] == pytest.approx(((joined['pred_logit'][:, 0] - joined['labels']) ** 2).mean(), rel=1e-5)
    assert joined['acc'] == found['corr'] != found['pearson']


# In a comparison


def only(**changes):
    [stage] = plan(**changes).values()
    return stage


def test_ptp_alone_reads_the_joined_file():
    student = only(methods=('sps+ptp',), teacher_folds=3, teacher_checkpoint='loss', common={'holdout': '0.1'},
                   fixed=parse_fixed(['teacher.num_train_epochs=3', 'max_seq_length=64']))
    dump, ptp = student.needs
    [join_stage] = ptp.needs
    assert dump.kind == 'dump' and student.need('teacher').arguments.fold is None
    assert [need.need('teacher').arguments.fold for need in join_stage.needs] == ['1/3', '2/3', '3/3']
    whole = vars(student.need('teacher').arguments)
    for need in join_stage.needs:
        own = vars(need.need('teacher').arguments)
        assert {name for name in whole if whole[name] != own[name]} == {'fold', 'given'}
        assert need.criterion == '_loss' and not need.arguments.all_layers and need.arguments.max_seq_length == 64
    root = student.folder.absolute()
    assert f'--teacher_prediction={root / join_stage.result}' in ptp.command(root)
    assert f'--teacher_prediction={root / dump.result}' in student.command(root)
    [joined] = [word for word in join_stage.command(root) if word.startswith('--join=')]
    assert joined == '--join=' + ';'.join(str(root / need.result) for need in join_stage.needs)
    there = Path('/one,two')
    assert parse(TEACHER, '', join_stage.command(there)).join == [str(there / need.result) for need in join_stage.needs]
    assert len({need.folder for need in (dump, *join_stage.needs)}) == 4


def test_folds_change_what_needs_them_alone():
    changes = {'methods': ('pkd', 'sps+ptp'), 'axes': parse_axes(['ptp.learning_rate=1e-5,2e-5'])}
    without, with_folds, with_more = ({stage.folder: stage for stage in plan(**changes, teacher_folds=folds).values()}
                                      for folds in (None, 3, 4))
    assert len(without) == len(with_folds) == 3 and len(without.keys() & with_folds.keys()) == 1
    assert len({*without, *with_folds, *with_more}) == 7
    joined = {stage.need('join').folder for stage in with_folds.values() if stage.need('join')}
    assert len(joined) == 1
    columns = [setting_columns(stage).get('ptp.teacher_folds') for stage in with_folds.values()]
    assert sorted(columns, key=str) == ['3', '3', None]


def test_the_seed_of_the_folds_needs_no_holdout():
    """It goes to the teachers of the folds, and other folds are other runs, with a column that tells them."""
    student = only(methods=('sps+ptp',), teacher_folds=3, common={'holdout_seed': '7'})
    folds = student.need('join').needs
    assert [need.need('teacher').arguments.holdout_seed for need in folds] == [7] * 3
    assert {student.arguments.holdout_seed, student.need('ptp').arguments.holdout_seed,
            student.need('dump').need('teacher').arguments.holdout_seed} == {0}
    assert setting_columns(student)['ptp.holdout_seed'] == '7'
    usual = only(methods=('sps+ptp',), teacher_folds=3)
    assert usual.folder != student.folder and 'ptp.holdout_seed' not in setting_columns(usual)
    both = only(methods=('sps+ptp',), teacher_folds=3, common={'holdout_seed': '7', 'holdout': '0.1'})
    assert both.arguments.holdout_seed == both.need('join').need('teacher').arguments.holdout_seed == 7
    assert 'ptp.holdout_seed' not in setting_columns(both)
    with pytest.raises(InputError, match='--holdout_seed 7 has no effect without --holdout or --teacher_folds'):
        check_grid(grid(common={'holdout_seed': '7'}))


def test_a_comparison_with_folds(workspace, calls):
    """Without them it then does no more than PTP and the student."""
    flags = ('--mode', 'compare', '--bert_model', 'tiny', '--layers', 1, '--seeds', 1, '--holdout', 0.2, '--methods', 'ptp',
             '--set', 'precision=fp32', 'num_train_epochs=1', 'ptp.num_train_epochs=1', 'teacher.num_train_epochs=1')
    workspace.succeed('run_glue_benchmark.py', *flags, '--teacher_folds', 2)
    root = workspace.outputs / 'compare'
    [joined], [ptp], [student] = (list(root.glob(place)) for place in (
        'teachers/MRPC/*2folds*/results.pkl', 'ptp/MRPC/*/PTP.*/run.json', 'runs/MRPC/*/run.json'))
    [whole] = (path for path in root.glob('teachers/MRPC/*/results.pkl') if 'fold' not in path.parent.name)
    for record, results in ((ptp, joined), (student, whole)):
        assert json.loads(record.read_text())['inputs']['teacher'] == TeacherOutputs.open(results).fingerprint()
    assert sorted(calls) == sorted([PTP, *[TEACHER] * 4, *[TRAIN] * 4])
    calls.clear()
    workspace.succeed('run_glue_benchmark.py', *flags)
    assert calls == [PTP, TRAIN]
    table = (root / 'results.csv').read_text().splitlines()
    assert len(table) == 3 and 'ptp.teacher_folds' in table[0]
