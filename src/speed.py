"""How fast a saved model predicts."""
import time
from pathlib import Path

import numpy as np

from BERT.pytorch_pretrained_bert.writing import replace_file
from src.data_processing import TokenizedSplit
from src.run_log import RECORD
from src.saved_runs import SavedRun, has_weights, load_run

SPEED_FILE = 'speed.txt'      # beside run.json: sentences a second
ROWS = 1024                   # at most so many rows of dev are predicted


def sentences_a_second(folder: Path) -> int:
    """How many rows of dev the saved model of a run predicts in a second; measured once and kept beside the run."""
    rate = kept_speed(folder)
    if rate is None:
        run = load_run(folder)
        dev = run.tokens(run.task, 'dev')
        rate = round(speed(run, dev.part(np.arange(min(ROWS, len(dev))))))
        with replace_file(folder / SPEED_FILE) as temporary:
            temporary.write_text(str(rate))
    return rate


def kept_speed(folder: Path) -> int | None:
    """The speed that is kept beside a finished run, or None; that of an earlier run in the folder does not count, nor
    what is no number."""
    path = folder / SPEED_FILE
    if not path.is_file() or path.stat().st_mtime < (folder / RECORD).stat().st_mtime:
        return None
    text = path.read_bytes()[:20].strip()
    return int(text) if text.isdigit() else None


def can_tell_speed(folder: Path) -> bool:
    """Whether `sentences_a_second` can tell the speed of a finished run: it is kept, or its weights are there."""
    return kept_speed(folder) is not None or has_weights(folder)


def speed(run: SavedRun, split: TokenizedSplit) -> float:
    """Rows a second over a split: the better of two passes, after one to warm up."""
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        run.logits(split)
        seconds.append(time.perf_counter() - started)
    return len(split) / min(seconds[1:])
