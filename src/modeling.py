"""Sequence classifiers on BERT: encoder, head, and how a student is wired and started."""
import re
from pathlib import Path

import torch
from torch import Tensor, nn

from BERT.pytorch_pretrained_bert import BertConfig, BertModel
from BERT.pytorch_pretrained_bert.dropout import dropout
from BERT.pytorch_pretrained_bert.file_utils import InputError
from BERT.pytorch_pretrained_bert.packing import TokenBatch
from BERT.pytorch_pretrained_bert.weights import arrange_layers, load_weights, read_state_dict, stored_layers

# Which layers run a second time (Pea-KD, section 3.2): all of them, but of six only the upper three.
REPEATED_LAYERS = {6: [3, 4, 5]}

# What the second run of a layer is: None: there is none; True: query and key exchanged; False: as the first.
MODEL_TYPES = {'Original': None, 'SPS': True, 'SPS_no_shuffle': False}


def wiring(model_type: str, num_hidden_layers: int) -> list[list] | None:
    """The passes [layer, exchanged] of a model type with that many stored layers; None: each layer once."""
    exchanged = MODEL_TYPES[model_type]
    if exchanged is None:
        return None
    layers = list(range(num_hidden_layers))
    repeated = REPEATED_LAYERS.get(num_hidden_layers, layers)
    if not isinstance(repeated, list | tuple) or not all(type(layer) is int and layer in layers for layer in repeated):
        raise InputError(f'REPEATED_LAYERS in {__file__}: {num_hidden_layers}: {repeated}; must be layers from 0 to '
                         f'{num_hidden_layers - 1}')
    return [[layer, False] for layer in layers] + [[layer, exchanged] for layer in repeated]


def parse_passes(text: str) -> list[list]:
    """'1,2,1x,2x' -> passes: layers 1-based, x where query and key are exchanged."""
    if not re.fullmatch(r'[1-9][0-9]{0,5}x?(,[1-9][0-9]{0,5}x?)*', text.replace(' ', '')):
        raise InputError(f'--passes {text!r}: must be layers from 1 on, as in 1,2,3,1x,2x,3x (x: query and key exchanged)')
    return [[int(part.rstrip('x')) - 1, part.endswith('x')] for part in text.replace(' ', '').split(',')]


def wiring_words(passes: list[tuple[int, bool]]) -> str:
    """Passes as --passes takes them: 1,2,1x,2x."""
    return ','.join(f'{layer + 1}{"x" * exchanged}' for layer, exchanged in passes)


class BertForSequenceClassificationEncoder(nn.Module):
    """BERT under the name `bert`, as encoder checkpoints of this family have it."""

    def __init__(self, config: BertConfig):
        super().__init__()
        self.bert = BertModel(config)

    def forward(self, input_ids: Tensor, token_type_ids: Tensor | None = None,
                attention_mask: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
        """Padded batch [B, T] -> (output [B, T, H] of each pass, pooled output [B, H])."""
        return self.bert(input_ids, token_type_ids, attention_mask)


class FCClassifierForSequenceClassification(nn.Module):
    """Dropout and a linear layer: pooled output [B, H] -> logits [B, num_labels], in fp32."""

    def __init__(self, config: BertConfig, num_labels: int, hidden_size: int | None = None):
        super().__init__()
        self.classifier = nn.Linear(hidden_size or config.hidden_size, num_labels)
        self.dropout_prob = config.hidden_dropout_prob
        nn.init.normal_(self.classifier.weight, std=config.initializer_range)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, encoded_feat: Tensor) -> Tensor:
        with torch.autocast(encoded_feat.device.type, enabled=False):   # costs nothing, and logits keep their digits
            return self.classifier(dropout(encoded_feat.float(), self.dropout_prob if self.training else 0.0))


class SequenceClassifier(nn.Module):
    """Encoder and head: a batch -> (logits [B, C], pooled output [B, H], [CLS] states [B, L, H] of all passes)."""

    def __init__(self, config: BertConfig, num_labels: int):
        super().__init__()
        self.config = config
        self.encoder = BertForSequenceClassificationEncoder(config)
        self.classifier = FCClassifierForSequenceClassification(config, num_labels)

    def forward(self, batch: TokenBatch) -> tuple[Tensor, Tensor, Tensor]:
        cls_states, pooled_output = self.encoder.bert.encode(batch)
        return self.classifier(pooled_output), pooled_output, cls_states

    def freeze(self, layers: list[int]) -> None:
        """Leave these stored layers (0-based) as they are in training."""
        for layer in layers:
            self.encoder.bert.encoder.layer[layer].requires_grad_(False)


def dropout_probs(dropout: float | None) -> dict[str, float]:
    """What --dropout replaces in a configuration."""
    return {} if dropout is None else {'hidden_dropout_prob': dropout, 'attention_probs_dropout_prob': dropout}


def load_encoder(encoder: BertForSequenceClassificationEncoder, path: str | Path, source_layers: list[int] | None = None,
                 optional: str | None = None, all_layers: bool = False) -> None:
    """Start an encoder from a file of weights. source_layers: the file's layer (0-based) for each of the encoder's;
    all_layers: the file must have no more layers than the encoder.

    Errors as of BertModel.load; a source layer that the file does not have is an InputError."""
    state = read_state_dict(path)
    stored = stored_layers(state)
    if all_layers and stored > len(encoder.bert.encoder.layer):
        raise InputError(f'{path} has {stored} layers, the model {len(encoder.bert.encoder.layer)}; check '
                         '--teacher_hidden_layers')
    if source_layers is not None:
        beyond = [layer + 1 for layer in source_layers if layer >= stored]
        if beyond:
            raise InputError(f'--layer_initialization: {path} has {stored} layers, none of number {beyond}')
        state = arrange_layers(state, [(layer, False) for layer in source_layers])
    encoder.bert.load(state, path, optional)


def load_classifier(classifier: nn.Module, path: str | Path) -> None:
    """Start a head from a file of weights."""
    load_weights(classifier, read_state_dict(path), path)


def count_parameters(module: nn.Module) -> int:
    """Stored numbers of a module; a layer that runs twice counts once."""
    return sum(parameter.numel() for parameter in module.parameters())
