"""How fast a saved model predicts."""
import time
from pathlib import Path

import numpy as np

from src.data_processing import TokenizedSplit
from src.saved_runs import SavedRun, load_run
from src.utils import replace_file

SPEED_FILE = 'speed.txt'      # beside run.json: sentences a second
ROWS = 1024                   # at most so many rows of dev are predicted


def sentences_a_second(folder: Path) -> int:
    """How many rows of dev the saved model of a run predicts in a second; measured once and kept beside the run."""
    path = folder / SPEED_FILE
    if not path.is_file() or path.stat().st_mtime < (folder / 'run.json').stat().st_mtime:
        run = load_run(folder)
        dev = run.tokens(run.task, 'dev')
        rate = round(speed(run, dev.part(np.arange(min(ROWS, len(dev))))))
        with replace_file(path) as temporary:
            temporary.write_text(str(rate))
    return int(path.read_text())


def speed(run: SavedRun, split: TokenizedSplit) -> float:
    """Rows a second over a split: the better of two passes, after one to warm up."""
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        run.logits(split)
        seconds.append(time.perf_counter() - started)
    return len(split) / min(seconds[1:])
