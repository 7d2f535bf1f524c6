"""The losses against formulas in NumPy float64, which teacher layers patience matches, and what a batch learns from."""
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from BERT.pytorch_pretrained_bert import BertConfig
from BERT.pytorch_pretrained_bert.file_utils import InputError
from NLI_KD_training import make_objective, patience_match
from src.argument_parser import TRAIN, parse
from src.KD_loss import chosen_patience_layers, distillation_loss, patience_layers, patience_loss, task_loss
from src.modeling import wiring
from src.runs import student_config


def softmax(scores):
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def cross_entropy(scores, labels):
    return -np.mean([np.log(row[label]) for row, label in zip(softmax(scores), labels, strict=True)])


def divergence(scores, teacher_scores, T):
    p, q = softmax(teacher_scores / T), softmax(scores / T)
    return T ** 2 * np.mean((p * np.log(p / q)).sum(axis=1))


def patience(teacher, student, normalized):
    total = 0.0
    for one, other in zip(teacher.reshape(-1, teacher.shape[-1]), student.reshape(-1, student.shape[-1]), strict=True):
        if normalized:
            one, other = one / np.sqrt((one ** 2).sum()), other / np.sqrt((other ** 2).sum())
        total += ((one - other) ** 2).sum()
    return total / teacher.size


@pytest.fixture(params=[(7, 2), (5, 3), (1, 2), (4, 5)], ids=str)
def logits(request):
    """(student logits, labels, teacher logits), NumPy float64 [B, C]."""
    numbers = np.random.default_rng(1)
    rows, classes = request.param
    return (numbers.normal(0, 2, (rows, classes)), numbers.integers(0, classes, rows),
            numbers.normal(0, 4, (rows, classes)))


def tensors(arrays):
    return [torch.from_numpy(array) for array in arrays]


@pytest.mark.parametrize('alpha', [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize('T', [1.0, 5, 20])
def test_distillation_loss(logits, T, alpha):
    y, labels, teacher = tensors(logits)
    total, kd, ce = distillation_loss(y, labels, teacher, T, alpha)
    expected_kd, expected_ce = divergence(logits[0], logits[2], T), cross_entropy(*logits[:2])
    assert [loss.shape for loss in (total, kd, ce)] == [(), (), ()]
    assert kd.item() == pytest.approx(expected_kd, rel=1e-10)
    assert ce.item() == pytest.approx(expected_ce, rel=1e-10)
    assert total.item() == pytest.approx(alpha * expected_kd + (1 - alpha) * expected_ce, rel=1e-10)
    in_fp32 = distillation_loss(y.float(), labels, teacher.float(), T, alpha)
    assert in_fp32[0].item() == pytest.approx(total.item(), rel=1e-4)


def test_a_loss_worked_out_on_paper():
    """Teacher (3/4, 1/4), student (1/2, 1/2): KL = log 2 - H(3/4) = 0.1308; cross-entropy = log 2."""
    total, kd, ce = distillation_loss(torch.zeros(1, 2), torch.tensor([1]), torch.tensor([[3.0, 1.0]]).log(), 1.0, 0.5)
    assert [kd.item(), ce.item(), total.item()] == pytest.approx([0.130812, 0.693147, 0.411980], abs=1e-6)


def test_the_gradient_of_the_distillation_loss():
    """d KD / dy = T (softmax(y / T) - softmax(teacher / T)) / B, and none reaches a detached teacher."""
    numbers = np.random.default_rng(2)
    y, teacher = numbers.normal(size=(2, 6, 3))
    student = torch.from_numpy(y).requires_grad_()
    _, kd, _ = distillation_loss(student, torch.zeros(6, dtype=torch.long), torch.from_numpy(teacher), 4.0, 0.7)
    kd.backward()
    np.testing.assert_allclose(student.grad, 4 * (softmax(y / 4) - softmax(teacher / 4)) / 6, atol=1e-12)


def test_huge_teacher_logits_stay_finite():
    total, kd, ce = distillation_loss(torch.tensor([[-80.0, 80.0]]), torch.tensor([0]),
                                      torch.tensor([[300.0, -300.0]]), 1.0, 0.5)
    assert [kd.item(), ce.item(), total.item()] == pytest.approx([160, 160, 160])


def test_equal_logits_have_no_divergence(logits):
    y, labels, _ = tensors(logits)
    assert distillation_loss(y, labels, y.clone(), 10, 0.7)[1].item() == pytest.approx(0, abs=1e-12)


def test_without_a_teacher_the_total_is_the_cross_entropy(logits):
    y, labels, _ = tensors(logits)
    total, kd, ce = distillation_loss(y, labels, None, 10, 0.7)
    assert kd.item() == 0 and total.item() == ce.item() == pytest.approx(cross_entropy(*logits[:2]), rel=1e-10)


@pytest.mark.parametrize('rows', [1, 2, 6])
@pytest.mark.parametrize('alpha', [0.0, 0.7, 1.0])
def test_regression_is_squared_errors(rows, alpha):
    numbers = np.random.default_rng(3)
    y, labels, teacher = numbers.normal(3, 1, (rows, 1)), numbers.uniform(0, 5, rows), numbers.normal(3, 1, (rows, 1))
    total, kd, ce = distillation_loss(*tensors((y, labels, teacher)), 10, alpha)
    expected_kd = sum((y[i, 0] - teacher[i, 0]) ** 2 for i in range(rows)) / rows
    expected_ce = sum((y[i, 0] - labels[i]) ** 2 for i in range(rows)) / rows
    assert [kd.item(), ce.item(), total.item()] == pytest.approx(
        [expected_kd, expected_ce, alpha * expected_kd + (1 - alpha) * expected_ce], rel=1e-10)
    assert task_loss(*tensors((y, labels))).item() == ce.item()


@pytest.mark.parametrize(('y', 'teacher'), [((4, 3), (4, 2)), ((4, 3), (1, 3)), ((4, 3), (4, 1)), ((4, 3), (3,))])
def test_teacher_logits_of_another_shape_do_not_broadcast(y, teacher):
    with pytest.raises((ValueError, RuntimeError), match='shape|size'):
        distillation_loss(torch.zeros(y), torch.zeros(y[0], dtype=torch.long), torch.zeros(teacher), 10, 0.7)


def test_regression_outputs_of_another_shape_do_not_broadcast():
    with pytest.raises((ValueError, RuntimeError), match='shape|size'):
        distillation_loss(torch.zeros(4, 1), torch.zeros(4), torch.zeros(4), 10, 0.7)


# Patience

@pytest.mark.parametrize('normalized', [False, True])
@pytest.mark.parametrize('shape', [(4, 3, 8), (1, 1, 5), (6, 2, 1)])
def test_patience_loss(shape, normalized):
    teacher, student = np.random.default_rng(4).normal(0.5, 2, (2, *shape))
    loss = patience_loss(torch.from_numpy(teacher), torch.from_numpy(student), normalized)
    assert loss.shape == () and loss.dtype == torch.float32
    assert loss.item() == pytest.approx(patience(teacher, student, normalized), rel=1e-5, abs=1e-7)


def test_patience_is_not_normalised_unless_asked():
    one, other = torch.ones(2, 2, 4), torch.full((2, 2, 4), 3.0)
    assert patience_loss(one, other).item() == 4
    assert patience_loss(one, other, normalized_patience=True).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize('normalized', [False, True])
def test_patience_is_fp32_whatever_the_states_are(normalized):
    teacher, student = (torch.randn(8, 3, 64, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    student = (teacher + 0.01 * student).bfloat16()
    teacher = teacher.half()
    with torch.autocast('cpu', torch.bfloat16):
        loss = patience_loss(teacher, student, normalized)
    expected = patience(teacher.double().numpy(), student.double().numpy(), normalized)
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(('teacher', 'student'), [
    ((4, 3, 8), (4, 1, 8)), ((4, 1, 8), (4, 3, 8)), ((4, 3, 8), (1, 3, 8)), ((4, 3, 8), (4, 3, 6)),
    ((4, 3, 8), (3, 8))])
def test_patience_of_other_shapes_is_an_error_that_shows_both(teacher, student):
    with pytest.raises(ValueError) as error:
        patience_loss(torch.zeros(teacher), torch.zeros(student))
    assert str(list(teacher)) in str(error.value) and str(list(student)) in str(error.value)


# Which layers

# (model type, stored layers): teacher layers, student passes; for a teacher of 12 layers, all 0-based.
TABLE = {
    ('Original', 1): ([], []),
    ('Original', 2): ([5], [0]),
    ('Original', 3): ([3, 7], [0, 1]),
    ('Original', 6): ([1, 3, 5, 7, 9], [0, 1, 2, 3, 4]),
    ('SPS', 1): ([5], [0]),
    ('SPS', 2): ([2, 5, 8], [0, 1, 2]),
    ('SPS', 3): ([1, 3, 5, 7, 9], [0, 1, 2, 3, 4]),
    ('SPS', 6): ([3, 7], [2, 5]),
}


@pytest.mark.parametrize(('model_type', 'layers'), TABLE)
def test_the_table_for_a_teacher_of_twelve_layers(model_type, layers):
    passes = len(wiring(model_type, layers) or range(layers))
    shared_six = (model_type, layers) == ('SPS', 6)
    assert patience_layers(passes, 12, shared_six) == TABLE[model_type, layers]
    assert chosen_patience_layers(None, passes, 12, shared_six) == TABLE[model_type, layers]


@pytest.mark.parametrize('teacher_layers', range(1, 25))
def test_the_general_rule(teacher_layers):
    for passes in range(1, 25):
        expected = []
        for j in range(passes - 1):
            exact = (j + 1) * Fraction(teacher_layers, passes) - 1
            below = max(layer for layer in range(-1, teacher_layers) if layer <= exact)
            if below >= 0:
                expected.append((below, j))
        teacher, student = patience_layers(passes, teacher_layers)
        assert list(zip(teacher, student, strict=True)) == expected


@pytest.mark.parametrize(('teacher_layers', 'expected'), [
    (24, ([7, 15], [2, 5])), (6, ([1, 3], [2, 5])), (3, ([0, 1], [2, 5])), (2, ([0], [5]))])
def test_the_shared_six_under_other_teachers(teacher_layers, expected):
    assert patience_layers(9, teacher_layers, shared_six=True) == expected


def test_chosen_layers_take_the_rules_place():
    assert chosen_patience_layers([0, 11], 3, 12) == ([0, 11], [0, 1])
    assert chosen_patience_layers([1, 10], 9, 12, shared_six=True) == ([1, 10], [2, 5])
    assert chosen_patience_layers(list(range(8)), 9, 12, shared_six=True) == (list(range(8)), list(range(8)))
    assert patience_layers(6, 4) == ([0, 1, 1, 2], [1, 2, 3, 4])
    assert chosen_patience_layers([3, 2, 1, 0], 6, 4) == ([3, 2, 1, 0], [1, 2, 3, 4])
    assert chosen_patience_layers([0, 0, 1, 2, 3], 6, 4) == ([0, 0, 1, 2, 3], [0, 1, 2, 3, 4])


@pytest.mark.parametrize(('chosen', 'passes', 'shared_six', 'names'), [
    ([1, 3, 5], 3, False, ['1,3,5', '3 teacher layers', '2 passes', '[0, 1]']),
    ([1], 3, False, ['names 1', '2 passes']), ([1], 1, False, ['names 1', '0 passes']),
    ([3], 9, True, ['names 1', '2 passes', '[2, 5]']), ([], 3, False, ['names 0', '2 passes'])])
def test_a_list_that_does_not_fit_shows_both_sides(chosen, passes, shared_six, names):
    with pytest.raises(InputError, match='--fc_layer_idx') as error:
        chosen_patience_layers(chosen, passes, 12, shared_six)
    assert all(name in str(error.value) for name in names) and '\n' not in str(error.value)


@pytest.mark.parametrize('chosen', [[3, 12], [-1, 3]])
def test_a_layer_beyond_the_teacher_shows_both_sides(chosen):
    with pytest.raises(InputError, match=r'--fc_layer_idx.*12 of the teacher.*0 to 11') as error:
        chosen_patience_layers(chosen, 3, 12)
    assert str([layer for layer in chosen if layer != 3]) in str(error.value)


# The script


class Teacher:
    """Outputs of a teacher of six layers for nine rows of three classes."""
    path = 'results.pkl'

    def __init__(self):
        numbers = np.random.default_rng(5)
        self.logits = numbers.normal(0, 4, (9, 3)).astype(np.float32)
        self.states = numbers.normal(0.5, 2, (9, 6, 8)).astype(np.float16)

    def check(self, name, split):
        assert name == 'train' and len(split.labels) == 9

    def split(self, name):
        assert name == 'train'
        return {'pred_logit': self.logits}

    def rows(self, name, rows):
        assert name == 'train.feature_maps'
        return self.states[rows]


@pytest.mark.parametrize('normalized', [False, True])
@pytest.mark.parametrize('match', [([1, 3], [0, 2]), ([5], [1]), None])
def test_a_batch_learns_from_its_rows_by_the_flags(match, normalized):
    """Of the teacher's outputs and its own states those that are matched, weighed as the flags say."""
    teacher, labels = Teacher(), np.random.default_rng(6).integers(0, 3, 9)
    args = parse(TRAIN, '', ['--train_type=pkd', '--alpha=0.3', '--T=3', '--beta=20', f'--normalize_patience={normalized}'])
    rows, numbers = np.array([7, 2, 4]), np.random.default_rng(7)
    y, states = numbers.normal(0, 2, (3, 3)), numbers.normal(0.5, 2, (3, 4, 8))
    losses = make_objective(args, SimpleNamespace(labels=labels), teacher, match)(rows, *tensors((y, states)))
    kd, ce = divergence(y, teacher.logits[rows].astype(float), 3), cross_entropy(y, labels[rows])
    at = patience(teacher.states[rows].astype(float)[:, match[0]], states[:, match[1]], normalized) if match else 0
    assert [losses.kd.item(), losses.ce.item(), losses.patience.item()] == pytest.approx([kd, ce, at], rel=1e-5)
    assert losses.total.item() == pytest.approx(0.3 * kd + 0.7 * ce + 20 * at, rel=1e-5)
    assert losses.accuracy.item() == pytest.approx(np.mean(y.argmax(1) == labels[rows]))


@pytest.mark.parametrize('flags, expected', [
    *(([f'--model_type={model_type}', f'--student_hidden_layers={layers}'], match)
      for (model_type, layers), match in TABLE.items()),
    (['--model_type=SPS_no_shuffle', '--student_hidden_layers=6'], TABLE['SPS', 6]),
    (['--passes=1,2,3,4,5,6,4x,5x,6x', '--student_hidden_layers=6'], TABLE['SPS', 6]),
    (['--model_type=SPS', '--student_hidden_layers=6', '--fc_layer_idx=1,10'], ([1, 10], [2, 5])),
    (['--student_hidden_layers=3', '--fc_layer_idx=0,11'], ([0, 11], [0, 1]))], ids=str)
def test_the_script_matches_by_the_table(flags, expected):
    args = parse(TRAIN, '', ['--train_type=pkd', *flags])
    teacher = SimpleNamespace(arrays={'train.feature_maps': np.zeros((1, 12, 8), np.float16)})
    found = patience_match(args, student_config(args, BertConfig(99, 8, 12, 1, 8)), teacher)
    assert found == (expected if expected[0] else None)
