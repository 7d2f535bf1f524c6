"""docs/tutorial.md: its commands, run as they stand there, in order, a tiny checkpoint in place of the one that is fetched;
where links lead; how to cite."""
import json
import os
import re
import shlex
import subprocess
import sys

import pandas as pd
import pytest
from conftest import ROOT, Workspace, write_checkpoint

from src.argument_parser import PTP, TEACHER, TRAIN
from src.nli_data_processing import find_task

TUTORIAL = ROOT / 'docs' / 'tutorial.md'
SCRIPTS = {TRAIN: TRAIN, TEACHER: TEACHER, PTP: PTP, 'run_glue_benchmark.py': 'run_glue_benchmark.py',
           'scripts/predict.py': 'scripts.predict'}
STUDENT = ('outputs', 'PeaKD', 'Paraphrases', 'student')


def blocks():
    """The code blocks of the tutorial."""
    return re.findall(r'^```[^\n]*\n(.*?)^```', TUTORIAL.read_text(encoding='utf-8'), re.DOTALL | re.MULTILINE)


def in_this_process(command):
    """The words of a command that is one of the scripts and no more, or None."""
    words = shlex.split(command)
    return words[1:] if words[0] == 'python' and words[1] in SCRIPTS and not {'|', '<', '<<', '>'} & set(words) else None


class Reader:
    """Somebody who follows the tutorial in a clone, which links to this one but for what is written."""

    def __init__(self, folder):
        self.workspace = Workspace(folder)
        write_checkpoint(self.workspace.models / 'minilm-l6', 6, hf_names=True)
        (folder / 'data').mkdir()
        folders = ('src', 'BERT', 'scripts', 'data/data_raw', 'data/models')
        for path in (*ROOT.glob('*.py'), *(ROOT / name for name in folders)):
            (folder / path.relative_to(ROOT)).symlink_to(path)
        (folder / 'data' / 'outputs').symlink_to(self.workspace.outputs)
        (folder / 'bin').mkdir()
        python = folder / 'bin' / 'python'
        python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')     # a link would leave its environment
        python.chmod(0o755)
        self.printed = ''

    def follow(self, block):
        """Run a block: scripts alone in this process, for a start of each takes seconds; all else by bash."""
        calls = [in_this_process(line) for line in block.splitlines()] if '<<' not in block else [None]
        if None not in calls:
            for script, *flags in calls:
                outcome = self.workspace.call(SCRIPTS[script], *flags, cwd=self.workspace.folder)
                assert outcome.code == 0, outcome.err
                self.printed += outcome.out
            return
        variables = self.workspace.variables
        if 'fetch_checkpoint.py' in block:
            if not (ROOT / 'data' / 'models' / 'minilm-l6' / 'model.safetensors').is_file():
                return                                # there is no fetching here: test_download.py does it
            variables = variables | {'PEAKD_MODELS': ''}
        path = f'{self.workspace.folder / "bin"}{os.pathsep}{os.environ["PATH"]}'
        done = subprocess.run(['bash', '-euo', 'pipefail', '-c', block], cwd=self.workspace.folder, capture_output=True,
                              text=True, env=os.environ | variables | {'PATH': path})
        assert done.returncode == 0, done.stderr
        self.printed += done.stdout


@pytest.fixture(scope='module')
def reader(tmp_path_factory):
    """The tutorial followed to its end."""
    reader = Reader(tmp_path_factory.mktemp('clone'))
    for block in blocks():
        reader.follow(block)
    return reader


def test_what_the_tutorial_promises_is_there(reader):
    folder = reader.workspace.folder
    assert (reader.workspace.teacher_folder(6, 'Paraphrases') / 'BERT.encoder_acc.pkl').is_file()
    assert reader.workspace.result_file(6, 'Paraphrases').is_file()
    record = json.loads(folder.joinpath(*STUDENT, 'run.json').read_text(encoding='utf-8'))
    assert (record['layers'], len(record['passes']), record['metric']) == (3, 6, 'acc')
    scores = pd.read_csv(reader.workspace.outputs / 'predictions' / 'dev_scores.csv')
    assert scores['task'].tolist() == ['Paraphrases'] * 2 and [run.rpartition('/')[2] for run in scores['run']] \
        == ['teacher_6layer', 'student']
    tables = [pd.read_csv(folder / 'my_task' / 'predictions.tsv', sep='\t'),
              pd.read_csv(folder / 'my_task' / 'predictions.csv')]
    assert len(tables[0]) == 400 and set(tables[0]['prediction']) <= {'yes', 'no'}
    pd.testing.assert_frame_equal(*tables)
    entry = json.loads(reader.printed.splitlines()[-1])
    assert sorted(entry['probabilities']) == ['no', 'yes']


def test_its_numbers_are_those_of_its_data(reader):
    """Rows of each split."""
    text = TUTORIAL.read_text(encoding='utf-8')
    rows = {split: len((reader.workspace.folder / 'my_task' / f'{split}.tsv').read_text().splitlines()) - 1
            for split in ('train', 'dev', 'test')}
    assert rows == {'train': 1000, 'dev': 400, 'test': 400} and 'with 1,000 pairs' in text
    with pytest.raises(ValueError, match='Paraphrases'):
        find_task('Paraphrases')


@pytest.mark.parametrize('document', ['README.md', *(f'docs/{path.name}' for path in sorted((ROOT / 'docs').glob('*.md'))
                                                        if '](' in path.read_text(encoding='utf-8'))])
def test_links_lead_somewhere(document):
    path = ROOT / document
    links = re.findall(r'\]\(([^)\s]+)\)', path.read_text(encoding='utf-8'))
    for link in links:
        if link.startswith('http'):
            continue
        file, _, heading = link.partition('#')
        target = path.parent / file if file else path
        assert target.is_file(), link
        titles = re.findall(r'^#+ (.+)$', target.read_text(encoding='utf-8'), re.MULTILINE)
        names = {re.sub(r'[^\w -]', '', title.lower()).replace(' ', '-') for title in titles}
        assert not heading or heading in names or target.suffix == '.py', link       # lines of code: see test_method.py
    assert links


def test_citation_names_the_papers():
    """Read with no more than its lines: a YAML reader is no dependency of the project."""
    text = (ROOT / 'CITATION.cff').read_text(encoding='utf-8')
    assert text.startswith('cff-version: 1.2.0\n') and '\t' not in text
    for field in ('doi: 10.1371/journal.pone.0263592', 'start: e0263592', 'volume: 17', 'year: 2022', 'year: 2019',
                  'doi: 10.18653/v1/D19-1441', 'type: conference-paper', 'license: MIT'):
        assert field in text
    for name in ('Cho', 'Kang', 'Sun', 'Cheng', 'Gan', 'Liu'):
        assert f'family-names: {name}\n' in text
