"""What single tricks gain on this machine, each against what torch does by itself; the last line is one JSON object.

    python benchmarks/kernels.py

Times are milliseconds, medians; the data of a call has left the caches when its turn comes again. Takes a minute where
bf16 is fast.
"""
import argparse
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from BERT.pytorch_pretrained_bert import linear
from BERT.pytorch_pretrained_bert.attention import attention
from BERT.pytorch_pretrained_bert.dropout import dropout
from BERT.pytorch_pretrained_bert.inference import PackedLinear
from BERT.pytorch_pretrained_bert.linear import Linear, has_onednn
from BERT.pytorch_pretrained_bert.packing import packed_layout
from src.argument_parser import Parser
from src.utils import keep_freed_memory, run_script

ROWS, HEADS, WIDTH, COPIES = 1792, 12, 64, 8      # of bert-base; inputs are taken in turn from so many copies
WARM_UP, CALLS = 3, 24


def timed(function: Callable, *inputs: list) -> float:
    """Milliseconds of function(one of each list), the lists gone through in turn."""
    turn, seconds = itertools.count(), []
    for call in range(WARM_UP + CALLS):
        number = next(turn)
        arguments = [values[number % len(values)] for values in inputs]
        started = time.perf_counter()
        function(*arguments)
        if call >= WARM_UP:
            seconds.append(time.perf_counter() - started)
    return round(1000 * statistics.median(seconds), 3)


def copies(*shape: int, dtype: torch.dtype = torch.bfloat16) -> list[torch.Tensor]:
    """Random tensors."""
    return [torch.randn(shape).to(dtype) for _ in range(COPIES)]


def linear_layers() -> dict[str, dict]:
    """A linear layer with GELU in evaluation, and a linear layer's training step in fp32: torch's and ours."""
    found = {}
    for dtype in (dtype for dtype in (torch.bfloat16, torch.float32) if has_onednn(torch.device('cpu'), dtype)):
        layers, x = [nn.Linear(768, 3072).to(dtype) for _ in range(COPIES)], copies(ROWS, 768, dtype=dtype)
        packed = [PackedLinear(layer, dtype, gelu=True) for layer in layers]
        with torch.inference_mode():
            found[f'linear_gelu_{dtype}'.replace('torch.', '')] = {
                'torch': timed(lambda layer, x: F.gelu(layer(x)), layers, x),
                'packed': timed(lambda layer, x: layer(x), packed, x)}
    if not has_onednn(torch.device('cpu'), torch.float32):
        return found
    x, grad = copies(ROWS, 768, dtype=torch.float32), torch.randn(ROWS, 3072)
    for tensor in x:
        tensor.requires_grad_()

    def step(layer: nn.Module, x: torch.Tensor) -> None:
        layer(x).backward(grad)
        layer.zero_grad()
        x.grad = None
    linear.TRAINS_WITH_ONEDNN = True         # for the comparison, whatever this CPU has
    found['linear_step_float32'] = {name: timed(step, [kind(768, 3072) for _ in range(COPIES)], x)
                                    for name, kind in (('torch', nn.Linear), ('onednn', Linear))}
    return found


def attention_at(tokens: int) -> dict[str, float]:
    """Attention of about ROWS tokens without dropout, by torch's fused kernel and by ours."""
    examples = max(1, 2 * ROWS // tokens)
    layout = packed_layout(np.full(examples, tokens))
    query, key, value = (copies(len(layout.rows) * HEADS, WIDTH) for _ in range(3))

    def fused(*inputs: torch.Tensor) -> None:
        F.scaled_dot_product_attention(*(x.view(examples, HEADS, -1, WIDTH) for x in inputs), layout.masks()[0])
    with torch.inference_mode():
        return {'torch': timed(fused, query, key, value),
                'ours': timed(lambda *inputs: attention(*inputs, layout, HEADS, False, 0.0), query, key, value)}


def softmax_at(tokens: int) -> dict[str, float]:
    """Softmax over scores of that width, in bf16 and by way of fp32."""
    scores = copies(2 * ROWS // tokens * HEADS, tokens, tokens)
    return {'bf16': timed(lambda x: x.softmax(-1), scores),
            'by_fp32': timed(lambda x: x.softmax(-1, torch.float32).to(x.dtype), scores)}


def main() -> None:
    """Measure and print."""
    Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    keep_freed_memory()
    torch.manual_seed(0)
    found = linear_layers()
    found |= {f'attention_{tokens}': attention_at(tokens) for tokens in (32, 64, 128, 256, 512)}
    found |= {f'softmax_{tokens}': softmax_at(tokens) for tokens in (40, 56, 64, 88, 128)}
    hidden = copies(ROWS, 768)
    found['dropout'] = {name: timed(lambda x, drop=drop: drop(x, 0.1), hidden)
                        for name, drop in (('torch', F.dropout), ('ours', dropout))}
    for name, times in found.items():
        print(name, times)
    print(json.dumps(found))


if __name__ == '__main__':
    run_script(main)
