"""BertAdam against its formula in NumPy float64 and against pytorch_pretrained_bert 0.6.2."""
import copy
import io
import math

import numpy as np
import pytest
import torch
from torch import nn

from BERT.pytorch_pretrained_bert.optimization import (
    SCHEDULES,
    BertAdam,
    clip_each,
    clip_each_on_cpu,
    no_decay_groups,
)

STEPS = 50


def factor_by_hand(schedule, warmup, t_total, step):
    if schedule in (None, 'none') or t_total == -1:
        return 1.0
    x, w = step / t_total, max(warmup, 0)
    if x < w:
        return x / w
    if schedule == 'warmup_constant':
        return 1.0
    rest = min((x - w) / (1 - w), 1)      # part of the time after warm-up that is over
    return 1 - rest if schedule == 'warmup_linear' else 0.5 + 0.5 * math.cos(math.pi * rest)


def adam_by_hand(p, grads, lr, schedule='warmup_linear', warmup=-1, t_total=-1, b1=0.9, b2=0.999, e=1e-6,
                 weight_decay=0.01, max_grad_norm=1.0):
    """Final value of the float64 array p after one update for each of grads."""
    p, m, v = p.copy(), np.zeros_like(p), np.zeros_like(p)
    for step, g in enumerate(grads):
        if max_grad_norm > 0:
            g = g * min(1, max_grad_norm / (np.sqrt((g * g).sum()) + 1e-6))
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        p = p - lr * factor_by_hand(schedule, warmup, t_total, step) * (m / (np.sqrt(v) + e) + weight_decay * p)
    return p


def random_gradients(rng, shape, steps=STEPS):
    """Norms from about 0.2 to 5: some are clipped at 1, some are not."""
    grads = [rng.standard_normal(shape) for _ in range(steps)]
    return [g / np.linalg.norm(g) * norm for g, norm in zip(grads, np.geomspace(0.2, 5, steps), strict=True)]


def run(p, grads, **arguments):
    parameter = nn.Parameter(torch.tensor(p))
    optimizer = BertAdam([parameter], **arguments)
    for g in grads:
        parameter.grad = torch.tensor(g, dtype=parameter.dtype)
        optimizer.step()
    return parameter.detach().numpy()


@pytest.mark.parametrize('arguments', [
    dict(),
    dict(warmup=0.1, t_total=STEPS),
    dict(warmup=0.2, t_total=40),
    dict(t_total=STEPS, weight_decay=0.0),
    dict(schedule='warmup_constant', warmup=0.3, t_total=STEPS, max_grad_norm=-1),
    dict(schedule='warmup_cosine', warmup=0.1, t_total=STEPS, b1=0.8, b2=0.99),
    dict(schedule='warmup_cosine', t_total=30),
    dict(schedule='none', warmup=0.1, t_total=STEPS, e=1e-3),
    dict(schedule=None, t_total=STEPS, max_grad_norm=0.3, weight_decay=0.1),
    dict(b1=0.0, b2=1 - 1e-9),
])
@pytest.mark.parametrize(('dtype', 'tolerance'), [(np.float64, 1e-12), (np.float32, 2e-6)])
def test_fifty_steps_follow_the_formula(arguments, dtype, tolerance):
    rng = np.random.default_rng(0)
    p, grads = rng.standard_normal((7, 33)), random_gradients(rng, (7, 33))
    got = run(p.astype(dtype), grads, lr=1e-2, **arguments)
    expected = adam_by_hand(p, grads, lr=1e-2, **arguments)
    assert np.abs(expected - p).max() > 0.05      # it went somewhere
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def test_schedules_at_chosen_points():
    at = {name: [schedule(x, 0.2) for x in (0, 0.1, 0.2, 0.6, 1, 1.5)] for name, schedule in SCHEDULES.items()}
    assert at['warmup_linear'] == pytest.approx([0, 0.5, 1, 0.5, 0, 0])
    assert at['warmup_constant'] == pytest.approx([0, 0.5, 1, 1, 1, 1])
    assert at['warmup_cosine'] == pytest.approx([0, 0.5, 1, 0.5, 0, 0])
    assert at['none'] == [1] * 6
    assert SCHEDULES['warmup_linear'](0, 0) == SCHEDULES['warmup_cosine'](0, 0) == 1


def small_net():
    torch.manual_seed(3)
    return nn.Sequential(nn.Embedding(11, 8), nn.Linear(8, 16), nn.LayerNorm(16), nn.Tanh(), nn.Linear(16, 3))


@pytest.mark.parametrize('arguments', [
    dict(warmup=0.1, t_total=STEPS),
    dict(schedule='warmup_constant', warmup=0.2, t_total=STEPS, weight_decay=0.1),
    dict(schedule='warmup_cosine', t_total=STEPS, max_grad_norm=0.5),
    dict(schedule='none', max_grad_norm=-1),
    dict(warmup=0.1),
])
@pytest.mark.filterwarnings('ignore')
def test_same_as_pytorch_pretrained_bert(arguments):
    published = pytest.importorskip('pytorch_pretrained_bert.optimization').BertAdam
    nets = [small_net(), small_net()]
    optimizers = [make(net.parameters(), lr=5e-3, **arguments)
                  for make, net in zip((BertAdam, published), nets, strict=True)]
    data = torch.Generator().manual_seed(0)
    norms = []
    for step in range(STEPS):
        inputs, targets = torch.randint(11, (16,), generator=data), torch.randint(3, (16,), generator=data)
        for net in nets:
            net.zero_grad()
            (nn.functional.cross_entropy(net(inputs), targets) * (1 + step % 5 * 3)).backward()
        norms += [p.grad.norm().item() for p in nets[0].parameters()]
        for optimizer in optimizers:
            optimizer.step()
        assert optimizers[0].get_lr() == pytest.approx(optimizers[1].get_lr(), abs=1e-15)
    clipped = sum(norm > 1 for norm in norms)
    assert clipped > 50 and len(norms) - clipped > 50
    for ours, theirs in zip(*(net.parameters() for net in nets), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-5, atol=2e-6)
    ours, theirs = (optimizer.state_dict()['state'] for optimizer in optimizers)
    assert ours.keys() == theirs.keys()
    for index in ours:
        assert ours[index].keys() == theirs[index].keys() and ours[index]['step'] == theirs[index]['step'] == STEPS
        torch.testing.assert_close(ours[index]['next_m'], theirs[index]['next_m'], rtol=1e-4, atol=1e-6)


def train(net, optimizer, seed, steps=5):
    data = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        net.zero_grad()
        inputs, targets = torch.randint(11, (16,), generator=data), torch.randint(3, (16,), generator=data)
        nn.functional.cross_entropy(net(inputs), targets).backward()
        optimizer.step()


def test_a_reloaded_state_continues_bit_for_bit():
    def make(net):
        return BertAdam(no_decay_groups(net.named_parameters()), lr=1e-2, warmup=0.3, t_total=10)

    net = small_net()
    optimizer = make(net)
    train(net, optimizer, seed=0)
    buffer = io.BytesIO()
    torch.save(optimizer.state_dict(), buffer)
    buffer.seek(0)
    other_net = copy.deepcopy(net)
    other = make(other_net)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    train(net, optimizer, seed=1)
    train(other_net, other, seed=1)
    for a, b in zip(net.parameters(), other_net.parameters(), strict=True):
        assert torch.equal(a, b)
    assert other.get_lr() == optimizer.get_lr()


def test_groups_keep_their_own_values():
    rng = np.random.default_rng(1)
    p, grads = rng.standard_normal(9), random_gradients(rng, 9, 10)
    first, second = (nn.Parameter(torch.tensor(p)) for _ in range(2))
    optimizer = BertAdam([{'params': [first], 'weight_decay': 0.0}, {'params': [second], 'lr': 1e-3, 't_total': 10}],
                         lr=1e-2)
    for g in grads:
        first.grad, second.grad = torch.tensor(g), torch.tensor(g)
        optimizer.step()
    np.testing.assert_allclose(first.detach(), adam_by_hand(p, grads, 1e-2, weight_decay=0.0), atol=1e-12)
    np.testing.assert_allclose(second.detach(), adam_by_hand(p, grads, 1e-3, t_total=10), atol=1e-12)


def test_parameters_without_gradient_wait():
    rng = np.random.default_rng(2)
    p, grads = rng.standard_normal(5), random_gradients(rng, 5, 6)
    always, late, never = (nn.Parameter(torch.tensor(p)) for _ in range(3))
    optimizer = BertAdam([always, late, never], lr=1e-2, warmup=0.5, t_total=8)
    assert optimizer.get_lr() == [0.0]
    for step, g in enumerate(grads):
        always.grad, late.grad = torch.tensor(g), torch.tensor(g) if step >= 4 else None
        optimizer.step()
    arguments = dict(lr=1e-2, warmup=0.5, t_total=8)
    np.testing.assert_allclose(always.detach(), adam_by_hand(p, grads, **arguments), atol=1e-12)
    np.testing.assert_allclose(late.detach(), adam_by_hand(p, grads[4:], **arguments), atol=1e-12)
    assert np.array_equal(never.detach(), p) and never not in optimizer.state
    assert optimizer.get_lr() == pytest.approx([1e-2 * 0.5, 1e-2 * 0.5])      # after 6 and after 2 of 8 steps


def test_strides_do_not_matter():
    rng = np.random.default_rng(3)
    p, g = rng.standard_normal((4, 6)), rng.standard_normal((4, 6))
    row = rng.standard_normal(6)
    storage = torch.zeros(4, 10, dtype=torch.float64)
    storage[:, :6] = torch.tensor(p)
    sliced = nn.Parameter(storage[:, :6])
    turned = nn.Parameter(torch.tensor(p.T.copy()).T)
    plain = nn.Parameter(torch.tensor(p))
    sliced.grad, turned.grad = torch.tensor(g), torch.tensor(g)
    plain.grad = torch.tensor(row).expand(4, 6)
    BertAdam([sliced, turned, plain], lr=1e-2, max_grad_norm=-1).step()
    for parameter, gradient in ((sliced, g), (turned, g), (plain, np.tile(row, (4, 1)))):
        expected = adam_by_hand(p, [gradient], lr=1e-2, max_grad_norm=-1)
        np.testing.assert_allclose(parameter.detach(), expected, atol=1e-12)
    assert not storage[:, 6:].any()


@pytest.mark.parametrize('clip', [clip_each, clip_each_on_cpu])
def test_clipping_is_that_of_torch_for_each_tensor(clip):
    torch.manual_seed(0)
    grads = [torch.randn(shape) * scale for shape, scale in (((3, 5), 10), ((70,), 0.01), ((), 3), ((2, 2), 0.0))]
    expected = []
    for grad in grads:
        parameter = nn.Parameter(torch.zeros_like(grad))
        parameter.grad = grad.clone()
        nn.utils.clip_grad_norm_(parameter, 0.7)
        expected.append(parameter.grad)
    norms = sum(grad.norm().item() for grad in grads)
    assert float(clip(grads, 0.7)) == pytest.approx(norms, rel=1e-6)
    torch.testing.assert_close(grads, expected)
    assert grads[0].norm().item() == pytest.approx(0.7, rel=1e-4)
    broken = [torch.tensor([1.0, math.nan])]
    assert math.isnan(clip(broken, 0.7))
    assert broken[0].isnan().all()


def test_sparse_gradients_are_refused_before_anything_changes():
    net = nn.ModuleList([nn.Linear(4, 4), nn.Embedding(5, 4, sparse=True)])
    (net[0].weight.sum() + net[1](torch.tensor([1, 2])).sum()).backward()
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(RuntimeError, match='sparse=False'):
        BertAdam(net.parameters(), lr=0.1).step()
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


def test_closure_gives_gradients_and_the_loss():
    p = nn.Parameter(torch.tensor([2.0]))
    optimizer = BertAdam([p], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = (p ** 2).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 4.0 and p.item() < 2.0


def test_warns_once_past_the_end_and_for_warmup_without_end(caplog):
    p = nn.Parameter(torch.ones(2))
    optimizer = BertAdam([p], lr=0.1, t_total=2)
    for _ in range(2):
        p.grad = torch.ones(2)
        optimizer.step()
    assert optimizer.get_lr() == [0.0] and not caplog.messages
    before = p.detach().clone()
    for _ in range(2):
        optimizer.step()
    assert torch.equal(p, before)
    assert caplog.messages == ['BertAdam: step 3 of a training of t_total = 2 steps']
    caplog.clear()
    BertAdam([p], lr=0.1, warmup=0.1)
    assert 'no effect without t_total' in caplog.text


@pytest.mark.parametrize(('key', 'value'), [
    ('lr', -1e-5), ('lr', math.nan), ('warmup', 1.0), ('warmup', -0.5), ('t_total', 0), ('t_total', -2),
    ('schedule', 'linear'), ('b1', 1.0), ('b1', -0.1), ('b2', 1.0), ('e', -1e-8), ('weight_decay', -0.01),
    ('max_grad_norm', math.nan)])
def test_bad_values_are_named_in_one_line(key, value):
    p = nn.Parameter(torch.ones(2))
    with pytest.raises(ValueError, match=f'^BertAdam: {key} is .*must be.*$') as everywhere:
        BertAdam([p], **{'lr': 0.1, key: value})
    with pytest.raises(ValueError, match=f'^BertAdam: {key} is ') as in_group:
        BertAdam([{'params': [p], key: value}], lr=0.1)
    assert str(everywhere.value) == str(in_group.value)
    assert repr(value) in str(everywhere.value) and '\n' not in str(everywhere.value)


def test_no_decay_groups():
    names = ['bert.embeddings.word_embeddings.weight', 'bert.embeddings.LayerNorm.weight',
             'bert.embeddings.LayerNorm.bias', 'a.LayerNorm.gamma', 'a.LayerNorm.beta', 'a.dense.weight',
             'a.dense.bias', 'bias', 'frozen.weight', 'frozen.bias']
    named = {name: nn.Parameter(torch.zeros(1), requires_grad='frozen' not in name) for name in names}
    decay, no_decay = no_decay_groups(named.items(), weight_decay=0.3)
    name_of = {id(p): name for name, p in named.items()}
    assert [name_of[id(p)] for p in decay['params']] == [names[0], 'a.dense.weight'] and decay['weight_decay'] == 0.3
    assert [name_of[id(p)] for p in no_decay['params']] == names[1:5] + names[6:8] and no_decay['weight_decay'] == 0
    assert len(no_decay_groups([('x.weight', named['bias'])])) == 1
