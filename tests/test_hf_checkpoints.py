"""Checkpoint folders as Hugging Face writes them: other sizes and vocabularies, and the casing that each says it has."""
import json
import os
import shutil

import pytest
import torch
from conftest import CUES, WORDS
from test_tokenization import ODD_TEXTS, ids_of_hf

os.environ.setdefault('HF_HUB_OFFLINE', '1')
import transformers

from BERT.pytorch_pretrained_bert import BertModel, BertTokenizer
from BERT.pytorch_pretrained_bert.file_utils import InputError
from BERT.pytorch_pretrained_bert.tokenization import load_vocab, word_rules

SPECIAL = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']
LETTERS = [*'abcdefghijklmnopqrstuvwxyzàéøßçñσς中文字日本.,!?[]0123']
PIECES = ['##' + letter for letter in LETTERS]
UNCASED = [*SPECIAL, *dict.fromkeys([*WORDS, *CUES.values(), 'resume', 'sep', *LETTERS, *PIECES])]
CASED = [*UNCASED, 'The', 'Resume', 'A', 'É', '##É', 'Cat']
TEXTS = [*ODD_TEXTS, 'The Résumé ÉTÉ a 中文 cat.', 'Cat cat, THE the', 'naïve Ångström 日本dog']
# (what tokenizer_config.json says, vocabulary)
RULES = [({'do_lower_case': True}, UNCASED), ({'do_lower_case': False}, CASED), ({'do_lower_case': False}, UNCASED),
         ({'do_lower_case': True, 'strip_accents': False}, UNCASED),
         ({'do_lower_case': False, 'strip_accents': True}, CASED),
         ({'do_lower_case': True, 'tokenize_chinese_chars': False}, UNCASED), ({'do_lower_case': True}, CASED)]


def hf_tokenizer(vocabulary, **rules):
    return transformers.BertTokenizer(vocab={token: number for number, token in enumerate(vocabulary)}, **rules)


def write_vocab(folder, vocabulary):
    folder.mkdir(exist_ok=True)
    (folder / 'vocab.txt').write_text('\n'.join(vocabulary) + '\n', 'utf-8')
    return folder


def assert_same_ids(ours, theirs):
    for text in TEXTS:
        assert ours.encode_texts([text]) == ids_of_hf(theirs, [text]), ascii(text)


@pytest.mark.parametrize('rules, vocabulary', RULES)
def test_what_transformers_saves_is_read_as_it_does(tmp_path, rules, vocabulary):
    hf_tokenizer(vocabulary, **rules).save_pretrained(tmp_path)
    assert not (tmp_path / 'vocab.txt').exists()                      # otherwise tokenizer.json would not be read
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert_same_ids(BertTokenizer.of_checkpoint(tmp_path), theirs)


@pytest.mark.parametrize('rules, vocabulary', RULES)
def test_vocab_txt_and_settings(tmp_path, rules, vocabulary):
    write_vocab(tmp_path, vocabulary)
    (tmp_path / 'tokenizer_config.json').write_text(json.dumps(rules))
    assert_same_ids(BertTokenizer.of_checkpoint(tmp_path), hf_tokenizer(vocabulary, **rules))


def test_rules_tell_tokenizers_apart(tmp_path):
    vocab = write_vocab(tmp_path, CASED) / 'vocab.txt'
    tokenizers = [BertTokenizer(vocab, *rules) for rules in ((True,), (False,), (True, None, False), (False, None, True),
                                                             (True, None, None, False))]
    assert len({tokenizer.fingerprint for tokenizer in tokenizers}) == 5
    assert BertTokenizer(vocab, True, None, True, True).fingerprint == BertTokenizer(vocab).fingerprint


def test_the_whole_tokenizer_says_what_the_settings_do_not(tmp_path):
    hf_tokenizer(UNCASED, do_lower_case=False, strip_accents=True).save_pretrained(tmp_path)
    (tmp_path / 'tokenizer_config.json').write_text('{"model_max_length": 512}')
    assert word_rules(tmp_path) == {'do_lower_case': False, 'strip_accents': True, 'tokenize_chinese_chars': True}
    (tmp_path / 'tokenizer_config.json').write_text('{"strip_accents": null}')
    assert word_rules(tmp_path)['strip_accents'] is None
    (tmp_path / 'tokenizer_config.json').write_text('{"do_lower_case": true}')
    assert word_rules(tmp_path) == {'do_lower_case': True}


@pytest.mark.parametrize('vocabulary, lower', [(UNCASED, True), (CASED, False),
                                               ([*UNCASED, '[NEW]', '[unused1]', '<S>'], True)])
def test_where_nothing_says_the_words_decide(tmp_path, caplog, vocabulary, lower):
    write_vocab(tmp_path, vocabulary)
    with caplog.at_level('INFO'):
        assert word_rules(tmp_path) == {'do_lower_case': lower}
    assert bool(caplog.messages) != lower


@pytest.mark.parametrize('values, word', [('{"do_lower_case": "false"}', 'do_lower_case'),
                                          ('{"strip_accents": 1}', 'strip_accents'), ('[]', 'expected a JSON object')])
def test_settings_that_are_none_are_refused(tmp_path, values, word):
    write_vocab(tmp_path, UNCASED)
    (tmp_path / 'tokenizer_config.json').write_text(values)
    with pytest.raises(InputError, match=f'tokenizer_config.json: .*{word}'):
        BertTokenizer.of_checkpoint(tmp_path)


BROKEN = {
    'another model': (('model', 'type'), 'BPE', 'model.type'),
    'other pieces': (('model', 'continuing_subword_prefix'), '@@', '@@'),
    'no normalizer': (('normalizer',), None, 'normalizer.type'),
    'another splitter': (('pre_tokenizer', 'type'), 'Whitespace', 'BertPreTokenizer'),
    'a gap': (('model', 'vocab', 'dog'), 999, 'from 0 on'), 'no number': (('model', 'vocab', 'dog'), 'x', 'from 0 on'),
    'no vocabulary': (('model', 'vocab'), [1], 'from 0 on'), 'added': (('added_tokens',), [{'content': '<new>'}], '<new>'),
    'added, odd': (('added_tokens',), [77], 'added tokens')}


@pytest.mark.parametrize('kind', BROKEN)
def test_other_tokenizers_are_refused(tmp_path, kind):
    hf_tokenizer(UNCASED).save_pretrained(tmp_path)
    path, value, words = BROKEN[kind]
    whole = json.loads((tmp_path / 'tokenizer.json').read_text())
    place = whole
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    (tmp_path / 'tokenizer.json').write_text(json.dumps(whole))
    with pytest.raises(InputError, match='tokenizer.json: ') as error:
        load_vocab(tmp_path / 'tokenizer.json')
    assert words in str(error.value) and '\n' not in str(error.value)


def test_a_vocabulary_without_the_special_words(tmp_path):
    hf_tokenizer(UNCASED).save_pretrained(tmp_path)
    whole = json.loads((tmp_path / 'tokenizer.json').read_text())
    whole['model']['vocab'], whole['added_tokens'] = {'a': 0}, []
    (tmp_path / 'tokenizer.json').write_text(json.dumps(whole))
    with pytest.raises(InputError, match=r'1 tokens without \[PAD\]'):
        BertTokenizer.of_checkpoint(tmp_path)


# Models

SHAPE = {'hidden_size': 48, 'num_hidden_layers': 3, 'num_attention_heads': 2, 'intermediate_size': 80,
         'max_position_embeddings': 64, 'initializer_range': 0.1}


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """A cased BertModel of another size, as transformers saves it; and the model."""
    folder = tmp_path_factory.mktemp('models') / 'cased'
    torch.manual_seed(0)
    model = transformers.BertModel(transformers.BertConfig(vocab_size=len(CASED), **SHAPE)).eval()
    model.save_pretrained(folder)
    hf_tokenizer(CASED, do_lower_case=False).save_pretrained(folder)
    return folder, model


@pytest.mark.parametrize('weights', ['safetensors', 'bin'])
def test_a_bert_model_of_another_size(tmp_path, checkpoint, weights):
    folder, theirs = checkpoint
    if weights == 'bin':
        folder = shutil.copytree(folder, tmp_path / 'bin')
        (folder / 'model.safetensors').unlink()
        torch.save(theirs.state_dict(), folder / 'pytorch_model.bin')
    ours = BertModel.from_pretrained(folder).eval()
    ids = torch.tensor([BertTokenizer.of_checkpoint(folder).encode_texts(['The cat Resume É sees the dog.'])[0]])
    with torch.no_grad():
        encoded, pooled = ours(ids, torch.zeros_like(ids))
        expected = theirs(ids, output_hidden_states=True)
    torch.testing.assert_close(pooled, expected.pooler_output, atol=1e-5, rtol=0)
    for layer, hidden in zip(encoded, expected.hidden_states[1:], strict=True):
        torch.testing.assert_close(layer, hidden, atol=1e-5, rtol=0)


def test_the_first_word_learns_where_it_is_not_the_padding(tmp_path, checkpoint):
    model = BertModel.from_pretrained(checkpoint[0])
    model(torch.tensor([[2, 0, 3]]))[1].sum().backward()
    assert model.embeddings.word_embeddings.weight.grad[0].abs().sum() > 0


def test_it_trains(make_workspace, checkpoint):
    workspace = make_workspace()
    shutil.copytree(checkpoint[0], workspace.models / 'cased')
    workspace.succeed('NLI_KD_training.py', '--bert_model', 'cased', '--max_seq_length', 64, '--num_train_epochs', 1,
                      '--train_seed', 1, '--model_type', 'SPS', '--student_hidden_layers', 2, '--output_dir',
                      workspace.folder / 'run', '--precision', 'fp32')       # two steps, for at the first the rate is 0
    before, after = checkpoint[1].state_dict(), torch.load(workspace.folder / 'run' / 'BERT.encoder.pkl')
    assert after.keys() == {f'bert.{name}' for name in before if not name.startswith('encoder.layer.2.')}
    for name, tensor in after.items():
        started = before[name.removeprefix('bert.')]
        assert not torch.equal(tensor, started), name
        torch.testing.assert_close(tensor, started, rtol=0, atol=1e-4)
    outcome = workspace.call('NLI_KD_training.py', '--bert_model', 'cased')
    assert outcome.code == 2 and '--max_seq_length 128' in outcome.err and '64' in outcome.err


def test_pairs_need_two_segments(make_workspace):
    workspace = make_workspace(2, ('MRPC', 'CoLA'), type_vocab_size=1)
    flags = ('--bert_model', 'tiny', '--num_train_epochs', 0.5, '--train_seed', 1, '--precision', 'fp32')
    outcome = workspace.call('NLI_KD_training.py', *flags)
    assert outcome.code == 2 and 'type_vocab_size is 1' in outcome.err and 'MRPC' in outcome.err
    workspace.succeed('NLI_KD_training.py', *flags, '--task', 'CoLA')


def test_a_decoder_is_refused(tmp_path, checkpoint):
    folder = shutil.copytree(checkpoint[0], tmp_path / 'decoder')
    config = json.loads((folder / 'config.json').read_text()) | {'is_decoder': True}
    (folder / 'config.json').write_text(json.dumps(config))
    with pytest.raises(InputError, match='config.json: .*is_decoder'):
        BertModel.from_pretrained(folder)
