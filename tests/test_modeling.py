"""BERT and its wirings against HF transformers: every layer, the pooled output, names, counts, configurations."""
import inspect
import json
import math
import re

import pytest
import torch

import envs
from BERT.pytorch_pretrained_bert import BertConfig, BertModel, BertTokenizer
from BERT.pytorch_pretrained_bert import modeling as bert_modeling
from BERT.pytorch_pretrained_bert.file_utils import InputError
from BERT.pytorch_pretrained_bert.modeling import ACTIVATIONS
from BERT.pytorch_pretrained_bert.packing import padded_batch
from src import modeling
from src.attention_maps import attention_maps, both_passes
from src.modeling import (
    BertForSequenceClassificationEncoder,
    FCClassifierForSequenceClassification,
    SequenceClassifier,
    count_parameters,
    parse_passes,
    wiring,
)

transformers = pytest.importorskip('transformers', reason='the models are compared with HF transformers')

SMALL = {'vocab_size': 99, 'hidden_size': 48, 'num_hidden_layers': 3, 'num_attention_heads': 4,
         'intermediate_size': 80, 'max_position_embeddings': 24}
MINILM = envs.MODELS_FOLDER / 'minilm-l6'
TOLERANCE = 2e-5

# Stored layers from 1 on, in the order they run; x: query and key exchanged.
WIRINGS = {
    ('SPS', 1): '1 1x',
    ('SPS', 2): '1 2 1x 2x',
    ('SPS', 3): '1 2 3 1x 2x 3x',
    ('SPS', 4): '1 2 3 4 1x 2x 3x 4x',
    ('SPS', 6): '1 2 3 4 5 6 4x 5x 6x',
    ('SPS_no_shuffle', 1): '1 1',
    ('SPS_no_shuffle', 2): '1 2 1 2',
    ('SPS_no_shuffle', 3): '1 2 3 1 2 3',
    ('SPS_no_shuffle', 6): '1 2 3 4 5 6 4 5 6',
}


def passes_of(text):
    return [[int(word[0]) - 1, word[1:] == 'x'] for word in text.split()]


def random_state(config, seed=0):
    """Weights of an HF BertModel, far from their initial values: attention is uneven, no bias is 0, no scale is 1."""
    with torch.device('meta'):
        names = transformers.BertModel(transformers.BertConfig(**config)).state_dict()
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(tensor.shape, generator=generator) * 0.2 + ('LayerNorm.weight' in name)
            for name, tensor in names.items()}


def hf_model(config, state):
    model = transformers.BertModel(transformers.BertConfig(**config, attn_implementation='eager')).eval()
    model.load_state_dict(state)
    return model


def our_model(config, state, passes=None):
    values = dict(config)
    model = BertModel(BertConfig(values.pop('vocab_size'), **values, passes=passes)).eval()
    model.load_state_dict(state)
    return model


def random_batch(seed=1, vocab_size=99, lengths=(13, 13, 9, 4, 2, 1)):
    """(input_ids, segment_ids, mask), each [B, T]; padding holds random ids too."""
    generator = torch.Generator().manual_seed(seed)
    shape = len(lengths), max(lengths)
    mask = (torch.arange(shape[1]) < torch.tensor(lengths)[:, None]).long()
    return (torch.randint(vocab_size, shape, generator=generator), torch.randint(2, shape, generator=generator), mask)


@torch.no_grad()
def assert_equal_outputs(ours, theirs, input_ids, segment_ids, mask):
    """Every layer at every position, padding included, and the pooled output."""
    encoded_layers, pooled_output = ours(input_ids, segment_ids, mask)
    expected = theirs(input_ids, attention_mask=mask, token_type_ids=segment_ids, output_hidden_states=True)
    assert len(encoded_layers) == len(expected.hidden_states) - 1
    for layer, (got, want) in enumerate(zip(encoded_layers, expected.hidden_states[1:], strict=True), start=1):
        torch.testing.assert_close(got, want, rtol=0, atol=TOLERANCE, msg=lambda text, n=layer: f'layer {n}: {text}')
    torch.testing.assert_close(pooled_output, expected.pooler_output, rtol=0, atol=TOLERANCE)


# Against HF BertModel

@pytest.mark.parametrize('seed', [0, 1])
def test_every_layer_equals_hf(seed):
    state = random_state(SMALL, seed)
    assert_equal_outputs(our_model(SMALL, state), hf_model(SMALL, state), *random_batch(seed))


@pytest.mark.parametrize('change', [
    {'hidden_act': 'relu'}, {'hidden_act': 'gelu_new'}, {'num_attention_heads': 1}, {'num_attention_heads': 48},
    {'type_vocab_size': 5}, {'layer_norm_eps': 1e-2}, {'num_hidden_layers': 1}], ids=str)
def test_other_shapes_equal_hf(change):
    config = SMALL | change
    state = random_state(config)
    assert_equal_outputs(our_model(config, state), hf_model(config, state), *random_batch())


def test_segments_and_mask_may_be_left_out():
    state = random_state(SMALL)
    ours, theirs = our_model(SMALL, state), hf_model(SMALL, state)
    input_ids, segment_ids, mask = random_batch()
    for arguments in ((segment_ids, None), (None, mask), (None, None)):
        assert_equal_outputs(ours, theirs, input_ids, *arguments)


@pytest.mark.parametrize('kind', [torch.bool, torch.float32, torch.int32])
def test_a_mask_of_any_type(kind):
    model, (input_ids, segment_ids, mask) = our_model(SMALL, random_state(SMALL)), random_batch()
    with torch.no_grad():
        assert torch.equal(model(input_ids, segment_ids, mask.to(kind))[1], model(input_ids, segment_ids, mask)[1])


def test_the_last_layer_alone_on_request():
    model, batch = our_model(SMALL, random_state(SMALL)), random_batch()
    with torch.no_grad():
        encoded_layers, pooled_output = model(*batch)
        last, pooled_again = model(*batch, output_all_encoded_layers=False)
    assert torch.equal(last, encoded_layers[-1]) and torch.equal(pooled_again, pooled_output)


def test_more_tokens_than_positions_are_an_error():
    model = our_model(SMALL, random_state(SMALL))
    model(torch.ones(1, 24, dtype=torch.long))
    with pytest.raises(InputError, match='25 tokens.*24'):
        model(torch.ones(1, 25, dtype=torch.long))


@pytest.mark.skipif(not MINILM.is_dir(), reason=f'the checkpoint {MINILM} is missing')
def test_every_layer_of_a_real_checkpoint_equals_hf():
    ours = BertModel.from_pretrained('minilm-l6').eval()
    theirs = transformers.BertModel.from_pretrained(MINILM, attn_implementation='eager').eval()
    tokenizer = BertTokenizer.from_pretrained(MINILM)
    pairs = [('The court ruled on Friday .', 'On Friday, the judges decided.'), ('Yes.', 'No, not at all!'),
             ('Micron has declared its first quarterly profit for three years', 'Profits of $5.2bn, up 10 %')]
    rows = [[['[CLS]', *tokenizer.tokenize(a), '[SEP]'], [*tokenizer.tokenize(b), '[SEP]']] for a, b in pairs]
    shape = len(rows), max(len(a + b) for a, b in rows)
    input_ids, segment_ids, mask = (torch.zeros(shape, dtype=torch.long) for _ in range(3))
    for row, (a, b) in enumerate(rows):
        input_ids[row, :len(a + b)] = torch.tensor(tokenizer.convert_tokens_to_ids(a + b))
        segment_ids[row, len(a):len(a + b)] = 1
        mask[row, :len(a + b)] = 1
    assert_equal_outputs(ours, theirs, input_ids, segment_ids, mask)


# Wirings (SPS)

@pytest.mark.parametrize(('model_type', 'layers'), WIRINGS)
def test_wiring(model_type, layers):
    assert wiring(model_type, layers) == passes_of(WIRINGS[model_type, layers])


@pytest.mark.parametrize('repeated', [[3], [-1], [0, 7], 2, None, [[1]], [1.0], [True]])
def test_wiring_by_a_table_edited_wrongly(monkeypatch, repeated):
    monkeypatch.setitem(modeling.REPEATED_LAYERS, 3, repeated)
    with pytest.raises(InputError, match=r'REPEATED_LAYERS in .*modeling\.py: 3: .*; must be layers from 0 to 2'):
        wiring('SPS', 3)
    assert wiring('Original', 3) is None and len(wiring('SPS', 2)) == 4


def test_wiring_of_the_original_is_each_layer_once():
    assert wiring('Original', 3) is None
    assert BertConfig(9, 8, 3, 2, 8).layer_passes() == [(0, False), (1, False), (2, False)]


def unrolled(state, passes):
    """The state of a plain BERT with one stored layer a pass, query and key changed over where a pass exchanges."""
    plain = {name: tensor for name, tensor in state.items() if not name.startswith('encoder.layer.')}
    for number, (layer, exchanged) in enumerate(passes):
        for name, tensor in state.items():
            if not name.startswith(f'encoder.layer.{layer}.'):
                continue
            part = name.removeprefix(f'encoder.layer.{layer}.')
            if exchanged:
                part = re.sub(r'self\.(query|key)', lambda m: {'query': 'self.key', 'key': 'self.query'}[m[1]], part)
            plain[f'encoder.layer.{number}.{part}'] = tensor
    return plain


@pytest.mark.parametrize(('layers', 'text'), [
    *[(layers, text) for (_, layers), text in WIRINGS.items() if layers != 4],
    (3, '3 1x 1 2 2x 2x'), (2, '2')])
def test_a_wired_model_equals_the_plain_one_it_unrolls_to(layers, text):
    config, passes = SMALL | {'num_hidden_layers': layers}, passes_of(text)
    state = random_state(config)
    theirs = hf_model(config | {'num_hidden_layers': len(passes)}, unrolled(state, passes))
    assert_equal_outputs(our_model(config, state, passes), theirs, *random_batch())


@pytest.mark.parametrize('text', ['1 2 3', '1 2 3 1x 2x 3x', '3 1x 1 2 2x 2x'])
def test_attention_maps_are_those_of_the_plain_one(text):
    passes, state = passes_of(text), random_state(SMALL)
    theirs = hf_model(SMALL | {'num_hidden_layers': len(passes)}, unrolled(state, passes))
    ids, segments, _ = random_batch(lengths=(13,))
    maps = attention_maps(our_model(SMALL, state, passes), ids[0], segments[0])
    with torch.no_grad():
        wanted = theirs(ids, token_type_ids=segments, output_attentions=True).attentions
    assert len(maps) == len(wanted) == len(passes) and maps.shape[1:] == wanted[0].shape[1:]
    for ours, of_pass in zip(maps, wanted, strict=True):
        torch.testing.assert_close(ours, of_pass[0], rtol=0, atol=1e-6)


def test_both_passes():
    sps = passes_of('1 2 3 2x 3x')
    assert both_passes(sps, None) == (1, 3) and both_passes(sps, 2) == (2, 4)
    with pytest.raises(InputError, match='--layer 1: must be one that runs twice: 2, 3'):
        both_passes(sps, 0)
    with pytest.raises(InputError, match='each of its layers runs once'):
        both_passes(passes_of('1 2'), None)


def test_exchanging_changes_the_outputs():
    state, batch = random_state(SMALL), random_batch()
    with torch.no_grad():
        shuffled, shared = (our_model(SMALL, state, wiring(kind, 3))(*batch)[0] for kind in ('SPS', 'SPS_no_shuffle'))
    assert all(torch.equal(a, b) for a, b in zip(shuffled[:3], shared[:3], strict=True))
    assert (shuffled[3] - shared[3]).abs().max() > 0.1


def test_parse_passes():
    assert parse_passes('1,2,1x,2x') == passes_of('1 2 1x 2x')
    assert parse_passes(' 12x, 3') == [[11, True], [2, False]]


@pytest.mark.parametrize('text', ['', '0', '1,,2', '1,2y', 'x', '-1', '1;2', '1x1', '1,2,'])
def test_bad_passes_are_named(text):
    with pytest.raises(InputError, match=re.escape(f'--passes {text!r}')):
        parse_passes(text)


# Names and counts

def test_state_dict_names_are_hfs():
    with torch.device('meta'):
        theirs = transformers.BertModel(transformers.BertConfig(**SMALL)).state_dict()
        ours = our_model_on_meta(SMALL).state_dict()
    shapes = {name: tensor.shape for name, tensor in theirs.items() if not name.endswith('position_ids')}
    assert {name: tensor.shape for name, tensor in ours.items()} == shapes


def our_model_on_meta(config, **more):
    values = dict(config)
    return BertModel(BertConfig(values.pop('vocab_size'), **values, **more))


@pytest.mark.parametrize('model_type', ['SPS', 'SPS_no_shuffle'])
def test_a_shared_models_state_dict_is_a_plain_ones(model_type):
    with torch.device('meta'):
        plain = our_model_on_meta(SMALL).state_dict()
        shared = our_model_on_meta(SMALL, passes=wiring(model_type, 3)).state_dict()
    assert list(shared) == list(plain)
    assert [tensor.shape for tensor in shared.values()] == [tensor.shape for tensor in plain.values()]


def test_encoders_hold_bert_under_its_name():
    config = BertConfig(99, 8, 1, 2, 8)
    assert all(name.startswith('bert.') for name in BertForSequenceClassificationEncoder(config).state_dict())
    head = FCClassifierForSequenceClassification(config, 3)
    assert list(head.state_dict()) == ['classifier.weight', 'classifier.bias']


@pytest.mark.parametrize(('layers', 'expected'), [(3, 45_691_392), (6, 66_955_008), (12, 109_482_240)])
@pytest.mark.parametrize('model_type', ['Original', 'SPS', 'SPS_no_shuffle'])
def test_parameters_of_bert_base(layers, expected, model_type):
    with torch.device('meta'):
        config = BertConfig(30522, num_hidden_layers=layers, passes=wiring(model_type, layers))
        encoder = BertForSequenceClassificationEncoder(config)
    assert count_parameters(encoder) == expected
    assert count_parameters(encoder.bert.embeddings) == 23_837_184
    assert count_parameters(encoder.bert.encoder.layer[layers - 1]) == 7_087_872
    assert count_parameters(encoder.bert.pooler) == 590_592


# Initial weights

@pytest.mark.parametrize('std', [0.02, 0.1])
def test_initial_weights_are_normal(std):
    torch.manual_seed(3)
    config = BertConfig(500, 64, 2, 4, 128, initializer_range=std)
    model = SequenceClassifier(config, 2)
    weights = []
    for name, parameter in model.named_parameters():
        if 'LayerNorm' in name:
            assert (parameter == float(name.endswith('weight'))).all(), name
        elif name.endswith('bias'):
            assert (parameter == 0).all(), name
        else:
            values = parameter.detach().double().flatten() / std
            assert abs(values.mean()) < 5 / math.sqrt(len(values)), name
            assert abs(values.square().mean() - 1) < 5 * math.sqrt(2 / len(values)), name
            weights.append(values)
    values = torch.cat(weights)
    share = (values.abs() > 2).double().mean()           # 4.55 % of a normal distribution, none of a uniform one
    assert abs(share - 0.0455) < 5 * math.sqrt(0.0455 / len(values))


# Dropout's places

def test_dropout_rates_and_places(monkeypatch):
    seen = []
    monkeypatch.setattr(bert_modeling, 'dropout', lambda x, p: (seen.append((p, x.dim())), x)[1])
    monkeypatch.setattr(bert_modeling, 'dropout_add', lambda x, residual, p: (seen.append((p, 2)), x + residual)[1])
    monkeypatch.setattr(bert_modeling, 'attention', lambda query, *rest: (seen.append((rest[-1], 'weights')), query)[1])
    model = BertModel(BertConfig(99, 8, 2, 2, 8, hidden_dropout_prob=0.25, attention_probs_dropout_prob=0.5))
    model.train()(*random_batch())
    assert seen == [(0.25, 2)] + 2 * [(0.5, 'weights'), (0.25, 2), (0.25, 2)]
    seen.clear()
    model.eval()(*random_batch())
    assert all(p == 0 for p, _ in seen)


def test_training_draws_and_evaluation_does_not():
    model = SequenceClassifier(BertConfig(99, 32, 2, 2, 32), 3)
    batch = padded_batch(*random_batch())
    logits = [model.train()(batch)[0] for _ in range(2)] + [model.eval()(batch)[0] for _ in range(2)]
    assert not torch.equal(logits[0], logits[1]) and torch.equal(logits[2], logits[3])


def test_the_head_is_dropout_and_a_linear_layer():
    head = FCClassifierForSequenceClassification(BertConfig(99, 2000, 1, 1, 8, hidden_dropout_prob=0.5), 3)
    x = torch.randn(4, 2000)
    expected = x.double() @ head.classifier.weight.double().T + head.classifier.bias
    torch.testing.assert_close(head.eval()(x).double(), expected, rtol=0, atol=1e-5)
    head.classifier.weight.data.fill_(1)
    kept = head.train()(torch.ones(4, 2000))[:, 0] / 2      # each kept element counts 2
    assert ((kept - 1000).abs() < 5 * math.sqrt(2000) / 2).all() and (kept != 1000).any()


def test_logits_are_fp32_under_autocast():
    head = FCClassifierForSequenceClassification(BertConfig(99, 16, 1, 1, 8), 3).eval()
    x = torch.randn(4, 16).bfloat16()
    with torch.autocast('cpu', torch.bfloat16):
        logits = head(x)
    assert logits.dtype == torch.float32 and torch.equal(logits, head(x.float()))


def test_freeze_leaves_only_those_layers_out():
    model = SequenceClassifier(BertConfig(99, 8, 3, 2, 8), 2)
    model.freeze([0, 2])
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen == {name for name, _ in model.named_parameters() if re.search(r'encoder\.layer\.[02]\.', name)}


# Activations

@pytest.mark.parametrize(('name', 'formula'), [
    ('gelu', lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2),
    ('gelu_new', lambda x: x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3))) / 2),
    ('relu', lambda x: max(x, 0.0)), ('swish', lambda x: x / (1 + math.exp(-x)))])
def test_activations(name, formula):
    x = torch.linspace(-6, 6, 101, dtype=torch.float64)
    expected = torch.tensor([formula(value) for value in x.tolist()], dtype=torch.float64)
    torch.testing.assert_close(ACTIVATIONS[name](x), expected, rtol=0, atol=1e-12)


# Configurations

HF_CONFIG = {
    'architectures': ['BertForMaskedLM'], 'attention_probs_dropout_prob': 0.2, 'gradient_checkpointing': False,
    'hidden_act': 'relu', 'hidden_dropout_prob': 0.3, 'hidden_size': 48, 'initializer_range': 0.05,
    'intermediate_size': 80, 'layer_norm_eps': 1e-5, 'max_position_embeddings': 24, 'model_type': 'bert',
    'num_attention_heads': 4, 'num_hidden_layers': 3, 'pad_token_id': 0, 'position_embedding_type': 'absolute',
    'transformers_version': '4.8.2', 'type_vocab_size': 5, 'use_cache': True, 'vocab_size': 99}
GOOGLE_CONFIG = {key: HF_CONFIG[key] for key in (
    'attention_probs_dropout_prob', 'hidden_act', 'hidden_dropout_prob', 'hidden_size', 'initializer_range',
    'intermediate_size', 'max_position_embeddings', 'num_attention_heads', 'num_hidden_layers', 'type_vocab_size',
    'vocab_size')}


@pytest.mark.parametrize('values', [HF_CONFIG, GOOGLE_CONFIG], ids=['config.json', 'bert_config.json'])
def test_config_from_json(tmp_path, values):
    path = tmp_path / 'some.json'
    path.write_text(json.dumps(values), 'utf-8')
    for config in (BertConfig.from_json_file(path), BertConfig(str(path)), BertConfig(path)):
        for name in GOOGLE_CONFIG:
            assert getattr(config, name) == values[name], name
        assert config.layer_norm_eps == values.get('layer_norm_eps', 1e-12) and config.passes is None


def test_config_round_trip(tmp_path):
    path = tmp_path / 'bert_config.json'
    config = BertConfig(99, 48, 3, 4, 80, passes=wiring('SPS', 3), hidden_dropout_prob=0.25, layer_norm_eps=1e-7)
    path.write_text(config.to_json_string(), 'utf-8')
    again = BertConfig.from_json_file(path)
    assert vars(again) == vars(config) and again.layer_passes() == config.layer_passes()
    assert again.to_json_string() == config.to_json_string()


def test_config_signature_and_defaults():
    defaults = {name: parameter.default for name, parameter in inspect.signature(BertConfig).parameters.items()}
    assert list(defaults) == [
        'vocab_size_or_config_json_file', 'hidden_size', 'num_hidden_layers', 'num_attention_heads',
        'intermediate_size', 'hidden_act', 'hidden_dropout_prob', 'attention_probs_dropout_prob',
        'max_position_embeddings', 'type_vocab_size', 'initializer_range', 'passes', 'layer_norm_eps', 'embedding_rank']
    assert list(defaults.values())[1:] == [768, 12, 12, 3072, 'gelu', 0.1, 0.1, 512, 2, 0.02, None, 1e-12, None]


BAD_CONFIGS = {
    'not JSON': ('{"vocab_size": 99', 'some.json'), 'empty': ('', 'some.json'), 'a list': ('[1, 2]', 'JSON object'),
    'no vocab_size': ({'vocab_size': ...}, 'vocab_size'), 'heads': ({'num_attention_heads': 5}, '48.*5'),
    'activation': ({'hidden_act': 'tanhh'}, 'tanhh.*gelu'), 'no activation': ({'hidden_act': None}, 'None'),
    'no layers': ({'num_hidden_layers': 0}, 'num_hidden_layers.*0'),
    'text': ({'hidden_size': '48'}, "hidden_size.*'48'"),
    'fraction': ({'vocab_size': 9.5}, 'vocab_size.*9.5'), 'bool': ({'type_vocab_size': True}, 'type_vocab_size.*True'),
    'pass beyond': ({'passes': [[0, False], [3, True]]}, 'layer 4.*3 layers'), 'number': ({'passes': 5}, 'some.json'),
    'half a pass': ({'passes': [[0]]}, 'some.json'), 'rate': ({'hidden_dropout_prob': 1.5}, 'hidden_dropout_prob.*1.5'),
    'rate as text': ({'attention_probs_dropout_prob': 'x'}, "attention_probs_dropout_prob.*'x'"),
    'pass before': ({'passes': [[-1, False]]}, 'layer 0'), 'words': ({'passes': [['a', True]]}, 'some.json'),
    'other model': ({'model_type': 'roberta'}, 'roberta'),
    'positions': ({'position_embedding_type': 'relative_key'}, 'relative_key')}


@pytest.mark.parametrize('case', BAD_CONFIGS)
def test_a_bad_config_names_the_file(tmp_path, case):
    content, expected = BAD_CONFIGS[case]
    if isinstance(content, dict):
        content = json.dumps({key: value for key, value in (HF_CONFIG | content).items() if value is not ...})
    path = tmp_path / 'some.json'
    path.write_text(content, 'utf-8')
    with pytest.raises(InputError, match=expected) as error:
        BertConfig.from_json_file(path)
    assert str(path) in str(error.value) and '\n' not in str(error.value)


def test_a_config_that_is_not_text_names_the_file(tmp_path):
    path = tmp_path / 'some.json'
    path.write_bytes(b'\xff\xfe\x00{')
    with pytest.raises(InputError, match='some.json'):
        BertConfig.from_json_file(path)
