"""Speed against the published code and HF transformers, side by side on real MRPC; the last line is one JSON object.

    pip install -r requirements-bench.txt
    PEAKD_GLUE=... python benchmarks/benchmark.py --quick      training steps, fp32, evaluation; 10 minutes, in fp32 more
    PEAKD_GLUE=... python benchmarks/benchmark.py              more repetitions, then pipeline.py and scale.py

Batches of 32 rows drawn at random, dropout on; evaluation of the whole training set (bert-base with --quick: of 1,024 rows
of it). The contenders take turns on the same rows; a ratio is that of the medians, its spread the ratio's range between the
quartiles of both. Weights are random: they do not change the time.
"""
import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.contenders import HF, PART, PRECISION, SHAPES, Ours, Published, mrpc_train
from benchmarks.pipeline import benchmark_pipeline
from benchmarks.scale import benchmark_scale
from BERT.pytorch_pretrained_bert import BertConfig
from BERT.pytorch_pretrained_bert.linear import has_onednn
from src.argument_parser import Parser
from src.data_processing import TokenizedSplit
from src.KD_loss import patience_layers
from src.objective import Objective
from src.utils import PRECISIONS, keep_freed_memory, run_script


def turns(contenders: dict[str, Callable[[np.ndarray], None]], batches: list[np.ndarray],
          warm_up: list[np.ndarray]) -> dict[str, list[float]]:
    """Seconds of each contender on each batch, after those that warm up; they take turns on the same rows."""
    seconds = {name: [] for name in contenders}
    for turn, rows in enumerate([*warm_up, *batches]):
        # There and back: who is first meets new shapes, for which oneDNN builds kernels.
        for name, run in list(contenders.items())[::1 if turn % 2 else -1]:
            started = time.perf_counter()
            run(rows)
            seconds[name].append(time.perf_counter() - started)
    return {name: times[len(warm_up):] for name, times in seconds.items()}


def largest(split: TokenizedSplit, batches: list[np.ndarray]) -> list[np.ndarray]:
    """The batches with the most tokens and with the longest row: after them no contender needs more memory, whose first
    use costs more than the step."""
    return [max(batches, key=lambda rows: measure(split.lengths[rows])) for measure in (np.sum, np.max)]


def ratio(slow: list[float], fast: list[float]) -> dict:
    """Ratio of the medians, and of opposite quartiles."""
    low, high = (np.percentile(slow, 25) / np.percentile(fast, 75), np.percentile(slow, 75) / np.percentile(fast, 25))
    return {'ratio': round(statistics.median(slow) / statistics.median(fast), 2),
            'quartiles': [round(low, 2), round(high, 2)], 'seconds': round(statistics.median(fast), 4), 'turns': len(fast)}


def gemm_peak(dtype: torch.dtype) -> float:
    """FLOP/s of the best of a few matrix products of BERT's sizes."""
    best = 0.0
    for m, k, n in ((2048, 768, 3072), (2048, 3072, 768), (2048, 768, 768), (2048, 2048, 2048)):
        a, b = torch.randn(m, k, dtype=dtype), torch.randn(n, k, dtype=dtype)
        for _ in range(12):
            started = time.perf_counter()
            torch.nn.functional.linear(a, b)
            best = max(best, 2 * m * k * n / (time.perf_counter() - started))
    return best


def packed_linear_flops(x_shape: tuple, weight_shape: tuple, *_, **__) -> int:
    """FLOP of oneDNN's linear layer (BERT.pytorch_pretrained_bert.linear), which torch's counter does not know."""
    return 2 * int(np.prod(x_shape)) * weight_shape[0]


COUNTED = {torch.ops.mkldnn._linear_pointwise: packed_linear_flops} if has_onednn(torch.device('cpu'), torch.float32) else {}


def utilisation(run: Callable[[np.ndarray], None], batches: list[np.ndarray], seconds: float, peak: float) -> float:
    """Share of the peak that matrix products on a batch reach over the whole time, median over batches."""
    flops = []
    for rows in batches:
        with FlopCounterMode(display=False, custom_mapping=COUNTED) as counter:
            run(rows)
        flops.append(counter.get_total_flops())
    return round(statistics.median(flops) / seconds / peak, 3)


def benchmark_shape(name: str, config: BertConfig, split: TokenizedSplit, quick: bool, peak: float) -> dict:
    """All measurements of one shape."""
    rng, large = np.random.default_rng(0), config.num_hidden_layers == 12
    training, evaluation = ((6, 2) if large else (12, 3)) if quick else ((12, 3) if large else (30, 8))
    draws = [rng.choice(len(split), 32, replace=False) for _ in range(training)]
    samples = [rng.permutation(len(split))[:1024 if large and quick else None] for _ in range(evaluation + 1)]
    ours, hf, published = Ours(split, config), HF(split, config), Published(split, config)
    fp32 = {'fp32': Ours(split, config, 'fp32').step} if PRECISION != 'fp32' else {}
    steps = turns({'ours': ours.step, **fp32, 'hf': hf.step, 'published': published.step}, draws, largest(split, draws))
    evals = turns({'ours': ours.predict, 'hf': hf.predict, 'published': lambda rows: published.predict(rows[::PART])},
                  samples[1:], samples[:1])
    evals['published'] = [PART * seconds for seconds in evals['published']]
    median = statistics.median
    return {f'{name}_train_vs_published': ratio(steps['published'], steps['ours']),
            f'{name}_train_vs_hf': ratio(steps['hf'], steps['ours']),
            **{f'{name}_{kind}_train_vs_published': ratio(steps['published'], steps[kind]) for kind in fp32},
            f'{name}_eval_vs_published': ratio(evals['published'], evals['ours']),
            f'{name}_eval_vs_hf': ratio(evals['hf'], evals['ours']),
            f'{name}_train_mfu': utilisation(ours.step, draws[:3], median(steps['ours']), peak),
            f'{name}_eval_mfu': utilisation(ours.predict, samples[:1], median(evals['ours']), peak)}


class _Teacher:
    """A teacher's outputs from random numbers, for the PKD losses' cost."""

    def __init__(self, rows: int, layers: int, hidden: int):
        rng = np.random.default_rng(0)
        self.outputs = {'pred_logit': rng.standard_normal((rows, 2), np.float32),
                        'feature_maps': rng.standard_normal((rows, layers, hidden), np.float32).astype(np.float16)}

    def split(self, _: str) -> dict[str, np.ndarray]:
        return self.outputs

    def rows(self, name: str, rows: np.ndarray) -> np.ndarray:
        return self.outputs[name.removeprefix('train.')][rows]

    def forget_pages(self) -> None:
        """Nothing is mapped."""


def benchmark_sps(split: TokenizedSplit, quick: bool) -> dict:
    """An SPS student of 3 layers with PKD losses against a plain model of 6: both have 6 passes."""
    plain = SHAPES['width_384']
    shared = BertConfig.from_dict({**plain.to_dict(), 'num_hidden_layers': 3})
    objective = Objective(split.labels, _Teacher(len(split), 6, plain.hidden_size), 0.7, 10.0, 100.0, True,
                          patience_layers(6, 6))
    student, model = Ours(split, shared, model_type='SPS', objective=objective), Ours(split, plain)
    rng = np.random.default_rng(1)
    draws = [rng.choice(len(split), 32, replace=False) for _ in range(20 if quick else 40)]
    seconds = turns({'sps': student.step, 'plain': model.step}, draws, largest(split, draws))
    return {'sps_pkd_vs_plain_per_pass': ratio(seconds['plain'], seconds['sps'])}


def main() -> None:
    """Measure and print."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--quick', action='store_true', help='fewer repetitions, and no pipeline and scale')
    args = parser.parse_args()
    keep_freed_memory()
    torch.manual_seed(0)
    split = mrpc_train()
    peak = gemm_peak(PRECISIONS[PRECISION])
    results = {'cores': os.cpu_count(), 'torch': torch.__version__, 'cpu': torch.cpu.get_capabilities().get('cpu_name'),
               'precision': PRECISION, f'gemm_peak_{PRECISION}_gflops': round(peak / 1e9)}
    if PRECISION != 'fp32':
        results['gemm_peak_fp32_gflops'] = round(gemm_peak(torch.float32) / 1e9)
    for name, config in reversed(SHAPES.items()):
        results |= benchmark_shape(name, config, split, args.quick, peak)
        print(json.dumps(results), flush=True)
    results |= benchmark_sps(split, args.quick)
    if not args.quick:
        print(json.dumps(results), flush=True)
        results |= benchmark_pipeline() | benchmark_scale()
    print(json.dumps(results))


if __name__ == '__main__':
    run_script(main)
