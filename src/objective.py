"""What a run minimises: the losses of src/KD_loss.py for a batch of rows, from labels and a teacher's result file.

Legend: R training rows, B rows of a batch, C classes, S student passes, K teacher layers, L matched layers, H hidden.
"""
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from src.KD_loss import distillation_loss, patience_loss
from src.teacher_outputs import TeacherOutputs


class Losses(NamedTuple):
    """Means over rows, and the share of correct predictions (nan for regression): tensors [], or numbers."""
    total: Tensor | float
    kd: Tensor | float
    ce: Tensor | float
    patience: Tensor | float
    accuracy: Tensor | float


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
        """Losses of a batch from its logits [B, C] and [CLS] states [B, S, H]."""
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
            states = torch.from_numpy(feature_maps[:, layers]).to(device)                  # [B, L, H]
            patience = patience_loss(states, cls_states[:, passes], self.normalize_patience)
            total = total + self.beta * patience
        regression = labels.is_floating_point()
        accuracy = total.new_tensor(math.nan) if regression else (logits.argmax(1) == labels).float().mean()
        return Losses(total, kd, ce, patience, accuracy)
