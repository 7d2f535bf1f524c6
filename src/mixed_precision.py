"""fp16's loss scaling, through NVIDIA's apex where it is installed, else torch.amp; other precisions pass through."""
import importlib
import importlib.metadata

import torch
from torch import Tensor, nn

from src.utils import autocast


def nvidia_apex_amp():
    """NVIDIA's apex.amp, or None. (The package `apex` on PyPI is another one, without amp.)"""
    try:
        amp = importlib.import_module('apex.amp')
    except ImportError:
        return None
    return amp if hasattr(amp, 'initialize') and hasattr(amp, 'scale_loss') else None


def fp16_version(precision: str) -> dict[str, str]:
    """What fp16 is computed with, apex or torch.amp, as an entry of `versions`; none for other precisions."""
    if precision != 'fp16':
        return {}
    if nvidia_apex_amp() is None:
        return {'fp16': 'torch.amp'}
    try:
        return {'fp16': f'apex {importlib.metadata.version("apex")}'}
    except importlib.metadata.PackageNotFoundError:
        return {'fp16': 'apex'}


class MixedPrecision:
    """Forward context, backward and optimizer step in a precision: fp32, bf16 or fp16.

    loss_scale: 0 for dynamic scaling, else the fixed scale (fp16 alone). `skipped`: steps that fp16's scaler left out, for
    gradients beyond fp16's range."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device, precision: str,
                 loss_scale: float = 0):
        self.optimizer, self.device, self.precision = optimizer, device, precision
        self.apex_amp = nvidia_apex_amp() if precision == 'fp16' else None
        if self.apex_amp:
            # For its loss scaling alone. The casts that it would patch into torch keep fp16 copies of weights, which
            # evaluation, and training after it, would go on using when the weights are others.
            self.apex_amp.initialize(model, optimizer, opt_level='O1', patch_torch_functions=False,
                                     loss_scale=loss_scale or 'dynamic', verbosity=0)
        fixed = {'init_scale': loss_scale, 'growth_factor': 1.0 + 1e-9, 'backoff_factor': 1.0 - 1e-9} if loss_scale else {}
        self.updates = self.skipped = 0
        optimizer.register_step_post_hook(self._count_update)        # apex and torch's scaler skip a step without a word
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == 'fp16' and not self.apex_amp, **fixed)

    def forward_context(self):
        """Context for forward; losses are computed outside it, in fp32."""
        return autocast(self.device, self.precision)

    def backward(self, loss: Tensor, last: bool = True) -> None:
        """Add the gradients of a loss, the last or not of those of an update."""
        if self.apex_amp:
            # Unscaled before the last, they would be out of .grad in the backward that averages it over processes
            with self.apex_amp.scale_loss(loss, self.optimizer, delay_unscale=not last) as scaled:
                scaled.backward()
        else:
            self.scaler.scale(loss).backward()

    def _count_update(self, *_) -> None:
        self.updates += 1

    def step(self) -> bool:
        """Update the weights, from unscaled gradients as BertAdam clips them, and clear the gradients; False where fp16's
        scaler skipped the update."""
        updates = self.updates
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        skipped = self.precision == 'fp16' and self.updates == updates
        self.skipped += skipped
        return not skipped

    def state_dict(self) -> dict:
        """The loss scale and the steps skipped, plain numbers."""
        return {'scaler': self.apex_amp.state_dict() if self.apex_amp else self.scaler.state_dict(), 'skipped': self.skipped}

    def load_state_dict(self, state: dict) -> None:
        """Go on from what state_dict told."""
        (self.apex_amp or self.scaler).load_state_dict(state['scaler'])
        self.skipped = state['skipped']
