"""Trained models on a CPU in fp32, bf16, ONNX and ONNX int8: size, dev score and speed in one table; the last line is one
JSON object.

    pip install -r requirements-bench.txt
    PEAKD_GLUE=... python benchmarks/inference.py data/outputs/KD/MRPC/teacher_12layer data/outputs/PeaKD/MRPC/pkd_SPS_...

fp32 and bf16 are this repository's own evaluation, the others the files of scripts/export_onnx.py in onnxruntime, on as
many threads. A turn is a pass over the run's dev set (at most 1,024 rows of it), from token ids to logits, in batches of 32
sorted by length. All runs in all four take turns, there and back, after two turns to warm up. Sentences a second are those
of the median turn, in brackets of the quartiles. MB (10^6 bytes) are of the files that hold the weights; bf16 is computed
from those of fp32. Dev scores are of the whole set.
"""
import argparse
import contextlib
import copy
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pandas as pd
import torch

from benchmarks.benchmark import turns
from BERT.pytorch_pretrained_bert.file_utils import InputError, path_of
from BERT.pytorch_pretrained_bert.inference import packed_for_inference
from src.argument_parser import Parser
from src.checkpoints import best_saved
from src.data_processing import TokenizedSplit
from src.evaluation import logits_in_batches, task_scores
from src.modeling import count_parameters
from src.onnx_files import OnnxClassifier, onnx_model, package, write_onnx
from src.saved_runs import SavedRun, load_run
from src.summary import markdown
from src.utils import PRECISIONS, autocast, run_script

ROWS, BATCH, WARM_UP, TURNS = 1024, 32, 2, 9


class Contender(NamedTuple):
    """A run's model, computed in one way."""
    run: SavedRun
    kind: str
    size: int                                          # bytes
    logits: Callable[[TokenizedSplit], np.ndarray]     # [R, C] of all rows


def own_contender(run: SavedRun, precision: str, stack: contextlib.ExitStack) -> Contender:
    """This repository's evaluation, its layers laid out for it until the stack is closed."""
    model, cpu = copy.deepcopy(run.model).cpu().eval(), torch.device('cpu')
    stack.enter_context(packed_for_inference(model.encoder, PRECISIONS[precision]))

    def logits(split: TokenizedSplit) -> np.ndarray:
        with torch.inference_mode(), autocast(cpu, precision):
            return logits_in_batches(lambda rows: model(split.batch(rows))[0].numpy(), split, BATCH)

    return Contender(run, precision, sum(path.stat().st_size for path in best_saved(run.folder)), logits)


def onnx_contender(run: SavedRun, int8: bool, folder: Path) -> Contender:
    """onnxruntime with a file that is written for it, into the folder."""
    kind = 'ONNX int8' if int8 else 'ONNX'
    path = folder / f'{run.task.name}.{run.folder.name}.{kind}.onnx'
    write_onnx(onnx_model(run), path, int8)
    classifier = OnnxClassifier(path)
    return Contender(run, kind, path.stat().st_size, lambda split: classifier.logits(split, BATCH))


def contenders_of(run: SavedRun, folder: Path, stack: contextlib.ExitStack) -> list[Contender]:
    """All ways to compute a run's model; files of ONNX go into the folder."""
    return [*(own_contender(run, precision, stack) for precision in ('fp32', 'bf16')),
            *(onnx_contender(run, int8, folder) for int8 in (False, True))]


def measure(contenders: dict[str, Contender], number: int) -> dict[str, dict]:
    """What is found of each contender, in `number` turns that all of them take together."""
    splits = {run.folder: run.tokens(run.task, 'dev') for run in (each.run for each in contenders.values())}
    timed = {folder: split.part(np.arange(min(ROWS, len(split)))) for folder, split in splits.items()}
    turn = np.arange(0)     # each contender has rows of its own
    seconds = turns({name: lambda _, each=each: each.logits(timed[each.run.folder]) for name, each in contenders.items()},
                    [turn] * number, [turn] * WARM_UP)
    return {name: figures(each, splits[each.run.folder], len(timed[each.run.folder]) / np.array(seconds[name]))
            for name, each in contenders.items()}


def figures(contender: Contender, dev: TokenizedSplit, rates: np.ndarray) -> dict:
    """A contender's row of the table, its rates those of each turn."""
    run, metric = contender.run, contender.run.record['metric']
    slow, median, fast = (round(float(rate), 1) for rate in np.percentile(rates, (25, 50, 75)))
    return {'run': name_of(run), 'as': contender.kind, 'stored layers': run.model.config.num_hidden_layers,
            'passes': len(run.model.config.layer_passes()), 'parameters': count_parameters(run.model),
            'mb': round(contender.size / 1e6, 1), 'metric': metric,
            'score': round(task_scores(dev, contender.logits(dev))[metric], 4), 'sentences_a_second': median,
            'quartiles': [slow, fast], 'turns': len(rates)}


def name_of(run: SavedRun) -> str:
    """MRPC/teacher_12layer, say."""
    return f'{run.task.name}/{run.folder.name}'


def table(rows: list[dict]) -> str:
    """The rows as Markdown."""
    return markdown(pd.DataFrame([{
        **{name: row[name] for name in ('run', 'as', 'stored layers', 'passes', 'parameters')}, 'MB': f'{row["mb"]:.1f}',
        'dev score': f'{row["metric"]} {row["score"]:.4f}',
        'sentences a second': '{:,.0f} ({:,.0f} to {:,.0f})'.format(row['sentences_a_second'], *row['quartiles'])}
        for row in rows]))


def main(argv: list[str] | None = None) -> None:
    """Load, export, measure, print."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('runs', metavar='RUN_FOLDER', nargs='+', type=path_of, help='a finished run of NLI_KD_training.py')
    parser.add_argument('--turns', type=int, default=TURNS, help='passes over the rows that are timed (%(default)s)')
    args = parser.parse_args(argv)
    if args.turns < 1:
        raise InputError(f'--turns {args.turns}: must be 1 or more')
    onnxruntime = package('onnxruntime')
    runs = [load_run(path.resolve()) for path in args.runs]
    names = [name_of(run) for run in runs]
    if len(set(names)) < len(names):
        raise InputError(f'{" ".join(map(str, args.runs))}: each run once, and no two of one task in folders of one name')
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        contenders = [each for run in runs for each in contenders_of(run, Path(folder), stack)]
        rows = list(measure({f'{name_of(each.run)} {each.kind}': each for each in contenders}, args.turns).values())
    print(table(rows))
    print(json.dumps({'threads': torch.get_num_threads(), 'torch': torch.__version__, 'onnxruntime': onnxruntime.__version__,
                      'cpu': torch.cpu.get_capabilities().get('cpu_name'), 'inference': rows}))


if __name__ == '__main__':
    run_script(main)
