"""The benchmark compares like with like: its published contenders compute what this repository computes."""
import numpy as np
import pytest
import torch

from BERT.pytorch_pretrained_bert import BertConfig
from src.data_processing import TokenizedSplit
from src.modeling import SequenceClassifier, wiring

pytest.importorskip('pytorch_pretrained_bert')
from benchmarks import benchmark, pipeline, scale  # noqa: E402
from benchmarks.contenders import Ours  # noqa: E402


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    lengths = np.array([9, 17, 30, 12], np.int32)
    return TokenizedSplit('MRPC', 'train', rng.integers(5, 60, lengths.sum()).astype(np.int32), lengths,
                          np.array([4, 8, 15, 6], np.int32), np.array([0, 1, 1, 0]), 'none', 128)


@pytest.mark.parametrize('model_type', ['Original', 'SPS'])
def test_published_stage_computes_what_our_model_computes(rows, model_type):
    config = BertConfig(60, 32, 2, 4, 64)
    torch.manual_seed(0)
    ours = SequenceClassifier(BertConfig.from_dict({**config.to_dict(), 'passes': wiring(model_type, 2)}), 2).eval()
    published = pipeline.PublishedStage({'train': rows}, config, 2, shared=model_type == 'SPS')
    names = dict(published.model.named_parameters(remove_duplicate=False))
    with torch.no_grad():
        for name, value in ours.encoder.named_parameters():
            names[name].copy_(value)
        for name, value in ours.classifier.named_parameters():
            names[name].copy_(value)
        wanted = ours(rows.batch(np.array([2, 1, 3, 0])))
        published.model.eval()
        found = published.forward(rows, np.array([2, 1, 3, 0]))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=2e-5)


def test_shared_layers_of_the_published_stage_are_stored_once(rows):
    config = BertConfig(60, 32, 2, 4, 64)
    plain, shared = (pipeline.PublishedStage({'train': rows}, config, 2, shared) for shared in (False, True))
    counts = [sum(p.numel() for p in stage.model.parameters()) for stage in (plain, shared)]
    assert counts[0] == counts[1] and len(shared.model.bert.encoder.layer) == 4


def test_evaluations_are_counted_as_the_trainer_makes_them():
    """115 steps an epoch: at the end of the first, at 10, 20, ... 110 and the end of the second."""
    assert pipeline.evaluations(3668) == 1 + 11 + 1
    assert pipeline.evaluations(320) == 1 + 1        # 10 steps an epoch: the tenth is the end
    assert pipeline.evaluations(321) == 1 + 1 + 1


def test_the_published_pipeline_counts_every_step_and_row(rows, monkeypatch):
    monkeypatch.setattr(pipeline, 'BATCH', 2)
    monkeypatch.setattr(pipeline, 'TIMED', 1)
    monkeypatch.setattr(pipeline, 'PART', 2)
    clock = iter(range(100))
    monkeypatch.setattr(pipeline.time, 'perf_counter', lambda: next(clock))      # each stretch that is timed takes 1 s
    stage = pipeline.PublishedStage({'train': rows, 'dev': rows, 'test': rows}, BertConfig(60, 32, 2, 4, 64), 2, shared=True)
    assert stage.evaluation_seconds('dev') == 4 / 2
    steps, scored = 2 * 4 / 2, pipeline.evaluations(4)
    assert stage.training_seconds(lambda rows, logits, states: logits.sum() + states.sum()) == steps + scored * 2


def test_scale_runs_all_stages_and_counts_them(monkeypatch):
    monkeypatch.setattr(scale, 'FEW', 64)
    monkeypatch.setattr(scale, 'MANY', 128)
    monkeypatch.setattr(scale, 'STEPS', 2)
    monkeypatch.setattr(scale, 'DEV_ROWS', 16)
    figures = scale.benchmark_scale()
    assert {f'scale_{stage}_peak_growth_mb' for stage in ('dump', 'ptp', 'pkd')} < figures.keys()
    assert all(value > 0 for name, value in figures.items() if 'growth' not in name)


def test_contenders_take_turns_on_the_same_rows():
    seen = []
    batches = [np.array([number]) for number in range(3)]
    seconds = benchmark.turns({name: lambda rows, name=name: seen.append((name, rows[0])) for name in 'ab'}, batches[1:],
                              batches[:1])
    assert seen == [('b', 0), ('a', 0), ('a', 1), ('b', 1), ('b', 2), ('a', 2)]
    assert {name: len(times) for name, times in seconds.items()} == {'a': 2, 'b': 2}


def test_a_ratio_is_that_of_the_medians():
    found = benchmark.ratio([4.0, 8.0, 6.0], [1.0, 3.0, 2.0])
    assert found == {'ratio': 3.0, 'quartiles': [2.0, 4.67], 'seconds': 2.0, 'turns': 3}


@pytest.mark.parametrize('precision', ['fp32', 'bf16'])
def test_utilisation_counts_every_matrix_product(rows, precision):
    """Of a model of one layer, by hand: 64 rows of 4 examples in groups of one, the last pass for [CLS] alone."""
    ours = Ours(rows, BertConfig(60, 32, 1, 4, 64), precision)
    batch, first, hidden = 128, 4, 32                    # rows of 68 tokens, rounded up; examples
    places = sum(tokens for tokens in (32, 24, 16, 16))  # attention's, for lengths 30, 17, 12, 9
    linear = 2 * (2 * batch * hidden**2 + first * (2 * hidden**2 + 2 * hidden * 64 + hidden**2)) + 2 * first * hidden * 2
    attention = 2 * 2 * places * hidden
    evaluation = linear + attention
    found = benchmark.utilisation(ours.predict, [np.arange(4)], 1.0, 1.0)
    assert found == evaluation
    trained = benchmark.utilisation(ours.step, [np.arange(4)], 1.0, 1.0)
    assert 2.5 * evaluation < trained <= 3 * evaluation
