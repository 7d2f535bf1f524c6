"""What the scripts that compute share before they read data: checkpoint, tokenizer, device, precision, seed, and the files
that a model starts from, checked."""
import argparse
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from BERT.pytorch_pretrained_bert import BertConfig, BertTokenizer
from BERT.pytorch_pretrained_bert.file_utils import InputError, checkpoint_folder, config_file, vocab_file, weights_file
from src.data_processing import check_max_seq_length
from src.distributed import from_main
from src.nli_data_processing import find_task
from src.resuming import earlier_seed
from src.utils import choose_device, choose_precision, choose_seed, keep_freed_memory, set_seed

logger = logging.getLogger(__name__)


@dataclass
class Setup:
    """A script's checkpoint folder, shape, tokenizer, device and precision, after all checks."""
    checkpoint: Path
    config: BertConfig
    tokenizer: BertTokenizer
    device: torch.device
    precision: str


@dataclass(frozen=True)
class Inputs:
    """The shape of the model to train and the files that it starts from, found once for all who ask."""
    config: BertConfig
    encoder: Path | None              # of --load_model
    head: Path | None                 # of --cls_checkpoint
    checkpoint: Path                  # the pretrained checkpoint's folder

    @cached_property
    def start(self) -> Path:
        """The encoder's weights: --load_model's, or the pretrained checkpoint's, whose check may take a while."""
        return self.encoder or weights_file(self.checkpoint)


def set_up(args: argparse.Namespace, checkpoint: Path | None = None) -> Setup:
    """Check the pretrained checkpoint, that of --bert_model where no folder is given; choose device and precision."""
    keep_freed_memory()
    device = choose_device()
    precision = choose_precision(args.precision, device)
    checkpoint = checkpoint or checkpoint_folder(args.bert_model)
    config = BertConfig.from_json_file(config_file(checkpoint))
    check_max_seq_length(args.max_seq_length, config.max_position_embeddings)
    tokenizer = BertTokenizer.of_checkpoint(checkpoint)
    if len(tokenizer.vocab) > config.vocab_size:
        raise InputError(f'{checkpoint}: {vocab_file(checkpoint).name} has {len(tokenizer.vocab)} words, the configuration '
                         f'{config.vocab_size}')
    if config.type_vocab_size < 2 and find_task(args.task).unlabelled.text_b:
        raise InputError(f'{checkpoint}: type_vocab_size is {config.type_vocab_size}, but {args.task} has pairs of texts, '
                         'which need 2')
    return Setup(checkpoint, config, tokenizer, device, precision)


def seed_run(args: argparse.Namespace, given: int | None, log_folder: Callable[[int | str], Path]) -> int:
    """Choose, announce and set the seed: the one given, else with --resume that of the run to go on with, else a drawn one.

    log_folder: seed, or * for any -> the run's folder."""
    earlier = from_main(earlier_seed, log_folder) if args.resume and given is None else None
    seed = from_main(choose_seed, given if earlier is None else earlier)
    logger.info('seed %d%s', seed, ' (drawn)' if given is None and earlier is None else '')
    set_seed(seed)
    return seed
