"""Google's original checkpoints: names, transposition, what is left out, what is refused, by a stand-in for TensorFlow."""
import re
import subprocess
import sys
import types

import numpy as np
import pytest
import torch
from conftest import ROOT, write_checkpoint

from BERT.pytorch_pretrained_bert import BertConfig, BertModel
from BERT.pytorch_pretrained_bert import convert_tf_checkpoint_to_pytorch as converter
from BERT.pytorch_pretrained_bert.file_utils import InputError
from BERT.pytorch_pretrained_bert.weights import read_state_dict

CONFIG = BertConfig(12, 8, 2, 2, 20, max_position_embeddings=9)
# Google's variables of two layers (github.com/google-research/bert, modeling.py) -> shape; H = 8, feed-forward 20
OF_A_LAYER = {
    **{f'attention/self/{part}/{kind}': shape for part in ('query', 'key', 'value')
       for kind, shape in (('kernel', [8, 8]), ('bias', [8]))},
    'attention/output/dense/kernel': [8, 8], 'attention/output/dense/bias': [8],
    'attention/output/LayerNorm/gamma': [8], 'attention/output/LayerNorm/beta': [8],
    'intermediate/dense/kernel': [8, 20], 'intermediate/dense/bias': [20],
    'output/dense/kernel': [20, 8], 'output/dense/bias': [8], 'output/LayerNorm/gamma': [8], 'output/LayerNorm/beta': [8]}
VARIABLES = {
    'bert/embeddings/word_embeddings': [12, 8], 'bert/embeddings/position_embeddings': [9, 8],
    'bert/embeddings/token_type_embeddings': [2, 8], 'bert/embeddings/LayerNorm/gamma': [8],
    'bert/embeddings/LayerNorm/beta': [8], 'bert/pooler/dense/kernel': [8, 8], 'bert/pooler/dense/bias': [8],
    **{f'bert/encoder/layer_{layer}/{name}': shape for layer in range(2) for name, shape in OF_A_LAYER.items()}}
OTHERS = {'cls/predictions/output_bias': [12], 'cls/predictions/transform/dense/kernel': [8, 8],
          'cls/seq_relationship/output_weights': [2, 8], 'global_step': [], 'output_weights': [3, 8],
          'bert/pooler/dense/kernel/adam_m': [8, 8], 'bert/pooler/dense/kernel/adam_v': [8, 8]}


class StandIn:
    """Answers as TensorFlow's CheckpointReader does."""

    def __init__(self, shapes, seed=0):
        rng = np.random.default_rng(seed)
        self.values = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}

    def get_variable_to_shape_map(self):
        return {name: list(value.shape) for name, value in self.values.items()}

    def get_tensor(self, name):
        return self.values[name]


@pytest.mark.parametrize('theirs, ours', [
    ('bert/embeddings/word_embeddings', 'embeddings.word_embeddings.weight'),
    ('bert/embeddings/LayerNorm/beta', 'embeddings.LayerNorm.bias'),
    ('bert/encoder/layer_1/attention/self/query/bias', 'encoder.layer.1.attention.self.query.bias'),
    ('bert/encoder/layer_11/output/LayerNorm/gamma', 'encoder.layer.11.output.LayerNorm.weight')])
def test_names(theirs, ours):
    value = np.arange(6, dtype=np.float32).reshape(2, 3)
    name, tensor = converter.standard_tensor(theirs, value)
    assert name == ours and (tensor.numpy() == value).all()


def test_kernels_are_transposed():
    value = np.arange(6, dtype=np.float64).reshape(2, 3)
    name, tensor = converter.standard_tensor('bert/encoder/layer_0/intermediate/dense/kernel', value)
    assert name == 'encoder.layer.0.intermediate.dense.weight'
    assert tensor.dtype == torch.float32 and (tensor.numpy() == value.T).all()


def test_every_variable_comes_into_its_place():
    """The outputs are those of the formulas with Google's matrices as they are, x @ kernel + bias."""
    reader = StandIn(VARIABLES | OTHERS)
    state = converter.read_tf_weights(reader, CONFIG, 'x')
    with torch.device('meta'):
        assert state.keys() == BertModel(CONFIG).state_dict().keys()
    model = BertModel(CONFIG).eval()
    model.load_state_dict(state)
    hidden = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    layer, prefix = model.encoder.layer[1], 'bert/encoder/layer_1/'
    value = {name: torch.from_numpy(reader.values[prefix + name]) for name in OF_A_LAYER}
    middle = torch.nn.functional.gelu(hidden @ value['intermediate/dense/kernel'] + value['intermediate/dense/bias'])
    expected = torch.nn.functional.layer_norm(
        middle @ value['output/dense/kernel'] + value['output/dense/bias'] + hidden, [8], value['output/LayerNorm/gamma'],
        value['output/LayerNorm/beta'], 1e-12)
    torch.testing.assert_close(layer.output(layer.intermediate(hidden), hidden), expected)
    for part in ('query', 'key', 'value'):
        torch.testing.assert_close(getattr(layer.attention.self, part)(hidden), hidden
                                   @ value[f'attention/self/{part}/kernel'] + value[f'attention/self/{part}/bias'])


def test_missing_and_mis_shaped_variables_are_told():
    shapes = {name: shape for name, shape in VARIABLES.items() if name != 'bert/pooler/dense/bias'}
    shapes['bert/encoder/layer_0/output/dense/bias'] = [7]
    with pytest.raises(InputError, match=r'pooler\.dense\.bias.*layer\.0\.output\.dense\.bias is \[7\], expected \[8\]'):
        converter.read_tf_weights(StandIn(shapes), CONFIG, 'x')
    with pytest.raises(InputError, match="not one of Google's original checkpoints"):
        converter.read_tf_weights(StandIn({'encoder/layer_with_weights-0/kernel': [2]}), CONFIG, 'x')


@pytest.fixture
def unpacked(tmp_path, monkeypatch):
    """What Google's archive unpacks to, and a stand-in for TensorFlow that reads it."""
    write_checkpoint(tmp_path / 'google', 1, 8)
    folder = tmp_path / 'google'
    (folder / 'pytorch_model.bin').unlink()
    for name in ('index', 'meta', 'data-00000-of-00001'):
        (folder / f'bert_model.ckpt.{name}').write_bytes(b'')
    words = len((folder / 'vocab.txt').read_text().splitlines())
    shapes = {name: [{12: words, 9: 128, 20: 16}.get(size, size) for size in shape] for name, shape in VARIABLES.items()
              if 'layer_1' not in name}
    asked = []
    module = types.SimpleNamespace(
        train=types.SimpleNamespace(load_checkpoint=lambda path: asked.append(path) or StandIn(shapes)),
        errors=types.SimpleNamespace(OpError=ZeroDivisionError))
    monkeypatch.setitem(sys.modules, 'tensorflow', module)
    return folder, asked, module


@pytest.mark.parametrize('name', ['bert_model.ckpt', 'bert_model.ckpt.index', 'bert_model.ckpt.data-00000-of-00001'])
def test_the_unpacked_folder_becomes_a_checkpoint(unpacked, capsys, name):
    folder, asked, _ = unpacked
    assert converter.main(['--tf_checkpoint_path', str(folder / name)]) == 0, capsys.readouterr().err
    assert asked == [str(folder / 'bert_model.ckpt')]
    model = BertModel.from_pretrained(folder)
    written = read_state_dict(folder / 'pytorch_model.bin')
    assert all(torch.equal(tensor, written[name]) for name, tensor in model.state_dict().items())
    assert 'bert.pooler.dense.weight' in torch.load(folder / 'pytorch_model.bin', weights_only=True)


def test_what_is_there_is_not_replaced(unpacked, capsys):
    folder, asked, _ = unpacked
    target, call = folder / 'pytorch_model.bin', ['--tf_checkpoint_path', str(folder / 'bert_model.ckpt')]
    target.write_bytes(b'mine')
    assert converter.main(call) == 2 and target.read_bytes() == b'mine' and asked == []
    assert re.search(f'^error: --pytorch_dump_path {re.escape(str(target))}.*--overwrite', capsys.readouterr().err)
    assert converter.main([*call, '--overwrite']) == 0 and target.stat().st_size > 100


def test_what_would_not_be_read_is_not_written(unpacked, capsys):
    """Beside weights that go before it, or sums of other weights."""
    folder = unpacked[0]
    call = ['--tf_checkpoint_path', str(folder / 'bert_model.ckpt'), '--overwrite']
    for name, content in (('model.safetensors', 'mine'), ('SHA256SUMS', f'{"a" * 64}  pytorch_model.bin\n')):
        (folder / name).write_text(content)
        assert converter.main(call) == 2 and not (folder / 'pytorch_model.bin').exists()
        message = capsys.readouterr().err
        assert message.count('\n') == 1 and f'{name} beside it' in message and '--pytorch_dump_path' in message
        (folder / name).unlink()
    (folder / 'SHA256SUMS').write_text(f'{"a" * 64}  other.bin\n')
    assert converter.main(call) == 0
    BertModel.from_pretrained(folder)


def test_what_is_wrong_is_one_line(unpacked, tmp_path, capsys):
    folder, _, module = unpacked
    for flags, words in (([folder / 'model.ckpt'], ['--tf_checkpoint_path', 'model.ckpt.index', 'bert_model.ckpt']),
                         ([folder / 'bert_model.ckpt', '--bert_config_file', tmp_path / 'none.json'], ['none.json'])):
        assert converter.main(['--tf_checkpoint_path', *map(str, flags)]) == 2
        message = capsys.readouterr().err
        assert message.count('\n') == 1 and all(word in message for word in words)

    def damaged(path):
        raise ZeroDivisionError('bad magic')
    sound = module.train.load_checkpoint('')
    for load_checkpoint in (damaged, lambda _: types.SimpleNamespace(
            get_variable_to_shape_map=sound.get_variable_to_shape_map, get_tensor=damaged)):     # its data is cut off
        module.train.load_checkpoint = load_checkpoint
        assert converter.main(['--tf_checkpoint_path', str(folder / 'bert_model.ckpt')]) == 2
        assert re.search('--tf_checkpoint_path .*bad magic', capsys.readouterr().err)
    assert not (folder / 'pytorch_model.bin').exists()


def test_without_tensorflow_the_command_that_installs_it_is_named(unpacked, monkeypatch, capsys):
    folder = unpacked[0]
    monkeypatch.setitem(sys.modules, 'tensorflow', None)
    assert converter.main(['--tf_checkpoint_path', str(folder / 'bert_model.ckpt')]) == 2
    assert 'pip install tensorflow' in capsys.readouterr().err


def test_it_runs_as_a_script_from_anywhere(tmp_path):
    script = ROOT / 'BERT' / 'pytorch_pretrained_bert' / 'convert_tf_checkpoint_to_pytorch.py'
    done = subprocess.run([sys.executable, script, '--tf_checkpoint_path', 'x/bert_model.ckpt'], cwd=tmp_path,
                          capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith('error: --tf_checkpoint_path')
