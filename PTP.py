"""Pretrain a student with its teacher's predictions (PTP; Pea-KD, section 3.3).

    python PTP.py --task MRPC --model_type SPS --student_hidden_layers 3

For each training row the student learns to tell whether the teacher is right or wrong on it, and confident or not:
four classes, divided by thresholds (a table in src/nli_data_processing.py; --ptp_threshold). Its encoder then starts
NLI_KD_training.py with --load_model; the head of four outputs has no further use. Flags: --help, or README.md.
"""
import argparse
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.special import softmax

from BERT.pytorch_pretrained_bert.file_utils import InputError
from src.argument_parser import PTP, parse
from src.data_processing import TokenizedSplit, load_split
from src.evaluation import predict_logits, scores
from src.modeling import SequenceClassifier
from src.nli_data_processing import PTP_CLASSES, GlueTask, find_task, ptp_labels, ptp_thresholds
from src.runs import (
    Setup,
    build_model,
    find_inputs,
    given_folder,
    input_marks,
    open_teacher,
    seed_run,
    set_up,
    settings,
    student_config,
    teacher_folder,
    train_and_record,
    wiring_name,
)
from src.teacher_outputs import TeacherOutputs
from src.training import Objective, Trainer
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
    setup = set_up(args)
    find_inputs(args, task)
    folder = run_folder(args, task)
    student_config(args, setup.config)
    teacher = open_teacher(args, task, states=False)
    splits = {name: load_split(task, name, setup.tokenizer, args.max_seq_length) for name in ('train', 'dev')}
    splits, thresholds, counts = label_splits(args, task, teacher, splits)
    seed = seed_run(args.PTP_seed)
    model = build_model(args, setup, len(PTP_CLASSES), task)
    name = f'PTP.{wiring_name(args)}_{model.config.num_hidden_layers}layer'
    trainer = Trainer(model, splits['train'], Objective(splits['train'].labels), settings(args, setup, task, seed),
                      evaluator(args, setup, model, splits['dev']), 'acc', folder, name, folder / name)
    inputs = input_marks(args, task, splits['train'], teacher)
    train_and_record(args, setup, trainer, PTP, inputs, {'task': task.name, 'thresholds': thresholds, 'ptp_counts': counts})


def label_splits(args: argparse.Namespace, task: GlueTask, teacher: TeacherOutputs,
                 splits: dict[str, TokenizedSplit]) -> tuple[dict[str, TokenizedSplit], tuple, dict]:
    """The splits with PTP labels in place of the task's, the thresholds (fixed on train), and the counts of classes."""
    labelled, counts, thresholds = {}, {}, None
    for name, split in splits.items():
        teacher.check(name, split)
        outputs = teacher.split(name)
        confidence, correct = softmax(outputs['pred_logit'], axis=1).max(axis=1), outputs['pred_answers']
        if thresholds is None:
            thresholds = ptp_thresholds(task.name, args.ptp_threshold, confidence, correct)
            logger.info('PTP thresholds: t1 %.4f, t2 %.4f', *thresholds)
        labels = ptp_labels(confidence, correct, thresholds)
        labelled[name] = replace(split, labels=labels)
        counts[name] = dict(zip(PTP_CLASSES, np.bincount(labels, minlength=len(PTP_CLASSES)).tolist(), strict=True))
        logger.info('PTP labels of %s: %s', name, ', '.join(f'{what} {count}' for what, count in counts[name].items()))
    warn_of_rare_classes(counts['train'])
    return labelled, thresholds, counts


def warn_of_rare_classes(counts: dict[str, int]) -> None:
    """Say so when a class has nearly no rows: a teacher that has memorised its training set makes such labels."""
    rare = [what for what, count in counts.items() if count < RARE * sum(counts.values())]
    if rare:
        logger.warning('warning: under %.0f %% of the training rows are %s. Labels of a teacher that has memorised its '
                       'training set can do harm; take an earlier teacher (BERT.encoder_loss.pkl) or other thresholds '
                       '(--ptp_threshold)', 100 * RARE, ' or '.join(rare))


def run_folder(args: argparse.Namespace, task: GlueTask) -> Path:
    """Where the encoder goes: --output_dir, or beside the teacher."""
    return given_folder(args) or teacher_folder(task, args.teacher_hidden_layers)


def evaluator(args: argparse.Namespace, setup: Setup, model: SequenceClassifier, dev: TokenizedSplit):
    """() -> the share of dev rows whose class the model tells, and the loss."""
    def evaluate() -> dict[str, float]:
        logits = predict_logits(model, dev, args.eval_batch_size, setup.precision)
        return scores(logits, dev.labels, lambda preds, labels: {'acc': float((preds == labels).mean())})
    return evaluate


if __name__ == '__main__':
    run_script(main)
