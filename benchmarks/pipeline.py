"""The whole pipeline on real MRPC, published code against the scripts of this repository, 6 layers of width 384.

    PEAKD_GLUE=... python benchmarks/pipeline.py

Teacher, its outputs on all splits, PTP of an SPS student of 3 layers, and that student with PKD: two epochs each, dev
scored every 10 steps of the second epoch and at the ends of both. The scripts of this repository run as a user runs
them, whole: start, tokenising and saving count. Of the published code only training, evaluation and dump count, from the
mean of some steps and rows, which all take as long, padded to one length as they are. The last line is one JSON object.
"""
import argparse
import copy
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import envs
from benchmarks.contenders import MAX_SEQ_LENGTH, PART, Published, padded
from BERT.pytorch_pretrained_bert import BertConfig, BertTokenizer
from BERT.pytorch_pretrained_bert.file_utils import checkpoint_folder
from src.argument_parser import Parser
from src.data_processing import SPLITS, TokenizedSplit, load_split
from src.KD_loss import distillation_loss, patience_layers, patience_loss
from src.nli_data_processing import PTP_CLASSES, find_task
from src.utils import keep_freed_memory, run_script

CHECKPOINT, LAYERS, STUDENT_LAYERS, EPOCHS, EVAL_EVERY, BATCH = 'minilm-l6', 6, 3, 2, 10, 32
WARM_UP, TIMED = 2, 24   # steps of the published code


def share_and_shuffle(encoder: nn.Module) -> None:
    """Let the layers of a published encoder run twice, query and key exchanged the second time (SPS)."""
    again = []
    for layer in encoder.layer:
        second = copy.copy(layer)
        second._modules = dict(layer._modules)
        second.attention = copy.copy(layer.attention)
        second.attention._modules = dict(layer.attention._modules)
        attention = second.attention.self = copy.copy(layer.attention.self)
        attention._modules = dict(layer.attention.self._modules)
        attention.query, attention.key = layer.attention.self.key, layer.attention.self.query
        again.append(second)
    encoder.layer = nn.ModuleList([*encoder.layer, *again])


class PublishedStage(Published):
    """Training, evaluation and dump of one model of the published code."""

    def __init__(self, splits: dict[str, TokenizedSplit], config: BertConfig, classes: int, shared: bool):
        super().__init__(splits['train'], config, classes)
        self.splits = splits
        if shared:
            share_and_shuffle(self.model.bert.encoder)

    def forward(self, split: TokenizedSplit, rows: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """Logits [B, C], pooled output [B, H], [CLS] states [B, L, H]."""
        encoded_layers, pooled = self.model.bert(*padded(split, rows, MAX_SEQ_LENGTH), output_all_encoded_layers=True)
        states = torch.stack([hidden[:, 0] for hidden in encoded_layers], dim=1)
        return self.model.classifier(self.model.dropout(pooled)), pooled, states

    def evaluation_seconds(self, name: str) -> float:
        """Seconds to predict all rows of a split."""
        self.model.eval()
        rows = np.arange(0, len(self.splits[name]), PART)
        started = time.perf_counter()
        with torch.no_grad():
            for start in range(0, len(rows), BATCH):
                self.forward(self.splits[name], rows[start:start + BATCH])
        return (time.perf_counter() - started) * len(self.splits[name]) / len(rows)

    def training_seconds(self, loss: Callable[[np.ndarray, Tensor, Tensor], Tensor]) -> float:
        """Seconds of EPOCHS epochs with their evaluations; loss: (rows, logits, [CLS] states) -> scalar."""
        rng = np.random.default_rng(0)
        self.model.train()
        for step in range(WARM_UP + TIMED):
            if step == WARM_UP:
                started = time.perf_counter()
            rows = rng.choice(len(self.split), BATCH, replace=False)
            logits, _, states = self.forward(self.split, rows)
            loss(rows, logits, states).backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
        a_step = (time.perf_counter() - started) / TIMED
        return EPOCHS * len(self.split) / BATCH * a_step + evaluations(len(self.split)) * self.evaluation_seconds('dev')


def evaluations(rows: int) -> int:
    """Evaluations of dev in a training on so many rows: every EVAL_EVERY steps of all epochs but the first, and at each
    epoch's end."""
    steps = -(-rows // BATCH)
    return EPOCHS + (EPOCHS - 1) * ((steps - 1) // EVAL_EVERY)


def published_seconds(splits: dict[str, TokenizedSplit], config: BertConfig) -> dict[str, float]:
    """Seconds of each stage of the published code. Weights, PTP's labels and the teacher's outputs are random numbers, which
    does not change the time."""
    rows, rng = len(splits['train']), np.random.default_rng(0)
    labels = torch.from_numpy(splits['train'].labels)
    ptp_labels = torch.from_numpy(rng.integers(0, len(PTP_CLASSES), rows))
    teacher_logits = torch.from_numpy(rng.standard_normal((rows, 2), np.float32))
    teacher_states = torch.from_numpy(rng.standard_normal((rows, LAYERS, config.hidden_size), np.float32))
    layers, passes = patience_layers(2 * STUDENT_LAYERS, LAYERS)

    def pkd_loss(rows: np.ndarray, logits: Tensor, states: Tensor) -> Tensor:
        loss, _, _ = distillation_loss(logits, labels[rows], teacher_logits[rows], 10.0, 0.7)
        return loss + 100 * patience_loss(teacher_states[rows][:, layers], states[:, passes], True)

    teacher = PublishedStage(splits, config, 2, shared=False)
    student_config = BertConfig.from_dict({**config.to_dict(), 'num_hidden_layers': STUDENT_LAYERS})
    pretrained = PublishedStage(splits, student_config, len(PTP_CLASSES), shared=True)
    student = PublishedStage(splits, student_config, 2, shared=True)
    return {'teacher': teacher.training_seconds(lambda rows, logits, _: cross_entropy(logits, labels[rows])),
            'dump': sum(map(teacher.evaluation_seconds, SPLITS)),
            'ptp': pretrained.training_seconds(lambda rows, logits, _: cross_entropy(logits, ptp_labels[rows])),
            'student': student.training_seconds(pkd_loss)}


def our_seconds() -> dict[str, float]:
    """Seconds of each script of this repository, from start to end of the process."""
    common = ['--task', 'MRPC', '--bert_model', CHECKPOINT, '--teacher_hidden_layers', str(LAYERS)]
    train = [*common, '--num_train_epochs', str(EPOCHS), '--eval_every', str(EVAL_EVERY), '--saving_criterion_acc=-1']
    student = [*train, '--model_type', 'SPS', '--student_hidden_layers', str(STUDENT_LAYERS)]
    stages = {'teacher': ['NLI_KD_training.py', *train, '--train_type', 'ft', '--train_seed', '1'],
              'dump': ['save_teacher_outputs.py', *common],
              'ptp': ['PTP.py', *student, '--PTP_seed', '1'],
              'student': ['NLI_KD_training.py', *student, '--train_type', 'pkd', '--train_seed', '1',
                          '--load_model', f'PTP.SPS_{STUDENT_LAYERS}layer.encoder.pkl']}
    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (script, *flags) in stages.items():
            started = time.perf_counter()
            done = subprocess.run([sys.executable, str(envs.PROJECT_FOLDER / script), *flags], text=True,
                                  capture_output=True, env={**os.environ, 'PEAKD_OUTPUTS': folder})
            seconds[name] = time.perf_counter() - started
            if done.returncode:
                sys.exit(f'{script}\n{done.stdout}{done.stderr}')
            print(f'ours {name} {seconds[name]:.1f} s', file=sys.stderr, flush=True)
    return seconds


def benchmark_pipeline() -> dict[str, float]:
    """Ratio of the whole and of each stage, and the seconds of ours."""
    keep_freed_memory()
    tokenizer = BertTokenizer.from_pretrained(checkpoint_folder(CHECKPOINT))
    splits = {name: load_split(find_task('MRPC'), name, tokenizer, MAX_SEQ_LENGTH) for name in SPLITS}
    ours = our_seconds()
    published = published_seconds(splits, BertConfig(len(tokenizer.vocab), 384, LAYERS, 12, 1536))
    stages = {f'pipeline_{name}_vs_published': round(published[name] / ours[name], 2) for name in ours}
    return {'pipeline_vs_published': round(sum(published.values()) / sum(ours.values()), 2), **stages,
            'pipeline_seconds': round(sum(ours.values()), 1),
            'pipeline_published_seconds': round(sum(published.values()), 1)}


def main() -> None:
    """Measure and print."""
    Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print(json.dumps(benchmark_pipeline()))


if __name__ == '__main__':
    run_script(main)
