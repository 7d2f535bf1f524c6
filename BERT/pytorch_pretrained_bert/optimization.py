"""BertAdam, the Adam that BERT was trained and fine-tuned with, and its learning rate schedules.

It differs from torch.optim.AdamW in three points: the averages are not corrected for their start at zero, the gradient
of each parameter tensor is clipped by itself, and the learning rate schedule is part of it.
"""
import logging
import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import chain

import torch
from torch import Tensor
from torch.nn import Parameter

logger = logging.getLogger(__name__)


def warmup_linear(x: float, warmup: float) -> float:
    """From 0 to 1 over the first `warmup` of training, then down in a straight line to 0 at x = 1, and 0 after it."""
    return x / warmup if x < warmup else max((x - 1) / (warmup - 1), 0.0)


def warmup_constant(x: float, warmup: float) -> float:
    """From 0 to 1 over the first `warmup` of training, then 1."""
    return x / warmup if x < warmup else 1.0


def warmup_cosine(x: float, warmup: float) -> float:
    """From 0 to 1 over the first `warmup` of training, then half a cosine down to 0 at x = 1, and 0 after it.

    (pytorch_pretrained_bert lets the cosine rise again after x = 1.)"""
    if x < warmup:
        return x / warmup
    return 0.5 * (1 + math.cos(math.pi * min((x - warmup) / (1 - warmup), 1.0)))


def constant(x: float, warmup: float) -> float:
    """1: no warm-up, no decay."""
    return 1.0


# name -> function(x, warmup), x = steps done / t_total; add your own here. The schedule None is 'none'.
SCHEDULES: dict[str, Callable[[float, float], float]] = {
    'warmup_linear': warmup_linear,
    'warmup_constant': warmup_constant,
    'warmup_cosine': warmup_cosine,
    'none': constant,
}

# The bias corrections 1 - beta ** step of the fused Adam kernels are exactly 1 at this step count, for every beta < 1.
NO_BIAS_CORRECTION = math.inf


class BertAdam(torch.optim.Optimizer):
    """Adam as pytorch_pretrained_bert 0.6.2 has it, run by torch's fused kernels.

    For each parameter tensor p with gradient g, updated `step` times before: g is scaled down to the norm
    `max_grad_norm`, then, with s the schedule,
    m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g²;  p -= lr s(step / t_total) (m / (√v + e) + weight_decay p).

    params: parameters, or groups (dicts) of them, which may have their own value of every argument below.
    lr: the largest learning rate.
    warmup: part of t_total over which the rate rises, 0 <= warmup < 1; -1: none.
    t_total: number of steps (updates) of the whole training; -1: the rate is lr always, whatever schedule and warmup.
    schedule: a name in SCHEDULES, or None for 'none'.
    max_grad_norm: at most this norm for the gradient of each tensor, which is changed in place; <= 0: not clipped.

    Parameters without a gradient are left as they are and their step count does not advance. State of a parameter:
    `step`, `next_m` (m) and `next_v` (v). Raises ValueError for values outside these ranges.

    `grad_norms`: sum of the norms of all gradients of the last update, before clipping, a float or a 0-dim tensor on the
    device; it is finite if and only if they all are. Norms of groups that are not clipped are not in it.
    """

    _warned = False
    grad_norms: Tensor | float = 0.0

    def __init__(self, params: Iterable, lr: float, warmup: float = -1, t_total: int = -1,
                 schedule: str | None = 'warmup_linear', b1: float = 0.9, b2: float = 0.999, e: float = 1e-6,
                 weight_decay: float = 0.01, max_grad_norm: float = 1.0):
        super().__init__(params, dict(lr=lr, warmup=warmup, t_total=t_total, schedule=schedule, b1=b1, b2=b2, e=e,
                                      weight_decay=weight_decay, max_grad_norm=max_grad_norm))

    def add_param_group(self, param_group: dict) -> None:
        """Adds a group of parameters; what it does not set is the optimizer's own. Raises ValueError for bad values."""
        super().add_param_group(param_group)
        _check_group(self.param_groups[-1])

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """One update of every parameter that has a gradient. Returns what `closure`, where given, returns (the loss).

        Raises RuntimeError for sparse gradients, before anything is changed."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.grad_norms = 0.0
        for group, step, params in self._batches():
            if step >= group['t_total'] != -1 and not self._warned:
                self._warned = True
                logger.warning('BertAdam: step %d of a training of t_total = %d steps', step + 1, group['t_total'])
            self._update(params, group, lr=_scheduled_lr(group, step))
        return loss

    def get_lr(self) -> list[float]:
        """The learning rate of the next update, one for each parameter updated so far; [0.0] before the first."""
        rates = [_scheduled_lr(group, self.state[p]['step']) for group in self.param_groups
                 for p in group['params'] if self.state.get(p)]
        return rates or [0.0]

    def _batches(self) -> list[tuple[dict, int, list[Parameter]]]:
        """Parameters that one kernel call can update: same group, step count, device and type."""
        batches = []
        for group in self.param_groups:
            alike = defaultdict(list)
            for p in group['params']:
                if p.grad is None:
                    continue
                if p.grad.layout != torch.strided:
                    raise RuntimeError('BertAdam cannot use sparse gradients: make the embedding with sparse=False')
                alike[self.state[p].get('step', 0), p.device, p.dtype].append(p)
            batches += [(group, step, params) for (step, _, _), params in alike.items()]
        return batches

    def _update(self, params: list[Parameter], group: dict, lr: float) -> None:
        # The kernel was checked against the formula. It decays first, p (1 - lr wd), then subtracts lr m / (√v + e):
        # the same sum, so in float64 it differs in the last bits only. In float32 it also rounds 1 - lr wd, as
        # torch.optim.AdamW does: weights of BERT's size (0.04) ended 1,000 steps at lr 2e-5 within 5e-6 of the formula.
        states = [self._state(p) for p in params]
        # The kernel walks through memory and ignores strides. All but exotic tensors are contiguous: no copies then.
        grads = [p.grad.contiguous() for p in params]
        changed = [params, [state['next_m'] for state in states], [state['next_v'] for state in states]]
        weights, means, squares = used = [[tensor.contiguous() for tensor in tensors] for tensors in changed]
        if group['max_grad_norm'] > 0:
            clip = clip_each_on_cpu if params[0].is_cpu else clip_each
            self.grad_norms += clip(grads, group['max_grad_norm'])
        step = torch.full((), NO_BIAS_CORRECTION, dtype=torch.float32, device=params[0].device)
        torch._fused_adamw_(weights, grads, means, squares, [], [step] * len(params), lr=lr, beta1=group['b1'],
                            beta2=group['b2'], weight_decay=group['weight_decay'], eps=group['e'], amsgrad=False,
                            maximize=False)
        for old, new in zip(chain(*changed), chain(*used), strict=True):
            if old is not new:
                old.copy_(new)
        for state in states:
            state['step'] += 1

    def _state(self, p: Parameter) -> dict:
        state = self.state[p]
        if not state:
            state.update(step=0, next_m=torch.zeros_like(p), next_v=torch.zeros_like(p))
        return state


def clip_each(grads: list[Tensor], max_norm: float) -> Tensor:
    """Scales each tensor (all on one device) down, in place, to a norm of at most `max_norm`; returns the norms' sum.

    Nothing waits for the device: every tensor is multiplied, most of them by 1. The factor is that of
    torch.nn.utils.clip_grad_norm_ on one tensor: max_norm / (norm + 1e-6), at most 1."""
    norms = torch.stack(torch._foreach_norm(grads))
    torch._foreach_mul_(grads, list((max_norm / (norms + 1e-6)).clamp(max=1.0)))
    return norms.sum()


def clip_each_on_cpu(grads: list[Tensor], max_norm: float) -> float:
    """`clip_each` for a CPU, where reading a norm is free: the tensors that need no scaling are only read."""
    norms = [norm.item() for norm in torch._foreach_norm(grads)]
    for grad, norm in zip(grads, norms, strict=True):
        factor = max_norm / (norm + 1e-6)
        if not factor >= 1:     # this way round, a norm of NaN reaches the parameters as it does with clip_grad_norm_
            grad.mul_(factor)
    return sum(norms)


def no_decay_groups(named_parameters: Iterable[tuple[str, Parameter]], weight_decay: float = 0.01) -> list[dict]:
    """Parameter groups for BertAdam: `weight_decay` for all but biases and LayerNorm weights, which get none.

    LayerNorm's parameters may be spelt weight and bias or gamma and beta. Parameters with requires_grad False are left
    out, and so is a group without parameters."""
    decay, no_decay = [], []
    for name, p in named_parameters:
        if p.requires_grad:
            exempt = name.endswith('LayerNorm.weight') or name.rpartition('.')[2] in ('bias', 'gamma', 'beta')
            (no_decay if exempt else decay).append(p)
    groups = [{'params': decay, 'weight_decay': weight_decay}, {'params': no_decay, 'weight_decay': 0.0}]
    return [group for group in groups if group['params']]


def _name(schedule: str | None) -> str:
    return 'none' if schedule is None else schedule


def _scheduled_lr(group: dict, step: int) -> float:
    if group['t_total'] == -1:
        return group['lr']
    return group['lr'] * SCHEDULES[_name(group['schedule'])](step / group['t_total'], max(group['warmup'], 0.0))


def _check_group(group: dict) -> None:
    warmup, t_total = group['warmup'], group['t_total']
    checks = {
        'lr': (group['lr'] >= 0, 'at least 0'),
        'warmup': (0 <= warmup < 1 or warmup == -1, 'at least 0 and below 1, or -1 for none'),
        't_total': (t_total > 0 or t_total == -1, 'above 0, or -1 for a constant learning rate'),
        'schedule': (_name(group['schedule']) in SCHEDULES, f'one of {", ".join(SCHEDULES)}'),
        'b1': (0 <= group['b1'] < 1, 'at least 0 and below 1'),
        'b2': (0 <= group['b2'] < 1, 'at least 0 and below 1'),
        'e': (group['e'] >= 0, 'at least 0'),
        'weight_decay': (group['weight_decay'] >= 0, 'at least 0'),
        'max_grad_norm': (not math.isnan(group['max_grad_norm']), 'a number; -1 for no clipping'),
    }
    for key, (good, wanted) in checks.items():
        if not good:
            raise ValueError(f'BertAdam: {key} is {group[key]!r}, but must be {wanted}')
    if warmup > 0 and t_total == -1:
        logger.warning('BertAdam: warmup %s has no effect without t_total', warmup)
