"""The losses of knowledge distillation (PKD: Sun et al. 2019, section 3; Pea-KD: Cho & Kang 2022, section 3).

Legend: B batch, C classes, L matched layers, H hidden, S student passes, K teacher layers.
"""
import torch.nn.functional as F
from torch import Tensor

from BERT.pytorch_pretrained_bert.file_utils import InputError

# Layers that run in the passes of the 6-layer student with shared layers, which has a match of its own.
SHARED_SIX = [0, 1, 2, 3, 4, 5, 3, 4, 5]


def task_loss(y: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of logits y [B, C] with labels [B]; for regression (float labels, C = 1) mean squared error."""
    if labels.is_floating_point():
        return F.mse_loss(y.squeeze(-1), labels)
    return F.cross_entropy(y, labels)


def distillation_loss(y: Tensor, labels: Tensor, teacher_scores: Tensor | None, T: float,
                      alpha: float) -> tuple[Tensor, Tensor, Tensor]:
    """(total, kd, ce), total = alpha * kd + (1 - alpha) * ce, each a batch mean.

    y, teacher_scores: logits [B, C]; kd = T² KL(softmax(teacher / T) ‖ softmax(y / T)), summed over the classes
    (Hinton et al. 2015); for regression the mean squared difference. teacher_scores None: kd is 0 and total is ce."""
    ce = task_loss(y, labels)
    if teacher_scores is None:
        return ce, ce.new_zeros(()), ce
    if teacher_scores.shape != y.shape:
        raise ValueError(f'teacher logits {list(teacher_scores.shape)} and student logits '
                         f'{list(y.shape)} must have one shape [batch, classes]')
    if labels.is_floating_point():
        kd = F.mse_loss(y, teacher_scores)
    else:
        kd = T * T * F.kl_div(F.log_softmax(y / T, dim=-1), F.log_softmax(teacher_scores / T, dim=-1),
                              reduction='batchmean', log_target=True)
    return alpha * kd + (1 - alpha) * ce, kd, ce


def patience_loss(teacher_patience: Tensor, student_patience: Tensor, normalized_patience: bool = False) -> Tensor:
    """Mean squared difference of [CLS] states, both [B, L, H], over all elements, in fp32 (PKD, equation 7).

    normalized_patience: each state is divided by its length first. Shapes that differ are a ValueError."""
    if teacher_patience.shape != student_patience.shape:
        raise ValueError(f'teacher states {list(teacher_patience.shape)} and student states '
                         f'{list(student_patience.shape)} must have one shape [batch, layers, hidden]')
    teacher_patience, student_patience = teacher_patience.float(), student_patience.float()
    if normalized_patience:
        teacher_patience = F.normalize(teacher_patience, dim=2)
        student_patience = F.normalize(student_patience, dim=2)
    return F.mse_loss(student_patience, teacher_patience)


def patience_layers(passes: int, teacher_layers: int, shared_six: bool = False) -> tuple[list[int], list[int]]:
    """(teacher layers, student passes) that patience matches, 0-based; the last pass is left to the logits.

    Pass j of S matches teacher layer (j + 1) K / S - 1, rounded down; a pass that falls before the first layer is left
    out. shared_six: the student whose passes are SHARED_SIX matches passes 2 and 5 with the ends of two thirds."""
    if shared_six:
        pairs = [(third * teacher_layers // 3 - 1, 3 * third - 1) for third in (1, 2)]
    else:
        pairs = [((j + 1) * teacher_layers // passes - 1, j) for j in range(passes - 1)]
    pairs = [pair for pair in pairs if pair[0] >= 0]
    return [teacher for teacher, _ in pairs], [student for _, student in pairs]


def chosen_patience_layers(chosen: list[int] | None, passes: int, teacher_layers: int,
                           shared_six: bool = False) -> tuple[list[int], list[int]]:
    """patience_layers, with the teacher layers that --fc_layer_idx names in place of the rule's.

    A list that is not as long as the student's matched passes, or beyond the teacher, is an InputError."""
    teacher, student = patience_layers(passes, teacher_layers, shared_six)
    if chosen is None:
        return teacher, student
    if len(chosen) == passes - 1:       # a layer for each pass, also where the rule leaves one out
        student = list(range(passes - 1))
    if len(chosen) != len(student):
        raise InputError(f'--fc_layer_idx {",".join(map(str, chosen))} names {len(chosen)} teacher layers, but the '
                         f'student has {len(student)} passes to match (0-based {student} of {passes})')
    beyond = [layer for layer in chosen if not 0 <= layer < teacher_layers]
    if beyond:
        raise InputError(f'--fc_layer_idx: layers {beyond} are not among the {teacher_layers} of the teacher '
                         f'(0 to {teacher_layers - 1})')
    return chosen, student
