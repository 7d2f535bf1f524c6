"""The codes that the benchmark sets side by side, each with a training step and a forward pass over the same rows.

Published: pytorch-pretrained-bert 0.6.2 as Pea-KD used it (fp32, padded to 128, its BertAdam). HF: transformers, bf16
autocast, fused AdamW, padded to the longest of the batch. Ours: this repository. Where the CPU is not fast at bf16, HF and
ours compute in fp32.
"""
import logging
import warnings

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import envs
from BERT.pytorch_pretrained_bert import BertConfig, BertTokenizer
from BERT.pytorch_pretrained_bert.file_utils import checkpoint_folder
from src.data_processing import TokenizedSplit, load_split
from src.evaluation import predict
from src.modeling import SequenceClassifier, wiring
from src.nli_data_processing import find_task
from src.objective import Objective
from src.training import Settings, Trainer
from src.utils import autocast, choose_precision

PART = 8   # the published code, whose time is that of full rows alone, evaluates each 8th row, and its time counts 8 times
LEARNING_RATE, CLASSES, MAX_SEQ_LENGTH, WORDS = 2e-5, 2, 128, 30522
PRECISION = choose_precision('auto', torch.device('cpu'))
SHAPES = {'bert_base': BertConfig(WORDS), 'width_384': BertConfig(WORDS, 384, 6, 12, 1536)}


def mrpc_train() -> TokenizedSplit:
    """MRPC's training set, in the words of bert-base-uncased, which minilm-l6 shares."""
    return load_split(find_task('MRPC'), 'train', BertTokenizer.from_pretrained(checkpoint_folder('minilm-l6')),
                      MAX_SEQ_LENGTH)


def padded(split: TokenizedSplit, rows: np.ndarray, length: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """TokenizedSplit.padded as tensors."""
    return tuple(map(torch.from_numpy, split.padded(rows, length)))


class Published:
    """pytorch-pretrained-bert 0.6.2."""

    def __init__(self, split: TokenizedSplit, config: BertConfig, classes: int = CLASSES):
        logging.disable(logging.INFO)
        warnings.filterwarnings('ignore')
        from pytorch_pretrained_bert import modeling, optimization
        logging.disable(logging.NOTSET)
        self.split = split
        shape = modeling.BertConfig(config.vocab_size, config.hidden_size, config.num_hidden_layers,
                                    config.num_attention_heads, config.intermediate_size)
        self.model = modeling.BertForSequenceClassification(shape, classes)
        named = list(self.model.named_parameters())
        plain = ('bias', 'LayerNorm')
        groups = [{'params': [p for n, p in named if not any(word in n for word in plain)], 'weight_decay': 0.01},
                  {'params': [p for n, p in named if any(word in n for word in plain)], 'weight_decay': 0.0}]
        self.optimizer = optimization.BertAdam(groups, LEARNING_RATE, warmup=0.1, t_total=1000)

    def step(self, rows: np.ndarray) -> None:
        """One training step."""
        self.model.train()
        labels = torch.from_numpy(self.split.labels[rows])
        self.model(*padded(self.split, rows, MAX_SEQ_LENGTH), labels).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def predict(self, rows: np.ndarray) -> None:
        """Logits of rows in batches of 32."""
        self.model.eval()
        with torch.no_grad():
            for start in range(0, len(rows), 32):
                self.model(*padded(self.split, rows[start:start + 32], MAX_SEQ_LENGTH))


class HF:
    """HF transformers."""

    def __init__(self, split: TokenizedSplit, config: BertConfig):
        import transformers
        self.split = split
        self.model = transformers.BertForSequenceClassification(transformers.BertConfig(
            vocab_size=config.vocab_size, hidden_size=config.hidden_size, num_hidden_layers=config.num_hidden_layers,
            num_attention_heads=config.num_attention_heads, intermediate_size=config.intermediate_size))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), LEARNING_RATE, fused=True)

    def _logits(self, rows: np.ndarray) -> Tensor:
        input_ids, segment_ids, mask = padded(self.split, rows)
        with autocast(torch.device('cpu'), PRECISION):
            return self.model(input_ids, attention_mask=mask, token_type_ids=segment_ids).logits

    def step(self, rows: np.ndarray) -> None:
        """One training step."""
        self.model.train()
        F.cross_entropy(self._logits(rows).float(), torch.from_numpy(self.split.labels[rows])).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def predict(self, rows: np.ndarray) -> None:
        """Logits of rows in batches of 32, sorted by length."""
        self.model.eval()
        rows = self.split.by_length(rows)
        with torch.inference_mode():
            for start in range(0, len(rows), 32):
                self._logits(rows[start:start + 32])


class Ours:
    """This repository, through its Trainer's own step."""

    def __init__(self, split: TokenizedSplit, config: BertConfig, precision: str = PRECISION, model_type: str = 'Original',
                 objective: Objective | None = None):
        passes = wiring(model_type, config.num_hidden_layers)
        self.split, self.precision = split, precision
        self.model: nn.Module = SequenceClassifier(BertConfig.from_dict({**config.to_dict(), 'passes': passes}), CLASSES)
        settings = Settings(train_batch_size=32, gradient_accumulation_steps=1, num_train_epochs=10,
                            learning_rate=LEARNING_RATE, warmup_proportion=0.1, log_every_step=1, eval_every=10**9,
                            saving_criterion_acc=1, saving_criterion_loss=0, loss_scale=0, seed=1, precision=precision)
        folder = envs.OUTPUTS_FOLDER / 'benchmark'
        objective = objective or Objective(split.labels)
        self.trainer = Trainer(self.model, split, objective, settings, dict, 'acc', folder, 'BERT', folder)

    def step(self, rows: np.ndarray) -> None:
        """One training step."""
        self.model.train()
        self.trainer._train_step(rows)

    def predict(self, rows: np.ndarray) -> None:
        """Logits, pooled outputs and [CLS] states of rows by length, as many tokens at a time as 32 of full length have."""
        for _ in predict(self.model, self.split.part(rows), 32, self.precision):
            pass
