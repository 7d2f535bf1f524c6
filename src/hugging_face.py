"""Classifiers in the form of Hugging Face's BertForSequenceClassification: a folder of a configuration, weights and a
tokenizer. A run's model is written so, and anybody's is read as a teacher.

What needs care is which output stands for which label of a task: `id2label` in the configuration says it.
"""
import argparse
import json
import logging
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from BERT.pytorch_pretrained_bert import BertConfig
from BERT.pytorch_pretrained_bert.factored import whole_embeddings
from BERT.pytorch_pretrained_bert.file_utils import InputError, config_file, read_json_object, weights_file
from BERT.pytorch_pretrained_bert.weights import arrange_layers, load_weights, read_state_dict, stored_layers
from src.modeling import SequenceClassifier
from src.nli_data_processing import GlueTask
from src.saved_runs import SavedRun

logger = logging.getLogger(__name__)

ARCHITECTURE = 'BertForSequenceClassification'
HEAD = ('classifier.weight', 'classifier.bias')
SCORE = 'score'                 # what the one output of regression is called


# Out

def plain_bert(model: SequenceClassifier) -> tuple[BertConfig, dict[str, Tensor]]:
    """Configuration and state dict (HF's names) of the plain BERT that computes what a classifier does, whose layers may be
    shared and whose word embeddings may be factors: each pass is a layer of its own, and they are one matrix."""
    encoder = whole_embeddings(arrange_layers(model.encoder.bert.state_dict(), model.config.layer_passes()))
    state = {f'bert.{name}': tensor for name, tensor in encoder.items()} | model.classifier.state_dict()
    return model.config.unrolled(), {name: tensor.detach().cpu().float().clone() for name, tensor in state.items()}


def output_names(task: GlueTask) -> tuple[str, ...]:
    """What an exported classifier's outputs are called: the task's labels, in the hub's words where they are numbers."""
    return task.hub_words or task.labels or (SCORE,)


def hf_config(config: BertConfig, task: GlueTask, pad_id: int) -> dict:
    """What HF's config.json has of a plain classifier for a task."""
    labels = output_names(task)
    shape = {name: value for name, value in config.to_dict().items() if name not in ('passes', 'embedding_rank')}
    return {'architectures': [ARCHITECTURE], 'model_type': 'bert', **shape, 'pad_token_id': pad_id,
            'problem_type': 'single_label_classification' if task.labels else 'regression',
            'id2label': {str(number): label for number, label in enumerate(labels)},
            'label2id': {label: number for number, label in enumerate(labels)}}


def write_model(run: SavedRun, folder: Path) -> tuple[int, int]:
    """Write a run's model and tokenizer into a folder; returns how many layers and parameters the plain BERT there has."""
    config, state = plain_bert(run.model)
    values = hf_config(config, run.task, run.setup.tokenizer.pad_id)
    (folder / 'config.json').write_text(json.dumps(values, indent=2) + '\n', encoding='utf-8')
    # save_file tells a full disk without the system's words
    (folder / 'model.safetensors').write_bytes(safetensors.torch.save(state, {'format': 'pt'}))
    run.setup.tokenizer.save_pretrained(folder, run.args.max_seq_length)
    return config.num_hidden_layers, sum(tensor.numel() for tensor in state.values())


# In

def load_hf_teacher(args: argparse.Namespace, folder: Path, config: BertConfig,
                    task: GlueTask) -> tuple[SequenceClassifier, Path, str]:
    """The classifier in a folder that --teacher_model names, its outputs in the order of the task's labels; its file of
    weights; and what its outputs are, in its own order, in words.

    InputError where it is none, its labels are not the task's, or --teacher_labels does not fit."""
    path, source = config_file(folder), weights_file(folder)
    values = read_json_object(path, 'a BERT configuration')
    _check_kind(values, path)
    config.check_room(source)
    state = read_state_dict(source)
    head = {name: state.pop(name) for name in HEAD if name in state}
    shapes = [list(head[name].shape) for name in HEAD if name in head]
    if len(shapes) < 2 or len(shapes[0]) != 2 or shapes[1] != shapes[0][:1] \
            or stored_layers(state) != config.num_hidden_layers:
        raise InputError(f'--teacher_model {folder}: {source.name} has {stored_layers(state)} layers and a classifier of '
                         f'shape {" and ".join(map(str, shapes)) or "none"}: that is not the {ARCHITECTURE} of '
                         f'{config.num_hidden_layers} layers of {path.name}')
    words = output_words(values, path, len(head['classifier.weight']))
    order = output_order(args, folder, task, words)
    model = SequenceClassifier(config, task.num_labels)
    load_weights(model.encoder, state, source)
    load_weights(model.classifier, {name: tensor[torch.tensor(order)] for name, tensor in head.items()}, source)
    return model, source, ', '.join(args.teacher_labels or words)


def _check_kind(values: dict, path: Path) -> None:
    architectures, problem = values.get('architectures'), values.get('problem_type')
    if architectures and architectures != [ARCHITECTURE]:
        raise InputError(f'--teacher_model: {path} is of {str(architectures)[:80]}, expected a {ARCHITECTURE}')
    if problem == 'multi_label_classification':
        raise InputError(f'--teacher_model: {path}: its problem_type is {problem}, but a row of a task has one label')


def output_words(values: dict, path: Path, outputs: int) -> list[str]:
    """What a configuration calls its outputs, in their order: id2label, or, as HF does without, LABEL_0 and so on."""
    named = values.get('id2label') or {str(number): f'LABEL_{number}' for number in range(outputs)}
    numbers = [str(number) for number in range(outputs)]
    if not isinstance(named, dict) or sorted(named) != sorted(numbers):
        raise InputError(f'--teacher_model: {path}: id2label must name the outputs of the weights, 0 to {outputs - 1}, not '
                         f'{str(named)[:80]}')
    return [str(named[number]) for number in numbers]


def output_order(args: argparse.Namespace, folder: Path, task: GlueTask, words: list[str]) -> list[int]:
    """Of each label of a task, in its order, the number of a model's output; `words` are what these are called.

    --teacher_labels says it, else the words: the task's, in any case, or the hub's for them; LABEL_0 and so on where the
    task's own labels are numbers, which is warned of. InputError, with both lists, where none fits."""
    labels, given = list(task.labels or (SCORE,)), args.teacher_labels
    if len(words) != len(labels):
        raise _unmapped(folder, task, words, 'their numbers differ')
    if given:
        order = _order(labels, given) if task.labels else None
        if order is None:
            raise _unmapped(folder, task, words, f'--teacher_labels {",".join(given)} must name each label of the task once')
        return order
    if not task.labels:
        return [0]
    for known in (labels, task.hub_words):
        order = _order(list(known), words)
        if order is not None:
            return order
    numbered = _order([f'LABEL_{label}' for label in labels], words)
    if numbered is None or labels != [str(number) for number in range(len(labels))]:
        raise _unmapped(folder, task, words, 'where they mean the same, give these in the order of the outputs, as in '
                        f'--teacher_labels {",".join(labels)}')
    logger.warning('warning: --teacher_model %s: its outputs %s are taken for the labels %s of %s; where they are not, give '
                   '--teacher_labels', folder, ', '.join(words), ', '.join(labels), task.name)
    return numbered


def _order(labels: list[str], words: list[str]) -> list[int] | None:
    """Of each label its place among the words; None where these are not the same, or not all different, apart from case and
    - for _."""
    labels, words = ([word.strip().lower().replace('-', '_').replace(' ', '_') for word in each] for each in (labels, words))
    alike = sorted(labels) == sorted(words) and len(set(words)) == len(words)
    return [words.index(label) for label in labels] if alike else None


def _unmapped(folder: Path, task: GlueTask, words: list[str], problem: str) -> InputError:
    labels = ', '.join(task.labels) if task.labels else 'none: one output is a score'
    return InputError(f'--teacher_model {folder}: its outputs are {", ".join(words)[:200]}; the labels of {task.name} are '
                      f'{labels}; {problem}')
