"""The README.md of an exported model: what the hub reads of it (YAML), and what people should know, from run.json."""
import json
from pathlib import Path
from types import NoneType
from typing import Any

from BERT.pytorch_pretrained_bert import BertConfig
from BERT.pytorch_pretrained_bert.file_utils import InputError
from src.argument_parser import FLAGS
from src.checkpoints import made_by_ptp
from src.hugging_face import output_names
from src.modeling import MODEL_TYPES, wiring, wiring_words
from src.nli_data_processing import GlueTask
from src.run_log import RECORD, chosen_by
from src.saved_runs import SavedRun, check_kinds

LEARNT_FROM = {'ft': 'the labels alone (fine-tuning)', 'kd': "the labels and a teacher's logits (knowledge distillation)",
               'pkd': "the labels, a teacher's logits and its [CLS] states (patient knowledge distillation)"}
# What is told of a teacher: of a record's `teacher`, what a result file says; earlier versions' records have none
TEACHER = {'teacher': str, 'outputs': str, 'dev_acc': (int, float)}
# Our metrics that the hub has a name for
HUB_METRICS = {'acc': 'accuracy', 'f1': 'f1', 'mcc': 'matthews_correlation', 'pearson': 'pearsonr', 'spearmanr': 'spearmanr'}
# Settings that the card tells: arguments of the run that are not None
SETTINGS = ('model_type', 'num_train_epochs', 'train_batch_size', 'learning_rate', 'warmup_proportion', 'dropout',
            'max_seq_length', 'alpha', 'T', 'beta', 'normalize_patience', 'fc_layer_idx', 'layer_initialization',
            'freeze_layer', 'holdout', 'fold')


def model_card(run: SavedRun, name: str, layers: int, parameters: int) -> str:
    """The card of a run's model that is exported under a name as a plain BERT of so many layers and parameters.

    InputError where run.json lacks what it tells."""
    chooser = chosen_by(run.record)
    also = {'dev_also': dict} if 'dev_also' in run.record else {}
    if 'teacher' in run.record:
        check_kinds(run.folder, run.record, {'teacher': dict})
        also |= {f'teacher.{key}': TEACHER[key] for key in TEACHER if key in run.record['teacher']}
    check_kinds(run.folder, run.record, {
        'parameters': int, 'seed': int, 'inputs': dict, 'versions': dict, 'arguments.train_type': str, **also,
        'arguments.load_model': (str, NoneType), 'arguments.teacher_hidden_layers': int,
        f'{chooser}_{"saved" if run.was_chosen else "last"}.global_step': int,
        **{f'{scores}.{key}': (int, float) for scores in (f'{chooser}_saved', 'dev_saved')
           for key in run.record['dev_saved']}})
    if run.args.train_type not in LEARNT_FROM:
        raise InputError(f'{run.folder / RECORD}: train_type {run.args.train_type!r} must be one of '
                         f'{", ".join(LEARNT_FROM)}')
    parts = [_front_matter(run, name), f'# {name}', _summary(run, layers, parameters), '## Scores', _scores(run),
             '## Use', _usage(run.task, name, run.args.max_seq_length), '## How it was made', _settings(run, parameters)]
    return '\n\n'.join(parts) + '\n'


def _front_matter(run: SavedRun, name: str) -> str:
    task = run.task
    metrics = [{'type': HUB_METRICS[key], 'name': f'dev {key}', 'value': round(value, 4)}
               for key, value in run.record['dev_saved'].items() if key in HUB_METRICS]
    values: dict[str, Any] = {'library_name': 'transformers', 'pipeline_tag': 'text-classification',
                              'tags': ['bert', 'knowledge-distillation', 'pea-kd'],
                              'metrics': [metric['type'] for metric in metrics]}
    dataset = {'name': task.name, 'type': task.name.lower()}
    if task.submission_file:                    # the tasks of GLUE have one
        values |= {'language': 'en', 'datasets': ['nyu-mll/glue']}
        dataset |= {'type': 'nyu-mll/glue', 'config': task.folder.lower().replace('-', '')}
    result = {'task': {'type': 'text-classification'}, 'dataset': dataset, 'metrics': metrics}
    values['model-index'] = [{'name': name, 'results': [result]}]
    return '\n'.join(['---', *(f'{key}: {json.dumps(value)}' for key, value in values.items()), '---'])    # JSON is YAML


def _summary(run: SavedRun, layers: int, parameters: int) -> str:
    args, config, task = run.record['arguments'], run.model.config, run.task
    text = [f'A BERT of {layers} layers, width {config.hidden_size}, {parameters:,} parameters, for the task {task.name}.']
    if not config.is_plain:
        wired = f'{wiring_words(config.layer_passes())}; x: query and key exchanged'
        text.append(f'It is a student of {config.num_hidden_layers} stored layers that run in {layers} passes ({wired}), '
                    f'{wiring_name(config)}; here each pass is a layer of its own.')
    if config.embedding_rank:
        text.append(f'Its word embeddings were learnt as a product of two matrices, of rank {config.embedding_rank}; here '
                    'they are one.')
    if run.record['parameters'] != parameters:
        text.append(f'As it was trained it has {run.record["parameters"]:,} parameters.')
    if made_by_ptp(args.get('load_model')):
        text.append("It started from an encoder that PTP, Pea-KD's pretraining with teacher predictions, had made.")
    text.append(f'It learnt from {LEARNT_FROM[run.args.train_type]}, with the implementation of Pea-KD (Cho & Kang, 2022) '
                'and PKD (Sun et al., 2019).')
    text.append(f'Its outputs are the labels {_labels(task)}.' if task.labels else 'Its one output is a score.')
    return ' '.join(text)


def _labels(task: GlueTask) -> str:
    """The names of the outputs, and where they are others than in the task's files, what these have for them."""
    return ', '.join(name if name == label else f'{name} ({label})'
                     for name, label in zip(output_names(task), task.labels, strict=True))


def wiring_name(config: BertConfig) -> str:
    """Which model_type's wiring a shape has, in words."""
    passes = [[layer, exchanged] for layer, exchanged in config.layer_passes()]
    names = [name for name in MODEL_TYPES if wiring(name, config.num_hidden_layers) == passes]
    return f'the wiring {names[0]} of Pea-KD' if names else 'a wiring of its own'


def _scores(run: SavedRun) -> str:
    record = run.record
    sets = [name for name in ('holdout', 'dev') if f'{name}_saved' in record]
    names = [key for key in record['dev_saved'] if key != 'global_step']
    lines = [_row(['', *sets]), _row(['-'] * (1 + len(sets)))]
    lines += [_row([key, *(f'{record[f"{of_set}_saved"].get(key, float("nan")):.4f}' for of_set in sets)]) for key in names]
    also = [f'On the dev set of {task}: ' + ', '.join(f'{key} {value:.4f}' for key, value in found.items()) + '.'
            for task, found in record.get('dev_also', {}).items()]
    chooser = chosen_by(record)
    step = record[f'{chooser}_{"saved" if run.was_chosen else "last"}']['global_step']
    if run.was_chosen:
        told = (f'The state at step {step} was chosen by its score on {chooser}'
                + (', which flatters the score there.' if chooser == 'dev' else '; dev had no part in it.'))
    else:
        told = f'It is the state after the last step, {step}.'
    return '\n'.join(lines) + '\n\n' + ' '.join([told, *also])


def _usage(task: GlueTask, name: str, max_seq_length: int) -> str:
    pair = task.unlabelled.text_b is not None
    odd = (' Of a pair whose texts are both longer than half of that, the fast tokenizers may keep one token more of the '
           'second and one less of the first than in training.')
    example = "{'text': 'The first text.', 'text_pair': 'The second text.'}" if pair else "'A text.'"
    return f"""```python
from transformers import pipeline

classifier = pipeline('text-classification', model='{name}')
print(classifier({example}, truncation=True))
```

`AutoTokenizer` and `AutoModelForSequenceClassification` load it too. It was trained on texts of at most {max_seq_length}
tokens, to which `truncation=True` cuts.{odd if pair else ''}"""


def _settings(run: SavedRun, parameters: int) -> str:
    record, args = run.record, run.record['arguments']
    made = {'pretrained checkpoint': Path(args['bert_model']).name, 'learnt by': args['train_type'], 'seed': record['seed']}
    if args['train_type'] != 'ft':
        made['teacher'] = ', '.join([f'{args["teacher_hidden_layers"]} layers', *_about_teacher(run)])
        made["fingerprint of the teacher's result file"] = record['inputs'].get('teacher')
    if args.get('load_model'):
        made['started from'] = Path(args['load_model']).name
    made['wiring'] = wiring_words(run.model.config.layer_passes())
    made |= {flag.dest: args[flag.dest] for flag in FLAGS if flag.dest in SETTINGS and args.get(flag.dest) is not None
             and args['train_type'] in flag.train_types}
    if args.get('passes'):                      # in place of a model_type, which then says nothing
        made.pop('model_type', None)
    if run.model.config.embedding_rank:
        made['embedding_rank'] = run.model.config.embedding_rank
    made |= {'precision in training': record['precision'], 'parameters as trained': f'{record["parameters"]:,}',
             'parameters here': f'{parameters:,}'}
    made |= {f'version of {name}': version for name, version in record['versions'].items()}
    return '\n'.join([_row(['setting', 'value']), _row(['-', '-']), *(_row([key, value]) for key, value in made.items())])


def _about_teacher(run: SavedRun) -> list[str]:
    about, score = run.record.get('teacher', {}), 'acc' if run.task.labels else run.record['metric']
    words = {'teacher': '{}', 'outputs': 'whose own outputs are {}', 'dev_acc': f'{score} on dev {{:.4f}}'}
    return [form.format(about[key]) for key, form in words.items() if key in about]


def _row(cells: list[Any]) -> str:
    return '| ' + ' | '.join(str(cell).replace('|', '\\|') for cell in cells) + ' |'
