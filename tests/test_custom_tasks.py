"""A task of one's own: what its file may say, and the scripts with it, as with a task of GLUE."""
import csv
import json
import pickle

import numpy as np
import pandas as pd
import pytest
from conftest import CUES, WORDS, own_tables, write_task

from BERT.pytorch_pretrained_bert.file_utils import InputError
from src.argument_parser import PTP, TEACHER, TRAIN, parse
from src.custom_tasks import KEYS, define_task
from src.nli_data_processing import (
    TASKS,
    GlueReader,
    compute_metrics,
    find_task,
    output_modes,
    processors,
    ptp_thresholds,
    task_folder,
)
from src.results import read_results
from src.teacher_outputs import TeacherOutputs

BENCHMARK = 'run_glue_benchmark.py'
SMALL = ('--bert_model', 'tiny', '--teacher_hidden_layers', 2, '--precision', 'fp32')
FIT = (*SMALL, '--num_train_epochs', 1, '--train_batch_size', 8, '--learning_rate', '1e-3')
PAIRS = {'name': 'Claims', 'train': 'train.csv', 'dev': 'dev.tsv', 'test': 'test.tsv',
         'columns': {'text_a': 'First', 'text_b': 'second one', 'label': 'verdict'},
         'labels': ['wrong', 'so, so', 'right'], 'metric': 'accuracy'}
SINGLE = {'name': 'moods_2', 'train': 'train.csv', 'dev': 'dev.tsv', 'columns': {'text_a': 1, 'label': -1}, 'header': False,
          'labels': ['bad', 'good'], 'metric': 'f1', 'ptp_thresholds': [0.75, 0.5]}
SCORED = {'name': 'Warmth', 'train': 'train.csv', 'dev': 'dev.tsv', 'test': 'test.tsv', 'columns': {'text_a': 0, 'label': 2},
          'test_columns': {'text_a': 1}, 'header': True, 'labels': 'regression', 'metric': 'pearson'}
OF = {'wrong': '0', 'so, so': '1', 'right': 'neutral', 'bad': '0', 'good': '1'}     # a label -> the word that tells it


@pytest.fixture(autouse=True)
def tables():
    """What a test defines is gone after it."""
    with own_tables():
        yield


def write_config(folder, content, name='task.json'):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(content), encoding='utf-8')
    return folder / name


def write_table(path, rows):
    with open(path, 'w', encoding='utf-8', newline='') as file:
        if path.suffix == '.csv':
            csv.writer(file).writerows(rows)
        else:
            file.writelines('\t'.join(map(str, row)) + '\n' for row in rows)


def write_own(folder, content, rows=(48, 16, 8), seed=0):
    """The task's files, small and learnable, beside its definition; returns that."""
    rng = np.random.default_rng(seed)
    config = write_config(folder, content)
    for split, count in zip(('train', 'dev', 'test'), rows, strict=True):
        if split not in content:
            continue
        lines = {'Claims': [['number', 'second one', 'first', 'verdict']], 'Warmth': [['text', 'other', 'degrees']]}
        lines = lines.get(content['name'], [])
        for number in range(count):
            words = ' '.join(rng.choice(WORDS, rng.integers(3, 9)))
            if content['labels'] == 'regression':
                degree = int(rng.integers(-6, 7))
                cells = [f'{"however" if degree < 0 else "indeed"} {words}', 'x', f'{degree}.5']
                lines.append([cells[1], cells[0]] if split == 'test' else cells)
                continue
            label = str(rng.choice(content['labels']))
            text = f'{CUES[OF[label]]} {words}'
            lines.append([number, text, 'a "dog", says', label] if content['name'] == 'Claims' else [number, text, label])
        write_table(folder / content[split], lines)
    return config


def run_json(folder):
    return json.loads((folder / 'run.json').read_text(encoding='utf-8'))


# The table


def test_a_file_makes_a_row_of_the_table(tmp_path):
    config = write_own(tmp_path, PAIRS)
    task = define_task(str(config))
    assert find_task('claims') is find_task('CLAIMS') is TASKS['claims'] is task
    assert (task.labels, task.num_labels, task.metric) == (('wrong', 'so, so', 'right'), 3, 'acc')
    assert processors['claims'].get_labels() == ['wrong', 'so, so', 'right'] and output_modes['claims'] == 'classification'
    assert task_folder(task) == tmp_path
    assert task.definition == {'file': str(config), **PAIRS}
    examples = processors['claims'].get_train_examples(tmp_path)
    assert len(examples) == 48 and examples[0].text_a == 'a "dog", says' and examples[0].text_b.split()[0] in CUES.values()
    assert {example.label for example in examples} == set(PAIRS['labels'])
    assert [example.label for example in processors['claims'].get_test_examples(tmp_path)] == [None] * 8
    assert compute_metrics('Claims', np.array([0, 1, 2, 2]), np.array([0, 1, 1, 2])) == {'acc': 0.75}


def test_columns_by_position_and_thresholds(tmp_path):
    task = define_task(str(write_own(tmp_path, SINGLE)))
    reader = GlueReader(task)
    for split, rows in (('train', 48), ('dev', 16)):
        examples = list(reader.examples(tmp_path, split))
        assert len(examples) == rows and all(example.text_b is None for example in examples)
        assert all(example.text_a.startswith(CUES[OF[example.label]]) for example in examples)
    assert compute_metrics('moods_2', np.array([1, 1]), np.array([1, 0])) == {
        'acc': 0.5, 'f1': pytest.approx(2 / 3), 'acc_and_f1': pytest.approx(7 / 12)}
    rows = np.array([0.6, 0.9]), np.array([True, False])
    assert ptp_thresholds('moods_2', None, *rows) == (0.75, 0.5)
    assert ptp_thresholds('moods_2', '0.1', *rows) == (0.1, 0.5)
    assert ptp_thresholds('moods_2', 'median', *rows) == (0.6, 0.9)
    with pytest.raises(InputError, match=f'--task moods_2 has no test set; {tmp_path / "task.json"} names the files'):
        reader.get_test_examples(tmp_path)
    (tmp_path / 'dev.tsv').unlink()
    with pytest.raises(FileNotFoundError, match=f'dev.tsv is missing; {tmp_path / "task.json"} names the files of moods_2'):
        reader.get_dev_examples(tmp_path)


def test_regression_of_any_range(tmp_path):
    task = define_task(str(write_own(tmp_path, SCORED)))
    labels = [float(example.label) for example in processors['warmth'].get_train_examples(tmp_path)]
    assert min(labels) < 0 and max(labels) > 5 and task.num_labels == 1 and task.metric == 'pearson'
    assert processors['warmth'].get_test_examples(tmp_path)[0].text_a.split()[0] in ('however', 'indeed')
    assert list(compute_metrics('Warmth', np.array([1., 2]), np.array([3., 4]))) == ['pearson', 'spearmanr', 'corr']
    write_table(tmp_path / 'dev.tsv', [['text', 'other', 'degrees'], ['a', 'b', 'warm']])
    with pytest.raises(InputError, match="dev.tsv, line 2: expected as label a number, found 'warm'"):
        processors['warmth'].get_dev_examples(tmp_path)


@pytest.mark.parametrize('content, line, said', [
    ('number,second one,first,verdict\n1,"a ""b"", c\nd",e,right\n2,f,g,maybe\n', 4,
     "expected as label one of wrong, so, so, right, found 'maybe'"),
    ('number,second one,first,verdict\n1,a\n', 2, 'expected at least 4 columns divided by commas, found 2'),
    ('number,second one,first\n1,a,b\n', 1, "expected a header with 'First', 'second one', 'verdict'"),
    ('number,second one,first,verdict\n1,"a"b,c,right\n', 2, 'expected CSV, with quotes in pairs'),
    ('number,second one,first,verdict\n1,"a,c,right\n', 2, 'expected CSV, with quotes in pairs'),
    (b'number,second one,first,verdict\n1,a\xe9,c,right\n', 2, 'expected UTF-8 text, found byte 0xe9'),
])
def test_bad_rows_of_a_csv_file(tmp_path, content, line, said):
    define_task(str(write_config(tmp_path, PAIRS)))
    (tmp_path / 'train.csv').write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as error:
        processors['claims'].get_train_examples(tmp_path)
    assert str(error.value).startswith(f'{tmp_path / "train.csv"}, line {line}: {said}'), error.value


def test_a_csv_file_as_pandas_reads_it(tmp_path):
    rows = [['number', 'second one', 'first', 'verdict'], ['1', 'a "b", c\nd', ' e\t', 'right'], ['2', "it's", '', 'wrong']]
    define_task(str(write_config(tmp_path, PAIRS)))
    write_table(tmp_path / 'train.csv', rows)
    (tmp_path / 'train.csv').write_bytes(b'\xef\xbb\xbf' + (tmp_path / 'train.csv').read_bytes() + b'\r\n\n')
    table = pd.read_csv(tmp_path / 'train.csv', dtype=str, keep_default_na=False)
    expected = list(zip(table['first'], table['second one'], table['verdict'], strict=True))
    assert [tuple(example[1:]) for example in processors['claims'].get_train_examples(tmp_path)] == expected
    assert expected[0] == (' e\t', 'a "b", c\nd', 'right')


# What is wrong with a file


WRONG = [
    (PAIRS, {'lables': []}, ["unknown key 'lables'", *KEYS]),
    *((PAIRS, {name: None}, [f'{name} is missing']) for name, key in KEYS.items() if key.needed),
    (PAIRS, {'name': 'mrpc'}, ["name 'mrpc'", 'built-in task MRPC']), (PAIRS, {'name': 'AX'}, ["name 'AX'", 'diagnostic']),
    (PAIRS, {'name': 'Sample'}, ["name 'Sample'", 'built-in']), (PAIRS, {'name': '../up'}, ["name '../up'", 'letters']),
    (PAIRS, {'name': 7}, ['name 7', 'letters']), (PAIRS, {'train': ['a.tsv']}, ["train ['a.tsv']", '.tsv or .csv']),
    (PAIRS, {'dev': 'dev.txt'}, ["dev 'dev.txt'", '.tsv or .csv']), (PAIRS, {'test': ''}, ["test ''", '.tsv or .csv']),
    (PAIRS, {'columns': ['a', 'b']}, ["columns ['a', 'b']", 'text_a']),
    (PAIRS, {'columns': {'text_a': 'a'}}, ['columns', 'label']),
    (PAIRS, {'columns': {'text_a': 'a', 'label': 2}}, ['columns', 'all their positions']),
    (PAIRS, {'columns': {'text_a': 'a', 'label': 'A'}}, ['columns', 'different']),
    (PAIRS, {'columns': {'text_a': 'a', 'label': 'b', 'text_c': 'c'}}, ['columns', 'text_b for pairs']),
    (SINGLE, {'columns': {'text_a': -1, 'label': 0}}, ['columns', 'from 0 on']),
    (SINGLE, {'columns': {'text_a': True, 'label': 0}}, ['columns', 'from 0 on']),
    (SINGLE, {'header': None}, ['header is missing', 'positions']),
    (SINGLE, {'header': 'no'}, ["header 'no'", 'true or false']),
    (PAIRS, {'header': False}, ['header false', 'positions']),
    (PAIRS, {'test_columns': {'text_a': 1, 'text_b': 2}}, ['test_columns', 'by position']),
    (SINGLE, {'test_columns': {'text_a': 1, 'text_b': 2}}, ['test_columns', 'as many texts']),
    (SINGLE, {'test_columns': {'text_a': 1, 'label': 2}}, ['test_columns', 'positions in the test file']),
    (PAIRS, {'labels': 'yes'}, ["labels 'yes'", '"regression"']), (PAIRS, {'labels': ['a']}, ['labels', 'two or more']),
    (PAIRS, {'labels': [0, 1]}, ['labels [0, 1]', '"0", not 0']), (PAIRS, {'labels': ['a', 'a']}, ['labels', 'different']),
    (PAIRS, {'labels': ['a', 'b\tc']}, ['labels', 'words']),
    (PAIRS, {'metric': 'rouge'}, ["metric 'rouge'", 'accuracy', 'mcc']),
    (PAIRS, {'metric': ['f1']}, ["metric ['f1']", 'accuracy']),
    (PAIRS, {'metric': 'f1'}, ["metric 'f1'", 'two labels', '3']),
    (PAIRS, {'metric': 'pearson'}, ["metric 'pearson'", 'accuracy']),
    (SCORED, {'metric': 'mcc'}, ["metric 'mcc'", 'pearson']),
    (SCORED, {'ptp_thresholds': [0.5, 0.5]}, ['ptp_thresholds', 'regression']),
    (SINGLE, {'ptp_thresholds': [0.5, 2]}, ['ptp_thresholds [0.5, 2]', '[t1, t2]']),
    (SINGLE, {'ptp_thresholds': 'median'}, ["ptp_thresholds 'median'", '[t1, t2]']),
]


@pytest.mark.parametrize('content, changes, expected', WRONG)
def test_what_is_wrong_is_told_in_one_line_with_file_and_key(tmp_path, content, changes, expected):
    content = {name: value for name, value in (content | changes).items() if value is not None}
    path = write_config(tmp_path, content)
    before = set(TASKS)
    for script in (TRAIN, PTP, TEACHER):
        with pytest.raises(InputError) as error:
            parse(script, '', ['--task_config', str(path)])
        message = str(error.value)
        assert message.startswith(f'--task_config {path}: ') and '\n' not in message
        assert [part for part in expected if part not in message] == [], message
    assert set(TASKS) == before


def test_several_problems_stand_in_one_message(tmp_path):
    path = write_config(tmp_path, PAIRS | {'metric': 'x', 'labels': 3, 'extra': 1})
    with pytest.raises(InputError, match="unknown key 'extra'.*labels 3.*metric 'x'.*--alpha"):
        parse(TRAIN, '', ['--task_config', str(path), '--train_type', 'kd', '--alpha', '7'])


def test_a_file_that_is_no_definition(tmp_path):
    for content in ('', '[]', '{"name": ', '\xff'):
        (tmp_path / 'task.json').write_text(content, encoding='latin-1')
        with pytest.raises(InputError, match=f'--task_config {tmp_path / "task.json"}: not the definition of a task'):
            parse(TRAIN, '', ['--task_config', str(tmp_path / 'task.json')])
    with pytest.raises(InputError, match=f'--task_config {tmp_path / "none.json"}: no such file'):
        parse(TRAIN, '', ['--task_config', str(tmp_path / 'none.json')])
    with pytest.raises(InputError, match="--task 'Claims' is not a task; choose one of CoLA.*--task_config"):
        parse(TRAIN, '', ['--task', 'Claims'])


def test_flags_beside_it(tmp_path):
    path = str(write_config(tmp_path, PAIRS))
    args = parse(TRAIN, '', ['--task_config', path])
    assert args.task == 'Claims' and args.task_config == {'file': path, **PAIRS} and args.given == ['task_config']
    assert parse(TRAIN, '', ['--task_config', path, '--task', 'claims']).task == 'Claims'
    assert parse(TEACHER, '', ['--task_config', path], {'task': 'RTE'}).task == 'Claims'
    with pytest.raises(InputError, match=f'--task RTE contradicts --task_config {path}, which defines Claims'):
        parse(TRAIN, '', ['--task_config', path, '--task', 'RTE'])
    # a checkpoint's settings for MRPC, the default of --task, are none of this task's
    args = parse(TRAIN, '', ['--task_config', path, '--bert_model', 'minilm-l6', '--recommended'])
    assert (args.learning_rate, args.eval_every) == (2e-5, None)


# The scripts


@pytest.mark.parametrize('content', [PAIRS, SINGLE, SCORED], ids=lambda content: content['name'])
def test_from_files_to_student(make_workspace, tmp_path, content):
    """Teacher, its outputs, PTP, SPS student, evaluation, comparison: as with a task of GLUE."""
    workspace, name = make_workspace(tasks=()), content['name']
    config = ('--task_config', write_own(workspace.folder / 'own', content))
    workspace.succeed(TRAIN, *FIT, *config, '--train_seed', 1, '--saving_criterion_acc', -1, '--num_train_epochs', 6)
    teacher = run_json(workspace.teacher_folder(task=name))
    assert teacher['task'] == name and teacher['arguments']['task_config'] == {'file': str(config[1]), **content}
    assert teacher['metric'] == {'Claims': 'acc', 'moods_2': 'f1', 'Warmth': 'pearson'}[name]
    assert teacher['dev_best'][teacher['metric']] > (0.4 if name == 'Warmth' else 0.7)
    workspace.succeed(TEACHER, *SMALL, *config)
    outputs = TeacherOutputs.open(workspace.result_file(task=name))
    assert ('test.pred_logit' in outputs.arrays) == ('test' in content)
    assert outputs.arrays['train.pred_logit'].shape == (48, 1 if name == 'Warmth' else len(content['labels']))
    flags, start = (*FIT, *config, '--model_type', 'SPS', '--student_hidden_layers', 1), ()
    if name == 'Warmth':
        outcome = workspace.call(PTP, *flags)
        assert outcome.code == 2 and 'regression' in outcome.err
    else:
        out = workspace.succeed(PTP, *flags).out
        assert ('PTP thresholds: t1 0.7500, t2 0.5000' in out) == (name == 'moods_2')
        start = ('--load_model', 'PTP.SPS_1layer.encoder.pkl')
    workspace.succeed(TRAIN, *flags, *start, '--train_type', 'pkd', '--train_seed', 1, '--output_dir', tmp_path / 'student')
    student = run_json(tmp_path / 'student')
    workspace.succeed(BENCHMARK, '--mode', 'evaluate', '--runs', tmp_path / 'student', '--output_dir', tmp_path)
    row = pd.read_csv(tmp_path / 'dev_scores.csv').iloc[0]
    metrics = {metric: value for metric, value in student['dev_saved'].items() if metric != 'global_step'}
    assert row[list(metrics)].to_dict() == metrics and row['task'] == name
    outcome = workspace.call(BENCHMARK, '--mode', 'submit', '--runs', tmp_path / 'student', '--output_dir', tmp_path)
    assert outcome.code == 2 and f'{name} is no task of the leaderboard: left out; scripts/predict.py' in outcome.out


def test_compare(make_workspace, calls):
    """Cells of two files at once; with other content of a file its cells are made anew, the others stay."""
    workspace = make_workspace(tasks=())
    files = [write_own(workspace.folder / name, content) for name, content in (('a', SINGLE), ('b', PAIRS))]
    flags = (BENCHMARK, '--mode', 'compare', '--bert_model', 'tiny', '--methods', 'pkd,sps+ptp', '--layers', 1, '--seeds', 1,
             '--no-recommended', '--set', 'num_train_epochs=1', 'precision=fp32', '--keep_weights', 'all',
             '--teacher_folds', 2, '--task_config', *files)
    workspace.succeed(*flags)
    table = read_results(workspace.outputs / 'compare' / 'results.csv')
    assert sorted(table['task']) == ['Claims', 'Claims', 'moods_2', 'moods_2'] and (table['error'] == '').all()
    assert not [name for name in table.columns if 'task_config' in name]
    done = len(calls)
    workspace.succeed(*flags)
    assert len(calls) == done
    # in another place, the same; with a label more, another
    moved = [write_own(workspace.folder / f'{file.parent.name}2', content)
             for file, content in zip(files, (SINGLE, PAIRS), strict=True)]
    workspace.succeed(*flags[:-2], *moved)
    assert len(calls) == done
    write_config(files[1].parent, PAIRS | {'labels': [*PAIRS['labels'], 'unknown']})
    workspace.succeed(*flags)
    table = read_results(workspace.outputs / 'compare' / 'results.csv')
    assert table.groupby('task').size().to_dict() == {'Claims': 4, 'moods_2': 2} and len(calls) == done + done // 2
    workspace.succeed(BENCHMARK, '--mode', 'evaluate', '--output_dir', workspace.folder)
    scored = pd.read_csv(workspace.folder / 'dev_scores.csv')
    assert sorted(scored['task']) == ['Claims'] * 4 + ['moods_2'] * 2


def test_tasks_of_a_comparison(workspace, tmp_path):
    config = write_config(tmp_path, PAIRS)
    for flags, said in ((('--mode', 'compare', '--task_config', tmp_path / 'no.json'), 'no.json: no such file'),
                        (('--mode', 'teacher', '--task_config', config, config), 'two of the files define a task'),
                        (('--mode', 'evaluate', '--task_config', config), 'no such flag of --mode evaluate'),
                        (('--mode', 'compare', '--task_config', config, '--set', 'task_config=x'), 'use --task_config'),
                        (('--mode', 'compare', '--tasks', 'Claims'), 'defined by --task_config')):
        outcome = workspace.call(BENCHMARK, *flags, *(('--bert_model', 'tiny') if 'compare' in flags else ()))
        assert outcome.code == 2 and said in outcome.err, outcome.err


def test_mode_teacher(make_workspace):
    workspace = make_workspace(tasks=())
    config = write_own(workspace.folder / 'own', PAIRS)
    workspace.succeed(TRAIN, *FIT, '--task_config', config)
    workspace.succeed(BENCHMARK, '--mode', 'teacher', '--task_config', config, *SMALL)
    assert workspace.result_file(task='Claims').is_file()


# Other content of the same file


@pytest.fixture(scope='module')
def trained(make_workspace):
    """A workspace with a teacher of Claims and its result file."""
    with own_tables():
        workspace = make_workspace(tasks=())
        config = write_own(workspace.folder / 'own', PAIRS)
        workspace.succeed(TRAIN, *FIT, '--task_config', config, '--train_seed', 1)
        workspace.succeed(TEACHER, *SMALL, '--task_config', config)
    return workspace


def test_its_teacher_is_plotted_and_imported(trained, tmp_path):
    workspace = trained.copy(tmp_path / 'workspace')
    config, results = workspace.folder / 'own' / 'task.json', workspace.result_file(2, 'Claims')
    plot = ('scripts.plot_results', '--kind', 'confidence', '--output', tmp_path / 'picture', results)
    workspace.succeed(*plot, '--task_config', config, '--ptp_threshold', '0.5')
    assert (tmp_path / 'picture.png').is_file()
    arrays = TeacherOutputs.open(results).split
    parts = ('pred_logit', 'pooled_feature_maps')
    old = {name: {'loss': 0.0, 'acc': 0.0, **{part: np.array(arrays(name)[part], np.float32) for part in parts}}
           for name in ('train', 'dev')}
    old |= {f'{name}_labels': np.array(arrays(name)['labels']) for name in ('train', 'dev')}
    (tmp_path / 'old.pkl').write_bytes(pickle.dumps(old, 4))
    convert = ('scripts.import_teacher_outputs', tmp_path / 'old.pkl', tmp_path / 'new.pkl', *SMALL[:4])
    workspace.succeed(*convert, '--task_config', config)
    new = TeacherOutputs.open(tmp_path / 'new.pkl').split('dev')
    np.testing.assert_array_equal(new['pred_logit'], arrays('dev')['pred_logit'])
    other = write_config(tmp_path / 'other', PAIRS | {'name': 'Other'})
    for flags, words in ((plot, ["'Claims'", '--task_config']), ((*plot, '--task_config', 'none'), ['--task_config none']),
                         ((*convert, '--task', 'RTE', '--task_config', config), ['--task RTE contradicts', 'Claims'])):
        outcome = workspace.call(*flags)
        assert outcome.code == 2 and all(word in outcome.err for word in words), outcome.err
    define_task(config)
    assert 'defines Other; the rows of' in workspace.call(*plot, '--task_config', other).err


SWAPPED = PAIRS | {'labels': ['right', 'so, so', 'wrong']}


def test_resume_names_what_the_file_says_now(trained, tmp_path):
    workspace = trained.copy(tmp_path)
    config = workspace.folder / 'own' / 'task.json'
    again = (TRAIN, *FIT, '--task_config', config, '--train_seed', 1, '--resume')
    assert 'has ended already' in workspace.succeed(*again).out              # the file lies elsewhere: no difference
    write_config(config.parent, SWAPPED)
    outcome = workspace.call(*again)
    assert outcome.code == 2 and '--task_config.labels was' in outcome.err and 'right' in outcome.err
    write_config(config.parent, PAIRS | {'metric': 'mcc'})
    outcome = workspace.call(*again)
    assert outcome.code == 2 and '--task_config.metric was accuracy, is mcc' in outcome.err
    out = workspace.succeed(*again[:-1]).out
    assert 'warning: this run replaces one' in out and 'metric was accuracy, is mcc' in out
    assert run_json(workspace.teacher_folder(task='Claims'))['metric'] == 'mcc'


def test_a_run_keeps_its_own_definition(trained, tmp_path):
    """Also where the file has changed, which is told, or is gone."""
    workspace = trained.copy(tmp_path)
    folder, config = workspace.teacher_folder(task='Claims'), trained.folder / 'own' / 'task.json'
    evaluate = (BENCHMARK, '--mode', 'evaluate', '--runs', folder, '--output_dir', tmp_path)
    before = config.read_text(encoding='utf-8')
    assert 'warning' not in workspace.succeed(*evaluate).out
    scores = (tmp_path / 'dev_scores.csv').read_text()
    try:
        write_config(config.parent, SWAPPED)
        out = workspace.succeed(*evaluate).out
        assert f'warning: {config} has changed since {folder} was made: labels was' in out
        assert (tmp_path / 'dev_scores.csv').read_text() == scores
        config.write_text('{', encoding='utf-8')
        assert 'not the definition of a task' in workspace.succeed(*evaluate).out
        config.unlink()
        assert 'warning' not in workspace.succeed(*evaluate).out
        assert (tmp_path / 'dev_scores.csv').read_text() == scores
    finally:
        config.write_text(before, encoding='utf-8')


def test_a_model_is_not_taken_for_one_of_other_labels(trained, tmp_path):
    workspace = trained.copy(tmp_path)
    config = write_config(workspace.folder / 'own', SWAPPED)
    before = workspace.tree()
    outcome = workspace.call(TEACHER, *SMALL, '--task_config', config)
    assert outcome.code == 2 and 'the labels of' in outcome.err and 'was trained with' in outcome.err
    outcome = workspace.call(TRAIN, *FIT, '--task_config', config, '--train_type', 'kd', '--student_hidden_layers', 1)
    assert outcome.code == 2 and 'does not fit the train set' in outcome.err and 'labels differ' in outcome.err
    own = next(workspace.outputs.glob('KD/*/teacher_2layer/BERT.encoder.pkl'))
    write_task(workspace.glue, 'MRPC')
    outcome = workspace.call(TEACHER, *SMALL, '--task', 'MRPC', '--encoder_checkpoint', own)
    assert outcome.code == 2 and 'the labels of MRPC are 0, 1, the model in' in outcome.err
    assert workspace.tree() == before


def test_rows_are_not_taken_from_the_cache_for_other_columns(trained, tmp_path):
    workspace = trained.copy(tmp_path)
    swapped = {'text_a': 'second one', 'text_b': 'First', 'label': 'verdict'}
    config = write_config(workspace.folder / 'own', PAIRS | {'columns': swapped})
    outcome = workspace.call(TRAIN, *FIT, '--task_config', config, '--train_type', 'kd', '--student_hidden_layers', 1)
    assert outcome.code == 2 and 'does not fit the train set' in outcome.err and 'rows differ' in outcome.err


def test_students_of_other_definitions_have_folders_of_their_own(trained, tmp_path):
    workspace = trained.copy(tmp_path)
    flags = (TRAIN, *FIT, '--model_type', 'SPS', '--student_hidden_layers', 1, '--train_seed', 1, '--task_config')
    students = workspace.outputs / 'PeaKD' / 'Claims'
    workspace.succeed(*flags, workspace.folder / 'own' / 'task.json')
    workspace.succeed(*flags, trained.folder / 'own' / 'task.json')          # the same content in another place
    assert len(list(students.iterdir())) == 1
    workspace.succeed(*flags, write_config(workspace.folder / 'own', SWAPPED))
    assert len(list(students.iterdir())) == 2


def test_a_record_with_a_wrong_definition(trained, tmp_path):
    workspace = trained.copy(tmp_path)
    path = workspace.teacher_folder(task='Claims') / 'run.json'
    record = json.loads(path.read_text(encoding='utf-8'))
    for definition, said in (('x', 'not the definition'), ({'file': 3}, 'not the definition'),
                             ({'file': '/a/b.json', **PAIRS, 'labels': 3}, 'labels 3: must be')):
        record['arguments']['task_config'] = definition
        path.write_text(json.dumps(record), encoding='utf-8')
        for mode in ('evaluate', 'submit'):
            outcome = workspace.call(BENCHMARK, '--mode', mode, '--runs', path.parent, '--output_dir', tmp_path)
            assert outcome.code == 2 and str(path) in outcome.err and said in outcome.err, outcome.err
