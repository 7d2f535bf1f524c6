"""Several processes that are one run, as torchrun starts them: rank 0 writes and speaks, all compute.

The functions that several processes meet in (collectives) must be called by all of them, in one order. Without torchrun
there is one process, of rank 0, and they hand back what they are given.
"""
import contextlib
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from BERT.pytorch_pretrained_bert.file_utils import InputError

T = TypeVar('T')

TIMEOUT = timedelta(minutes=10)      # in a collective; longer than what one process does while the others wait
HEARD_WITHIN = timedelta(seconds=3)  # before another rank than 0 tells its error: rank 0 may have the same one
ENDED = 'peakd/ended'                # key: the exit code of the process that has told an error


class _Joined:
    """The store through which the processes found each other; None: there is one process, or they have parted."""
    store: dist.Store | None = None


def world_size() -> int:
    """The number of processes."""
    return 1 if _Joined.store is None else dist.get_world_size()


def rank() -> int:
    """The number of this process among all, from 0."""
    return 0 if _Joined.store is None else dist.get_rank()


def is_main() -> bool:
    """Whether this is the process that writes."""
    return rank() == 0


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Within it the processes that torchrun has started are one run, of which rank 0 alone has a standard output. Nothing
    changes in a process that was started otherwise. InputError when there are more processes than CUDA devices."""
    if 'RANK' not in os.environ or int(os.environ.get('WORLD_SIZE', '1')) == 1:
        yield
        return
    _take_device()
    store, number, size = next(dist.rendezvous('env://', timeout=TIMEOUT))
    backend = 'cpu:gloo,cuda:nccl' if torch.cuda.is_available() and dist.is_nccl_available() else 'gloo'
    dist.init_process_group(backend, store=store, rank=number, world_size=size, timeout=TIMEOUT)
    _Joined.store = store
    with open(os.devnull, 'w') as nowhere, contextlib.ExitStack() as quiet:
        if not is_main():
            quiet.enter_context(contextlib.redirect_stdout(nowhere))
        yield
    # Not after an error: the others may be gone, and taking leave of them could wait for ever
    dist.destroy_process_group()
    _Joined.store = None


def _take_device() -> None:
    """Make the CUDA device of this process's number on its machine the one that `cuda` means."""
    if not torch.cuda.is_available():
        return
    number, devices = int(os.environ.get('LOCAL_RANK', '0')), torch.cuda.device_count()
    if number >= devices:
        raise InputError(f'--nproc_per_node of torchrun: process {number + 1} of this machine finds {devices} CUDA devices; '
                         f'give at most {devices}')
    torch.cuda.set_device(number)


# Agreement


def highest(value: int) -> int:
    """The highest of the values that the processes give; no one goes on before all have given theirs."""
    if world_size() == 1:
        return value
    values = torch.tensor(value)            # on the CPU: a device's queue is not waited for
    dist.all_reduce(values, dist.ReduceOp.MAX)
    return int(values)


def from_main(function: Callable[..., T], *args: Any) -> T:
    """What the function returns on rank 0, where alone it is called. Its error ends all processes."""
    if world_size() == 1:
        return function(*args)
    found = [function(*args) if is_main() else None]
    dist.broadcast_object_list(found)
    return found[0]


@contextlib.contextmanager
def main_first() -> Iterator[None]:
    """What is within is done by rank 0, and then, when its files are there, by the others."""
    if not is_main():
        highest(0)
    yield
    if is_main():
        highest(0)


# What is divided


def own_rows(rows: np.ndarray) -> tuple[np.ndarray, int]:
    """The rows of a batch that this process computes, and how many of them count: where there are fewer rows than
    processes, some compute a row that is another's, as all must meet in the gradient.

    Every n-th row of rows that stand by length: the processes get like work."""
    own = rows[rank()::world_size()]
    return (own, len(own)) if len(own) else (rows[:1], 0)


def own_batches(batches: list[T]) -> Iterator[T | None]:
    """The batches that this process computes, one of each round of as many as there are processes; None in the last round
    where that has none left."""
    for start in range(0, len(batches), world_size()):
        own = start + rank()
        yield batches[own] if own < len(batches) else None


def gathered(own: T | None) -> list[T]:
    """What each process gives, Nones left out: on rank 0 in the order of ranks, on others nothing."""
    found: list[T | None] = [own]
    if world_size() > 1:
        found = [None] * world_size()
        dist.gather_object(own, found if is_main() else None)
    return [each for each in found if each is not None]


def summed(values: Tensor) -> Tensor:
    """The sum of what the processes give, in place."""
    if world_size() > 1:
        dist.all_reduce(values)
    return values


# The model


def parallel(model: nn.Module, some_unused: bool) -> nn.Module:
    """The model to call in training, whose gradients are means over the processes. some_unused: it has parameters of which
    the outputs do not depend. All processes get rank 0's weights."""
    if world_size() == 1:
        return model
    return DistributedDataParallel(model, gradient_as_bucket_view=True, find_unused_parameters=some_unused)


def gradients_joined(model: nn.Module, joined: bool) -> contextlib.AbstractContextManager:
    """Context for forward and backward of what `parallel` gave: whether the gradients, with those that were kept back
    before, become the means over the processes."""
    return contextlib.nullcontext() if joined or world_size() == 1 else model.no_sync()


def share(tensors: Iterable[Tensor]) -> None:
    """Give the tensors of every process rank 0's values, in place, one after the other."""
    if world_size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor, 0)


def seed_dropout(seed: int, steps: int) -> None:
    """Let ranks from 1 on draw masks of their own from here on: from the seed, the rank and the steps done."""
    if not is_main():
        torch.manual_seed(int(np.random.SeedSequence([seed, rank(), steps]).generate_state(1, np.uint64)[0] >> 1))


# The end


def is_loss(error: RuntimeError) -> bool:
    """Whether an error says that another process cannot be reached."""
    return isinstance(error, dist.DistError) or (world_size() > 1 and 'gloo' in str(error))


def ended_with(code: int) -> int | None:
    """The exit code with which another process has ended the run already, and told why; None: this one is the first.

    The processes that end after the first do so because of it, or with the same error."""
    if world_size() == 1:
        return None
    for number in (signal.SIGINT, signal.SIGTERM):       # torchrun's, as soon as one process has ended
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(RuntimeError):              # without torchrun the store ends with rank 0
        if not is_main():
            with contextlib.suppress(dist.DistStoreError):
                _Joined.store.wait([ENDED], HEARD_WITHIN)
        first, its_code = _Joined.store.compare_set(ENDED, '', f'{rank()} {code}').decode().split()
        return None if int(first) == rank() else int(its_code)
    return None


def launcher() -> list[str]:
    """The words of the command line that started this process, up to the script."""
    if world_size() == 1:
        return ['python']
    here = int(os.environ.get('LOCAL_WORLD_SIZE', world_size()))
    machines = world_size() // here
    return ['torchrun', *([f'--nnodes={machines}'] if machines > 1 else []), f'--nproc_per_node={here}']
