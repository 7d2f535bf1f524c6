"""Fine-tune a BERT, or distil one into a student, on a GLUE task.

    python NLI_KD_training.py --task MRPC --train_type ft --student_hidden_layers 12 --saving_criterion_acc 0.8
    python NLI_KD_training.py --task MRPC --train_type pkd --model_type SPS --student_hidden_layers 3 \\
        --load_model data/outputs/KD/MRPC/teacher_12layer/PTP.SPS_3layer.encoder.pkl

ft learns from the labels, kd from a teacher's logits too, pkd from its [CLS] states as well; the teacher's result
file comes from save_teacher_outputs.py. Flags: --help, or README.md.
"""
import argparse
import logging
from functools import partial
from pathlib import Path

import numpy as np

from BERT.pytorch_pretrained_bert import BertConfig
from BERT.pytorch_pretrained_bert.file_utils import InputError
from src.argument_parser import TRAIN, parse
from src.data_processing import TokenizedSplit, fold_rows, hold_out, load_split
from src.earlier_runs import open_teacher, tell_other_run
from src.evaluation import task_scores
from src.KD_loss import SHARED_SIX, chosen_patience_layers
from src.nli_data_processing import GlueTask, also_served, find_task
from src.objective import Objective
from src.preparation import seed_run, set_up
from src.runs import (
    build_model,
    divide,
    find_inputs,
    fold_suffix,
    given_folder,
    input_marks,
    scorer,
    settings,
    student_folder,
    train_and_record,
)
from src.teacher_outputs import TeacherOutputs, teacher_folder
from src.training import Trainer
from src.utils import run_script

logger = logging.getLogger(__name__)


def main(argv: list[str] | None = None) -> None:
    """Check the flags, read the data, build the model, train it, record the run."""
    args = parse(TRAIN, __doc__, argv)
    task = find_task(args.task)
    setup = set_up(args)
    inputs = find_inputs(args, task, setup)
    teacher = None if args.train_type == 'ft' else open_teacher(args, task, args.train_type == 'pkd', setup)
    patience = patience_match(args, inputs.config, teacher) if args.train_type == 'pkd' else None
    train, dev = (load_split(task, split, setup.tokenizer, args.max_seq_length) for split in ('train', 'dev'))
    roles = divide(train, dev, *hold_out(train.labels, args.holdout, args.holdout_seed))
    if args.fold:
        roles.rows = leave_out(train, roles.rows, args.fold, args.holdout_seed)
    roles.at_end += [load_split(other, 'dev', setup.tokenizer, args.max_seq_length) for other in also_served(task, 'dev')]
    objective = make_objective(args, train, teacher, patience)
    folder_of = partial(run_folder, args, task, inputs.config.num_hidden_layers)
    seed = seed_run(args, args.train_seed, folder_of)
    folder = folder_of(seed)
    model = build_model(args, inputs, task.num_labels, setup.device)
    marks = input_marks(args, inputs, task, train, dev, teacher)
    tell_other_run(args, task, inputs, teacher, folder, marks, seed)
    warn_of_unused_depth(args, inputs.config.num_hidden_layers)
    score = scorer(args, setup, model, task_scores)
    trainer = Trainer(model, train, objective, settings(args, setup, task, seed), partial(score, roles.chooser), task.metric,
                      folder, 'BERT', folder, roles.rows, roles.chosen_by)
    about = {'task': task.name} | ({'teacher': teacher.about()} if teacher else {})
    train_and_record(args, setup, trainer, TRAIN, marks, about, score, roles)


def warn_of_unused_depth(args: argparse.Namespace, layers: int) -> None:
    """Say so where a model that learns from labels has not the depth that --teacher_hidden_layers gave, though it names no
    folder to find weights in."""
    finds_weights = args.load_model or args.cls_checkpoint
    if (args.train_type == 'ft' and not finds_weights and 'teacher_hidden_layers' in args.given
            and args.teacher_hidden_layers != layers):
        logger.warning('warning: --teacher_hidden_layers %d is not the depth of what --train_type ft trains here, %d '
                       'layers; --student_hidden_layers says how many', args.teacher_hidden_layers, layers)


def leave_out(train: TokenizedSplit, rows: np.ndarray, fold: str, seed: int) -> np.ndarray:
    """Those of the rows to learn from that are not in a fold."""
    left_out = fold_rows(train.labels, rows, fold, seed)
    logger.info('fold %s: nothing is learnt from %d of %d training rows', fold, len(left_out), len(train))
    return np.setdiff1d(rows, left_out)


def make_objective(args: argparse.Namespace, train: TokenizedSplit, teacher: TeacherOutputs | None,
                   patience: tuple[list[int], list[int]] | None) -> Objective:
    """What the student learns from: labels, and for kd and pkd the teacher's result file, which must fit the rows; patience:
    as of patience_match."""
    if teacher is None:
        return Objective(train.labels)
    teacher.check('train', train)
    logger.info("the teacher's outputs: %s", teacher.path)
    if patience:
        logger.info('patience: teacher layers %s, student passes %s (0-based)', *patience)
    elif args.train_type == 'pkd':
        logger.info('the student has no pass to match beside the last: plain KD')
    return Objective(train.labels, teacher, args.alpha, args.T, args.beta, args.normalize_patience, patience)


def patience_match(args: argparse.Namespace, config: BertConfig,
                   teacher: TeacherOutputs) -> tuple[list[int], list[int]] | None:
    """(teacher layers, passes of a student of this shape) that patience matches; None when there are none."""
    _, layers, hidden = teacher.arrays['train.feature_maps'].shape
    passes = config.layer_passes()
    shared_six = [layer for layer, _ in passes] == SHARED_SIX
    match = chosen_patience_layers(args.fc_layer_idx, len(passes), layers, shared_six)
    if not match[0]:
        return None
    if hidden != config.hidden_size:
        raise InputError(f'--train_type pkd: the teacher has states of width {hidden}, the student of '
                         f'{config.hidden_size}; use --train_type kd')
    return match


def run_folder(args: argparse.Namespace, task: GlueTask, layers: int, seed: int | str) -> Path:
    """Where the run goes: --output_dir, the teacher's folder for a plain fine-tuned BERT (of a fold, one beside it), else a
    student's folder. What is made smaller is no teacher."""
    if args.output_dir:
        return given_folder(args)
    if args.train_type == 'ft' and args.model_type == 'Original' and not args.passes and not args.embedding_rank:
        folder = teacher_folder(task, layers)
        return folder.with_name(folder.name + fold_suffix(args.fold))
    return student_folder(args, task, layers, seed)


if __name__ == '__main__':
    run_script(main)
