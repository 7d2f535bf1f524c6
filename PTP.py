"""Pretrain a student with its teacher's predictions (PTP; Pea-KD, section 3.3).

    python PTP.py --task MRPC --model_type SPS --student_hidden_layers 3

For each training row the student learns to tell whether the teacher is right or wrong on it, and confident or not:
four classes, divided by thresholds (a table in src/nli_data_processing.py; --ptp_threshold). Its encoder then starts
NLI_KD_training.py with --load_model; the head of four outputs has no further use. Flags: --help, or README.md.
"""
import argparse
import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from BERT.pytorch_pretrained_bert.file_utils import InputError
from src.argument_parser import PTP, parse
from src.data_processing import TokenizedSplit, hold_out, load_split
from src.earlier_runs import open_teacher, tell_other_run
from src.evaluation import scores
from src.nli_data_processing import PTP_CLASSES, GlueTask, find_task, ptp_labels, ptp_thresholds, thresholds_said
from src.objective import Objective
from src.preparation import seed_run, set_up
from src.results import ptp_scores
from src.run_log import chosen_by
from src.runs import (
    build_model,
    divide,
    find_inputs,
    given_folder,
    input_marks,
    ptp_prefix,
    scorer,
    settings,
    train_and_record,
)
from src.teacher_outputs import TeacherOutputs, confidence_and_correct, teacher_folder
from src.training import Trainer
from src.utils import run_script

logger = logging.getLogger(__name__)

RARE = 0.01   # a class with a smaller share of the training rows can hardly be learnt: the script warns


def main(argv: list[str] | None = None) -> None:
    """Check the flags, make the labels from the teacher's results, train the student, record the run."""
    args = parse(PTP, __doc__, argv)
    task = find_task(args.task)
    if task.labels is None:
        raise InputError(f'--task {task.name}: PTP asks whether predictions are right or wrong, which has no meaning in '
                         'regression; train the student with NLI_KD_training.py at once')
    thresholds_said(task, args.ptp_threshold)      # what is wrong with the table is told before anything is read
    setup = set_up(args)
    inputs = find_inputs(args, task, setup)
    folder, prefix = run_folder(args, task), ptp_prefix(args, inputs.config.num_hidden_layers)
    teacher = open_teacher(args, task, states=False, setup=setup)
    splits = {name: load_split(task, name, setup.tokenizer, args.max_seq_length) for name in ('train', 'dev')}
    marks = input_marks(args, inputs, task, splits['train'], splits['dev'], teacher)
    division = hold_out(splits['train'].labels, args.holdout, args.holdout_seed)
    splits, thresholds, counts = label_splits(args, task, teacher, splits, *division)
    seed = seed_run(args, args.PTP_seed, lambda _: folder / prefix)
    if args.ptp_labels == 'shuffled':
        splits = {'train': shuffled(splits['train'], division, seed), 'dev': shuffled(splits['dev'], [slice(None)], seed)}
    roles = divide(splits['train'], splits['dev'], *division)
    model = build_model(args, inputs, len(PTP_CLASSES), setup.device)
    if args.ptp_prior:
        start_at_frequencies(model.classifier.classifier, splits['train'].labels[roles.rows])
    tell_other_run(args, task, inputs, teacher, folder / prefix, marks, seed)
    score = scorer(args, setup, model, accuracy)
    trainer = Trainer(model, splits['train'], Objective(splits['train'].labels), settings(args, setup, task, seed),
                      partial(score, roles.chooser), 'acc', folder, prefix, folder / prefix, roles.rows, roles.chosen_by)
    about = {'task': task.name, 'teacher': teacher.about(), 'thresholds': thresholds, 'ptp_counts': counts}
    record = train_and_record(args, setup, trainer, PTP, marks, about, score, roles)
    if record:
        tell_what_was_learnt(record, control=args.ptp_labels == 'shuffled')


def label_splits(args: argparse.Namespace, task: GlueTask, teacher: TeacherOutputs,
                 splits: dict[str, TokenizedSplit], rows: np.ndarray,
                 held_out: np.ndarray) -> tuple[dict[str, TokenizedSplit], tuple, dict]:
    """The splits with PTP labels in place of the task's, the thresholds, and the counts of classes.

    The thresholds are fixed on these rows of train, those to learn from; the rows held out are counted apart."""
    answers = {name: teacher_answers(teacher, name, split) for name, split in splits.items()}
    logger.info("the teacher's outputs: %s", teacher.path)
    confidence, correct = answers['train']
    thresholds = ptp_thresholds(task.name, args.ptp_threshold, confidence[rows], correct[rows])
    logger.info('PTP thresholds: t1 %.4f, t2 %.4f', *thresholds)
    labels = {name: ptp_labels(*answers[name], thresholds) for name in splits}
    parts = {'train': labels['train'][rows], 'holdout': labels['train'][held_out], 'dev': labels['dev']}
    counts = {name: count_classes(name, part) for name, part in parts.items() if len(part)}
    warn_of_rare_classes(counts['train'])
    return {name: replace(split, labels=labels[name]) for name, split in splits.items()}, thresholds, counts


def teacher_answers(teacher: TeacherOutputs, name: str, split: TokenizedSplit) -> tuple[np.ndarray, np.ndarray]:
    """(confidence [R], correct [R]) of the teacher on the rows of a split, which must be those of its file."""
    teacher.check(name, split)
    return confidence_and_correct(teacher, name)


def shuffled(split: TokenizedSplit, parts: Sequence[np.ndarray | slice], seed: int) -> TokenizedSplit:
    """The split with its labels [R] permuted within each part (row numbers), as the seed says.

    What such PTP still does to a student does not come of what the teacher's predictions tell of a row."""
    labels, drawn = split.labels.copy(), np.random.default_rng(seed)
    for part in parts:
        labels[part] = drawn.permutation(labels[part])
    return replace(split, labels=labels)


def count_classes(name: str, labels: np.ndarray) -> dict[str, int]:
    """How many of PTP's labels [R] are of each class; prints it."""
    counts = dict(zip(PTP_CLASSES, np.bincount(labels, minlength=len(PTP_CLASSES)).tolist(), strict=True))
    logger.info('PTP labels of %s: %s', name, ', '.join(f'{what} {count}' for what, count in counts.items()))
    return counts


def warn_of_rare_classes(counts: dict[str, int]) -> None:
    """Say so when a class has nearly no rows, as of a teacher that has memorised its training set: right and sure of all."""
    rare = [what for what, count in counts.items() if count < RARE * sum(counts.values())]
    if rare:
        advice = 'take other thresholds (--ptp_threshold)' if PTP_CLASSES[0] in rare else (
            'labels of a teacher that has memorised its training set can do harm; take an earlier teacher '
            '(BERT.encoder_loss.pkl) or other thresholds (--ptp_threshold)')
        logger.warning('warning: under %.0f %% of the training rows are %s: %s', 100 * RARE, ' or '.join(rare), advice)


def start_at_frequencies(head: nn.Linear, labels: np.ndarray) -> None:
    """Give a head [H] -> [C] the logarithms of the classes' shares among labels [R] as its bias (after the prior of Lin et
    al., Focal Loss for Dense Object Detection, 2017, section 3.3).

    Else these shares are what PTP learns first, and as a bias is slow to move at the rates of fine-tuning, it is the encoder
    that learns them (docs/results.md)."""
    counts = np.bincount(labels, minlength=head.out_features).clip(1)         # of a class without rows: as of one
    with torch.no_grad():
        head.bias.copy_(torch.from_numpy(np.log(counts / counts.sum())))


def tell_what_was_learnt(record: dict, control: bool = False) -> None:
    """Say how many of the classes the last state predicts, beside the majority class; warn where that is no more, but of a
    control, of which nothing else is expected."""
    learnt, majority = ptp_scores(record).values()
    said = (f"PTP's last state predicts the class of {100 * learnt:.1f} % of the rows of {chosen_by(record)}, the majority "
            f'class alone {100 * majority:.1f} %')
    if learnt > majority or control:
        logger.info(said)
    else:
        logger.warning("warning: %s: a student that starts from it can hardly have learnt the teacher's predictions; more "
                       '--num_train_epochs, another --learning_rate or --ptp_threshold, or --ptp_prior True may help', said)


def run_folder(args: argparse.Namespace, task: GlueTask) -> Path:
    """Where the encoder goes: --output_dir, or beside the teacher."""
    return given_folder(args) or teacher_folder(task, args.teacher_hidden_layers)


def accuracy(split: TokenizedSplit, logits: np.ndarray) -> dict[str, float]:
    """The share of rows whose PTP class logits [R, 4] tell, and the loss."""
    return scores(logits, split.labels, lambda preds, labels: {'acc': float((preds == labels).mean())})


if __name__ == '__main__':
    run_script(main)
