"""What the files of other runs tell of them: whether a teacher, an encoder or a folder is what this run takes it for."""
import argparse
import contextlib
import json
import logging
from pathlib import Path
from typing import Any

from BERT.pytorch_pretrained_bert.file_utils import InputError, sha256_of
from src.argument_parser import FLAGS
from src.checkpoints import find_checkpoint, folder_of_record, made_by_ptp
from src.custom_tasks import REGRESSION, other_definition
from src.modeling import wiring_words
from src.nli_data_processing import SPELLINGS, GlueTask
from src.preparation import Inputs, Setup
from src.run_log import RECORD, TRAIN_LOG, read_run
from src.teacher_outputs import TeacherOutputs, result_file, teacher_folder, teachers_of_other_sizes
from src.training_state import NEUTRAL, STATE_FILE

logger = logging.getLogger(__name__)


def open_teacher(args: argparse.Namespace, task: GlueTask, states: bool, setup: Setup | None = None) -> TeacherOutputs:
    """The teacher's result file: --teacher_prediction, or the task's, with the states of all layers where asked or where
    there is one. With a setup, InputError where its rows were read otherwise than by this."""
    patient, normal = (result_file(task, args.teacher_hidden_layers, kind) for kind in (True, False))
    if args.teacher_prediction:
        path = find_checkpoint('teacher_prediction', args.teacher_prediction, [patient.parent])
    else:
        path = patient if states or patient.is_file() or not normal.is_file() else normal
    known = {'task': task.name, 'tokenizer': setup.tokenizer.fingerprint,
             'max_seq_length': str(args.max_seq_length)} if setup else {}
    try:
        teacher = _open_checked(path, known)
    except FileNotFoundError as error:
        others = teachers_of_other_sizes(task, args.teacher_hidden_layers)
        raise FileNotFoundError(f'--teacher_prediction: {error}{others}') from None
    except InputError as error:
        other = ''
        if not args.teacher_prediction and not states and path != normal:
            with contextlib.suppress(InputError, FileNotFoundError):
                _open_checked(normal, known)
                other = f'; or read {normal.name}, which lies beside it and fits, with --teacher_prediction {normal}'
        raise InputError(f'--teacher_prediction: {error}{other}') from None
    _warn_of_another_depth(args, teacher)
    if not args.teacher_prediction and path == patient:
        _warn_of_newer(normal, teacher)
    if not args.teacher_prediction:
        _warn_of_another_teacher(teacher_folder(task, args.teacher_hidden_layers), path, teacher)
    if states and 'train.feature_maps' not in teacher.arrays:
        raise InputError(f'--teacher_prediction: {path} has no states of all layers, which --train_type pkd '
                         'needs: run save_teacher_outputs.py --all_layers True')
    if args.holdout and teacher.metadata.get('holdout', _holdout(vars(args))) != _holdout(vars(args)):
        logger.warning('warning: the teacher of %s was trained with --holdout %s, this run has --holdout %s: it learnt from '
                       'rows that choose here', path, teacher.metadata['holdout'], _holdout(vars(args)))
    return teacher


def _open_checked(path: Path, known: dict[str, str]) -> TeacherOutputs:
    """A result file of which what is known of this run's training rows is true."""
    teacher = TeacherOutputs.open(path)
    teacher.check_identity('train', known)
    return teacher


def _warn_of_another_depth(args: argparse.Namespace, teacher: TeacherOutputs) -> None:
    """A line where a file with the states of layers is of another depth than the command line says."""
    states = teacher.arrays.get('train.feature_maps')
    if states is not None and 'teacher_hidden_layers' in vars(args).get('given', ()) \
            and states.shape[1] != args.teacher_hidden_layers:
        logger.warning('warning: --teacher_hidden_layers %d: the teacher of %s has %d layers', args.teacher_hidden_layers,
                       teacher.path, states.shape[1])


def _warn_of_another_teacher(folder: Path, path: Path, teacher: TeacherOutputs) -> None:
    """A line where the teacher in a folder is none that the result file was made from: it was trained anew since, say."""
    made_from, encoders = _one_teacher(teacher.metadata), sorted(folder.glob('BERT.encoder*.pkl'))
    if encoders and made_from and made_from not in map(sha256_of, encoders):
        logger.warning('warning: %s was made from another teacher than that in %s; run save_teacher_outputs.py again, or '
                       'name the file that you mean with --teacher_prediction', path, folder)


def _one_teacher(words: Any) -> str | None:
    """The hash of the encoder that a result file, whose words about its teacher these are, was made from; None where they
    tell of none (a published one) or of several (those of folds, joined)."""
    hashes = str(words.get('encoder_sha256', '')).split() if isinstance(words, dict) else []
    return hashes[0] if len(hashes) == 1 else None


def _warn_of_newer(normal: Path, patient: TeacherOutputs) -> None:
    """A line where the file without the states of layers is newer than that with them, which goes before it, and was made
    from another teacher, or state of it."""
    if not normal.is_file() or normal.stat().st_mtime_ns <= patient.path.stat().st_mtime_ns:
        return
    with contextlib.suppress(InputError):        # of a file that is not read it does not matter whether it is sound
        if TeacherOutputs.open(normal).metadata.get('encoder_sha256') != patient.metadata.get('encoder_sha256'):
            logger.warning('warning: %s is read; %s, which is newer, was made from other weights: if you mean these, give '
                           '--teacher_prediction %s', patient.path, normal.name, normal)


def check_teacher(setup: Setup, task: GlueTask, files: tuple[Path, Path]) -> None:
    """InputError when a teacher's (encoder file, classifier file) are those of another tokenizer or other labels, or of no
    plain BERT, as far as the run.json beside them tells; warns of another task and of a training that has not ended."""
    encoder, classifier = files
    _check_plain(folder_of_record(encoder))
    _check_same_labels(task, classifier.parent)
    check_same_tokenizer(setup, encoder)
    _warn_of_another_task(task, classifier.parent)
    _warn_of_unfinished(encoder.parent)


def _check_plain(folder: Path) -> None:
    """InputError when the model in a folder was trained with another wiring: a plain BERT of its layers, which is what a
    teacher is, computes something else."""
    record = read_run(folder) or {}
    passes, layers = record.get('passes'), record.get('layers')
    if isinstance(passes, list) and passes != [[layer, False] for layer in range(len(passes))]:
        raise InputError(f'the model in {folder} shares layers ({len(passes)} passes of them); a teacher must run each of '
                         'its layers once, in order')
    if isinstance(passes, list) and isinstance(layers, int) and len(passes) < layers:
        raise InputError(f'the model in {folder} runs {len(passes)} of its {layers} layers; a teacher must run all')


def _check_same_labels(task: GlueTask, folder: Path) -> None:
    """InputError when the model in a folder was trained to tell other labels, or the same in another order, than the task
    has now: its outputs would be taken for what they are not."""
    record = read_run(folder) or {}
    definition = record.get('arguments', {}).get('task_config') or {}
    named = SPELLINGS.get(str(record.get('task')).lower())
    if definition:
        then = None if definition.get('labels', REGRESSION) == REGRESSION else tuple(definition['labels'])
    elif named:
        then = named.labels
    else:                                      # a folder that tells nothing
        return
    if task.labels != then:
        now, then = (', '.join(labels) if labels else REGRESSION for labels in (task.labels, then))
        raise InputError(f'the labels of {task.name} are {now}, the model in {folder} was trained with {then}; name the '
                         "classifier of this task's teacher, or train it anew")


def check_same_tokenizer(setup: Setup, encoder: Path) -> None:
    """InputError when an encoder was trained with another tokenizer than that of the checkpoint in use, as far as its
    run.json tells: it would read other words."""
    folder = folder_of_record(encoder)
    then = (read_run(folder) or {}).get('checkpoint', {}).get('tokenizer')
    now = setup.tokenizer.fingerprint
    if then and then != now:
        raise InputError(f'{encoder}: by {folder / RECORD} it was trained with another tokenizer (fingerprint '
                         f'{str(then)[:12]}) than that of {setup.checkpoint} ({now[:12]}): name the checkpoint it was '
                         'started from with --bert_model, or put back its vocabulary and tokenizer_config.json')


def _warn_of_another_task(task: GlueTask, folder: Path) -> None:
    """A line where the model in a folder was trained on another task, though its labels may be the same."""
    then = (read_run(folder) or {}).get('task')
    if isinstance(then, str) and then.lower() != task.name.lower() and (
            then.lower() not in SPELLINGS or task.name not in SPELLINGS[then.lower()].also):
        logger.warning('warning: the model in %s was trained on %s; here it predicts %s', folder, then[:60], task.name)


def _warn_of_unfinished(folder: Path) -> None:
    """A line where the training whose weights lie in a folder has begun and not ended, as far as its files tell."""
    begun = (folder / STATE_FILE).is_file() or (folder / TRAIN_LOG).is_file()
    if begun and not (folder / RECORD).is_file():
        logger.warning("warning: there is no run.json in %s: if its training has not ended, the weights there are its best "
                       "so far, or an earlier run's", folder)


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


# What of a run's inputs its folder's name does not tell -> what a run made with another one was made with
UNNAMED_INPUTS = {'constants': 'other constants in the source', 'teacher': 'other outputs of a teacher',
                  'load_model': 'another encoder', 'cls_checkpoint': 'another classifier',
                  'pretrained_weights': 'other pretrained weights', 'rows': 'other rows', 'labels': 'other labels',
                  'dev_rows': 'other dev rows', 'dev_labels': 'other dev labels'}


# Flags of a replaced run that change nothing in what is computed, or of which there is a line elsewhere
TOLD_OTHERWISE = (*NEUTRAL, 'holdout', 'holdout_seed', 'task_config', 'load_model', 'cls_checkpoint', 'teacher_prediction')


def tell_other_run(args: argparse.Namespace, task: GlueTask, inputs: Inputs, teacher: TeacherOutputs | None,
                   log_folder: Path, marks: dict, seed: int) -> None:
    """What the names of folders and files say nothing of: of the encoder of --load_model, and of the run in log_folder that
    this one replaces; marks, seed: this run's (see input_marks)."""
    if inputs.encoder:
        _tell_of_encoder(args, inputs, teacher)
    _tell_of_replaced(args, task, log_folder, marks, seed)


def _tell_of_encoder(args: argparse.Namespace, inputs: Inputs, teacher: TeacherOutputs | None) -> None:
    """Warn of an encoder from a training that has not ended, or of another holdout; of PTP's, of one that ran its layers
    otherwise or learnt from another teacher."""
    folder = folder_of_record(inputs.encoder)
    _warn_of_unfinished(folder)
    theirs = _other_holdout(args, folder)
    if theirs:
        logger.warning('warning: --load_model %s was trained with --holdout %s, this run has --holdout %s%s', inputs.encoder,
                       theirs, _holdout(vars(args)), ': it learnt from rows that choose here' * (args.holdout > 0))
    if not made_by_ptp(args.load_model):
        return
    record = read_run(folder) or {}
    passes, now = record.get('passes'), inputs.config.layer_passes()
    if _are_passes(passes) and passes != [list(layer) for layer in now]:
        logger.warning('warning: --load_model %s ran its layers otherwise: %s, here %s', inputs.encoder,
                       wiring_words(passes), wiring_words(now))
    theirs, ours = _one_teacher(record.get('teacher')), _one_teacher(teacher and teacher.metadata)
    if theirs and ours and theirs != ours:
        # No warning: of a teacher that has learnt its rows by heart, PTP.py advises to take an earlier state
        logger.info('--load_model %s learnt from the predictions of another teacher than that of %s, or of another of its '
                    'states', inputs.encoder, teacher.path)


def _tell_of_replaced(args: argparse.Namespace, task: GlueTask, log_folder: Path, marks: dict, seed: int) -> None:
    """Warn where the run in log_folder is of another holdout, or of a task that was defined otherwise. Of one made with
    another seed, other flags or other inputs, as in a pipeline that is run again from a new teacher on, a line says so."""
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
    then, now = earlier.get('inputs', {}), json.loads(json.dumps(marks))
    flags = _other_flags(args, earlier)
    others = [what for name, what in UNNAMED_INPUTS.items() if then.get(name) and now[name] and then[name] != now[name]
              and not (name == 'constants' and flags)]        # which constants count is said by flags
    seeds = [f'seed {earlier["seed"]}'] if earlier.get('seed', seed) != seed else []
    if seeds + flags + others:
        logger.info('this run replaces one in %s, which was made with %s', log_folder, ' and '.join(seeds + flags + others))


def _other_flags(args: argparse.Namespace, earlier: dict) -> list[str]:
    """Flags of an earlier run that this one has otherwise, as words of a command line. Those that its version did not have
    were at their defaults."""
    now, then = vars(args), earlier.get('arguments', {})
    then = {flag.dest: flag.default for flag in FLAGS if then} | then
    return [f'--{name} {",".join(map(str, value)) if isinstance(value, list) else value}'
            for name, value in then.items() if name in now and name not in TOLD_OTHERWISE and value != now[name]]


def _are_passes(value: Any) -> bool:
    """Whether a value of a record is passes: [layer, exchanged] each."""
    return isinstance(value, list) and all(
        isinstance(one, list) and len(one) == 2 and type(one[0]) is int and type(one[1]) is bool for one in value)


def _other_holdout(args: argparse.Namespace, log_folder: Path) -> str | None:
    """The holdout of the run that has ended in a folder, if there is one and it is another."""
    arguments = (read_run(log_folder) or {}).get('arguments', {})
    if 'holdout' not in arguments:
        return None
    theirs, ours = ((found['holdout'], found['holdout'] and found['holdout_seed']) for found in (arguments, vars(args)))
    return _holdout(arguments) if theirs != ours else None


def _holdout(arguments: dict) -> str:
    return f'{arguments["holdout"]} --holdout_seed {arguments["holdout_seed"]}'
