"""Write what a fine-tuned teacher says of every row of train, dev and test: its result file.

    python save_teacher_outputs.py
    python save_teacher_outputs.py --task RTE --teacher_hidden_layers 12 --encoder_checkpoint BERT.encoder_loss.pkl
    python save_teacher_outputs.py --task SST-2 --teacher_model FOLDER
    python save_teacher_outputs.py --join fold1.pkl,fold2.pkl --teacher_prediction joined.pkl

PTP.py takes its labels from that file, NLI_KD_training.py the logits (kd) and the [CLS] states of all layers (pkd).
--teacher_model: a BertForSequenceClassification of Hugging Face's. --join: one file of teachers trained with --fold.

Reads   the teacher's two files (by default from data/outputs/KD/{task}/teacher_{L}layer) and the task's splits
Writes  data/outputs/KD/{task}/{task}_patient_kd_teacher_{L}layer_result_summary.pkl, ..._normal_kd_... without those states.
        For each split S in train, dev, test: S.pred_logit [rows, classes], S.pooled_feature_maps [rows, hidden],
        S.feature_maps, the [CLS] states [rows, layers, hidden], layer 1 first (patient only), S.loss, S.acc, S_labels
        [rows], S_pred_answers [rows], true where correct (not for test), and what identifies rows and tokenizer.
Prints  the teacher's scores on train and dev: one that is right on nearly all of train has nothing left to teach PTP

Without flags the constants below hold; a flag goes before its constant. Other flags: --help, or README.md.
"""
import argparse
import logging
from pathlib import Path

import numpy as np

from BERT.pytorch_pretrained_bert import BertConfig
from BERT.pytorch_pretrained_bert.file_utils import InputError, checkpoint_folder, path_of
from src.argument_parser import TEACHER, parse
from src.checkpoints import best_saved, checkpoint_places, find_checkpoint, load_saved
from src.data_processing import SPLITS, TokenizedSplit, load_split, missing_files
from src.dump import dump
from src.earlier_runs import check_teacher, teacher_marks
from src.evaluation import predicted_labels, teacher_scores
from src.hugging_face import load_hf_teacher
from src.joined_outputs import join_folds
from src.modeling import SequenceClassifier
from src.nli_data_processing import GlueTask, find_task
from src.preparation import Setup, set_up
from src.teacher_outputs import check_replaceable, result_file, teacher_folder, teachers_of_other_sizes
from src.utils import run_script

logger = logging.getLogger(__name__)

# ----------------------------------------------------------------------------------------------------------------------
# Edit these five, or give the flag named beside each; a flag goes before its constant.
#
# TASK             a GLUE task, in any case
# TEACHER_LAYERS   the teacher's layers; they name its folder, data/outputs/KD/{task}/teacher_{L}layer
# ALL_LAYERS       True: the [CLS] states of all layers, which pkd needs; False: without them, a smaller file for kd and PTP
# ENCODER_FILE     a path, or a name in the teacher's folder, say 'BERT.encoder_loss.pkl' (lowest dev loss). None: the
#                  state best by dev metric if it was saved, else the one of lowest dev loss, else the final one
# CLASSIFIER_FILE  likewise; None: the one saved with the encoder
# PTP.py and NLI_KD_training.py find the file by task and --teacher_hidden_layers, or by --teacher_prediction.
# ----------------------------------------------------------------------------------------------------------------------

TASK = 'MRPC'             # --task
TEACHER_LAYERS = 12       # --teacher_hidden_layers
ALL_LAYERS = True         # --all_layers
ENCODER_FILE = None       # --encoder_checkpoint
CLASSIFIER_FILE = None    # --cls_checkpoint


def main(argv: list[str] | None = None) -> None:
    """Make the result file of a teacher, or of the teachers of all folds."""
    args = parse_flags(argv)
    task = find_task(args.task)
    if args.join:
        path = result_path(args, task, args.teacher_hidden_layers)
        of_folds = [find_checkpoint('join', name, []) for name in args.join]
        if path.resolve() in [file.resolve() for file in of_folds]:
            raise InputError(f'--teacher_prediction {path}: --join reads this file; name another one to write')
        log_scores('train', join_folds(of_folds, path))
    else:
        path = save_outputs(args, task)
    logger.info('saved in %s', path)


def parse_flags(argv: list[str] | None = None) -> argparse.Namespace:
    """The arguments; what flags leave open, the constants say."""
    return parse(TEACHER, __doc__, argv, {
        'task': TASK, 'teacher_hidden_layers': TEACHER_LAYERS, 'all_layers': ALL_LAYERS, 'load_model': ENCODER_FILE,
        'cls_checkpoint': CLASSIFIER_FILE})


def splits_of(task: GlueTask) -> tuple[str, ...]:
    """The splits that a teacher predicts; some tasks have no test set."""
    return tuple(name for name in SPLITS if name != 'test' or task.files(name))


def check_files(args: argparse.Namespace, task: GlueTask) -> tuple[Path, Path] | None:
    """The teacher's files; None with --teacher_model. InputError that tells of all files of the task and of its teacher that
    are missing, before any is read."""
    problems, files = missing_files(task, splits_of(task)), None
    if not args.teacher_model:
        try:
            files = teacher_files(args, task)
        except (InputError, FileNotFoundError) as error:
            problems.append(str(error))
    if problems:
        raise InputError('; '.join(problems))
    return files


def save_outputs(args: argparse.Namespace, task: GlueTask) -> Path:
    """Load the teacher, let it predict every split, write the file, print its scores; returns the file."""
    files = check_files(args, task)
    setup = set_up(args, checkpoint_folder(args.teacher_model, 'teacher_model') if args.teacher_model else None)
    path = result_path(args, task, teacher_layers(args, setup))
    model, made_by = load_teacher(args, setup, task, files)
    splits = {name: load_split(task, name, setup.tokenizer, args.max_seq_length) for name in splits_of(task)}
    dump(args, path, model.to(setup.device), splits, scorer(task, splits), made_by | {'precision': setup.precision})
    return path


def teacher_layers(args: argparse.Namespace, setup: Setup) -> int:
    """--teacher_hidden_layers; with --teacher_model its layers, of which the flag may say nothing else."""
    layers = args.teacher_hidden_layers
    if args.teacher_model and layers != setup.config.num_hidden_layers:
        layers = setup.config.num_hidden_layers
        if 'teacher_hidden_layers' in args.given:
            raise InputError(f'--teacher_hidden_layers {args.teacher_hidden_layers}: --teacher_model {args.teacher_model} '
                             f'has {layers} layers')
        logger.info('a teacher of %d layers: give PTP.py and NLI_KD_training.py --teacher_hidden_layers %d', layers, layers)
    return layers


def load_teacher(args: argparse.Namespace, setup: Setup, task: GlueTask,
                 files: tuple[Path, Path] | None) -> tuple[SequenceClassifier, dict[str, str]]:
    """The teacher with its weights, and what the result file says of it; files: its own, None with --teacher_model."""
    if args.teacher_model:
        model, source, outputs = load_hf_teacher(args, setup.checkpoint, setup.config, task)
        return model, teacher_marks(source, source) | {'teacher': setup.checkpoint.name, 'outputs': outputs}
    check_teacher(setup, task, files)
    logger.info('teacher: %s, %s', *files)
    config = BertConfig.from_dict({**setup.config.to_dict(), 'num_hidden_layers': args.teacher_hidden_layers})
    config.check_room(files[0])
    model = SequenceClassifier(config, task.num_labels)
    load_saved(model, files)
    return model, teacher_marks(*files)


def teacher_files(args: argparse.Namespace, task: GlueTask) -> tuple[Path, Path]:
    """The two files that flags name, or, without a flag, constants; where one is not named, it is the other's neighbour,
    and where none is, they are the pair of the folder of the task's teacher that best_saved finds."""
    layers = args.teacher_hidden_layers
    folder = teacher_folder(task, layers)
    both = ('load_model', 'cls_checkpoint')
    named = [name for name in both if name in args.given] or both
    encoder, classifier = (getattr(args, name) if name in named else None for name in both)
    if encoder is None and classifier is None:
        try:
            return best_saved(folder)
        except FileNotFoundError as error:
            others = '; or name another state with --encoder_checkpoint' if any(folder.glob('BERT.encoder*.pkl')) else (
                teachers_of_other_sizes(task, layers))
            raise FileNotFoundError(f'{error}{others}') from None
    encoder = encoder or neighbour('cls_checkpoint', classifier, '.cls', '.encoder', 'encoder_checkpoint')
    classifier = classifier or neighbour('encoder_checkpoint', encoder, '.encoder', '.cls', 'cls_checkpoint')
    return tuple(find_checkpoint(flag, name, checkpoint_places(args, task))
                 for flag, name in (('encoder_checkpoint', encoder), ('cls_checkpoint', classifier)))


def neighbour(flag: str, name: str, part: str, other_part: str, other_flag: str) -> str:
    """The file saved with the one that a flag names, by the field's names: BERT.encoder_acc.pkl, BERT.cls_acc.pkl."""
    path = Path(name)
    if part not in path.name:
        raise InputError(f'--{flag} {name}: its name has no {part} to tell the file saved with it; give --{other_flag} too')
    return str(path.with_name(path.name.replace(part, other_part)))


def result_path(args: argparse.Namespace, task: GlueTask, layers: int) -> Path:
    """--teacher_prediction, or the place of the task's teacher of so many layers.

    InputError for a folder, and where a file of another kind would be lost."""
    if args.teacher_prediction:
        path = path_of(args.teacher_prediction).resolve()
        if path.is_dir():
            raise InputError(f'--teacher_prediction {args.teacher_prediction}: that is a folder; name a file')
    else:
        path = result_file(task, layers, args.all_layers)
    check_replaceable(path)
    return path


def scorer(task: GlueTask, splits: dict[str, TokenizedSplit]):
    """(split's name, logits [N, C]) -> loss, acc and which rows are predicted correctly; prints the scores."""
    def score(name: str, logits: np.ndarray) -> dict:
        labels = splits[name].labels
        result = teacher_scores(task, labels, logits)
        log_scores(name, result)
        return {'loss': result['loss'], 'acc': result['acc'], 'answers': predicted_labels(logits) == labels}
    return score


def log_scores(name: str, result: dict[str, float]) -> None:
    """Print the scores of a split."""
    logger.info('%-5s  %s', name, '  '.join(f'{key} {value:.4f}' for key, value in result.items()))


if __name__ == '__main__':
    run_script(main)
