"""Result files of fold teachers made one, in which each training row has the outputs of the teacher that has not learnt it.

Legend: N training rows, K folds.
"""
import json
from pathlib import Path

import numpy as np

from BERT.pytorch_pretrained_bert.file_utils import InputError
from BERT.pytorch_pretrained_bert.writing import replace_file
from src.data_processing import SPLITS, fold_rows, hold_out, parse_fold
from src.distributed import is_main
from src.evaluation import teacher_scores
from src.nli_data_processing import find_task
from src.run_lock import only_writer
from src.teacher_outputs import STATE_ROWS_AT_ONCE, TENSORS, ResultWriter, TeacherOutputs, row_by_row

Fold = tuple[TeacherOutputs, dict]      # a result file, and its teacher's fold (see earlier_runs.teacher_marks)


def join_folds(paths: list[Path], joined: Path) -> dict[str, float]:
    """Write `joined` from the result files of the teachers of all K folds; returns the scores of train.

    Rows that no teacher has learnt (held out, dev, test) have the outputs of the teacher of the first fold: those of one
    teacher, as each training row's are; a mean of several would be surer of itself than any. InputError when folds are
    missing or there twice, or the files are of other rows, another task, tokenizer, holdout or kind."""
    folds = _in_order([(outputs, _fold_of(outputs)) for outputs in map(_open, paths)])
    first, made = folds[0]
    for outputs, of_other in folds:
        _check_alike(first, outputs)
        if of_other['rows'] != json.loads(outputs.metadata['train'])['order of rows']:
            raise InputError(f'--join {outputs.path}: its teacher learnt from other rows than it predicts, or with another '
                             'tokenizer or length limit; make it anew with the data of the training')
    source = _sources(folds, first.arrays['train_labels'], made)
    found = _train_scores(folds, source)
    if is_main():
        with only_writer(joined), replace_file(joined) as temporary:
            _write(temporary, folds, source, found)
    return found


def _write(path: Path, folds: list[Fold], source: np.ndarray, found: dict[str, float]) -> None:
    """Write the joined file: rows of train from their sources, with these scores, all else from the first fold's file."""
    first = folds[0][0]
    metadata = {name: first.metadata[name] for name in ('format', 'holdout', *_splits(first))} | _joined_marks(folds)
    writer = ResultWriter(path, {name: (array.dtype, array.shape) for name, array in first.arrays.items()},
                          row_by_row(first.arrays), metadata)
    with writer.file:
        for name, array in first.arrays.items():
            kind = TENSORS[name]
            train = kind.split == 'train'
            if kind.rank == 0:
                writer.put(name, None, np.array(found[kind.what]) if train else array)
            elif kind.by_row:
                _put_rows(writer, name, folds, source if train else np.zeros(len(array), np.int64))
            else:
                of_all = np.stack([outputs.arrays[name] for outputs, _ in folds])
                writer.put(name, None, of_all[source, np.arange(len(array))] if train else array)
        writer.close()


def _open(path: Path) -> TeacherOutputs:
    try:
        return TeacherOutputs.open(path)
    except InputError as error:
        raise InputError(f'--join: {error}') from None


def _splits(outputs: TeacherOutputs) -> list[str]:
    """The splits that a result file has."""
    return [name for name in SPLITS if name in outputs.metadata]


def _fold_of(outputs: TeacherOutputs) -> dict:
    if 'fold' not in outputs.metadata:
        raise InputError(f'--join {outputs.path}: it does not say that its teacher left out a fold; train one with --fold, '
                         'and let save_teacher_outputs.py find its run.json beside its weights')
    made = json.loads(outputs.metadata['fold'])
    if not isinstance(made, dict) or not {'fold', 'holdout', 'holdout_seed', 'rows'} <= made.keys():
        raise InputError(f'--join {outputs.path}: what it says of its fold is damaged; make it anew')
    return made


def _in_order(folds: list[Fold]) -> list[Fold]:
    """The files by fold; InputError when they are not those of all folds of one division."""
    divisions = {_division(made) for _, made in folds}
    if len(divisions) > 1:
        raise InputError('--join: the teachers left out folds of different divisions, which overlap: '
                         + '; '.join(sorted(divisions)))
    folds = sorted(folds, key=lambda fold: parse_fold(fold[1]['fold'])[0])
    numbers, wanted = [parse_fold(made['fold'])[0] for _, made in folds], parse_fold(folds[0][1]['fold'])[1]
    if numbers != list(range(1, wanted + 1)):
        raise InputError(f'--join: the files are of folds {", ".join(map(str, numbers))} of {wanted}; give one of each')
    return folds


def _division(made: dict) -> str:
    return f'{parse_fold(made["fold"])[1]} folds with --holdout {made["holdout"]} --holdout_seed {made["holdout_seed"]}'


def _check_alike(first: TeacherOutputs, other: TeacherOutputs) -> None:
    """InputError that says what differs when two files are not of the same rows and kind."""
    for name in _splits(first):
        rows, others = (json.loads(outputs.metadata.get(name, '{}')) for outputs in (first, other))
        for what, value in rows.items():
            if others.get(what, 'none') != value:
                raise InputError(f'--join: {first.path} and {other.path} were made from different {name} sets: their '
                                 f'{what} differ: {value[:24]} and {others.get(what, "none")[:24]}')
    shapes, others = ({name: array.shape for name, array in outputs.arrays.items()} for outputs in (first, other))
    differing = [name for name in sorted({*shapes, *others}) if shapes.get(name) != others.get(name)]
    if differing:
        raise InputError(f'--join: {first.path} and {other.path} hold different outputs: {", ".join(differing)}; make all '
                         'with the same --all_layers, of teachers of one shape')


def _sources(folds: list[Fold], labels: np.ndarray, made: dict) -> np.ndarray:
    """Which of the files, 0 to K-1, each training row's outputs come from [N]."""
    source = np.zeros(len(labels), np.int64)
    learnt, _ = hold_out(labels, made['holdout'], made['holdout_seed'])
    for number, (_, own) in enumerate(folds):
        source[fold_rows(labels, learnt, own['fold'], made['holdout_seed'])] = number
    return source


def _train_scores(folds: list[Fold], source: np.ndarray) -> dict[str, float]:
    """Loss, acc and the other scores of the joined training rows."""
    logits = np.stack([outputs.arrays['train.pred_logit'] for outputs, _ in folds])[source, np.arange(len(source))]
    first = folds[0][0]
    labels = np.array(first.arrays['train_labels'])        # a copy: torch warns of memory that cannot be written
    return teacher_scores(find_task(json.loads(first.metadata['train'])['task']), labels, logits)


def _put_rows(writer: ResultWriter, name: str, folds: list[Fold], source: np.ndarray) -> None:
    """Write a tensor of the large ones, each row from its source, few rows in memory at a time."""
    for number, (outputs, _) in enumerate(folds):
        rows = np.flatnonzero(source == number)
        for start in range(0, len(rows), STATE_ROWS_AT_ONCE):
            part = rows[start:start + STATE_ROWS_AT_ONCE]
            writer.put(name, part, outputs.rows(name, part))
        outputs.forget_pages()


def _joined_marks(folds: list[Fold]) -> dict[str, str]:
    """What the joined file says of its teachers: of each its file, fold and marks, and the marks of all."""
    names = ('teacher', 'encoder_sha256', 'classifier_sha256', 'precision')
    marks = [{'file': outputs.path.name, 'fold': made['fold'], **{name: outputs.metadata.get(name, '') for name in names}}
             for outputs, made in folds]
    of_all = {name: ' '.join(dict.fromkeys(mark[name] for mark in marks)) for name in names}
    return {**of_all, 'joined': json.dumps(marks)}
