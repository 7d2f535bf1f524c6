"""Weights of checkpoints: reading them in any of the field's spellings, and loading them with a full account."""
import errno
import logging
import mmap
import re
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import safetensors.torch
import torch
from torch import Tensor, nn

from .file_utils import InputError
from .plain_pickle import Name, Refused, load_pickle

logger = logging.getLogger(__name__)

OLD_SPELLINGS = {'LayerNorm.gamma': 'LayerNorm.weight', 'LayerNorm.beta': 'LayerNorm.bias'}

LAYER_NAME = re.compile(r'encoder\.layer\.([0-9]{1,6})\.(.*)')
EXCHANGED = {f'attention.self.{one}.{part}': f'attention.self.{other}.{part}'
             for one, other in (('query', 'key'), ('key', 'query')) for part in ('weight', 'bias')}

ZIP_START = b'PK\x03\x04'
OLD_MAGIC = 0x1950a86a20f9469cfc6c      # what the first pickle of torch.save's format before 1.6 holds
TENSOR_TYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.uint8, torch.int16,
                torch.int32, torch.int64, torch.bool)
NAMES_TOLD = 6      # of tensors, in a message


def _unmade(*_) -> None:
    """Stands for what makes a tensor while a pickle is looked through before torch reads it."""


# What a pickle of tensors in plain containers names
TORCH_NAMES = {'collections.OrderedDict': lambda *_: {}, 'torch._utils._rebuild_tensor_v2': _unmade,
               'torch._utils._rebuild_parameter': _unmade, 'torch.Size': _unmade,
               'torch.storage.TypedStorage': None, 'torch.storage.UntypedStorage': None,
               **{f'torch.{kind}Storage': None for kind in ('Float', 'Double', 'Half', 'BFloat16', 'Char', 'Byte', 'Short',
                                                            'Int', 'Long', 'Bool')},
               **{str(dtype): None for dtype in TENSOR_TYPES}}


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file or of a file by torch.save, on the CPU, names as today's BERT has them.

    Nothing but tensors in plain containers is read: no file can run code. Errors: InputError that names the file."""
    path = Path(path)
    if path.suffix == '.safetensors':
        state = _safely(path, lambda: safetensors.torch.load_file(path))
    else:
        state = load_tensors(path)
    if not isinstance(state, dict) or not all(isinstance(name, str) and isinstance(value, Tensor)
                                              and value.dtype in TENSOR_TYPES for name, value in state.items()):
        raise InputError(f'{path}: not a file of weights: expected a dictionary of tensors of plain numbers')
    return {standard_name(name): tensor for name, tensor in state.items()}


def load_tensors(path: str | Path) -> Any:
    """What a file by torch.save holds: tensors, numbers and words in dictionaries, lists and tuples, on the CPU.

    Nothing else is read, so that no file can run code, and the checksums that torch.save writes (since 1.6) are compared,
    which torch.load leaves out: a changed bit is an error. Errors: InputError that names the file."""
    def load():
        with open(path, 'rb') as file:
            check_torch_file(file)
        return torch.load(path, map_location='cpu', weights_only=True)
    return _safely(path, load)


def _safely(path: str | Path, load: Callable[[], Any]) -> Any:
    try:
        with warnings.catch_warnings(action='ignore'):      # about files that are refused in a moment
            return load()
    except OSError as error:
        if error.errno != errno.EINVAL:      # a wrong offset makes zipfile seek to before the start of the file
            raise
        raise InputError(f'{path}: not a file of weights: damaged (names an offset outside of it)') from None
    except MemoryError:
        raise InputError(f'{path}: asks for more memory than there is; damaged, or too large for this machine') from None
    except Exception as error:   # damage makes the readers fail in ways of their own: IndexError, struct.error, ...
        reason = str(error) if isinstance(error, Refused) else type(error).__name__
        raise InputError(f'{path}: not a file of weights: damaged, or holds more than tensors ({reason})') from None


def check_torch_file(file: BinaryIO) -> None:
    """Look through a file by torch.save before torch reads it: Refused where it is damaged or holds more than tensors.

    file: one that can be sought, at its start. The format before torch 1.6 has no checksums to compare."""
    if file.read(len(ZIP_START)) == ZIP_START:
        _check_zip(file)
    elif isinstance(getattr(file, 'name', None), str):
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapping:
            _check_old(mapping, mapping.size())
    else:
        _check_old(file, file.seek(0, 2))


def _check_zip(file: BinaryIO) -> None:
    size = file.seek(0, 2)
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size for entry in entries):
            raise Refused('it is compressed, which torch.save does not do')
        # For what is marked as a folder (by DOS's bit), torch returns memory as it finds it
        if any(entry.is_dir() or entry.external_attr & 0x10 for entry in entries):
            raise Refused('it has folders')
        if sum(entry.file_size for entry in entries) > size:
            raise Refused('its entries overlap')
        names = [entry.filename for entry in entries]
        pickles = [name for name in names if name.endswith('.pkl')]
        if len(set(names)) != len(names) or len(pickles) != 1 or not pickles[0].endswith('/data.pkl'):
            raise Refused('it is not what torch.save writes')
        damaged = archive.testzip()
        if damaged:
            raise Refused(f'wrong checksum of {damaged[:60]!r}')
        with archive.open(pickles[0]) as pickle:
            load_pickle(pickle, TORCH_NAMES, _Storages(size))


def _check_old(file: BinaryIO | mmap.mmap, size: int) -> None:
    file.seek(0)
    if load_pickle(file, {}) != OLD_MAGIC:
        raise Refused('it is not what torch.save writes')
    for _ in ('protocol', 'system'):
        load_pickle(file, {})
    load_pickle(file, TORCH_NAMES, _Storages(size))
    load_pickle(file, {})


class _Storages:
    """Takes the storages that a pickle names; together they cannot be larger than the file."""

    def __init__(self, size: int):
        self.room = size
        self.seen: set[str] = set()

    def __call__(self, storage: tuple) -> None:
        kind, cls, key, location, numbers = storage[:5]
        if kind != 'storage' or type(cls) is not Name or type(key) is not str or type(location) is not str \
                or type(numbers) is not int or numbers < 0:
            raise Refused('names a storage that is none')
        if key not in self.seen:
            self.seen.add(key)
            self.room -= numbers
        if self.room < 0:
            raise Refused('its tensors are larger than the file')


def standard_name(name: str) -> str:
    """A parameter's name without the prefixes of wrappers and models, LayerNorm's in the new spelling."""
    name = name.removeprefix('module.').removeprefix('bert.')
    for old, new in OLD_SPELLINGS.items():
        name = name.replace(old, new)
    return name


def stored_layers(state: dict[str, Tensor]) -> int:
    """How many encoder layers a state dict, of standard names, has."""
    return 1 + max((int(match[1]) for match in map(LAYER_NAME.fullmatch, state) if match), default=-1)


def arrange_layers(state: dict[str, Tensor], passes: list[tuple[int, bool]]) -> dict[str, Tensor]:
    """The state dict, of standard names, of a BERT whose layers 0, 1, ... are those that `passes` names, in its order:
    (layer, exchanged), in an exchanged one query and key have changed places.

    With the passes of a model that shares layers this is the plain BERT that computes the same, a layer for each pass.
    Layers that are not named, or that the state does not have, are left out; tensors are not copied."""
    arranged, layers = {}, {}
    for name, tensor in state.items():
        match = LAYER_NAME.fullmatch(name)
        if match:
            layers.setdefault(int(match[1]), {})[match[2]] = tensor
        else:
            arranged[name] = tensor
    for place, (layer, exchanged) in enumerate(passes):
        for part, tensor in layers.get(layer, {}).items():
            part = EXCHANGED.get(part, part) if exchanged else part
            arranged[f'encoder.layer.{place}.{part}'] = tensor
    return arranged


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


def _listed(what: str, items: list[str]) -> list[str]:
    """['3 tensors missing: a, b, c'] or, for no items, []."""
    if not items:
        return []
    more = f' and {len(items) - NAMES_TOLD} more' if len(items) > NAMES_TOLD else ''
    return [f'{len(items)} tensors {what}: {", ".join(items[:NAMES_TOLD])}{more}']
