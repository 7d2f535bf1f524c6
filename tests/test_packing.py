"""Batches without padding against the padded forward (which test_modeling.py holds to HF's), and the dropout masks."""
import functools
import math

import numpy as np
import pytest
import torch

from BERT.pytorch_pretrained_bert import BertConfig, BertModel, linear
from BERT.pytorch_pretrained_bert.attention import _Attention, attention
from BERT.pytorch_pretrained_bert.dropout import STEPS, dropout, dropout_add, keep_mask
from BERT.pytorch_pretrained_bert.inference import PackedLinear, packed_for_inference
from BERT.pytorch_pretrained_bert.linear import Linear, has_onednn
from BERT.pytorch_pretrained_bert.packing import packed_batch, packed_layout
from src.modeling import SequenceClassifier, wiring

# Lengths of the examples of a batch; sorted, as training gives them, and not, which must change nothing.
BATCHES = {
    'ragged': [17, 12, 9, 9, 5, 3], 'equal': [11] * 5, 'equal, no padding': [16] * 8, 'one': [7], 'one of 128': [128],
    'one of two tokens': [2], 'over a group': [30, 21, 20, 13, 13, 9, 8, 7, 6], 'three groups': list(range(20, 2, -1)),
    'up to 128': [128, 128, 100, 64, 3], 'rows a multiple of 64': [64, 40, 24],
    'unsorted': [3, 40, 8, 17, 2, 33, 9, 9, 26],
}
PASSES = {'plain': None, 'SPS': wiring('SPS', 2), 'one pass': [[1, True]]}


def random_model(passes=None, **more):
    """A classifier in evaluation mode with weights far from their initial values."""
    config = BertConfig(60, 32, 2, 4, 48, max_position_embeddings=128, passes=passes, **more)
    torch.manual_seed(5)
    model = SequenceClassifier(config, 3).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.2 + ('LayerNorm.weight' in name))
    return model


def random_batch(lengths, seed=0):
    """(packed batch, (input_ids, segment_ids, mask) padded row by row) of the same examples."""
    numbers = np.random.default_rng(seed)
    examples = [numbers.integers(1, 60, length) for length in lengths]
    firsts = np.array([int(numbers.integers(1, length + 1)) for length in lengths])
    padded = torch.zeros(3, len(lengths), max(lengths), dtype=torch.long)
    for row, (ids, first) in enumerate(zip(examples, firsts, strict=True)):
        padded[0, row, :len(ids)] = torch.from_numpy(ids)
        padded[1, row, first:len(ids)] = 1
        padded[2, row, :len(ids)] = 1
    return packed_batch(np.concatenate(examples), firsts, np.array(lengths)), tuple(padded)


def padded_outputs(model: BertModel, padded):
    """([CLS] states [B, L, H], pooled output [B, H]) by the padded forward."""
    encoded_layers, pooled_output = model(*padded)
    return torch.stack([layer[:, 0] for layer in encoded_layers], dim=1), pooled_output


def gradients(model, outputs):
    """Gradient of every used parameter (flat, float64), of a fixed random sum over the outputs."""
    generator = torch.Generator().manual_seed(9)
    weights = [torch.randn(output.shape, generator=generator, dtype=torch.float64) for output in outputs]
    model.zero_grad()
    sum((weight * output).sum() for weight, output in zip(weights, outputs, strict=True)).backward()
    return {name: parameter.grad.double().flatten() for name, parameter in model.named_parameters()
            if parameter.grad is not None}


# encode on packed batches = forward on padded ones

@pytest.mark.parametrize('wired', PASSES)
@pytest.mark.parametrize('lengths', BATCHES.values(), ids=BATCHES)
def test_packed_outputs_equal_padded_ones(lengths, wired):
    model, (packed, padded) = random_model(PASSES[wired]), random_batch(lengths)
    with torch.no_grad():
        logits, pooled, states = model(packed)
        expected_states, expected_pooled = padded_outputs(model.encoder.bert, padded)
        expected_logits = model.classifier(expected_pooled)
    assert states.shape == (len(lengths), len(model.config.layer_passes()), 32)
    for got, expected in ((states, expected_states), (pooled, expected_pooled), (logits, expected_logits)):
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize('wired', PASSES)
@pytest.mark.parametrize('lengths', BATCHES.values(), ids=BATCHES)
def test_packed_gradients_equal_padded_ones(lengths, wired):
    """In float64, where what differs is an error and not rounding (a key's bias has a gradient of 0 up to rounding)."""
    model, (packed, padded) = random_model(PASSES[wired]).encoder.bert.double(), random_batch(lengths)
    expected = gradients(model, padded_outputs(model, padded))
    got = gradients(model, model.encode(packed))
    assert got.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(got[name], gradient, rtol=0, atol=1e-11 * max(1, gradient.abs().max()), msg=name)
    assert expected['pooler.dense.weight'].norm() > 1


@pytest.mark.parametrize('case', ['ragged', 'equal', 'one', 'over a group', 'up to 128'])
def test_packed_gradients_in_fp32(case):
    model, (packed, padded) = random_model(PASSES['SPS']), random_batch(BATCHES[case])
    logits, _, states = model(packed)
    got = gradients(model, (logits, states))
    states, pooled = padded_outputs(model.encoder.bert, padded)
    expected = gradients(model, (model.classifier(pooled), states))
    largest = max(gradient.norm() for gradient in expected.values())
    for name, gradient in expected.items():
        assert (got[name] - gradient).norm() <= 1e-5 * max(gradient.norm(), largest / 10), name


@pytest.mark.parametrize('case', ['ragged', 'one', 'three groups'])
def test_the_last_pass_for_first_tokens_alone_changes_nothing(case):
    model, (packed, _) = random_model(PASSES['SPS']).encoder.bert.double(), random_batch(BATCHES[case])

    def outputs(first_only):
        *earlier, last = model.encoder(model.embeddings(packed), packed.layout, first_only)
        if not first_only:
            assert last.shape == earlier[0].shape
            last = last[packed.layout.first_rows]
        return [*(hidden[packed.layout.first_rows] for hidden in earlier), last]

    whole, alone = outputs(False), outputs(True)
    for got, expected in zip(alone, whole, strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)
    expected, got = gradients_of_used(model, whole), gradients_of_used(model, alone)
    for name in expected:
        torch.testing.assert_close(got[name], expected[name], rtol=0, atol=1e-10, msg=name)


def gradients_of_used(model, outputs):
    for parameter in model.pooler.parameters():      # not reached from the encoder's outputs
        parameter.grad = torch.zeros_like(parameter)
    model.encoder.zero_grad()
    model.embeddings.zero_grad()
    sum((output ** 3).sum() for output in outputs).backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize('case', ['ragged', 'rows a multiple of 64', 'three groups'])
def test_spare_rows_get_no_gradient_and_have_no_effect(case):
    model, (packed, _) = random_model(PASSES['SPS']).encoder.bert, random_batch(BATCHES[case])
    n = packed.layout.num_tokens
    hidden = model.embeddings(packed).detach().requires_grad_()
    outputs = model.encoder(hidden, packed.layout, last_first_only=True)
    states = torch.cat([*(layer[packed.layout.first_rows] for layer in outputs[:-1]), outputs[-1]])
    (states ** 3).sum().backward()
    assert len(hidden) > n and (hidden.grad[n:] == 0).all() and (hidden.grad[:n] != 0).any(dim=1).all()
    other = packed._replace(input_ids=packed.input_ids.clone(), position_ids=packed.position_ids.clone())
    other.input_ids[n:], other.position_ids[n:] = 59, 100
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(model.encode(other), model.encode(packed), strict=True))


# The layout itself

def test_a_batch_written_out():
    batch = packed_batch(np.array([11, 12, 13, 14, 21, 22, 23]), np.array([3, 2]), np.array([4, 3]))
    assert batch.input_ids.tolist() == [11, 12, 13, 14, 21, 22, 23] + [0] * 57
    assert batch.segment_ids.tolist() == [0, 0, 0, 1, 0, 0, 1] + [0] * 57
    assert batch.position_ids.tolist() == [0, 1, 2, 3, 0, 1, 2] + [0] * 57
    assert batch.layout.first_rows.tolist() == [0, 4] and batch.layout.num_tokens == 7
    assert all(ids.dtype == torch.int64 for ids in batch[:3])
    assert batch.layout.groups == [(0, 0, 2, 8)]
    mask, = batch.layout.masks()
    assert mask.tolist() == [[[[True] * 4 + [False] * 4]], [[[True] * 3 + [False] * 5]]]
    bias, = batch.layout.biases(2, torch.float32)
    assert torch.equal(bias == 0, mask.view(2, 1, 8).repeat_interleave(2, 0)) and bias.min() == torch.finfo(bias.dtype).min
    assert batch.layout.rows.tolist() == [0, 1, 2, 3, *[63] * 4, 4, 5, 6, *[63] * 5]
    assert batch.to('cpu') is batch
    rows = torch.arange(64 * 2)[:, None].float()                    # 64 rows of two heads of width 1
    heads = batch.layout.to_heads(rows.view(64, 2), 2).view(2, 2, 8).tolist()
    assert heads[0] == [[0, 2, 4, 6, *[126] * 4], [1, 3, 5, 7, *[127] * 4]]
    assert heads[1] == [[8, 10, 12, *[126] * 5], [9, 11, 13, *[127] * 5]]


@pytest.mark.parametrize('lengths', BATCHES.values(), ids=BATCHES)
def test_rows_go_to_heads_and_back(lengths):
    layout = packed_layout(np.array(lengths))
    n, heads, width = sum(lengths), 3, 2
    assert layout.num_rows % 64 == 0 and 0 < layout.num_rows - n <= 64
    rows = torch.randn(layout.num_rows, heads * width, dtype=torch.float64, requires_grad=True)
    moved = layout.to_heads(rows, heads)
    starts, example, place = np.cumsum([0, *lengths]), 0, 0
    for group, mask in zip(layout.groups, layout.masks(), strict=True):
        size = group.examples * group.tokens
        assert group[:2] == (place, example) and group.tokens % 8 == 0
        part = moved[place * heads:(place + size) * heads].view(group.examples, heads, group.tokens, width)
        for one in range(group.examples):
            length = lengths[example]
            expected = rows[starts[example]:starts[example] + length].view(length, heads, width).transpose(0, 1)
            assert torch.equal(part[one, :, :length], expected)
            assert (part[one, :, length:] == rows[-1].view(heads, 1, width)).all()
            assert mask[one, 0, 0].tolist() == [t < length for t in range(group.tokens)]
            example += 1
        of_group = lengths[group.first_example:example]
        assert group.tokens - max(of_group) in range(8)
        if lengths == sorted(lengths, reverse=True):
            assert min(of_group) >= 0.75 * max(of_group)
            assert example == len(lengths) or lengths[example] < 0.75 * max(of_group)
        place += size
    assert example == len(lengths) and place * heads == len(moved)
    back = layout.to_rows(moved, heads)
    assert torch.equal(back[:n], rows[:n]) and (back[n:] == 0).all()
    weight = torch.randn_like(rows)
    gradient, = torch.autograd.grad((back * weight).sum(), rows)
    assert torch.equal(gradient[:n], weight[:n]) and (gradient[n:] == 0).all()


# Attention

def head_rows(layout, heads, first_only=False, width=4):
    """Random query, key and value of a layout."""
    torch.manual_seed(1)
    examples = sum(group.examples for group in layout.groups)
    sizes = [examples if first_only else len(layout.rows)] + 2 * [len(layout.rows)]
    return [torch.randn(size * heads, width, dtype=torch.float64, requires_grad=True) for size in sizes]


def written_out(query, key, value, layout, heads, first_only, drop=lambda weights: weights):
    """Attention by the formula; drop: what becomes of the weights."""
    results = []
    for group, mask in zip(layout.groups, layout.masks(), strict=True):
        shape = (group.examples, heads, -1, query.size(1))
        k, v = (x[group.start * heads:][:group.examples * group.tokens * heads].view(shape) for x in (key, value))
        start, tokens = (group.first_example, 1) if first_only else (group.start, group.tokens)
        q = query[start * heads:][:group.examples * tokens * heads].view(shape)
        scores = (q @ k.transpose(2, 3) / math.sqrt(query.size(1))).masked_fill(~mask, -math.inf)
        results.append((drop(scores.softmax(-1).flatten(0, 1)) @ v.flatten(0, 1)).view(-1, query.size(1)))
    return torch.cat(results)


@pytest.mark.parametrize('first_only', [False, True])
@pytest.mark.parametrize('p', [0, 1e-9, 0.4])
def test_attention_is_the_formula(p, first_only):
    """With the masks of the same seed where something is dropped; a rate of 1e-9 rounds to none."""
    layout = packed_layout(np.array([11, 9, 5, 2]))
    inputs = head_rows(layout, 2, first_only)

    def drop(weights):
        dropped = round(p * STEPS)
        return weights * keep_mask(weights, dropped) * STEPS / (STEPS - dropped) if dropped else weights

    torch.manual_seed(3)
    got = attention(*inputs, layout, 2, first_only, p)
    torch.manual_seed(3)
    expected = written_out(*inputs, layout, 2, first_only, drop)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)
    weight = torch.randn_like(got)
    for one, other in zip(torch.autograd.grad((got * weight).sum(), inputs),
                          torch.autograd.grad((expected * weight).sum(), inputs), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_one_layout_serves_models_of_other_head_counts():
    layout = packed_layout(np.array([11, 9, 5, 2]))
    for heads in (2, 4, 2):
        inputs = head_rows(layout, heads)
        torch.testing.assert_close(attention(*inputs, layout, heads, False, 0.0), written_out(*inputs, layout, heads, False),
                                   rtol=0, atol=1e-12)


def test_gradcheck_of_attention():
    layout = packed_layout(np.array([3, 2]))

    def seeded(*inputs):
        torch.manual_seed(4)
        return _Attention.apply(*inputs, layout, 2, False, STEPS // 4)
    assert torch.autograd.gradcheck(seeded, head_rows(layout, 2, width=2))


def test_attention_on_cuda_is_the_same_one(monkeypatch):
    """What runs there is torch's fused kernel, which a CPU has too: tensors that say they are on CUDA take that way."""
    layout = packed_layout(np.array([11, 9, 5, 2]))
    for first_only in (False, True):
        inputs = head_rows(layout, 2, first_only)
        expected = attention(*inputs, layout, 2, first_only, 0.0)
        with monkeypatch.context() as patched:
            patched.setattr(torch.Tensor, 'is_cuda', True)
            got = attention(*inputs, layout, 2, first_only, 0.0)
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


# Linear layers

CPU = torch.device('cpu')
with_onednn = pytest.mark.skipif(not has_onednn(CPU, torch.float32), reason='no oneDNN here')


@with_onednn
@pytest.mark.parametrize('rows', [1, 5, 130])
def test_fp32_linear_layers_and_their_gradients(rows, monkeypatch):
    monkeypatch.setattr(linear, 'TRAINS_WITH_ONEDNN', True)
    torch.manual_seed(0)
    layer, x, grad = Linear(48, 32), torch.randn(rows, 48, requires_grad=True), torch.randn(rows, 32)
    inputs = (x, layer.weight, layer.bias)
    precise = [tensor.detach().double().requires_grad_() for tensor in inputs]
    expected = torch.nn.functional.linear(*precise)
    with monkeypatch.context() as patched:      # it must not be torch's
        patched.setattr(torch.nn.functional, 'linear', None)
        got = layer(x)
    torch.testing.assert_close(got.double(), expected, rtol=0, atol=1e-5)
    for one, other in zip(torch.autograd.grad(got, inputs, grad), torch.autograd.grad(expected, precise, grad.double()),
                          strict=True):
        assert (one - other).norm() <= 1e-6 * other.norm()


def test_onednn_trains_in_fp32_with_avx512_alone(monkeypatch):
    with_avx512 = '_LinearBackward' in str(Linear(48, 32)(torch.randn(7, 48)).grad_fn)
    assert with_avx512 == (torch.backends.cpu.get_cpu_capability() == 'AVX512' and has_onednn(CPU, torch.float32))
    monkeypatch.setattr(linear, 'TRAINS_WITH_ONEDNN', False)
    layer, x = Linear(48, 32), torch.randn(7, 48)
    assert 'Addmm' in str(layer(x).grad_fn)


def test_onednn_is_for_the_cpu_and_for_types_it_knows(monkeypatch):
    assert not has_onednn(torch.device('cuda'), torch.float32) and not has_onednn(CPU, torch.float64)
    monkeypatch.setattr(torch.backends.mkldnn, 'is_available', lambda: False)
    assert not has_onednn(CPU, torch.float32)


@with_onednn
def test_a_cpu_without_bf16_evaluates_in_bf16_all_the_same(monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, '_is_mkldnn_bf16_supported', lambda: False)
    model, (packed, _) = random_model(), random_batch(BATCHES['ragged'])
    assert has_onednn(CPU, torch.float32) and not has_onednn(CPU, torch.bfloat16)
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16), packed_for_inference(model.encoder, torch.bfloat16):
        assert not any(isinstance(part, PackedLinear) for part in model.modules())
        model(packed)


def test_linear_layers_in_other_types_are_torchs():
    layer, x = Linear(48, 32), torch.randn(7, 48)
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(layer(x), torch.nn.functional.linear(x, layer.weight, layer.bias))
    assert layer.double()(x.double()).dtype == torch.float64


# Evaluation

@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_packed_layers_compute_the_same_and_leave_the_model_as_it_was(dtype):
    if not has_onednn(CPU, dtype):
        pytest.skip(f'no oneDNN with {dtype} here')
    model, (packed, _) = random_model(PASSES['SPS']), random_batch(BATCHES['three groups'])
    names, parameters = list(model.state_dict()), list(model.parameters())
    outputs = []
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16, enabled=dtype == torch.bfloat16):
        outputs.append(model(packed))
        with packed_for_inference(model.encoder, dtype):
            assert sum(isinstance(part, PackedLinear) for part in model.modules()) == 2 * 6 + 1
            outputs.append(model(packed))
        outputs.append(model(packed))
    assert list(model.state_dict()) == names and all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    for plain, fast, after in zip(*outputs, strict=True):
        assert torch.equal(plain, after) and plain.dtype == fast.dtype
        assert (fast - plain).float().norm() <= (1e-5 if dtype == torch.float32 else 2e-2) * plain.float().norm()


@with_onednn
def test_other_activations_stay_behind_the_packed_product():
    model, (packed, _) = random_model(hidden_act='relu'), random_batch(BATCHES['ragged'])
    with torch.no_grad():
        plain = model(packed)[0]
        with packed_for_inference(model.encoder, torch.float32):
            torch.testing.assert_close(model(packed)[0], plain, rtol=1e-5, atol=1e-5)


def test_bf16_stays_as_close_to_fp32_as_bf16_weights_do():
    transformers = pytest.importorskip('transformers')
    config = {'vocab_size': 60, 'hidden_size': 32, 'num_hidden_layers': 4, 'num_attention_heads': 4,
              'intermediate_size': 48, 'max_position_embeddings': 128}
    model = random_model(wiring('SPS_no_shuffle', 2))
    state = model.encoder.bert.state_dict()
    state |= {name.replace(f'layer.{n}.', f'layer.{n + 2}.'): tensor for n in (0, 1) for name, tensor in state.items()
              if f'layer.{n}.' in name}
    theirs = transformers.BertModel(transformers.BertConfig(**config)).eval()
    theirs.load_state_dict(state)
    packed, padded = random_batch([60, 44, 31, 30, 29, 17, 17, 9, 5])
    with torch.no_grad():
        expected, _ = padded_outputs(model.encoder.bert, padded)
        with torch.autocast('cpu', torch.bfloat16):
            logits, _, states = model(packed)
        low = theirs.bfloat16()(padded[0], padded[2], padded[1], output_hidden_states=True).hidden_states[1:]
    assert states.dtype == torch.bfloat16 and logits.dtype == torch.float32
    low = torch.stack([layer[:, 0] for layer in low], dim=1).float()
    ours = (states.float() - expected).square().mean().sqrt()
    assert 0 < ours <= 1.5 * (low - expected).square().mean().sqrt() < 0.1 * expected.square().mean().sqrt()


def test_bf16_gradients_are_close_to_fp32_ones():
    model, (packed, _) = random_model(PASSES['SPS']), random_batch(BATCHES['three groups'])
    logits, _, states = model(packed)
    expected = torch.cat(list(gradients(model, (logits, states)).values()))
    with torch.autocast('cpu', torch.bfloat16):
        logits, _, states = model(packed)
    got = torch.cat(list(gradients(model, (logits, states)).values()))
    assert 0 < (got - expected).norm() < 0.05 * expected.norm()


# Dropout

def kept_share_is(kept, p):
    """Whether the share of True is 1 - p, within five standard deviations."""
    return abs(kept.double().mean() - (1 - p)) < 5 * math.sqrt(p * (1 - p) / kept.numel())


@pytest.mark.parametrize('kind', [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize('p', [0.1, 0.5, 0.9])
def test_dropout_rate_and_scale(kind, p):
    torch.manual_seed(0)
    x = torch.ones(400, 1001, dtype=kind)
    out = dropout(x, p)
    assert out.dtype == kind and out.shape == x.shape
    kept = out != 0
    assert kept_share_is(kept, p)
    rounding = 1e-4 + torch.finfo(kind).eps
    assert (out[kept].double() * (1 - p) - 1).abs().max() < rounding
    # Four neighbours come from one random number: each slice must have the rate, and no two may go together.
    flat = kept.flatten()
    for step in range(4):
        assert kept_share_is(flat[step::4], p)
    for step in (1, 2, 3, 4, 1001):
        assert kept_share_is(flat[:-step] & flat[step:], 1 - (1 - p) ** 2)


@pytest.mark.parametrize('kind', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('with_residual', [False, True])
@pytest.mark.parametrize('shape', [(1,), (5,), (3, 7), (4, 6, 9)])
def test_the_gradient_is_the_forwards_mask_times_the_scale(kind, with_residual, shape):
    torch.manual_seed(2)
    x, residual, grad = (torch.randn(shape).sign().mul(torch.rand(shape) + 0.5).to(kind) for _ in range(3))
    x.requires_grad_()
    residual.requires_grad_()
    torch.manual_seed(3)
    mask = (dropout(x, 0.25) != 0).detach()
    torch.manual_seed(3)
    out = dropout_add(x, residual, 0.25) if with_residual else dropout(x, 0.25)
    expected = x.detach().double() * mask / 0.75 + (residual.detach().double() if with_residual else 0)
    tolerance = {'rtol': 4 * torch.finfo(kind).eps, 'atol': 4 * torch.finfo(kind).eps}
    torch.testing.assert_close(out.detach().double(), expected, **tolerance)
    out.backward(grad)
    assert x.grad.dtype == kind
    torch.testing.assert_close(x.grad.double(), grad.double() * mask / 0.75, **tolerance)
    assert torch.equal(residual.grad, grad) if with_residual else residual.grad is None


@pytest.mark.parametrize('function', [dropout, functools.partial(dropout_add, residual=torch.ones(5, 3).double())])
def test_gradcheck(function):
    def seeded(x):
        torch.manual_seed(4)
        return function(x, p=0.3)
    assert torch.autograd.gradcheck(seeded, torch.randn(5, 3, dtype=torch.float64, requires_grad=True))


def test_the_mask_depends_on_the_seed_alone():
    def mask(seed, x):
        torch.manual_seed(seed)
        return dropout(x, 0.3) != 0
    first = mask(7, torch.ones(50, 33))
    assert torch.equal(first, mask(7, torch.full((50, 33), -3.5)))
    assert torch.equal(first, mask(7, torch.ones(50, 33).bfloat16()))
    assert torch.equal(first, mask(7, torch.ones(33, 50).T))          # the same elements, laid out otherwise
    assert not torch.equal(first, mask(8, torch.ones(50, 33)))
    torch.manual_seed(7)
    x = torch.ones(50, 33)
    assert torch.equal(dropout(x, 0.3) != 0, first) and not torch.equal(dropout(x, 0.3) != 0, first)


def test_a_rate_of_zero_is_the_identity_and_draws_nothing():
    x, residual = torch.randn(3, 5), torch.randn(3, 5)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    assert dropout(x, 0) is x and torch.equal(dropout_add(x, residual, 0.0), x + residual)
    assert torch.equal(torch.get_rng_state(), state)


def test_keep_mask_at_the_ends_and_on_few_elements():
    for size in (0, 1, 2, 3, 4, 5):
        assert torch.equal(keep_mask(torch.zeros(size), 0), torch.ones(size))
    torch.manual_seed(0)
    assert keep_mask(torch.zeros(10_000), 65_535).sum() <= 3          # one element in 65,536 stays
    assert set(keep_mask(torch.zeros(999).bfloat16(), 30_000).tolist()) == {0.0, 1.0}
