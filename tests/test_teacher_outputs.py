"""The teacher result file: it holds what the teacher says, is mapped and not read, and refuses other rows."""
import dataclasses
import json
import os
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.numpy
import torch
from conftest import VOCABULARY, write_task

from BERT.pytorch_pretrained_bert import BertTokenizer
from BERT.pytorch_pretrained_bert.file_utils import InputError
from src.data_processing import SPLITS, load_split, tokenize_examples
from src.earlier_runs import _warn_of_another_teacher
from src.nli_data_processing import InputExample, find_task
from src.teacher_outputs import TeacherOutputs, write_results

SCRIPT = 'save_teacher_outputs.py'
TRAIN = 'NLI_KD_training.py'
ROWS = {'train': 60, 'dev': 30, 'test': 20}
FLAGS = ('--bert_model', 'tiny', '--teacher_hidden_layers', 3, '--precision', 'fp32', '--max_seq_length', 20)


@pytest.fixture(scope='module')
def taught(make_workspace):
    """(workspace with a patient and a normal file of a random teacher of 3 layers, the teacher, its tokenised splits)."""
    workspace = make_workspace(3)
    model = workspace.add_teacher()
    for all_layers in (True, False):
        workspace.succeed(SCRIPT, *FLAGS, '--all_layers', all_layers, '--eval_batch_size', 7)
    tokenizer = BertTokenizer.from_pretrained(workspace.models / 'tiny')
    with workspace.active():
        splits = {name: load_split(find_task('MRPC'), name, tokenizer, 20) for name in SPLITS}
    return workspace, model, splits


@pytest.fixture(scope='module')
def outputs(taught):
    return TeacherOutputs.open(taught[0].result_file(3))


def direct(model, split, row):
    """(logits, pooled output, [CLS] states) of one row, by the padded interface of the model."""
    ids = split.input_ids[split.starts[row]:split.starts[row + 1]]
    segments = (np.arange(len(ids)) >= split.first_lengths[row]).astype(np.int64)
    with torch.no_grad():
        encoded, pooled = model.encoder(torch.from_numpy(ids.astype(np.int64))[None], torch.from_numpy(segments)[None])
        return (model.classifier(pooled)[0].numpy(), pooled[0].numpy(),
                np.stack([layer[0, 0].numpy() for layer in encoded]))


@pytest.mark.parametrize('name', SPLITS)
def test_holds_what_the_model_says(taught, outputs, name):
    _, model, splits = taught
    found = outputs.split(name)
    assert found['pred_logit'].shape == (ROWS[name], 2)
    assert found['pooled_feature_maps'].shape == (ROWS[name], 32)
    assert found['feature_maps'].shape == (ROWS[name], 3, 32)
    for row in range(ROWS[name]):
        logits, pooled, states = direct(model, splits[name], row)
        np.testing.assert_allclose(found['pred_logit'][row], logits, atol=1e-5)
        # fp16 keeps 11 bits
        np.testing.assert_allclose(found['pooled_feature_maps'][row], pooled, atol=1e-5, rtol=2**-10)
        np.testing.assert_allclose(found['feature_maps'][row], states, atol=1e-5, rtol=2**-10)


@pytest.mark.parametrize('name', ['train', 'dev'])
def test_labels_answers_loss_and_acc(taught, outputs, name):
    found = outputs.split(name)
    column = [line.split('\t')[0] for line in (taught[0].glue / 'MRPC' / f'{name}.tsv').read_text().splitlines()[1:]]
    labels = np.array(column, dtype=np.int64)
    logits = found['pred_logit'].astype(np.float64)
    np.testing.assert_array_equal(found['labels'], labels)
    right = logits.argmax(1) == labels
    assert 0 < right.mean() < 1                    # otherwise the next lines could not fail
    assert found['pred_answers'].dtype == bool
    np.testing.assert_array_equal(found['pred_answers'], right)
    assert found['acc'] == pytest.approx(right.mean())
    chosen = np.take_along_axis(logits, labels[:, None], 1)[:, 0]
    assert found['loss'] == pytest.approx((np.log(np.exp(logits).sum(1)) - chosen).mean(), rel=1e-5)


def test_test_set_has_no_labels(outputs):
    assert set(outputs.split('test')) == {'pred_logit', 'pooled_feature_maps', 'feature_maps'}


def test_names_in_the_file_are_those_documented(outputs):
    wanted = {f'{name}.{what}' for name in SPLITS for what in ('pred_logit', 'pooled_feature_maps', 'feature_maps')}
    wanted |= {f'{name}{what}' for name in ('train', 'dev') for what in ('.loss', '.acc', '_labels', '_pred_answers')}
    assert set(outputs.arrays) == wanted


def test_is_a_safetensors_container(taught, outputs):
    others = safetensors.numpy.load_file(taught[0].result_file(3))
    assert set(others) == {'crc32', *outputs.arrays, *(f'crc32 {name}' for name in outputs.arrays)}
    for name, array in ((name, others[name]) for name in outputs.arrays):
        assert array.dtype == outputs.arrays[name].dtype
        np.testing.assert_array_equal(array, outputs.arrays[name])


def test_is_mapped_not_read(taught, tmp_path):
    """What changes in the file after it was opened changes in the arrays."""
    path = tmp_path / 'copy.pkl'
    path.write_bytes(taught[0].result_file(3).read_bytes())
    opened = TeacherOutputs.open(path)
    for array in opened.arrays.values():
        assert not array.flags.owndata and not array.flags.writeable and array.flags.aligned
    logits = opened.arrays['dev.pred_logit']
    with open(path, 'rb+') as file:
        length = int.from_bytes(file.read(8), 'little')
        start = json.loads(file.read(length))['dev.pred_logit']['data_offsets'][0]
        file.seek(8 + length + start + logits[:3].nbytes)
        file.write(np.float32(1234.5).tobytes())
    assert logits[3, 0] == 1234.5
    before = logits.copy()
    opened.forget_pages()
    np.testing.assert_array_equal(logits, before)


def read_all(path):
    """Every number of a result file, as a run that uses all of them reads it."""
    opened = TeacherOutputs.open(path)
    return {name: opened.rows(name, np.arange(len(array))) if name.endswith('feature_maps') else array.copy()
            for name, array in opened.arrays.items()}, opened.metadata


@pytest.mark.parametrize('bytes_changed', [1, 5])
def test_a_changed_bit_anywhere_is_found(taught, tmp_path, bytes_changed):
    """Over the whole file, its header included: an error, or the same numbers."""
    path, good = tmp_path / 'results.pkl', taught[0].result_file(3).read_bytes()
    path.write_bytes(good)
    whole, metadata = read_all(path)
    rng, found = np.random.default_rng(bytes_changed), 0
    first = [*range(0, 8)] + rng.integers(len(good), size=400).tolist()
    for place in first:
        bad = bytearray(good)
        for _ in range(bytes_changed):
            bad[min(place + int(rng.integers(bytes_changed)), len(bad) - 1)] ^= 1 << int(rng.integers(8))
        path.write_bytes(bad)
        try:
            numbers, words = read_all(path)
        except InputError as error:
            assert str(path) in str(error) and '\n' not in str(error)
            found += 1
            continue
        assert words == metadata and numbers.keys() == whole.keys()
        assert all(np.array_equal(numbers[name], whole[name]) for name in whole)
    assert found > 0.9 * len(first)


def test_damaged_states_stop_training_before_they_are_used(taught, tmp_path):
    workspace = taught[0].copy(tmp_path / 'workspace')
    path = workspace.result_file(3)
    place = TeacherOutputs.open(path).arrays['train.feature_maps']
    good, row = path.read_bytes(), 7
    at = good.index(place[row].tobytes())
    path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1:])
    outcome = workspace.call('NLI_KD_training.py', *FLAGS, '--train_type', 'pkd', '--student_hidden_layers', 3,
                             '--num_train_epochs', 1)
    assert outcome.code == 2
    assert f'wrong checksum of row {row} of train.feature_maps' in outcome.err and 'Traceback' not in outcome.err
    workspace.succeed('NLI_KD_training.py', *FLAGS, '--train_type', 'kd', '--num_train_epochs', 0.1)      # reads no states


def test_files_of_the_version_without_checksums_are_refused(tmp_path):
    path = tmp_path / 'old.pkl'
    safetensors.numpy.save_file({'train.pred_logit': np.zeros((60, 2), np.float32)}, path,
                                {'format': 'peakd teacher results 1'})
    with pytest.raises(InputError, match=f'old.pkl is of an earlier version, without checksums.*{SCRIPT}'):
        TeacherOutputs.open(path)


def test_normal_file_has_logits_alone(taught, outputs):
    normal = TeacherOutputs.open(taught[0].result_file(3, kind='normal'))
    assert set(outputs.arrays) - set(normal.arrays) == {f'{name}.feature_maps' for name in SPLITS}
    for name, array in normal.arrays.items():
        np.testing.assert_allclose(array, outputs.arrays[name], rtol=1e-6)


def test_regression(make_workspace):
    workspace = make_workspace(2, ('STS-B',))
    workspace.add_teacher('STS-B')
    workspace.succeed(SCRIPT, '--task', 'sts-b', '--bert_model', 'tiny', '--teacher_hidden_layers', 2)
    found = TeacherOutputs.open(workspace.result_file(2, 'STS-B')).split('dev')
    assert found['pred_logit'].shape == (30, 1) and found['labels'].dtype == np.float32
    assert found['loss'] == pytest.approx(((found['pred_logit'][:, 0] - found['labels']) ** 2).mean(), rel=1e-5)


def test_own_rows_fit(taught, outputs):
    for name, split in taught[2].items():
        outputs.check(name, split)


def changed(split, **values):
    return dataclasses.replace(split, **values)


def reordered(split, order):
    parts = np.split(split.input_ids, split.starts[1:-1])
    return changed(split, input_ids=np.concatenate([parts[row] for row in order]), lengths=split.lengths[order],
                   first_lengths=split.first_lengths[order], labels=split.labels[order])


def with_other_token(split):
    ids = split.input_ids.copy()
    ids[1] = ids[1] + 1
    return changed(split, input_ids=ids)


def with_two_tokens_exchanged(split):
    """The same words in another order."""
    ids = split.input_ids.copy()
    place = next(place for place in range(1, 20) if ids[place] != ids[place + 1])
    ids[[place, place + 1]] = ids[[place + 1, place]]
    return changed(split, input_ids=ids)


def with_other_boundary(split):
    """One text begins a token later."""
    first = split.first_lengths.copy()
    first[0] += 1
    return changed(split, first_lengths=first)


SWAPPED = [1, 0, *range(2, 60)]


@pytest.mark.parametrize('other, word', [
    (lambda split: changed(split, task='RTE'), 'task'),
    (lambda split: changed(split, tokenizer='0' * 64), 'tokenizer'),
    (lambda split: changed(split, max_seq_length=64), 'max_seq_length'),
    (lambda split: reordered(split, np.arange(59)), 'number of rows'),
    (with_other_token, 'rows'), (with_two_tokens_exchanged, 'rows'), (with_other_boundary, 'rows'),
    (lambda split: reordered(split, np.array(SWAPPED)), 'order of rows'),
    (lambda split: changed(split, labels=1 - split.labels), 'labels'),
])
def test_refuses_what_it_was_not_made_from(taught, outputs, other, word):
    split = other(taught[2]['train'])
    with pytest.raises(InputError) as caught:
        outputs.check('train', split)
    message = str(caught.value)
    assert f'its {word} differ' in message and str(outputs.path) in message and 'train' in message
    assert SCRIPT in message and '\n' not in message


def test_train_rows_do_not_pass_for_dev_rows(taught, outputs):
    with pytest.raises(InputError, match='dev set'):
        outputs.check('dev', taught[2]['train'])


def test_another_vocabulary_is_another_tokenizer(taught, outputs, tmp_path):
    vocabulary = tmp_path / 'vocab.txt'
    vocabulary.write_text('\n'.join([*VOCABULARY, 'lantern']) + '\n')
    examples = [InputExample(str(row), 'a dog', 'a cat', '1') for row in range(60)]
    split = tokenize_examples(examples, BertTokenizer(vocabulary), find_task('MRPC'), 'train', 20)
    with pytest.raises(InputError, match='its tokenizer differ'):
        outputs.check('train', split)


class Runs:
    """What runs code when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def truncated(good, path):
    path.write_bytes(good[:-1])


def half(good, path):
    path.write_bytes(good[:len(good) // 2])


def header_alone(good, path):
    path.write_bytes(good[:60])


def with_more_at_the_end(good, path):
    path.write_bytes(good + b'0' * 8)


def random_bytes(good, path):
    path.write_bytes(np.random.default_rng(0).bytes(5000))


def empty(good, path):
    path.write_bytes(b'')


def a_pickle(good, path):
    path.write_bytes(pickle.dumps({'train': Runs(path.parent / 'it ran')}))


def a_torch_file(good, path):
    torch.save({'train': Runs(path.parent / 'it ran')}, path)


def other_safetensors(good, path):
    safetensors.numpy.save_file({'train.pred_logit': np.zeros((60, 2), np.float32)}, path)


@pytest.mark.parametrize('write', [truncated, half, header_alone, with_more_at_the_end, random_bytes, empty, a_pickle,
                                   a_torch_file, other_safetensors])
def test_refuses_what_is_no_result_file(taught, tmp_path, write):
    path = tmp_path / 'results.pkl'
    write(taught[0].result_file(3).read_bytes(), path)
    with pytest.raises(InputError) as caught:
        TeacherOutputs.open(path)
    assert str(path) in str(caught.value) and SCRIPT in str(caught.value) and '\n' not in str(caught.value)
    assert not (tmp_path / 'it ran').exists()


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=f'none.pkl is missing.*{SCRIPT}'):
        TeacherOutputs.open(tmp_path / 'none.pkl')


def test_what_breaks_off_leaves_the_old_file(taught, tmp_path):
    _, _, splits = taught
    path = tmp_path / 'results.pkl'
    path.write_bytes(b'the old file')

    def breaks_off():
        raise RuntimeError('no more')
        yield

    with pytest.raises(RuntimeError, match='no more'):
        write_results(path, splits, {name: breaks_off() for name in splits}, None, (2, 32, 3), True, {})
    assert path.read_bytes() == b'the old file'
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_written_where_there_is_no_pwrite(taught, tmp_path, monkeypatch):
    """Windows has none of these."""
    for name in ('pread', 'pwrite', 'fork', 'sched_getaffinity'):
        monkeypatch.delattr(os, name, raising=False)
    path = tmp_path / 'again.pkl'
    taught[0].succeed(SCRIPT, *FLAGS, '--eval_batch_size', 7, '--teacher_prediction', path)
    assert path.read_bytes() == taught[0].result_file(3).read_bytes()


def test_constants_and_flags_choose_the_files(taught, tmp_path, monkeypatch):
    """--encoder_checkpoint names a file of the teacher's folder, the classifier is its neighbour."""
    import save_teacher_outputs as script
    workspace = taught[0].copy(tmp_path / 'workspace')
    folder = workspace.teacher_folder(3)
    write_task(workspace.glue, 'RTE')
    workspace.add_teacher('RTE')
    with monkeypatch.context() as edited:
        for name, value in (('TASK', 'RTE'), ('TEACHER_LAYERS', 3), ('ALL_LAYERS', False)):
            edited.setattr(script, name, value)
        workspace.succeed(SCRIPT, '--bert_model', 'tiny')
    found = [path.name for path in (workspace.outputs / 'KD' / 'RTE').glob('*.pkl')]
    assert found == ['RTE_normal_kd_teacher_3layer_result_summary.pkl']
    assert 'BERT.encoder.pkl' in workspace.succeed(SCRIPT, *FLAGS).out
    for criterion in ('_loss', '_acc'):
        for part in ('encoder', 'cls'):
            (folder / f'BERT.{part}{criterion}.pkl').write_bytes((folder / f'BERT.{part}.pkl').read_bytes())
        out = workspace.succeed(SCRIPT, *FLAGS).out
        assert f'BERT.encoder{criterion}.pkl' in out and f'BERT.cls{criterion}.pkl' in out
    monkeypatch.setattr(script, 'ENCODER_FILE', 'BERT.encoder_loss.pkl')
    out = workspace.succeed(SCRIPT, *FLAGS).out
    assert 'BERT.encoder_loss.pkl' in out and 'BERT.cls_loss.pkl' in out
    out = workspace.succeed(SCRIPT, *FLAGS, '--encoder_checkpoint', 'BERT.encoder.pkl').out
    assert 'BERT.encoder.pkl' in out and 'BERT.cls.pkl' in out
    monkeypatch.setattr(script, 'CLASSIFIER_FILE', 'BERT.cls_loss.pkl')
    out = workspace.succeed(SCRIPT, *FLAGS, '--encoder_checkpoint', 'BERT.encoder_acc.pkl').out
    assert 'BERT.encoder_acc.pkl' in out and 'BERT.cls_acc.pkl' in out      # a flag's neighbour goes before a constant
    out = workspace.succeed(SCRIPT, *FLAGS, '--encoder_checkpoint', 'None').out
    assert 'BERT.encoder_acc.pkl' in out and 'BERT.cls_acc.pkl' in out
    monkeypatch.setenv('HOME', str(tmp_path))
    out = workspace.succeed(SCRIPT, *FLAGS, '--cls_checkpoint', folder / 'BERT.cls.pkl',
                            '--teacher_prediction', '~/elsewhere.pkl').out
    assert 'BERT.cls.pkl' in out and TeacherOutputs.open(tmp_path / 'elsewhere.pkl').split('dev')


def test_a_model_of_shared_layers_is_no_teacher(taught, tmp_path):
    """Its weights would load into a plain BERT, which computes something else."""
    workspace = taught[0].copy(tmp_path / 'workspace')
    workspace.succeed('NLI_KD_training.py', *FLAGS, '--model_type', 'SPS', '--student_hidden_layers', 3,
                      '--num_train_epochs', 0.1, '--train_seed', 1, '--output_dir', tmp_path / 'shared')
    outcome = workspace.call(SCRIPT, *FLAGS, '--encoder_checkpoint', tmp_path / 'shared' / 'BERT.encoder.pkl')
    assert outcome.code == 2 and 'shares layers (6 passes of them)' in outcome.err
    ptp = ('--model_type', 'SPS', '--student_hidden_layers', 3, '--num_train_epochs', 0.1, '--PTP_seed', 1)
    workspace.succeed('PTP.py', *FLAGS, *ptp, '--output_dir', tmp_path / 'ptp')
    outcome = workspace.call(SCRIPT, *FLAGS, '--encoder_checkpoint', tmp_path / 'ptp' / 'PTP.SPS_3layer.encoder.pkl',
                             '--cls_checkpoint', tmp_path / 'shared' / 'BERT.cls.pkl')
    assert outcome.code == 2 and 'shares layers (6 passes of them)' in outcome.err


def test_a_model_with_a_layer_that_never_runs_is_no_teacher(taught, tmp_path):
    workspace = taught[0].copy(tmp_path / 'workspace')
    workspace.succeed('NLI_KD_training.py', *FLAGS, '--passes', '1,2', '--num_train_epochs', 0.1, '--train_seed', 1,
                      '--student_hidden_layers', 3, '--output_dir', tmp_path / 'idle')
    outcome = workspace.call(SCRIPT, *FLAGS, '--encoder_checkpoint', tmp_path / 'idle' / 'BERT.encoder.pkl')
    assert outcome.code == 2 and 'runs 2 of its 3 layers' in outcome.err


def test_results_of_another_teacher_than_the_one_there_are_told_of(taught, tmp_path):
    workspace = taught[0].copy(tmp_path / 'workspace')
    workspace.succeed(SCRIPT, *FLAGS)
    ptp = ('PTP.py', *FLAGS, '--num_train_epochs', 0.1, '--student_hidden_layers', 1)
    assert 'another teacher' not in workspace.succeed(*ptp).out
    for path in workspace.teacher_folder(3).glob('BERT.encoder*.pkl'):
        path.unlink()
    workspace.add_teacher(seed=9)
    assert 'was made from another teacher than that in' in workspace.succeed(*ptp).out
    assert 'another teacher' not in workspace.succeed(*ptp, '--teacher_prediction', workspace.result_file(3)).out


def test_a_newer_file_of_other_weights_that_is_not_read_is_told(taught, tmp_path):
    """The file with the states goes before that without them, whichever is newer."""
    workspace = taught[0].copy(tmp_path / 'workspace')
    patient, normal = workspace.result_file(3), workspace.result_file(3, kind='normal')
    brief = (*FLAGS, '--num_train_epochs', 0.1, '--student_hidden_layers', 1)
    scripts = (('PTP.py', *brief), (TRAIN, *brief, '--train_type', 'kd'))

    def told():
        outs = [workspace.succeed(*script).out for script in scripts]
        assert all(f"the teacher's outputs: {patient}" in out for out in outs)
        return [f'{normal.name}, which is newer, was made from other weights' in out for out in outs]

    os.utime(patient, (1, 1))
    assert told() == [False, False]                                       # the same weights
    for path in workspace.teacher_folder(3).glob('BERT.encoder*.pkl'):
        path.unlink()
    workspace.add_teacher(seed=9)
    workspace.succeed(SCRIPT, *FLAGS, '--all_layers', False)
    assert told() == [True, True]
    content = normal.read_bytes()
    normal.write_bytes(b'damaged')
    assert told() == [False, False]
    normal.write_bytes(content)
    os.utime(normal, (0, 0))
    assert told() == [False, False]
    patient.unlink()
    assert f"the teacher's outputs: {normal}" in workspace.succeed(*scripts[0]).out


def test_a_file_of_the_tasks_folder_is_found_by_its_place_in_it(taught, tmp_path):
    workspace = taught[0].copy(tmp_path / 'workspace')
    out = workspace.succeed(SCRIPT, *FLAGS, '--encoder_checkpoint', 'teacher_3layer/BERT.encoder.pkl').out
    assert str(workspace.teacher_folder(3) / 'BERT.cls.pkl') in out
    assert out.count('saved in') == 1


def test_a_teacher_of_another_task_and_one_that_is_not_done_are_told(taught, tmp_path):
    """The labels 0 and 1 are those of many tasks. A student of such an encoder is told of it too."""
    workspace = taught[0].copy(tmp_path / 'workspace')
    folder = workspace.teacher_folder(3)
    write_task(workspace.glue, 'RTE')
    write_task(workspace.glue, 'QNLI')
    quick = (*FLAGS, '--num_train_epochs', 0.1, '--train_seed', 1)
    workspace.succeed(TRAIN, *quick, '--task', 'RTE', '--output_dir', tmp_path / 'rte')
    encoder = tmp_path / 'rte' / 'BERT.encoder.pkl'
    out = workspace.succeed(SCRIPT, *FLAGS, '--task', 'QNLI', '--load_model', encoder).out
    assert f'warning: the model in {encoder.parent} was trained on RTE; here it predicts QNLI' in out
    assert 'warning' not in workspace.succeed(SCRIPT, *FLAGS, '--task', 'RTE', '--load_model', encoder).out
    assert 'run.json' not in workspace.succeed(SCRIPT, *FLAGS).out          # weights alone tell nothing
    for file in ('training_state.pt', 'train_log.txt'):
        (folder / file).write_bytes(b'')
        out = workspace.succeed(SCRIPT, *FLAGS).out
        assert f'warning: there is no run.json in {folder}' in out
        out = workspace.succeed(TRAIN, *quick, '--load_model', 'BERT.encoder.pkl', '--output_dir', tmp_path / file).out
        assert f'warning: there is no run.json in {folder}' in out
        (folder / file).unlink()


def test_missing_files_are_told_together_before_anything_is_loaded(taught, tmp_path):
    workspace = taught[0].copy(tmp_path / 'workspace')
    for name in ('dev.tsv', 'test.tsv'):
        (workspace.glue / 'MRPC' / name).unlink()
    outcome = workspace.call(SCRIPT, *FLAGS)
    assert outcome.code == 2 and 'dev.tsv is missing' in outcome.err and 'test.tsv is missing' in outcome.err
    assert 'teacher:' not in outcome.out


@pytest.mark.parametrize('made_from, told', [
    ({}, False), ({'encoder_sha256': 'a b c'}, False), ({'encoder_sha256': 'a'}, True)])
def test_files_that_tell_of_no_encoder_or_of_several_are_not_suspected(tmp_path, caplog, made_from, told):
    (tmp_path / 'BERT.encoder.pkl').write_bytes(b'weights')
    _warn_of_another_teacher(tmp_path, tmp_path / 'results.pkl', SimpleNamespace(metadata=made_from))
    assert ('made from another teacher' in caplog.text) == told


@pytest.mark.parametrize('name', ['BERT', 'PTP.Original_3layer'])
def test_weights_of_another_tokenizer_are_refused(taught, tmp_path, name):
    """A teacher's record lies beside its weights, that of PTP.py in a folder of the encoder's name."""
    workspace = taught[0].copy(tmp_path / 'workspace')
    folder = workspace.teacher_folder(3)
    encoder = folder / f'{name}.encoder.pkl'
    encoder.write_bytes((folder / 'BERT.encoder.pkl').read_bytes())
    record = folder / name / 'run.json' if name.startswith('PTP') else folder / 'run.json'
    record.parent.mkdir(exist_ok=True)
    own = BertTokenizer.from_pretrained(workspace.models / 'tiny').fingerprint
    start = ('NLI_KD_training.py', *FLAGS, '--load_model', encoder, '--num_train_epochs', 0.1, '--train_seed', 1)
    told = f'{encoder}: by {record} it was trained with another tokenizer (fingerprint ffffffffffff)'
    records = [({}, ''), ({'checkpoint': {}}, ''), ({'checkpoint': {'tokenizer': own}}, ''),      # {}: of earlier versions
               ({'checkpoint': {'tokenizer': 'f' * 64}}, told), ({'checkpoint': 3}, 'checkpoint must be an object')]
    for of_then, words in records:
        for call in [start] if name.startswith('PTP') else [start, (SCRIPT, *FLAGS)]:
            record.write_text(json.dumps(of_then))
            outcome = workspace.call(*call)
            assert outcome.code == (2 if words else 0) and words in outcome.err, outcome.err
            assert 'never run' not in outcome.out
