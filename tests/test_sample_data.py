"""The built-in sample task: its file format, its determinism, and that counting common words does not solve it."""
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from data.data_raw import make_sample_data as maker
from data.data_raw import sample_grammar as grammar

SCRIPT = Path(maker.__file__).resolve()
SPLITS = {'train': 2000, 'dev': 400, 'test': 400}


def run_script(folder, *flags, **options):
    return subprocess.run([sys.executable, str(SCRIPT), '--data_dir', str(folder), *flags], capture_output=True,
                          text=True, timeout=60, **options)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('sample')
    done = run_script(folder, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert [line.split(': ')[1].split()[0] for line in done.stdout.splitlines()] == ['2000', '400', '400']
    return folder


def rows_of(folder, split):
    """Rows without the header, read as MRPC's reader does: by position, tab separated, no quoting."""
    lines = (folder / f'{split}.tsv').read_bytes().decode('ascii').split('\n')
    assert lines[-1] == ''
    return [line.split('\t') for line in lines[1:-1]]


def pairs_of(folder, split):
    return [(row[3], row[4]) for row in rows_of(folder, split)]


def labels_of(folder, split):
    return np.array([int(row[0]) for row in rows_of(folder, split)])


def test_only_the_three_files_are_there(folder):
    assert sorted(os.listdir(folder)) == ['dev.tsv', 'test.tsv', 'train.tsv']


@pytest.mark.parametrize('split', SPLITS)
def test_format_is_that_of_mrpc(folder, split):
    header = (folder / f'{split}.tsv').read_bytes().split(b'\n')[0].decode()
    first = 'index' if split == 'test' else 'Quality'
    assert header == f'{first}\t#1 ID\t#2 ID\t#1 String\t#2 String'
    rows = rows_of(folder, split)
    assert len(rows) == SPLITS[split]
    assert {len(row) for row in rows} == {5}
    if split == 'test':
        assert [row[0] for row in rows] == [str(index) for index in range(len(rows))]
    else:
        assert {row[0] for row in rows} == {'0', '1'}
    ids = [row[column] for row in rows for column in (1, 2)]
    assert len(set(ids)) == len(ids) and all(text.isdigit() for text in ids)


@pytest.mark.parametrize('split', ['train', 'dev'])
def test_labels_are_fairly_balanced(folder, split):
    assert 0.50 <= labels_of(folder, split).mean() <= 0.65


def test_sentences_are_clean_and_of_mrpcs_length(folder):
    texts = [text for split in SPLITS for pair in pairs_of(folder, split) for text in pair]
    assert not [text for text in texts if re.search(r'[{}\[\]|"_#]|  | [,.]|,,|None(?! of)|^[a-z]', text)]
    assert all(text.endswith('.') and text.count('.') >= 1 for text in texts)
    lengths = [len(text.split()) for text in texts]
    assert 14 <= np.mean(lengths) <= 25 and max(lengths) <= 50
    assert len({text.split()[0] for text in texts}) > 150


def test_no_sentence_occurs_twice(folder):
    texts = [text for split in SPLITS for pair in pairs_of(folder, split) for text in pair]
    assert len(set(texts)) == len(texts)


def test_dev_has_names_that_train_has_not(folder):
    train = ' '.join(' '.join(pair) for pair in pairs_of(folder, 'train'))
    dev = ' '.join(' '.join(pair) for pair in pairs_of(folder, 'dev'))
    new = [name for name in grammar.LAST_NAMES if name in dev and name not in train]
    assert len(new) >= 5


def test_same_seed_gives_the_same_bytes_and_another_seed_other_bytes(folder, tmp_path):
    env = {**os.environ, 'PYTHONHASHSEED': '123'}
    run_script(tmp_path / 'again', env=env)
    run_script(tmp_path / 'other', '--seed', '1')
    for split in SPLITS:
        written = (folder / f'{split}.tsv').read_bytes()
        assert (tmp_path / 'again' / f'{split}.tsv').read_bytes() == written
        assert (tmp_path / 'other' / f'{split}.tsv').read_bytes() != written


def test_a_failed_write_leaves_the_old_file_whole(tmp_path, monkeypatch):
    (tmp_path / 'train.tsv').write_text('old')

    def fail(*args):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'replace', fail)
    with pytest.raises(OSError, match='No space'):
        maker.write_sample_data(tmp_path)
    assert os.listdir(tmp_path) == ['train.tsv'] and (tmp_path / 'train.tsv').read_text() == 'old'


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path):
    (tmp_path / 'file').write_text('')
    done = run_script(tmp_path / 'file' / 'sample')
    assert done.returncode == 2
    assert done.stderr.startswith('error: --data_dir ') and done.stderr.count('\n') == 1


def slots_in(text):
    return sorted({slot for slot, _ in maker.SLOT.findall(text)})


def test_wordings_of_a_meaning_use_the_same_slots():
    for frame in maker.read_frames(grammar.FRAMES):
        for sense in frame.senses:
            slots = [slots_in(template) for template in sense]
            assert all(one == slots[0] for one in slots) and len(sense) >= 3, sense
            for choice in maker.CHOICE.findall(' '.join(sense)):
                assert len({tuple(slots_in(option)) for option in choice.split('|')}) == 1, choice
            if frame.swap:
                assert {f'{frame.swap}1', f'{frame.swap}2'} <= set(slots[0])
        assert frame.swap or len(frame.senses) > 1
        assert frame.topic in grammar.SOURCES and maker.read_sides(frame.topic)


@pytest.mark.parametrize('number, words', [(0, 'zero'), (13, 'thirteen'), (20, 'twenty'), (47, 'forty-seven')])
def test_number_words(number, words):
    assert maker.number_words(number) == words


@pytest.mark.parametrize('text, rounded', [('1,980', 'nearly 2,000'), ('1,234', 'nearly 1,300'),
                                           ('14,650', 'nearly 15,000')])
def test_blurred_numbers(text, rounded):
    assert maker.blurred(text) == rounded


def overlap_features(one, two):
    """What two sentences share, by counting: Jaccard, common words (each way), lengths, common bigrams."""
    one, two = (re.findall(r'\w+', text.lower()) for text in (one, two))
    words = set(one), set(two)
    bigrams = set(zip(one, one[1:], strict=False)), set(zip(two, two[1:], strict=False))
    common = len(words[0] & words[1])
    return [common / len(words[0] | words[1]), common, common / len(words[0]), common / len(words[1]),
            len(one) - len(two), abs(len(one) - len(two)), len(bigrams[0] & bigrams[1]) / len(bigrams[0] | bigrams[1])]


def test_word_overlap_does_not_solve_the_task(folder):
    features = {split: np.array([overlap_features(*pair) for pair in pairs_of(folder, split)])
                for split in ('train', 'dev')}
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(features['train'], labels_of(folder, 'train'))
    accuracy = model.score(features['dev'], labels_of(folder, 'dev'))
    assert accuracy < 0.70, f'word overlap alone reaches {accuracy:.3f}'
