"""Importing what the published code pickled: it becomes a result file of these rows, or is refused; and nothing runs."""
import pickle
import re

import numpy as np
import pytest
import torch
from conftest import ROOT

from BERT.pytorch_pretrained_bert import BertTokenizer
from BERT.pytorch_pretrained_bert.file_utils import InputError
from src.data_processing import SPLITS, load_split
from src.nli_data_processing import find_task
from src.published_results import read_published
from src.teacher_outputs import TeacherOutputs

SCRIPT = 'scripts.import_teacher_outputs'
FLAGS = ('--bert_model', 'tiny', '--teacher_hidden_layers', 3, '--max_seq_length', 20)


@pytest.fixture(scope='module')
def taught(make_workspace):
    """(workspace with the result file of a random teacher of 3 layers, its tokenised splits)."""
    workspace = make_workspace(3)
    workspace.add_teacher()
    workspace.succeed('save_teacher_outputs.py', *FLAGS, '--precision', 'fp32')
    with workspace.active():
        tokenizer = BertTokenizer.from_pretrained(workspace.models / 'tiny')
        splits = {name: load_split(find_task('MRPC'), name, tokenizer, 20) for name in SPLITS}
    return workspace, splits


@pytest.fixture
def outputs(taught):
    return TeacherOutputs.open(taught[0].result_file(3))


def padded(split):
    """input_ids, input_mask, segment_ids [N, 20] as the published code has them."""
    place = np.arange(20)
    mask = place < split.lengths[:, None]
    ids = np.zeros(mask.shape, np.int64)
    ids[mask] = split.input_ids
    segments = mask & (place >= split.first_lengths[:, None])
    return (torch.from_numpy(values.astype(np.int64)) for values in (ids, mask, segments))


def published(outputs, splits):
    """What Pea-KD's own script would have pickled of this teacher; of the test set it leaves everything None."""
    found = dict.fromkeys(f'{name}{part}' for name in SPLITS for part in ('', '_labels', '_pred_answers', '_input_ids'))
    for name in ('train', 'dev'):
        arrays = outputs.split(name)
        states = [arrays['feature_maps'][:, layer].astype(np.float32) for layer in range(3)]
        found[name] = {'loss': float(arrays['loss']), 'acc': arrays['acc'][()], 'pred_logit': arrays['pred_logit'].copy(),
                       'pooled_feature_maps': arrays['pooled_feature_maps'].astype(np.float32), 'feature_maps': states}
        found[f'{name}_labels'] = torch.from_numpy(arrays['labels'].copy())
        found[f'{name}_pred_answers'] = arrays['pred_answers'].copy()
        for part, values in zip(('input_ids', 'input_mask', 'segment_ids'), padded(splits[name]), strict=True):
            found[f'{name}_{part}'] = values
    return found


def write(path, results, protocol=4):
    path.write_bytes(pickle.dumps(results, protocol))
    return path


@pytest.mark.parametrize('protocol', range(6))
def test_becomes_the_file_that_this_version_writes(taught, outputs, tmp_path, protocol):
    workspace, splits = taught
    old = write(tmp_path / 'old.pkl', published(outputs, splits), protocol)
    out = workspace.succeed(SCRIPT, old, tmp_path / 'new.pkl', *FLAGS)
    assert 'token ids' not in out.out
    new = TeacherOutputs.open(tmp_path / 'new.pkl')
    assert set(new.arrays) == {name for name in outputs.arrays if not name.startswith('test')}
    for name, array in new.arrays.items():
        np.testing.assert_allclose(array, outputs.arrays[name], rtol=1e-6)
    for name in ('train', 'dev'):
        new.check(name, splits[name])
    workspace.succeed('NLI_KD_training.py', *FLAGS, '--precision', 'fp32', '--train_type', 'pkd', '--num_train_epochs', 0.2,
                      '--teacher_prediction', tmp_path / 'new.pkl', '--output_dir', tmp_path / 'run')


def test_goes_where_the_task_looks_for_it(taught, outputs, tmp_path):
    workspace = taught[0].copy(tmp_path / 'workspace')
    results = published(outputs, taught[1])
    for name in ('train', 'dev'):
        del results[name]['feature_maps'], results[f'{name}_input_ids']
    out = workspace.succeed(SCRIPT, write(tmp_path / 'old.pkl', results), *FLAGS).out
    assert 'train rows were compared by their number and labels alone' in out
    assert 'train.feature_maps' not in TeacherOutputs.open(workspace.result_file(3, kind='normal')).arrays


def test_a_file_of_train_alone(taught, outputs, tmp_path):
    results = published(outputs, taught[1])
    taught[0].succeed(SCRIPT, write(tmp_path / 'old.pkl', {name: value for name, value in results.items()
                                                           if name.startswith('train')}), tmp_path / 'new.pkl', *FLAGS)
    plot = ('scripts.plot_results', '--kind', 'confidence', tmp_path / 'new.pkl', '--output', tmp_path / 'a')
    taught[0].succeed(*plot)
    outcome = taught[0].call(*plot, '--split', 'dev')
    assert outcome.code == 2 and outcome.err == f'error: --split dev: {tmp_path / "new.pkl"} has no rows of it\n'


def test_other_ways_to_pickle_the_same(taught, outputs, tmp_path):
    """Columns first, big-endian numbers, one array for all layers, views of a tensor, parameters, tuples."""
    results = published(outputs, taught[1])
    train = results['train']
    train['pred_logit'] = np.asfortranarray(train['pred_logit'].astype('>f8'))
    train['feature_maps'] = np.stack(train['feature_maps'])
    results['dev']['feature_maps'] = tuple(results['dev']['feature_maps'])
    train['pooled_feature_maps'] = torch.nn.Parameter(torch.from_numpy(train['pooled_feature_maps']).T.contiguous().T)
    results['dev_labels'] = torch.cat([torch.zeros(3, dtype=torch.int64), results['dev_labels']])[3:]
    taught[0].succeed(SCRIPT, write(tmp_path / 'old.pkl', results), tmp_path / 'new.pkl', *FLAGS)
    new = TeacherOutputs.open(tmp_path / 'new.pkl')
    for name, array in new.arrays.items():
        np.testing.assert_allclose(array, outputs.arrays[name], rtol=1e-6)



def with_label(results):
    results['train_labels'][5] = 1 - results['train_labels'][5]


def with_token(results):
    results['dev_input_ids'][4, 1] += 1


def with_longer_row(results):
    results['dev_input_mask'][4] = 1


def with_answer(results):
    results['dev_pred_answers'][2] ^= True


def with_nan(results):
    results['train']['pred_logit'][3, 0] = np.nan


def without_labels(results):
    results['train_labels'] = None


def with_a_row_less(results):
    results['dev']['pred_logit'] = results['dev']['pred_logit'][1:]


def with_a_layer_less(results):
    results['train']['feature_maps'].pop()


def with_text_for_logits(results):
    results['train']['pred_logit'] = 'none'


def without_train(results):
    results['train'] = None


@pytest.mark.parametrize('change, words', [
    (with_label, '1 of 60 train_labels are others'), (with_token, '1 of 30 dev rows have other tokens, the first is row 4'),
    (with_longer_row, '1 of 30 dev rows have other tokens'), (with_answer, '1 of 30 dev_pred_answers'),
    (with_nan, 'not finite'), (without_labels, 'no train_labels'), (with_a_row_less, 'dev pred_logit is [29, 2]'),
    (with_a_layer_less, 'not of 3 layers; check --teacher_hidden_layers'), (with_text_for_logits, 'no table of numbers'),
    (without_train, 'has no train')])
def test_what_does_not_fit_is_refused(taught, outputs, tmp_path, change, words):
    results = published(outputs, taught[1])
    change(results)
    outcome = taught[0].call(SCRIPT, write(tmp_path / 'old.pkl', results), tmp_path / 'new.pkl', *FLAGS)
    line, = outcome.err.splitlines()
    assert outcome.code == 2 and words in line and str(tmp_path / 'old.pkl') in line
    assert not (tmp_path / 'new.pkl').exists()


@pytest.mark.parametrize('content', [[1], {'train': object}, {'train': np.array([print])}, {'train': np.array(['a'])},
                                     {'train': {1, 2}}, {(1, 2): 1}, {'train': np.zeros(2, 'f4,i4')}, 1 + 2j])
def test_other_pickles_are_refused(tmp_path, content):
    with pytest.raises(InputError, match=re.escape(str(tmp_path / 'old.pkl'))):
        read_published(write(tmp_path / 'old.pkl', content))


def test_a_file_of_this_version_need_not_be_imported(taught):
    workspace, _ = taught
    with pytest.raises(InputError, match='it is what save_teacher_outputs.py wrote'):
        read_published(workspace.result_file(3))


def test_every_cut_is_refused(tmp_path):
    whole = pickle.dumps({'a': np.arange(40.), 'b': torch.arange(9), 'c': [1, 'x', b'y', None, True, 2.5, 10**20]})
    path = tmp_path / 'old.pkl'
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError):
            read_published(path)
    path.write_bytes(whole)
    assert read_published(path)['c'] == [1, 'x', b'y', None, True, 2.5, 10**20]


def test_runs_as_a_script(tmp_path, workspace):
    outcome = workspace.run(ROOT / 'scripts' / 'import_teacher_outputs.py', tmp_path / 'none.pkl', '--bert_model', 'tiny')
    assert outcome.code == 2 and outcome.err == f'error: {tmp_path / "none.pkl"}: no such file\n'
