"""One training loop for fine-tuning, distillation and PTP.

Legend: R training rows, B rows of a batch, C classes, L passes, H hidden, P matched passes.
"""
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from BERT.pytorch_pretrained_bert import BertAdam
from BERT.pytorch_pretrained_bert.optimization import no_decay_groups
from src.checkpoints import remove_checkpoints, save_model
from src.data_processing import TokenizedSplit
from src.KD_loss import distillation_loss, patience_loss
from src.mixed_precision import MixedPrecision
from src.modeling import SequenceClassifier
from src.run_log import RunLog
from src.teacher_outputs import TeacherOutputs
from src.utils import epoch_order

PAGES_KEPT_STEPS = 200   # steps after which the pages read of a teacher's result file are given back


class Losses(NamedTuple):
    """Batch means, and the number of correct predictions as a share (nan for regression)."""
    total: Tensor
    kd: Tensor
    ce: Tensor
    patience: Tensor
    accuracy: Tensor


@dataclass
class Objective:
    """What the model learns: labels, and from a teacher logits (KD) and [CLS] states (PKD).

    patience: (teacher layers, student passes) to match, or None."""
    labels: np.ndarray                              # [R]
    teacher: TeacherOutputs | None = None
    alpha: float = 0.0
    T: float = 1.0
    beta: float = 0.0
    normalize_patience: bool = True
    patience: tuple[list[int], list[int]] | None = None

    def __post_init__(self):
        outputs = self.teacher.split('train') if self.teacher else {}
        self.teacher_logits = outputs.get('pred_logit')                                   # [R, C]

    def __call__(self, rows: np.ndarray, logits: Tensor, cls_states: Tensor) -> Losses:
        """Losses of a batch from its logits [B, C] and [CLS] states [B, L, H]."""
        device = logits.device
        labels = torch.from_numpy(self.labels[rows]).to(device)                           # [B]
        teacher_logits = None
        if self.teacher_logits is not None:
            teacher_logits = torch.from_numpy(self.teacher_logits[rows]).to(device)       # [B, C]
        total, kd, ce = distillation_loss(logits, labels, teacher_logits, self.T, self.alpha)
        patience = total.new_zeros(())
        if self.patience:
            layers, passes = self.patience
            feature_maps = self.teacher.rows('train.feature_maps', rows)                   # [B, K, H]
            states = torch.from_numpy(feature_maps[:, layers]).to(device)                  # [B, P, H]
            patience = patience_loss(states, cls_states[:, passes], self.normalize_patience)
            total = total + self.beta * patience
        regression = labels.is_floating_point()
        accuracy = total.new_tensor(math.nan) if regression else (logits.argmax(1) == labels).float().mean()
        return Losses(total, kd, ce, patience, accuracy)


@dataclass
class Settings:
    """How long and how a run trains; the names are those of the flags."""
    train_batch_size: int
    gradient_accumulation_steps: int
    num_train_epochs: float
    learning_rate: float
    warmup_proportion: float
    log_every_step: int
    eval_every: int
    saving_criterion_acc: float
    saving_criterion_loss: float
    loss_scale: float
    seed: int
    precision: str


class Trainer:
    """Trains a model on rows of a split and keeps, in a folder, its best states by metric and by loss and its last one.

    evaluate: () -> scores, with `loss`, on the rows that choose; metric: the score that decides; prefix: of the
    checkpoint files; log_folder: for the logs; rows: numbers of the rows to learn from, None for all; chosen_by: what
    the rows that choose are called, dev or holdout."""

    def __init__(self, model: SequenceClassifier, split: TokenizedSplit, objective: Objective, settings: Settings,
                 evaluate: Callable[[], dict[str, float]], metric: str, folder: Path, prefix: str,
                 log_folder: Path, rows: np.ndarray | None = None, chosen_by: str = 'dev'):
        self.model, self.split, self.objective, self.settings = model, split, objective, settings
        self.evaluate, self.metric, self.folder, self.prefix = evaluate, metric, folder, prefix
        self.rows, self.chosen_by = np.arange(len(split)) if rows is None else rows, chosen_by
        self.steps_per_epoch = math.ceil(len(self.rows) / settings.train_batch_size)
        self.total_steps = max(1, round(self.steps_per_epoch * settings.num_train_epochs))
        groups = no_decay_groups(model.named_parameters())
        self.optimizer = BertAdam(groups, settings.learning_rate, settings.warmup_proportion, self.total_steps)
        self.device = next(model.parameters()).device
        self.mixed_precision = MixedPrecision(model, self.optimizer, self.device, settings.precision,
                                              settings.loss_scale)
        self.log = RunLog(log_folder)
        remove_checkpoints(folder, prefix)     # an earlier run's best state is not this one's
        self.best: dict[str, tuple[float, dict]] = {}    # 'metric', 'loss' -> (value, scores) at the best step
        self.last: dict[str, float] = {}
        self.saved: set[str] = set()
        self.evaluation_seconds = 0.0

    def train(self, name: str) -> dict:
        """Run all steps; returns the scores at the best and the last step, and seconds. `name` stands at the bar."""
        started = time.perf_counter()
        self.model.train()
        with tqdm(total=self.total_steps, desc=name, unit='step') as progress:
            for epoch in range(math.ceil(self.total_steps / self.steps_per_epoch)):
                self._train_epoch(epoch, progress)
        self._save('')
        seconds = time.perf_counter() - started
        scores = {'saved': self._saved_scores(), 'last': self.last, 'best': self.best['metric'][1],
                  'lowest_loss': self.best['loss'][1]}
        return {'steps': self.total_steps, **{f'{self.chosen_by}_{state}': of_state for state, of_state in scores.items()},
                'seconds_training': seconds - self.evaluation_seconds, 'seconds_evaluation': self.evaluation_seconds}

    def _saved_scores(self) -> dict[str, float]:
        """Scores of the state that checkpoints.best_saved finds."""
        if '_acc' in self.saved:
            return self.best['metric'][1]
        return self.best['loss'][1] if '_loss' in self.saved else self.last

    def _train_epoch(self, epoch: int, progress: tqdm) -> None:
        order = self.rows[epoch_order(self.settings.seed, epoch, len(self.rows))]
        sums, seen = torch.zeros(5, device=self.device), 0
        for step in range(self.steps_per_epoch):
            global_step = epoch * self.steps_per_epoch + step + 1
            rows = order[step * self.settings.train_batch_size:(step + 1) * self.settings.train_batch_size]
            sums += self._train_step(rows)
            seen += len(rows)
            last = global_step == self.total_steps
            if global_step % self.settings.log_every_step == 0 or last:
                means = dict(zip(('loss', 'kd', 'ce', 'patience', 'acc'), (sums / seen).tolist(), strict=True))
                self.log.train_row(epoch, global_step, step, means)
                progress.set_postfix(loss=f'{means["loss"]:.4f}', **self._postfix(), refresh=False)
            progress.update()
            if self.objective.teacher and global_step % PAGES_KEPT_STEPS == 0:
                self.objective.teacher.forget_pages()
            if self._evaluation_due(epoch, step) or last:
                self._evaluate(epoch, global_step)
            if last:
                return

    def _train_step(self, rows: np.ndarray) -> Tensor:
        """One update from a batch, in gradient_accumulation_steps parts; returns the losses' sums over its rows."""
        sums = torch.zeros(5, device=self.device)
        for part in np.array_split(rows, min(self.settings.gradient_accumulation_steps, len(rows))):
            part = self.split.by_length(part)
            with self.mixed_precision.forward_context():
                logits, _, cls_states = self.model(self.split.batch(part).to(self.device))
            losses = self.objective(part, logits, cls_states)
            self.mixed_precision.backward(losses.total * (len(part) / len(rows)))
            sums += torch.stack([loss.detach() for loss in losses]) * len(part)
        self.mixed_precision.step()
        return sums

    def _evaluation_due(self, epoch: int, step: int) -> bool:
        """At every epoch's end, and from the second epoch on every eval_every steps."""
        return step + 1 == self.steps_per_epoch or (epoch > 0 and (step + 1) % self.settings.eval_every == 0)

    def _evaluate(self, epoch: int, global_step: int) -> None:
        started = time.perf_counter()
        scores = self.evaluate()
        self.last = {**scores, 'global_step': global_step}
        self.log.eval_row(epoch, global_step, scores)
        if self._is_best('metric', scores[self.metric]) and scores[self.metric] > self.settings.saving_criterion_acc:
            self._save('_acc')
        if self._is_best('loss', -scores['loss']) and scores['loss'] < self.settings.saving_criterion_loss:
            self._save('_loss')
        self.evaluation_seconds += time.perf_counter() - started

    def _save(self, criterion: str) -> None:
        save_model(self.model, self.folder, self.prefix, criterion)
        self.saved.add(criterion)

    def _is_best(self, criterion: str, value: float) -> bool:
        """Whether `value` is above all earlier ones; if so, it and the last scores are the best."""
        if criterion in self.best and not value > self.best[criterion][0]:
            return False
        self.best[criterion] = (value, self.last)
        return True

    def _postfix(self) -> dict[str, str]:
        return {f'{self.chosen_by}_{self.metric}': f'{self.last[self.metric]:.4f}'} if self.last else {}
