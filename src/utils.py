"""What every script needs: errors as one line, seeds, devices, precision, memory."""
import contextlib
import ctypes
import logging
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import numpy as np
import torch

from BERT.pytorch_pretrained_bert.file_utils import InputError
from src.distributed import ended_with, is_loss, joined, rank, world_size
from src.stopping import Stopped, stop_signals

logger = logging.getLogger(__name__)

MOST_CHARACTERS = 1500      # of a message, which may have a long value in it
PRECISIONS = {'fp32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}


class RunError(RuntimeError):
    """A run cannot go on, through no fault of its input's form; the message is one line. The scripts leave with code 1."""


def run_script(main: Callable[[], None], log_to: TextIO | None = None, alone: bool = False) -> None:
    """Run a script's main; messages go to log_to, by default standard output. One line and an exit code tell what ended it:
    2, what is wrong with the user's input or files; 1, a RunError; 128 + its number, a signal. Of several processes one
    tells it, and all leave with its code. alone: its work is that of one process.

    With PEAKD_DEBUG set the traceback is shown."""
    try:
        with joined(), stop_signals():
            logging.basicConfig(level=logging.INFO, format='%(message)s', stream=log_to or sys.stdout)
            if alone:
                refuse_several(Path(sys.argv[0]).name)
            main()
    except KeyboardInterrupt as error:
        stop = error if isinstance(error, Stopped) else Stopped(signal.SIGINT)
        _leave(error, str(stop), 128 + stop.number)
    except RunError as error:
        _leave(error, f'error: {error}', 1)
    except RuntimeError as error:
        if not is_loss(error):
            raise
        _leave(error, 'error: another process of this run has ended or could not be reached; if it told why, that stands '
               'above; with --resume the same command goes on from the last training state', 1)
    except OSError as error:
        _leave(error, f'error: {_in_words(error)}', 2)
    except InputError as error:
        _leave(error, f'error: {error}', 2)


def refuse_several(what: str) -> None:
    """InputError where torchrun has started several processes for what is the work of one: all would do all of it."""
    if world_size() > 1:
        raise InputError(f'{what} with torchrun: it does not divide its work over processes; start it with python')


def _leave(error: BaseException, line: str, code: int) -> None:
    if os.environ.get('PEAKD_DEBUG'):
        raise error
    told = ended_with(code)
    if told is None:
        print(one_line(line) + (f' (rank {rank()})' if rank() else ''), file=sys.stderr, flush=True)
    sys.exit(code if told is None else told)


def _in_words(error: OSError) -> str:
    return f'{error.filename}: {error.strerror}' if error.filename and error.strerror else str(error)


def one_line(message: object) -> str:
    """A message without line breaks, its middle left out where a value in it is very long."""
    text = ' '.join(str(message).split())
    half = MOST_CHARACTERS // 2
    return text if len(text) <= MOST_CHARACTERS else f'{text[:half]} [...] {text[-half:]}'


def choose_seed(seed: int | None) -> int:
    """The seed given, or a drawn one."""
    return random.SystemRandom().randrange(2**31) if seed is None else seed


def set_seed(seed: int) -> None:
    """Seed all generators that weights, dropout and the order of rows come from."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def epoch_order(seed: int, epoch: int, rows: int) -> np.ndarray:
    """A shuffled order [rows] of the training rows, another one each epoch, from the seed alone."""
    return np.random.default_rng([seed, epoch]).permutation(rows)


def choose_device() -> torch.device:
    """CUDA where there is one."""
    return torch.device('cuda' if torch.cuda.is_available() else 'cpu')


def has_fast_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies bf16 matrices faster than fp32 ones."""
    if device.type == 'cuda':
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return capabilities.get('amx_bf16', False) or capabilities.get('avx512_bf16', False)


def choose_precision(precision: str, device: torch.device) -> str:
    """fp32, bf16 or fp16 from --precision; auto is bf16 where that is fast. fp16 needs CUDA."""
    if precision == 'auto':
        return 'bf16' if has_fast_bf16(device) else 'fp32'
    if precision == 'fp16' and device.type != 'cuda':
        raise InputError('--precision fp16 (--fp16 True) needs a CUDA device and there is none; use --precision bf16')
    return precision


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Context in which matrix products run in `precision` (fp32, bf16 or fp16)."""
    return torch.autocast(device.type, PRECISIONS[precision] if precision != 'fp32' else torch.bfloat16,
                          enabled=precision != 'fp32')


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next step instead of giving it back and faulting it in again.

    Activations are of a new size each step; each would be mapped anew."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL('libc.so.6')
        libc.mallopt(-1, 2**31 - 1)    # M_TRIM_THRESHOLD: never trim the top of the heap
        libc.mallopt(-4, 0)            # M_MMAP_MAX: no block gets a mapping of its own


def versions() -> dict[str, str]:
    """Versions of what results depend on."""
    return {'python': sys.version.split()[0], 'torch': torch.__version__, 'numpy': np.__version__}
