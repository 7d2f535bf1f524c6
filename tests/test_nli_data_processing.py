"""GLUE's table, readers and metrics, and PTP's labels: on small files in each task's true format, and on real ones."""
import csv
import logging
import math
import time
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import envs
from BERT.pytorch_pretrained_bert.file_utils import InputError
from src import nli_data_processing as nli
from src.nli_data_processing import (
    PTP_CLASSES,
    TASKS,
    also_served,
    compute_metrics,
    find_task,
    output_modes,
    processors,
    ptp_labels,
    ptp_thresholds,
    task_folder,
)

without_limits = settings(deadline=None, database=None)     # a busy machine is no failure; write no files

MRPC = 'Quality\t#1 ID\t#2 ID\t#1 String\t#2 String'
MNLI = ('index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse'
        '\tsentence2_parse\tsentence1\tsentence2')
SNLI = ('index\tcaptionID\tpairID\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\tsentence2_parse'
        '\tsentence1\tsentence2')
STSB = 'index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2'
PAIR = 'index\tsentence1\tsentence2'
QQP = 'id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate'
QUESTION = 'index\tquestion\tsentence'
MNLI_ROW = '0\t1\t1n\tfiction\t(a)\t(b)\tA\tB\tp\th'
SNLI_ROW = '0\t4\t4r\t(a)\t(b)\tA\tB\tp\th'
STSB_ROW = '0\tnews\tnone\t2012\t01\tnone\tnone\tp\th'
ONE, FIVE = '\tlabel1\tgold_label', '\tlabel1\tlabel2\tlabel3\tlabel4\tlabel5\tgold_label'
VOTES = '\tneutral' * 5 + '\t'
PH = ('p', 'h', None)       # the expected texts of most rows, without a label

# task, split, file, lines, what the reader must return as (text_a, text_b, label)
FILES = [
    ('CoLA', 'train', 'train.tsv', ['ab01\t1\t\tDogs bark.', 'ab01\t0\t*\tDogs barks.'],
     [('Dogs bark.', None, '1'), ('Dogs barks.', None, '0')]),
    ('CoLA', 'dev', 'dev.tsv', ['ab01\t0\t*\tA dog bark.'], [('A dog bark.', None, '0')]),
    ('CoLA', 'test', 'test.tsv', ['index\tsentence', '0\tIt barked.'], [('It barked.', None, None)]),
    ('SST-2', 'train', 'train.tsv', ['sentence\tlabel', 'a "fine film \t1'], [('a "fine film ', None, '1')]),
    ('SST-2', 'dev', 'dev.tsv', ['sentence\tlabel', 'dull \t0'], [('dull ', None, '0')]),
    ('SST-2', 'test', 'test.tsv', ['index\tsentence', '0\tdull'], [('dull', None, None)]),
    ('MRPC', 'train', 'train.tsv', ['\ufeff' + MRPC, '1\t70\t71\t" He said\tShe "s'], [('" He said', 'She "s', '1')]),
    ('MRPC', 'dev', 'dev.tsv', [MRPC, '0\t70\t71\tp\th'], [('p', 'h', '0')]),
    ('MRPC', 'test', 'test.tsv', [MRPC.replace('Quality', 'index'), '0\t7\t8\tp\th'], [PH]),
    ('MRPC', 'test', 'test.tsv', ['\ufeff' + MRPC, '1\t7\t8\tp\th'], [PH]),
    ('Sample', 'train', 'train.tsv', [MRPC, '1\t7\t8\tp\th'], [('p', 'h', '1')]),
    ('Sample', 'dev', 'dev.tsv', [MRPC, '0\t7\t8\tp\th'], [('p', 'h', '0')]),
    ('Sample', 'test', 'test.tsv', [MRPC.replace('Quality', 'index'), '0\t7\t8\tp\th'], [PH]),
    ('STS-B', 'train', 'train.tsv', [STSB + '\tscore', STSB_ROW + '\t3.800', STSB_ROW + '\t0.0'],
     [('p', 'h', '3.800'), ('p', 'h', '0.0')]),
    ('STS-B', 'dev', 'dev.tsv', [STSB + '\tscore', STSB_ROW + '\t5.000'], [('p', 'h', '5.000')]),
    ('STS-B', 'test', 'test.tsv', [STSB, STSB_ROW], [PH]),
    ('QQP', 'train', 'train.tsv', [QQP, '9\t1\t2\tp\th\t0'], [('p', 'h', '0')]),
    ('QQP', 'dev', 'dev.tsv', [QQP, '9\t1\t2\tp\th\t1'], [('p', 'h', '1')]),
    ('QQP', 'test', 'test.tsv', ['id\tquestion1\tquestion2', '0\tp\th'], [PH]),
    ('MNLI', 'train', 'train.tsv', [MNLI + ONE, MNLI_ROW + '\tneutral\tentailment'], [('p', 'h', 'entailment')]),
    ('MNLI', 'dev', 'dev_matched.tsv', [MNLI + FIVE, MNLI_ROW + VOTES + 'entailment'], [('p', 'h', 'entailment')]),
    ('MNLI', 'test', 'test_matched.tsv', [MNLI, MNLI_ROW], [PH]),
    ('MNLI-mm', 'train', 'train.tsv', [MNLI + ONE, MNLI_ROW + '\tneutral\tneutral'], [('p', 'h', 'neutral')]),
    ('MNLI-mm', 'dev', 'dev_mismatched.tsv', [MNLI + FIVE, MNLI_ROW + VOTES + 'contradiction'],
     [('p', 'h', 'contradiction')]),
    ('MNLI-mm', 'test', 'test_mismatched.tsv', [MNLI, MNLI_ROW], [PH]),
    ('SNLI', 'train', 'train.tsv', [SNLI + ONE, SNLI_ROW + '\tneutral\tneutral'], [('p', 'h', 'neutral')]),
    ('SNLI', 'dev', 'dev.tsv', [SNLI + FIVE, SNLI_ROW + VOTES + 'entailment'], [('p', 'h', 'entailment')]),
    ('SNLI', 'test', 'test.tsv', [SNLI + FIVE, SNLI_ROW + VOTES + '-'], [PH]),
    ('QNLI', 'train', 'train.tsv', [QUESTION + '\tlabel', '0\tp\th\tnot_entailment'], [('p', 'h', 'not_entailment')]),
    ('QNLI', 'dev', 'dev.tsv', [QUESTION + '\tlabel', '0\tp\th\tentailment'], [('p', 'h', 'entailment')]),
    ('QNLI', 'test', 'test.tsv', [QUESTION, '0\tp\th'], [PH]),
    ('RTE', 'train', 'train.tsv', [PAIR + '\tlabel', '0\tp\th\tnot_entailment'], [('p', 'h', 'not_entailment')]),
    ('RTE', 'dev', 'dev.tsv', [PAIR + '\tlabel', '0\tp\th\tentailment'], [('p', 'h', 'entailment')]),
    ('RTE', 'test', 'test.tsv', [PAIR, '0\tp\th'], [PH]),
    ('WNLI', 'train', 'train.tsv', [PAIR + '\tlabel', '0\tp\th\t0'], [('p', 'h', '0')]),
    ('WNLI', 'dev', 'dev.tsv', [PAIR + '\tlabel', '0\tp\th\t1'], [('p', 'h', '1')]),
    ('WNLI', 'test', 'test.tsv', [PAIR, '0\tp\th'], [PH]),
    ('diagnostic', 'test', 'diagnostic.tsv', [PAIR, '0\tp\th'], [PH]),
    ('AX', 'test', 'AX.tsv', [PAIR, '0\tp\th'], [PH]),
]


def read(task, split, folder):
    return getattr(nli.GlueReader(find_task(task)), f'get_{split}_examples')(folder)


def write(folder, name, text):
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def texts(examples):
    return [tuple(example[1:]) for example in examples]


# The table


def test_every_task_of_the_contract_is_there_and_whole():
    names = 'CoLA SST-2 MRPC STS-B QQP MNLI MNLI-mm QNLI RTE WNLI SNLI diagnostic Sample'.split()
    assert [task.name for task in TASKS.values()] == names
    assert list(TASKS) == list(processors) == list(output_modes) == [name.lower() for name in names]
    files = {task.name: task.submission_file for task in TASKS.values()}
    assert files.pop('MNLI') == 'MNLI-m.tsv' and files.pop('diagnostic') == 'AX.tsv'
    assert files.pop('SNLI') is None and files.pop('Sample') is None
    assert all(file == f'{name}.tsv' for name, file in files.items())


def test_labels_metrics_and_modes():
    nli_words = ['contradiction', 'entailment', 'neutral']
    for name in ('mnli', 'mnli-mm', 'snli', 'diagnostic'):
        assert processors[name].get_labels() == nli_words and TASKS[name].num_labels == 3
    for name in ('qnli', 'rte'):
        assert processors[name].get_labels() == ['entailment', 'not_entailment']
    for name in ('cola', 'sst-2', 'mrpc', 'qqp', 'wnli', 'sample'):
        assert processors[name].get_labels() == ['0', '1'] and TASKS[name].num_labels == 2
    assert processors['sts-b'].get_labels() == [None] and TASKS['sts-b'].num_labels == 1
    assert {name for name, mode in output_modes.items() if mode == 'regression'} == {'sts-b'}
    deciding = {name: task.metric for name, task in TASKS.items() if task.metric != 'acc'}
    assert deciding == {'cola': 'mcc', 'mrpc': 'f1', 'qqp': 'f1', 'sample': 'f1', 'sts-b': 'corr'}
    assert {name: task.eval_every for name, task in TASKS.items() if task.eval_every != 200} == {
        'rte': 25, 'mrpc': 25, 'sample': 25, 'cola': 100, 'sst-2': 100}


def test_find_task_takes_any_case_and_refuses_others_with_all_choices():
    for task in TASKS.values():
        assert find_task(task.name) is find_task(task.name.upper()) is find_task(task.name.lower()) is task
    assert [find_task(alias).name for alias in ('sst2', 'stsb', 'AX')] == ['SST-2', 'STS-B', 'diagnostic']
    for wrong in ('mrcp', '', None):
        with pytest.raises(InputError) as error:
            find_task(wrong)
        assert '--task' in str(error.value) and repr(wrong) in str(error.value)
        assert all(task.name in str(error.value) for task in TASKS.values())


def test_task_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(envs, 'GLUE_FOLDER', tmp_path / 'glue')
    monkeypatch.setattr(envs, 'SAMPLE_FOLDER', tmp_path / 'sample')
    assert task_folder(find_task('mnli-mm')) == task_folder(find_task('MNLI')) == tmp_path / 'glue' / 'MNLI'
    assert task_folder(find_task('sample')) == tmp_path / 'sample'
    (tmp_path / 'glue' / 'Sample').mkdir(parents=True)
    assert task_folder(find_task('sample')) == tmp_path / 'glue' / 'Sample'


def test_other_sets_that_a_model_serves(monkeypatch, tmp_path, caplog):
    """MNLI's two dev and test sets and AX; of those whose files are missing a line is written."""
    monkeypatch.setattr(envs, 'GLUE_FOLDER', tmp_path)
    caplog.set_level(logging.INFO)
    assert {task.name for task in TASKS.values() if task.also} == {'MNLI', 'MNLI-mm'}
    assert also_served(find_task('RTE'), 'dev') == also_served(find_task('MNLI'), 'dev') == []
    assert caplog.messages == ['MNLI-mm has no dev file here: left out']      # AX has no dev set that could be missing
    for name in ('MNLI/dev_matched.tsv', 'MNLI/dev_mismatched.tsv', 'MNLI/test_matched.tsv', 'diagnostic/AX.tsv'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    served = [[other.name for other in also_served(find_task(task), split)] for task, split in (
        ('MNLI', 'dev'), ('MNLI', 'test'), ('MNLI-mm', 'dev'), ('MNLI-mm', 'test'))]
    assert served == [['MNLI-mm'], ['diagnostic'], ['MNLI'], ['MNLI', 'diagnostic']]
    assert caplog.messages[1:] == ['MNLI-mm has no test file here: left out']


# Readers


@pytest.mark.parametrize('end', ['\n', '\r\n'])
@pytest.mark.parametrize('task,split,name,lines,expected', FILES)
def test_true_formats(tmp_path, task, split, name, lines, expected, end):
    """Also with Windows line ends, with and without a last line end, and with a byte order mark."""
    for text in (end.join(lines), end.join(lines) + end, '\ufeff' + end.join(lines).removeprefix('\ufeff') + end * 2):
        examples = read(task, split, write(tmp_path, name, text))
        assert texts(examples) == expected
        assert [example.guid for example in examples] == [f'{split}-{i}' for i in range(len(expected))]


def test_every_task_and_split_has_a_true_file_above():
    assert {(find_task(row[0]).name, row[1]) for row in FILES} == {
        (task.name, split) for task in TASKS.values() for split in ('train', 'dev', 'test') if task.files(split)}


def test_readers_serve_as_instances_and_as_the_familys_classes(tmp_path):
    write(tmp_path, 'dev.tsv', 'index\tsentence1\tsentence2\tlabel\n0\ta\tb\tentailment\n')
    assert processors['rte'].get_dev_examples(tmp_path) == processors['rte']().get_dev_examples(str(tmp_path))


def test_columns_are_found_by_name_before_position(tmp_path):
    write(tmp_path, 'train.tsv', 'label\tSentence2\textra\tsentence1\nentailment\tb\tx\ta\n')
    assert texts(read('RTE', 'train', tmp_path)) == [('a', 'b', 'entailment')]


def test_columns_are_found_by_position_where_a_copy_has_no_header(tmp_path):
    write(tmp_path, 'train.tsv', '0\ta\tb\tentailment\n1\tc\td\tnot_entailment\n')
    assert texts(read('RTE', 'train', tmp_path)) == [('a', 'b', 'entailment'), ('c', 'd', 'not_entailment')]
    write(tmp_path, 'dev_matched.tsv', '0' + '\tx' * 7 + '\tp\th' + '\tneutral' * 5 + '\tentailment\n')
    assert texts(read('MNLI', 'dev', tmp_path)) == [('p', 'h', 'entailment')]


@pytest.mark.parametrize('mark', [*'\x85\u2028\u2029\x0b\x0c\x1c\r"\'\\\x00\ufeff'])
def test_only_newlines_and_tabs_divide(tmp_path, mark):
    text = f'one {mark} two'
    write(tmp_path, 'train.tsv', f'sentence\tlabel\n{text}\t1\n{mark}x\t0\n')
    assert texts(read('SST-2', 'train', tmp_path)) == [(text, None, '1'), (f'{mark}x', None, '0')]


TEXT = st.text(st.characters(exclude_characters='\t\n', codec='utf-8'))


@without_limits
@given(st.lists(st.tuples(TEXT, st.sampled_from('01')), min_size=1))
def test_any_text_comes_back_as_written(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp('any')
    write(folder, 'train.tsv', 'sentence\tlabel\n' + ''.join(f'{text}\t{label}\n' for text, label in rows))
    assert texts(read('SST-2', 'train', folder)) == [(text, None, label) for text, label in rows]


def test_short_rows_of_qqp_are_skipped_counted_and_said(tmp_path, caplog):
    write(tmp_path, 'train.tsv', 'id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n'
                                 '0\t1\t2\ta\tb\t1\n1\t3\t4\tbroken\n by a line end\t0\n2\t5\t6\tc\td\t0\n')
    with caplog.at_level(logging.WARNING):
        examples = read('QQP', 'train', tmp_path)
    assert texts(examples) == [('a', 'b', '1'), ('c', 'd', '0')]
    assert [example.guid for example in examples] == ['train-0', 'train-3']
    assert len(caplog.records) == 1 and 'skipped 2 of 4 rows' in caplog.text and 'train.tsv' in caplog.text


@pytest.mark.parametrize('texts, told', [
    (['"so, it is"'] * 4 + ['"a ""word"", said"'], True), (['"so, it is"'] * 4, False),
    (['"so, it is"'] * 6 + ['so, not'], False), (['"so it is"'] * 6, False), (['no commas'] * 6, False)],
    ids=['all', 'too few', 'all but one', 'quotes alone', 'neither'])
def test_quotes_of_a_spreadsheet_are_told(tmp_path, caplog, texts, told):
    """They stand around cells with a comma, of which GLUE's own files have many without."""
    write(tmp_path, 'train.tsv', 'sentence\tlabel\n' + ''.join(f'{text}\t1\n' for text in texts))
    with caplog.at_level(logging.WARNING):
        assert [example.text_a for example in read('SST-2', 'train', tmp_path)] == texts
    assert ('train.tsv: all 5 texts with a comma stand in quotes' in caplog.text) == told == bool(caplog.records)


def test_short_test_rows_of_qqp_are_not_skipped(tmp_path):
    write(tmp_path, 'test.tsv', 'id\tquestion1\tquestion2\n0\ta\tb\n1\tc\n')
    with pytest.raises(InputError, match='test.tsv, line 3: expected at least 3 columns'):
        read('QQP', 'test', tmp_path)


def test_snli_rows_without_gold_label_are_skipped_counted_and_said(tmp_path, caplog):
    row = '\t4\t4r\t(a)\t(b)\tA\tB\tp\th\tneutral\t'
    write(tmp_path, 'train.tsv', f'{SNLI}\tlabel1\tgold_label\n0{row}-\n1{row}neutral\n2{row}-\n')
    with caplog.at_level(logging.WARNING):
        examples = read('SNLI', 'train', tmp_path)
    assert [(example.guid, example.label) for example in examples] == [('train-1', 'neutral')]
    assert len(caplog.records) == 1 and 'skipped 2 of 3 rows' in caplog.text


RTE = b'index\tsentence1\tsentence2\tlabel\n0\ta\tb\tentailment\n'
STS_ROW = STSB.encode() + b'\tscore\n0\t1\t2\t3\t4\t5\t6\ta\tb\t'


@pytest.mark.parametrize('task,content,line,said', [
    ('RTE', RTE + b'1\ta\tb\n', 3, 'expected at least 4 columns divided by tabs, found 3'),
    ('RTE', b'0\ta\tb\n', 1, 'expected at least 4 columns'),
    ('RTE', RTE + b'\n1\ta\tb\tentailment\n', 3, 'expected at least 4 columns'),
    ('RTE', RTE + b'1\ta\tb\tmaybe\n', 3, "expected as label one of entailment, not_entailment, found 'maybe'"),
    ('RTE', RTE + b'1\ta\tb\t\n', 3, "found ''"),
    ('RTE', RTE + b'1\ta\tb\t' + b'x' * 9999 + b'\n', 3, "xxx...'"),
    ('RTE', RTE + b'1\ta\tb\xff\tentailment\n', 3, 'expected UTF-8 text, found byte 0xff at byte 6 of the line'),
    ('RTE', RTE.decode().encode('utf-16'), 1, 'expected UTF-8 text'),
    ('RTE', b'index\ta\tb\tgold\n0\ta\tb\tentailment\n', 1, "(or a header with 'sentence1', 'sentence2', 'label')"),
    ('CoLA', b'ab01\t1\t\tFine.\nab01\t2\t\tFine.\n', 2, 'one of 0, 1'),
    ('CoLA', b'ab01\t1\tFine.\n', 1, 'at least 4 columns'),
    ('SNLI', SNLI.encode() + b'\tlabel1\tgold_label\n0\t1\t2\t3\t4\t5\t6\tp\th\tneutral\t\n', 2, "found ''"),
    ('QQP', b'id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n0\t1\t2\ta\tb\t\n', 2, "one of 0, 1, found ''"),
    *(('STS-B', STS_ROW + score + b'\n', 2, 'a number from 0 to 5')
      for score in (b'5.1', b'-0.1', b'nan', b'inf', b'', b'high')),
])
def test_bad_rows_name_file_line_and_what_was_expected(tmp_path, task, content, line, said):
    write(tmp_path, 'train.tsv', content)
    with pytest.raises(InputError) as error:
        read(task, 'train', tmp_path)
    message = str(error.value)
    assert message.startswith(f'{tmp_path / "train.tsv"}, line {line}: ') and said in message
    assert '\n' not in message and len(message) < len(str(tmp_path)) + 250


def test_a_test_file_needs_its_header_or_the_index(tmp_path):
    with pytest.raises(InputError, match="line 1: expected a header with 'sentence1', 'sentence2', .* tabs, found 'id"):
        read('RTE', 'test', write(tmp_path, 'test.tsv', 'id\tfirst\tsecond\n0\ta\tb\n'))
    examples = read('RTE', 'test', write(tmp_path, 'test.tsv', '0\ta\tb\n1\tc\td\n'))
    assert [(example.text_a, example.text_b, example.label) for example in examples] == [('a', 'b', None), ('c', 'd', None)]


def test_a_header_that_names_a_column_twice_is_refused(tmp_path):
    write(tmp_path, 'train.tsv', 'index\tsentence1\tsentence2\tSentence1\tlabel\n0\ta\tb\tc\tentailment\n')
    with pytest.raises(InputError, match=r'train.tsv, line 1: expected each of the .* once, .* found sentence1, Sentence1'):
        read('RTE', 'train', tmp_path)
    write(tmp_path, 'train.tsv', 'index\tsentence1\tsentence2\tindex\tlabel\n0\ta\tb\tc\tentailment\n')
    assert read('RTE', 'train', tmp_path)[0].text_b == 'b'           # one that nobody reads may


def test_missing_and_empty_files_say_how_to_get_them(tmp_path):
    for task, command in (('MRPC', 'download_glue_data.py --tasks MRPC`'), ('Sample', 'make_sample_data.py`'),
                          ('MNLI-mm', 'download_glue_data.py --tasks MNLI`')):
        with pytest.raises(FileNotFoundError) as error:
            read(task, 'train', tmp_path / 'nowhere')
        message = str(error.value)
        assert str(tmp_path / 'nowhere' / 'train.tsv') in message and 'PEAKD_GLUE' in message and command in message
    for content in ('', '\n\n', '\ufeff', 'index\tsentence1\tsentence2\tlabel\n'):
        with pytest.raises(InputError, match='train.tsv (is empty|holds no examples); set PEAKD_GLUE .*--tasks RTE'):
            read('RTE', 'train', write(tmp_path, 'train.tsv', content))


def test_diagnostic_has_only_a_test_set(tmp_path):
    for split in ('train', 'dev'):
        with pytest.raises(InputError, match=f'diagnostic has no {split} set'):
            read('diagnostic', split, tmp_path)


def test_large_files_are_read_in_seconds(tmp_path):
    write(tmp_path, 'train.tsv', 'sentence\tlabel\n' + 'some words of a review \t1\n' * 200_000)
    start = time.process_time()
    assert len(read('SST-2', 'train', tmp_path)) == 200_000
    assert time.process_time() - start < 10


@pytest.mark.parametrize('task,split,count,columns', [
    ('MRPC', 'train', 3668, ('#1 String', '#2 String', 'Quality')),
    ('MRPC', 'dev', 408, ('#1 String', '#2 String', 'Quality')),
    ('MRPC', 'test', 1725, ('#1 String', '#2 String', None)),
    ('RTE', 'train', 2490, ('sentence1', 'sentence2', 'label')),
    ('RTE', 'dev', 277, ('sentence1', 'sentence2', 'label')),
    ('RTE', 'test', 3000, ('sentence1', 'sentence2', None)),
    ('SST-2', 'train', 67349, ('sentence', None, 'label')),
    ('SST-2', 'dev', 872, ('sentence', None, 'label')),
    ('SST-2', 'test', 1821, ('sentence', None, None)),
])
def test_real_data_as_pandas_reads_it(task, split, count, columns):
    path = task_folder(find_task(task)) / f'{split}.tsv'
    if not path.is_file():
        pytest.skip(f'{path} is missing: set PEAKD_GLUE')
    table = pd.read_csv(path, sep='\t', quoting=csv.QUOTE_NONE, dtype=str, keep_default_na=False,
                        encoding='utf-8-sig', lineterminator='\n')
    examples = read(task, split, path.parent)
    assert len(examples) == len(table) == count
    fields = [table[column] if column else [None] * count for column in columns]
    assert texts(examples) == list(zip(*fields, strict=True))


# Metrics


def by_hand(task, preds, labels):
    """The formulas, written out."""
    n, pairs = len(preds), list(zip(preds, labels, strict=True))
    acc = sum(p == y for p, y in pairs) / n
    tp, fp = sum(p == y == 1 for p, y in pairs), sum(p == 1 != y for p, y in pairs)
    fn, tn = sum(y == 1 != p for p, y in pairs), sum(p != 1 != y for p, y in pairs)
    if task == 'CoLA':
        root = math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
        return {'mcc': (tp * tn - fp * fn) / root if root else 0.0}
    f1 = 2 * tp / (2 * tp + fp + fn) if tp else 0.0
    return {'acc': acc} if task == 'RTE' else {'acc': acc, 'f1': f1, 'acc_and_f1': (acc + f1) / 2}


@pytest.mark.parametrize('task', ['CoLA', 'MRPC', 'QQP', 'Sample', 'RTE'])
@without_limits
@given(rows=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=30))
def test_metrics_of_classes_are_the_formulas_and_never_warn(task, rows):
    preds, labels = np.array(rows).T
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        metrics = compute_metrics(task, preds, labels)
    assert metrics == pytest.approx(by_hand(task, preds.tolist(), labels.tolist()))
    assert find_task(task).metric in metrics and all(type(value) is float for value in metrics.values())


def test_accuracy_of_three_classes():
    for task in ('MNLI', 'mnli-MM', 'snli', 'AX'):
        assert compute_metrics(task, np.array([0, 1, 2, 2]), np.array([0, 2, 2, 2])) == {'acc': 0.75}


def average_ranks(values):
    return [sum(v < value for v in values) + (sum(v == value for v in values) + 1) / 2 for value in values]


def pearson(x, y):
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    covariance = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return covariance / math.sqrt(sum((a - mean_x) ** 2 for a in x) * sum((b - mean_y) ** 2 for b in y))


def test_correlations_are_the_formulas():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 6, 50).astype(np.float32)          # many ties
    preds = (labels + rng.normal(0, 2, 50)).astype(np.float32)
    x, y = preds.astype(float).tolist(), labels.tolist()
    r, rho = pearson(x, y), pearson(average_ranks(x), average_ranks(y))
    assert abs(r - rho) > 1e-3
    expected = {'pearson': r, 'spearmanr': rho, 'corr': (r + rho) / 2}
    assert compute_metrics('STS-B', preds, labels) == pytest.approx(expected)


def test_correlations_of_constants_are_zero_without_a_warning():
    zero = {'pearson': 0.0, 'spearmanr': 0.0, 'corr': 0.0}
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for preds, labels in (([2.5] * 3, [1, 2, 3]), ([1, 2, 3], [2.5] * 3), ([1.], [2.])):
            assert compute_metrics('sts-b', np.array(preds, np.float32), np.array(labels, np.float32)) == zero


@pytest.mark.parametrize('preds,labels', [([0, 1], [0]), ([[0], [1]], [0, 1]), ([[0, 1]], [[0, 1]]), ([], [])])
def test_metrics_refuse_shapes_that_do_not_fit(preds, labels):
    with pytest.raises(InputError, match='MRPC: predictions of shape'):
        compute_metrics('mrpc', np.array(preds), np.array(labels))


# PTP


def brute_force_labels(confidence, correct, t1, t2):
    """The rule of the labels as a loop."""
    labels = []
    for c, right in zip(confidence, correct, strict=True):
        if right:
            labels.append(0 if c > t1 else 1)
        else:
            labels.append(2 if c > t2 else 3)
    return labels


CONFIDENCE = st.floats(0, 1) | st.sampled_from([0.6, 0.75, 0.95])


@without_limits
@given(st.lists(st.tuples(CONFIDENCE, st.booleans())), CONFIDENCE, CONFIDENCE)
def test_ptp_labels_are_the_definition(rows, t1, t2):
    confidence, correct = np.array([c for c, _ in rows]), np.array([right for _, right in rows], dtype=bool)
    labels = ptp_labels(confidence, correct, (t1, t2))
    assert labels.dtype == np.int64 and labels.tolist() == brute_force_labels(confidence, correct, t1, t2)


def test_ptp_comparison_is_strict_in_either_precision():
    for dtype in (np.float32, np.float64):
        confidence = np.array([.8, .6, .8, .6], dtype)
        assert ptp_labels(confidence, [True, True, False, False], (.8, .6)).tolist() == [1, 1, 2, 3]
    assert [PTP_CLASSES[i] for i in (0, 2)] == ['confidently correct', 'confidently wrong'] and len(PTP_CLASSES) == 4


def test_published_thresholds_hold_in_any_case():
    table = {'RTE': (.8, .6), 'mrpc': (.95, .75), 'SST-2': (.98, .8), 'Qnli': (.98, .7), 'CoLA': (.95, .7)}
    for task, expected in table.items():
        assert ptp_thresholds(task, None, np.array([.5]), np.array([True])) == expected
    assert len(nli.PTP_THRESHOLDS) == len(table)


@pytest.mark.parametrize('spelling', ['qqp', 'QQP', 'SST2', 'mnli-m', 'MNLI'])
def test_a_threshold_added_in_any_spelling_holds(monkeypatch, spelling):
    task = nli.find_task(spelling)
    monkeypatch.setattr(nli, 'PTP_THRESHOLDS', {spelling: (.9, .7), 'no such task': (.1, .1)})
    assert ptp_thresholds(task.name, None, np.array([.5]), np.array([True])) == (.9, .7)
    assert nli.published_thresholds(nli.find_task('RTE')) == (None, None)


@pytest.mark.parametrize('values', [0.6, (95, 75), (.9,), (.9, '.7'), (.9, None), (.9, True), '95'])
def test_a_threshold_edited_wrongly_is_told_of(monkeypatch, values):
    monkeypatch.setattr(nli, 'PTP_THRESHOLDS', {'SST2': values, 'RTE': [.8, .6]})
    with pytest.raises(InputError) as error:
        nli.published_thresholds(nli.find_task('sst-2'))
    assert str(error.value) == (f"PTP_THRESHOLDS in {nli.__file__}: 'SST2' is {values!r}; must be (t1, t2), two numbers "
                                'from 0 to 1')
    assert nli.published_thresholds(nli.find_task('RTE')) == (.8, .6)       # of other tasks nothing is asked
    rows = np.array([.5]), np.array([True])
    assert ptp_thresholds('SST-2', '.9,.7', *rows) == (.9, .7)              # nor where the flag says both
    assert ptp_thresholds('SST-2', 'median', *rows) == (.5, .5)
    with pytest.raises(InputError, match='PTP_THRESHOLDS'):
        ptp_thresholds('SST-2', '.9', *rows)


def test_a_task_of_two_rows_of_thresholds_is_told_of(monkeypatch):
    monkeypatch.setitem(nli.PTP_THRESHOLDS, 'SST2', (.5, .4))
    with pytest.raises(InputError, match="'sst-2' and 'SST2' are one task; leave one of them"):
        nli.published_thresholds(nli.find_task('SST-2'))


@without_limits
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1))
def test_thresholds_of_other_tasks_are_medians(rows):
    confidence, correct = np.array([c for c, _ in rows]), np.array([right for _, right in rows])

    def median(values):
        values = sorted(values or confidence.tolist())      # an empty side takes the median of all rows
        return (values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2

    expected = median([c for c, right in rows if right]), median([c for c, right in rows if not right])
    assert ptp_thresholds('QQP', None, confidence, correct) == pytest.approx(expected)
    assert ptp_thresholds('MRPC', 'median', confidence, correct) == pytest.approx(expected)


def test_threshold_override():
    rows = np.array([.5, .6]), np.array([True, False])
    assert ptp_thresholds('mrpc', '0.8', *rows) == (.8, .75)
    assert ptp_thresholds('qqp', '0.8', *rows) == (.8, .6)
    assert ptp_thresholds('mrpc', '0.9, 0.7', *rows) == (.9, .7)
    assert ptp_thresholds('mrpc', ' Median', *rows) == (.5, .6)
    for wrong in ('1.1', '-0.1,0.5', '0.5,2', 'nan', '', 'medium', '0.1,0.2,0.3', '0.8,'):
        with pytest.raises(InputError) as error:
            ptp_thresholds('mrpc', wrong, *rows)
        assert '--ptp_threshold' in str(error.value) and repr(wrong) in str(error.value)


def test_ptp_refuses_what_it_cannot_use():
    with pytest.raises(InputError, match='STS-B is regression'):
        ptp_thresholds('sts-b', None, np.array([.5]), np.array([True]))
    with pytest.raises(InputError, match='no rows'):
        ptp_thresholds('qqp', None, np.array([]), np.array([]))
    for confidence, correct in (([.5, .6], [True]), ([[.5], [.6]], [True, False])):
        with pytest.raises(InputError, match='both must be'):
            ptp_labels(np.array(confidence), np.array(correct), (.5, .5))
