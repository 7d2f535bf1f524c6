"""--teacher_model: any BertForSequenceClassification teaches, its outputs in the task's order, its rows in its own words."""
import argparse
import json
import os
import shutil

import numpy as np
import pytest
import torch
from conftest import VOCABULARY, write_task

os.environ.setdefault('HF_HUB_OFFLINE', '1')
import transformers

from BERT.pytorch_pretrained_bert.file_utils import InputError
from src.hugging_face import output_order
from src.nli_data_processing import find_task, processors, task_folder
from src.teacher_outputs import TeacherOutputs

SCRIPT, TRAIN, PTP = 'save_teacher_outputs.py', 'NLI_KD_training.py', 'PTP.py'
SHAPE = {'hidden_size': 48, 'num_hidden_layers': 3, 'num_attention_heads': 2, 'intermediate_size': 80,
         'max_position_embeddings': 64, 'initializer_range': 0.2}
CASED = [*VOCABULARY, 'Today', 'The', '##s']
FLAGS = ('--max_seq_length', 40, '--precision', 'fp32')


def write_teacher(folder, words, vocabulary=VOCABULARY, cased=False, seed=0, **change):
    """A random classifier as transformers saves it, its outputs called `words`."""
    names = {'id2label': dict(enumerate(words)), 'label2id': {word: number for number, word in enumerate(words)}}
    config = transformers.BertConfig(vocab_size=len(vocabulary), **SHAPE | names | change)
    torch.manual_seed(seed)
    model = transformers.BertForSequenceClassification(config).eval()
    torch.nn.init.normal_(model.classifier.weight, std=0.3)
    model.save_pretrained(folder)
    transformers.BertTokenizer(vocab={token: number for number, token in enumerate(vocabulary)},
                               do_lower_case=not cased).save_pretrained(folder)
    return model


def their_logits(workspace, folder, task, split):
    """The folder's logits by transformers alone, in the order of its own outputs."""
    with workspace.active():
        examples = getattr(processors[task.lower()], f'get_{split}_examples')(task_folder(find_task(task)))
    texts = [[example.text_a for example in examples], [example.text_b for example in examples]]
    inputs = transformers.AutoTokenizer.from_pretrained(folder)(*texts[:1 + (texts[1][0] is not None)], padding=True,
                                                                return_tensors='pt')
    with torch.no_grad():
        return transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()(**inputs).logits.numpy()


@pytest.fixture(scope='module')
def space(make_workspace):
    workspace = make_workspace(2, ('MRPC', 'SST-2', 'MNLI', 'RTE', 'STS-B'))
    write_task(workspace.glue, 'MRPC', (40, 20, 10))
    for path in (workspace.glue / 'MRPC').iterdir():           # capitals, which cased words tell from others
        path.write_text(path.read_text().replace('today', 'Today').replace('the', 'The'))
    return workspace


def assert_taught(workspace, folder, task, order, path=None):
    """The result file has the model's logits, output order[i] for label i."""
    outputs = TeacherOutputs.open(path or workspace.result_file(3, task))
    for split in ('train', 'dev', 'test'):
        theirs, ours = their_logits(workspace, folder, task, split), outputs.split(split)['pred_logit']
        assert theirs.std(0).min() > 1e-2
        np.testing.assert_allclose(ours, theirs[:, order], atol=1e-5, rtol=0)
    return outputs


# (task, what the outputs are called, the output for each of the task's labels)
CALLED = {
    'as the task': ('MNLI', ['contradiction', 'entailment', 'neutral'], [0, 1, 2]),
    "the hub's MNLI": ('MNLI', ['ENTAILMENT', 'NEUTRAL', 'CONTRADICTION'], [2, 0, 1]),
    'other spelling': ('RTE', ['Not Entailment', 'entailment'], [1, 0]),
    'numbers': ('MRPC', ['1', '0'], [1, 0]), "the hub's words": ('SST-2', ['POSITIVE', 'NEGATIVE'], [1, 0]),
    'a score': ('STS-B', ['LABEL_0'], [0])}


@pytest.mark.parametrize('called', CALLED)
def test_outputs_come_in_the_order_of_the_labels(space, tmp_path, called):
    task, words, order = CALLED[called]
    write_teacher(tmp_path / 'teacher', words)
    outcome = space.succeed(SCRIPT, '--task', task, '--teacher_model', tmp_path / 'teacher', *FLAGS)
    outputs = assert_taught(space, tmp_path / 'teacher', task, order)
    assert outputs.metadata['teacher'] == 'teacher' and 'warning' not in outcome.out
    assert '--teacher_hidden_layers 3' in outcome.out


def test_a_bert_config_beside_does_not_hide_what_the_outputs_are(space, tmp_path):
    folder = tmp_path / 'teacher'
    write_teacher(folder, ['equivalent', 'not_equivalent'])
    plain = {name: value for name, value in json.loads((folder / 'config.json').read_text()).items() if name != 'id2label'}
    (folder / 'bert_config.json').write_text(json.dumps(plain))
    outcome = space.succeed(SCRIPT, '--task', 'MRPC', '--teacher_model', folder, *FLAGS)
    assert_taught(space, folder, 'MRPC', [1, 0])
    assert 'warning' not in outcome.out


def test_numbered_outputs_of_numbered_labels_are_taken_with_a_warning(space, tmp_path):
    write_teacher(tmp_path / 'teacher', ['LABEL_1', 'LABEL_0'])
    outcome = space.succeed(SCRIPT, '--task', 'SST-2', '--teacher_model', tmp_path / 'teacher', *FLAGS)
    assert_taught(space, tmp_path / 'teacher', 'SST-2', [1, 0])
    assert 'warning: --teacher_model' in outcome.out and '--teacher_labels' in outcome.out
    config = json.loads((tmp_path / 'teacher' / 'config.json').read_text())
    del config['id2label'], config['label2id']                # as transformers itself leaves them out
    (tmp_path / 'teacher' / 'config.json').write_text(json.dumps(config))
    outcome = space.succeed(SCRIPT, '--task', 'SST-2', '--teacher_model', tmp_path / 'teacher', *FLAGS)
    assert_taught(space, tmp_path / 'teacher', 'SST-2', [0, 1])
    assert 'LABEL_0, LABEL_1 are taken for the labels 0, 1 of SST-2' in outcome.out


def refused(workspace, *flags, names):
    before = workspace.tree()
    outcome = workspace.call(SCRIPT, *flags)
    assert outcome.code == 2 and outcome.err.count('\n') == 1 and outcome.err.startswith('error: '), outcome
    assert all(str(name) in outcome.err for name in names), outcome.err
    assert workspace.tree() == before


UNFIT = {'RTE': (['LABEL_0', 'LABEL_1'], ['entailment, not_entailment', '--teacher_labels entailment,not_entailment']),
         'MNLI': (['LABEL_0', 'LABEL_1', 'LABEL_2'], ['contradiction, entailment, neutral']),
         'SST-2': (['happy', 'sad'], ['happy, sad', 'labels of SST-2 are 0, 1']),
         'MRPC': (['0', '1', '2'], ['0, 1, 2', 'numbers differ']), 'STS-B': (['no', 'yes'], ['no, yes', 'one output'])}


@pytest.mark.parametrize('task', UNFIT)
def test_outputs_that_do_not_map_are_refused_with_both_lists(space, tmp_path, task):
    words, names = UNFIT[task]
    write_teacher(tmp_path / 'teacher', words)
    refused(space, '--task', task, '--teacher_model', tmp_path / 'teacher', *FLAGS, names=[', '.join(words), *names])


def test_teacher_labels(space, tmp_path):
    folder = tmp_path / 'teacher'
    write_teacher(folder, ['LABEL_0', 'LABEL_1', 'LABEL_2'])
    flags = ('--task', 'MNLI', '--teacher_model', folder, *FLAGS)
    space.succeed(SCRIPT, *flags, '--teacher_labels', 'entailment,neutral,contradiction')
    outputs = assert_taught(space, folder, 'MNLI', [2, 0, 1])
    assert outputs.metadata['outputs'] == 'entailment, neutral, contradiction'
    for labels in ('entailment,neutral', 'entailment,neutral,neutral', 'yes,no,maybe'):
        refused(space, *flags, '--teacher_labels', labels, names=[labels, 'contradiction, entailment, neutral'])
    outcome = space.call(SCRIPT, *flags, '--teacher_labels', 'neutral,entailment,contradiction', '--resume')
    assert outcome.code == 2 and 'outputs' in outcome.err          # that file has them in another order


@pytest.mark.parametrize('words', [['a', 'a'], ['0', '0'], ['0']])
def test_words_that_name_nothing_or_the_same_twice(tmp_path, words):
    with pytest.raises(InputError):
        output_order(argparse.Namespace(teacher_labels=None), tmp_path, find_task('MRPC'), words)


# What students learn from it

def test_students_with_its_words_learn_from_it_and_others_are_refused(space, tmp_path):
    folder = space.models / 'cased-teacher'
    write_teacher(folder, ['not_equivalent', 'equivalent'], CASED, cased=True)
    path = tmp_path / 'results.pkl'
    space.succeed(SCRIPT, '--teacher_model', 'cased-teacher', '--teacher_prediction', path, *FLAGS)      # by its name
    assert_taught(space, folder, 'MRPC', [0, 1], path)
    common = ('--teacher_prediction', path, '--num_train_epochs', 0.5, '--student_hidden_layers', 1, *FLAGS)
    for script, flags in ((TRAIN, ('--train_type', 'pkd', '--model_type', 'SPS')), (PTP, ('--model_type', 'SPS'))):
        space.succeed(script, *common, *flags, '--bert_model', 'cased-teacher', '--output_dir', tmp_path / script)
        outcome = space.call(script, *common, *flags, '--bert_model', 'tiny', '--output_dir', tmp_path / 'x')
        assert outcome.code == 2 and 'its tokenizer differ' in outcome.err


def test_old_weights_and_no_architectures(space, tmp_path):
    folder = tmp_path / 'teacher'
    model = write_teacher(folder, ['0', '1'])
    (folder / 'model.safetensors').unlink()
    torch.save(model.state_dict(), folder / 'pytorch_model.bin')
    config = json.loads((folder / 'config.json').read_text())
    del config['architectures']
    (folder / 'config.json').write_text(json.dumps(config))
    space.succeed(SCRIPT, '--teacher_model', folder, '--teacher_prediction', tmp_path / 'out.pkl', *FLAGS)
    outputs = TeacherOutputs.open(tmp_path / 'out.pkl')
    assert outputs.arrays['train.feature_maps'].shape == (40, 3, 48)
    model.save_pretrained(folder)
    assert_taught(space, folder, 'MRPC', [0, 1], tmp_path / 'out.pkl')


@pytest.mark.parametrize('task, order', [('MNLI', [0, 1, 2]), ('SST-2', [0, 1])])
def test_what_export_hf_writes_teaches(space, tmp_path, task, order):
    space.succeed(TRAIN, '--bert_model', 'tiny', '--task', task, '--num_train_epochs', 0.5, '--model_type', 'SPS',
                  '--output_dir', tmp_path / 'run', *FLAGS)
    space.succeed('scripts.export_hf', tmp_path / 'run', tmp_path / 'exported')
    outcome = space.succeed(SCRIPT, '--task', task, '--teacher_model', tmp_path / 'exported', '--teacher_hidden_layers', 4,
                            *FLAGS)
    assert_taught(space, tmp_path / 'exported', task, order, space.result_file(4, task))
    assert 'warning' not in outcome.out


# Folders that hold no such teacher, and flags that contradict each other

def edit(folder, **values):
    config = json.loads((folder / 'config.json').read_text()) | values
    (folder / 'config.json').write_text(json.dumps({name: value for name, value in config.items() if value is not None}))


WRONG = {
    'another head': ({'architectures': ['BertForTokenClassification']},
                     ['BertForTokenClassification', 'BertForSequenceClassification']),
    'another model': ({'model_type': 'distilbert'}, ["'distilbert'", 'config.json']),
    'relative positions': ({'position_embedding_type': 'relative_key'}, ['relative_key']),
    'several labels a row': ({'problem_type': 'multi_label_classification'}, ['multi_label_classification']),
    'fewer layers': ({'num_hidden_layers': 2}, ['has 3 layers', '2 layers']),
    'more layers': ({'num_hidden_layers': 4}, ['has 3 layers', '4 layers']),
    'another width': ({'hidden_size': 40}, ['48]', '40]']),
    'names for other outputs': ({'id2label': {'0': 'a', '1': 'b', '2': 'c'}}, ['id2label', '0 to 1']),
    'no object': ({'id2label': ['a', 'b']}, ['id2label'])}


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp('whole') / 'teacher'
    write_teacher(folder, ['0', '1'])
    return folder


@pytest.mark.parametrize('kind', WRONG)
def test_folders_of_something_else(space, whole, tmp_path, kind):
    folder = shutil.copytree(whole, tmp_path / 'teacher')
    values, names = WRONG[kind]
    edit(folder, **values)
    refused(space, '--teacher_model', folder, *FLAGS, names=names)


def test_no_classifier_and_no_folder(space, tmp_path):
    config = transformers.BertConfig(vocab_size=len(VOCABULARY), **SHAPE)
    transformers.BertModel(config).save_pretrained(tmp_path / 'bare')
    transformers.BertTokenizer(vocab={token: n for n, token in enumerate(VOCABULARY)}).save_pretrained(tmp_path / 'bare')
    refused(space, '--teacher_model', tmp_path / 'bare', *FLAGS, names=['BertModel', 'BertForSequenceClassification'])
    edit(tmp_path / 'bare', architectures=None)
    refused(space, '--teacher_model', tmp_path / 'bare', *FLAGS, names=['a classifier of shape none'])
    refused(space, '--teacher_model', 'nowhere', names=["--teacher_model 'nowhere'", space.models, 'tiny'])


def test_flags_that_contradict_each_other(space, whole):
    for name, value in (('bert_model', 'tiny'), ('encoder_checkpoint', 'x.pkl'), ('cls_checkpoint', 'x.pkl')):
        name_shown = {'encoder_checkpoint': 'load_model'}.get(name, name)
        refused(space, '--teacher_model', whole, f'--{name}', value, names=[f'--{name_shown}', '--teacher_model'])
    refused(space, '--teacher_labels', '0,1', names=['--teacher_labels', '--teacher_model'])
    refused(space, '--teacher_model', whole, '--teacher_hidden_layers', 12, *FLAGS, names=['12', 'has 3 layers'])
    refused(space, '--teacher_model', whole, names=['--max_seq_length 128', '64'])
