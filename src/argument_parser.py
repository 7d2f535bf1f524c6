"""The flags of the three scripts that train and dump, declared once, and what is checked before any data is read."""
import argparse
import math
import re
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from BERT.pytorch_pretrained_bert.file_utils import InputError
from BERT.pytorch_pretrained_bert.modeling import MAX_LAYERS
from src.custom_tasks import task_of_flags
from src.data_processing import parse_fold
from src.modeling import MODEL_TYPES, parse_passes
from src.nli_data_processing import GlueTask, find_task, parse_ptp_threshold
from src.recommended_settings import recommended_settings
from src.run_log import parse_report_to
from src.training_state import parse_period
from src.utils import PRECISIONS

TRAIN, PTP, TEACHER = 'NLI_KD_training.py', 'PTP.py', 'save_teacher_outputs.py'
DEFAULT_EPOCHS = {'ft': 4.0, 'kd': 6.0, 'pkd': 6.0}


def _boolean(text: str) -> bool:
    return {'true': True, '1': True, 'false': False, '0': False}[text.lower()]


def _integers(text: str) -> list[int]:
    return [int(part) for part in text.split(',')]


def separated(text: str) -> list[str]:
    """Values between semicolons, or, where there are none, commas."""
    return [part for part in map(str.strip, text.split(';' if ';' in text else ',')) if part]


# What the types of flags take, in words
WORDS = {str: 'text', int: 'a whole number', float: 'a number', _boolean: 'True or False',
         _integers: 'whole numbers between commas, as in 1,3,5', separated: 'values between commas, or semicolons'}


def none_or(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    """A flag's type that also takes the word None."""
    def convert(text: str):
        return None if text == 'None' else kind(text)
    WORDS[convert] = f'{WORDS[kind]}, or None'
    return convert


class Flag(NamedTuple):
    """One flag: names, type, default, the scripts that have it, the train types it has an effect on, its help."""
    names: str
    kind: Callable[[str], Any]
    default: Any
    scripts: tuple[str, ...]
    help: str
    train_types: tuple[str, ...] = ('ft', 'kd', 'pkd')
    choices: tuple[str, ...] | None = None

    @property
    def dest(self) -> str:
        """The argument's name after parsing."""
        return self.names.split()[0]


EVERY, FITTING, STUDENTS = (TRAIN, PTP, TEACHER), (TRAIN, PTP), ('kd', 'pkd')
FLAGS = [
    Flag('task task_name', str, 'MRPC', EVERY, 'a GLUE task, in any case, or Sample'),
    Flag('task_config', none_or(str), None, EVERY, 'JSON file that defines a task of your own, in place of --task'),
    Flag('train_type', str, 'ft', FITTING, 'ft: fine-tune; kd: distil on logits; pkd: on logits and [CLS] states',
         choices=('ft', 'kd', 'pkd')),
    Flag('model_type', str, 'Original', FITTING, 'plain BERT, shared and shuffled layers, shared layers',
         choices=tuple(MODEL_TYPES)),
    Flag('student_hidden_layers', none_or(int), None, FITTING, 'stored layers of the model trained; all of the checkpoint'),
    Flag('passes', none_or(str), None, FITTING, 'another wiring: layers in order of running, x for exchanged: 1,2,1x,2x'),
    Flag('embedding_rank', none_or(int), None, FITTING,
         'rank of the word embeddings, then a product of two small matrices; None: one matrix'),
    Flag('teacher_hidden_layers', int, 12, EVERY, "names the teacher's folder and result file"),
    Flag('train_seed', none_or(int), None, (TRAIN,), 'None draws one, logs and records it'),
    Flag('PTP_seed', none_or(int), None, (PTP,), 'None draws one, logs and records it'),
    Flag('saving_criterion_acc', float, 1.0, FITTING, 'keep the best state by dev metric if above this'),
    Flag('saving_criterion_loss', float, 0.0, FITTING, 'keep the best state by dev loss if below this'),
    Flag('load_model load_model_dir encoder_checkpoint', none_or(str), None, EVERY,
         'encoder checkpoint to start from; of save_teacher_outputs.py, the teacher'),
    Flag('cls_checkpoint', none_or(str), None, EVERY, 'classifier checkpoint, likewise'),
    Flag('teacher_prediction', none_or(str), None, EVERY,
         "the teacher's result file, which save_teacher_outputs.py writes; by task and teacher layers",
         STUDENTS),
    Flag('bert_model', str, 'bert_base_uncased', EVERY, 'pretrained checkpoint: a folder, or a name in the models folder'),
    Flag('output_dir save_model_dir', none_or(str), None, FITTING, 'run folder; by task and configuration'),
    Flag('max_seq_length', int, 128, EVERY, 'tokens a row is cut to'),
    Flag('train_batch_size', int, 32, FITTING, 'rows an update'),
    Flag('eval_batch_size', int, 32, EVERY, 'rows of full length a batch of evaluation; of shorter rows it takes more'),
    Flag('learning_rate', float, 2e-5, FITTING, 'peak learning rate'),
    Flag('warmup_proportion', float, 0.1, FITTING, 'share of the steps over which the learning rate rises'),
    Flag('dropout', none_or(float), None, FITTING,
         "share of hidden states and attention weights dropped in training; None: the checkpoint's, usually 0.1"),
    Flag('gradient_accumulation_steps', int, 1, FITTING, 'parts a batch is computed in'),
    Flag('checkpoint_every', none_or(str), None, EVERY,
         'steps, as in 200 (save_teacher_outputs.py: batches), or minutes, as in 10m, between training states; None: kept '
         'when a signal stops the run'),
    Flag('log_every_step', int, 1, FITTING, 'steps between rows of train_log.txt'),
    Flag('report_to', str, 'none', FITTING, "where the logs go too: tensorboard, wandb, or both with a comma; none"),
    Flag('num_train_epochs', none_or(float), None, FITTING, 'epochs; ft and PTP 4, kd and pkd 6'),
    Flag('alpha', float, 0.7, (TRAIN,), "weight of the teacher's logits against the labels", STUDENTS),
    Flag('T', float, 10.0, (TRAIN,), 'temperature of the logits', STUDENTS),
    Flag('beta', float, 100.0, (TRAIN,), 'weight of patience', ('pkd',)),
    Flag('normalize_patience', _boolean, True, (TRAIN,), 'compare [CLS] states of length 1', ('pkd',)),
    Flag('fc_layer_idx', none_or(_integers), None, (TRAIN,), 'teacher layers for patience, 0-based', ('pkd',)),
    Flag('layer_initialization', none_or(_integers), None, FITTING, "checkpoint layer, 1-based, that starts each layer"),
    Flag('freeze_layer', none_or(_integers), None, FITTING, 'layers, 1-based, that are not trained'),
    Flag('ptp_threshold', none_or(str), None, (PTP,),
         't1 alone, t1,t2, or median; what is left out: the table of nli_data_processing.py'),
    Flag('ptp_labels', none_or(str), None, (PTP,),
         'shuffled: permuted among the rows (on dev and the holdout too), a control; None: as they are',
         choices=('shuffled',)),
    Flag('ptp_prior', none_or(_boolean), None, (PTP,),
         "True: the bias of PTP's head starts at the logarithms of the classes' frequencies; None: at 0, as published"),
    Flag('fp16', _boolean, False, EVERY, 'the same as --precision fp16'),
    Flag('loss_scale', float, 0.0, FITTING, 'fixed loss scale of fp16; 0: dynamic'),
    Flag('eval_every', none_or(int), None, FITTING, "steps between evaluations; None: the task's own"),
    Flag('holdout', float, 0.0, FITTING, 'share of train that chooses the checkpoint; dev is then scored once, at the end'),
    Flag('holdout_seed', int, 0, FITTING, 'says which rows --holdout and --fold take; the same for all runs to be compared'),
    Flag('fold', none_or(str), None, (TRAIN,), 'F/K: nothing is learnt from fold F of K of the rows that are not held out'),
    Flag('precision', str, 'auto', EVERY, 'auto: bf16 where the hardware is fast at it, else fp32',
         choices=('auto', *PRECISIONS)),
    Flag('all_layers', _boolean, True, (TEACHER,), 'keep the [CLS] states of all layers (patient), which pkd needs'),
    Flag('teacher_model', none_or(str), None, (TEACHER,),
         "a teacher in Hugging Face's form: a BertForSequenceClassification's folder, or its name in the models folder"),
    Flag('teacher_labels', none_or(separated), None, (TEACHER,),
         "the task's labels (between commas, or semicolons) in the order of the teacher_model's outputs; None: by the "
         'id2label of its configuration'),
    Flag('join', none_or(separated), None, (TEACHER,),
         'result files of the teachers of all folds (between commas, or semicolons), to be made one: each row from the '
         'teacher that has not learnt it'),
]

# Flags without a value: name -> (the scripts that have it, its help)
SWITCHES = {
    'recommended': (FITTING, 'defaults from the table of recommended settings; flags given win'),
    'resume': (EVERY, 'go on from the training state that a stopped run left; from the start where there is none'),
    'resume_anyway': (EVERY, 'resume, even with other flags, data or code than those of the stopped run'),
}

# Arguments that are no settings: run.json does not have them.
UNRECORDED = ('given', *SWITCHES)


def recorded_arguments(args: argparse.Namespace) -> dict[str, Any]:
    """A script's arguments as run.json has them."""
    return {name: value for name, value in vars(args).items() if name not in UNRECORDED}


class Parser(argparse.ArgumentParser):
    """argparse's, but what is wrong is an InputError."""

    def parse_known_args(self, args=None, namespace=None):
        """As argparse's, but --flag=--, which it reads as an empty list, is wrong."""
        args = sys.argv[1:] if args is None else args
        for word in args:
            if re.fullmatch('--.+=--', word):
                self.error(f'{word}: -- is no value')
        return super().parse_known_args(args, namespace)

    def error(self, message: str):
        raise InputError(message)


class _Parser(Parser):
    """Notes values that cannot be converted in `problems` and goes on, so that all problems are told at once."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.problems: list[str] = []

    def converter(self, flag: Flag) -> Callable[[str], Any]:
        """The flag's type; for a value that it does not take it gives the flag's default."""
        def convert(text: str):
            try:
                return flag.kind(text)
            except (ValueError, KeyError):
                self.problems.append(f'--{flag.dest} {text!r}: must be {WORDS[flag.kind]}')
                return flag.default
        return convert

    def typed(self, values: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
        """Values of flags that are not given; those that stand as text in the source converted as the command line's are."""
        convert = {action.dest: action.type for action in self._actions}
        return {name: convert[name](value) if isinstance(value, str) and convert.get(name) else value
                for name, value in values.items() if name not in given}

    def parse_args(self, args: list[str] | None = None, namespace: argparse.Namespace | None = None) -> argparse.Namespace:
        """As argparse's, but notes arguments that no flag takes."""
        parsed, unknown = self.parse_known_args(args, namespace)
        self.problems += [f'{" ".join(unknown)}: no such flag'] if unknown else []
        return parsed


def _parser(script: str, description: str, defaults: dict[str, Any]) -> _Parser:
    """Its arguments are those that stand on the command line; help shows the defaults."""
    parser = _Parser(script, description=description, formatter_class=argparse.RawDescriptionHelpFormatter,
                     argument_default=argparse.SUPPRESS)
    for flag in FLAGS:
        if script in flag.scripts:
            parser.add_argument(*(f'--{name}' for name in flag.names.split()), dest=flag.dest, type=parser.converter(flag),
                                metavar='|'.join(flag.choices) if flag.choices else flag.dest.upper(),
                                help=f'{flag.help} ({defaults[flag.dest]})')
    for name, (scripts, about) in SWITCHES.items():
        if script in scripts:
            parser.add_argument(f'--{name}', action='store_true', help=about, default=argparse.SUPPRESS)
    return parser


def parse(script: str, description: str, argv: list[str] | None = None,
          defaults: dict[str, Any] | None = None) -> argparse.Namespace:
    """The arguments of a script, checked: all problems stand in one InputError.

    defaults: values that go before the table's, such as the constants of save_teacher_outputs.py. A flag on the
    command line always wins; `given` lists those. `task_config` becomes the definition of the task (custom_tasks.py)."""
    usual = {flag.dest: flag.default for flag in FLAGS if script in flag.scripts}
    usual |= {name: False for name, (scripts, _) in SWITCHES.items() if script in scripts}
    parser = _parser(script, description, usual | (defaults or {}))
    given = vars(parser.parse_args(argv))
    constants = parser.typed(defaults or {}, given)
    defined = _task_of_file(given, parser.problems)
    settled = usual | constants | ({'task': defined.name} if defined else {})
    recommended = _recommended(script, parser, settled, given) if given.get('recommended') else {}
    args = argparse.Namespace(**settled | recommended | given, given=sorted(given))
    problems = parser.problems + _problems(args)
    if problems:
        raise InputError('; '.join(problems))
    args.task = find_task(args.task).name
    args.task_config = defined and defined.definition
    args.precision, args.fp16 = 'fp16' if args.fp16 else args.precision, False      # one configuration, however it is spelt
    args.resume |= args.resume_anyway
    if vars(args).get('ptp_prior') is False:
        args.ptp_prior = None
    if getattr(args, 'num_train_epochs', 0) is None:
        args.num_train_epochs = DEFAULT_EPOCHS[args.train_type]
    return args


def _task_of_file(given: dict[str, Any], problems: list[str]) -> GlueTask | None:
    """The task that the file of --task_config defines, if it is given."""
    try:
        return task_of_flags(given.get('task'), given['task_config']) if given.get('task_config') else None
    except InputError as error:
        problems.append(str(error))
        return None


def _recommended(script: str, parser: _Parser, settled: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """What the table of recommended settings has for flags that are not given; settled: what goes before it."""
    found = recommended_settings(script, settled | given)
    parser.problems += [f'RECOMMENDED in src/recommended_settings.py: {name!r} is no flag of {script}' for name in found
                        if name not in settled]
    return parser.typed(found, given)


# (flags, what a value must fulfil, the same in words)
CHECKS: list[tuple[tuple[str, ...], Callable[[float], bool], str]] = [
    (('student_hidden_layers', 'teacher_hidden_layers'), lambda value: 1 <= value <= MAX_LAYERS, f'from 1 to {MAX_LAYERS}'),
    (('train_batch_size', 'eval_batch_size', 'log_every_step', 'gradient_accumulation_steps', 'eval_every',
      'embedding_rank'), lambda value: value >= 1, 'at least 1'),
    (('max_seq_length',), lambda value: value >= 4, 'at least 4'),
    (('learning_rate', 'num_train_epochs', 'T'), lambda value: 0 < value < math.inf, 'a number above 0'),
    (('beta', 'loss_scale'), lambda value: 0 <= value < math.inf, 'a number from 0 on'),
    (('alpha',), lambda value: 0 <= value <= 1, 'from 0 to 1'),
    (('warmup_proportion', 'holdout', 'dropout'), lambda value: 0 <= value < 1, 'from 0 to below 1'),
    (('saving_criterion_acc', 'saving_criterion_loss'), math.isfinite, 'a finite number'),
    (('train_seed', 'PTP_seed', 'holdout_seed'), lambda value: 0 <= value < 2**63, 'from 0 to 2**63 - 1'),
]

# (flag, whether it has an effect beside these arguments, what would give it one, where the script has that)
NEEDS: list[tuple[str, Callable[[argparse.Namespace], Any], tuple[str, ...]]] = [
    ('loss_scale', lambda args: args.fp16 or args.precision == 'fp16', ('precision fp16',)),
    ('holdout_seed', lambda args: args.holdout or vars(args).get('fold'), ('holdout', 'fold')),
    ('teacher_labels', lambda args: args.teacher_model, ('teacher_model',)),
]

# Flags whose text has a form of its own -> what reads it
READERS: dict[str, Callable[[str], Any]] = {
    'task': find_task, 'passes': parse_passes, 'checkpoint_every': parse_period, 'report_to': parse_report_to,
    'ptp_threshold': parse_ptp_threshold, 'fold': parse_fold}


def _problems(args: argparse.Namespace) -> list[str]:
    values = {name: value for name, value in vars(args).items() if value is not None}
    problems = [f'--{name} {values[name]}: must be {words}' for names, check, words in CHECKS for name in names
                if name in values and not check(values[name])]
    problems += [f"--{name} '': empty; give a value or leave the flag out" for name, value in values.items() if value == '']
    problems += [f'--{flag.dest} {values[flag.dest]!r}: must be one of '
                 f'{", ".join((*flag.choices, *(["None"] if flag.default is None else [])))}' for flag in FLAGS
                 if flag.choices and values.get(flag.dest, flag.choices[0]) not in flag.choices]
    problems += [problem for name, read in READERS.items() if values.get(name) for problem in _problem(read, values[name])]
    problems += [f'--{name} has no effect without {" or ".join(f"--{need}" for need in needs if need.split()[0] in args)}'
                 for name, has_effect, needs in NEEDS
                 if name in args.given and name in values and not has_effect(args)]
    problems += [f'--{name} {layer}: layers count from 1' for name in ('layer_initialization', 'freeze_layer')
                 for layer in values.get(name, []) if layer < 1]
    if values.get('student_hidden_layers'):
        problems += layer_problems(args, args.student_hidden_layers)
    return problems + _train_type_problems(args, values) + _contradictions(args, values)


def _problem(check: Callable[[str], Any], value: str) -> list[str]:
    try:
        check(value)
    except InputError as error:
        return [str(error)]
    return []


def layer_problems(args: argparse.Namespace, layers: int) -> list[str]:
    """What is wrong with flags that name layers of a training script's model, which has so many."""
    problems, started = [], args.layer_initialization
    if started and len(started) != layers:
        problems.append(f'--layer_initialization names {len(started)} layers, the model has {layers}')
    return problems + [f'--freeze_layer {layer}: the model has {layers} layers' for layer in args.freeze_layer or []
                       if layer > layers]


def _train_type_problems(args: argparse.Namespace, values: dict[str, Any]) -> list[str]:
    kind = values.get('train_type')
    if 'PTP_seed' in args:
        other = kind in DEFAULT_EPOCHS and kind != 'ft'
        return [f'--train_type {kind}: PTP learns from labels alone, so it must be ft'] if other else []
    return [f'--{flag.dest} has no effect with --train_type {kind}, only with {" or ".join(flag.train_types)}'
            for flag in FLAGS if kind in DEFAULT_EPOCHS and kind not in flag.train_types
            and flag.dest in args.given and flag.dest in values]


def _contradictions(args: argparse.Namespace, values: dict[str, Any]) -> list[str]:
    problems = []
    if {'fp16', 'precision'} <= {*args.given} and args.fp16 != (args.precision == 'fp16'):
        problems.append(f'--fp16 {args.fp16} contradicts --precision {args.precision}')
    if values.get('gradient_accumulation_steps', 1) > values.get('train_batch_size', 1):
        problems.append(f'--gradient_accumulation_steps {args.gradient_accumulation_steps} is more than '
                        f'--train_batch_size {args.train_batch_size}')
    if values.get('passes') and 'model_type' in args.given:
        problems.append(f'--passes contradicts --model_type {args.model_type}, which has a wiring of its own')
    if values.get('teacher_model'):
        problems += [f'--{name} has no effect with --teacher_model, whose folder holds encoder, classifier and vocabulary'
                     for name in args.given if name in ('bert_model', 'load_model', 'cls_checkpoint')]
    if values.get('ptp_prior') and values.get('cls_checkpoint'):
        problems.append(f'--ptp_prior True contradicts --cls_checkpoint {args.cls_checkpoint}, whose head has a bias; leave '
                        'one out')
    if values.get('join'):
        problems += [f'--{name} has no effect with --join, which reads result files alone' for name in args.given
                     if name not in ('join', 'teacher_prediction', 'task_config')]
        if not values.get('teacher_prediction'):
            problems.append('--join needs --teacher_prediction, the file to write')
    return problems
