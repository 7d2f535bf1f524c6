"""BertTokenizer against HF transformers and pytorch_pretrained_bert 0.6.2, on real GLUE text and on odd characters."""
import hashlib
import os
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import envs
from BERT.pytorch_pretrained_bert.file_utils import InputError
from BERT.pytorch_pretrained_bert.tokenization import BertTokenizer

SPECIAL = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']
WORDS = ['the', 'film', 'un', '##aff', '##able', '##s', 'resume', 'Resume', 'été', 'cl', '##ing', '中', '😀', 'sep']
REAL_VOCAB = envs.MODELS_FOLDER / 'minilm-l6' / 'vocab.txt'

ODD_TEXTS = [
    '', ' ', '\t\n', 'Résumé ÉTÉ naïve Ångström', 'e\u0301 o\u0302\u0323 \u0301x', 'İstanbul ΣΊΣΥΦΟΣ Straße ǅ',
    '中文字 and日本語 한국어', '\U00020000\U0002a6e0 \uf900', '😀😀 👩\u200d🚀 🇩🇪 1\ufe0f\u20e3',
    'a\u0300\u0301\u0302b',
    'bell\x07 nul\x00 del\x7f esc\x1b[0m', 'zero\u200bwidth \ufeffbom soft\u00adhyphen \u2060', 'fffd \ufffd x\ufffdy',
    'tab\tline\nfeed\r\nvertical\x0bform\x0c', 'don\'t "stop" -- $5.00?!',
    'nbsp\u00a0thin\u2009ideo\u3000ls\u2028ps\u2029nel\x85 \x1c',
    '¿qué? «quote» „low“ — … ‽', 'a' * 100, 'a' * 101, 'é' * 101, 'the ' * 300, '中' * 200, '१२३ ٣ Ⅷ ½ ²',
    'นี่คือ हिन्दी עִבְרִית',
    '[CLS] the [SEP] film[SEP]s [sep] [MASK]. [UNK]', '##s ##able un##s', '\ue000 \U000f0000 \u0378 \U0010ffff',
    '`^|~<>=+',
]


@pytest.fixture(scope='module')
def vocab_path(tmp_path_factory):
    if REAL_VOCAB.is_file():
        return REAL_VOCAB
    letters = sorted(set(string.printable.strip() + 'àéøßçñ—“”¿中文字日本σς'))
    tokens = dict.fromkeys([*SPECIAL, *WORDS, *letters, *('##' + letter for letter in letters)])
    path = tmp_path_factory.mktemp('vocab') / 'vocab.txt'
    path.write_text('\n'.join(tokens) + '\n', 'utf-8')
    return path


@pytest.fixture(scope='module', params=[True, False], ids=['uncased', 'cased'])
def pair(request, vocab_path):
    """The tokenizer and HF's, both of one vocabulary."""
    transformers = pytest.importorskip('transformers')
    lines = vocab_path.read_text('utf-8').split('\n')[:-1]
    theirs = transformers.BertTokenizerFast(vocab={token: index for index, token in enumerate(lines)},
                                            do_lower_case=request.param)
    return BertTokenizer(vocab_path, do_lower_case=request.param), theirs


@pytest.fixture(scope='module')
def small(tmp_path_factory):
    path = tmp_path_factory.mktemp('small') / 'vocab.txt'
    path.write_text('\n'.join(SPECIAL + WORDS + list('[],.!a') + ['##a']) + '\n', 'utf-8')
    return BertTokenizer(path)


def ids_of_hf(tokenizer, texts):
    """Special tokens written in the text are text."""
    tokenizer.backend_tokenizer.encode_special_tokens = True
    return [encoding.ids for encoding in tokenizer.backend_tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


@pytest.mark.parametrize('task', ['MRPC', 'RTE', 'SST-2'])
def test_real_glue_text_as_hf(pair, task):
    ours, theirs = pair
    folder = envs.GLUE_FOLDER / task
    if not folder.is_dir():
        pytest.skip(f'no {task} in PEAKD_GLUE')
    splits = ['train', 'dev', 'test'] if ours.do_lower_case else ['dev']
    for split in splits:
        # Whole lines: their tabs and labels are text here.
        lines = (folder / f'{split}.tsv').read_bytes().decode().split('\n')
        assert len(lines) > 250
        assert ours.encode_texts(lines) == ids_of_hf(theirs, lines)


def test_odd_texts_as_hf(pair):
    ours, theirs = pair
    for text, ids in zip(ODD_TEXTS, ours.encode_texts(ODD_TEXTS), strict=True):
        assert ids == ids_of_hf(theirs, [text])[0], ascii(text)
        if '[SEP]' not in text:
            assert ours.tokenize(text) == theirs.tokenize(text) == ours.convert_ids_to_tokens(ids), ascii(text)


ANY_TEXT = st.text(max_size=60) | st.text('aÉé\u0301\u0345中 \t\u00a0\x00\x1f.[]SEP\u200d\ufeff\u0130Σ', max_size=30)


@settings(max_examples=100, deadline=None, database=None)
@given(texts=st.lists(ANY_TEXT))
def test_any_text_as_hf(pair, texts):
    ours, theirs = pair
    expected = ids_of_hf(theirs, texts) if texts else []
    assert ours.encode_texts(texts) == expected
    for text, ids in zip(texts, expected, strict=True):
        if not any(token in text for token in SPECIAL):
            assert ours.convert_tokens_to_ids(ours.tokenize(text)) == ids


@pytest.fixture(scope='module')
def published(pair, vocab_path):
    module = pytest.importorskip('pytorch_pretrained_bert.tokenization')
    return module.BertTokenizer(str(vocab_path), do_lower_case=pair[0].do_lower_case)


PARTS = ['[SEP]', '[CLS]', '[MASK]', '[', ']', ' ', '\t', '\x00', 'the', 'É', '中', '.', '[sep]']


@settings(max_examples=100, deadline=None, database=None)
@given(parts=st.lists(st.sampled_from(PARTS)))
def test_special_tokens_in_text_as_pytorch_pretrained_bert(pair, published, parts):
    text = ''.join(parts)
    assert pair[0].tokenize(text) == published.tokenize(text)


def test_tokens_by_hand(small):
    assert small.tokenize('The unaffables, RÉSUMÉ.') == ['the', 'un', '##aff', '##able', '##s', ',', 'resume', '.']
    assert small.tokenize('the中film😀 zzz') == ['the', '中', '[UNK]', '[UNK]']
    assert small.tokenize('th\x00e\u200b fi\u00adlm') == ['the', 'film']
    assert small.tokenize('a' * 100) == ['a'] + ['##a'] * 99
    assert small.tokenize('a' * 101) == ['[UNK]']
    assert small.tokenize('') == [] and small.encode_texts([]) == [] and small.encode_texts(['', ' ']) == [[], []]


def test_a_separator_in_the_text_does_not_end_a_pair(small):
    text = 'the [SEP] film[SEP]'
    assert small.tokenize(text) == ['the', '[SEP]', 'film', '[', 'sep', ']']
    ids = small.encode_texts([text])[0]
    assert small.convert_ids_to_tokens(ids) == ['the', '[', 'sep', ']', 'film', '[', 'sep', ']']
    assert not {small.sep_id, small.cls_id, small.pad_id, small.unk_id} & set(ids)


def test_more_texts_than_are_taken_at_once(small, monkeypatch):
    texts = ['the film', 'a', '', 'unaffable a', 'film the', 'a a']
    expected = [small.convert_tokens_to_ids(small.tokenize(text)) for text in texts]
    monkeypatch.setattr('BERT.pytorch_pretrained_bert.tokenization.TEXTS_AT_ONCE', 4)
    assert small.encode_texts(texts) == expected
    assert len({id(ids) for ids in small.encode_texts(['a'] * 5)}) == 5      # lists of their own: safe to change


def test_vocabulary_and_ids(small):
    assert list(small.vocab)[:6] == [*SPECIAL, 'the'] and list(small.vocab.values()) == list(range(len(small)))
    assert (small.pad_id, small.unk_id, small.cls_id, small.sep_id) == (0, 1, 2, 3)
    assert small.ids_to_tokens[5] == 'the' and small.convert_ids_to_tokens([2, 5]) == ['[CLS]', 'the']
    assert small.convert_tokens_to_ids(['[CLS]', 'the']) == [2, 5]
    with pytest.raises(KeyError, match='nowhere'):
        small.convert_tokens_to_ids(['nowhere'])


def test_fingerprint(small, tmp_path):
    words = list(small.vocab)
    text = '\n'.join(['do_lower_case=True', *words])
    assert small.fingerprint == hashlib.sha256(text.encode()).hexdigest()
    saved = small.save_vocabulary(tmp_path / 'new')
    assert BertTokenizer(saved).fingerprint == small.fingerprint
    assert BertTokenizer(saved, do_lower_case=False).fingerprint != small.fingerprint
    saved.write_text('\n'.join([*words[:-2], words[-1], words[-2]]), 'utf-8')
    assert BertTokenizer(saved).fingerprint != small.fingerprint


def test_from_pretrained_and_save(small, tmp_path, monkeypatch):
    path = small.save_vocabulary(tmp_path / 'tiny')
    assert path == tmp_path / 'tiny' / 'vocab.txt'
    loaded = BertTokenizer.from_pretrained(tmp_path / 'tiny', do_lower_case=False)
    assert loaded.vocab == small.vocab and loaded.tokenize('Resume') == ['Resume']
    monkeypatch.setattr(envs, 'MODELS_FOLDER', tmp_path)
    assert BertTokenizer.from_pretrained('tiny').vocab == small.vocab
    with pytest.raises(FileNotFoundError, match='tinny'):
        BertTokenizer.from_pretrained('tinny')


@pytest.mark.parametrize(('content', 'message'), [
    (b'', r'0 tokens without \[PAD\], \[UNK\], \[CLS\], \[SEP\]'),
    (b'[PAD]\n[UNK]\n[SEP]\nthe\n', r'4 tokens without \[CLS\]; a BERT vocabulary has'),
    (b'[PAD]\n[UNK]\n[CLS]\n[SEP]\ncaf\xe9\n', 'line 5: not UTF-8'),
    (b'[PAD]\n[UNK]\n[CLS]\n[SEP]\nthe\na\nthe\n', "line 7: 'the' stands on line 5 already"),
    (b'[PAD]\n[UNK]\n[CLS]\n\n[SEP]\n', 'line 4: empty'),
    (b'{"model": "bert"}\n', '1 tokens without'),
])
def test_a_bad_vocabulary_is_named(tmp_path, content, message):
    path = tmp_path / 'vocab.txt'
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        BertTokenizer(path)
    assert str(error.value).startswith(str(path)) and '\n' not in str(error.value)


def test_a_missing_vocabulary_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='no such vocabulary file'):
        BertTokenizer(tmp_path / 'vocab.txt')


def test_line_ends_byte_order_mark_and_odd_tokens(tmp_path):
    path = tmp_path / 'vocab.txt'
    path.write_bytes('\ufeff[PAD]\r\n[UNK]\r\n[CLS]\r\n[SEP]\r\n\u2028\r\nx\x85\r\nthe'.encode())
    assert list(BertTokenizer(path).vocab) == ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '\u2028', 'x\x85', 'the']


def test_max_len_warns(small, tmp_path, caplog):
    tokenizer = BertTokenizer(small.save_vocabulary(tmp_path), max_len=2)
    tokenizer.convert_tokens_to_ids(['the'] * 2)
    assert not caplog.messages
    assert tokenizer.convert_tokens_to_ids(['the'] * 3) == [5, 5, 5]
    assert 'max_len is 2' in caplog.text


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='no fork here')
def test_no_threads_and_so_no_warning_after_a_fork(small, tmp_path, monkeypatch, capfd):
    monkeypatch.delenv('TOKENIZERS_PARALLELISM', raising=False)
    tokenizer = BertTokenizer(small.save_vocabulary(tmp_path))
    assert os.environ['TOKENIZERS_PARALLELISM'] == 'false'
    tokenizer.encode_texts(['the film', 'a film'])
    child = os.fork()
    if child == 0:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert capfd.readouterr().err == ''
