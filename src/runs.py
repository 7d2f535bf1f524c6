"""What the scripts share between parsing and training: checkpoint, model, data, folders, records."""
import argparse
import contextlib
import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import envs
from BERT.pytorch_pretrained_bert import BertConfig, BertTokenizer
from BERT.pytorch_pretrained_bert.file_utils import (
    InputError,
    checkpoint_folder,
    config_file,
    sha256_of,
    vocab_file,
    weights_file,
)
from src.argument_parser import SWITCHES, TRAIN
from src.checkpoints import best_saved, checkpoint_files, find_checkpoint, load_saved
from src.custom_tasks import REGRESSION, other_definition
from src.data_processing import TokenizedSplit, check_max_seq_length
from src.distributed import from_main, is_main, share, world_size
from src.evaluation import predict_logits
from src.mixed_precision import fp16_version
from src.modeling import SequenceClassifier, count_parameters, load_classifier, load_encoder, parse_passes, wiring
from src.nli_data_processing import (
    SPELLINGS,
    GlueReader,
    GlueTask,
    find_task,
    parse_ptp_threshold,
    published_thresholds,
    task_folder,
)
from src.plots import plot_training_curves
from src.resuming import command_to_resume, earlier_seed, finished_run, state_to_resume
from src.run_lock import only_one
from src.run_log import TRAIN_LOG, chosen_by, parse_report_to, read_run, write_run
from src.stopping import Stopped, signals_held
from src.teacher_outputs import TeacherOutputs, result_file, teacher_folder, teachers_of_other_sizes
from src.training import Settings, Trainer
from src.training_state import NEUTRAL, STATE_FILE, code_marks, flat
from src.utils import choose_device, choose_precision, choose_seed, keep_freed_memory, set_seed, versions

logger = logging.getLogger(__name__)

# Arguments that are no settings: run.json does not have them.
UNRECORDED = ('given', *SWITCHES)
# Arguments that change nothing in what is computed, and the seed, which has a place of its own in a folder's name.
NOT_CONFIGURATION = (*NEUTRAL, *UNRECORDED)


# (a split, logits [R, C] of its rows) -> scores; a split -> a model's scores
Metrics = Callable[[TokenizedSplit, np.ndarray], dict[str, float]]
Score = Callable[[TokenizedSplit], dict[str, float]]


@dataclass
class Roles:
    """Which rows do what in a run."""
    rows: np.ndarray                  # numbers of the training rows that are learnt from
    chosen_by: str                    # dev or holdout
    chooser: TokenizedSplit           # what is scored during training, to choose the checkpoint
    at_end: list[TokenizedSplit]      # dev sets that are scored once, with the checkpoint chosen


@dataclass
class Setup:
    """A script's checkpoint folder, shape, tokenizer, device and precision, after all checks."""
    checkpoint: Path
    config: BertConfig
    tokenizer: BertTokenizer
    device: torch.device
    precision: str


def set_up(args: argparse.Namespace, checkpoint: Path | None = None) -> Setup:
    """Check the pretrained checkpoint, that of --bert_model where no folder is given; choose device and precision."""
    keep_freed_memory()
    device = choose_device()
    precision = choose_precision(args.precision, device)
    checkpoint = checkpoint or checkpoint_folder(args.bert_model)
    config = BertConfig.from_json_file(config_file(checkpoint))
    check_max_seq_length(args.max_seq_length, config.max_position_embeddings)
    tokenizer = BertTokenizer.of_checkpoint(checkpoint)
    if len(tokenizer.vocab) > config.vocab_size:
        raise InputError(f'{checkpoint}: {vocab_file(checkpoint).name} has {len(tokenizer.vocab)} words, the configuration '
                         f'{config.vocab_size}')
    if config.type_vocab_size < 2 and find_task(args.task).unlabelled.text_b:
        raise InputError(f'{checkpoint}: type_vocab_size is {config.type_vocab_size}, but {args.task} has pairs of texts, '
                         'which need 2')
    return Setup(checkpoint, config, tokenizer, device, precision)


def seed_run(args: argparse.Namespace, given: int | None, log_folder: Callable[[int | str], Path]) -> int:
    """Choose, announce and set the seed: the one given, else with --resume that of the run to go on with, else a drawn one.

    log_folder: seed, or * for any -> the run's folder."""
    earlier = from_main(earlier_seed, log_folder) if args.resume and given is None else None
    seed = from_main(choose_seed, given if earlier is None else earlier)
    logger.info('seed %d%s', seed, ' (drawn)' if given is None and earlier is None else '')
    set_seed(seed)
    return seed


def constants_used(args: argparse.Namespace, task: GlueTask) -> dict[str, list]:
    """What constants that users may edit make of a training script's flags, where these leave it to them: REPEATED_LAYERS
    the passes, PTP_THRESHOLDS [t1, t2], of which a flag may give the first. A run made with other ones is another run."""
    used = {}
    if args.student_hidden_layers and not args.passes:
        used['REPEATED_LAYERS'] = wiring(args.model_type, args.student_hidden_layers)
    if 'PTP_seed' in args and not task.ptp_thresholds:
        given = parse_ptp_threshold(args.ptp_threshold)
        if args.ptp_threshold is None:
            used['PTP_THRESHOLDS'] = [*published_thresholds(task)]
        elif given and given[1] is None:
            used['PTP_THRESHOLDS'] = [None, published_thresholds(task)[1]]
    return {name: value for name, value in used.items() if value not in (None, [None, None])}


def student_config(args: argparse.Namespace, config: BertConfig) -> BertConfig:
    """The checkpoint's shape with the layers and the wiring that the flags ask for."""
    layers = args.student_hidden_layers or config.num_hidden_layers
    passes = parse_passes(args.passes) if args.passes else wiring(args.model_type, layers)
    problems = [f'--freeze_layer {layer}: the model has {layers} layers' for layer in args.freeze_layer or []
                if layer > layers]
    if len(args.layer_initialization or range(layers)) != layers:
        problems.append(f'--layer_initialization names {len(args.layer_initialization)} layers, the model has {layers}')
    if layers > config.num_hidden_layers and not args.load_model and not args.layer_initialization:
        problems.append(f'--student_hidden_layers {layers}: the checkpoint {args.bert_model} has '
                        f'{config.num_hidden_layers} layers to start from')
    problems += [f'--passes {args.passes}: there is no layer {layer + 1}, the model has {layers} layers'
                 for layer, _ in passes or [] if layer >= layers]
    rank = args.embedding_rank or config.embedding_rank
    if args.embedding_rank and rank > config.max_embedding_rank:
        problems.append(f'--embedding_rank {rank}: must be at most {config.max_embedding_rank}; the word embeddings of '
                        f'{args.bert_model} are {config.vocab_size} x {config.hidden_size}')
    if problems:
        raise InputError('; '.join(problems))
    return BertConfig.from_dict({**config.to_dict(), **dropout_probs(args.dropout), 'num_hidden_layers': layers,
                                 'passes': passes, 'embedding_rank': rank})


def dropout_probs(dropout: float | None) -> dict[str, float]:
    """What --dropout replaces in a configuration."""
    return {} if dropout is None else {'hidden_dropout_prob': dropout, 'attention_probs_dropout_prob': dropout}


def build_model(args: argparse.Namespace, setup: Setup, num_labels: int, task: GlueTask) -> SequenceClassifier:
    """The model to train, started from --load_model or from the pretrained checkpoint."""
    config = student_config(args, setup.config)
    idle = {*range(config.num_hidden_layers)} - {layer for layer, _ in config.layer_passes()}
    if idle:
        logger.warning('warning: --passes %s: layers that never run: %s (of %d)', args.passes,
                       ', '.join(str(layer + 1) for layer in sorted(idle)), config.num_hidden_layers)
    start = start_file(args, setup, task)
    source_layers = [layer - 1 for layer in args.layer_initialization] if args.layer_initialization else None
    config.check_room(start, len(set(source_layers)) if source_layers else None)
    model = SequenceClassifier(config, num_labels)
    load_encoder(model.encoder, start, source_layers, optional=None if args.load_model else 'pooler.')
    if args.cls_checkpoint:
        load_classifier(model.classifier, head_file(args, task))
    model.freeze([layer - 1 for layer in args.freeze_layer or []])
    return model.to(setup.device)


def checkpoint_places(args: argparse.Namespace, task: GlueTask) -> list[Path]:
    """Folders in which a checkpoint's name is looked for: the teacher's and the task's output folders."""
    return [teacher_folder(task, args.teacher_hidden_layers), envs.HOME_OUTPUT_FOLDER / task.name,
            envs.STUDENT_FOLDER / task.name]


def find_inputs(args: argparse.Namespace, task: GlueTask, setup: Setup) -> None:
    """Errors about the task's files, --load_model, --cls_checkpoint and --output_dir, all in one, before any data is
    read."""
    problems = missing_files(task, ('train', 'dev'))
    for flag in ('load_model', 'cls_checkpoint'):
        if getattr(args, flag):
            try:
                path = find_checkpoint(flag, getattr(args, flag), checkpoint_places(args, task))
                if flag == 'load_model':
                    check_same_tokenizer(setup, path)
            except (InputError, FileNotFoundError) as error:
                problems.append(str(error))
    try:
        given_folder(args)
    except InputError as error:
        problems.append(str(error))
    if problems:
        raise InputError('; '.join(problems))


def missing_files(task: GlueTask, splits: tuple[str, ...]) -> list[str]:
    """What is wrong with the files of a task's splits, as far as it can be told without reading them."""
    problems = []
    for split in splits:
        try:
            GlueReader(task).path(task_folder(task), split)
        except (InputError, FileNotFoundError) as error:
            problems.append(str(error))
    return problems


def input_marks(args: argparse.Namespace, setup: Setup, task: GlueTask, train: TokenizedSplit, dev: TokenizedSplit,
                teacher: TeacherOutputs | None) -> dict:
    """What made a run, beside its flags: hashes of its rows and labels, of the encoder and the head that it starts from and
    of its teacher; constants. train, dev: with the task's own labels."""
    of_train, of_dev = train.identity(), dev.identity()
    start = sha256_of(start_file(args, setup, task))
    return {'rows': of_train['order of rows'], 'labels': of_train['labels'],
            'dev_rows': of_dev['order of rows'], 'dev_labels': of_dev['labels'],
            'load_model': start if args.load_model else None, 'pretrained_weights': None if args.load_model else start,
            'cls_checkpoint': sha256_of(head_file(args, task)) if args.cls_checkpoint else None,
            'teacher': teacher and teacher.fingerprint(), 'constants': constants_used(args, task)}


def start_file(args: argparse.Namespace, setup: Setup, task: GlueTask) -> Path:
    """The weights that a run starts from: those of --load_model, which may lie in the teacher's folder or the task's output
    folders, or the pretrained checkpoint's."""
    if args.load_model:
        return find_checkpoint('load_model', args.load_model, checkpoint_places(args, task))
    return weights_file(setup.checkpoint)


def head_file(args: argparse.Namespace, task: GlueTask) -> Path:
    """The head that --cls_checkpoint names, looked for as --load_model's encoder is."""
    return find_checkpoint('cls_checkpoint', args.cls_checkpoint, checkpoint_places(args, task))


def given_folder(args: argparse.Namespace) -> Path | None:
    """--output_dir, or None. InputError when it is a file."""
    if not args.output_dir:
        return None
    folder = Path(args.output_dir).expanduser().resolve()
    for place in (folder, *folder.parents):
        if place.exists() and not place.is_dir():
            raise InputError(f'--output_dir {args.output_dir}: {place} is a file; name a folder')
    return folder


def model_name(args: argparse.Namespace, layers: int) -> str:
    """Name of a model's type and size for folders and files: SPS_3layer, SPS_3layer_rank64."""
    wiring = f'passes_{args.passes.replace(",", "-").replace(" ", "")}' if args.passes else args.model_type
    return f'{wiring}_{layers}layer' + (f'_rank{args.embedding_rank}' if args.embedding_rank else '')


def made_by_ptp(load_model: str | None) -> bool:
    """Whether --load_model names an encoder of PTP.py's, by what its name begins with."""
    return bool(load_model) and Path(load_model).name.startswith('PTP.')


def student_folder(args: argparse.Namespace, task: GlueTask, layers: int, seed: int | str) -> Path:
    """A student's folder: one for each configuration and seed."""
    # What is None is left out, so that a new flag, not given, changes no name
    configuration = {name: value for name, value in flat(vars(args)).items()
                     if name not in NOT_CONFIGURATION and value is not None}
    digest = hashlib.sha256(json.dumps(configuration, sort_keys=True, default=str).encode()).hexdigest()[:8]
    started = 'PTP_' if made_by_ptp(args.load_model) else ''
    name = f'{args.train_type}_{model_name(args, layers)}_{started}seed{seed}_{digest}'
    return envs.STUDENT_FOLDER / task.name / name


def _warn_of_another_teacher(folder: Path, path: Path, teacher: TeacherOutputs) -> None:
    """A line where the teacher in a folder is none that the result file was made from: it was trained anew since, say.

    None of a file that tells of no encoder (a published one) or of several (those of folds, joined)."""
    made_from = str(teacher.metadata.get('encoder_sha256', '')).split()
    encoders = sorted(folder.glob('BERT.encoder*.pkl'))
    if encoders and len(made_from) == 1 and made_from[0] not in map(sha256_of, encoders):
        logger.warning('warning: %s was made from another teacher than that in %s; run save_teacher_outputs.py again, or '
                       'name the file that you mean with --teacher_prediction', path, folder)


def _warn_of_newer(normal: Path, patient: TeacherOutputs) -> None:
    """A line where a file of logits alone is newer than that with the states too, which goes before it, and was made from
    another teacher, or state of it."""
    if not normal.is_file() or normal.stat().st_mtime_ns <= patient.path.stat().st_mtime_ns:
        return
    with contextlib.suppress(InputError):        # of a file that is not read it does not matter whether it is sound
        if TeacherOutputs.open(normal).metadata.get('encoder_sha256') != patient.metadata.get('encoder_sha256'):
            logger.warning('warning: %s is read; %s, which is newer, was made from other weights: if you mean these, give '
                           '--teacher_prediction %s', patient.path, normal.name, normal)


def open_teacher(args: argparse.Namespace, task: GlueTask, states: bool, setup: Setup | None = None) -> TeacherOutputs:
    """The teacher's result file: --teacher_prediction, or the task's, with the states of all layers where asked or where
    there is one. With a setup, InputError where its rows were read otherwise than by this."""
    patient, normal = (result_file(task, args.teacher_hidden_layers, kind) for kind in (True, False))
    if args.teacher_prediction:
        path = find_checkpoint('teacher_prediction', args.teacher_prediction, [patient.parent])
    else:
        path = patient if states or patient.is_file() or not normal.is_file() else normal
    try:
        teacher = TeacherOutputs.open(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f'{error}{teachers_of_other_sizes(task, args.teacher_hidden_layers)}') from None
    if setup:
        teacher.check_identity('train', {'task': task.name, 'tokenizer': setup.tokenizer.fingerprint,
                                         'max_seq_length': str(args.max_seq_length)})
    if not args.teacher_prediction and path == patient:
        _warn_of_newer(normal, teacher)
    if not args.teacher_prediction:
        _warn_of_another_teacher(teacher_folder(task, args.teacher_hidden_layers), path, teacher)
    if states and 'train.feature_maps' not in teacher.arrays:
        raise InputError(f'--teacher_prediction: {path} holds logits alone; --train_type pkd needs the states of all '
                         'layers: run save_teacher_outputs.py --all_layers True')
    if args.holdout and teacher.metadata.get('holdout', _holdout(vars(args))) != _holdout(vars(args)):
        logger.warning('warning: the teacher of %s was trained with --holdout %s, this run has --holdout %s: it learnt from '
                       'rows that choose here', path, teacher.metadata['holdout'], _holdout(vars(args)))
    return teacher


# What of a run's inputs its folder's name does not tell -> what a run made with another one was made with
UNNAMED_INPUTS = {'constants': 'other constants in the source', 'teacher': 'other outputs of a teacher',
                  'load_model': 'another encoder', 'cls_checkpoint': 'another classifier',
                  'pretrained_weights': 'other pretrained weights', 'rows': 'other rows', 'labels': 'other labels',
                  'dev_rows': 'other dev rows', 'dev_labels': 'other dev labels'}


def tell_other_run(args: argparse.Namespace, task: GlueTask, log_folder: Path, inputs: dict) -> None:
    """Warn when --load_model names an encoder, or log_folder holds a run that this one replaces, of another holdout; the
    former of a training that has not ended, the latter of a task that was defined otherwise: the names of folders and files
    say nothing of it. Of a run made with other inputs (see input_marks), as in a pipeline that is run again from a new
    teacher on, a line says so."""
    if args.load_model:
        encoder = find_checkpoint('load_model', args.load_model, checkpoint_places(args, task))
        warn_of_unfinished(folder_of_record(encoder))
        theirs = _other_holdout(args, folder_of_record(encoder))
        if theirs:
            logger.warning('warning: --load_model %s was trained with --holdout %s, this run has --holdout %s%s', encoder,
                           theirs, _holdout(vars(args)), ': it learnt from rows that choose here' * (args.holdout > 0))
    theirs = _other_holdout(args, log_folder)
    if theirs:
        logger.warning('warning: this run with --holdout %s replaces one with --holdout %s in %s; to keep both, name '
                       'another place with --output_dir', _holdout(vars(args)), theirs, log_folder)
    earlier = read_run(log_folder)
    if earlier is None or args.resume:       # a run that has ended stays as it is
        return
    changes = other_definition(task, earlier.get('arguments', {}))
    if changes:
        logger.warning('warning: this run replaces one in %s, of a task %s that was defined otherwise: %s; to keep both, '
                       'name another place with --output_dir', log_folder, task.name, '; '.join(changes))
    then, now = earlier.get('inputs', {}), json.loads(json.dumps(inputs))
    others = [what for name, what in UNNAMED_INPUTS.items() if then.get(name) and now[name] and then[name] != now[name]]
    if others:
        logger.info('this run replaces one in %s, which was made with %s', log_folder, ' and '.join(others))


def warn_of_unfinished(folder: Path) -> None:
    """A line where the training whose weights lie in a folder has begun and not ended, as far as its files tell."""
    begun = (folder / STATE_FILE).is_file() or (folder / TRAIN_LOG).is_file()
    if begun and not (folder / 'run.json').is_file():
        logger.warning("warning: there is no run.json in %s: if its training has not ended, the weights there are its best "
                       "so far, or an earlier run's", folder)


def folder_of_record(encoder: Path) -> Path:
    """Where the run.json of an encoder's run is, if it has one: beside it, or, of PTP.py's, in the folder of its prefix."""
    prefix = encoder.name.partition('.encoder')[0]
    return encoder.parent / prefix if made_by_ptp(str(encoder)) else encoder.parent


def check_teacher(setup: Setup, task: GlueTask, files: tuple[Path, Path]) -> None:
    """InputError when a teacher's (encoder file, classifier file) are those of another tokenizer or other labels, or of no
    plain BERT, as far as the run.json beside them tells; warns of another task and of a training that has not ended."""
    encoder, classifier = files
    check_plain(encoder.parent)
    check_same_labels(task, classifier.parent)
    check_same_tokenizer(setup, encoder)
    warn_of_another_task(task, classifier.parent)
    warn_of_unfinished(encoder.parent)


def check_same_tokenizer(setup: Setup, encoder: Path) -> None:
    """InputError when an encoder was trained with another tokenizer than that of the checkpoint in use, as far as its
    run.json tells: it would read other words."""
    folder = folder_of_record(encoder)
    then = (read_run(folder) or {}).get('checkpoint', {}).get('tokenizer')
    now = setup.tokenizer.fingerprint
    if then and then != now:
        raise InputError(f'{encoder}: by {folder / "run.json"} it was trained with another tokenizer (fingerprint '
                         f'{str(then)[:12]}) than that of {setup.checkpoint} ({now[:12]}): name the checkpoint it was '
                         'started from with --bert_model, or put back its vocabulary and tokenizer_config.json')


def check_same_labels(task: GlueTask, folder: Path) -> None:
    """InputError when the model in a folder was trained to tell other labels, or the same in another order, than the task
    has now: its outputs would be taken for what they are not."""
    record = read_run(folder) or {}
    definition = record.get('arguments', {}).get('task_config') or {}
    named = SPELLINGS.get(str(record.get('task')).lower())
    if not (definition or named):              # a folder that tells nothing
        return
    now, then = task.labels, tuple(definition['labels']) if definition.get('labels', REGRESSION) != REGRESSION else None
    if not definition:
        then = named.labels
    if now != then:
        now, then = (', '.join(labels) if labels else REGRESSION for labels in (now, then))
        raise InputError(f'the labels of {task.name} are {now}, the model in {folder} was trained with {then}; name the '
                         "classifier of this task's teacher, or train it anew")


def warn_of_another_task(task: GlueTask, folder: Path) -> None:
    """A line where the model in a folder was trained on another task, though its labels may be the same."""
    then = (read_run(folder) or {}).get('task')
    if isinstance(then, str) and then.lower() != task.name.lower() and (
            then.lower() not in SPELLINGS or task.name not in SPELLINGS[then.lower()].also):
        logger.warning('warning: the model in %s was trained on %s; here it predicts %s', folder, then[:60], task.name)


def check_plain(folder: Path) -> None:
    """InputError when the model in a folder was trained with another wiring: a plain BERT of its layers, which is what a
    teacher is, computes something else."""
    record = read_run(folder) or {}
    passes, layers = record.get('passes'), record.get('layers')
    if isinstance(passes, list) and passes != [[layer, False] for layer in range(len(passes))]:
        raise InputError(f'the model in {folder} shares layers ({len(passes)} passes of them); a teacher must run each of '
                         'its layers once, in order')
    if isinstance(passes, list) and isinstance(layers, int) and len(passes) < layers:
        raise InputError(f'the model in {folder} runs {len(passes)} of its {layers} layers; a teacher must run all')


def _other_holdout(args: argparse.Namespace, log_folder: Path) -> str | None:
    """The holdout of the run that has ended in a folder, if there is one and it is another."""
    arguments = (read_run(log_folder) or {}).get('arguments', {})
    drawn = [(found['holdout'], found['holdout'] and found['holdout_seed']) for found in (vars(args), arguments)
             if 'holdout' in found]
    return _holdout(arguments) if len(set(drawn)) > 1 else None


def _holdout(arguments: dict) -> str:
    return f'{arguments["holdout"]} --holdout_seed {arguments["holdout_seed"]}'


def teacher_marks(encoder: Path, classifier: Path) -> dict[str, str]:
    """What a result file says of the teacher it is made from: file, hashes, and, where its run.json tells them, its holdout
    and the fold it left out, of which rows."""
    record = read_run(encoder.parent) or {}
    arguments = record.get('arguments', {})
    known = {'holdout': _holdout(arguments)} if 'holdout' in arguments else {}
    if arguments.get('fold'):
        division = {name: arguments[name] for name in ('fold', 'holdout', 'holdout_seed')}
        known['fold'] = json.dumps(division | {'rows': record.get('inputs', {}).get('rows', '')})
    return {'teacher': encoder.name, 'encoder_sha256': sha256_of(encoder), 'classifier_sha256': sha256_of(classifier),
            **known}


def recorded_arguments(args: argparse.Namespace) -> dict:
    """A script's arguments as run.json has them."""
    return {name: value for name, value in vars(args).items() if name not in UNRECORDED}


def divide(train: TokenizedSplit, dev: TokenizedSplit, rows: np.ndarray, held_out: np.ndarray) -> Roles:
    """The parts that rows play, from what hold_out gave; without rows held out dev chooses."""
    if not len(held_out):
        return Roles(rows, 'dev', dev, [])
    logger.info('holdout: %d of %d training rows choose the checkpoint', len(held_out), len(train))
    return Roles(rows, 'holdout', train.part(held_out), [dev])


def scorer(args: argparse.Namespace, setup: Setup, model: SequenceClassifier, metrics: Metrics) -> Score:
    """A split -> the scores of the model as it is; metrics: (split, logits [R, C]) -> scores."""
    def score(split: TokenizedSplit) -> dict[str, float]:
        return metrics(split, predict_logits(model, split, args.eval_batch_size, setup.precision))
    return score


def train_and_record(args: argparse.Namespace, setup: Setup, trainer: Trainer, script: str, inputs: dict,
                     extra: dict, score: Score, roles: Roles) -> dict:
    """Train, score the chosen state on the dev sets that are left for the end, write the curves and run.json into the
    trainer's log folder, print the scores; returns the record. With --resume it goes on from where a run was stopped.

    No other process may be at work in the log folder (InputError). A signal leaves a training state there (Stopped)."""
    record = {'script': script, 'arguments': recorded_arguments(args), 'inputs': inputs,
              'seed': trainer.settings.seed, 'precision': setup.precision, 'device': str(setup.device),
              'passes': trainer.model.config.layer_passes(), 'layers': trainer.model.config.num_hidden_layers,
              'embedding_rank': trainer.model.config.embedding_rank,
              'parameters': count_parameters(trainer.model), 'metric': trainer.metric,
              'versions': versions() | fp16_version(setup.precision), **extra}
    made_by = record | {'code': code_marks(), 'config': trainer.model.config.to_dict(), 'rows': {
        'train': trainer.split.identity(), roles.chosen_by: roles.chooser.identity(),
        **{f'{split.task} dev': split.identity() for split in roles.at_end}}}
    folder = trainer.log.folder
    with only_one(folder / '.lock', 'output_dir'), signals_held():
        finished = from_main(finished_run, args, folder, made_by)
        if finished:
            trainer.forget_state()
            return finished
        state = state_to_resume(args, folder, made_by) if is_main() else None
        try:
            record |= trainer.train(f'{args.train_type if script == TRAIN else "PTP"} {args.task}', made_by, state)
            record |= scores_at_end(trainer, score, roles.at_end, record)
        except Stopped as stop:
            trainer.keep_state()
            stop.advice = f'{trainer.steps} of {trainer.total_steps} steps are done; to go on: {command_to_resume()}'
            raise
        # Not in what --resume compares: the folder may be another; the tokenizer is in the marks of the rows
        record |= {'checkpoint': {'folder': str(setup.checkpoint.resolve()), 'tokenizer': setup.tokenizer.fingerprint},
                   'seconds': trainer.seconds, 'processes': world_size()}
        if is_main():
            plot_training_curves(folder, record)
            write_run(folder, record)              # the last file: it says that the run has ended
        trainer.forget_state()
    log_scores(record)
    logger.info('saved in %s', trainer.folder)
    return record


def scores_at_end(trainer: Trainer, score: Score, at_end: list[TokenizedSplit], record: dict) -> dict:
    """Scores of the state that was chosen, as it was saved, on dev sets that had no part in choosing it: dev_saved for
    the run's own task, dev_also for others."""
    if not at_end:
        return {}
    _load_everywhere(trainer, best_saved(trainer.folder, trainer.prefix) if is_main() else None)
    try:
        others = {split.task: score(split) for split in at_end}
    except Stopped:                            # the state to be kept is the last one
        _load_everywhere(trainer, checkpoint_files(trainer.folder, trainer.prefix, ''))
        raise
    own = others.pop(record['task'], None)
    found = {'dev_also': others} if others else {}
    if own:
        found['dev_saved'] = {**own, 'global_step': record[f'{trainer.chosen_by}_saved']['global_step']}
    return found


def _load_everywhere(trainer: Trainer, files: tuple[Path, Path] | None) -> None:
    """Give the model of each process the weights of a saved pair, which rank 0 reads: others may not see the files, or not
    yet."""
    if is_main():
        load_saved(trainer.model, files)
    share(trainer.model.state_dict().values())


def log_scores(record: dict) -> None:
    """Print the scores of a run: at the best steps and the last one, and of the state that stands for it."""
    names = [f'{chosen_by(record)}_{state}' for state in ('best', 'lowest_loss', 'last', 'saved')]
    entries = {name: record[name] for name in (*names, 'dev_saved')}
    entries |= {f'dev_also {task}': entry for task, entry in record.get('dev_also', {}).items()}
    for name, entry in entries.items():
        logger.info('%-19s  %s', name, '  '.join(f'{key} {value if isinstance(value, int) else format(value, ".4g")}'
                                                 for key, value in entry.items()))


def settings(args: argparse.Namespace, setup: Setup, task: GlueTask, seed: int) -> Settings:
    """The trainer's settings from the flags."""
    names = ('train_batch_size', 'gradient_accumulation_steps', 'num_train_epochs', 'learning_rate', 'warmup_proportion',
             'log_every_step', 'saving_criterion_acc', 'saving_criterion_loss', 'loss_scale', 'checkpoint_every')
    return Settings(**{name: getattr(args, name) for name in names}, eval_every=args.eval_every or task.eval_every,
                    seed=seed, precision=setup.precision, report_to=parse_report_to(args.report_to))
