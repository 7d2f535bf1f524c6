"""Weights of checkpoints: reading them in any of the field's spellings, and loading them with a full account."""
import logging
import warnings
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from .file_utils import InputError

logger = logging.getLogger(__name__)

OLD_SPELLINGS = {'LayerNorm.gamma': 'LayerNorm.weight', 'LayerNorm.beta': 'LayerNorm.bias'}


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file or of a file by torch.save, on the CPU, names as today's BERT has them.

    Nothing but tensors in plain containers is read: no file can run code. Errors: InputError that names the file."""
    path = Path(path)
    try:
        if path.suffix == '.safetensors':
            state = safetensors.torch.load_file(path)
        else:
            with warnings.catch_warnings(action='ignore'):      # about files that are refused in a moment
                state = torch.load(path, map_location='cpu', weights_only=True)
    except (OSError, MemoryError):
        raise
    except Exception as error:   # damage makes the readers fail in ways of their own: IndexError, struct.error, ...
        raise InputError(f'{path}: not a file of weights: damaged, or holds more than tensors '
                         f'({type(error).__name__})') from None
    if not isinstance(state, dict) or not all(isinstance(name, str) and isinstance(value, Tensor)
                                              for name, value in state.items()):
        raise InputError(f'{path}: not a file of weights: expected a dictionary of tensors')
    return {standard_name(name): tensor for name, tensor in state.items()}


def standard_name(name: str) -> str:
    """A parameter's name without the prefixes of wrappers and models, LayerNorm's in the new spelling."""
    name = name.removeprefix('module.').removeprefix('bert.')
    for old, new in OLD_SPELLINGS.items():
        name = name.replace(old, new)
    return name


def load_weights(module: nn.Module, state: dict[str, Tensor], source: str | Path, optional: str | None = None) -> None:
    """Copy tensors by name into `module`.

    Every parameter must be there in its shape: what is missing or has another shape is an InputError that lists all
    of it. Parameters whose names start with `optional` may be missing; they keep their values, with a warning. Tensors
    that the module has no place for (other heads, further layers) are logged."""
    wanted = {standard_name(name): parameter for name, parameter in module.state_dict().items()}
    missing = [name for name in wanted if name not in state]
    allowed = [name for name in missing if optional and name.startswith(optional)]
    wrong = [f'{name} is {list(state[name].shape)}, expected {list(parameter.shape)}'
             for name, parameter in wanted.items() if name in state and state[name].shape != parameter.shape]
    problems = _listed('missing', [name for name in missing if name not in allowed]) + _listed('of another shape', wrong)
    if problems:
        raise InputError(f'{source} does not fit the model: {"; ".join(problems)}')
    if allowed:
        logger.warning('%s has no %s: newly initialised', source, ', '.join(allowed))
    for unused in _listed('not used', [name for name in state if name not in wanted]):
        logger.info('%s: %s', source, unused)
    with torch.no_grad():
        for name, parameter in wanted.items():
            if name in state:
                parameter.copy_(state[name])


def _listed(what: str, items: list[str], most: int = 6) -> list[str]:
    """['3 tensors missing: a, b, c'] or, for no items, []."""
    if not items:
        return []
    more = f' and {len(items) - most} more' if len(items) > most else ''
    return [f'{len(items)} tensors {what}: {", ".join(items[:most])}{more}']
