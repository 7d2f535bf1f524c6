"""The scripts one after the other, as the README tells users to run them; what they leave; what they share."""
import csv
import json
import re
import runpy
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, Workspace, write_checkpoint, write_task

import run_glue_benchmark
from BERT.pytorch_pretrained_bert import BertConfig, BertTokenizer
from BERT.pytorch_pretrained_bert.weights import read_state_dict
from PTP import tell_what_was_learnt, warn_of_rare_classes
from scripts import plot_results, predict, study
from src.argument_parser import FLAGS, PTP, TEACHER, TRAIN, parse
from src.data_processing import load_split
from src.evaluation import predict_logits, scores
from src.grid import parse_axes, parse_fixed
from src.modeling import SequenceClassifier, load_classifier, load_encoder
from src.nli_data_processing import PTP_CLASSES, compute_metrics, find_task
from src.saved_runs import load_run
from src.teacher_outputs import TeacherOutputs

PTP_FILE = '<the file that PTP.py wrote>'
COMMANDS = [
    "python NLI_KD_training.py --task 'MRPC' --train_type 'ft' --model_type 'Original' --student_hidden_layers 12 "
    '--train_seed None --saving_criterion_acc 0.8 --saving_criterion_loss 0',
    'python save_teacher_outputs.py',
    "python PTP.py --task 'MRPC' --train_type 'ft' --model_type 'SPS' --student_hidden_layer 3 --PTP_seed None",
    "python NLI_KD_training.py --task 'MRPC' --train_type 'pkd' --model_type 'SPS' --student_hidden_layers 3 "
    f"--train_seed None --saving_criterion_acc 1.0 --saving_criterion_loss 0.0 --load_model '{PTP_FILE}'",
]
README = ROOT / 'README.md'
TRAIN_LOG = 'epoch,global_steps,step,acc,loss,kd_loss,ce_loss,AT_loss'
MRPC_EVAL_LOG = 'epoch,acc,f1,acc_and_f1,loss'
LOGS = {'train_log.txt', 'eval_log.txt', 'run.json'}


def readme_blocks():
    """The code blocks of the README."""
    text = README.read_text(encoding='utf-8') if README.is_file() else ''
    return re.findall(r'^```[^\n]*\n(.*?)^```', text, re.DOTALL | re.MULTILINE)


def python_lines(block):
    lines = [line.strip().removeprefix('$ ') for line in block.replace('\\\n', ' ').splitlines()]
    return [line for line in lines if line.startswith('python ')]


def expanded(block):
    """The words of each python command of a block as the shell would pass them, its loops and variables followed."""
    recorder = ('python() { printf "%s\\0" "$@"; printf "\\n\\0"; }; srun() { "$@"; }; '
                'torchrun() { while [[ $1 == --* ]]; do shift; done; python "$@"; }; ')
    bash = ['/bin/bash', '--restricted', '-c', recorder + block]  # with no PATH nothing but the recorder can be run
    outcome = subprocess.run(bash, env={'PATH': ''}, capture_output=True, text=True, check=False)
    return [line.strip('\0').split('\0') for line in outcome.stdout.split('\n\0') if line]


def readme_commands():
    """The four commands as the README has them, or None. Users may be told the PTP file in other words."""
    for commands in map(python_lines, readme_blocks()):
        before = [command.split('--load_model')[0] for command in commands]
        if before == [command.split('--load_model')[0] for command in COMMANDS]:
            return commands
    return None


def words(command, ptp_file):
    """A command's words; whatever stands behind --load_model is the PTP file."""
    parts = shlex.split(command, comments=True)
    if '--load_model' in parts:
        parts[parts.index('--load_model') + 1] = str(ptp_file)
    return parts


def read_json(path):
    return json.loads(path.read_text(encoding='utf-8'))


def read_csv(path):
    with open(path, newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


def only(paths):
    paths = list(paths)
    assert len(paths) == 1, paths
    return paths[0]


# The README's four commands


@pytest.fixture(scope='module')
def pipeline(tmp_path_factory):
    """(workspace, outcomes) after the four commands, in processes of their own."""
    workspace = Workspace(tmp_path_factory.mktemp('pipeline'))
    write_checkpoint(workspace.models / 'bert_base_uncased', 12)
    write_task(workspace.glue, 'MRPC')
    ptp_file = workspace.teacher_folder(12) / 'PTP.SPS_3layer.encoder.pkl'
    commands = [words(command, ptp_file)[1:] for command in readme_commands()]
    return workspace, [workspace.run(*command) for command in commands]


def test_readme_has_the_commands_letter_for_letter():
    assert readme_commands(), 'no code block of README.md holds the four commands'


def test_flags_of_readme_commands_exist():
    """Of every command in it, also of those that take too long to be run here."""
    blocks = readme_blocks()
    commands = [command for block in blocks for command in expanded(block)]
    launched = [line for block in blocks for line in block.splitlines() if line.startswith(('torchrun', 'srun'))]
    assert len(commands) >= sum(len(python_lines(block)) for block in blocks) + len(launched) > len(launched) > 0
    for script, *flags in commands:
        if script in (TRAIN, TEACHER, PTP):
            parse(script, '', flags)
        elif script == 'run_glue_benchmark.py':
            args, of_teacher = run_glue_benchmark.parse_flags(flags)
            parse(TEACHER, '', of_teacher)
            assert parse_axes(getattr(args, 'grid', [])).keys().isdisjoint(parse_fixed(getattr(args, 'set', [])))
        elif script == 'scripts/predict.py':
            predict.parse_flags(flags)
        elif script == 'scripts/plot_results.py':
            plot_results.parse_flags(flags)
        else:                     # the others' flags are known when they run alone: their names stand in their source
            source = (ROOT / script).read_text(encoding='utf-8')
            own = flags[:flags.index('--')] if '--' in flags else flags
            names = [word.partition('=')[0] for word in own if word.startswith('--')]
            assert [name for name in names if f"'{name}'" not in source] == [], script
            if script == 'scripts/study.py' and '--parts' in own:
                assert set(own[own.index('--parts') + 1].split(',')) <= set(study.PARTS)


def test_commands_succeed(pipeline):
    for outcome in pipeline[1]:
        assert outcome.code == 0, outcome.err
        assert 'Traceback' not in outcome.err


@pytest.fixture(scope='module')
def student(pipeline):
    """The fourth command's folder: the only one of PeaKD/MRPC."""
    return only((pipeline[0].outputs / 'PeaKD' / 'MRPC').iterdir())


def assert_run_folder(folder, script, eval_columns, kd):
    """Logs, settings, scores and a picture."""
    with open(folder / 'train_log.txt', encoding='utf-8') as file:
        assert file.readline().strip() == TRAIN_LOG
    with open(folder / 'eval_log.txt', encoding='utf-8') as file:
        assert file.readline().startswith(eval_columns)
    losses = [[float(row[name]) for name in ('loss', 'kd_loss', 'ce_loss', 'AT_loss')]
              for row in read_csv(folder / 'train_log.txt')]
    assert np.isfinite(losses).all() and (np.array(losses)[:, [1, 3]] > 0).all() == kd
    assert [path.read_bytes()[:4] for path in folder.glob('*.png')] == [b'\x89PNG']
    record = read_json(folder / 'run.json')
    assert set(record['arguments']) == {flag.dest for flag in FLAGS if script in flag.scripts}
    assert isinstance(record['seed'], int) and record['precision'] in ('fp32', 'bf16')
    assert {'torch', 'numpy', 'python'} <= set(record['versions'])
    assert record['seconds'] > 0 and record['dev_last'] and record['dev_best'] and record['dev_lowest_loss']
    return record


def weights_in(folder):
    return {path.name for path in folder.glob('*.pkl')}


def pair(prefix, criterion=''):
    return {f'{prefix}.{part}{criterion}.pkl' for part in ('encoder', 'cls')}


def test_teacher_folder(pipeline):
    folder = pipeline[0].teacher_folder(12)
    record = assert_run_folder(folder, TRAIN, MRPC_EVAL_LOG, kd=False)
    assert record['arguments']['train_seed'] is None            # the words of the command; the seed has its own place
    assert record['arguments']['saving_criterion_acc'] == 0.8
    reached = max(float(row['f1']) for row in read_csv(folder / 'eval_log.txt')) > 0.8
    assert weights_in(folder) == (pair('BERT') | (pair('BERT', '_acc') if reached else set()) | pair('PTP.SPS_3layer'))


def test_teacher_results(pipeline):
    outputs = TeacherOutputs.open(pipeline[0].outputs / 'KD' / 'MRPC' / 'MRPC_patient_kd_teacher_12layer_result_summary.pkl')
    for name, rows in (('train', 60), ('dev', 30), ('test', 20)):
        assert outputs.split(name)['feature_maps'].shape == (rows, 12, 32)
        assert {'loss', 'acc', 'labels', 'pred_answers'} <= set(outputs.split(name)) or name == 'test'


def test_ptp_files(pipeline):
    folder = pipeline[0].teacher_folder(12)
    logs = only(path for path in folder.iterdir() if path.is_dir())
    assert logs.name == 'PTP.SPS_3layer' and LOGS <= {path.name for path in logs.iterdir()}
    record = assert_run_folder(logs, PTP, 'epoch,acc,loss', kd=False)
    assert sum(record['ptp_counts']['train'].values()) == 60 and record['thresholds'] == [0.95, 0.75]
    head = read_state_dict(folder / 'PTP.SPS_3layer.cls.pkl')
    assert head['classifier.weight'].shape == (4, 32)


def test_student_folder(student):
    """Its criteria can never be met, and it is saved all the same."""
    record = assert_run_folder(student, TRAIN, MRPC_EVAL_LOG, kd=True)
    assert weights_in(student) == pair('BERT')
    assert record['passes'] == [[0, False], [1, False], [2, False], [0, True], [1, True], [2, True]]
    assert student.name.startswith('pkd_SPS_3layer_PTP_')


def test_student_reloaded_scores_the_same(pipeline, student):
    workspace, record = pipeline[0], read_json(student / 'run.json')
    checkpoint = workspace.models / 'bert_base_uncased'
    config = BertConfig.from_dict(read_json(checkpoint / 'bert_config.json') | {
        'num_hidden_layers': record['layers'], 'passes': record['passes']})
    model = SequenceClassifier(config, 2)
    load_encoder(model.encoder, student / 'BERT.encoder.pkl', all_layers=True)
    load_classifier(model.classifier, student / 'BERT.cls.pkl')
    with workspace.active():
        dev = load_split(find_task('MRPC'), 'dev', BertTokenizer.from_pretrained(checkpoint), 128)
    logits = predict_logits(model, dev, 32, record['precision'])
    found = scores(logits, dev.labels, lambda preds, labels: compute_metrics('MRPC', preds, labels))
    assert found == {name: value for name, value in record['dev_last'].items() if name != 'global_step'}


def test_state_dict_of_the_shared_student_is_a_plain_one(student):
    state = torch.load(student / 'BERT.encoder.pkl', weights_only=True)
    layers = {name.split('.')[3] for name in state if name.startswith('bert.encoder.layer.')}
    assert layers == {'0', '1', '2'} and all(name.startswith('bert.') for name in state)


def test_from_another_working_directory(pipeline, tmp_path):
    """`python PeaKD/NLI_KD_training.py` from the folder above; --load_model relative to where the user stands."""
    workspace = pipeline[0]
    started = workspace.teacher_folder(12) / 'PTP.SPS_3layer.encoder.pkl'
    (tmp_path / 'mine.pkl').write_bytes(started.read_bytes())
    (tmp_path / 'PeaKD').symlink_to(ROOT)
    outcome = workspace.run(f'PeaKD/{TRAIN}', '--train_type', 'kd', '--student_hidden_layers', '3', '--num_train_epochs',
                            '0.5', '--load_model', 'mine.pkl', '--output_dir', 'here', cwd=tmp_path)
    assert outcome.code == 0, outcome.err
    assert weights_in(tmp_path / 'here') == pair('BERT')
    assert {path.name for path in tmp_path.iterdir()} == {'mine.pkl', 'PeaKD', 'here'}


def test_paths_edited_as_text_are_paths(tmp_path, monkeypatch):
    """A line of envs.py in a user's words, with ~ or relative to the repository; what lies below it follows."""
    monkeypatch.setenv('HOME', str(tmp_path))
    lines = (ROOT / 'envs.py').read_text().splitlines()
    edited = {'GLUE_FOLDER': '/data/glue', 'OUTPUTS_FOLDER': '~/out', 'CACHE_FOLDER': '~/../cache',
              'MODELS_FOLDER': 'mine/models'}
    monkeypatch.chdir('/')
    for name, value in edited.items():
        lines = [f'{name} = {value!r}' if line.startswith(f'{name} = ') else line for line in lines]
    (tmp_path / 'envs.py').write_text('\n'.join(lines))
    found = runpy.run_path(str(tmp_path / 'envs.py'))
    out = tmp_path / 'out'
    wanted = {'GLUE_FOLDER': Path('/data/glue'), 'OUTPUTS_FOLDER': out, 'STUDENT_FOLDER': out / 'PeaKD',
              'CACHE_FOLDER': tmp_path.parent / 'cache', 'MODELS_FOLDER': tmp_path / 'mine' / 'models',
              'SAMPLE_FOLDER': tmp_path / 'data' / 'data_raw' / 'sample'}
    assert {name: found[name] for name in wanted} == wanted
    monkeypatch.delenv('PEAKD_GLUE', raising=False)
    lines = [re.sub("(?<=^GLUE_FOLDER = ).*", "_root('PEAKD_GLUE', 'mine/glue')", line) for line in lines]
    (tmp_path / 'envs.py').write_text('\n'.join(lines))
    assert runpy.run_path(str(tmp_path / 'envs.py'))['GLUE_FOLDER'] == tmp_path / 'mine' / 'glue'
    monkeypatch.setenv('PEAKD_GLUE', 'of/the/shell')
    assert runpy.run_path(str(tmp_path / 'envs.py'))['GLUE_FOLDER'] == Path('/of/the/shell')


@pytest.mark.parametrize('counts, told', [
    ((90, 8, 1, 1), None), ((190, 8, 1, 1), 'an earlier teacher'), ((0, 49, 0, 11), 'take other thresholds')])
def test_a_rare_class_of_ptp_is_told_with_what_could_be_done(caplog, counts, told):
    """An earlier teacher helps where one is right and sure of all; where it is sure of nothing, it is the thresholds."""
    warn_of_rare_classes(dict(zip(PTP_CLASSES, counts, strict=True)))
    assert (told or '') in caplog.text and bool(caplog.text) == bool(told)
    assert ('earlier teacher' in caplog.text) == (told == 'an earlier teacher')


@pytest.mark.parametrize('flag', [(), ('--ptp_prior', 'True')])
def test_the_head_of_ptp_starts_at_nothing_or_at_the_frequencies_of_the_classes(taught, flag):
    """Of those learnt from, not of those held out; told at a rate at which nothing moves."""
    folder = taught.folder / 'prior'
    call = (PTP, *SMALL, '--learning_rate', 1e-12, '--num_train_epochs', 0.5, '--holdout', 0.3, '--ptp_threshold', 'median',
            '--output_dir', folder, '--PTP_seed', 1, *flag)
    assert "PTP's last state predicts the class of" in taught.succeed(*call).out
    counts = np.array([*read_json(only(folder.glob('PTP*/run.json')))['ptp_counts']['train'].values()])
    bias = read_state_dict(only(folder.glob('*.cls.pkl')))['classifier.bias'].double().numpy()
    again = taught.succeed(*call, '--resume').out
    assert 'has ended already' in again and 'predicts the class' not in again
    assert counts.sum() == 42 and len(set(counts)) > 1
    np.testing.assert_allclose(np.exp(bias), np.maximum(counts, 1) / np.maximum(counts, 1).sum() if flag else 1, rtol=1e-6)


@pytest.mark.parametrize('learnt, told', [
    (0.625, "PTP's last state predicts"), (0.5, 'warning: '), (0.25, 'warning: ')])
def test_what_ptp_has_learnt_is_told_beside_the_majority_class(caplog, learnt, told):
    """That of the rows that choose, which need not be that of those learnt from. Of a control nothing is expected."""
    counts = {name: dict(zip(PTP_CLASSES, of_classes, strict=True))
              for name, of_classes in (('train', (90, 8, 1, 1)), ('holdout', (2, 4, 1, 1)), ('dev', (0, 0, 0, 5)))}
    caplog.set_level('INFO')
    states = {'holdout_saved': {'acc': 1.0}, 'holdout_last': {'acc': learnt}, 'dev_saved': {'acc': 1.0}}
    tell_what_was_learnt({'ptp_counts': counts, **states})
    assert told in caplog.text and ('warning' in caplog.text) == ('warning' in told)
    assert f'the class of {100 * learnt:.1f} % of the rows of holdout, the majority class alone 50.0 %' in caplog.text
    caplog.clear()
    tell_what_was_learnt({'ptp_counts': counts, **states}, control=True)
    assert 'predicts the class' in caplog.text and 'warning' not in caplog.text


def test_readme_numbers_are_true():
    """The constants of save_teacher_outputs.py, the table of thresholds, and the lines the README gives for them."""
    lines = (ROOT / TEACHER).read_text(encoding='utf-8').splitlines()
    names = ['TASK', 'TEACHER_LAYERS', 'ALL_LAYERS', 'ENCODER_FILE', 'CLASSIFIER_FILE']
    assert [line.split(' =')[0] for line in lines[55:60]] == names
    source = (ROOT / 'src' / 'nli_data_processing.py').read_text(encoding='utf-8').splitlines()
    table = 1 + only(number for number, line in enumerate(source) if line.startswith('PTP_THRESHOLDS'))
    text = README.read_text(encoding='utf-8')
    assert re.search(r'save_teacher_outputs\.py`?, lines 56 to 60\b', text)
    named = re.findall(r'PTP_THRESHOLDS[^\n]*?\bline (\w+)', text)
    assert named and set(named) == {str(table)}


# Smaller runs, in this process

SMALL = ('--bert_model', 'tiny', '--teacher_hidden_layers', 2, '--precision', 'fp32')
FIT = (*SMALL, '--learning_rate', '1e-3')


@pytest.fixture(scope='module')
def taught(make_workspace):
    """A workspace with MRPC, STS-B and MNLI, a checkpoint of two layers, and MRPC's random teacher and its results."""
    workspace = make_workspace(2, ('MRPC', 'STS-B', 'MNLI'))
    workspace.add_teacher()
    workspace.succeed(TEACHER, *SMALL)
    return workspace


def trained(workspace, name, *flags, script=TRAIN):
    """run.json of a run in the folder `name`, with the folder under 'folder'."""
    folder = workspace.folder / name
    workspace.succeed(script, *FIT, '--output_dir', folder, *flags)
    logs = folder if script == TRAIN else only(path for path in folder.iterdir() if path.is_dir())
    return read_json(logs / 'run.json') | {'folder': folder}


def weights(record):
    return read_state_dict(record['folder'] / 'BERT.encoder.pkl')


def same(ours, theirs):
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_learns(taught):
    record = trained(taught, 'learns', '--train_seed', 1, '--num_train_epochs', 15, '--saving_criterion_acc', 0.6)
    assert record['dev_best']['acc'] > 0.9
    assert pair('BERT', '_acc') <= weights_in(record['folder'])


@pytest.mark.parametrize('script, model_type', [(TRAIN, 'SPS'), (TRAIN, 'SPS_no_shuffle'), (PTP, 'SPS')])
def test_sharing_stores_no_more_parameters(taught, script, model_type):
    plain, shared = (trained(taught, f'{script}{kind}', '--model_type', kind, '--num_train_epochs', 0.5, script=script)
                     for kind in ('Original', model_type))
    assert len(shared['passes']) == 2 * len(plain['passes'])
    assert plain['parameters'] == shared['parameters'] > 0


def test_default_folders_tell_students_apart(taught):
    """Another setting, another folder; the same one again, the same folder."""
    flags = ('--train_type', 'kd', '--num_train_epochs', 0.5, '--student_hidden_layers', 1)
    students = taught.outputs / 'PeaKD' / 'MRPC'
    for seed, alpha in ((1, 0.5), (1, 0.6), (2, 0.5), (1, 0.5)):
        taught.succeed(TRAIN, *FIT, *flags, '--train_seed', seed, '--alpha', alpha)
    assert len(list(students.iterdir())) == 3
    for folder in students.iterdir():
        assert weights_in(folder) == pair('BERT') and LOGS <= {path.name for path in folder.iterdir()}


def test_ptp_students_do_not_overwrite_each_other(taught):
    for model_type, layers in (('SPS', 1), ('SPS', 2), ('Original', 1)):
        taught.succeed(PTP, *FIT, '--model_type', model_type, '--student_hidden_layers', layers, '--num_train_epochs', 0.5,
                       '--saving_criterion_loss', 99, '--saving_criterion_acc', -1)
    for name in ('SPS_1layer', 'SPS_2layer', 'Original_1layer'):
        for criterion in ('', '_acc', '_loss'):
            assert pair(f'PTP.{name}', criterion) <= weights_in(taught.teacher_folder())
    assert pair('BERT') <= weights_in(taught.teacher_folder())


def test_best_states_of_an_earlier_run_do_not_survive(taught):
    first = trained(taught, 'stale', '--saving_criterion_acc', -1, '--saving_criterion_loss', 99, '--num_train_epochs', 1)
    assert weights_in(first['folder']) == pair('BERT') | pair('BERT', '_acc') | pair('BERT', '_loss')
    second = trained(taught, 'stale', '--num_train_epochs', 1)
    assert weights_in(second['folder']) == pair('BERT')


def test_same_seed_same_weights(taught):
    flags = ('--train_type', 'pkd', '--model_type', 'SPS', '--num_train_epochs', 1.5)
    one, again, two = (trained(taught, f'seed{number}', *flags, '--train_seed', seed)
                       for number, seed in enumerate((7, 7, 8)))
    assert same(weights(one), weights(again)) and one['dev_last'] == again['dev_last']
    assert not same(weights(one), weights(two))
    logs = [(record['folder'] / 'train_log.txt').read_text() for record in (one, again, two)]
    assert logs[0] == logs[1] != logs[2]


def test_drawn_seed_is_recorded_and_repeats_the_run(taught):
    drawn, other = (trained(taught, name, '--num_train_epochs', 0.5) for name in ('drawn', 'other'))
    assert drawn['seed'] != other['seed'] and drawn['arguments']['train_seed'] is None
    again = trained(taught, 'again', '--num_train_epochs', 0.5, '--train_seed', drawn['seed'])
    assert same(weights(drawn), weights(again))


@pytest.mark.parametrize('script, seed', [(TRAIN, '--train_seed'), (PTP, '--PTP_seed')])
def test_dropout_by_flag_is_dropout_by_configuration(taught, tmp_path, script, seed):
    other = taught.copy(tmp_path / 'workspace')
    path = other.models / 'tiny' / 'bert_config.json'
    path.write_text(json.dumps(read_json(path) | {'hidden_dropout_prob': 0.3, 'attention_probs_dropout_prob': 0.3}))
    flags = ('--num_train_epochs', 1, seed, 1)
    by_flag = trained(taught, 'by_flag', *flags, '--dropout', 0.3, script=script)
    by_configuration = trained(other, 'by_configuration', *flags, script=script)
    usual = trained(taught, 'usual', *flags, script=script)
    files = [next(record['folder'].glob('*.encoder.pkl')) for record in (by_flag, by_configuration, usual)]
    by_flag, by_configuration, usual = map(read_state_dict, files)
    assert same(by_flag, by_configuration) and not same(by_flag, usual)


def test_a_runs_model_has_the_dropout_that_it_was_trained_with(taught):
    record = trained(taught, 'no_dropout', '--num_train_epochs', 0.5, '--train_seed', 1, '--dropout', 0)
    config = load_run(record['folder']).model.config
    assert (config.hidden_dropout_prob, config.attention_probs_dropout_prob) == (0, 0)
    assert BertConfig.from_json_file(taught.models / 'tiny' / 'bert_config.json').hidden_dropout_prob == 0.1


def test_accumulation_gives_the_same_losses(make_workspace):
    """Without dropout, whose masks differ."""
    workspace = make_workspace(2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    logs = []
    for parts in (1, 4):
        record = trained(workspace, f'parts{parts}', '--gradient_accumulation_steps', parts, '--train_seed', 3,
                         '--learning_rate', '2e-5', '--num_train_epochs', 2)
        logs.append([float(row['loss']) for row in read_csv(record['folder'] / 'train_log.txt')])
    assert len(logs[0]) == 4 and len(set(logs[0])) == 4
    np.testing.assert_allclose(logs[1], logs[0], rtol=0, atol=1e-5)


def test_a_depth_that_a_fine_tuned_model_does_not_have_is_told(taught):
    """The flag names a teacher to learn from; for one that learns from labels it says nothing."""
    flags = (*SMALL[:2], *SMALL[4:], '--num_train_epochs', 0.5, '--output_dir', taught.folder / 'depth')
    told = 'warning: --teacher_hidden_layers 1 is not the depth of what --train_type ft trains here, 2 layers;'
    assert told in taught.succeed(TRAIN, *flags, '--teacher_hidden_layers', 1).out
    start = ('--load_model', taught.teacher_folder() / 'BERT.encoder.pkl')     # which the depth may be needed to find
    for others in (('--teacher_hidden_layers', 2), (), ('--teacher_hidden_layers', 1, *start)):
        assert 'is not the depth' not in taught.succeed(TRAIN, *flags, *others).out


def test_abbreviated_flags(taught):
    record = trained(taught, 'short', '--student_hidden_layer', 1, '--num_train', 0.5, '--train_b', 16, '--eval_b', 8)
    assert (record['layers'], record['steps'], record['arguments']['eval_batch_size']) == (1, 2, 8)


def test_kd_needs_no_more_than_logits(taught, tmp_path):
    """With the normal file alone kd gives what it gives with the patient one."""
    normal = taught.copy(tmp_path / 'workspace')
    normal.result_file().unlink()
    normal.succeed(TEACHER, *SMALL, '--all_layers', False)
    assert normal.result_file(kind='normal').is_file() and not normal.result_file().exists()
    flags = ('--train_type', 'kd', '--train_seed', 1, '--num_train_epochs', 1)
    records = [trained(workspace, 'kd', *flags) for workspace in (taught, normal)]
    assert same(*map(weights, records))
    row = read_csv(records[1]['folder'] / 'train_log.txt')[-1]
    total, kd, ce = (float(row[name]) for name in ('loss', 'kd_loss', 'ce_loss'))
    assert kd > 0 and float(row['AT_loss']) == 0 and total == pytest.approx(0.7 * kd + 0.3 * ce, rel=1e-4)
    normal.succeed(PTP, *FIT, '--num_train_epochs', 0.5)


def test_total_loss_of_pkd(taught):
    row = read_csv(trained(taught, 'pkd', '--train_type', 'pkd', '--model_type', 'SPS', '--alpha', 0.25, '--beta', 30,
                           '--num_train_epochs', 1)['folder'] / 'train_log.txt')[-1]
    total, kd, ce, patience = (float(row[name]) for name in ('loss', 'kd_loss', 'ce_loss', 'AT_loss'))
    assert patience > 0 and total == pytest.approx(0.25 * kd + 0.75 * ce + 30 * patience, rel=1e-4)


def test_another_wiring_with_one_flag(taught):
    record = trained(taught, 'wiring', '--passes', '1,2,1x,1', '--train_type', 'pkd', '--num_train_epochs', 0.5)
    assert record['passes'] == [[0, False], [1, False], [0, True], [0, False]]


def test_regression(taught):
    """STS-B: ft, results, kd and pkd; PTP has no meaning."""
    task = ('--task', 'STS-B')
    taught.succeed(TRAIN, *FIT, *task, '--num_train_epochs', 1)
    taught.succeed(TEACHER, *SMALL, *task)
    for train_type in ('kd', 'pkd'):
        record = trained(taught, f'stsb-{train_type}', *task, '--train_type', train_type, '--model_type', 'SPS',
                         '--student_hidden_layers', 1, '--num_train_epochs', 2)
        with open(record['folder'] / 'eval_log.txt', encoding='utf-8') as file:
            assert file.readline().startswith('epoch,pearson,spearmanr,corr,loss')
        rows = read_csv(record['folder'] / 'train_log.txt')
        assert {row['acc'] for row in rows} == {''} and all(float(row['kd_loss']) > 0 for row in rows)
        assert read_state_dict(record['folder'] / 'BERT.cls.pkl')['classifier.weight'].shape == (1, 32)
    outcome = taught.call(PTP, *FIT, *task)
    assert outcome.code == 2 and 'STS-B' in outcome.err and 'regression' in outcome.err


def test_three_classes(taught):
    """MNLI: ft, results, PTP, pkd from the PTP encoder named without its folder."""
    task = ('--task', 'mnli')
    taught.succeed(TRAIN, *FIT, *task, '--num_train_epochs', 1)
    taught.succeed(TEACHER, *SMALL, *task)
    results = TeacherOutputs.open(taught.result_file(2, 'MNLI')).split('train')
    assert results['pred_logit'].shape == (60, 3) and set(results['labels']) == {0, 1, 2}
    out = taught.succeed(PTP, *FIT, *task, '--model_type', 'SPS', '--student_hidden_layers', 1, '--num_train_epochs', 1).out
    assert 'PTP thresholds' in out
    started = read_state_dict(taught.teacher_folder(2, 'MNLI') / 'PTP.SPS_1layer.encoder.pkl')
    record = trained(taught, 'mnli', *task, '--train_type', 'pkd', '--model_type', 'SPS', '--student_hidden_layers', 1,
                     '--load_model', 'PTP.SPS_1layer.encoder.pkl', '--learning_rate', '1e-12', '--num_train_epochs', 1)
    name = 'encoder.layer.0.attention.self.query.weight'
    torch.testing.assert_close(weights(record)[name], started[name], rtol=0, atol=1e-8)
    assert read_state_dict(record['folder'] / 'BERT.cls.pkl')['classifier.weight'].shape == (3, 32)


def test_checkpoint_in_the_files_of_hf(taught):
    """config.json and model.safetensors with the same numbers start the same training."""
    write_checkpoint(taught.models / 'hf', 2, hf_names=True)
    assert {path.name for path in (taught.models / 'hf').iterdir()} == {'config.json', 'model.safetensors', 'vocab.txt'}
    flags = ('--train_seed', 1, '--num_train_epochs', 0.5)
    assert same(weights(trained(taught, 'old', *flags)), weights(trained(taught, 'hf', *flags, '--bert_model', 'hf')))


def test_cache_gives_the_same_tokens(taught):
    """A run that reads tokens from the cache learns from what one without it does; a damaged cache is made anew."""
    flags = ('--train_seed', 1, '--num_train_epochs', 0.5, '--max_seq_length', 24)
    records = [trained(taught, 'cold', *flags), trained(taught, 'warm', *flags)]
    for path in (taught.outputs / 'cache').iterdir():
        path.write_bytes(path.read_bytes()[:-9])
    records.append(trained(taught, 'damaged', *flags))
    assert same(weights(records[0]), weights(records[1])) and same(weights(records[0]), weights(records[2]))
