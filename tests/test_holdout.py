"""Choosing without peeking: with --holdout a part of train chooses, nothing is learnt from it, and dev is scored once."""
import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import softmax

import NLI_KD_training
import PTP as ptp_script
from BERT.pytorch_pretrained_bert.file_utils import InputError
from src import objective, runs
from src.argument_parser import PTP, TEACHER, TRAIN
from src.data_processing import TokenizedSplit, hold_out
from src.evaluation import task_scores
from src.nli_data_processing import PTP_CLASSES, ptp_labels, ptp_thresholds
from src.plots import draw_training
from src.run_log import write_run
from src.saved_runs import best_runs, load_run
from src.teacher_outputs import TeacherOutputs

BENCHMARK = 'run_glue_benchmark.py'
ROWS, HELD_OUT = 60, 18       # MRPC's in the workspace
TEACHER_FLAGS = ('--bert_model', 'tiny', '--teacher_hidden_layers', 2, '--precision', 'fp32')
FLAGS = (*TEACHER_FLAGS, '--learning_rate', '1e-3', '--train_batch_size', 8, '--saving_criterion_acc', -1)
HOLDOUT = ('--holdout', 0.3)
STATES = ('best', 'lowest_loss', 'last', 'saved')


@pytest.fixture(scope='module')
def taught(make_workspace):
    """MRPC, STS-B, a teacher of MRPC with random weights and its results."""
    workspace = make_workspace(tasks=('MRPC', 'STS-B'))
    workspace.add_teacher()
    workspace.succeed(TEACHER, *TEACHER_FLAGS)
    return workspace


def run(workspace, name, *flags, script=TRAIN):
    """(folder, run.json) of a run of one epoch, where no flag says otherwise."""
    folder = workspace.folder / name
    workspace.succeed(script, *FLAGS, '--num_train_epochs', 1, '--output_dir', folder, *flags)
    logs = folder if script == TRAIN else folder / 'PTP.Original_2layer'
    return folder, json.loads((logs / 'run.json').read_text())


def teacher_results(workspace, split='train'):
    return TeacherOutputs.open(workspace.result_file()).split(split)


def division(workspace, seed=0):
    return hold_out(teacher_results(workspace)['labels'], 0.3, seed)


def scores(entry):
    return {name: value for name, value in entry.items() if name != 'global_step'}


class Seen:
    """What training reads: the rows, their tokens' rows, their labels and the teacher's logits, batch by batch."""

    def __init__(self, monkeypatch):
        self.rows, self.tokens, self.labels, self.logits = [], [], [], []
        batch, call, loss = TokenizedSplit.batch, objective.Objective.__call__, objective.distillation_loss

        def spy_batch(split, rows):
            if len(split) == ROWS:           # the parts that are evaluated are splits of their own
                self.tokens.append(rows)
            return batch(split, rows)

        def spy_call(learnt_from, rows, *outputs):
            self.rows.append(rows)
            return call(learnt_from, rows, *outputs)

        def spy_loss(y, labels, teacher_scores, *settings):
            self.labels.append(labels)
            self.logits.append(teacher_scores)
            return loss(y, labels, teacher_scores, *settings)

        monkeypatch.setattr(TokenizedSplit, 'batch', spy_batch)
        monkeypatch.setattr(objective.Objective, '__call__', spy_call)
        monkeypatch.setattr(objective, 'distillation_loss', spy_loss)

    def assert_learnt(self, rows, labels):
        """Every one of these rows once, no other; its own tokens and its own of all rows' labels [ROWS]."""
        assert sorted(np.concatenate(self.rows)) == rows.tolist()
        assert np.array_equal(np.concatenate(self.tokens), np.concatenate(self.rows))
        assert np.array_equal(torch.cat(self.labels), labels[np.concatenate(self.rows)])


@pytest.mark.parametrize('train_type', ['ft', 'kd', 'pkd'])
@pytest.mark.parametrize('train_seed', [1, 2])
def test_nothing_is_learnt_from_rows_held_out(taught, monkeypatch, train_type, train_seed):
    """Whatever the training seed; and the teacher's logits are those of the rows learnt from."""
    seen, results = Seen(monkeypatch), teacher_results(taught)
    _, record = run(taught, 'learns', *HOLDOUT, '--train_type', train_type, '--train_seed', train_seed)
    rows, held_out = division(taught)
    assert len(held_out) == HELD_OUT and record['steps'] == 6        # 42 rows, 8 a step
    seen.assert_learnt(rows, results['labels'])
    if train_type != 'ft':
        assert np.array_equal(torch.cat(seen.logits), results['pred_logit'][np.concatenate(seen.rows)])


def test_ptp_holds_out_the_same_rows(taught, monkeypatch):
    """Its thresholds come from the others alone; by its labels, not the task's, these choose and dev is scored."""
    seen, results = Seen(monkeypatch), teacher_results(taught)
    scored, accuracy = [], ptp_script.accuracy

    def spy(split, logits):
        scored.append((split.split, split.labels))
        return accuracy(split, logits)

    monkeypatch.setattr(ptp_script, 'accuracy', spy)
    _, record = run(taught, 'ptp', *HOLDOUT, '--PTP_seed', 1, '--ptp_threshold', 'median', script=PTP)
    rows, held_out = division(taught)
    confidence, correct = softmax(results['pred_logit'], axis=1).max(axis=1), results['pred_answers']
    thresholds = ptp_thresholds('MRPC', 'median', confidence[rows], correct[rows])
    assert record['thresholds'] == list(thresholds) != list(ptp_thresholds('MRPC', 'median', confidence, correct))
    labels = ptp_labels(confidence, correct, thresholds)
    seen.assert_learnt(rows, labels)
    *choosing, (last, dev_labels) = scored
    assert choosing and all(split == 'train' and np.array_equal(found, labels[held_out]) for split, found in choosing)
    dev = teacher_results(taught, 'dev')
    confidence, correct = softmax(dev['pred_logit'], axis=1).max(axis=1), dev['pred_answers']
    assert last == 'dev' and np.array_equal(dev_labels, ptp_labels(confidence, correct, thresholds))
    for name, part in (('train', rows), ('holdout', held_out)):
        assert list(record['ptp_counts'][name].values()) == np.bincount(labels[part], minlength=len(PTP_CLASSES)).tolist()
    assert record['dev_saved']['global_step'] == record['holdout_saved']['global_step']


@pytest.mark.parametrize('holdout', [HOLDOUT, ()])
def test_shuffled_ptp_labels_are_the_same_ones_in_other_places(taught, monkeypatch, holdout):
    """Each part keeps its own, and the seed alone says where they go; the tokens stay where they are."""
    scored, accuracy = [], ptp_script.accuracy
    monkeypatch.setattr(ptp_script, 'accuracy', lambda split, logits: scored.append(split.labels) or accuracy(split, logits))
    flags, found, control = (*holdout, '--ptp_threshold', 'median'), {}, ('--ptp_labels', 'shuffled')
    for name, seed, more in (('true', 1, ()), ('one', 1, control), ('again', 1, control), ('two', 2, control)):
        seen = Seen(monkeypatch)
        scored.clear()
        logs = taught.folder / name / f'PTP.Original_2layer{"_shuffled" if more else ""}'
        taught.succeed(PTP, *FLAGS, '--num_train_epochs', 1, '--output_dir', logs.parent, *flags, '--PTP_seed', seed, *more)
        record = json.loads((logs / 'run.json').read_text())
        order = np.argsort(np.concatenate(seen.rows))
        assert np.array_equal(np.concatenate(seen.tokens), np.concatenate(seen.rows))
        found[name] = torch.cat(seen.labels).numpy()[order], scored[0], scored[-1], record['ptp_counts']
    for true, shuffled, again, other in zip(*(of_run[:3] for of_run in found.values()), strict=True):
        assert np.array_equal(np.sort(true), np.sort(shuffled)) and not np.array_equal(true, shuffled)
        assert np.array_equal(shuffled, again) and not np.array_equal(shuffled, other)
    assert found['true'][3] == found['one'][3]


def test_another_holdout_seed_holds_out_other_rows(taught, monkeypatch):
    seen = Seen(monkeypatch)
    run(taught, 'other', *HOLDOUT, '--holdout_seed', 4)
    seen.assert_learnt(division(taught, 4)[0], teacher_results(taught)['labels'])
    assert not np.array_equal(division(taught, 4)[0], division(taught)[0])


@pytest.fixture
def evaluated(monkeypatch):
    """Names of the splits that were predicted, in order."""
    names, predict_logits = [], runs.predict_logits

    def spy(model, split, *settings):
        names.append(split.split)
        return predict_logits(model, split, *settings)

    monkeypatch.setattr(runs, 'predict_logits', spy)
    return names


@pytest.mark.parametrize('script, flags', [(TRAIN, ()), (TRAIN, ('--train_type', 'kd')), (PTP, ())])
def test_dev_is_scored_once_at_the_end(taught, evaluated, script, flags):
    run(taught, 'once', *HOLDOUT, *flags, '--num_train_epochs', 2, '--eval_every', 2, script=script)
    assert evaluated == ['train'] * 4 + ['dev']
    evaluated.clear()
    run(taught, 'often', *flags, '--num_train_epochs', 2, '--eval_every', 2, script=script)
    assert evaluated == ['dev'] * 5


def test_record_logs_and_messages(taught):
    workspace, (folder, record) = taught, run(taught, 'record', *HOLDOUT)
    assert {name for name in record if name.startswith(('holdout_', 'dev_'))} == {
        *(f'holdout_{state}' for state in STATES), 'dev_saved'}
    assert (record['arguments']['holdout'], record['arguments']['holdout_seed']) == (0.3, 0)
    log = pd.read_csv(folder / 'eval_log.txt')
    assert log['f1'].tolist() == pytest.approx([record['holdout_last']['f1']], abs=1e-5)
    loss_axis, score_axis = plt.subplots(1, 2)[1]
    draw_training(loss_axis, score_axis, folder, record, '')
    assert score_axis.get_ylabel() == 'holdout f1'
    out = workspace.succeed(TRAIN, *FLAGS, *HOLDOUT, '--num_train_epochs', 1, '--output_dir', folder).out
    assert '18 of 60 training rows' in out
    assert [line.split()[0] for line in out.splitlines() if 'f1' in line] == [
        *(f'holdout_{state}' for state in STATES), 'dev_saved']


def test_without_it_the_record_is_as_it_was(taught):
    _, record = run(taught, 'plain')
    assert {name for name in record if name.startswith(('holdout_', 'dev_'))} == {f'dev_{state}' for state in STATES}


def test_the_state_that_the_holdout_chose_is_scored(taught, monkeypatch, tmp_path):
    """Here the first of four, whatever the later ones are; and --mode evaluate finds the same scores, to the last digit."""
    f1_of_holdout = iter([0.9, 0.5, 0.8, 0.7])

    def first_is_best(split, logits):
        found = task_scores(split, logits)
        return found | {'f1': next(f1_of_holdout)} if split.split == 'train' else found

    monkeypatch.setattr(NLI_KD_training, 'task_scores', first_is_best)
    folder, record = run(taught, 'chosen', *HOLDOUT, '--num_train_epochs', 4)
    assert record['holdout_saved'] == record['holdout_best'] and record['holdout_best']['f1'] == 0.9
    assert record['dev_saved']['global_step'] == 6 < record['holdout_last']['global_step'] == 24
    taught.succeed(BENCHMARK, '--mode', 'evaluate', '--runs', folder, '--output_dir', tmp_path)
    row = pd.read_csv(tmp_path / 'dev_scores.csv').iloc[0]
    assert row[list(scores(record['dev_saved']))].to_dict() == scores(record['dev_saved'])


@pytest.mark.parametrize('task', ['MRPC', 'STS-B'])
def test_holdout_scores_are_those_of_the_rows_held_out(taught, task):
    folder, record = run(taught, task, *HOLDOUT, '--task', task, '--num_train_epochs', 2)
    with taught.active():
        saved = load_run(folder)
        train = saved.tokens(saved.task, 'train')
        part = train.part(hold_out(train.labels, 0.3, 0)[1])
        assert task_scores(part, saved.logits(part)) == scores(record['holdout_saved'])


def test_another_holdout_is_another_configuration(taught):
    students = taught.outputs / 'PeaKD' / 'MRPC'
    for flags in ((), HOLDOUT, ('--holdout', 0.2), (*HOLDOUT, '--holdout_seed', 1), HOLDOUT):
        taught.succeed(TRAIN, *FLAGS, '--train_type', 'kd', '--num_train_epochs', 0.5, '--train_seed', 1, *flags)
    assert len(list(students.iterdir())) == 4


def test_the_best_run_is_the_one_that_one_holdout_calls_best_or_else_dev(tmp_path):
    folders = [tmp_path / name for name in 'abcd']
    scored = ((0.1, 0.6, 0.7), (0.1, 0.7, 0.5), (0.2, 0.9, 0.4), (0.0, None, 0.6))       # holdout, scores there and on dev
    for folder, (holdout, there, dev) in zip(folders, scored, strict=True):
        folder.mkdir()
        write_run(folder, {'task': 'MRPC', 'metric': 'f1', 'arguments': {'holdout': holdout, 'holdout_seed': 0},
                           'dev_saved': {'f1': dev}} | ({'holdout_saved': {'f1': there}} if holdout else {}))
    a, b, c, d = folders
    assert best_runs([a, b]) == [b]
    assert best_runs([b, a, c]) == [a]            # other rows were held out
    assert best_runs([b, d, c]) == [d] and best_runs([d]) == [d]


def test_runs_that_cannot_be_read_are_left_out_of_the_best(tmp_path, caplog):
    folders = [tmp_path / name for name in 'ab']
    for folder in folders:
        folder.mkdir()
        write_run(folder, {'task': 'MRPC', 'metric': 'f1', 'arguments': {'holdout': 0., 'holdout_seed': 0},
                           'dev_saved': {'f1': 0.5}})
    (folders[0] / 'run.json').write_text('{"task": "MR')
    assert best_runs(folders) == folders[1:] and f'{folders[0]} is left out: ' in caplog.text
    with pytest.raises(InputError, match=r'none of the runs found \(1\) could be read'):
        best_runs(folders[:1])


def test_holdouts_of_other_training_rows_are_not_compared(tmp_path):
    folders = [tmp_path / name for name in 'ab']
    for folder, rows, there, dev in zip(folders, ('x', 'y'), (0.9, 0.8), (0.5, 0.6), strict=True):
        folder.mkdir()
        write_run(folder, {'task': 'MRPC', 'metric': 'f1', 'arguments': {'holdout': 0.1, 'holdout_seed': 0},
                           'inputs': {'rows': rows}, 'dev_saved': {'f1': dev}, 'holdout_saved': {'f1': there}})
    assert best_runs(folders) == [folders[1]]


def test_runs_of_mnli_are_compared_on_one_dev_set(tmp_path):
    matched, mismatched = folders = [tmp_path / name for name in ('m', 'mm')]
    scores = {matched: ('MNLI', 0.805, 'MNLI-mm', 0.80), mismatched: ('MNLI-mm', 0.81, 'MNLI', 0.79)}
    for folder, (task, own, other, there) in scores.items():
        folder.mkdir()
        write_run(folder, {'task': task, 'metric': 'acc', 'arguments': {'holdout': 0.0, 'holdout_seed': 0},
                           'dev_saved': {'acc': own}, 'dev_also': {other: {'acc': there}}})
    assert best_runs(folders) == best_runs(folders[::-1]) == [matched]


def test_a_teacher_that_learnt_from_the_held_out_rows_is_told_of(taught, tmp_path):
    folder, _ = run(taught, 'whole_teacher', '--train_type', 'ft', '--train_seed', 1)
    outputs = tmp_path / 'whole.pkl'
    taught.succeed(TEACHER, *TEACHER_FLAGS, '--load_model', folder / 'BERT.encoder.pkl', '--teacher_prediction', outputs)
    student = ('--train_type', 'kd', '--student_hidden_layers', 1, '--train_seed', 1, '--teacher_prediction', outputs)
    flags = (*FLAGS, '--num_train_epochs', 1, '--output_dir', tmp_path / 'student', *student)
    warning = 'was trained with --holdout 0.0 --holdout_seed 0, this run has --holdout 0.3 --holdout_seed 0'
    assert warning in taught.succeed(TRAIN, *flags, *HOLDOUT).out
    assert 'was trained with' not in taught.succeed(TRAIN, *flags).out


def test_a_ptp_encoder_of_another_holdout_is_told_of(taught, tmp_path):
    """By the student that starts from it, and before another one takes its place; its files are named without it."""
    workspace = taught.copy(tmp_path)
    ptp = (*FLAGS, '--num_train_epochs', 0.3, '--student_hidden_layers', 1)
    student = (*ptp, '--train_seed', 1, '--train_type', 'kd', '--load_model', 'PTP.Original_1layer.encoder.pkl')
    assert 'replaces' not in workspace.succeed(PTP, *ptp, '--PTP_seed', 1).out
    assert 'warning: ' not in workspace.succeed(TRAIN, *student).out
    assert ('was trained with --holdout 0.0 --holdout_seed 0, this run has --holdout 0.3 --holdout_seed 0: it learnt from '
            'rows that choose here') in workspace.succeed(TRAIN, *student, *HOLDOUT).out
    out = workspace.succeed(PTP, *ptp, '--PTP_seed', 1, *HOLDOUT).out
    assert 'with --holdout 0.3 --holdout_seed 0 replaces one with --holdout 0.0' in out
    assert 'replaces' not in workspace.succeed(PTP, *ptp, '--PTP_seed', 1, *HOLDOUT).out
    out = workspace.succeed(TRAIN, *student).out
    assert 'PTP.Original_1layer.encoder.pkl was trained with --holdout 0.3' in out and 'learnt from rows' not in out
    for flags in ((*HOLDOUT, '--holdout_seed', 1), ('--holdout', 0.2)):
        assert 'was trained with --holdout 0.3' in workspace.succeed(TRAIN, *student, *flags).out
    assert 'was trained with' not in workspace.succeed(TRAIN, *student, *HOLDOUT).out
