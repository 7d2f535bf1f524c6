"""What a user may get wrong: one clear line on standard error, exit code 2, and the outputs folder as it was."""
import json
import pickle
import re
import shutil

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import HEADERS, ROOT, VOCABULARY, write_checkpoint, write_task

from BERT.pytorch_pretrained_bert.file_utils import write_sums
from src.argument_parser import PTP, TEACHER, TRAIN

FLAGS = ('--bert_model', 'tiny', '--teacher_hidden_layers', '2', '--precision', 'fp32', '--num_train_epochs', '0.5')
TEACHER_FLAGS = FLAGS[:-2]
KD, PKD = ('--train_type', 'kd'), ('--train_type', 'pkd')


@pytest.fixture(scope='module')
def sound(make_workspace):
    """MRPC, a checkpoint of two layers, a teacher and its results, and a PTP student: all commands would work."""
    workspace = make_workspace(2)
    workspace.add_teacher()
    workspace.succeed(TEACHER, *TEACHER_FLAGS)
    workspace.succeed(PTP, *FLAGS)
    return workspace


@pytest.fixture
def spoilt(sound, tmp_path):
    """A copy of it, for a test to spoil."""
    return sound.copy(tmp_path / 'workspace')


def flags_of(script, flags):
    return *(TEACHER_FLAGS if script == TEACHER else FLAGS), *flags


def refused(workspace, script, *flags, names=()):
    """The message of a script that must refuse its input; `names`: what must stand in the message."""
    before = workspace.tree()
    outcome = workspace.call(script, *flags_of(script, flags))
    assert outcome.code == 2, f'exit code {outcome.code}: {outcome.out}{outcome.err}'
    lines = outcome.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith('error: '), outcome.err
    assert [name for name in names if str(name) not in lines[0]] == [], lines[0]
    assert not re.match(r'error: \[?Errno|error: \W*\w*Error\b', lines[0]), f'not in words for users: {lines[0]}'
    assert workspace.tree() == before
    return lines[0]


def test_nothing_is_wrong_before_it_is_spoilt(spoilt):
    for script, flags in ((TRAIN, ()), (TRAIN, KD), (TRAIN, PKD), (PTP, ()), (TEACHER, ())):
        spoilt.succeed(script, *flags_of(script, flags))


# Flags and layer lists


@pytest.mark.parametrize('script, flags, names', [
    (TRAIN, '--task Foo', ['--task', 'Foo', 'MRPC', 'STS-B']),
    (PTP, '--task Foo', ['--task', 'Foo', 'MRPC']),
    (TEACHER, '--task Foo', ['--task', 'Foo', 'MRPC']),
    (TRAIN, '--model_type Shared', ['--model_type', 'Shared', 'SPS_no_shuffle']),
    (TRAIN, '--train_type distil', ['--train_type', 'distil', 'pkd']),
    (TRAIN, '--no_such_flag', ['--no_such_flag']),
    (TRAIN, '--train_batch_size', ['--train_batch_size']),
    (TRAIN, '--max_seq_length 129', ['--max_seq_length', '129', '128']),
    (PTP, '--max_seq_length 129', ['--max_seq_length', '129', '128']),
    (TEACHER, '--max_seq_length 129', ['--max_seq_length', '129', '128']),
    (TRAIN, '--max_seq_length 3', ['--max_seq_length', '3', '4']),
    (TRAIN, '--task diagnostic', ['diagnostic', 'MNLI']),
    (PTP, '--task STS-B', ['--task', 'STS-B', 'regression']),
    (TRAIN, '--precision fp16', ['fp16', 'CUDA', '--precision bf16']),
    (TRAIN, '--precision auto --fp16 True', ['--fp16', '--precision']),
    (TRAIN, '--warmup_proportion 1', ['--warmup_proportion', '1']),
    (TRAIN, '--train_seed 99999999999999999999', ['--train_seed', '99999999999999999999']),
    (TRAIN, '--holdout 0.001', ['--holdout 0.001', 'give 0.0', 'class']),
    (PTP, '--holdout 0.999', ['--holdout 0.999', 'give 0.0', 'class']),
    # Layers
    (TRAIN, '--student_hidden_layers 3', ['--student_hidden_layers 3', '2 layers', 'tiny']),
    (TRAIN, '--layer_initialization 1,2,2', ['--layer_initialization', '3', '2']),
    (TRAIN, '--layer_initialization 1,5', ['--layer_initialization', '5', '2 layers']),
    (TRAIN, '--freeze_layer 3', ['--freeze_layer', '3', '2 layers']),
    (TRAIN, '--passes 1,2,3x', ['--passes', 'layer 3', '2 layers']),
    (TRAIN, '--train_type pkd --fc_layer_idx 0,1', ['--fc_layer_idx', '0,1', '2', '1 ']),
    (TRAIN, '--train_type pkd --fc_layer_idx 2', ['--fc_layer_idx', '2', '0 to 1']),
    (TRAIN, '--train_type pkd --fc_layer_idx=-1', ['--fc_layer_idx', '-1', '0 to 1']),
    (TRAIN, '--train_type pkd --model_type SPS --fc_layer_idx 0,1,1,1', ['--fc_layer_idx', '0,1,1,1', '4', '2 passes']),
    # Contradictions, all at once
    (TRAIN, '--alpha 0.5 --passes 1 --model_type SPS --fp16 True --train_batch_size 2 --gradient_accumulation_steps 3 '
            '--student_hidden_layers 1 --freeze_layer 2',
     ['--alpha', '--passes', '--fp16', '--gradient_accumulation_steps 3', '--freeze_layer 2']),
    (PTP, '--ptp_prior True --cls_checkpoint x.pkl', ['--ptp_prior True contradicts --cls_checkpoint x.pkl']),
    (PTP, '--train_type kd --ptp_threshold x --PTP_seed -1', ['--train_type kd', '--ptp_threshold', '--PTP_seed -1']),
])
def test_flags(sound, script, flags, names):
    refused(sound, script, *flags.split(), names=names)


@pytest.mark.parametrize('flag', ['--load_model', '--cls_checkpoint', '--teacher_prediction', '--output_dir',
                                  '--bert_model'])
def test_empty_value(sound, flag):
    """`--load_model "$FILE"` with FILE unset must not train from something else."""
    refused(sound, TRAIN, *KD, flag, '', names=[flag])


# Data


@pytest.mark.parametrize('script, file', [(TRAIN, 'train.tsv'), (TRAIN, 'dev.tsv'), (PTP, 'dev.tsv'), (TEACHER, 'test.tsv')])
def test_missing_data_file(spoilt, script, file):
    path = spoilt.glue / 'MRPC' / file
    path.unlink()
    refused(spoilt, script, names=[path, 'missing', 'PEAKD_GLUE', 'download_glue_data.py'])


def test_missing_and_empty_data_folder(spoilt):
    folder = spoilt.glue / 'RTE'
    for _ in range(2):
        refused(spoilt, TRAIN, '--task', 'rte', names=[folder, 'missing', 'PEAKD_GLUE'])
        folder.mkdir(exist_ok=True)


@pytest.mark.parametrize('content', ['', HEADERS['MRPC'] + '\n', '\n\n'])
def test_data_file_without_rows(spoilt, content):
    path = spoilt.glue / 'MRPC' / 'train.tsv'
    path.write_text(content)
    refused(spoilt, TRAIN, names=[path])


@pytest.mark.parametrize('row, expected', [
    (b'1\t700\t900\tonly one text', ['5 columns', 'found 4']),
    (b'2\t700\t900\ta\tb', ['label', '0, 1', "'2'"]),
    (b'\t700\t900\ta\tb', ['label', '0, 1']),
    (b'1\t700\t900\ta\xff\tb', ['UTF-8', '0xff']),
    (b'', ['5 columns', 'found 1']),
])
@pytest.mark.parametrize('file', ['train.tsv', 'dev.tsv'])
def test_bad_row(spoilt, file, row, expected):
    path = spoilt.glue / 'MRPC' / file
    lines = path.read_bytes().split(b'\n')
    lines[6] = row
    path.write_bytes(b'\n'.join(lines))
    refused(spoilt, TRAIN, names=[f'{path}, line 7:', *expected])


def test_bad_score_of_regression(spoilt):
    write_task(spoilt.glue, 'STS-B')
    path = spoilt.glue / 'STS-B' / 'train.tsv'
    lines = path.read_text().splitlines()
    lines[3] = lines[3].rpartition('\t')[0] + '\t5.5'
    path.write_text('\n'.join(lines))
    refused(spoilt, TRAIN, '--task', 'STS-B', names=[f'{path}, line 4:', '5.5', '0 to 5'])


# Checkpoints


def test_unknown_checkpoint_names_those_that_are_there(sound):
    refused(sound, TRAIN, '--bert_model', 'bert_large', names=['--bert_model', 'bert_large', sound.models, 'tiny', 'fetch'])


@pytest.mark.parametrize('name', ['bert_config.json', 'vocab.txt', 'pytorch_model.bin'])
@pytest.mark.parametrize('kind', ['missing', 'empty'])
def test_incomplete_checkpoint(spoilt, name, kind):
    path = spoilt.models / 'tiny' / name
    path.unlink() if kind == 'missing' else path.write_bytes(b'')
    refused(spoilt, TRAIN, names=[spoilt.models / 'tiny', name])


def test_empty_checkpoint_folder(spoilt):
    folder = spoilt.models / 'nothing'
    folder.mkdir()
    refused(spoilt, TRAIN, '--bert_model', folder, names=[folder, 'bert_config.json'])


class Runs:
    """What writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), 'w')


def test_weights_that_would_run_code(spoilt, tmp_path):
    path, marker = spoilt.models / 'tiny' / 'pytorch_model.bin', tmp_path / 'it ran'
    for write in (lambda: torch.save({'bert.pooler.dense.bias': Runs(marker)}, path),
                  lambda: path.write_bytes(pickle.dumps(Runs(marker)))):
        write()
        refused(spoilt, TRAIN, names=[path, 'not a file of weights'])
    assert not marker.exists()


@pytest.mark.parametrize('content', [b'\0' * 1000, np.random.default_rng(0).bytes(1000), b'PK\x03\x04 cut off', b'<html>'])
@pytest.mark.parametrize('name', ['pytorch_model.bin', 'model.safetensors'])
def test_weights_that_are_none(spoilt, content, name):
    path = spoilt.models / 'tiny' / name
    path.write_bytes(content)
    refused(spoilt, TRAIN, names=[path, 'not a file of weights'])


def test_weights_cut_off(spoilt):
    path = spoilt.models / 'tiny' / 'pytorch_model.bin'
    path.write_bytes(path.read_bytes()[:-5000])
    refused(spoilt, TRAIN, names=[path, 'not a file of weights'])


def test_weights_file_of_git_lfs(spoilt):
    path = spoilt.models / 'tiny' / 'pytorch_model.bin'
    path.write_text('version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 440473133\n')
    refused(spoilt, TRAIN, names=[path, 'Git LFS'])


@pytest.mark.parametrize('content', [[1, 2], torch.zeros(3), {'a': 'b'}])
def test_file_of_something_else(spoilt, tmp_path, content):
    torch.save(content, tmp_path / 'mine.pkl')
    refused(spoilt, TRAIN, '--load_model', tmp_path / 'mine.pkl', names=[tmp_path / 'mine.pkl', 'dictionary of tensors'])


@pytest.mark.parametrize('content, expected', [
    ('{', 'not a BERT configuration'), ('[1]', 'object'), ('{}', 'vocab_size'), ('{"vocab_size": "many"}', 'vocab_size'),
    ('{"vocab_size": 40, "hidden_size": 30, "num_attention_heads": 4}', 'hidden_size 30'),
    ('{"vocab_size": 40, "hidden_act": "tanh"}', 'tanh'), ('{"vocab_size": 40, "model_type": "roberta"}', 'roberta'),
])
def test_bad_configuration(spoilt, content, expected):
    path = spoilt.models / 'tiny' / 'bert_config.json'
    path.write_text(content)
    refused(spoilt, TRAIN, names=[path, expected])


@pytest.mark.parametrize('name, value', [('hidden_dropout_prob', '0.1'), ('hidden_dropout_prob', 1.5), ('passes', 3),
                                         ('attention_probs_dropout_prob', None), ('layer_norm_eps', 'small')])
def test_bad_value_in_configuration(spoilt, name, value):
    path = spoilt.models / 'tiny' / 'bert_config.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    refused(spoilt, TRAIN, names=[path])


def test_configuration_smaller_than_the_vocabulary(spoilt):
    path = spoilt.models / 'tiny' / 'bert_config.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | {'vocab_size': 10}))
    refused(spoilt, TRAIN, names=['vocab.txt', len(VOCABULARY), 10])


def test_vocabulary_without_special_tokens(spoilt):
    path = spoilt.models / 'tiny' / 'vocab.txt'
    path.write_text('\n'.join(VOCABULARY[2:]) + '\n')
    refused(spoilt, TRAIN, names=[path, '[PAD]', '[UNK]'])


@pytest.mark.parametrize('content', ['{', '[]', '', '\xff'])
def test_bad_tokenizer_configuration(spoilt, content):
    path = spoilt.models / 'tiny' / 'tokenizer_config.json'
    path.write_bytes(content.encode('latin-1'))
    refused(spoilt, TRAIN, names=[path])


@pytest.mark.parametrize('hf_names', [False, True])
def test_checkpoint_of_another_shape(spoilt, hf_names):
    """Configuration of one model, weights of another."""
    write_checkpoint(spoilt.models / 'wide', 2, hidden=48, hf_names=hf_names)
    name = 'config.json' if hf_names else 'bert_config.json'
    path = spoilt.models / 'wide' / name
    path.write_text(json.dumps(json.loads(path.read_text()) | {'hidden_size': 32, 'intermediate_size': 64}))
    refused(spoilt, TRAIN, '--bert_model', 'wide', names=[
        spoilt.models / 'wide', 'embeddings.word_embeddings.weight', f'[{len(VOCABULARY)}, 48]', f'[{len(VOCABULARY)}, 32]'])


def test_load_model_of_another_shape(spoilt):
    write_checkpoint(spoilt.models / 'wide', 2, hidden=48)
    path = spoilt.models / 'wide' / 'pytorch_model.bin'
    for script in (TRAIN, PTP):
        refused(spoilt, script, '--load_model', path, names=[path, 'embeddings.LayerNorm.weight', '[48]', '[32]'])


def test_checkpoint_without_a_tensor(spoilt):
    path = spoilt.models / 'tiny' / 'pytorch_model.bin'
    state = torch.load(path, weights_only=True)
    del state['bert.encoder.layer.1.output.dense.bias']
    torch.save(state, path)
    refused(spoilt, TRAIN, names=[path, 'missing', 'encoder.layer.1.output.dense.bias'])


def test_head_of_ptp_is_no_head_of_the_task(sound):
    refused(sound, TRAIN, '--cls_checkpoint', 'PTP.Original_2layer.cls.pkl',
            names=['PTP.Original_2layer.cls.pkl', 'classifier.weight', '[4, 32]', '[2, 32]'])


@pytest.mark.parametrize('script', [TRAIN, PTP, TEACHER])
def test_load_model_that_is_not_there(sound, script):
    refused(sound, script, '--load_model', 'none.pkl', '--cls_checkpoint', 'BERT.cls.pkl', names=[
        'none.pkl', ROOT / 'none.pkl', sound.teacher_folder() / 'none.pkl'])


def test_load_model_that_is_a_folder_or_empty(spoilt, tmp_path):
    refused(spoilt, TRAIN, '--load_model', tmp_path, names=['--load_model', tmp_path])
    (tmp_path / 'empty.pkl').touch()
    refused(spoilt, TRAIN, '--load_model', tmp_path / 'empty.pkl', names=['--load_model', 'empty.pkl', 'is empty'])


# Teachers


def test_teacher_that_is_not_there(spoilt):
    for path in spoilt.teacher_folder().glob('BERT.*'):
        path.unlink()
    assert 'other sizes' not in refused(spoilt, TEACHER, names=[spoilt.teacher_folder(), 'BERT.encoder'])


@pytest.mark.parametrize('script, flags', [(TEACHER, ()), (TRAIN, KD), (TRAIN, PKD), (PTP, ())])
def test_teachers_of_other_sizes_are_named_where_there_is_none(sound, script, flags):
    message = refused(sound, script, *flags, '--teacher_hidden_layers', 12)
    assert message.endswith('; there are teachers of other sizes: --teacher_hidden_layers 2')


def test_a_teacher_that_is_there_is_not_said_to_be_of_another_size(spoilt):
    shutil.copytree(spoilt.teacher_folder(), spoilt.teacher_folder(3))
    spoilt.result_file().unlink()
    assert 'other sizes' not in refused(spoilt, TRAIN, *KD)


def test_teacher_of_another_depth(sound):
    write = ('--encoder_checkpoint', sound.teacher_folder() / 'BERT.encoder.pkl')
    refused(sound, TEACHER, *write, '--teacher_hidden_layers', 1, names=['BERT.encoder.pkl', '--teacher_hidden_layers'])
    refused(sound, TEACHER, *write, '--teacher_hidden_layers', 3, names=['BERT.encoder.pkl', 'encoder.layer.2'])


@pytest.mark.parametrize('script, flags', [(TRAIN, KD), (TRAIN, PKD), (PTP, ())])
def test_results_that_are_not_there(spoilt, script, flags):
    spoilt.result_file().unlink()
    refused(spoilt, script, *flags, names=['--teacher_prediction', spoilt.result_file(), TEACHER])
    refused(spoilt, script, *flags, '--teacher_prediction', 'mine.pkl', names=['--teacher_prediction', 'mine.pkl'])


@pytest.mark.parametrize('content', [b'', b'\x80\x04}.', b'x' * 300, None])
@pytest.mark.parametrize('script, flags', [(TRAIN, KD), (PTP, ())])
def test_results_that_are_none(spoilt, script, flags, content):
    path = spoilt.result_file()
    path.write_bytes(path.read_bytes()[:-100] if content is None else content)
    refused(spoilt, script, *flags, names=['--teacher_prediction', path, TEACHER])


@pytest.mark.parametrize('script, flags', [(TRAIN, KD), (TRAIN, PKD), (PTP, ())])
def test_results_of_other_rows(spoilt, script, flags):
    path = spoilt.glue / 'MRPC' / 'train.tsv'
    lines = path.read_text().splitlines()
    for what, changed in (('order of rows', [lines[0], lines[2], lines[1], *lines[3:]]),
                          ('number of rows', lines[:-1]),
                          ('rows', [*lines[:-1], lines[-1] + ' today']),
                          ('labels', [*lines[:-1], str(1 - int(lines[-1][0])) + lines[-1][1:]])):
        path.write_text('\n'.join(changed) + '\n')
        refused(spoilt, script, *flags, names=[spoilt.result_file(), f'its {what} differ', 'train'])


def test_results_of_other_dev_rows(spoilt):
    write_task(spoilt.glue, 'MRPC', rows=(60, 31, 20))
    refused(spoilt, PTP, names=[spoilt.result_file(), 'number of rows differ', 'dev'])


def test_results_of_another_task_length_or_tokenizer(spoilt):
    write_task(spoilt.glue, 'MNLI')
    refused(spoilt, TRAIN, *KD, '--task', 'MNLI', '--teacher_prediction', spoilt.result_file(), names=['its task differ'])
    refused(spoilt, TRAIN, *KD, '--max_seq_length', 64, names=['its max_seq_length differ', '128', '64'])
    (spoilt.models / 'tiny' / 'tokenizer_config.json').write_text('{"do_lower_case": false}')
    refused(spoilt, PTP, names=['its tokenizer differ'])


def test_pkd_with_logits_alone(spoilt):
    spoilt.succeed(TEACHER, *TEACHER_FLAGS, '--all_layers', 'False')
    normal = spoilt.result_file(kind='normal')
    refused(spoilt, TRAIN, *PKD, '--teacher_prediction', normal, names=[normal, 'pkd', '--all_layers True'])


def test_pkd_of_another_width(spoilt):
    write_checkpoint(spoilt.models / 'wide', 2, hidden=48)
    refused(spoilt, TRAIN, *PKD, '--bert_model', 'wide', names=['32', '48', 'kd'])
    spoilt.succeed(TRAIN, *flags_of(TRAIN, KD), '--bert_model', 'wide')


# Where to write


@pytest.mark.parametrize('script', [TRAIN, PTP])
def test_output_folder_that_is_a_file(spoilt, script):
    path = spoilt.outputs / 'taken'
    path.write_text('mine')
    refused(spoilt, script, '--output_dir', path, names=['--output_dir', path])
    assert path.read_text() == 'mine'


def test_results_to_a_path_that_is_a_folder(spoilt):
    refused(spoilt, TEACHER, '--teacher_prediction', spoilt.outputs, names=['--teacher_prediction', spoilt.outputs])


# The scripts themselves


def test_true_processes(sound, spoilt):
    """Exit code, one line on standard error, nothing on disk, as a shell sees them."""
    path = spoilt.glue / 'MRPC' / 'train.tsv'
    path.write_text(path.read_text() + '1\t2\t3\n')
    for workspace, script, flags, expected in (
            (sound, TRAIN, ['--task', 'Foo'], "--task 'Foo'"),
            (spoilt, PTP, [], f'{path}, line 62: expected at least 5 columns'),
            (sound, TEACHER, ['--max_seq_length', '500'], '--max_seq_length 500: must lie from 4 to 128')):
        before = workspace.tree()
        outcome = workspace.run(script, *flags_of(script, flags))
        assert outcome.code == 2 and outcome.out == ''
        assert re.fullmatch(f'error: {re.escape(expected)}.*\n', outcome.err), outcome.err
        assert workspace.tree() == before


def test_traceback_where_it_is_asked_for(sound, monkeypatch):
    monkeypatch.setenv('PEAKD_DEBUG', '1')
    with pytest.raises(ValueError, match='Foo'):
        sound.call(TRAIN, '--task', 'Foo')


def test_a_fault_of_the_program_is_not_the_users(sound, monkeypatch):
    """What is no InputError keeps its traceback."""
    import NLI_KD_training as script
    monkeypatch.setattr(script, 'set_up', lambda args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        sound.call(TRAIN, *FLAGS)


def test_safetensors_checkpoint_with_a_wrong_tensor(spoilt):
    path = spoilt.models / 'tiny' / 'model.safetensors'
    state = torch.load(spoilt.models / 'tiny' / 'pytorch_model.bin', weights_only=True)
    name = 'bert.encoder.layer.0.attention.self.query.weight'
    safetensors.torch.save_file(state | {name: state[name][:16].clone()}, path)
    refused(spoilt, TRAIN, names=[path, 'encoder.layer.0.attention.self.query.weight', '[16, 32]', '[32, 32]'])


# What fuzzing found (tests/fuzz.py)


@pytest.mark.parametrize('passes', [[[0]], [0], ['ab'], [[0.5, True]], {'0': 1}, 3, [[9, False]], [[0, True]] * 3000])
def test_passes_that_are_none(spoilt, passes):
    path = spoilt.models / 'tiny' / 'bert_config.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | {'passes': passes}))
    refused(spoilt, TRAIN, names=[path, 'pass'])


@pytest.mark.parametrize('name, value', [('vocab_size', 10**12), ('hidden_size', 4 * 10**6), ('num_hidden_layers', 900),
                                         ('num_hidden_layers', 10**9), ('intermediate_size', 10**11),
                                         ('max_position_embeddings', 10**13)])
def test_configuration_of_a_giant(spoilt, name, value):
    """Refused before memory is taken for it: by the size of the weights, which cannot hold so many numbers."""
    path = spoilt.models / 'tiny' / 'bert_config.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    refused(spoilt, TRAIN, names=[spoilt.models / 'tiny'])
    if name != 'num_hidden_layers':       # for which a flag stands in
        refused(spoilt, TEACHER)


def test_layers_beyond_all_reason(sound):
    refused(sound, TRAIN, '--model_type', 'SPS', '--student_hidden_layers', 10**9, names=['--student_hidden_layers', '1000'])
    refused(sound, TRAIN, '--passes', '9' * 5000, names=['--passes'])


def test_a_value_that_argparse_reads_as_a_list(sound):
    refused(sound, TRAIN, '--saving_criterion_acc=--', names=['--saving_criterion_acc=--'])


def test_a_long_value_is_cut_in_the_message(sound):
    assert len(refused(sound, TRAIN, '--learning_rate', 'x' * 10**5, names=['--learning_rate', 'must be a number'])) < 2000


@pytest.mark.parametrize('content', ['{', '[]', '{"dev_saved": 1}', '{"dev_saved": {}, "arguments": 3}',
                                     '[' * 10**5, '\xff', '{"dev_saved": {"f1": "x"}, "task": "MRPC", "metric": "f1"}'])
def test_records_that_are_none(spoilt, content):
    folder = spoilt.outputs / 'PeaKD' / 'MRPC' / 'mine'
    folder.mkdir(parents=True)
    (folder / 'run.json').write_bytes(content.encode('latin-1'))
    before = spoilt.tree()
    for mode in ('evaluate', 'submit'):
        outcome = spoilt.call('run_glue_benchmark.py', '--mode', mode, '--runs', folder)
        assert outcome.code == 2 and str(folder) in outcome.err and len(outcome.err.splitlines()) == 1, outcome.err
    assert spoilt.tree() == before


RESULTS = 'task,method,base,layers,passes,parameters,seed,data,metric,dev_best_f1,seconds,sentences_a_second,error,run'
ROW = 'MRPC,pkd,pkd,2,2,9,1,abc,f1,0.5,1,1,,runs/x'


@pytest.mark.parametrize('old, new, words', [
    ('0.5', 'high', 'dev_best_f1'), ('pkd,2,', 'pkd,,', 'no layers'), (',f1,', ',f2,', 'score of their metric'),
    ('dev_best', 'best', 'no'), ('1,abc', 'inf,abc', 'seed'), (ROW, '', 'no row')])
def test_comparisons_that_are_none(spoilt, tmp_path, old, new, words):
    path = tmp_path / 'results.csv'
    path.write_text(f'{RESULTS}\n{ROW}\n')
    spoilt.succeed('run_glue_benchmark.py', '--mode', 'summary', '--results', path, '--output_dir', tmp_path)
    path.write_text(f'{RESULTS}\n{ROW}\n'.replace(old, new))
    outcome = spoilt.call('run_glue_benchmark.py', '--mode', 'summary', '--results', path, '--output_dir', tmp_path)
    assert outcome.code == 2 and words in outcome.err and len(outcome.err.splitlines()) == 1, outcome.err


def test_a_damaged_file_of_a_fetched_checkpoint(spoilt):
    folder = spoilt.models / 'tiny'
    write_sums(folder, ('vocab.txt', 'bert_config.json', 'pytorch_model.bin'))
    spoilt.succeed(TRAIN, *FLAGS)
    for name in ('vocab.txt', 'bert_config.json', 'pytorch_model.bin'):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[:-1])
        refused(spoilt, TRAIN, names=[folder / name, 'SHA256SUMS'])
        (folder / name).write_bytes(whole)


def test_a_changed_bit_in_saved_weights(spoilt):
    """torch.load would give other weights without a word."""
    path = spoilt.teacher_folder() / 'BERT.encoder.pkl'
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 4
    path.write_bytes(whole)
    assert torch.load(path, weights_only=True)
    refused(spoilt, TEACHER, names=[path, 'wrong checksum'])
