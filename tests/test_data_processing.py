"""Token ids, batches, identity and cache of a split, against naive loops and HF's tokenizer."""
import dataclasses
import json
import logging
import shutil
from itertools import pairwise

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import example, given, settings
from hypothesis import strategies as st

import envs
from BERT.pytorch_pretrained_bert import BertTokenizer
from BERT.pytorch_pretrained_bert.file_utils import InputError
from src import data_processing
from src.data_processing import (
    TokenizedSplit,
    check_max_seq_length,
    hold_out,
    label_numbers,
    load_split,
    tokenize_examples,
    truncated_lengths,
)
from src.nli_data_processing import GlueReader, InputExample, find_task
from src.teacher_outputs import TeacherOutputs

TOKENS = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', *'abcdefghij', *('##' + letter for letter in 'abcdefghij'),
          'the', 'bag', 'cab', '.', ',']
MRPC, SST2, STSB = find_task('MRPC'), find_task('SST-2'), find_task('STS-B')
TEXTS = ['the cab .', 'A bag, the bag', 'abc def ghij', 'x', '', 'cabbage the ' * 9, 'j ' * 40, 'the']


@pytest.fixture(scope='module')
def vocab_file(tmp_path_factory):
    path = tmp_path_factory.mktemp('vocab') / 'vocab.txt'
    path.write_text('\n'.join(TOKENS) + '\n', 'utf-8')
    return path


@pytest.fixture(scope='module')
def tokenizer(vocab_file):
    return BertTokenizer(vocab_file)


def pairs_of(texts):
    pairs = [(a, b) for a in texts for b in texts]
    return [InputExample(f'train-{n}', a, b, str(n % 2)) for n, (a, b) in enumerate(pairs)]


def rows_of(split):
    """(ids, length of the first segment) of each row, cut out by a loop."""
    rows, at = [], 0
    for length, first in zip(split.lengths.tolist(), split.first_lengths.tolist(), strict=True):
        rows.append((split.input_ids[at:at + length].tolist(), first))
        at += length
    assert at == len(split.input_ids)
    return rows


def pop_from_the_longer(a, b, room):
    """Google's and pytorch_pretrained_bert's loop, on copies: ties are cut from the second."""
    a, b = list(a), list(b)
    while len(a) + len(b) > room:
        (a if len(a) > len(b) else b).pop()
    return a, b


# Cutting

@settings(deadline=None, max_examples=300)
@example([(5, 5)], 5)
@example([(9, 0), (0, 9), (0, 0)], 0)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=20), st.integers(0, 70))
def test_truncated_lengths_are_those_of_popping(pairs, room):
    first, second = np.array(pairs).T
    kept = [pop_from_the_longer(range(a), range(b), room) for a, b in pairs]
    got = truncated_lengths(first, second, room)
    assert list(zip(*(lengths.tolist() for lengths in got), strict=True)) == [(len(a), len(b)) for a, b in kept]


# Token ids

@pytest.fixture(scope='module')
def hf_tokenizer():
    transformers = pytest.importorskip('transformers')
    vocab = {token: index for index, token in enumerate(TOKENS)}
    return transformers.BertTokenizerFast(vocab=vocab, do_lower_case=True)


def test_uncut_pairs_are_hfs(tokenizer, hf_tokenizer):
    examples = pairs_of(TEXTS)
    split = tokenize_examples(examples, tokenizer, MRPC, 'test', 500)
    for row, (ids, first) in zip(examples, rows_of(split), strict=True):
        expected = hf_tokenizer([row.text_a], [row.text_b])      # not in lists, an empty second text is none to HF
        assert ids == expected['input_ids'][0]
        assert [int(place >= first) for place in range(len(ids))] == expected['token_type_ids'][0]


@pytest.mark.parametrize('room', [500, 12, 4])
def test_single_sentences_are_hfs(tokenizer, hf_tokenizer, room):
    examples = [InputExample(f'train-{n}', text) for n, text in enumerate(TEXTS)]
    split = tokenize_examples(examples, tokenizer, SST2, 'test', room)
    for text, (ids, first) in zip(TEXTS, rows_of(split), strict=True):
        assert ids == hf_tokenizer(text, truncation=True, max_length=room)['input_ids'] and first == len(ids) <= room


@pytest.mark.parametrize('max_seq_length', [4, 5, 16, 31, 128])
def test_pairs_are_cut_by_popping(tokenizer, max_seq_length):
    examples = pairs_of(TEXTS)
    split = tokenize_examples(examples, tokenizer, MRPC, 'test', max_seq_length)
    for row, (ids, first) in zip(examples, rows_of(split), strict=True):
        a, b = pop_from_the_longer(tokenizer.tokenize(row.text_a), tokenizer.tokenize(row.text_b), max_seq_length - 3)
        assert tokenizer.convert_ids_to_tokens(ids) == ['[CLS]', *a, '[SEP]', *b, '[SEP]']
        assert first == len(a) + 2 and len(ids) <= max_seq_length
    assert split.lengths.max() == min(max_seq_length, max(len(tokenizer.tokenize(text)) for text in TEXTS) * 2 + 3)


def test_what_a_split_holds(tokenizer):
    examples = [InputExample('dev-0', 'the bag', 'a cab', '1'), InputExample('dev-1', 'the', '', '0')]
    split = tokenize_examples(examples, tokenizer, MRPC, 'dev', 10)
    ids = {token: index for index, token in enumerate(TOKENS)}
    assert split.input_ids.tolist() == [ids[token] for token in (
        '[CLS] the bag [SEP] a cab [SEP] [CLS] the [SEP] [SEP]').split()]
    assert (split.lengths.tolist(), split.first_lengths.tolist(), split.starts.tolist()) == ([7, 4], [4, 3], [0, 7, 11])
    assert (split.task, split.split, split.max_seq_length, len(split)) == ('MRPC', 'dev', 10, 2)
    assert split.labels.tolist() == [1, 0] and split.tokenizer == tokenizer.fingerprint


def test_chunks_change_nothing(tokenizer, monkeypatch):
    examples = [InputExample('', 'the ' * n, 'a cab', str(n % 2)) for n in range(7)]
    whole = tokenize_examples(examples, tokenizer, MRPC, 'train', 8)
    monkeypatch.setattr(data_processing, 'ROWS_AT_ONCE', 3)
    read = []
    chunked = tokenize_examples((read.append(row) or row for row in examples), tokenizer, MRPC, 'train', 8)
    assert read == examples and chunked.labels.tolist() == [0, 1, 0, 1, 0, 1, 0]
    assert_same(chunked, whole)


def test_special_tokens_in_the_text_are_text(tokenizer):
    split = tokenize_examples([InputExample('test-0', 'the [SEP] bag', 'a')], tokenizer, MRPC, 'test', 50)
    assert rows_of(split)[0][0].count(tokenizer.sep_id) == 2


def test_label_numbers():
    words = [InputExample('', '', '', label) for label in ('neutral', 'contradiction', 'entailment')]
    assert label_numbers(find_task('MNLI'), words).tolist() == [2, 0, 1]
    assert label_numbers(MRPC, [InputExample('', '', '', '1'), InputExample('', '', '', '0')]).dtype == np.int64
    scores = label_numbers(STSB, [InputExample('', '', '', label) for label in ('2.5', '5', '0.0')])
    assert scores.tolist() == [2.5, 5, 0] and scores.dtype == np.float32


@pytest.mark.parametrize(('length', 'good'), [
    (3, False), (4, True), (512, True), (513, False), (0, False), (-5, False)])
def test_check_max_seq_length(length, good):
    if good:
        return check_max_seq_length(length, 512)
    with pytest.raises(InputError, match=f'--max_seq_length {length}.*4 to 512'):
        check_max_seq_length(length, 512)


# Batches

def random_split(rows=50, seed=0, **change):
    numbers = np.random.default_rng(seed)
    lengths = numbers.integers(3, 30, rows).astype(np.int32)
    values = {'task': 'MRPC', 'split': 'train',
              'input_ids': numbers.integers(0, 30_000, lengths.sum()).astype(np.int32), 'lengths': lengths,
              'first_lengths': numbers.integers(2, lengths).astype(np.int32),
              'labels': numbers.integers(0, 2, rows), 'tokenizer': 'abc', 'max_seq_length': 128}
    return TokenizedSplit(**values | change)


@pytest.mark.parametrize('rows', [[0], [49], [3, 1, 2], [*range(50)], [*range(49, -1, -1)], [7, 7, 0, 7]], ids=str)
def test_batches_hold_their_rows(rows):
    split = random_split()
    batch, naive = split.batch(np.array(rows)), rows_of(split)
    ids, segments, positions, firsts = [], [], [], []
    for row in rows:
        firsts.append(len(ids))
        ids += naive[row][0]
        segments += [int(place >= naive[row][1]) for place in range(len(naive[row][0]))]
        positions += range(len(naive[row][0]))
    n = batch.layout.num_tokens
    assert n == len(ids) and batch.input_ids[:n].tolist() == ids
    assert batch.segment_ids[:n].tolist() == segments and batch.position_ids[:n].tolist() == positions
    assert batch.layout.first_rows.tolist() == firsts
    assert not any(values[n:].any() for values in batch[:3])


def test_batches_equal_naive_padding():
    split = random_split()
    rows = split.by_length(np.random.default_rng(1).permutation(50)[:20])
    batch, naive = split.batch(rows), rows_of(split)
    width = max(len(naive[row][0]) for row in rows)
    padded = np.array([naive[row][0] + [-1] * (width - len(naive[row][0])) for row in rows])
    ids, example = batch.input_ids[batch.layout.rows].numpy(), 0
    for group, mask in zip(batch.layout.groups, batch.layout.masks(), strict=True):
        part = ids[group.start:group.start + group.examples * group.tokens].reshape(group.examples, group.tokens)
        for got, allowed in zip(part, mask[:, 0, 0].numpy(), strict=True):
            assert got[allowed].tolist() == [index for index in padded[example] if index >= 0]
            example += 1
    assert example == 20


def test_batches_by_length_hold_every_row_once_longest_first_and_as_many_tokens_as_full_rows_would():
    split = random_split(rows=53)
    batches = list(split.batches_by_length(2))
    order = np.concatenate(batches)
    assert sorted(order.tolist()) == list(range(53)) and (np.diff(split.lengths[order]) <= 0).all()
    budget = 2 * split.max_seq_length
    assert all(split.lengths[rows].sum() <= budget for rows in batches)
    assert all(split.lengths[rows].sum() + split.lengths[after[0]] > budget for rows, after in pairwise(batches))
    assert len(batches) < 53 / 2
    assert [len(rows) for rows in split.batches_by_length(10**30)] == [53]
    rows = np.array([4, 9, 4, 30])
    assert sorted(split.by_length(rows).tolist()) == [4, 4, 9, 30]


# Identity

def reordered(split, order):
    """The split with its rows, and their labels, in another order."""
    rows = rows_of(split)
    return dataclasses.replace(
        split, input_ids=np.concatenate([np.array(rows[n][0], np.int32) for n in order]), lengths=split.lengths[order],
        first_lengths=split.first_lengths[order], labels=split.labels[order])


def changed_at(values, place, value):
    values = values.copy()
    values[place] = value
    return values


def one_token_moved(split):
    """The same tokens in a row, but the last of row 0 is now the first of row 1."""
    lengths = split.lengths.copy()
    lengths[:2] += [-1, 1]
    return dataclasses.replace(split, lengths=lengths, first_lengths=np.minimum(split.first_lengths, 2))


def first_difference(one, other):
    """What a user is told: the first key that differs."""
    one, other = one.identity(), other.identity()
    assert list(one) == list(other) and all(isinstance(word, str) for word in one.values())
    return next((key for key in one if one[key] != other[key]), None)


def two_tokens_changed_over(split):
    ids = split.input_ids.copy()
    ids[[1, 2]] = ids[[2, 1]]
    assert ids[1] != ids[2]
    return dataclasses.replace(split, input_ids=ids)


CHANGES = {
    'another task': ('task', lambda s: dataclasses.replace(s, task='RTE')),
    'another tokenizer': ('tokenizer', lambda s: dataclasses.replace(s, tokenizer='abd')),
    'another tokenizer and so other ids': (
        'tokenizer', lambda s: dataclasses.replace(s, tokenizer='abd', input_ids=s.input_ids + 1)),
    'another length': ('max_seq_length', lambda s: dataclasses.replace(s, max_seq_length=64)),
    'a row less': ('number of rows', lambda s: reordered(s, np.arange(49))),
    'another token': ('rows', lambda s: dataclasses.replace(s, input_ids=changed_at(s.input_ids, 70, 30_001))),
    'tokens in another order': ('rows', two_tokens_changed_over),
    'another end of the first segment': (
        'rows', lambda s: dataclasses.replace(s, first_lengths=changed_at(s.first_lengths, 9, s.first_lengths[9] + 1))),
    'a row twice for another': ('rows', lambda s: reordered(s, changed_at(np.arange(50), 3, 4))),
    'two rows changed over': ('order of rows', lambda s: reordered(s, changed_at(np.arange(50), [3, 4], [4, 3]))),
    'all rows shuffled': ('order of rows', lambda s: reordered(s, np.random.default_rng(0).permutation(50))),
    'another label': ('labels', lambda s: dataclasses.replace(s, labels=changed_at(s.labels, 5, 1 - s.labels[5]))),
    'no labels': ('labels', lambda s: dataclasses.replace(s, labels=None)),
    'nothing': (None, lambda s: random_split()),
    'the type of ids': (None, lambda s: dataclasses.replace(s, input_ids=s.input_ids.astype(np.int64))),
}


@pytest.mark.parametrize('case', CHANGES)
def test_identity_tells_what_differs_first(case):
    expected, change = CHANGES[case]
    split = random_split()
    other = change(split)
    assert first_difference(split, other) == expected
    arrays = {'train.pred_logit': np.zeros((len(split), 2), np.float32)}
    teacher = TeacherOutputs('results.pkl', {'train': json.dumps(split.identity())}, arrays, None)
    if expected is None:
        return teacher.check('train', other)
    with pytest.raises(InputError, match=rf'results\.pkl.*train.* {expected} differ'):
        teacher.check('train', other)


def test_identity_sees_where_rows_divide():
    one = one_token_moved(random_split())
    other = dataclasses.replace(random_split(), first_lengths=one.first_lengths)
    assert first_difference(one, other) == 'rows'


def test_identity_of_more_rows_than_are_hashed_at_once():
    rows = 70_000
    split = random_split(rows)
    swap = changed_at(np.arange(rows), [10, 69_999], [69_999, 10])
    assert first_difference(split, reordered(split, swap)) == 'order of rows'
    last = dataclasses.replace(split, input_ids=changed_at(split.input_ids, -1, 30_001))
    assert first_difference(split, last) == 'rows'
    hashes = np.concatenate([split._row_hashes(start, min(start + 999, rows)) for start in range(0, rows, 999)])
    assert np.array_equal(hashes, split._row_hashes(0, rows)) and len(np.unique(hashes)) > rows - 100


# Reading and the cache

MRPC_HEADER = 'Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n'
STSB_HEADER = 'index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n'


@pytest.fixture
def glue(tmp_path, monkeypatch):
    """A GLUE folder with a little MRPC and STS-B, and an empty cache."""
    monkeypatch.setattr(envs, 'GLUE_FOLDER', tmp_path / 'glue')
    monkeypatch.setattr(envs, 'CACHE_FOLDER', tmp_path / 'outputs' / 'cache')
    for task, header in (('MRPC', MRPC_HEADER), ('STS-B', STSB_HEADER)):
        (tmp_path / 'glue' / task).mkdir(parents=True)
        for name in ('train.tsv', 'test.tsv'):
            lines = [f'{n % 2}\t1\t2\tthe bag {"cab " * n}\ta {"bag " * n}.' for n in range(12)]
            if task == 'STS-B':
                lines = [f'{n}\t-\t-\t-\t-\t-\t-\tthe bag\ta {"cab " * 2 * n}\t{n / 4}' for n in range(12)]
            (tmp_path / 'glue' / task / name).write_text(header + '\n'.join(lines) + '\n', 'utf-8')
    return tmp_path / 'glue'


def assert_same(one, other):
    for field in dataclasses.fields(TokenizedSplit):
        got, expected = getattr(one, field.name), getattr(other, field.name)
        if isinstance(expected, np.ndarray):
            assert got.dtype == expected.dtype and np.array_equal(got, expected), field.name
        else:
            assert got == expected, field.name
    assert one.identity() == other.identity()


@pytest.fixture
def reads(monkeypatch):
    """The splits read from their files, as [(task, split)]."""
    seen, read = [], GlueReader.examples
    monkeypatch.setattr(GlueReader, 'examples',
                        lambda self, folder, split: (seen.append((self.task.name, split)), read(self, folder, split))[1])
    return seen


def refuse(*arguments):
    raise AssertionError('the file was read again')


@pytest.mark.parametrize(('task', 'split', 'kind'), [
    (MRPC, 'train', np.int64), (STSB, 'train', np.float32), (MRPC, 'test', None)], ids=['MRPC', 'STS-B', 'test'])
def test_the_cache_gives_the_same_and_spares_the_reading(glue, tokenizer, monkeypatch, task, split, kind):
    first = load_split(task, split, tokenizer, 20)
    monkeypatch.setattr(GlueReader, 'examples', refuse)
    monkeypatch.setattr(data_processing, 'tokenize_examples', refuse)
    assert_same(load_split(task, split, tokenizer, 20), first)
    assert (None if first.labels is None else first.labels.dtype) == kind
    assert len(first) == 12 and first.lengths.max() == 20


def test_a_loaded_split_is_the_tokenized_file(glue, tokenizer):
    examples = [InputExample('', f'the bag {"cab " * n}', f'a {"bag " * n}.', str(n % 2)) for n in range(12)]
    expected = tokenize_examples(examples, tokenizer, MRPC, 'train', 20)
    assert_same(load_split(MRPC, 'train', tokenizer, 20), expected)


def test_another_length_tokenizer_or_split_has_its_own_cache(glue, tokenizer, vocab_file, reads):
    cased = BertTokenizer(vocab_file, do_lower_case=False)
    wanted = [(split, which, length)
              for split in ('train', 'test') for which in (tokenizer, cased) for length in (20, 12)]
    first = [load_split(MRPC, *arguments) for arguments in wanted]
    assert len(reads) == 8
    for arguments, expected in zip(wanted, first, strict=True):
        assert_same(load_split(MRPC, *arguments), expected)
    assert len(reads) == 8 and {split.lengths.max() for split in first} == {20, 12}


def test_a_changed_file_is_read_anew(glue, tokenizer, reads):
    path = glue / 'MRPC' / 'train.tsv'
    before, content = load_split(MRPC, 'train', tokenizer, 20), path.read_text('utf-8')
    path.write_text(content.replace('the bag', 'the cab', 1), 'utf-8')
    after = load_split(MRPC, 'train', tokenizer, 20)
    assert len(reads) == 2 and first_difference(before, after) == 'rows'
    path.write_text(content, 'utf-8')                    # the old content again, under a new date
    assert_same(load_split(MRPC, 'train', tokenizer, 20), before)
    assert len(reads) == 2


@pytest.mark.parametrize('damage', [
    lambda content: b'', lambda content: content[:-1], lambda content: content[:20], lambda content: b'x' * 500,
    lambda content: safetensors.numpy.save({'lengths': np.ones(3, np.int32)})],
    ids=['empty', 'end', 'start', 'text', 'other arrays'])
def test_a_damaged_cache_is_made_anew(glue, tokenizer, reads, caplog, damage):
    expected = load_split(MRPC, 'train', tokenizer, 20)
    cache, = envs.CACHE_FOLDER.iterdir()
    content = cache.read_bytes()
    cache.write_bytes(damage(content))
    with caplog.at_level(logging.WARNING):
        assert_same(load_split(MRPC, 'train', tokenizer, 20), expected)
    assert len(reads) == 2 and str(cache) in caplog.text and cache.read_bytes() == content
    assert_same(load_split(MRPC, 'train', tokenizer, 20), expected)
    assert len(reads) == 2 and list(envs.CACHE_FOLDER.iterdir()) == [cache]


def test_a_cache_that_cannot_be_written_stops_nothing(glue, tokenizer, reads, caplog):
    expected = load_split(MRPC, 'train', tokenizer, 20)
    shutil.rmtree(envs.CACHE_FOLDER)
    envs.CACHE_FOLDER.write_text('a file where the folder should be')
    for times in (2, 3):
        caplog.clear()
        assert_same(load_split(MRPC, 'train', tokenizer, 20), expected)
        assert len(reads) == times and f'warning: {envs.CACHE_FOLDER}' in caplog.text and 'cannot be written' in caplog.text


def test_a_failed_reading_leaves_no_cache(glue, tokenizer):
    (glue / 'MRPC' / 'train.tsv').write_text(MRPC_HEADER + '2\t1\t2\ta\tb\n', 'utf-8')
    with pytest.raises(InputError, match='train.tsv, line 2'):
        load_split(MRPC, 'train', tokenizer, 20)
    assert not envs.CACHE_FOLDER.exists() or not list(envs.CACHE_FOLDER.iterdir())


# The holdout


@given(st.lists(st.integers(2, 60), min_size=1, max_size=4), st.floats(0, 0.999), st.integers(0, 2**63 - 1))
def test_holdout_is_stratified_disjoint_and_complete(sizes, fraction, seed):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)) + 3, sizes))    # classes 3, 4, ...
    smallest = min(sizes)
    try:
        rows, held_out = hold_out(labels, fraction, seed)
    except InputError:
        assert fraction * smallest < 1 or (1 - fraction) * smallest < 1
        return
    assert sorted([*rows, *held_out]) == list(range(len(labels)))
    assert (np.diff(rows) > 0).all() and (np.diff(held_out) > 0).all()
    assert abs(len(held_out) - fraction * len(labels)) <= 0.5 + 1e-6
    for label, size in enumerate(sizes, 3):
        assert abs((labels[held_out] == label).sum() - fraction * size) < 1
    assert np.array_equal(held_out, hold_out(labels, fraction, seed)[1])


def test_holdout_is_fixed_by_its_seed():
    labels = np.arange(200) % 2
    np.random.seed(1)
    one = hold_out(labels, 0.2, 5)[1]
    np.random.seed(2)
    assert np.array_equal(one, hold_out(labels, 0.2, 5)[1])
    assert len(set(one) & set(hold_out(labels, 0.2, 6)[1])) < 25      # 8 of 40 by chance
    assert len(np.unique(one % 20)) > 10                              # from everywhere


def test_holdout_of_scores_is_stratified_by_their_bins():
    scores = np.random.default_rng(0).random(1000).astype(np.float32) ** 3 * 5
    held_out = hold_out(scores, 0.1, 0)[1]
    assert np.bincount(np.argsort(np.argsort(scores))[held_out] // 100).tolist() == [10] * 10
    few_values = np.repeat(np.array([0, 2.5, 5], np.float32), 20)
    assert np.unique(few_values[hold_out(few_values, 0.25, 0)[1]], return_counts=True)[1].tolist() == [5, 5, 5]


def test_no_holdout():
    rows, held_out = hold_out(np.array([0, 1, 1]), 0.0, 0)
    assert rows.tolist() == [0, 1, 2] and held_out.tolist() == []


@pytest.mark.parametrize('fraction', [0.001, 0.02, 0.98, 0.999])
def test_holdout_without_a_row_of_a_class(fraction):
    labels = np.repeat([0, 1], [90, 10])
    with pytest.raises(InputError, match=f'--holdout {fraction}: .* 10 row.* give 0.1 to 0.9'):
        hold_out(labels, fraction, 0)
    for fitting in (0.1, 0.9):
        hold_out(labels, fitting, 0)
    with pytest.raises(InputError, match='leave --holdout out'):
        hold_out(np.array([0, 1, 1]), 0.5, 0)


@given(st.integers(2, 3000))
def test_fractions_that_are_named_do_fit(rows):
    labels = np.zeros(rows, np.int64)
    with pytest.raises(InputError) as caught:
        hold_out(labels, 1e-9, 0)
    lowest, highest = (float(word) for word in str(caught.value).split('give ')[1].split(' to '))
    for fraction in (lowest, highest):
        assert all(map(len, hold_out(labels, fraction, 0)))


def test_rows_as_padded_arrays():
    split = TokenizedSplit('MRPC', 'dev', np.arange(10, 19, dtype=np.int32), np.array([2, 4, 3], np.int32),
                           np.array([1, 2, 3], np.int32), np.zeros(3), 'none', 8)
    input_ids, segment_ids, mask = split.padded(np.array([2, 0]), 5, pad_id=7)
    assert input_ids.tolist() == [[16, 17, 18, 7, 7], [10, 11, 7, 7, 7]]
    assert segment_ids.tolist() == [[0, 0, 0, 0, 0], [0, 1, 0, 0, 0]]
    assert mask.tolist() == [[1, 1, 1, 0, 0], [1, 1, 0, 0, 0]]
    assert {part.dtype for part in (input_ids, segment_ids, mask)} == {np.dtype(np.int64)}
    assert split.padded(np.array([1, 2]))[0].tolist() == [[12, 13, 14, 15], [16, 17, 18, 0]]
