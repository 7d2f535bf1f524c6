"""Where the time of a training step, or of evaluation, goes, by kind of work; on real MRPC, batches of 32, one table.

    PEAKD_GLUE=... python benchmarks/profile_step.py --shape bert_base
    PEAKD_GLUE=... python benchmarks/profile_step.py --shape width_384 --evaluate --precision fp32

Time of an operator is that inside it and not in operators that it calls (torch.profiler). The profiler itself slows small
operators down, so shares count more than milliseconds; the first line has the time without it.
"""
import argparse
import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.contenders import HF, PRECISION, SHAPES, Ours, Published, mrpc_train
from src.argument_parser import Parser
from src.utils import keep_freed_memory, run_script

# Kind of work -> parts of the names of operators; the first kind that fits is taken.
KINDS = {
    'matrix products': ('mm', 'linear', '_convolution'),
    'optimizer': ('_fused_adamw', '_foreach', 'linalg_vector_norm', 'addcdiv', 'addcmul', 'sqrt', 'Optimizer'),
    'embeddings': ('embedding',),
    'layer norm': ('layer_norm',),
    'softmax': ('softmax',),
    'activation': ('gelu', 'erf'),
    'dropout': ('random_', 'bernoulli', 'dropout', 'ge_', 'Dropout'),
    'gathers': ('index', 'gather', '_Move'),
    'copies and casts': ('copy_', 'cat', 'stack', 'fill_', 'zero_'),
    'elementwise': ('add', 'mul', 'div', 'sub', 'masked_fill', 'sum', 'tanh', 'where'),
}


def kind_of(operator: str) -> str:
    """The kind of work of an operator's name; 'overhead' for what only prepares or calls others."""
    if not operator.startswith('aten::') and not operator.startswith(('mkldnn::', '_', 'Optimizer')):
        return 'overhead'
    return next((kind for kind, parts in KINDS.items() if any(part in operator for part in parts)), 'overhead')


def main() -> None:
    """Warm up, time, profile, print."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--shape', choices=tuple(SHAPES), default='width_384')
    parser.add_argument('--precision', choices=('bf16', 'fp32'), default=PRECISION)
    parser.add_argument('--code', choices=('ours', 'hf', 'published'), default='ours')
    parser.add_argument('--evaluate', action='store_true', help='evaluation in place of training')
    parser.add_argument('--steps', type=int, default=8)
    parser.add_argument('--operators', type=int, default=0, help='list so many single operators too')
    args = parser.parse_args()
    keep_freed_memory()
    torch.manual_seed(0)
    split, config = mrpc_train(), SHAPES[args.shape]
    model = Ours(split, config, args.precision) if args.code == 'ours' else {'hf': HF, 'published': Published}[args.code](
        split, config)
    run = model.predict if args.evaluate else model.step
    rng = np.random.default_rng(0)
    batches = [rng.choice(len(split), 256 if args.evaluate else 32, replace=False) for _ in range(args.steps)]
    for rows in batches[:3]:
        run(rows)
    seconds = []
    for rows in batches:
        started = time.perf_counter()
        run(rows)
        seconds.append(time.perf_counter() - started)
    precision = {'hf': PRECISION, 'published': 'fp32'}.get(args.code, args.precision)
    print(f'{args.code} {args.shape} {precision} {"evaluation of 256 rows" if args.evaluate else "training step"}: '
          f'{1000 * statistics.median(seconds):.1f} ms (median of {len(seconds)})')
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for rows in batches:
            run(rows)
    report(profiler.key_averages(), len(batches), args.operators)


def report(events, steps: int, operators: int) -> None:
    """Print milliseconds a step and shares by kind, and the largest operators."""
    spent = defaultdict(float)
    for event in events:
        spent[kind_of(event.key)] += event.self_cpu_time_total / 1000 / steps
    total = sum(spent.values())
    for kind, milliseconds in sorted(spent.items(), key=lambda item: -item[1]):
        print(f'{kind:18} {milliseconds:8.1f} ms {100 * milliseconds / total:5.1f} %')
    for event in sorted(events, key=lambda event: -event.self_cpu_time_total)[:operators]:
        print(f'    {event.key:50} {event.self_cpu_time_total / 1000 / steps:8.2f} ms {event.count / steps:7.1f} calls')


if __name__ == '__main__':
    run_script(main)
