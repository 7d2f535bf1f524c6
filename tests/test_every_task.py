"""Each task of GLUE from its files, in their true format, to the leaderboard's: teacher, dump, PTP, students, submission."""
import json
import re
import zipfile

import pandas as pd
import pytest
from conftest import write_task

from src.argument_parser import PTP, TEACHER, TRAIN
from src.teacher_outputs import TeacherOutputs

BENCHMARK = 'run_glue_benchmark.py'
TRAIN_ROWS, DEV_ROWS, TEST_ROWS = 24, 12, 8
BINARY, NLI, ENTAILED = {'0', '1'}, {'contradiction', 'entailment', 'neutral'}, {'entailment', 'not_entailment'}
MNLI_FILES = {'MNLI-m.tsv': TEST_ROWS, 'MNLI-mm.tsv': TEST_ROWS + 1, 'AX.tsv': TEST_ROWS + 2}
# task: (dev metrics, the leaderboard's files with their rows, words in them; None: numbers from 0 to 5)
TASKS = {
    'CoLA': (['mcc'], {'CoLA.tsv': TEST_ROWS}, BINARY), 'SST-2': (['acc'], {'SST-2.tsv': TEST_ROWS}, BINARY),
    'MRPC': (['acc', 'f1', 'acc_and_f1'], {'MRPC.tsv': TEST_ROWS}, BINARY),
    'STS-B': (['pearson', 'spearmanr', 'corr'], {'STS-B.tsv': TEST_ROWS}, None),
    'QQP': (['acc', 'f1', 'acc_and_f1'], {'QQP.tsv': TEST_ROWS}, BINARY),
    'MNLI': (['acc'], MNLI_FILES, NLI), 'MNLI-mm': (['acc'], MNLI_FILES, NLI),
    'QNLI': (['acc'], {'QNLI.tsv': TEST_ROWS}, ENTAILED), 'RTE': (['acc'], {'RTE.tsv': TEST_ROWS}, ENTAILED),
    'WNLI': (['acc'], {'WNLI.tsv': TEST_ROWS}, BINARY), 'SNLI': (['acc'], {}, NLI)}
# Rows of the official test sets (Wang et al. 2019, table 1; the files themselves)
OFFICIAL = {'CoLA.tsv': 1063, 'SST-2.tsv': 1821, 'MRPC.tsv': 1725, 'STS-B.tsv': 1379, 'QQP.tsv': 390965, 'MNLI-m.tsv': 9796,
            'MNLI-mm.tsv': 9847, 'QNLI.tsv': 5463, 'RTE.tsv': 3000, 'WNLI.tsv': 146, 'AX.tsv': 1104}
OTHER_DEV_SET = {'MNLI': 'MNLI-mm', 'MNLI-mm': 'MNLI'}
COMMON = ('--bert_model', 'tiny', '--teacher_hidden_layers', 2, '--precision', 'fp32')
FIT = (*COMMON, '--num_train_epochs', 1, '--train_batch_size', 8, '--learning_rate', '1e-3')
STUDENT = (*FIT, '--student_hidden_layers', 1, '--train_seed', 1)


@pytest.fixture(scope='module')
def glue(make_workspace):
    """All tasks, a few rows of each."""
    workspace = make_workspace(tasks=())
    for task in TASKS:
        test_rows = TASKS[task][1].get(f'{task}.tsv', TEST_ROWS)
        write_task(workspace.glue, task, (TRAIN_ROWS, DEV_ROWS, test_rows), seed=int(task == 'MNLI-mm'))
    write_task(workspace.glue, 'diagnostic', (0, 0, TEST_ROWS + 2))
    with open(workspace.glue / 'QQP' / 'train.tsv', 'a', encoding='utf-8') as file:
        file.write('9\t1\t2\ta question\n')                               # QQP's has a few that are cut off
    path = workspace.glue / 'SNLI' / 'dev.tsv'
    header, *rows = path.read_text(encoding='utf-8').splitlines()
    no_gold = rows[0].rpartition('\t')[0] + '\t-'
    path.write_text('\n'.join([header, no_gold, *rows]) + '\n', encoding='utf-8')
    return workspace


def record(folder):
    return json.loads((folder / 'run.json').read_text(encoding='utf-8'))


def scores(entry):
    return {name: value for name, value in entry.items() if name != 'global_step'}


def assert_trained(workspace, task, folder):
    """Scores in run.json are the task's own, and those of --mode evaluate, to the last digit."""
    metrics, other = TASKS[task][0], OTHER_DEV_SET.get(task)
    run = record(folder)
    assert list(scores(run['dev_saved'])) == [*metrics, 'loss'] and run['metric'] in metrics
    assert list(run.get('dev_also', {})) == ([other] if other else [])
    workspace.succeed(BENCHMARK, '--mode', 'evaluate', '--runs', folder, '--output_dir', folder / 'scores')
    table = pd.read_csv(folder / 'scores' / 'dev_scores.csv').set_index('task')
    expected = {task: scores(run['dev_saved'])} | run.get('dev_also', {})
    assert {name: row[[*metrics, 'loss']].to_dict() for name, row in table.iterrows()} == expected
    return run


def assert_leaderboard_files(folder, files, words):
    """Names, columns, rows, index, words; the same in the zip."""
    with zipfile.ZipFile(folder / 'submission.zip') as archive:
        assert sorted(archive.namelist()) == sorted(files)
        for name, rows in files.items():
            assert archive.read(name) == (folder / name).read_bytes()
            header, *lines = (folder / name).read_text(encoding='utf-8').splitlines()
            index, predictions = zip(*(line.split('\t') for line in lines), strict=True)
            assert header == 'index\tprediction' and list(index) == [str(number) for number in range(rows)]
            if words is None:
                assert all(0 <= float(prediction) <= 5 for prediction in predictions)
            else:
                assert set(predictions) <= words


@pytest.mark.parametrize('task', TASKS)
def test_from_files_to_submission(glue, task, tmp_path):
    name, (_, files, words) = ('--task', task), TASKS[task]
    out = glue.succeed(TRAIN, *FIT, *name, '--train_seed', 1).out
    assert ('skipped 1 of' in out) == (task in ('QQP', 'SNLI'))
    teacher = assert_trained(glue, task, glue.teacher_folder(task=task))
    again = glue.succeed(TEACHER, *COMMON, *name).out                   # from the token cache now
    assert re.findall('.*skipped.*', again) == re.findall('.*skipped.*', out)
    results = TeacherOutputs.open(glue.result_file(task=task))
    classes = len(words or ['score'])
    for split, rows in (('train', TRAIN_ROWS), ('dev', DEV_ROWS)):
        assert results.split(split)['pred_logit'].shape == (rows, classes)
        assert results.split(split)['feature_maps'].shape == (rows, 2, 32)
    assert float(results.split('dev')['loss']) == teacher['dev_saved']['loss']

    start = ()
    if words is None:
        outcome = glue.call(PTP, *FIT, *name)
        assert outcome.code == 2 and 'regression' in outcome.err
    else:
        glue.succeed(PTP, *FIT, *name, '--model_type', 'SPS', '--student_hidden_layers', 1)
        start = ('--load_model', 'PTP.SPS_1layer.encoder.pkl')
    for kind, flags in (('kd', ()), ('pkd', ('--model_type', 'SPS', *start))):
        glue.succeed(TRAIN, *STUDENT, *name, '--train_type', kind, *flags, '--output_dir', tmp_path / kind)
        assert assert_trained(glue, task, tmp_path / kind)['arguments']['train_type'] == kind

    outcome = glue.call(BENCHMARK, '--mode', 'submit', '--runs', tmp_path / 'pkd', '--output_dir', tmp_path)
    if files:
        assert outcome.code == 0, outcome.err
        assert_leaderboard_files(tmp_path, files, words)
        for file, rows in files.items():
            told = f'the test set has {rows} rows here, that of the leaderboard {OFFICIAL[file]}: it will refuse {file}'
            assert told in outcome.out + outcome.err
    else:
        assert outcome.code == 2 and 'leaderboard' in outcome.err


@pytest.mark.parametrize('task, other, missing', [('MNLI', 'MNLI-mm', 'dev_mismatched.tsv'),
                                                  ('MNLI-mm', 'MNLI', 'dev_matched.tsv')])
def test_mnli_with_one_dev_set_alone(make_workspace, task, other, missing):
    workspace = make_workspace(tasks=(task,))
    outcome = workspace.succeed(TRAIN, *FIT, '--task', task)
    assert not (workspace.glue / 'MNLI' / missing).exists()
    lines = [line for line in outcome.out.splitlines() if other in line.split()]
    assert lines == [f'{other} has no dev file here: left out']
    folder = workspace.teacher_folder(task=task)
    assert 'dev_also' not in record(folder)
    outcome = workspace.succeed(BENCHMARK, '--mode', 'evaluate', '--output_dir', folder)
    assert f'{other} has no dev file here: left out' in outcome.out
    assert pd.read_csv(folder / 'dev_scores.csv')['task'].tolist() == [task]


def test_mnli_prints_both_dev_sets_and_scores_the_chosen_state(glue, tmp_path):
    """With a holdout too: then dev_saved and dev_also are both of the state that the holdout chose."""
    for flags in ((), ('--holdout', 0.3)):
        out = glue.succeed(TRAIN, *FIT, '--task', 'MNLI', '--num_train_epochs', 3, '--saving_criterion_acc', -1, *flags,
                           '--output_dir', tmp_path).out
        assert [line.split()[:2] for line in out.splitlines() if 'dev_also' in line] == [['dev_also', 'MNLI-mm']]
        assert_trained(glue, 'MNLI', tmp_path)


@pytest.mark.parametrize('script, flags', [(TRAIN, ()), (TRAIN, ('--train_type', 'kd')), (PTP, ())])
def test_nothing_is_trained_on_the_diagnostic_set(glue, script, flags):
    outcome = glue.call(script, *FIT, '--task', 'AX', *flags)
    assert outcome.code == 2 and len(outcome.err.splitlines()) == 1
    assert '--task diagnostic has no train set' in outcome.err and '--task MNLI' in outcome.err
