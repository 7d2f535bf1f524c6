"""One evaluation for every script."""
import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from BERT.pytorch_pretrained_bert.inference import packed_for_inference
from src.data_processing import TokenizedSplit
from src.distributed import gathered, is_main, own_batches, summed
from src.KD_loss import task_loss
from src.modeling import SequenceClassifier
from src.nli_data_processing import GlueTask, compute_metrics
from src.stopping import stop_if_asked
from src.utils import PRECISIONS, autocast


class Predictions(NamedTuple):
    """Outputs of the model for `rows` of a split."""
    rows: np.ndarray      # [B]
    logits: Tensor        # [B, C]
    pooled: Tensor        # [B, H]
    cls_states: Tensor    # [B, L, H]


def predict(model: SequenceClassifier, split: TokenizedSplit, batch_size: int, precision: str,
            progress: str | None = None, done: int = 0) -> Iterator[Predictions]:
    """The model's outputs for all rows of a split but the first `done`, in batches by length, on the CPU in fp32.

    Until the last batch is taken, or the generator closed, the model is in evaluation mode, its layers laid out for that:
    it can neither train nor be saved. progress: what to call the bar; None: no bar. Of several processes each computes some
    of the batches, and rank 0 is given them all, in order, the others none."""
    with contextlib.closing(_own_predictions(model, split, batch_size, precision, progress, done)) as shares:
        for own in shares:
            yield from gathered(own)


def _own_predictions(model: SequenceClassifier, split: TokenizedSplit, batch_size: int, precision: str,
                     progress: str | None, done: int = 0) -> Iterator[Predictions | None]:
    """What this process computes of `predict`, see own_batches."""
    device = next(model.parameters()).device
    batches = list(own_batches(list(split.batches_by_length(batch_size, done))))
    was_training = model.training
    model.eval()
    try:
        with packed_for_inference(model.encoder, PRECISIONS[precision]):
            for rows in tqdm(batches, desc=progress, unit='batch', disable=progress is None or not is_main()):
                stop_if_asked()
                if rows is None:
                    yield None
                    continue
                with torch.inference_mode(), autocast(device, precision):
                    outputs = [output.float().cpu() for output in model(split.batch(rows).to(device))]
                yield Predictions(rows, *outputs)
    finally:
        model.train(was_training)


def predict_logits(model: SequenceClassifier, split: TokenizedSplit, batch_size: int, precision: str,
                   progress: str | None = None) -> np.ndarray:
    """Logits float32 [R, C] of all rows, on every process."""
    logits = np.zeros((len(split), model.classifier.classifier.out_features), np.float32)
    for batch in _own_predictions(model, split, batch_size, precision, progress):
        if batch:
            logits[batch.rows] = batch.logits.numpy()
    return summed(torch.from_numpy(logits)).numpy()


def logits_in_batches(of_rows: Callable[[np.ndarray], np.ndarray], split: TokenizedSplit, batch_size: int) -> np.ndarray:
    """Logits float32 [R, C] of all rows of a split by a function of a batch's row numbers [B], in batches by length of so
    many rows each."""
    rows = split.by_length(np.arange(len(split)))
    batches = [rows[start:start + batch_size] for start in range(0, len(rows), batch_size)]
    return np.concatenate([of_rows(batch) for batch in batches])[np.argsort(rows)]


def scores(logits: np.ndarray, labels: np.ndarray, metrics: Callable[[np.ndarray, np.ndarray], dict]) -> dict[str, float]:
    """Metrics of logits [R, C] against labels [R], and `loss`, the mean over the rows."""
    loss = task_loss(torch.from_numpy(logits), torch.from_numpy(labels))
    return {**metrics(predicted_labels(logits), labels), 'loss': loss.item()}


def task_scores(split: TokenizedSplit, logits: np.ndarray) -> dict[str, float]:
    """Metrics of the split's task, and `loss`, of logits [R, C] for all its rows."""
    return scores(logits, split.labels, partial(compute_metrics, split.task))


def teacher_scores(task: GlueTask, labels: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    """What a teacher's result file tells of a split: the task's metrics, `loss`, and `acc`, which is the accuracy also
    where the metric is another, and in regression the metric that decides."""
    result = scores(logits, labels, partial(compute_metrics, task.name))
    return result | {'acc': float((predicted_labels(logits) == labels).mean()) if task.labels else result[task.metric]}


def predicted_labels(logits: np.ndarray) -> np.ndarray:
    """Class numbers of logits [R, C]; for one output its value."""
    return logits[:, 0] if logits.shape[1] == 1 else logits.argmax(1)


def in_words(task: GlueTask, logits: np.ndarray) -> list[str] | list[np.float32]:
    """The label's word of each row of logits [R, C]; for regression the value, cut to its range."""
    predictions = predicted_labels(logits)
    if task.labels is None:
        return list(np.clip(predictions, *task.score_range))
    return [task.labels[number] for number in predictions]
