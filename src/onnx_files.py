"""A run's classifier as a file of ONNX: writing it, making it int8, and what onnxruntime computes with it.

Legend: B rows of a batch, T tokens of the longest one, H hidden, A heads, D = H / A, C classes.
"""
import importlib
import io
import json
import logging
import math
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from BERT.pytorch_pretrained_bert.file_utils import InputError
from BERT.pytorch_pretrained_bert.modeling import BertLayer, BertSelfAttention
from BERT.pytorch_pretrained_bert.packing import TokenBatch
from src.data_processing import TokenizedSplit
from src.evaluation import logits_in_batches
from src.hugging_face import output_names
from src.modeling import SequenceClassifier, count_parameters
from src.saved_runs import SavedRun

INPUTS = ('input_ids', 'attention_mask', 'token_type_ids')      # HF's names
OUTPUT = 'logits'
OPSETS = range(14, 21)      # 20 is the last that the exporter used here knows
OPSET = 17                  # the first with a LayerNormalization: what reads files of ONNX has had time to learn it
MOST_BYTES = 2**31          # of a protobuf message, which a file of ONNX is


class PaddedClassifier(nn.Module):
    """A classifier of padded batches in standard operators, where SequenceClassifier has kernels of its own. The weights are
    that one's, and so is what it computes."""

    def __init__(self, model: SequenceClassifier):
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """int64 [B, T] each; attention_mask: 1 for tokens, 0 for padding -> logits [B, C]."""
        bert = self.model.encoder.bert
        positions = torch.arange(input_ids.size(1), device=input_ids.device)
        hidden = bert.embeddings(TokenBatch(input_ids, token_type_ids, positions, None))          # [B, T, H]
        bias = (1 - attention_mask[:, None, None].to(hidden.dtype)) * torch.finfo(hidden.dtype).min     # [B, 1, 1, T]
        for number, (layer, exchanged) in enumerate(bert.encoder.passes, start=1):
            last = number == len(bert.encoder.passes)
            # Of the last pass nothing but the first token's output is read
            hidden = _run_layer(bert.encoder.layer[layer], hidden, hidden[:, :1] if last else hidden, bias, exchanged)
        return self.model.classifier(bert.pooler(hidden[:, 0]))


def _run_layer(layer: BertLayer, hidden: Tensor, queried: Tensor, bias: Tensor, exchanged: bool) -> Tensor:
    """Outputs of a layer for the states that are `queried`, [B, T, H] or the first token's [B, 1, H]."""
    attended = layer.attention.output(_attend(layer.attention.self, hidden, queried, bias, exchanged), queried)
    return layer.output(layer.intermediate(attended), attended)


def _attend(attention: BertSelfAttention, hidden: Tensor, queried: Tensor, bias: Tensor, exchanged: bool) -> Tensor:
    heads, width = attention.num_attention_heads, attention.value.out_features // attention.num_attention_heads
    to_query, to_key = attention.roles(exchanged)
    query, key, value = (rows.view(rows.size(0), -1, heads, width).transpose(1, 2)                # [B, A, T, D]
                         for rows in (to_query(queried), to_key(hidden), attention.value(hidden)))
    scores = query @ key.transpose(-1, -2) / math.sqrt(width) + bias                              # [B, A, T, T]
    return (scores.softmax(-1) @ value).transpose(1, 2).reshape(queried.size(0), -1, heads * width)


def package(name: str) -> ModuleType:
    """onnx, onnxruntime or a module of them. InputError where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise InputError('files of ONNX need the packages onnx and onnxruntime; to install them: '
                         'pip install onnx onnxruntime') from None


def onnx_model(run: SavedRun, opset: int = OPSET) -> Any:
    """A run's classifier as an onnx.ModelProto in fp32, with what a user must know of the run in its metadata; the run's
    model is then on the CPU, in evaluation mode.

    A layer that runs in several passes is stored once. InputError where it is larger than a file of ONNX can be."""
    onnx, model = package('onnx'), PaddedClassifier(run.model.cpu()).eval()
    size = 4 * count_parameters(model)
    if size > MOST_BYTES:
        raise InputError(f'{run.folder}: its model has {size:,} bytes, a file of ONNX at most {MOST_BYTES:,}')
    ids = torch.full((2, 3), run.setup.tokenizer.unk_id)
    file = io.BytesIO()
    # torch's older exporter: it keeps a weight of several passes once, where the newer one (dynamo=True; torch 2.13) stores
    # a transposed copy for each pass, takes far longer, and needs onnxscript
    with torch.no_grad(), warnings.catch_warnings(action='ignore'):
        torch.onnx.export(model, (ids, torch.ones_like(ids), torch.zeros_like(ids)), file, dynamo=False,
                          opset_version=opset, input_names=list(INPUTS), output_names=[OUTPUT],
                          dynamic_axes={**{name: {0: 'batch', 1: 'length'} for name in INPUTS}, OUTPUT: {0: 'batch'}})
    proto = onnx.load_from_string(file.getvalue())
    _remove_aliases(proto.graph)
    onnx.helper.set_model_props(proto, metadata(run))
    return proto


def _remove_aliases(graph: Any) -> None:
    """Let nodes read shared weights under their own names: behind the exporter's Identity nodes, which give the second pass
    names of its own, quantize_dynamic finds no weights."""
    stored = {tensor.name for tensor in graph.initializer}
    aliases = [node for node in graph.node if node.op_type == 'Identity' and node.input[0] in stored]
    source = {node.output[0]: node.input[0] for node in aliases}
    for node in graph.node:
        node.input[:] = [source.get(name, name) for name in node.input]
    for node in aliases:
        graph.node.remove(node)


def metadata(run: SavedRun) -> dict[str, str]:
    """What a file tells of a run: how texts become token ids, and what the outputs are."""
    task, tokenizer = run.task, run.setup.tokenizer
    return {'task': task.name, 'labels': json.dumps(output_names(task)),
            'problem_type': 'single_label_classification' if task.labels else 'regression',
            'max_seq_length': str(run.args.max_seq_length), 'do_lower_case': str(tokenizer.do_lower_case).lower(),
            'pad_token_id': str(tokenizer.pad_id)}


def write_onnx(proto: Any, path: Path, int8: bool = False) -> None:
    """Write an onnx.ModelProto; int8: its weights as 8-bit integers, and products of activations that onnxruntime rounds to
    8 bits as it meets them (dynamic quantisation).

    One scale a column of a weight: with one for all of it, dev accuracy of a MiniLM on MRPC fell by two points. Weights of
    products are -64 to 64: x86 CPUs without VNNI add two products of 8 bits in 16, where larger ones would saturate."""
    if not int8:
        path.write_bytes(proto.SerializeToString())
        return
    quantization = package('onnxruntime.quantization')
    logging.disable(logging.WARNING)         # it advises work on the graph that onnxruntime does as it loads the file
    try:
        quantization.quantize_dynamic(proto, path, op_types_to_quantize=['MatMul', 'Gather'], per_channel=True,
                                      reduce_range=True, weight_type=quantization.QuantType.QInt8)
    finally:
        logging.disable(logging.NOTSET)


class OnnxClassifier:
    """A file of ONNX in onnxruntime, on a CPU, with as many threads as torch has."""

    def __init__(self, path: Path):
        onnxruntime = package('onnxruntime')
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self.session = onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])
        self.pad_id = int(self.session.get_modelmeta().custom_metadata_map['pad_token_id'])

    def logits(self, split: TokenizedSplit, batch_size: int, length: int | None = None) -> np.ndarray:
        """Logits float32 [R, C] of all rows of a split, in batches by length, padded to `length`, or each to its longest."""
        return logits_in_batches(lambda rows: self.of_rows(split, rows, length), split, batch_size)

    def of_rows(self, split: TokenizedSplit, rows: np.ndarray, length: int | None = None) -> np.ndarray:
        """Logits [B, C] of these rows, as one batch."""
        input_ids, segment_ids, mask = split.padded(rows, length, self.pad_id)
        return self.session.run([OUTPUT], dict(zip(INPUTS, (input_ids, mask, segment_ids), strict=True)))[0]
