"""run_glue_benchmark.py: saved runs score as in training, and the leaderboard's files are as the leaderboard wants them."""
import json
import shutil
import zipfile

import numpy as np
import pandas as pd
import pytest
from conftest import write_task

import envs
import run_glue_benchmark
from BERT.pytorch_pretrained_bert.file_utils import InputError
from src.nli_data_processing import find_task
from src.saved_runs import finished_runs
from src.submission import check_predictions, prediction_words, write_predictions

TRAIN, BENCHMARK = 'NLI_KD_training.py', 'run_glue_benchmark.py'
BRIEF = ('--bert_model', 'tiny', '--num_train_epochs', 2, '--learning_rate', '1e-3', '--train_seed', 1,
         '--saving_criterion_acc', -1, '--precision', 'fp32')


@pytest.fixture(scope='module')
def trained(make_workspace):
    """Teachers of MRPC and MNLI and a second run of MRPC; MNLI's folder has the mismatched test set and AX beside."""
    workspace = make_workspace(tasks=('MRPC', 'MNLI', 'STS-B'))
    mnli = workspace.glue / 'MNLI'
    (mnli / 'test_mismatched.tsv').write_bytes((mnli / 'test_matched.tsv').read_bytes())
    (workspace.glue / 'diagnostic').mkdir()
    (workspace.glue / 'diagnostic' / 'diagnostic.tsv').write_text(
        'index\tsentence1\tsentence2\n0\tthe dog\tmaybe a cat\n1\ta tree\tindeed a tree\n', encoding='utf-8')
    for task in ('MRPC', 'MNLI', 'STS-B'):
        workspace.succeed(TRAIN, '--task', task, *BRIEF)
    workspace.succeed(TRAIN, '--task', 'MRPC', '--model_type', 'SPS', '--student_hidden_layers', 1, *BRIEF)
    return workspace


def runs(workspace):
    return sorted(path.parent for path in workspace.outputs.glob('*/*/*/run.json'))


def test_evaluate_scores_as_the_training_did(trained, tmp_path):
    trained.succeed(BENCHMARK, '--mode', 'evaluate', '--output_dir', tmp_path)
    table = pd.read_csv(tmp_path / 'dev_scores.csv').set_index(['task', 'run'])
    assert len(table) == len(runs(trained)) == 4
    for folder in runs(trained):
        record = json.loads((folder / 'run.json').read_text())
        row = table.loc[(record['task'], str(folder.relative_to(trained.outputs)))]
        assert {metric: row[metric] for metric in record['dev_best'] if metric != 'global_step'} \
            == {metric: value for metric, value in record['dev_best'].items() if metric != 'global_step'}


def test_a_run_that_cannot_be_read_is_left_out_unless_it_is_named(trained, tmp_path, monkeypatch):
    folder = next(folder for folder in runs(trained) if 'STS-B' in str(folder))
    record = json.loads((folder / 'run.json').read_text())
    own = {'file': '/moved/task.json', 'name': 'gone', 'train': 'a.tsv', 'dev': 'b.tsv', 'header': True,
           'columns': {'text_a': 0, 'label': 1}, 'labels': 'regression', 'metric': 'pearson'}
    gone = trained.outputs / 'KD' / 'gone'
    shutil.copytree(folder, gone)
    try:
        (gone / 'run.json').write_text(json.dumps(record | {'task': 'gone', 'arguments': record['arguments'] | {
            'task': 'gone', 'task_config': own}}))
        outcome = trained.succeed(BENCHMARK, '--mode', 'evaluate', '--output_dir', tmp_path)
        assert f'warning: the run in {gone} is left out: /moved/b.tsv is missing' in outcome.out
        assert len(pd.read_csv(tmp_path / 'dev_scores.csv')) == 4
        outcome = trained.call(BENCHMARK, '--mode', 'evaluate', '--runs', folder, gone, '--output_dir', tmp_path)
        assert outcome.code == 2 and '/moved/b.tsv is missing' in outcome.err
        arguments = {**record['arguments'], 'dropout': 'high'}
        (gone / 'run.json').write_text(json.dumps({**record, 'arguments': arguments}))
        outcome = trained.succeed(BENCHMARK, '--mode', 'evaluate', '--output_dir', tmp_path)
        assert f"left out: {gone / 'run.json'}: hidden_dropout_prob" in outcome.out
        (gone / 'run.json').write_text(json.dumps({name: value for name, value in record.items() if name != 'seed'}))
        outcome = trained.succeed(BENCHMARK, '--mode', 'evaluate', '--output_dir', tmp_path)
        assert f"left out: {gone / 'run.json'}" in outcome.out and 'seed missing' in outcome.out
        (gone / 'run.json').write_text('{"task": ')
        with monkeypatch.context() as patch:              # of several processes one may have seen the error, another not
            patch.setattr(run_glue_benchmark, 'world_size', lambda: 2)
            assert trained.call(BENCHMARK, '--mode', 'evaluate', '--output_dir', tmp_path).code == 2
        outcome = trained.succeed(BENCHMARK, '--mode', 'submit', '--output_dir', tmp_path / 'submit')
        assert f'warning: the run in {gone} is left out: {gone / "run.json"}' in outcome.out
    finally:
        shutil.rmtree(gone)


def test_each_file_is_as_the_leaderboard_wants_it(trained, tmp_path):
    trained.succeed(BENCHMARK, '--mode', 'submit', '--output_dir', tmp_path)
    with zipfile.ZipFile(tmp_path / 'submission.zip') as archive:
        assert sorted(archive.namelist()) == ['AX.tsv', 'MNLI-m.tsv', 'MNLI-mm.tsv', 'MRPC.tsv', 'STS-B.tsv']
    for name, rows, words in (('MRPC.tsv', 20, {'0', '1'}), ('AX.tsv', 2, {'contradiction', 'entailment', 'neutral'}),
                              ('MNLI-mm.tsv', 20, {'contradiction', 'entailment', 'neutral'})):
        lines = (tmp_path / name).read_text().splitlines()
        assert lines[0] == 'index\tprediction'
        assert [line.split('\t')[0] for line in lines[1:]] == [str(number) for number in range(rows)]
        assert {line.split('\t')[1] for line in lines[1:]} <= words
    scores = pd.read_csv(tmp_path / 'STS-B.tsv', sep='\t')['prediction']
    assert scores.between(0, 5).all()


def test_chosen_runs(trained, tmp_path):
    student = next(folder for folder in runs(trained) if 'SPS' in folder.name)
    trained.succeed(BENCHMARK, '--mode', 'submit', '--runs', student, '--output_dir', tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['MRPC.tsv', 'submission.zip']
    teacher = trained.teacher_folder()
    outcome = trained.call(BENCHMARK, '--mode', 'submit', '--runs', student, teacher, '--output_dir', tmp_path)
    assert outcome.code == 2 and 'both predict MRPC.tsv' in outcome.err


def test_runs_are_found_wherever_they_are_under_the_outputs(trained, tmp_path, monkeypatch):
    """But not those whose weights are gone, PTP's, or teachers of a comparison."""
    outputs = tmp_path / 'outputs'
    for name in ('HOME_OUTPUT_FOLDER', 'STUDENT_FOLDER', 'COMPARE_FOLDER', 'OUTPUTS_FOLDER'):
        monkeypatch.setattr(envs, name, outputs)
    places = ('teachers/1', 'study/mrpc/runs/MRPC/pkd_1', 'study/mrpc/teachers/MRPC/6layer', 'KD/MRPC/gone')
    for place in places:
        shutil.copytree(trained.teacher_folder(), outputs / place)
    for path in (outputs / 'KD/MRPC/gone').glob('BERT.*'):
        path.unlink()
    (outputs / 'KD/MRPC/PTP.SPS_1layer').mkdir()
    (outputs / 'KD/MRPC/PTP.SPS_1layer/run.json').write_text('{"ptp_counts": {}}')
    assert finished_runs() == [outputs / place for place in sorted(places[:2])]


def test_no_runs(workspace, tmp_path):
    outcome = workspace.call(BENCHMARK)
    assert outcome.code == 2 and '--runs' in outcome.err
    for mode in ('evaluate', 'submit'):
        outcome = workspace.call(BENCHMARK, '--mode', mode, '--runs', tmp_path, tmp_path / 'mistyped')
        assert outcome.code == 2 and f'{tmp_path}: no finished run' in outcome.err


def test_label_words():
    logits = np.array([[3., 1., 2.], [0., 0., 1.], [0., 5., 1.]], np.float32)
    assert prediction_words(find_task('MNLI'), logits) == ['contradiction', 'neutral', 'entailment']
    assert prediction_words(find_task('STS-B'), np.array([[-1.], [2.5], [7.]], np.float32)) == ['0.000', '2.500', '5.000']


@pytest.mark.parametrize('change, message', [
    (lambda lines: lines[:-1], '2 rows'), (lambda lines: [*lines[:-1], '7\t1'], 'index'),
    (lambda lines: [*lines[:-1], '2\tyes'], "'yes'"), (lambda lines: ['id\tlabel', *lines[1:]], 'columns')])
def test_a_wrong_file_is_found(tmp_path, change, message):
    path, task = tmp_path / 'MRPC.tsv', find_task('MRPC')
    write_predictions(path, task, np.eye(3, 2, dtype=np.float32))
    path.write_text('\n'.join(change(path.read_text().splitlines())) + '\n')
    with pytest.raises(InputError, match=message):
        check_predictions(path, task, 3)


def test_other_rows_than_the_runs_own_are_predicted_too(trained, tmp_path):
    """A test set that changed since the training is read anew, not from the token cache."""
    write_task(trained.glue, 'MRPC', (60, 30, 25))
    trained.succeed(BENCHMARK, '--mode', 'submit', '--runs', trained.teacher_folder(), '--output_dir', tmp_path)
    assert len((tmp_path / 'MRPC.tsv').read_text().splitlines()) == 26
