"""The benchmark compares like with like: its published contenders compute what this repository computes."""
import contextlib
import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from BERT.pytorch_pretrained_bert import BertConfig
from BERT.pytorch_pretrained_bert.file_utils import InputError
from src.data_processing import TokenizedSplit
from src.modeling import SequenceClassifier, wiring
from src.saved_runs import load_run
from src.teacher_outputs import TENSORS, TeacherOutputs

pytest.importorskip('pytorch_pretrained_bert')
from benchmarks import benchmark, dump_precision, inference, pipeline, scale
from benchmarks.contenders import Ours


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


@pytest.fixture(scope='module')
def finished(make_workspace):
    """A workspace with a teacher and an SPS student of half its layers, in folders of these names."""
    workspace = make_workspace()
    for name, *flags in (('teacher',), ('student', '--model_type', 'SPS', '--student_hidden_layers', 1)):
        workspace.succeed('NLI_KD_training.py', '--bert_model', 'tiny', '--precision', 'fp32', '--num_train_epochs', 12,
                          '--eval_every', 100, '--learning_rate', '3e-3', '--train_seed', 1, '--saving_criterion_acc=-1',
                          '--output_dir', workspace.folder / name, *flags)
    return workspace


@pytest.mark.parametrize('name', ['benchmark', 'dump_precision', 'embedding_rank', 'inference', 'kernels', 'pipeline',
                                  'profile_step', 'scale'])
def test_nothing_is_measured_for_help_or_a_wrong_flag(name, monkeypatch, capsys):
    main = importlib.import_module(f'benchmarks.{name}').main
    monkeypatch.setattr(sys, 'argv', [name, '--help'])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0 and f'benchmarks/{name}.py' in capsys.readouterr().out
    monkeypatch.setattr(sys, 'argv', [name, '--no_such_flag', *(['run'] if name == 'inference' else [])])
    with pytest.raises(InputError, match='--no_such_flag'):
        main()


def test_dump_precision_is_of_what_files_hold(make_workspace, monkeypatch, capsys):
    """Errors of the states, and students that learn from files of each type."""
    workspace, types, train = make_workspace(6), [], dump_precision.NLI_KD_training.main
    workspace.add_teacher()

    def spy(flags):
        [file] = [flag.partition('=')[2] for flag in flags if flag.startswith('--teacher_prediction=')]
        types.append(TeacherOutputs.open(Path(file)).arrays['train.feature_maps'].dtype.name)
        train(flags)
    monkeypatch.setattr(dump_precision.NLI_KD_training, 'main', spy)
    for name, kind in TENSORS.items():
        monkeypatch.setitem(TENSORS, name, kind)          # what it changes is put back
    monkeypatch.setattr(sys, 'argv', ['', '--bert_model=tiny', '--task=MRPC', '--teacher_hidden_layers=6', '--seeds=1'])
    with workspace.active():
        dump_precision.main()
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [result[name]['bytes_a_row'] for name in ('fp32', 'fp16', 'bf16')] == [4 * 6 * 32, 2 * 6 * 32, 2 * 6 * 32]
    assert 0 == result['fp32']['state_error'] < result['fp16']['state_error'] < result['bf16']['state_error'] < 1e-2
    assert types == ['float32', 'float16'] and {'dev_best', 'dev_last'} == set(result['fp16']['students'][0])


def test_inference_is_one_table_of_all_runs_in_all_ways(finished):
    folders = [finished.folder / name for name in ('teacher', 'student')]
    *lines, last = finished.succeed('benchmarks.inference', *folders, '--turns', 2).out.splitlines()
    result = json.loads(last)
    rows = {(row['run'].removeprefix('MRPC/'), row['as']): row for row in result['inference']}
    assert list(rows) == [(name, kind) for name in ('teacher', 'student') for kind in ('fp32', 'bf16', 'ONNX', 'ONNX int8')]
    assert len(lines) == 2 + len(rows) and result['threads'] == torch.get_num_threads()
    for (name, kind), row in rows.items():
        record = json.loads((finished.folder / name / 'run.json').read_text())
        assert (row['parameters'], row['passes'], row['turns']) == (record['parameters'], 2, 2)
        assert row['quartiles'][0] <= row['sentences_a_second'] <= row['quartiles'][1]
        if kind in ('fp32', 'ONNX'):
            assert row['score'] == pytest.approx(record['dev_saved']['f1'], abs=1e-4) and row['score'] > 0.75
        assert any(cell in line for line in lines for cell in [f'| MRPC/{name} | {kind} | {record["layers"]} | 2 |'])
    saved = sum((folders[0] / f'BERT.{part}_acc.pkl').stat().st_size for part in ('encoder', 'cls'))
    assert rows['teacher', 'fp32']['mb'] == round(saved / 1e6, 1)


def test_inference_of_all_contenders_is_of_the_same_model(finished, tmp_path):
    with finished.active(), contextlib.ExitStack() as stack:
        run = load_run(finished.folder / 'student')
        dev, contenders = run.tokens(run.task, 'dev'), inference.contenders_of(run, tmp_path, stack)
        found = {each.kind: each.logits(dev) for each in contenders}
        wanted = run.logits(dev)
    sizes = {each.kind: each.size for each in contenders}
    for kind, near in (('fp32', 1e-5), ('bf16', 0.1), ('ONNX', 1e-5), ('ONNX int8', 0.2)):
        np.testing.assert_allclose(found[kind], wanted, atol=near, rtol=0, err_msg=kind)
    assert len({logits.tobytes() for logits in found.values()}) == 4              # none stands in for another
    assert sizes['fp32'] == sizes['bf16'] and sizes['ONNX int8'] < sizes['ONNX']


def test_speed_of_inference_is_rows_by_time(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(inference, 'ROWS', 8)
    clock, seen = iter(range(0, 2000, 2)), []
    with finished.active():
        run = load_run(finished.folder / 'teacher')

        def contender(name):
            def logits(split):
                seen.append((name, len(split)))
                return run.logits(split)
            return inference.Contender(run, name, 2_000_000, logits)

        monkeypatch.setattr(benchmark.time, 'perf_counter', lambda: next(clock))           # each turn takes 2 s
        found = inference.measure({name: contender(name) for name in 'ab'}, 3)
    for row in found.values():
        assert (row['sentences_a_second'], row['quartiles'], row['mb']) == (4.0, [4.0, 4.0], 2.0)
    assert seen == [*[(name, 8) for name in 'baabbaabba'], ('a', 30), ('b', 30)]


def test_inference_tells_what_is_wrong(finished, tmp_path):
    for flags, words in (([finished.folder / 'teacher'] * 2, 'each run once'), ([tmp_path], 'no finished run'),
                         ([finished.folder / 'teacher', '--turns', 0], '--turns 0'), ([], 'RUN_FOLDER')):
        outcome = finished.call('benchmarks.inference', *flags)
        assert outcome.code == 2 and words in outcome.err and outcome.err.count('\n') == 1
