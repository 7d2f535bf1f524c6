"""One training loop for fine-tuning, distillation and PTP."""
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from BERT.pytorch_pretrained_bert import BertAdam
from BERT.pytorch_pretrained_bert.file_utils import InputError
from BERT.pytorch_pretrained_bert.optimization import no_decay_groups
from BERT.pytorch_pretrained_bert.writing import remove_temporaries
from src.checkpoints import SAVED_STATES, checkpoint_files, save_model, settle, state_name
from src.data_processing import TokenizedSplit
from src.distributed import (
    from_main,
    gathered,
    gradients_joined,
    highest,
    is_main,
    own_rows,
    parallel,
    rank,
    seed_dropout,
    share,
    summed,
    world_size,
)
from src.mixed_precision import MixedPrecision
from src.modeling import SequenceClassifier
from src.objective import Losses, Objective
from src.run_log import LOG_FILES, RunLog
from src.stopping import stop_if_asked
from src.training_state import STATE_FILE, Period, outline_of, random_state, set_random_state, write_state
from src.utils import RunError, epoch_order

PAGES_KEPT_STEPS = 50   # steps after which the pages read of a teacher's result file are given back


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
    checkpoint_every: str | None = None
    report_to: tuple[str, ...] = ()


class Trainer:
    """Trains a model on rows of a split and keeps, in a folder, its best states by metric and by loss and its last one.

    evaluate: () -> scores, with `loss`, on the rows that choose; metric: the score that decides; prefix: of the
    checkpoint files; log_folder: for the logs and the training state; rows: numbers of the rows to learn from, None for
    all; chosen_by: what the rows that choose are called, dev or holdout. Nothing is written before `train`.

    Several processes each compute a part of every batch and go through all else alike; rank 0 alone writes."""

    # What a training state holds of these, as JSON; weights, averages and generators are beside it.
    PROGRESS = ('steps', 'evaluated_at', 'seen', 'best', 'last', 'saved', 'evaluation_seconds')

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
        self.parallel = parallel(model, bool(model.config.idle_layers()))
        self.log = RunLog(log_folder, settings.report_to, chosen_by)
        self.state_file = log_folder / STATE_FILE
        self.checkpoint = Period(settings.checkpoint_every)
        self.made_by: dict = {}
        self.kept: tuple | None = None           # how far the state on disk is; None: there is none
        self.steps = self.evaluated_at = 0       # steps done; how many were when dev was scored last
        self.sums, self.seen = torch.zeros(5, device=self.device), 0      # of losses over the epoch's rows; how many
        self.unchecked: list[tuple[int, np.ndarray, Tensor]] = []         # step, rows, its loss and gradients' norms [2]
        self.best: dict[str, tuple[float, dict]] = {}    # 'metric', 'loss' -> (value, scores) at the best step
        self.last: dict[str, float] = {}
        self.saved: dict[str, int] = {}          # criterion -> the step of its saved state
        self.clock_zero, self.evaluation_seconds = time.perf_counter(), 0.0

    @property
    def seconds(self) -> float:
        """Seconds of the run so far, in earlier processes too."""
        return time.perf_counter() - self.clock_zero

    def _begin(self, made_by: dict, state: dict | None) -> None:
        """Go on from a training state, or from the start: then what an earlier run left goes, but for weights that this one
        has no successor of yet."""
        self.made_by, self.clock_zero = made_by, time.perf_counter()
        outline = from_main(outline_of, state)
        if outline:
            self._load_state(outline, state)
            if self.steps > self.total_steps:
                raise InputError(f'--resume: {self.state_file} is of step {self.steps}, this run has {self.total_steps}: '
                                 'raise --num_train_epochs, or leave --resume out to start anew')
            self.kept = self._position()
        else:
            seed_dropout(self.settings.seed, 0)
        if is_main():
            self._begin_files(state)

    def _begin_files(self, state: dict | None) -> None:
        remove_temporaries(self.folder, f'{self.prefix}.')
        for prefix in LOG_FILES:                 # by name: PTP runs write beside the teacher that they learn from
            remove_temporaries(self.log.folder, prefix)
        told = self.made_by.get('arguments', {}) | {'seed': self.settings.seed}
        if state is None:
            self.state_file.unlink(missing_ok=True)
            self.log.begin(told)
        else:
            self.log.cut_back(state['progress']['log_bytes'], told, self.steps)
        settle(self.folder, self.prefix, self.saved)

    def train(self, name: str, made_by: dict | None = None, state: dict | None = None) -> dict:
        """Run all steps, or those that a training state leaves; returns the scores at the best and the last step, and
        seconds. `name` stands at the bar; made_by: what new states say that the run was made by.

        Where signals are held, one raises Stopped between two steps or in an evaluation. RunError when a loss or a gradient
        is not finite."""
        with self.log:
            self._begin(made_by or {}, state)
            self._run_steps(name)
        seconds = self.seconds
        scores = {'saved': self._saved_scores(), 'last': self.last, 'best': self.best['metric'][1],
                  'lowest_loss': self.best['loss'][1]}
        return {'steps': self.total_steps, **{f'{self.chosen_by}_{state}': of_state for state, of_state in scores.items()},
                SAVED_STATES: {state_name(criterion): step for criterion, step in self.saved.items()},
                'skipped_steps': self.mixed_precision.skipped,
                'seconds_training': seconds - self.evaluation_seconds, 'seconds_evaluation': self.evaluation_seconds}

    def _run_steps(self, name: str) -> None:
        self.model.train()
        with tqdm(total=self.total_steps, initial=self.steps, desc=name, unit='step', disable=not is_main()) as progress:
            self._evaluate_if_due()
            for epoch in range(self.steps // self.steps_per_epoch, math.ceil(self.total_steps / self.steps_per_epoch)):
                self._train_epoch(epoch, progress)
        if self.saved.get('') != self.steps:           # else a state said so: of a run stopped in its last scoring
            self._save('')
        if self.kept:
            self.keep_state()                    # lets the final pair, and best ones that wait, take their names

    def _saved_scores(self) -> dict[str, float]:
        """Scores of the state that checkpoints.best_saved finds."""
        if '_acc' in self.saved:
            return self.best['metric'][1]
        return self.best['loss'][1] if '_loss' in self.saved else self.last

    def _train_epoch(self, epoch: int, progress: tqdm) -> None:
        """The steps of an epoch that are left, with what is due after each."""
        order = self.rows[epoch_order(self.settings.seed, epoch, len(self.rows))]
        if self.steps == epoch * self.steps_per_epoch:
            self.sums, self.seen = torch.zeros(5, device=self.device), 0
        while self.steps < min((epoch + 1) * self.steps_per_epoch, self.total_steps):
            step = self.steps - epoch * self.steps_per_epoch
            rows = order[step * self.settings.train_batch_size:(step + 1) * self.settings.train_batch_size]
            self.sums += self._train_step(rows)
            self.seen += len(rows)
            self.steps += 1
            if self.steps % self.settings.log_every_step == 0 or self.steps == self.total_steps:
                self._log_means(epoch, step, progress)
            progress.update()
            if self.objective.teacher and self.steps % PAGES_KEPT_STEPS == 0:
                self.objective.teacher.forget_pages()
            self._evaluate_if_due()
            if self._checkpoint_due():
                self.keep_state()
            stop_if_asked()

    def _train_step(self, rows: np.ndarray) -> Tensor:
        """One update from a batch, in gradient_accumulation_steps parts; returns the losses' sums over its rows.

        Gradients are means over the processes, which need not have equally many of the rows: hence world_size."""
        sums = torch.zeros(len(Losses._fields), device=self.device)
        parts = np.array_split(rows, min(self.settings.gradient_accumulation_steps, len(rows)))
        for number, part in enumerate(parts, start=1):
            own, counted = own_rows(self.split.by_length(part))
            last = number == len(parts)
            with gradients_joined(self.parallel, last):
                with self.mixed_precision.forward_context():
                    logits, _, cls_states = self.parallel(self.split.batch(own).to(self.device))
                losses = self.objective(own, logits, cls_states)
                self.mixed_precision.backward(losses.total * (world_size() * counted / len(rows)), last)
            sums += torch.stack([loss.detach() for loss in losses]) * counted
        summed(sums)
        updated = self.mixed_precision.step()
        norms = self.optimizer.grad_norms if updated else 0.0      # of a skipped step fp16's scaler has seen to it
        self.unchecked.append((self.steps + 1, rows, torch.stack((sums[0], torch.as_tensor(norms, device=self.device)))))
        return sums

    def _log_means(self, epoch: int, step: int, progress: tqdm) -> None:
        self._check_finite()
        means = Losses(*(self.sums / self.seen).tolist())
        if is_main():
            self.log.train_row(epoch, self.steps, step, means.accuracy, means[:-1])
        progress.set_postfix(loss=f'{means.total:.4f}', **self._postfix(), refresh=False)

    def _check_finite(self) -> None:
        """RunError when a step since the last check had a loss or a gradient that is not finite.

        Called where the device is waited for anyway, and before anything is kept of the weights."""
        unchecked, self.unchecked = self.unchecked, []
        values = torch.stack([values for _, _, values in unchecked]).tolist() if unchecked else []
        for (step, rows, _), of_step in zip(unchecked, values, strict=True):
            for what, value in zip(('loss', 'gradient'), of_step, strict=True):
                if not math.isfinite(value):
                    raise self._not_finite(step, what, value, rows)

    def _not_finite(self, step: int, what: str, value: float, rows: np.ndarray | None = None) -> RunError:
        """The error that says so, with the rows of the batch and the last good state of the run."""
        batch = '' if rows is None else f'rows of train (counted from 0): {", ".join(map(str, sorted(rows)))}; '
        kept = 'there is no checkpoint yet (--checkpoint_every keeps some)'
        if self.kept:
            kept = f'the last checkpoint is {self.state_file}, of step {self.kept[0]}; --resume goes on from there'
        elif self.saved:
            criterion = max(self.saved, key=self.saved.get)
            encoder, _ = checkpoint_files(self.folder, self.prefix, criterion)
            kept = f'the last checkpoint is {encoder}, of step {self.saved[criterion]}'
        return RunError(f'step {step} of {self.total_steps}: the {what} is not finite ({value}); {batch}{kept}')

    def _evaluation_due(self) -> bool:
        """At the end of each epoch and of the training, and from the second epoch on every eval_every steps."""
        epoch, step = divmod(self.steps - 1, self.steps_per_epoch)
        return self.steps != self.evaluated_at and (
            step + 1 == self.steps_per_epoch or self.steps == self.total_steps
            or (epoch > 0 and (step + 1) % self.settings.eval_every == 0))

    def _evaluate_if_due(self) -> None:
        if not self._evaluation_due():
            return
        self._check_finite()
        started = time.perf_counter()
        try:
            scores = self.evaluate()
            if not math.isfinite(scores['loss']):
                raise self._not_finite(self.steps, f'loss on {self.chosen_by}', scores['loss'])
            self.last, self.evaluated_at = {**scores, 'global_step': self.steps}, self.steps
            if is_main():
                self.log.eval_row((self.steps - 1) // self.steps_per_epoch, self.steps, scores)
            if self._is_best('metric', scores[self.metric]) and scores[self.metric] > self.settings.saving_criterion_acc:
                self._save('_acc')
            if self._is_best('loss', -scores['loss']) and scores['loss'] < self.settings.saving_criterion_loss:
                self._save('_loss')
        finally:
            self.evaluation_seconds += time.perf_counter() - started

    def _save(self, criterion: str) -> None:
        """Save the weights as those of a criterion. While a training state is on disk the files wait under pending names for
        the next one, so that the state and the pairs that it tells of are always of the same step."""
        if is_main():
            save_model(self.model, self.folder, self.prefix, criterion, self.steps)
        self.saved[criterion] = self.steps
        if is_main() and not self.kept:
            settle(self.folder, self.prefix, self.saved)

    def _is_best(self, criterion: str, value: float) -> bool:
        """Whether `value` is above all earlier ones; if so, it and the last scores are the best."""
        if criterion in self.best and not value > self.best[criterion][0]:
            return False
        self.best[criterion] = (value, self.last)
        return True

    def _postfix(self) -> dict[str, str]:
        scores = {f'{self.chosen_by}_{self.metric}': f'{self.last[self.metric]:.4f}'} if self.last else {}
        return scores | ({'skipped': str(self.mixed_precision.skipped)} if self.mixed_precision.skipped else {})

    # The training state

    def _position(self) -> tuple:
        return self.steps, self.evaluated_at, self.saved.get('') == self.steps

    def _checkpoint_due(self) -> bool:
        """Whether --checkpoint_every asks for a state; of its minutes rank 0's clock counts."""
        due = self.checkpoint.due(self.steps)
        return bool(highest(due and is_main())) if self.checkpoint.seconds else due

    def keep_state(self) -> None:
        """Write the training state, unless that on disk is as far, and let the pairs of files that it tells of take their
        names."""
        if self.kept == self._position():
            return
        self._check_finite()
        generators = gathered(random_state())
        if is_main():
            self._write_state(generators)
        highest(0)               # no process leaves, or tells that the state is there, before it is
        self.kept = self._position()

    def _write_state(self, generators: list[dict]) -> None:
        progress = {name: getattr(self, name) for name in self.PROGRESS}
        progress |= {'seconds': self.seconds, 'log_bytes': self.log.lengths()}
        names = {parameter: name for name, parameter in self.model.named_parameters()}
        write_state(self.state_file, self.made_by, progress, {
            'sums': self.sums, 'model': self.model.state_dict(), 'precision': self.mixed_precision.state_dict(),
            'optimizer': {names[parameter]: state for parameter, state in self.optimizer.state.items()},
            'random': generators})
        settle(self.folder, self.prefix, self.saved)

    def _load_state(self, outline: dict, state: dict | None) -> None:
        """Take what all processes have of a state, and the tensors that rank 0 has of it."""
        try:
            self._load_outline(outline)
            if is_main():
                self._load_tensors(state)
        except (RuntimeError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise InputError(f'--resume: {self.state_file} is that of another model, or of another version '
                             f'({type(error).__name__}: {error}); remove it to start from the beginning') from None
        share(self.model.state_dict().values())
        share(self.optimizer.state[parameter][key] for name, parameter in self.model.named_parameters()
              for key, value in outline['optimizer'].get(name, {}).items() if value is None)

    def _load_outline(self, outline: dict) -> None:
        for name in self.PROGRESS:
            setattr(self, name, outline['progress'][name])
        self.clock_zero -= outline['progress']['seconds']
        self.sums = outline['sums'].to(self.device)
        self.mixed_precision.load_state_dict(outline['precision'])
        parameters = dict(self.model.named_parameters())
        for name, values in outline['optimizer'].items():
            self.optimizer.state[parameters[name]] = {
                key: torch.empty_like(parameters[name]) if value is None else value for key, value in values.items()}
        if rank() < len(outline['random']):
            set_random_state(outline['random'][rank()])
        else:
            seed_dropout(self.settings.seed, self.steps)

    def _load_tensors(self, state: dict) -> None:
        """Take the tensors out of a state, which needs no room for them then."""
        self.model.load_state_dict(state.pop('model'))
        parameters = dict(self.model.named_parameters())
        for name, values in state.pop('optimizer').items():
            for key, value in values.items():
                if isinstance(value, Tensor):
                    self.optimizer.state[parameters[name]][key].copy_(value)

    def forget_state(self) -> None:
        """Remove the training state: the run has ended and needs it no more."""
        if is_main():
            self.state_file.unlink(missing_ok=True)
        self.kept = None
