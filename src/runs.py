"""What the training scripts share between parsing and the record of a run: its model, inputs, folder, and its course."""
import argparse
import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

import envs
from BERT.pytorch_pretrained_bert import BertConfig
from BERT.pytorch_pretrained_bert.file_utils import InputError, path_of, sha256_of
from src.argument_parser import TRAIN, UNRECORDED, layer_problems, recorded_arguments
from src.checkpoints import best_saved, checkpoint_files, checkpoint_places, find_checkpoint, load_saved, made_by_ptp
from src.data_processing import TokenizedSplit, missing_files
from src.distributed import from_main, is_main, share, world_size
from src.earlier_runs import check_same_tokenizer
from src.evaluation import predict_logits
from src.mixed_precision import fp16_version
from src.modeling import (
    SequenceClassifier,
    count_parameters,
    dropout_probs,
    load_classifier,
    load_encoder,
    parse_passes,
    wiring,
)
from src.nli_data_processing import GlueTask, parse_ptp_threshold, published_thresholds
from src.plots import plot_training_curves
from src.preparation import Inputs, Setup
from src.resuming import command_to_resume, finished_run, state_to_resume
from src.run_lock import only_one
from src.run_log import chosen_by, parse_report_to, write_run
from src.stopping import Stopped, signals_held
from src.teacher_outputs import TeacherOutputs
from src.training import Settings, Trainer
from src.training_state import NEUTRAL, code_marks, flat
from src.utils import versions

logger = logging.getLogger(__name__)

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


def constants_used(args: argparse.Namespace, task: GlueTask, layers: int) -> dict[str, list]:
    """What constants that users may edit make of a training script's flags, where these leave it to them: REPEATED_LAYERS
    the passes of so many layers, PTP_THRESHOLDS [t1, t2], of which a flag may give the first. A run made with other ones is
    another run."""
    used = {}
    if not args.passes:
        used['REPEATED_LAYERS'] = wiring(args.model_type, layers)
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
    problems = layer_problems(args, layers)
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


def build_model(args: argparse.Namespace, inputs: Inputs, num_labels: int, device: torch.device) -> SequenceClassifier:
    """The model to train, started from --load_model or from the pretrained checkpoint."""
    config = inputs.config
    idle = config.idle_layers()
    if idle:
        logger.warning('warning: --passes %s: layers that never run: %s (of %d)', args.passes,
                       ', '.join(str(layer + 1) for layer in idle), config.num_hidden_layers)
    source_layers = [layer - 1 for layer in args.layer_initialization] if args.layer_initialization else None
    config.check_room(inputs.start, len(set(source_layers)) if source_layers else None)
    model = SequenceClassifier(config, num_labels)
    load_encoder(model.encoder, inputs.start, source_layers, optional=None if inputs.encoder else 'pooler.')
    if inputs.encoder:
        logger.info('starts from %s', inputs.encoder)
    if inputs.head:
        load_classifier(model.classifier, inputs.head)
    model.freeze([layer - 1 for layer in args.freeze_layer or []])
    return model.to(device)


def find_inputs(args: argparse.Namespace, task: GlueTask, setup: Setup) -> Inputs:
    """What the model is made from. --load_model and --cls_checkpoint are looked for in the teacher's folder and the task's
    output folders too. Errors about them, the task's files and --output_dir come all in one, before any data is read."""
    problems, found = missing_files(task, ('train', 'dev')), {}
    for flag in ('load_model', 'cls_checkpoint'):
        if getattr(args, flag):
            try:
                found[flag] = find_checkpoint(flag, getattr(args, flag), checkpoint_places(args, task))
                if flag == 'load_model':
                    check_same_tokenizer(setup, found[flag])
            except (InputError, FileNotFoundError) as error:
                problems.append(str(error))
    try:
        given_folder(args)
    except InputError as error:
        problems.append(str(error))
    if problems:
        raise InputError('; '.join(problems))
    return Inputs(student_config(args, setup.config), found.get('load_model'), found.get('cls_checkpoint'), setup.checkpoint)


def input_marks(args: argparse.Namespace, inputs: Inputs, task: GlueTask, train: TokenizedSplit, dev: TokenizedSplit,
                teacher: TeacherOutputs | None) -> dict:
    """What made a run, beside its flags: hashes of its rows and labels, of the encoder and the head that it starts from and
    of its teacher; constants. train, dev: with the task's own labels."""
    of_train, of_dev = train.identity(), dev.identity()
    start = sha256_of(inputs.start)
    return {'rows': of_train['order of rows'], 'labels': of_train['labels'],
            'dev_rows': of_dev['order of rows'], 'dev_labels': of_dev['labels'],
            'load_model': start if inputs.encoder else None, 'pretrained_weights': None if inputs.encoder else start,
            'cls_checkpoint': sha256_of(inputs.head) if inputs.head else None,
            'teacher': teacher and teacher.fingerprint(),
            'constants': constants_used(args, task, inputs.config.num_hidden_layers)}


def given_folder(args: argparse.Namespace) -> Path | None:
    """--output_dir, or None. InputError when it is a file."""
    if not args.output_dir:
        return None
    folder = path_of(args.output_dir).resolve()
    for place in (folder, *folder.parents):
        if place.exists() and not place.is_dir():
            raise InputError(f'--output_dir {args.output_dir}: {place} is a file; name a folder')
    return folder


def model_name(args: argparse.Namespace, layers: int) -> str:
    """Name of a model's type and size for folders and files: SPS_3layer, SPS_3layer_rank64."""
    wiring = f'passes_{args.passes.replace(",", "-").replace(" ", "")}' if args.passes else args.model_type
    return f'{wiring}_{layers}layer' + (f'_rank{args.embedding_rank}' if args.embedding_rank else '')


def ptp_prefix(args: argparse.Namespace, layers: int) -> str:
    """What the names of the files of a PTP run begin with: PTP.SPS_3layer; a control's: PTP.SPS_3layer_shuffled."""
    return f'PTP.{model_name(args, layers)}' + (f'_{args.ptp_labels}' if args.ptp_labels else '')


def fold_suffix(fold: str | None) -> str:
    """What the name of a teacher's folder ends with for the fold that it leaves out: _fold1of3 of '1/3'."""
    return f'_fold{fold.replace("/", "of")}' if fold else ''


def student_folder(args: argparse.Namespace, task: GlueTask, layers: int, seed: int | str) -> Path:
    """A student's folder: one for each configuration and seed."""
    # What is None is left out, so that a new flag, not given, changes no name
    configuration = {name: value for name, value in flat(vars(args)).items()
                     if name not in NOT_CONFIGURATION and value is not None}
    digest = hashlib.sha256(json.dumps(configuration, sort_keys=True, default=str).encode()).hexdigest()[:8]
    started = 'PTP_' if made_by_ptp(args.load_model) else ''
    name = f'{args.train_type}_{model_name(args, layers)}_{started}seed{seed}_{digest}'
    return envs.STUDENT_FOLDER / task.name / name


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
                     extra: dict, score: Score, roles: Roles) -> dict | None:
    """Train, score the chosen state on the dev sets that are left for the end, write the curves and run.json into the
    trainer's log folder, print the scores; returns the record. With --resume it goes on from where a run was stopped, and
    returns None where it had ended.

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
        if from_main(finished_run, args, folder, made_by, partial(best_saved, trainer.folder, trainer.prefix)):
            trainer.forget_state()
            return None
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
