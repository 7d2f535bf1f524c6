"""Reading and loading weights: every spelling of the field, what is missing or wrong, and files that lie."""
import logging
import os
import pickle
import re

import pytest
import safetensors.torch
import torch

import envs
from BERT.pytorch_pretrained_bert import BertConfig, BertModel
from BERT.pytorch_pretrained_bert.file_utils import InputError
from BERT.pytorch_pretrained_bert.weights import load_weights, read_state_dict, standard_name
from src.modeling import (
    BertForSequenceClassificationEncoder,
    FCClassifierForSequenceClassification,
    SequenceClassifier,
    load_classifier,
    load_encoder,
)

SHAPE = {'hidden_size': 8, 'num_hidden_layers': 3, 'num_attention_heads': 2, 'intermediate_size': 12,
         'max_position_embeddings': 16}
SPELLINGS = {
    'bare': lambda name: name,
    'bert.': lambda name: f'bert.{name}',
    'module.': lambda name: f'module.{name}',
    'module.bert.': lambda name: f'module.bert.{name}',
    'gamma and beta': lambda name: 'bert.' + name.replace('LayerNorm.weight', 'LayerNorm.gamma').replace(
        'LayerNorm.bias', 'LayerNorm.beta'),
}


def small_config(**change):
    return BertConfig(30, **SHAPE | change)


@pytest.fixture(scope='module')
def state():
    """The state dict of a BertModel with weights unlike any initial ones."""
    generator = torch.Generator().manual_seed(0)
    with torch.device('meta'):
        names = BertModel(small_config()).state_dict()
    return {name: torch.randn(tensor.shape, generator=generator) for name, tensor in names.items()}


def same(module, state):
    loaded = module.state_dict()
    return loaded.keys() == state.keys() and all(torch.equal(loaded[name], state[name]) for name in state)


def write_folder(folder, state, weights='pytorch_model.bin', config='config.json'):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / config).write_text(small_config().to_json_string(), 'utf-8')
    save = safetensors.torch.save_file if weights.endswith('safetensors') else torch.save
    save(state, folder / weights)
    return folder


# Formats and spellings

@pytest.mark.parametrize('config', ['config.json', 'bert_config.json'])
@pytest.mark.parametrize('weights', ['pytorch_model.bin', 'model.safetensors'])
@pytest.mark.parametrize('spelling', SPELLINGS)
def test_from_pretrained(tmp_path, monkeypatch, state, config, weights, spelling):
    spelt = {SPELLINGS[spelling](name): tensor for name, tensor in state.items()}
    folder = write_folder(tmp_path / 'tiny', spelt, weights, config)
    assert same(BertModel.from_pretrained(folder), state)
    monkeypatch.setattr(envs, 'MODELS_FOLDER', tmp_path)
    assert same(BertModel.from_pretrained('tiny'), state)


def test_safetensors_goes_before_bin_and_config_before_bert_config(tmp_path, state):
    folder = write_folder(tmp_path, state, 'model.safetensors', 'config.json')
    torch.save({name: tensor + 1 for name, tensor in state.items()}, folder / 'pytorch_model.bin')
    (folder / 'bert_config.json').write_text('{}', 'utf-8')
    assert same(BertModel.from_pretrained(folder), state)


def test_from_pretrained_with_another_shape(tmp_path, state):
    folder = write_folder(tmp_path, state)
    model = BertModel.from_pretrained(str(folder), small_config(num_hidden_layers=2, passes=[[0, False], [1, True]]))
    assert same(model, {name: tensor for name, tensor in state.items() if 'layer.2.' not in name})
    assert model.encoder.passes == [(0, False), (1, True)]


def test_the_old_format_of_torch_save(tmp_path, state):
    torch.save(state, tmp_path / 'x.bin', _use_new_zipfile_serialization=False)
    read = read_state_dict(tmp_path / 'x.bin')
    assert read.keys() == state.keys() and all(torch.equal(read[name], state[name]) for name in state)


def test_half_precision_files_fill_fp32_models(tmp_path, state):
    torch.save({name: tensor.half() for name, tensor in state.items()}, tmp_path / 'x.bin')
    model = BertModel(small_config())
    load_weights(model, read_state_dict(tmp_path / 'x.bin'), 'x.bin')
    assert same(model, {name: tensor.half().float() for name, tensor in state.items()})


@pytest.mark.parametrize(('name', 'expected'), [
    ('module.bert.encoder.layer.0.output.LayerNorm.gamma', 'encoder.layer.0.output.LayerNorm.weight'),
    ('bert.embeddings.LayerNorm.beta', 'embeddings.LayerNorm.bias'), ('classifier.weight', 'classifier.weight'),
    ('cls.predictions.bias', 'cls.predictions.bias'), ('module.classifier.bias', 'classifier.bias')])
def test_standard_name(name, expected):
    assert standard_name(name) == expected


# Missing, mis-shaped, unused

def test_missing_tensors_are_all_named(state):
    gone = ['embeddings.LayerNorm.bias', 'encoder.layer.1.attention.self.key.weight', 'pooler.dense.bias']
    short = {name: tensor for name, tensor in state.items() if name not in gone}
    with pytest.raises(InputError, match=r'some\.bin.*3 tensors missing') as error:
        load_weights(BertModel(small_config()), short, 'some.bin')
    assert all(name in str(error.value) for name in gone) and '\n' not in str(error.value)


def test_many_missing_tensors_are_counted(state):
    with pytest.raises(InputError, match=rf'{len(state)} tensors missing.* and {len(state) - 6} more') as error:
        load_weights(BertModel(small_config()), {}, 'some.bin')
    assert len(str(error.value)) < 1000


def test_tensors_of_another_shape_are_named_with_both_shapes(state):
    changed = state | {'pooler.dense.bias': torch.zeros(7), 'embeddings.word_embeddings.weight': torch.zeros(31, 8)}
    del changed['pooler.dense.weight']
    model = BertModel(small_config())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(InputError) as error:
        load_weights(model, changed, 'some.bin', optional='pooler.dense.weight')
    message = str(error.value)
    assert 'pooler.dense.bias is [7], expected [8]' in message and '2 tensors' in message and 'missing' not in message
    assert 'embeddings.word_embeddings.weight is [31, 8], expected [30, 8]' in message
    assert same(model, before)                           # refused as a whole


def test_missing_and_mis_shaped_stand_in_one_message(state):
    changed = state | {'pooler.dense.bias': torch.zeros(7)}
    del changed['pooler.dense.weight']
    with pytest.raises(InputError, match=r'1 tensors missing: pooler\.dense\.weight.*pooler\.dense\.bias is \[7\]'):
        load_weights(BertModel(small_config()), changed, 'some.bin')


def test_unused_tensors_are_logged(state, caplog):
    more = state | {'cls.predictions.bias': torch.zeros(30), 'embeddings.position_ids': torch.arange(16)[None]}
    model = BertModel(small_config())
    with caplog.at_level(logging.INFO):
        load_weights(model, more, 'some.bin')
    assert same(model, state)
    line, = caplog.messages
    assert line == 'some.bin: 2 tensors not used: cls.predictions.bias, embeddings.position_ids'


def test_a_missing_pooler_is_a_warning_for_checkpoints_alone(tmp_path, state, caplog):
    bare = {name: tensor for name, tensor in state.items() if not name.startswith('pooler.')}
    folder = write_folder(tmp_path, bare)
    with caplog.at_level(logging.WARNING):
        model = BertModel.from_pretrained(folder)
    message, = caplog.messages
    assert caplog.records[0].levelname == 'WARNING' and 'pooler.dense.weight' in message and str(folder) in message
    assert (model.pooler.dense.bias == 0).all() and 0.01 < model.pooler.dense.weight.std() < 0.03
    assert same(model, bare | {f'pooler.{name}': tensor for name, tensor in model.pooler.state_dict().items()})
    with pytest.raises(InputError, match=r'2 tensors missing: pooler\.'):
        load_encoder(BertForSequenceClassificationEncoder(small_config()), folder / 'pytorch_model.bin')


def test_more_than_the_pooler_missing_is_an_error(tmp_path, state):
    bare = {name: tensor for name, tensor in state.items() if 'pooler' not in name and 'layer.1.' not in name}
    with pytest.raises(InputError, match='16 tensors missing') as error:
        BertModel.from_pretrained(write_folder(tmp_path, bare))
    assert 'pooler.' not in str(error.value)


# Students: which layers, how many

@pytest.mark.parametrize('source', [[0, 1], [2, 0], [1, 1], [2]])
def test_source_layers(tmp_path, state, source):
    torch.save({f'bert.{name}': tensor for name, tensor in state.items()}, tmp_path / 'x.bin')
    encoder = BertForSequenceClassificationEncoder(small_config(num_hidden_layers=len(source)))
    load_encoder(encoder, tmp_path / 'x.bin', source)
    expected = {name: tensor for name, tensor in state.items() if not name.startswith('encoder.')}
    for place, layer in enumerate(source):
        prefix = f'encoder.layer.{layer}.'
        expected |= {name.replace(prefix, f'encoder.layer.{place}.'): tensor for name, tensor in state.items()
                     if name.startswith(prefix)}
    assert same(encoder.bert, expected)


def test_without_source_layers_the_first_ones_are_taken(tmp_path, state):
    torch.save(state, tmp_path / 'x.bin')
    encoder = BertForSequenceClassificationEncoder(small_config(num_hidden_layers=2))
    load_encoder(encoder, tmp_path / 'x.bin')
    assert same(encoder.bert, {name: tensor for name, tensor in state.items() if 'layer.2.' not in name})


def test_a_source_layer_beyond_the_file_is_named(tmp_path, state):
    torch.save(state, tmp_path / 'x.bin')
    encoder = BertForSequenceClassificationEncoder(small_config(num_hidden_layers=2))
    with pytest.raises(InputError, match=r'--layer_initialization.*x\.bin has 3 layers.*\[4\]'):
        load_encoder(encoder, tmp_path / 'x.bin', [0, 3])


def test_all_layers_refuses_a_deeper_file(tmp_path, state):
    torch.save(state, tmp_path / 'x.bin')
    shallow = BertForSequenceClassificationEncoder(small_config(num_hidden_layers=2))
    with pytest.raises(InputError, match=r'x\.bin has 3 layers, the model 2'):
        load_encoder(shallow, tmp_path / 'x.bin', all_layers=True)
    whole = BertForSequenceClassificationEncoder(small_config())
    load_encoder(whole, tmp_path / 'x.bin', all_layers=True)
    assert same(whole.bert, state)


def test_encoder_and_head_go_through_files(tmp_path):
    first, second = (SequenceClassifier(small_config(), 3) for _ in range(2))
    torch.save(first.encoder.state_dict(), tmp_path / 'encoder.pkl')
    torch.save(first.classifier.state_dict(), tmp_path / 'cls.pkl')
    load_encoder(second.encoder, tmp_path / 'encoder.pkl')
    load_classifier(second.classifier, tmp_path / 'cls.pkl')
    assert same(second, first.state_dict())
    with pytest.raises(InputError, match=r'classifier\.weight is \[3, 8\], expected \[4, 8\]'):
        load_classifier(FCClassifierForSequenceClassification(small_config(), 4), tmp_path / 'cls.pkl')


# Files that are no weights

class Malicious:
    """Runs a shell command wherever it is unpickled without care."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f'touch {self.path}',)


def assert_refused(path):
    """InputError of one line that names the file and does not talk its reader into running the file's code."""
    with pytest.raises(InputError, match=re.escape(str(path))) as error:
        read_state_dict(path)
    message = str(error.value)
    assert '\n' not in message and '\x1b' not in message and 'weights_only' not in message
    assert len(message.replace(str(path), '')) < 400


@pytest.mark.parametrize('kind', ['zip', 'old', 'pickle', 'among tensors'])
def test_a_malicious_pickle_does_not_run_and_is_refused(tmp_path, kind):
    path, victim = tmp_path / 'BERT.encoder.pkl', tmp_path / 'ran'
    if kind == 'pickle':
        path.write_bytes(pickle.dumps(Malicious(victim)))
    else:
        content = {'a': torch.ones(2), 'b': Malicious(victim)} if kind == 'among tensors' else Malicious(victim)
        torch.save(content, path, _use_new_zipfile_serialization=kind != 'old')
    assert_refused(path)
    assert not victim.exists()
    torch.load(path, weights_only=False) if kind != 'pickle' else pickle.loads(path.read_bytes())
    assert victim.exists()                               # it would have run


OTHER_CONTENTS = {
    'empty': b'', 'text': b'hello\n', 'page': b'<html>404 not found</html>', 'start of a zip': b'PK\x03\x04',
    'zeros': bytes(100), 'empty pickle': b'\x80\x02}q\x00.', 'broken pickle': b'u00', 'list': [torch.ones(1)],
    'nested': {'state_dict': {'a': torch.ones(1)}}, 'numbers': {'a': 1.0}, 'numbered': {3: torch.ones(1)},
    'module': torch.nn.Linear(2, 2), 'tensor': torch.ones(3)}


@pytest.mark.parametrize('content', OTHER_CONTENTS)
@pytest.mark.parametrize('name', ['x.bin', 'x.safetensors'])
def test_other_files_are_refused(tmp_path, name, content):
    if isinstance(OTHER_CONTENTS[content], bytes):
        (tmp_path / name).write_bytes(OTHER_CONTENTS[content])
    else:
        torch.save(OTHER_CONTENTS[content], tmp_path / name)
    assert_refused(tmp_path / name)


@pytest.mark.parametrize('kind', ['zip', 'old', 'safetensors'])
def test_truncated_files_are_refused(tmp_path, kind):
    whole = tmp_path / ('x.safetensors' if kind == 'safetensors' else 'x.bin')
    state = {'a': torch.ones(3), 'b': torch.zeros(2, 2)}
    if kind == 'safetensors':
        safetensors.torch.save_file(state, whole)
    else:
        torch.save(state, whole, _use_new_zipfile_serialization=kind == 'zip')
    content = whole.read_bytes()
    for size in [*range(0, len(content) - 1, max(1, len(content) // 100)), len(content) - 1]:
        whole.write_bytes(content[:size])
        assert_refused(whole)


def test_a_missing_file_is_not_called_damaged(tmp_path):
    for name in ('x.bin', 'x.safetensors'):
        with pytest.raises(FileNotFoundError, match='x'):
            read_state_dict(tmp_path / name)
