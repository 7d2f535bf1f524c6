"""scripts/export_onnx.py: from its files onnxruntime computes what our model does; shared layers stand in them once."""
import json
import os
import re
import shutil
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import ROOT, full_disk, rewired

os.environ.setdefault('HF_HUB_OFFLINE', '1')
import transformers

from BERT.pytorch_pretrained_bert import BertConfig
from src import onnx_files
from src.data_processing import TokenizedSplit
from src.modeling import SequenceClassifier, count_parameters, parse_passes, wiring
from src.onnx_files import INPUTS, OnnxClassifier, PaddedClassifier, onnx_model, write_onnx
from src.saved_runs import load_run

TRAIN, SCRIPT = 'NLI_KD_training.py', 'scripts.export_onnx'
BESIDE = {'vocab.txt', 'tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json'}
TASKS = {'MRPC': ('--student_hidden_layers', 2, '--model_type', 'SPS'),
         'STS-B': ('--student_hidden_layers', 1, '--model_type', 'SPS'),
         'MNLI': ('--student_hidden_layers', 2, '--passes', '2,1x,2', '--embedding_rank', 5)}
WIRINGS = [('Original', 2), ('SPS', 1), ('SPS', 3), ('SPS', 6), ('SPS_no_shuffle', 2), ('1,2,2x,1', 2), ('3x,1,3', 3)]
SHAPES = [(1, 1), (1, 128), (2, 7), (5, 40)]      # of batches: rows, tokens


@pytest.fixture(scope='module')
def runs(make_workspace):
    """A workspace with a finished run of each task of TASKS, in the folder of its name."""
    workspace = make_workspace(6, tuple(TASKS))
    for task in TASKS:
        train(workspace, task)
    return workspace


def train(workspace, task):
    workspace.succeed(TRAIN, '--bert_model', 'tiny', '--task', task, '--precision', 'fp32', '--num_train_epochs', 1,
                      '--learning_rate', '1e-3', '--train_seed', 1, '--saving_criterion_acc=-1', '--output_dir',
                      workspace.folder / task, *TASKS[task])


def load(workspace, name):
    with workspace.active():
        return load_run(workspace.folder / name)


def export(workspace, run, out, *flags):
    return workspace.succeed(SCRIPT, workspace.folder / run, out, *flags).out


def some_model(model_type, layers, **shape):
    """A model of random weights, biases and scales."""
    passes = parse_passes(model_type) if model_type[0].isdigit() else wiring(model_type, layers)
    torch.manual_seed(0)
    model = SequenceClassifier(BertConfig(60, 32, layers, 4, 64, **{'passes': passes, 'initializer_range': 0.1} | shape), 3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return model.eval()


def inputs(rows, tokens, seed=0, words=30):
    """Arrays as a file takes them, in the order of its inputs; each row but the first has padding."""
    rng = np.random.default_rng(seed)
    lengths = np.maximum(1, tokens - np.arange(rows) * 2)[:, None]
    place = np.arange(tokens)
    ids = rng.integers(0, words, (rows, tokens))
    return ids, (place < lengths).astype(np.int64), ((place >= lengths // 2) & (place < lengths)).astype(np.int64)


def reference(model, ids, mask, segments):
    """Logits by the model's own padded interface."""
    with torch.no_grad():
        pooled = model.encoder.bert(*map(torch.from_numpy, (ids, segments, mask)))[1]
        return model.classifier(pooled).numpy()


# The module that is exported

@pytest.mark.parametrize('model_type, layers', WIRINGS)
def test_the_padded_classifier_computes_what_the_model_does(model_type, layers):
    model = some_model(model_type, layers)
    lengths = np.array([9, 30, 2, 17], np.int32)
    split = TokenizedSplit('MRPC', 'dev', np.random.default_rng(0).integers(0, 60, lengths.sum()).astype(np.int32), lengths,
                           lengths // 2, np.zeros(4), 'none', 64)
    rows = split.by_length(np.arange(4))
    ids, segments, mask = map(torch.from_numpy, split.padded(rows, 33))
    with torch.no_grad():
        found, wanted = PaddedClassifier(model)(ids, mask, segments), model(split.batch(rows))[0]
    assert wanted.std(0).min() > 1e-2
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


def test_the_padded_classifier_has_no_weights_of_its_own():
    model = some_model('SPS', 2)
    assert {id(weight) for weight in PaddedClassifier(model).parameters()} == {id(weight) for weight in model.parameters()}


def test_padding_has_no_effect():
    model, (ids, mask, segments) = PaddedClassifier(some_model('SPS', 2)), map(torch.from_numpy, inputs(4, 9))
    with torch.no_grad():
        wanted = model(ids, mask, segments)
        found = model(torch.where(mask == 1, ids, 7), mask, segments)
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)


# The file

def numbers(tensors):
    """How many numbers tensors of a graph hold."""
    return sum(int(np.prod(tensor.dims)) for tensor in tensors)


@pytest.fixture(scope='module')
def exported(runs, tmp_path_factory):
    """(model type, layers) -> a run of that wiring, its file in fp32 and in int8."""
    folder, made = tmp_path_factory.mktemp('onnx'), {}

    def get(model_type, layers):
        if (model_type, layers) not in made:
            name = f'{model_type}{layers}'
            rewired(runs, model_type, layers, name)
            run = load(runs, name)
            proto = onnx_model(run)
            for int8 in (False, True):
                write_onnx(proto, folder / f'{name}.{int8}.onnx', int8)
            made[model_type, layers] = run, folder / f'{name}.False.onnx', folder / f'{name}.True.onnx'
        return made[model_type, layers]
    return get


@pytest.mark.parametrize('model_type, layers', WIRINGS)
def test_a_file_computes_what_the_model_does(exported, model_type, layers):
    run, file, _ = exported(model_type, layers)
    onnx.checker.check_model(onnx.load(file), full_check=True)
    session = onnxruntime.InferenceSession(file)
    assert [(put.name, put.type, put.shape) for put in session.get_inputs()] == [
        (name, 'tensor(int64)', ['batch', 'length']) for name in INPUTS]
    assert [(put.name, put.shape) for put in session.get_outputs()] == [('logits', ['batch', 2])]
    for shape in SHAPES:
        arrays = inputs(*shape)
        found, = session.run(None, dict(zip(INPUTS, arrays, strict=True)))
        np.testing.assert_allclose(found, reference(run.model, *arrays), atol=1e-5, rtol=0)


@pytest.mark.parametrize('model_type, layers', WIRINGS)
def test_what_is_shared_is_stored_once(exported, model_type, layers):
    run, file, int8_file = exported(model_type, layers)
    weights = list(run.model.parameters())
    ran = {layer for layer, _ in run.model.config.layer_passes()}
    for layer, module in enumerate(run.model.encoder.bert.encoder.layer):
        weights = [weight for weight in weights if layer in ran or all(weight is not own for own in module.parameters())]
    matrices = sum(weight.numel() for weight in weights if weight.dim() > 1)
    graph = onnx.load(file).graph
    assert numbers(graph.initializer) == sum(weight.numel() for weight in weights)
    assert file.stat().st_size < 4 * numbers(graph.initializer) + 80_000
    tensors = onnx.load(int8_file).graph.initializer
    whole = [tensor for tensor in tensors if tensor.data_type in (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
             and len(tensor.dims) > 1]
    assert numbers(whole) == matrices
    assert not [tensor.name for tensor in tensors if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) > 1]


@pytest.mark.parametrize('model_type, layers', [('Original', 2), ('SPS', 3), ('1,2,2x,1', 2)])
def test_int8_is_near(exported, model_type, layers):
    run, file, int8_file = exported(model_type, layers)
    assert int8_file.stat().st_size < file.stat().st_size
    weights = [onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(int8_file).graph.initializer
               if tensor.data_type == onnx.TensorProto.INT8]
    assert max(np.abs(weight.astype(int)).max() for weight in weights) == 64          # 255 * 64 * 2 < 2 ** 15
    arrays = inputs(8, 30)
    wanted = reference(run.model, *arrays)
    found, = onnxruntime.InferenceSession(int8_file).run(None, dict(zip(INPUTS, arrays, strict=True)))
    assert 1e-4 < np.abs(found - wanted).max() < 0.3 * wanted.std()


@pytest.mark.parametrize('opset', [14, 20])
@pytest.mark.parametrize('activation', ['gelu', 'gelu_new', 'relu', 'silu'])
def test_opsets_and_activations(runs, tmp_path, opset, activation):
    run = load(runs, 'MRPC')
    run.model = some_model('SPS', 1, hidden_act=activation, layer_norm_eps=1e-3)
    proto = onnx_model(run, opset)
    assert [(each.domain, each.version) for each in proto.opset_import] == [('', opset)]
    write_onnx(proto, tmp_path / 'out.onnx')
    arrays = inputs(3, 9)
    found, = onnxruntime.InferenceSession(tmp_path / 'out.onnx').run(None, dict(zip(INPUTS, arrays, strict=True)))
    np.testing.assert_allclose(found, reference(run.model, *arrays), atol=1e-5, rtol=0)


def test_word_embeddings_may_be_a_product(runs, tmp_path):
    run = load(runs, 'MNLI')
    assert run.model.config.embedding_rank == 5
    proto, arrays = onnx_model(run), inputs(3, 9)
    assert numbers(proto.graph.initializer) == count_parameters(run.model)
    for int8, distance in ((False, 1e-5), (True, 0.3)):
        write_onnx(proto, tmp_path / 'out.onnx', int8)
        found, = onnxruntime.InferenceSession(tmp_path / 'out.onnx').run(None, dict(zip(INPUTS, arrays, strict=True)))
        np.testing.assert_allclose(found, reference(run.model, *arrays), atol=distance, rtol=0)


def test_more_tokens_than_positions_are_refused_by_the_file(exported):
    session = onnxruntime.InferenceSession(exported('SPS', 1)[1])
    with pytest.raises(Exception, match='128 by 129'):
        session.run(None, dict(zip(INPUTS, inputs(1, 129), strict=True)))


def test_a_model_too_large_for_a_file_is_refused(runs, monkeypatch):
    monkeypatch.setattr(onnx_files, 'MOST_BYTES', 1000)
    outcome = runs.call(SCRIPT, runs.folder / 'MRPC', runs.folder / 'large.onnx')
    assert outcome.code == 2 and 'at most 1,000' in outcome.err and not (runs.folder / 'large.onnx').exists()


# The script

@pytest.mark.parametrize('task, labels', [('MRPC', ['not_equivalent', 'equivalent']), ('STS-B', ['score']),
                                          ('MNLI', ['contradiction', 'entailment', 'neutral'])])
def test_a_run_of_each_kind_of_task(runs, tmp_path, task, labels):
    told = export(runs, task, tmp_path / 'new' / 'model.onnx')
    assert {path.name for path in (tmp_path / 'new').iterdir()} == BESIDE | {'model.onnx'}
    size = (tmp_path / 'new' / 'model.onnx').stat().st_size / 1e6
    assert f'{task}, {size:.1f} MB, {1 if task == "STS-B" else 2} stored' in told
    assert float(re.search(r'in fp32: (\S+), on 30 rows of dev', told)[1]) < 1e-5
    found = OnnxClassifier(tmp_path / 'new' / 'model.onnx')
    assert found.session.get_modelmeta().custom_metadata_map == {
        'task': task, 'labels': json.dumps(labels), 'max_seq_length': '128', 'do_lower_case': 'true', 'pad_token_id': '0',
        'problem_type': 'regression' if task == 'STS-B' else 'single_label_classification'}
    run = load(runs, task)
    with runs.active():
        dev = run.tokens(run.task, 'dev')
    for length in (None, 100):
        np.testing.assert_allclose(found.logits(dev, 7, length), run.logits(dev), atol=1e-5, rtol=0)


def test_int8_tells_the_dev_scores(runs, tmp_path):
    told = export(runs, 'MRPC', tmp_path / 'model.onnx', '--int8')
    largest = float(re.search(r'in fp32: (\S+), on', told)[1])
    int8, fp32 = map(float, re.search(r'dev f1: int8 (\S+), the model in fp32 (\S+)', told).groups())
    record = json.loads((runs.folder / 'MRPC' / 'run.json').read_text())
    assert fp32 == pytest.approx(record['dev_saved']['f1'], abs=1e-4) and 0 <= int8 <= 1 and 1e-5 < largest < 1
    assert export(runs, 'MRPC', tmp_path / 'whole.onnx').count('\n') == 2         # beside it, with the same tokenizer
    properties = OnnxClassifier(tmp_path / 'model.onnx').session.get_modelmeta().custom_metadata_map
    assert properties['labels'] == '["not_equivalent", "equivalent"]' and properties['max_seq_length'] == '128'


def test_a_cased_tokenizer_is_told(runs, tmp_path):
    workspace = runs.copy(tmp_path / 'workspace')
    (workspace.models / 'tiny' / 'tokenizer_config.json').write_text('{"do_lower_case": false}')
    train(workspace, 'MRPC')
    export(workspace, 'MRPC', tmp_path / 'out' / 'model.onnx')
    properties = onnxruntime.InferenceSession(tmp_path / 'out' / 'model.onnx').get_modelmeta().custom_metadata_map
    assert properties['do_lower_case'] == 'false'
    assert json.loads((tmp_path / 'out' / 'tokenizer_config.json').read_text())['do_lower_case'] is False


def test_without_dev_rows_are_made_up(runs, tmp_path):
    workspace = runs.copy(tmp_path / 'workspace')
    (workspace.glue / 'MRPC' / 'dev.tsv').unlink()
    told = export(workspace, 'MRPC', tmp_path / 'model.onnx')
    assert float(re.search(r'in fp32: (\S+), on 64 made-up rows of 2 to 128 tokens', told)[1]) < 1e-5
    assert 'made-up' in (told := export(workspace, 'MRPC', tmp_path / 'int8.onnx', '--int8')) and 'dev f1' not in told


def refused(workspace, *flags, names, code=2):
    outcome = workspace.call(SCRIPT, *flags)
    assert outcome.code == code and outcome.err.count('\n') == 1 and outcome.err.startswith('error: ')
    assert all(str(name) in outcome.err for name in names), outcome.err


@pytest.mark.parametrize('flags', [(), ('--int8',)])
def test_a_file_that_says_something_else_is_not_written(runs, tmp_path, monkeypatch, flags):
    out = tmp_path / 'model.onnx'
    monkeypatch.setattr(PaddedClassifier, 'forward', lambda self, ids, mask, segments: self.model.classifier(
        self.model.encoder.bert.embeddings.word_embeddings(ids * mask + segments).mean(1)))
    refused(runs, runs.folder / 'MRPC', out, *flags, names=[out, 'not written'], code=1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('task', ['STS-B', 'MNLI'])
def test_int8_of_other_kinds_of_task(runs, tmp_path, task):
    told = export(runs, task, tmp_path / 'model.onnx', '--int8')
    assert float(re.search(r'in fp32: (\S+), on 30', told)[1]) < 0.3 and 'int8' in told


@pytest.mark.parametrize('value', [np.nan, np.inf, 1e3])
def test_an_int8_file_that_8_bits_have_spoilt_is_not_written(runs, tmp_path, monkeypatch, value):
    def spoilt(proto, path, int8=False):
        write_onnx(proto, path, int8)
        if int8:
            model = onnx.load(path)
            bias, = (tensor for tensor in model.graph.initializer if tensor.name.endswith('classifier.bias'))
            bias.CopyFrom(onnx.numpy_helper.from_array(np.array([0, value], np.float32), bias.name))
            onnx.save(model, path)
    monkeypatch.setattr('scripts.export_onnx.write_onnx', spoilt)
    refused(runs, runs.folder / 'MRPC', tmp_path / 'model.onnx', '--int8', names=['not written', 'without --int8'], code=1)
    assert not list(tmp_path.iterdir())
    export(runs, 'MRPC', tmp_path / 'model.onnx')


def test_what_is_there_is_not_touched(runs, tmp_path):
    out = tmp_path / 'model.onnx'
    refused(runs, runs.folder / 'MRPC', tmp_path, names=[tmp_path, 'is a folder'])
    refused(runs, runs.folder / 'MRPC', f'{tmp_path}/exported/', names=['exported is a folder; name a file'])
    out.write_text('mine')
    refused(runs, runs.folder / 'MRPC', out, names=[out, '--overwrite'])
    out.unlink()
    (tmp_path / 'vocab.txt').write_text('mine')
    refused(runs, runs.folder / 'MRPC', out, names=[out, 'vocab.txt', 'differ', '(tokenizer, ', '--overwrite'])
    assert [path.name for path in tmp_path.iterdir()] == ['vocab.txt'] and (tmp_path / 'vocab.txt').read_text() == 'mine'
    out.write_text('mine')
    export(runs, 'MRPC', out, '--overwrite')
    assert out.stat().st_size > 1000 and '[CLS]' in (tmp_path / 'vocab.txt').read_text()


@pytest.mark.parametrize('int8', [False, True])
def test_whole_or_not_at_all(runs, tmp_path, int8):
    """On a full disk, and what was there stays."""
    out = tmp_path / 'model.onnx'
    for flags in ((), ('--overwrite',)):
        if flags:
            out.write_text('mine')
        with full_disk(20_000):
            refused(runs, runs.folder / 'MRPC', out, *flags, *['--int8'] * int8, names=[out, 'File too large'])
        assert [path.name for path in tmp_path.iterdir()] == ['model.onnx'] * len(flags)
    assert out.read_text() == 'mine'


@pytest.mark.parametrize('name', ['onnx', 'onnxruntime'])
def test_packages_that_are_missing_are_named(runs, tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    refused(runs, runs.folder / 'MRPC', tmp_path / 'model.onnx', names=['pip install onnx onnxruntime'])
    assert not list(tmp_path.iterdir())


def test_what_else_is_wrong(runs, tmp_path):
    refused(runs, tmp_path, tmp_path / 'model.onnx', names=[tmp_path, 'no finished run'])
    refused(runs, runs.folder / 'MRPC', tmp_path / 'model.onnx', '--opset', 21, names=['--opset', '21', '20'])
    assert not list(tmp_path.iterdir())


def test_the_code_of_the_readme_runs(runs, tmp_path, monkeypatch, capsys):
    """Where export_onnx.py has been run as it says there, a text and a pair in place."""
    code, = re.findall(r'```python\n(import json.*?)```', (ROOT / 'README.md').read_text(encoding='utf-8'), re.DOTALL)
    export(runs, 'MRPC', tmp_path / 'exported' / 'student.onnx')
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert capsys.readouterr().out.strip() in ('not_equivalent', 'equivalent')


def test_hf_tokenizers_and_the_file_give_our_logits(runs, tmp_path):
    export(runs, 'MRPC', tmp_path / 'model.onnx')
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    run = load(runs, 'MRPC')
    with runs.active():
        dev = run.tokens(run.task, 'dev')
    rows = (runs.glue / 'MRPC' / 'dev.tsv').read_text().splitlines()[1:]
    texts = [row.split('\t')[3:5] for row in rows]
    batch = tokenizer(*map(list, zip(*texts, strict=True)), truncation=True, padding=True, return_tensors='np')
    found, = onnxruntime.InferenceSession(tmp_path / 'model.onnx').run(None, {name: batch[name].astype(np.int64)
                                                                              for name in INPUTS})
    np.testing.assert_allclose(found, run.logits(dev), atol=1e-5, rtol=0)


def test_the_script_runs_with_no_other_packages(runs, tmp_path):
    """It needs neither transformers nor onnxscript, which torch's other exporter would."""
    (tmp_path / 'hidden').mkdir()
    for name in ('transformers', 'onnxscript', 'onnx_ir'):
        (tmp_path / 'hidden' / f'{name}.py').write_text('raise ImportError("hidden")')
    shutil.copytree(runs.folder / 'MRPC', tmp_path / 'run')
    outcome = runs.run(ROOT / 'scripts' / 'export_onnx.py', str(tmp_path / 'run'), 'model.onnx', '--int8', cwd=tmp_path,
                       PYTHONPATH=str(tmp_path / 'hidden'))
    assert outcome.code == 0 and outcome.err == '', outcome.err
    assert (tmp_path / 'model.onnx').is_file() and outcome.out.count('\n') == 3
