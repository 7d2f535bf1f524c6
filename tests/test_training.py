"""The training loop: when it evaluates, saves and logs, in which order it reads, what it leaves alone."""
import copy
import csv
import importlib.metadata
import json
import logging
import random
import sys
import types
from contextlib import contextmanager, nullcontext
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import PTP
from BERT.pytorch_pretrained_bert import BertAdam, BertConfig
from BERT.pytorch_pretrained_bert.file_utils import InputError
from BERT.pytorch_pretrained_bert.modeling import BertIntermediate
from BERT.pytorch_pretrained_bert.weights import read_state_dict
from src import runs
from src.argument_parser import PTP as PTP_SCRIPT
from src.argument_parser import TRAIN, parse
from src.checkpoints import save_model
from src.data_processing import TokenizedSplit
from src.evaluation import predict, predict_logits
from src.mixed_precision import MixedPrecision, fp16_version, nvidia_apex_amp
from src.modeling import SequenceClassifier, wiring
from src.nli_data_processing import find_task
from src.objective import Objective
from src.run_log import read_run, write_run
from src.training import Settings, Trainer
from src.training_state import differences, read_state
from src.utils import RunError, choose_precision, epoch_order, set_seed

CPU = torch.device('cpu')
SETTINGS = dict(train_batch_size=4, gradient_accumulation_steps=1, num_train_epochs=2, learning_rate=1e-3,
                warmup_proportion=0.1, log_every_step=1, eval_every=100, saving_criterion_acc=1.0,
                saving_criterion_loss=0.0, loss_scale=0, seed=5, precision='fp32')
ROWS = 18     # five batches of 4, the last of 2


def a_split(rows=ROWS, regression=False):
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, 14, rows).astype(np.int32)
    labels = rng.random(rows, np.float32) * 5 if regression else rng.integers(0, 2, rows)
    return TokenizedSplit('MRPC', 'train', rng.integers(0, 30, lengths.sum()).astype(np.int32), lengths, lengths // 2,
                          labels, 'none', 16)


def a_model(num_labels=2, dropout=0.1):
    set_seed(0)
    return SequenceClassifier(BertConfig(30, 16, 1, 2, 32, hidden_dropout_prob=dropout, max_position_embeddings=16,
                                         attention_probs_dropout_prob=dropout), num_labels)


class Recording(Objective):
    """Notes the rows and the losses of each part of a batch."""
    def __call__(self, rows, logits, cls_states):
        losses = super().__call__(rows, logits, cls_states)
        self.__dict__.setdefault('seen', []).append((rows.copy(), [float(loss.detach()) for loss in losses]))
        return losses


def a_trainer(folder, model=None, scores=None, split=None, objective=Recording, rows=None, **settings):
    """scores: what dev evaluations return, one after the other, as (metric, loss); the last stands for all after it."""
    model, split = model or a_model(), split or a_split()
    scores = list(scores or [(0.5, 0.7)])
    snapshots = []

    def evaluate():
        metric, loss = scores[min(len(snapshots), len(scores) - 1)]
        snapshots.append(copy.deepcopy(model.state_dict()))
        return {'acc': metric, 'loss': loss}

    trainer = Trainer(model, split, objective(split.labels), Settings(**SETTINGS | settings), evaluate, 'acc', folder,
                      'BERT', folder, rows)
    trainer.snapshots = snapshots
    return trainer


def rows_of(path):
    with open(path, newline='') as file:
        return list(csv.DictReader(file))


def evaluated_at(folder):
    return [int(row['global_steps']) for row in rows_of(folder / 'eval_log.txt')]


def batches(trainer):
    return [rows for rows, _ in trainer.objective.seen]


# Steps


@pytest.mark.parametrize('epochs, eval_every, steps', [
    (1, 1, [5]),                                 # from the second epoch on
    (2, 100, [5, 10]),
    (2, 1, [5, 6, 7, 8, 9, 10]),
    (3, 2, [5, 7, 9, 10, 12, 14, 15]),
    (0.4, 1, [2]),                               # the last step is scored too
    (1.2, 100, [5, 6]),
    (2.6, 2, [5, 7, 9, 10, 12, 13]),
    (0.01, 1, [1]),
])
def test_evaluates_at_these_steps(tmp_path, epochs, eval_every, steps):
    record = a_trainer(tmp_path, num_train_epochs=epochs, eval_every=eval_every).train('test')
    assert evaluated_at(tmp_path) == steps
    assert record['steps'] == steps[-1] == len(rows_of(tmp_path / 'train_log.txt'))
    assert record['dev_last']['global_step'] == steps[-1]


@pytest.mark.parametrize('task, flags, steps', [('RTE', [], 25), ('CoLA', [], 100), ('RTE', ['--eval_every', '7'], 7)])
def test_the_task_says_how_often_where_no_flag_does(task, flags, steps):
    settings = runs.settings(parse(TRAIN, '', flags), types.SimpleNamespace(precision='fp32'), find_task(task), 1)
    assert settings.eval_every == steps


def test_epoch_numbers_in_the_logs(tmp_path):
    a_trainer(tmp_path, num_train_epochs=2, eval_every=2).train('test')
    assert [(row['epoch'], row['global_steps']) for row in rows_of(tmp_path / 'eval_log.txt')] == [
        ('0', '5'), ('1', '7'), ('1', '9'), ('1', '10')]
    assert [(row['epoch'], row['global_steps'], row['step']) for row in rows_of(tmp_path / 'train_log.txt')][3:7] == [
        ('0', '4', '3'), ('0', '5', '4'), ('1', '6', '0'), ('1', '7', '1')]


@pytest.mark.parametrize('accumulation', [1, 3])
def test_learning_rate_rises_and_falls_over_all_updates(tmp_path, accumulation):
    """Linear to the top at a tenth of the steps, then linear to 0; accumulation does not change the updates' number."""
    trainer = a_trainer(tmp_path, num_train_epochs=4, gradient_accumulation_steps=accumulation)
    rates = []
    trainer.optimizer.register_step_post_hook(lambda optimizer, *_: rates.append(optimizer.get_lr()[0]))
    trainer.train('test')
    rising = [1e-3 * x / 2 for x in (1, 2)]                # of 20 steps 2 are warm-up; get_lr tells the next update's
    falling = [1e-3 * (20 - x) / 18 for x in range(3, 21)]
    np.testing.assert_allclose(rates, rising + falling, atol=1e-12)


def test_biases_and_layer_norms_do_not_decay(tmp_path):
    """They are the model's vectors."""
    trainer = a_trainer(tmp_path)
    decay = {parameter: group['weight_decay'] for group in trainer.optimizer.param_groups for parameter in group['params']}
    assert {name: decay[parameter] for name, parameter in trainer.model.named_parameters()} == {
        name: 0.01 if parameter.dim() > 1 else 0 for name, parameter in trainer.model.named_parameters()}


def test_pages_of_a_result_file_are_given_back(tmp_path, monkeypatch):
    monkeypatch.setattr('src.training.PAGES_KEPT_STEPS', 2)
    given_back = []
    teacher = types.SimpleNamespace(split=lambda _: {}, forget_pages=lambda: given_back.append(trainer.steps))
    trainer = a_trainer(tmp_path, objective=partial(Objective, teacher=teacher))
    trainer.train('test')
    assert given_back == [2, 4, 6, 8, 10]


# Order


def epochs_of(trainer):
    order = np.concatenate(batches(trainer))
    return [order[start:start + ROWS] for start in range(0, len(order), ROWS)]


def test_every_row_once_an_epoch_in_another_order(tmp_path):
    trainer = a_trainer(tmp_path, num_train_epochs=3)
    trainer.train('test')
    assert [len(rows) for rows in batches(trainer)] == [4, 4, 4, 4, 2] * 3
    first, second, third = (sorted(map(sorted, batches(trainer)[start:start + 5])) for start in (0, 5, 10))
    for order in epochs_of(trainer):
        assert sorted(order) == list(range(ROWS))
    assert first != second and second != third and first != third       # other batches, not only another order of them


def test_only_the_rows_given_are_learnt_from(tmp_path):
    """Their numbers stay those of the whole split; an epoch has as many steps as they fill."""
    rows = np.array([1, 2, 3, 5, 7, 8, 11, 13, 17])
    trainer = a_trainer(tmp_path, num_train_epochs=3, rows=rows)
    record = trainer.train('test')
    assert record['steps'] == 9 and [len(batch) for batch in batches(trainer)] == [4, 4, 1] * 3
    for epoch in range(3):
        assert sorted(np.concatenate(batches(trainer)[3 * epoch:3 * epoch + 3])) == rows.tolist()


def test_order_comes_from_the_seed(tmp_path):
    orders = {}
    for name, seed in (('one', 1), ('again', 1), ('two', 2)):
        np.random.seed(len(name))                       # nor from the state of anybody's generator
        torch.manual_seed(len(name))
        trainer = a_trainer(tmp_path / name, seed=seed)
        trainer.train('test')
        orders[name] = np.concatenate(epochs_of(trainer)).tolist()
    assert orders['one'] == orders['again'] != orders['two']


@pytest.mark.parametrize('parts, sizes', [(2, [2, 2]), (3, [2, 1, 1]), (4, [1, 1, 1, 1]), (9, [1, 1, 1, 1])])
def test_accumulation_splits_the_batch(tmp_path, parts, sizes):
    whole, split = a_trainer(tmp_path / 'a'), a_trainer(tmp_path / 'b', gradient_accumulation_steps=parts)
    whole.train('test')
    split.train('test')
    assert [len(rows) for rows in batches(split)[:len(sizes)]] == sizes
    assert sorted(np.concatenate(batches(split)[:len(sizes)])) == sorted(batches(whole)[0])
    assert len(rows_of(tmp_path / 'b' / 'train_log.txt')) == 10


@pytest.mark.parametrize('parts', [2, 3])
def test_accumulation_changes_no_weight(tmp_path, parts):
    """Also where the parts are of different sizes. One update of BertAdam may magnify a rounding to lr; hence SGD."""
    models = [a_model(dropout=0), a_model(dropout=0)]
    for model, number in zip(models, (1, parts), strict=True):
        trainer = a_trainer(tmp_path / str(number), model, gradient_accumulation_steps=number)
        trainer.optimizer = trainer.mixed_precision.optimizer = torch.optim.SGD(model.parameters(), 0.1)
        trainer.optimizer.grad_norms = 0.0
        trainer.train('test')
    for ours, theirs in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    assert not torch.equal(a_model(dropout=0).classifier.classifier.weight, models[0].classifier.classifier.weight)


# Logs


@pytest.mark.parametrize('parts', [1, 3])
def test_log_holds_running_means_over_the_epoch(tmp_path, parts):
    trainer = a_trainer(tmp_path, gradient_accumulation_steps=parts)
    trainer.train('test')
    seen, logged = list(trainer.objective.seen), rows_of(tmp_path / 'train_log.txt')
    for epoch in range(2):
        sums, count = np.zeros(5), 0
        for step, size in enumerate([4, 4, 4, 4, 2]):
            for _ in range(min(parts, size)):
                rows, losses = seen.pop(0)
                sums, count = sums + np.array(losses) * len(rows), count + len(rows)
            row = logged[epoch * 5 + step]
            found = [float(row[name]) for name in ('loss', 'kd_loss', 'ce_loss', 'AT_loss', 'acc')]
            np.testing.assert_allclose(found, sums / count, rtol=2e-5, atol=1e-6)
        assert count == ROWS


def test_log_every_step(tmp_path):
    a_trainer(tmp_path, log_every_step=4, num_train_epochs=1.8).train('test')
    assert [int(row['global_steps']) for row in rows_of(tmp_path / 'train_log.txt')] == [4, 8, 9]


def test_logs_begin_anew(tmp_path):
    for _ in range(2):
        a_trainer(tmp_path, num_train_epochs=1).train('test')
        assert len(rows_of(tmp_path / 'train_log.txt')) == 5 and evaluated_at(tmp_path) == [5]


def test_regression_has_no_accuracy(tmp_path):
    trainer = a_trainer(tmp_path, a_model(1), split=a_split(regression=True), num_train_epochs=1)
    trainer.train('test')
    rows = rows_of(tmp_path / 'train_log.txt')
    assert {row['acc'] for row in rows} == {''} and float(rows[-1]['loss']) == float(rows[-1]['ce_loss']) > 0


# What is saved


def saved(folder, name):
    """(encoder, classifier) of a pair of files, or None."""
    paths = [folder / f'BERT.{part}{name}.pkl' for part in ('encoder', 'cls')]
    assert paths[0].exists() == paths[1].exists()
    return [read_state_dict(path) for path in paths] if paths[0].exists() else None


def assert_saved_is(folder, name, snapshot):
    encoder, classifier = saved(folder, name)
    for key, tensor in snapshot.items():
        where, _, rest = key.partition('.')
        stored = encoder[rest.removeprefix('bert.')] if where == 'encoder' else classifier[rest]
        assert torch.equal(stored, tensor), key


#              evaluation:  1           2           3           4           5 (the last)
SCORES = [(0.50, 0.9), (0.70, 0.4), (0.60, 0.6), (0.80, 0.5), (0.75, 0.45)]


def test_best_states_are_kept(tmp_path):
    trainer = a_trainer(tmp_path, scores=SCORES, num_train_epochs=5, saving_criterion_acc=0.65,
                        saving_criterion_loss=0.5)
    record = trainer.train('test')
    assert len(trainer.snapshots) == 5
    assert_saved_is(tmp_path, '_acc', trainer.snapshots[3])
    assert_saved_is(tmp_path, '_loss', trainer.snapshots[1])
    assert_saved_is(tmp_path, '', trainer.snapshots[4])
    assert (record['dev_best']['acc'], record['dev_best']['global_step']) == (0.8, 20)
    assert (record['dev_lowest_loss']['loss'], record['dev_lowest_loss']['global_step']) == (0.4, 10)
    assert (record['dev_last']['acc'], record['dev_last']['global_step']) == (0.75, 25)


@pytest.mark.parametrize('criterion, evaluation', [(0.8, None), (0.79, 3), (0.0, 3), (1.0, None)])
def test_accuracy_criterion_is_strict(tmp_path, criterion, evaluation):
    trainer = a_trainer(tmp_path, scores=SCORES, num_train_epochs=5, saving_criterion_acc=criterion)
    trainer.train('test')
    if evaluation is None:
        assert saved(tmp_path, '_acc') is None
    else:
        assert_saved_is(tmp_path, '_acc', trainer.snapshots[evaluation])


@pytest.mark.parametrize('criterion, evaluation', [(0.4, None), (0.41, 1), (9.0, 1), (0.0, None)])
def test_loss_criterion_is_strict(tmp_path, criterion, evaluation):
    trainer = a_trainer(tmp_path, scores=SCORES, num_train_epochs=5, saving_criterion_loss=criterion)
    trainer.train('test')
    if evaluation is None:
        assert saved(tmp_path, '_loss') is None
    else:
        assert_saved_is(tmp_path, '_loss', trainer.snapshots[evaluation])


def test_of_equal_states_the_first_is_kept(tmp_path):
    trainer = a_trainer(tmp_path, scores=[(0.9, 0.3)], num_train_epochs=3, saving_criterion_acc=0.5)
    trainer.train('test')
    assert_saved_is(tmp_path, '_acc', trainer.snapshots[0])


def test_final_weights_are_saved_whatever_the_criteria(tmp_path):
    trainer = a_trainer(tmp_path, scores=SCORES, num_train_epochs=2)
    trainer.train('test')
    assert_saved_is(tmp_path, '', trainer.model.state_dict())
    assert saved(tmp_path, '_acc') is saved(tmp_path, '_loss') is None


def test_best_states_of_an_earlier_run_do_not_stay(tmp_path):
    for name in ('_acc', '_loss'):
        save_model(a_model(), tmp_path, 'BERT', name)
    save_model(a_model(), tmp_path, 'PTP.SPS_3layer', '_acc')
    a_trainer(tmp_path, num_train_epochs=1).train('test')
    assert saved(tmp_path, '_acc') is saved(tmp_path, '_loss') is None
    assert (tmp_path / 'PTP.SPS_3layer.encoder_acc.pkl').exists()       # others' files are not its own


def test_run_that_breaks_off_leaves_no_record_of_an_earlier_one(tmp_path):
    """Its weights may be of either run, and so run.json, which stands for a run that ended, would be wrong."""
    write_run(tmp_path, {'seed': 1})
    trainer = a_trainer(tmp_path)
    trainer.evaluate = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        trainer.train('test')
    assert read_run(tmp_path) is None


def test_what_a_killed_run_has_left_goes(tmp_path):
    """But not what another run in the folder may be writing."""
    for name in ('.BERT.cls.pkl.7.tmp', '.BERT.cls_acc.pkl.step3.pending', '.training_state.pt.7.tmp', '.run.json.7.tmp',
                 '.PTP.SPS_1layer.cls.pkl.7.tmp', '.PTP.SPS_1layer.cls_acc.pkl.step3.pending'):
        (tmp_path / name).touch()
    a_trainer(tmp_path, num_train_epochs=1).train('test')
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith('.')) == [
        '.PTP.SPS_1layer.cls.pkl.7.tmp', '.PTP.SPS_1layer.cls_acc.pkl.step3.pending']


@pytest.mark.parametrize('training', [True, False])
def test_prediction_is_without_dropout_and_leaves_the_mode(training):
    model, split = a_model(dropout=0.5).train(training), a_split()
    found = [predict_logits(model, split, batch_size, 'fp32') for batch_size in (4, 4, 7)]
    assert np.array_equal(found[0], found[1])
    np.testing.assert_allclose(found[2], found[0], atol=1e-6)
    assert all(module.training == training for module in model.modules())


def test_prediction_that_is_given_up_leaves_the_model_as_it_was():
    model = a_model().train()
    names = list(model.state_dict())
    batches = predict(model, a_split(), 4, 'fp32')
    next(batches)
    assert not model.training
    batches.close()
    assert model.training and list(model.state_dict()) == names


def test_evaluation_draws_no_randomness(tmp_path):
    """A run evaluated at every step ends with the weights of one that is not, and draws the same numbers after it."""
    def trained(every):
        model = a_model()
        trainer = a_trainer(tmp_path / str(every), model, eval_every=every)
        trainer.evaluate = lambda: {'acc': float(predict_logits(model, trainer.split, 4, 'fp32').mean()), 'loss': 0.7}
        trainer.train('test')
        return [*model.parameters(), torch.rand(1), torch.tensor([np.random.random(), random.random()])]

    for often, seldom in zip(trained(1), trained(100), strict=True):
        assert torch.equal(often, seldom)


# Layers left alone and started, through the script


def encoder_files(workspace, *flags):
    """(the pretrained checkpoint's tensors, the trained encoder's)."""
    out = workspace.folder / 'out'
    workspace.succeed('NLI_KD_training.py', '--bert_model', 'tiny', '--output_dir', out, '--train_seed', 1,
                      '--precision', 'fp32', '--num_train_epochs', 1, *flags)
    return (read_state_dict(workspace.models / 'tiny' / 'pytorch_model.bin'), read_state_dict(out / 'BERT.encoder.pkl'))


def test_frozen_layers_stay_as_they_are(make_workspace):
    before, after = encoder_files(make_workspace(3), '--freeze_layer', '1,3', '--learning_rate', '1e-3')
    for name, tensor in before.items():
        frozen = name.startswith(('encoder.layer.0.', 'encoder.layer.2.'))
        # A key's bias moves all scores of a query alike, which softmax does not see: its gradient is rounding alone.
        assert torch.equal(after[name], tensor) == frozen or name.endswith('key.bias'), name


def test_layer_initialization(make_workspace):
    """At a tiny learning rate the trained layers are still the ones that they were started from."""
    before, after = encoder_files(make_workspace(3), '--layer_initialization', '3,1', '--student_hidden_layers', 2,
                                  '--learning_rate', '1e-12')
    assert not any(name.startswith('encoder.layer.2.') for name in after)
    for student, source in ((0, 2), (1, 0)):
        for name in after:
            if name.startswith(f'encoder.layer.{student}.'):
                wanted = before[name.replace(f'layer.{student}.', f'layer.{source}.')]
                torch.testing.assert_close(after[name], wanted, rtol=0, atol=1e-8)
    for name in after:
        if not name.startswith('encoder.layer.'):
            torch.testing.assert_close(after[name], before[name], rtol=0, atol=1e-8)


def test_load_model_goes_before_the_pretrained_checkpoint(make_workspace):
    workspace = make_workspace(2)
    workspace.add_teacher(seed=8)
    started = read_state_dict(workspace.teacher_folder() / 'BERT.encoder.pkl')
    before, after = encoder_files(workspace, '--load_model', 'BERT.encoder.pkl', '--teacher_hidden_layers', 2,
                                  '--cls_checkpoint', 'BERT.cls.pkl', '--learning_rate', '1e-12')
    name = 'encoder.layer.1.output.dense.weight'
    torch.testing.assert_close(after[name], started[name], rtol=0, atol=1e-8)
    assert not torch.allclose(after[name], before[name], rtol=0, atol=1e-4)
    heads = [read_state_dict(path / 'BERT.cls.pkl') for path in (workspace.teacher_folder(), workspace.folder / 'out')]
    torch.testing.assert_close(*(head['classifier.weight'] for head in heads), rtol=0, atol=1e-8)


# PTP's labels


class FakeTeacher:
    """Answers of a teacher: for each split (confidence, correct)."""
    path = 'results.pkl'

    def __init__(self, **answers):
        self.answers = answers

    def check(self, name, split):
        assert len(split) == len(self.answers[name][0])

    def split(self, name):
        confidence, correct = map(np.array, self.answers[name])
        return {'pred_logit': np.log(np.stack([confidence, 1 - confidence], 1)).astype(np.float32),
                'pred_answers': correct}


def labels_of(task, train, dev, *flags, held_out=0):
    """held_out: how many rows at the end of train are not learnt from."""
    splits = {name: a_split(len(answers[0])) for name, answers in (('train', train), ('dev', dev))}
    args = parse(PTP_SCRIPT, '', ['--task', task, *flags])
    rows, held_out = np.arange(len(train[0]) - held_out), np.arange(len(train[0]))[len(train[0]) - held_out:]
    return PTP.label_splits(args, find_task(task), FakeTeacher(train=train, dev=dev), splits, rows, held_out)


TRAIN_ANSWERS = ([0.6, 0.7, 0.8, 0.9, 0.95, 0.55, 0.65, 0.85], [True] * 5 + [False] * 3)
DEV_ANSWERS = ([0.82, 0.78, 0.66, 0.64, 0.99], [True, True, False, False, True])


def test_dev_labels_use_the_thresholds_of_train():
    """Medians of train are .8 and .65; those of dev itself would be .82 and .65."""
    splits, thresholds, counts = labels_of('WNLI', TRAIN_ANSWERS, DEV_ANSWERS)
    assert thresholds == pytest.approx((0.8, 0.65), abs=1e-6)
    assert splits['dev'].labels.tolist() == [0, 1, 2, 3, 0]
    # Rows 2 and 6 are the medians themselves, whose side rounding decides
    assert np.delete(splits['train'].labels, [2, 6]).tolist() == [1, 1, 0, 0, 3, 2]
    assert list(counts['dev'].values()) == [2, 1, 1, 1]


def test_rows_held_out_have_no_say_in_the_thresholds():
    answers = tuple([*kept, *held_out] for kept, held_out in zip(TRAIN_ANSWERS, ([0.99, 0.98, 0.97], [True, False, False]),
                                                                strict=True))
    splits, thresholds, counts = labels_of('WNLI', answers, DEV_ANSWERS, held_out=3)
    assert thresholds == pytest.approx((0.8, 0.65), abs=1e-6)
    assert splits['train'].labels[-3:].tolist() == [0, 2, 2]
    assert [sum(counts[name].values()) for name in ('train', 'holdout', 'dev')] == [8, 3, 5]
    assert list(counts['holdout'].values()) == [1, 0, 2, 0]


def test_thresholds_from_table_and_flag():
    assert labels_of('RTE', TRAIN_ANSWERS, DEV_ANSWERS)[1] == (0.8, 0.6)
    splits, thresholds, _ = labels_of('rte', TRAIN_ANSWERS, DEV_ANSWERS, '--ptp_threshold', '0.7,0.84')
    assert thresholds == (0.7, 0.84)
    assert splits['dev'].labels.tolist() == [0, 0, 3, 3, 0]
    assert labels_of('RTE', TRAIN_ANSWERS, DEV_ANSWERS, '--ptp_threshold', 'median')[1] == pytest.approx((0.8, 0.65))


def test_counts_and_thresholds_are_printed(caplog):
    with caplog.at_level(logging.INFO):
        labels_of('RTE', TRAIN_ANSWERS, DEV_ANSWERS)
    assert '0.8000' in caplog.text and '0.6000' in caplog.text
    assert 'confidently correct 2, unconfidently correct 3, confidently wrong 2, unconfidently wrong 1' in caplog.text


@pytest.mark.parametrize('rare, warned', [(0, True), (1, True), (2, False)])
def test_warns_of_classes_under_one_percent(rare, warned, caplog):
    """Of 200 rows."""
    confidence = [0.9] * 100 + [0.7] * (50 - rare) + [0.9] * 50 + [0.55] * rare
    correct = [True] * (150 - rare) + [False] * (50 + rare)
    labels_of('RTE', (confidence, correct), DEV_ANSWERS)
    assert ('unconfidently wrong' in caplog.text and '1 %' in caplog.text) == warned


def test_teacher_that_is_never_wrong(caplog):
    for task in ('RTE', 'WNLI'):
        caplog.clear()
        splits, _, counts = labels_of(task, ([0.9] * 20 + [0.99] * 20, [True] * 40), DEV_ANSWERS)
        assert set(splits['train'].labels) <= {0, 1} and list(counts['train'].values())[2:] == [0, 0]
        assert 'confidently wrong' in caplog.text


# Precision


def gradients(model):
    return [parameter.grad.clone() for parameter in model.parameters()]


@pytest.mark.parametrize('precision, dtype', [('fp32', torch.float32), ('bf16', torch.bfloat16)])
def test_other_precisions_pass_through(precision, dtype):
    torch.manual_seed(0)
    model, x = nn.Linear(3, 2), torch.randn(4, 3)
    optimizer = BertAdam(model.parameters(), 0.1)
    mixed = MixedPrecision(model, optimizer, CPU, precision, 128)
    with mixed.forward_context():
        y = model(x)
    assert y.dtype == dtype
    mixed.backward(y.float().sum())
    expected = torch.autograd.grad(model(x).sum(), list(model.parameters()))
    for found, wanted in zip(gradients(model), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=2e-2 if precision == 'bf16' else 1e-6, atol=0)
    before = model.weight.detach().clone()
    mixed.step()
    assert model.weight.grad is None and not torch.equal(model.weight, before)


@pytest.mark.parametrize('loss_scale, scale', [(128, 128), (0, 2.0**16)])
def test_loss_scale(loss_scale, scale):
    """Gradients are scaled in the backward pass and true again where BertAdam clips them; a fixed scale stays."""
    models = [nn.Linear(3, 2), nn.Linear(3, 2)]
    models[1].load_state_dict(models[0].state_dict())
    x = torch.randn(4, 3)
    steps = [MixedPrecision(model, BertAdam(model.parameters(), 0.1), CPU, precision, loss_scale)
             for model, precision in zip(models, ('fp32', 'fp16'), strict=True)]
    for _ in range(3):
        for model, mixed in zip(models, steps, strict=True):
            mixed.backward(model(x).square().mean())
        torch.testing.assert_close(models[1].weight.grad, models[0].weight.grad * scale, rtol=1e-4, atol=0)
        for mixed in steps:
            mixed.step()
    torch.testing.assert_close(models[1].weight, models[0].weight)
    assert steps[1].scaler.get_scale() == pytest.approx(scale, rel=1e-6)


def test_overflow_skips_the_update_and_halves_a_dynamic_scale():
    model = nn.Linear(3, 2)
    before = model.weight.detach().clone()
    mixed = MixedPrecision(model, torch.optim.SGD(model.parameters(), 0.1), CPU, 'fp16')
    mixed.backward(model(torch.full((1, 3), torch.inf)).sum())
    mixed.step()
    assert torch.equal(model.weight, before) and mixed.scaler.get_scale() == 2.0**15


def test_fp16_needs_cuda():
    with pytest.raises(InputError, match='--precision bf16'):
        choose_precision('fp16', CPU)
    assert choose_precision('bf16', CPU) == 'bf16'


@pytest.mark.parametrize('device, of_cpu, of_gpu, precision', [
    ('cpu', {}, True, 'fp32'), ('cpu', {'amx_bf16': True}, False, 'bf16'), ('cpu', {'avx512_bf16': True}, False, 'bf16'),
    ('cuda', {}, True, 'bf16'), ('cuda', {'amx_bf16': True, 'avx512_bf16': True}, False, 'fp32')])
def test_auto_is_bf16_where_the_device_is_fast_at_it(monkeypatch, device, of_cpu, of_gpu, precision):
    """A GPU that only emulates bf16 is not."""
    monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda: of_cpu)
    monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda including_emulation=True: of_gpu or including_emulation)
    assert choose_precision('auto', torch.device(device)) == precision


class FakeAmp(types.ModuleType):
    """apex.amp, as far as it is used; notes what it was called with."""

    def __init__(self):
        super().__init__('apex.amp')
        self.calls = []
        self.waiting = False      # for gradients to be unscaled

    def initialize(self, model, optimizer, **options):
        self.calls.append(options)
        return model, optimizer

    @contextmanager
    def scale_loss(self, loss, optimizer, delay_unscale=False):
        """apex.amp's order: what .grad had is kept out of the backward, unless that waits for its unscaling."""
        weights = optimizer.param_groups[0]['params']
        earlier = [None if delay_unscale or self.waiting else weight.grad for weight in weights]
        if not (delay_unscale or self.waiting):
            optimizer.zero_grad(set_to_none=True)
        yield loss * 8
        self.waiting = delay_unscale
        if not delay_unscale:
            for weight, before in zip(weights, earlier, strict=True):
                weight.grad = weight.grad / 8 if before is None else weight.grad / 8 + before


def install(monkeypatch, amp):
    apex = types.ModuleType('apex')
    apex.__path__ = []
    apex.amp = amp
    monkeypatch.setitem(sys.modules, 'apex', apex)
    monkeypatch.setitem(sys.modules, 'apex.amp', amp)


def test_nvidia_apex_is_told_from_others(monkeypatch):
    monkeypatch.setitem(sys.modules, 'apex', None)
    assert nvidia_apex_amp() is None                                  # not installed
    monkeypatch.setitem(sys.modules, 'apex', types.ModuleType('apex'))
    assert nvidia_apex_amp() is None                                  # the package of that name on PyPI
    install(monkeypatch, types.ModuleType('apex.amp'))
    assert nvidia_apex_amp() is None                                  # a module of that name with nothing of it
    amp = FakeAmp()
    install(monkeypatch, amp)
    assert nvidia_apex_amp() is amp


def test_which_fp16_it_was_is_recorded(monkeypatch):
    monkeypatch.setitem(sys.modules, 'apex', None)
    assert fp16_version('fp32') == fp16_version('bf16') == {} and fp16_version('fp16') == {'fp16': 'torch.amp'}
    install(monkeypatch, FakeAmp())
    monkeypatch.setattr(importlib.metadata, 'version', {'apex': '0.1'}.__getitem__)
    now = fp16_version('fp16')
    then = {'fp16': 'torch.amp'}
    assert differences({'versions': then}, {'versions': now}) == ['the version of fp16 was torch.amp, is apex 0.1']
    monkeypatch.undo()
    install(monkeypatch, FakeAmp())                                   # a copy of it that pip knows nothing of
    monkeypatch.setattr(importlib.metadata, 'version', _unknown)
    assert fp16_version('fp16') == {'fp16': 'apex'}


def _unknown(name):
    raise importlib.metadata.PackageNotFoundError(name)


def test_fp16_of_a_shared_model_on_the_whole():
    """States in fp16; logits, weights and what the optimizer keeps in fp32."""
    set_seed(0)
    config = BertConfig(30, 16, 2, 2, 32, max_position_embeddings=16, passes=wiring('SPS', 2))
    model, split = SequenceClassifier(config, 2), a_split()
    optimizer = BertAdam(model.parameters(), 0.1)
    mixed = MixedPrecision(model, optimizer, CPU, 'fp16')
    before = [weight.detach().clone() for weight in model.parameters()]
    with mixed.forward_context():
        logits, pooled, states = model(split.batch(np.arange(4)))
        loss = nn.functional.cross_entropy(logits, torch.from_numpy(split.labels[:4]))
    assert states.dtype == pooled.dtype == torch.float16 and logits.dtype == loss.dtype == torch.float32
    mixed.backward(loss)
    assert mixed.step() and mixed.skipped == 0
    for weight in model.parameters():
        kept = optimizer.state[weight]
        assert weight.dtype == kept['next_m'].dtype == kept['next_v'].dtype == torch.float32
        assert weight.isfinite().all() and kept['next_m'].isfinite().all()
    assert sum(not torch.equal(weight, old) for weight, old in zip(model.parameters(), before, strict=True)) > 30


@pytest.mark.parametrize('with_apex', [True, False])
def test_casts_of_fp16_are_torchs(monkeypatch, with_apex):
    """Those of apex keep copies of weights, which they would use for other weights too."""
    amp = FakeAmp()
    if with_apex:
        install(monkeypatch, amp)
    model = nn.Linear(3, 2)
    with MixedPrecision(model, torch.optim.SGD(model.parameters(), 0.1), CPU, 'fp16').forward_context():
        assert torch.is_autocast_enabled('cpu') and model(torch.ones(1, 3)).dtype == torch.float16
    assert [call['patch_torch_functions'] for call in amp.calls] == [False] * with_apex


@pytest.mark.parametrize('with_apex', [True, False])
def test_parts_of_an_update_add_up_in_grad(monkeypatch, with_apex):
    """Before the last backward .grad has the sum so far, scaled, for processes average what is there after it."""
    if with_apex:
        install(monkeypatch, FakeAmp())
    model = nn.Linear(3, 2)
    mixed = MixedPrecision(model, torch.optim.SGD(model.parameters(), 0.1), CPU, 'fp16', 8)
    seen = []
    model.bias.register_post_accumulate_grad_hook(lambda weight: seen.append(weight.grad.clone()))
    for number in (1, 2, 3):
        mixed.backward(model(torch.ones(1, 3)).sum(), number == 3)
    torch.testing.assert_close(torch.stack(seen), torch.tensor([[8.0, 8], [16, 16], [24, 24]]))
    scale = 1 if with_apex else 8                                     # torch's scaler divides in step
    torch.testing.assert_close(model.bias.grad, torch.full((2,), 3.0 * scale))


def test_an_update_of_parts_tells_which_is_the_last(make_workspace, monkeypatch):
    told, backward = [], MixedPrecision.backward
    monkeypatch.setattr(MixedPrecision, 'backward',
                        lambda self, loss, last: (told.append(last), backward(self, loss, last)))
    encoder_files(make_workspace(1), '--num_train_epochs', 0.5, '--gradient_accumulation_steps', 3)
    assert told and told == [False, False, True] * (len(told) // 3)


@pytest.mark.parametrize('loss_scale, given', [(0, 'dynamic'), (64, 64)])
def test_apex_scales_where_it_is_installed(monkeypatch, loss_scale, given):
    amp = FakeAmp()
    install(monkeypatch, amp)
    model = nn.Linear(3, 2)
    mixed = MixedPrecision(model, torch.optim.SGD(model.parameters(), 0.1), CPU, 'fp16', loss_scale)
    assert amp.calls[0]['opt_level'] == 'O1' and amp.calls[0]['loss_scale'] == given
    mixed.backward(model(torch.ones(1, 3)).sum())
    torch.testing.assert_close(model.bias.grad, torch.ones(2))        # unscaled again
    mixed.step()
    assert model.bias.grad is None
    MixedPrecision(model, torch.optim.SGD(model.parameters(), 0.1), CPU, 'fp32')
    assert len(amp.calls) == 1                                        # other precisions leave apex alone


def test_run_json_has_the_precision_that_was_used(make_workspace):
    """In training and in evaluation, as the products of the feed-forward sublayer show."""
    workspace, used = make_workspace(1), set()

    def note(module, _, output):
        if isinstance(module, BertIntermediate):
            used.add((module.training, output.dtype))

    with nn.modules.module.register_module_forward_hook(note):
        for precision, dtype in (('fp32', torch.float32), ('bf16', torch.bfloat16)):
            used.clear()
            encoder_files(workspace, '--num_train_epochs', 0.5, '--precision', precision)
            assert json.loads((workspace.folder / 'out' / 'run.json').read_text())['precision'] == precision
            assert used == {(True, dtype), (False, dtype)}


# What is not finite


class Poisoned(Objective):
    """From call `at` on the loss or its gradient is not finite."""
    at, kind = 3, 'loss'

    def __call__(self, rows, logits, cls_states):
        losses = super().__call__(rows, logits, cls_states)
        self.calls = getattr(self, 'calls', 0) + 1
        if self.calls < self.at:
            return losses
        if self.kind == 'gradient':        # of sqrt at 0, while the loss stays as it is
            return losses._replace(total=losses.total + ((logits - logits.detach()).abs().sum() * 0).sqrt())
        return losses._replace(total=losses.total * torch.nan)


@pytest.mark.parametrize('kind', ['loss', 'gradient'])
@pytest.mark.parametrize('settings', [{}, {'log_every_step': 100, 'saving_criterion_acc': 0.4},
                                      {'log_every_step': 2, 'gradient_accumulation_steps': 2}])
def test_what_is_not_finite_stops_the_run(tmp_path, monkeypatch, kind, settings):
    """The step and its rows are named however seldom losses are read, and nothing is kept of the weights."""
    monkeypatch.setattr(Poisoned, 'kind', kind)
    monkeypatch.setattr(Poisoned, 'at', 5 if 'gradient_accumulation_steps' in settings else 3)
    trainer = a_trainer(tmp_path, objective=Poisoned, **settings)
    rows = epoch_order(SETTINGS['seed'], 0, ROWS)[8:12]
    with pytest.raises(RunError) as told:
        trainer.train('test')
    assert str(told.value).startswith(f'step 3 of 10: the {kind} is not finite (nan); rows of train (counted from 0): '
                                      f'{", ".join(map(str, sorted(rows)))}; there is no checkpoint yet')
    assert saved(tmp_path, '') is saved(tmp_path, '_acc') is read_run(tmp_path) is None


def test_the_last_checkpoint_is_named(tmp_path, monkeypatch):
    for folder, flags, expected in (
            ('state', {'checkpoint_every': '2'}, 'training_state.pt, of step 6; --resume goes on from there'),
            ('pair', {'saving_criterion_acc': 0.4}, 'BERT.encoder_acc.pkl, of step 5')):
        monkeypatch.setattr(Poisoned, 'at', 8)
        trainer = a_trainer(tmp_path / folder, objective=Poisoned, log_every_step=100, **flags)
        with pytest.raises(RunError, match=f'step 8 of 10: .*the last checkpoint is .*{expected}'):
            trainer.train('test')
    assert read_state(tmp_path / 'state' / 'training_state.pt')['progress']['steps'] == 6


def test_a_run_that_is_not_finite_leaves_with_code_1(workspace):
    """In the next step's loss, or, after an epoch's last step, in that of dev, before those weights count as the best."""
    flags = ('--bert_model', 'tiny', '--precision', 'fp32', '--output_dir', workspace.folder / 'out')
    for batch, words in ((16, 'step 2 of 4: the loss is not finite'), (60, 'step 1 of 1: the loss on dev is not finite')):
        outcome = workspace.call('NLI_KD_training.py', *flags, '--num_train_epochs', 1, '--train_batch_size', batch,
                                 '--learning_rate', '1e38', '--warmup_proportion', 0)
        line = outcome.err.splitlines()[-1].rpartition('\r')[2]
        assert outcome.code == 1 and line.startswith(f'error: {words}'), outcome.err
        assert not list((workspace.folder / 'out').glob('*.pkl'))


def test_steps_that_fp16_skips_are_counted_and_stop_nothing(tmp_path, monkeypatch):
    """A scale far too high for the first steps, as a CPU can compute it: in fp32, with fp16's scaler."""
    class Loud(Objective):
        def __call__(self, *batch):
            losses = super().__call__(*batch)
            return losses._replace(total=100 * losses.total)
    monkeypatch.setattr('src.mixed_precision.autocast', lambda *_: nullcontext())
    trainer = a_trainer(tmp_path, precision='fp16', objective=Loud)
    trainer.mixed_precision.scaler = torch.amp.GradScaler('cpu', init_scale=2.0**127)
    before = copy.deepcopy(trainer.model.state_dict())
    record = trainer.train('test')
    skipped = record['skipped_steps']
    assert 0 < skipped < 10 and trainer.mixed_precision.updates == 10 - skipped
    assert trainer._postfix()['skipped'] == str(skipped)
    assert not torch.equal(before['classifier.classifier.weight'], trainer.model.classifier.classifier.weight)
    state = trainer.mixed_precision.state_dict()
    other = a_trainer(tmp_path / 'other', precision='fp16').mixed_precision
    other.load_state_dict(state)
    assert other.state_dict() == state and other.skipped == skipped
