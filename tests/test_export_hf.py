"""scripts/export_hf.py: what transformers loads of an export says what our model says, for every wiring, to 1e-5."""
import json
import os
import re
import shutil

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import ROOT, VOCABULARY, full_disk, rewired, write_checkpoint

os.environ.setdefault('HF_HUB_OFFLINE', '1')
import transformers
import yaml
from huggingface_hub import ModelCard
from transformers.models.bert.tokenization_bert_legacy import BertTokenizerLegacy

import envs
from BERT.pytorch_pretrained_bert.tokenization import load_vocab
from src.checkpoints import checkpoint_files, state_name
from src.modeling import parse_passes, wiring
from src.nli_data_processing import find_task, processors, task_folder
from src.saved_runs import load_run
from src.teacher_outputs import TeacherOutputs

TRAIN, SCRIPT = 'NLI_KD_training.py', 'scripts.export_hf'
MINILM, REAL_MRPC = envs.MODELS_FOLDER / 'minilm-l6', envs.GLUE_FOLDER / 'MRPC'
LIMIT = 48
FILES = {'config.json', 'model.safetensors', 'vocab.txt', 'tokenizer.json', 'tokenizer_config.json',
         'special_tokens_map.json', 'README.md'}
TASKS = {'MRPC': (TRAIN, '--student_hidden_layers', 2, '--model_type', 'SPS'), 'CoLA': (TRAIN, '--student_hidden_layers', 1),
         'STS-B': (TRAIN, '--student_hidden_layers', 1, '--model_type', 'SPS'),
         'MNLI': (TRAIN, '--student_hidden_layers', 2, '--passes', '2,1x,2', '--holdout', 0.2, '--embedding_rank', 5,
                  '--dropout', 0.2)}
WIRINGS = [(model_type, layers) for model_type in ('Original', 'SPS', 'SPS_no_shuffle') for layers in range(1, 7)]
WIRINGS += [('1,2,2x,1', 2), ('3x,1,3', 3), ('1x', 1)]


@pytest.fixture(scope='module')
def runs(make_workspace):
    """A workspace with a finished run of each task of TASKS, in the folder of its name."""
    workspace = make_workspace(6, tuple(TASKS))
    for task in TASKS:
        train(workspace, task)
    return workspace


def train(workspace, task):
    script, *flags = TASKS[task]
    workspace.succeed(script, '--bert_model', 'tiny', '--task', task, '--precision', 'fp32', '--max_seq_length', LIMIT,
                      '--num_train_epochs', 1, '--learning_rate', '1e-3', '--train_seed', 1, '--saving_criterion_acc=-1',
                      '--output_dir', workspace.folder / task, *flags)


def export(workspace, run, out, *flags):
    workspace.succeed(SCRIPT, workspace.folder / run, out, *flags)
    return out


def our_logits(workspace, run, split='dev'):
    with workspace.active():
        saved = load_run(workspace.folder / run)
        saved.setup.precision = 'fp32'
        return saved.logits(saved.tokens(saved.task, split))


def dev_texts(workspace, task):
    """The dev set's texts, as HF's tokenizers take them."""
    with workspace.active():
        examples = processors[task.lower()].get_dev_examples(task_folder(find_task(task)))
    first = [example.text_a for example in examples]
    return (first,) if examples[0].text_b is None else (first, [example.text_b for example in examples])


def hf_inputs(out, texts, batch=64):
    """(rows of a batch, its inputs) from an export's tokenizer, for texts by length: less padding."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    rows = sorted(range(len(texts[0])), key=lambda row: sum(len(part[row]) for part in texts))
    for some in (rows[start:start + batch] for start in range(0, len(rows), batch)):
        yield some, tokenizer(*([part[row] for row in some] for part in texts), truncation=True, padding=True,
                              return_tensors='pt')


def hf_logits(out, inputs):
    """Logits of all rows by an export's model."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(out).eval()
    logits = {}
    for rows, batch in inputs:
        with torch.no_grad():
            logits |= dict(zip(rows, model(**batch).logits.numpy(), strict=True))
    return np.stack([logits[row] for row in sorted(logits)])


@pytest.fixture(scope='module')
def mrpc(runs, tmp_path_factory):
    """The workspace with all of MRPC's real dev set, and the real vocabulary, where they are here."""
    workspace = runs.copy(tmp_path_factory.mktemp('mrpc'))
    if REAL_MRPC.is_dir():
        shutil.copy(REAL_MRPC / 'dev.tsv', workspace.glue / 'MRPC' / 'dev.tsv')
    shutil.rmtree(workspace.models / 'tiny')
    vocabulary = list(load_vocab(MINILM / 'vocab.txt')) if MINILM.is_dir() else VOCABULARY
    write_checkpoint(workspace.models / 'tiny', 6, 32, vocabulary=vocabulary)
    return workspace


@pytest.fixture(scope='module')
def mrpc_inputs(mrpc, tmp_path_factory):
    """The dev set as the tokenizer of all exports of `mrpc` gives it."""
    rewired(mrpc, 'Original', 1, 'tokenizer')
    out = export(mrpc, 'tokenizer', tmp_path_factory.mktemp('out') / 'tokenizer')
    return list(hf_inputs(out, dev_texts(mrpc, 'MRPC')))


@pytest.mark.parametrize('model_type, layers', WIRINGS)
def test_logits_of_every_wiring(mrpc, mrpc_inputs, tmp_path, model_type, layers):
    rewired(mrpc, model_type, layers, f'{model_type}{layers}')
    out = export(mrpc, f'{model_type}{layers}', tmp_path / 'out')
    ours, theirs = our_logits(mrpc, f'{model_type}{layers}'), hf_logits(out, mrpc_inputs)
    assert len(ours) == (408 if REAL_MRPC.is_dir() else 30) and ours.std(0).min() > 1e-2
    np.testing.assert_allclose(theirs, ours, atol=1e-5, rtol=0)
    passes = parse_passes(model_type) if model_type[0].isdigit() else wiring(model_type, layers)
    assert json.loads((out / 'config.json').read_text())['num_hidden_layers'] == len(passes or range(layers))


def test_wirings_differ(mrpc, tmp_path):
    """Otherwise the test above would not see a query taken for a key."""
    logits = [our_logits(mrpc, rewired(mrpc, kind, 3, f'differ{kind}').name)
              for kind in ('Original', 'SPS', 'SPS_no_shuffle')]
    assert np.abs(logits[0] - logits[1]).max() > 1e-2 and np.abs(logits[1] - logits[2]).max() > 1e-3


@pytest.mark.skipif(not (MINILM.is_dir() and REAL_MRPC.is_dir()), reason=f'{MINILM} or MRPC in PEAKD_GLUE is missing')
def test_logits_with_the_real_checkpoint(mrpc, tmp_path):
    (mrpc.models / 'minilm-l6').symlink_to(MINILM)
    rewired(mrpc, 'SPS', 3, 'real', 'minilm-l6')
    out = export(mrpc, 'real', tmp_path / 'out')
    ours, theirs = our_logits(mrpc, 'real'), hf_logits(out, hf_inputs(out, dev_texts(mrpc, 'MRPC')))
    assert len(ours) == 408 and ours.std(0).min() > 0.05
    np.testing.assert_allclose(theirs, ours, atol=1e-5, rtol=0)


@pytest.fixture(scope='module')
def exported(runs, tmp_path_factory):
    """Exports of the runs of all tasks."""
    folder = tmp_path_factory.mktemp('exported')
    return {task: export(runs, task, folder / f'my-{task}') for task in TASKS}


@pytest.mark.parametrize('task', TASKS)
def test_a_trained_run_of_each_kind_of_task(runs, exported, task):
    assert {path.name for path in exported[task].iterdir()} == FILES
    out = exported[task]
    ours, theirs = our_logits(runs, task), hf_logits(out, hf_inputs(out, dev_texts(runs, task)))
    assert ours.std(0).min() > 1e-3
    np.testing.assert_allclose(theirs, ours, atol=1e-5, rtol=0)


@pytest.mark.parametrize('task', TASKS)
def test_the_configuration(exported, task):
    found = json.loads((exported[task] / 'config.json').read_text())
    labels = {'MRPC': ('not_equivalent', 'equivalent'), 'CoLA': ('unacceptable', 'acceptable'), 'STS-B': ('score',)}.get(
        task, find_task(task).labels)
    assert found['architectures'] == ['BertForSequenceClassification'] and found['model_type'] == 'bert'
    assert found['id2label'] == {str(number): label for number, label in enumerate(labels)}
    assert found['label2id'] == {label: number for number, label in enumerate(labels)}
    loaded = transformers.AutoConfig.from_pretrained(exported[task])
    assert loaded.num_labels == len(labels) and 'passes' not in found
    assert loaded.problem_type == ('regression' if task == 'STS-B' else 'single_label_classification')
    if task == 'MNLI':
        assert loaded.id2label == {0: 'contradiction', 1: 'entailment', 2: 'neutral'}


@pytest.mark.parametrize('task', TASKS)
def test_pipeline(runs, exported, task):
    classifier = transformers.pipeline('text-classification', model=str(exported[task]))
    rows = [dict(zip(('text', 'text_pair'), texts, strict=False)) for texts in zip(*dev_texts(runs, task), strict=True)]
    logits, labels = our_logits(runs, task), find_task(task).hub_words or find_task(task).labels
    for answer, row in zip(classifier(rows, truncation=True), logits, strict=True):
        if labels is None:
            assert answer['score'] == pytest.approx(row[0], abs=1e-5)
            continue
        chances = np.exp(row - row.max()) / np.exp(row - row.max()).sum()
        assert answer['label'] == labels[row.argmax()]
        assert answer['score'] == pytest.approx(chances.max(), abs=1e-5)


# Tokenizers

def their_tokenizers(out):
    """Both kinds of AutoTokenizer (today's transformers has one under both names), and the slow one in Python."""
    return [transformers.AutoTokenizer.from_pretrained(out, use_fast=True),
            transformers.AutoTokenizer.from_pretrained(out, use_fast=False), BertTokenizerLegacy.from_pretrained(out)]


TEXTS = ['The dog SEES a ḿan .', 'today [SEP] here', '[CLS] the', 'x[MASK]y 中文', '', 'a' * 101]


@pytest.mark.parametrize('cased', [False, True])
def test_tokenizers_give_our_ids(runs, tmp_path, cased):
    workspace = runs.copy(tmp_path / 'workspace')
    (workspace.models / 'tiny' / 'tokenizer_config.json').write_text(json.dumps({'do_lower_case': not cased}))
    train(workspace, 'MRPC')
    out = export(workspace, 'MRPC', tmp_path / 'out')
    with workspace.active():
        ours = load_run(workspace.folder / 'MRPC').setup.tokenizer
        texts = [*TEXTS, *dev_texts(workspace, 'MRPC')[0]]
    assert ours.do_lower_case != cased
    for theirs in their_tokenizers(out):
        assert theirs.model_max_length == LIMIT
        for text, ids in zip(texts, ours.encode_texts(texts), strict=True):
            if '[' in text and not theirs.is_fast:      # it takes "[SEP]" in a text for the special word, whatever is set
                continue
            assert theirs(text)['input_ids'] == [ours.cls_id, *ids, ours.sep_id], (type(theirs), text)
        assert [theirs.pad_token_id, theirs.unk_token_id, theirs.cls_token_id, theirs.sep_token_id] == [
            ours.pad_id, ours.unk_id, ours.cls_id, ours.sep_id] and len(theirs) == len(ours)


def test_a_vocabulary_without_a_mask(runs, tmp_path):
    workspace = runs.copy(tmp_path / 'workspace')
    vocab = workspace.models / 'tiny' / 'vocab.txt'
    vocab.write_text(vocab.read_text().replace('[MASK]', 'maskless'))
    train(workspace, 'CoLA')
    for theirs in their_tokenizers(export(workspace, 'CoLA', tmp_path / 'out')):
        assert len(theirs) == len(VOCABULARY) and theirs('a dog [MASK]')['input_ids'][-1] == VOCABULARY.index('[SEP]')


@pytest.mark.parametrize('lengths', [(60, 9), (9, 60), (60, 60), (22, 22), (23, 60), (60, 22)])
def test_pairs_are_cut_as_ours_but_for_an_odd_token(runs, exported, lengths):
    """Of two texts that both need more than half the room, HF's fast tokenizers give the second the odd token, we the
    first."""
    first, second = (' '.join(['dog'] * length) for length in lengths)
    room = LIMIT - 3
    kept = [min(lengths[0], max(room - lengths[1], (room + 1) // 2)), min(lengths[1], max(room - lengths[0], room // 2))]
    for theirs in their_tokenizers(exported['MRPC']):
        segments = theirs(first, second, truncation=True)['token_type_ids']
        odd = theirs.is_fast and room // 2 < lengths[0] <= lengths[1]
        assert [segments.count(0) - 2, segments.count(1) - 1] == [kept[0] - odd, kept[1] + odd]


# The card

def test_the_card_is_what_the_hub_reads(runs, exported):
    for task, out in exported.items():
        card = ModelCard.load(out / 'README.md')
        record = json.loads((runs.folder / task / 'run.json').read_text())
        assert card.data.library_name == 'transformers' and card.data.pipeline_tag == 'text-classification'
        assert card.data.datasets == ['nyu-mll/glue'] and card.data.model_name == f'my-{task}'
        assert card.data.eval_results[0].dataset_config == {'STS-B': 'stsb'}.get(task, task.lower())
        ours = {'acc': 'accuracy', 'mcc': 'matthews_correlation', 'pearson': 'pearsonr'}
        for name, theirs in ours.items():
            if name in record['dev_saved']:
                found = [result.metric_value for result in card.data.eval_results if result.metric_type == theirs]
                assert found == [pytest.approx(record['dev_saved'][name], abs=5e-5)]


@pytest.mark.parametrize('task, words', [
    ('MRPC', ['run in 4 passes (1,2,1x,2x;', '2 stored layers', 'chosen by its score on dev', '| learning_rate | 0.001 |',
              '| seed | 1 |', 'the labels alone', 'labels not_equivalent (0), equivalent (1)', 'the wiring SPS of Pea-KD',
              '| model_type | SPS |']),
    ('CoLA', ['A BERT of 1 layers', '| wiring | 1 |', '| model_type | Original |']), ('STS-B', ['a score']),
    ('MNLI', ['2,1x,2', 'chosen by its score on holdout', '|  | holdout | dev |',
              'labels contradiction, entailment, neutral', 'a wiring of its own', '| embedding_rank | 5 |',
              '| dropout | 0.2 |', 'a product of two matrices, of rank 5'])])
def test_what_the_card_tells(runs, exported, task, words):
    text = (exported[task] / 'README.md').read_text()
    assert all(word in text for word in words), [word for word in words if word not in text]
    stored = json.loads((runs.folder / task / 'run.json').read_text())['parameters']
    there = sum(tensor.numel() for tensor in safetensors.torch.load_file(exported[task] / 'model.safetensors').values())
    assert f'| parameters as trained | {stored:,} |' in text and f'| parameters here | {there:,} |' in text
    assert (f'As it was trained it has {stored:,} parameters.' in text) == (stored != there) == (task != 'CoLA')
    assert ('student of' in text) == (task != 'CoLA') and ('model_type' in text) == (task != 'MNLI')
    assert 'alpha' not in text                                           # nor other settings without effect
    assert not [path for path in exported[task].iterdir() if str(runs.folder).encode() in path.read_bytes()]


@pytest.mark.parametrize('criterion, told', [
    ('_acc', 'was chosen by its score on dev, which flatters'), ('_loss', 'was chosen by its score on dev, which flatters'),
    ('', 'It is the state after the last step, {}.')])
def test_the_card_says_chosen_of_no_other_state(runs, tmp_path, criterion, told):
    """Of the last one, which is the best here too, only where it was saved as the best."""
    workspace = runs.copy(tmp_path / 'workspace')
    folder = workspace.folder / 'MRPC'
    record = json.loads((folder / 'run.json').read_text())
    assert record['dev_saved']['global_step'] == record['dev_last']['global_step'] == record['dev_best']['global_step']
    record['dev_last']['global_step'] += 1
    record['saved_states'] = {state_name(criterion): record['dev_saved']['global_step']}
    (folder / 'run.json').write_text(json.dumps(record))
    pair = [path.rename(tmp_path / path.name) for path in checkpoint_files(folder, 'BERT', '_acc')]
    for path in folder.glob('BERT.*.pkl'):
        path.unlink()
    for path, name in zip(pair, checkpoint_files(folder, 'BERT', criterion), strict=True):
        path.rename(name)
    text = (export(workspace, 'MRPC', tmp_path / 'out') / 'README.md').read_text()
    assert told.format(record['dev_last']['global_step']) in text and ('chosen' in text) == ('chosen' in told)


@pytest.mark.parametrize('change', [{'dev_also': []}, {'arguments': {'train_type': 'x'}}, {'teacher': 'x'},
                                    {'teacher': {'dev_acc': 'x'}}, {'arguments': {'load_model': 3}}])
def test_a_record_of_another_making_is_told(runs, tmp_path, change):
    workspace = runs.copy(tmp_path / 'workspace')
    path = workspace.folder / 'MRPC' / 'run.json'
    record = json.loads(path.read_text())
    for name, value in change.items():
        record[name] = record.get(name, {}) | value if isinstance(value, dict) else value
    path.write_text(json.dumps(record))
    outcome = workspace.call(SCRIPT, workspace.folder / 'MRPC', tmp_path / 'out')
    assert outcome.code == 2 and str(path) in outcome.err and not (tmp_path / 'out').exists()


@pytest.mark.parametrize('task', ['MRPC', 'CoLA'])
def test_the_code_of_the_card_runs(exported, task, monkeypatch, capsys):
    monkeypatch.chdir(exported[task].parent)
    code, = re.findall(r'```python\n(.*?)```', (exported[task] / 'README.md').read_text(), re.DOTALL)
    exec(code, {})
    assert "'label': " in capsys.readouterr().out


def test_a_distilled_student_tells_of_its_teacher(runs, tmp_path):
    workspace = runs.copy(tmp_path / 'workspace')
    workspace.add_teacher()
    flags = ('--bert_model', 'tiny', '--teacher_hidden_layers', 6, '--precision', 'fp32')
    workspace.succeed('save_teacher_outputs.py', *flags)
    workspace.succeed(TRAIN, *flags, '--train_type', 'pkd', '--model_type', 'SPS', '--student_hidden_layers', 1,
                      '--num_train_epochs', 0.5, '--train_seed', 1, '--output_dir', workspace.folder / 'student')
    teacher = TeacherOutputs.open(workspace.result_file(6))
    path = workspace.folder / 'student' / 'run.json'
    record = json.loads(path.read_text())
    assert record['teacher']['teacher'] == 'BERT.encoder.pkl' and record['teacher'] == teacher.about()
    text = (export(workspace, 'student', tmp_path / 'out') / 'README.md').read_text()
    accuracy = teacher.about()['dev_acc']
    for words in (f'| teacher | 6 layers, BERT.encoder.pkl, acc on dev {accuracy:.4f} |', '| alpha | 0.7 |',
                  f"| fingerprint of the teacher's result file | {teacher.fingerprint()} |", '| beta | 100.0 |',
                  'patient knowledge distillation'):
        assert words in text
    assert 'PTP' not in text
    record['arguments']['load_model'] = 'somewhere/PTP.SPS_1layer.encoder.pkl'
    record['teacher']['outputs'] = '1, 0'
    path.write_text(json.dumps(record))
    text = (export(workspace, 'student', tmp_path / 'of_ptp') / 'README.md').read_text()
    assert 'started from an encoder that PTP' in text and 'whose own outputs are 1, 0, acc' in text
    del record['teacher']                       # as an earlier version has written it
    path.write_text(json.dumps(record))
    assert '| teacher | 6 layers |' in (export(workspace, 'student', tmp_path / 'earlier') / 'README.md').read_text()


def test_front_matter_is_yaml_whatever_the_name(runs, tmp_path):
    out = export(runs, 'CoLA', tmp_path / "it's: \"mine\" é")
    front = (out / 'README.md').read_text(encoding='utf-8').split('---\n')[1]
    assert yaml.safe_load(front)['model-index'][0]['name'] == out.name


# Where it is written

def refused(workspace, *flags, names):
    outcome = workspace.call(SCRIPT, *flags)
    assert outcome.code == 2 and outcome.err.count('\n') == 1 and outcome.err.startswith('error: ')
    assert all(str(name) in outcome.err for name in names), outcome.err


def test_what_is_there_is_not_touched(runs, tmp_path):
    file, folder = tmp_path / 'file', tmp_path / 'folder'
    file.write_text('mine')
    folder.mkdir()
    (folder / 'notes').write_text('mine')
    refused(runs, runs.folder / 'MRPC', file, names=[file, 'is a file'])
    refused(runs, runs.folder / 'MRPC', folder, names=[folder, 'not empty', '--overwrite'])
    assert file.read_text() == 'mine' and [path.name for path in folder.iterdir()] == ['notes']
    (tmp_path / 'empty').mkdir()
    assert {path.name for path in export(runs, 'MRPC', tmp_path / 'empty').iterdir()} == FILES


def test_overwrite_replaces_an_export_and_nothing_else(runs, exported, tmp_path):
    out = shutil.copytree(exported['MNLI'], tmp_path / 'out')
    (out / 'notes').write_text('mine')
    export(runs, 'CoLA', out, '--overwrite')
    assert {path.name for path in out.iterdir()} == FILES | {'notes'} and (out / 'notes').read_text() == 'mine'
    for name in FILES - {'README.md'}:
        assert (out / name).read_bytes() == (exported['CoLA'] / name).read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {'out'}


@pytest.mark.parametrize('there', [False, True])
@pytest.mark.parametrize('file_bytes', [100, 1_000, 2_000, 120_000])
def test_whole_or_not_at_all(runs, exported, tmp_path, file_bytes, there):
    """On a full disk, which one file or another does not fit on."""
    if there:
        shutil.copytree(exported['MNLI'], tmp_path / 'out')
    with full_disk(file_bytes):
        refused(runs, runs.folder / 'MRPC', tmp_path / 'out', '--overwrite', names=[tmp_path / 'out', 'File too large'])
    assert [path.name for path in tmp_path.iterdir()] == ['out'] * there
    if there:
        assert all((tmp_path / 'out' / name).read_bytes() == (exported['MNLI'] / name).read_bytes() for name in FILES)


def test_folders_that_hold_no_finished_run(runs, tmp_path):
    refused(runs, tmp_path, tmp_path / 'out', names=[tmp_path, 'no finished run'])
    refused(runs, tmp_path / 'none', tmp_path / 'out', names=[tmp_path / 'none', 'no finished run'])
    folder = shutil.copytree(runs.folder / 'MRPC', tmp_path / 'damaged')
    record = json.loads((folder / 'run.json').read_text())
    record['parameters'] = 'many'
    (folder / 'run.json').write_text(json.dumps(record))
    refused(runs, folder, tmp_path / 'out', names=['run.json', 'parameters'])
    for path in folder.glob('BERT.*'):
        path.unlink()
    refused(runs, folder, tmp_path / 'out', names=[folder, 'BERT.encoder'])
    assert not (tmp_path / 'out').exists()


def test_the_script_needs_no_transformers(runs, tmp_path):
    """It runs where only requirements.txt is installed."""
    (tmp_path / 'hidden').mkdir()
    for name in ('transformers', 'huggingface_hub', 'yaml'):
        (tmp_path / 'hidden' / f'{name}.py').write_text('raise ImportError("hidden")')
    outcome = runs.run(ROOT / 'scripts' / 'export_hf.py', str(runs.folder / 'CoLA'), 'out', cwd=tmp_path,
                       PYTHONPATH=str(tmp_path / 'hidden'))
    assert outcome.code == 0, outcome.err
    assert {path.name for path in (tmp_path / 'out').iterdir()} == FILES and 'CoLA' in outcome.out
