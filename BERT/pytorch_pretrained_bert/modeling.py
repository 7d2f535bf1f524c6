"""BERT (Devlin et al., 2019), whose encoder reads from a list which layer runs when: Pea-KD's SPS is such a list.

Legend: B examples, T tokens of the longest one, N rows (see packing.py), H hidden, A heads, D = H / A, L passes.
"""
import json
import logging
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import attention
from .dropout import dropout, dropout_add
from .factored import FactoredEmbedding, check_rank, with_rank
from .file_utils import InputError, checkpoint_folder, config_file, read_json_object, weights_file
from .linear import Linear
from .packing import Layout, TokenBatch, padded_batch
from .weights import load_weights, read_state_dict

logger = logging.getLogger(__name__)



def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate='tanh')


ACTIVATIONS = {'gelu': F.gelu, 'gelu_python': F.gelu, 'relu': F.relu, 'swish': F.silu, 'silu': F.silu,
               'gelu_new': _gelu_tanh, 'gelu_fast': _gelu_tanh, 'gelu_pytorch_tanh': _gelu_tanh}      # HF's names

MAX_LAYERS = 1000                    # a slip or an attack beyond it; a model of so many would not be built in a lifetime


class BertConfig:
    """Shape of a BERT.

    passes: which stored layer runs in which pass, as a list of [layer, exchanged]; layers count from 0, and
    `exchanged` is true where query and key projections swap their roles (Pea-KD, section 3.2). None: each layer once.
    embedding_rank: the word embeddings are a product [V, R] @ [R, H] of that rank R. None: one matrix [V, H].
    """

    def __init__(self, vocab_size_or_config_json_file: int | str | Path, hidden_size: int = 768,
                 num_hidden_layers: int = 12, num_attention_heads: int = 12, intermediate_size: int = 3072,
                 hidden_act: str = 'gelu', hidden_dropout_prob: float = 0.1, attention_probs_dropout_prob: float = 0.1,
                 max_position_embeddings: int = 512, type_vocab_size: int = 2, initializer_range: float = 0.02,
                 passes: list | None = None, layer_norm_eps: float = 1e-12, embedding_rank: int | None = None):
        if isinstance(vocab_size_or_config_json_file, str | Path):
            self.__dict__.update(BertConfig.from_json_file(vocab_size_or_config_json_file).__dict__)
            return
        self.vocab_size = vocab_size_or_config_json_file
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.intermediate_size = intermediate_size
        self.hidden_act = hidden_act
        self.hidden_dropout_prob = hidden_dropout_prob
        self.attention_probs_dropout_prob = attention_probs_dropout_prob
        self.max_position_embeddings = max_position_embeddings
        self.type_vocab_size = type_vocab_size
        self.initializer_range = initializer_range
        self.passes = passes
        self.layer_norm_eps = layer_norm_eps
        self.embedding_rank = embedding_rank
        self._check()

    def _check(self):
        for name in ('vocab_size', 'hidden_size', 'num_hidden_layers', 'num_attention_heads', 'intermediate_size',
                     'max_position_embeddings', 'type_vocab_size'):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InputError(f'{name} of a BERT configuration must be a whole number from 1 on, not {value!r}')
        if not isinstance(self.passes, list | tuple | None):
            raise InputError('passes of a BERT configuration must be a list or null')
        if self.num_hidden_layers > MAX_LAYERS or len(self.passes or []) > 2 * MAX_LAYERS:
            raise InputError(f'num_hidden_layers {self.num_hidden_layers} and passes of a BERT configuration: at most '
                             f'{MAX_LAYERS} layers, run twice')
        if self.hidden_size % self.num_attention_heads:
            raise InputError(f'hidden_size {self.hidden_size} is not a multiple of num_attention_heads '
                             f'{self.num_attention_heads}')
        rank, most = self.embedding_rank, self.max_embedding_rank
        if rank is not None and (not isinstance(rank, int) or isinstance(rank, bool) or not 1 <= rank <= most):
            raise InputError(f'embedding_rank of a BERT configuration must be null or a whole number from 1 to {most} (less '
                             f'than hidden_size and vocab_size), not {rank!r}')
        if self.hidden_act not in ACTIVATIONS:
            raise InputError(f'hidden_act {self.hidden_act!r} is not one of {", ".join(ACTIVATIONS)}')
        for name in ('hidden_dropout_prob', 'attention_probs_dropout_prob', 'layer_norm_eps', 'initializer_range'):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 <= value < 1:
                raise InputError(f'{name} of a BERT configuration must be a number from 0 to below 1, not {value!r}')
        for entry in self.passes or []:
            if not isinstance(entry, list | tuple) or len(entry) != 2 or not isinstance(entry[0], int):
                raise InputError('passes of a BERT configuration must be pairs [layer, exchanged], as in [[0, false]]')
            if not 0 <= entry[0] < self.num_hidden_layers:
                raise InputError(f'a pass names layer {entry[0] + 1}, but there are {self.num_hidden_layers} layers')

    @property
    def max_embedding_rank(self) -> int:
        """The largest embedding_rank; from the next one on a product can be any matrix and saves nothing."""
        return min(self.vocab_size, self.hidden_size) - 1

    @classmethod
    def from_dict(cls, values: dict) -> 'BertConfig':
        """Configuration from the keys of a bert_config.json or of HF's config.json; keys of no meaning here pass."""
        known = {key: values[key] for key in vars(cls(1)) if key in values}
        if 'vocab_size' not in known:
            raise InputError('a BERT configuration needs vocab_size')
        if not isinstance(known['vocab_size'], int):
            raise InputError(f'vocab_size of a BERT configuration must be a whole number, not {known["vocab_size"]!r}')
        if values.get('model_type', 'bert') != 'bert' or values.get('position_embedding_type', 'absolute') != 'absolute':
            raise InputError(f'model_type {values.get("model_type")!r} with position_embedding_type '
                             f'{values.get("position_embedding_type")!r} is not a BERT with absolute positions')
        if values.get('is_decoder') or values.get('add_cross_attention'):
            raise InputError('is_decoder or add_cross_attention is set: that BERT is a decoder, here it must be an encoder')
        return cls(known.pop('vocab_size'), **known)

    @classmethod
    def from_json_file(cls, json_file: str | Path) -> 'BertConfig':
        """Configuration from a JSON file; what is wrong with it is an InputError that names the file."""
        values = read_json_object(json_file, 'a BERT configuration')
        try:
            return cls.from_dict(values)
        except (TypeError, ValueError) as error:
            raise InputError(f'{json_file}: not a BERT configuration: {error}') from None

    def check_room(self, weights: str | Path, layers: int | None = None) -> None:
        """InputError where a file of weights is too small for a model of this shape, before memory is taken for one.

        layers: how many different ones of the file the model starts from; None: as many as it has. A pooler may be new."""
        hidden, room = self.hidden_size, Path(weights).stat().st_size
        needed = (self.max_position_embeddings + self.type_vocab_size) * hidden
        needed += (self.vocab_size + hidden) * self.embedding_rank if self.embedding_rank else self.vocab_size * hidden
        needed += (layers or self.num_hidden_layers) * (4 * hidden ** 2 + 2 * hidden * self.intermediate_size)
        if needed > room:               # a number takes a byte or more
            # Which say better what is wrong with a file that is none of weights, or of another rank
            check_rank(read_state_dict(weights), self.embedding_rank, weights)
            raise InputError(f'{weights} does not fit the model: it has {room:,} bytes, and the configuration describes '
                             f'{needed:,} numbers')

    def to_dict(self) -> dict:
        """The configuration as plain values."""
        return dict(vars(self))

    def to_json_string(self) -> str:
        """The configuration as JSON, keys sorted."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True) + '\n'

    def layer_passes(self) -> list[tuple[int, bool]]:
        """(layer, exchanged) of every pass, in order."""
        passes = self.passes or [[layer, False] for layer in range(self.num_hidden_layers)]
        return [(layer, bool(exchanged)) for layer, exchanged in passes]

    def idle_layers(self) -> list[int]:
        """The stored layers that no pass runs."""
        return sorted({*range(self.num_hidden_layers)} - {layer for layer, _ in self.layer_passes()})

    @property
    def is_plain(self) -> bool:
        """Whether each stored layer runs once, in order, query and key in their own roles."""
        return self.layer_passes() == [(layer, False) for layer in range(self.num_hidden_layers)]

    def unrolled(self) -> 'BertConfig':
        """The plain BERT that computes the same, with a layer for each pass and one matrix of word embeddings;
        weights.arrange_layers and factored.whole_embeddings give its weights."""
        plain = {'num_hidden_layers': len(self.layer_passes()), 'passes': None, 'embedding_rank': None}
        return BertConfig.from_dict(self.to_dict() | plain)


class BertEmbeddings(nn.Module):
    """Word, position and segment embeddings, added and normalised: a batch -> [N, H]."""

    def __init__(self, config: BertConfig):
        super().__init__()
        if config.embedding_rank:
            self.word_embeddings = FactoredEmbedding(config.vocab_size, config.embedding_rank, config.hidden_size)
        else:
            self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout_prob = config.hidden_dropout_prob

    def forward(self, batch: TokenBatch) -> Tensor:
        hidden = (self.word_embeddings(batch.input_ids) + self.position_embeddings(batch.position_ids)
                  + self.token_type_embeddings(batch.segment_ids))
        hidden = self.LayerNorm(hidden)
        if torch.is_autocast_enabled(hidden.device.type):   # from here on all rows stay in the lower precision
            hidden = hidden.to(torch.get_autocast_dtype(hidden.device.type))
        return dropout(hidden, self.dropout_prob if self.training else 0.0)


class BertSelfAttention(nn.Module):
    """Multi-head self-attention; `exchanged` swaps the roles of the query and key projections (SPS)."""

    def __init__(self, config: BertConfig):
        super().__init__()
        self.num_attention_heads = config.num_attention_heads
        self.query = Linear(config.hidden_size, config.hidden_size)
        self.key = Linear(config.hidden_size, config.hidden_size)
        self.value = Linear(config.hidden_size, config.hidden_size)
        self.dropout_prob = config.attention_probs_dropout_prob

    def roles(self, exchanged: bool) -> tuple[nn.Module, nn.Module]:
        """The projections that make queries and keys."""
        return (self.key, self.query) if exchanged else (self.query, self.key)

    def forward(self, hidden: Tensor, layout: Layout, exchanged: bool, first_only: bool) -> Tensor:
        """Rows [N, H] -> rows [N, H]; with first_only the outputs of the first tokens alone, [B, H]."""
        heads, dropout_prob = self.num_attention_heads, self.dropout_prob if self.training else 0.0
        to_query, to_key = self.roles(exchanged)
        key, value = layout.to_heads(to_key(hidden), heads), layout.to_heads(self.value(hidden), heads)   # [M * A, D]
        if first_only:
            query = to_query(hidden[layout.first_rows]).view(-1, key.size(1))                             # [B * A, D]
            return attention(query, key, value, layout, heads, True, dropout_prob).view(-1, hidden.size(1))
        query = layout.to_heads(to_query(hidden), heads)
        return layout.to_rows(attention(query, key, value, layout, heads, False, dropout_prob), heads)


class BertOutput(nn.Module):
    """End of a sublayer: project, drop out, add the sublayer's input, normalise."""

    def __init__(self, config: BertConfig, input_size: int):
        super().__init__()
        self.dense = Linear(input_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout_prob = config.hidden_dropout_prob

    def forward(self, hidden: Tensor, residual: Tensor) -> Tensor:
        return self.LayerNorm(dropout_add(self.dense(hidden), residual, self.dropout_prob if self.training else 0.0))


class BertAttention(nn.Module):
    """Self-attention sublayer."""

    def __init__(self, config: BertConfig):
        super().__init__()
        self.self = BertSelfAttention(config)
        self.output = BertOutput(config, config.hidden_size)

    def forward(self, hidden: Tensor, layout: Layout, exchanged: bool, first_only: bool) -> Tensor:
        residual = hidden[layout.first_rows] if first_only else hidden
        return self.output(self.self(hidden, layout, exchanged, first_only), residual)


class BertIntermediate(nn.Module):
    """First half of the feed-forward sublayer."""

    def __init__(self, config: BertConfig):
        super().__init__()
        self.dense = Linear(config.hidden_size, config.intermediate_size)
        self.activation = ACTIVATIONS[config.hidden_act]

    def forward(self, hidden: Tensor) -> Tensor:
        return self.activation(self.dense(hidden))


class BertLayer(nn.Module):
    """One layer: self-attention and feed-forward, rows [N, H] -> [N, H] (first_only: [B, H])."""

    def __init__(self, config: BertConfig):
        super().__init__()
        self.attention = BertAttention(config)
        self.intermediate = BertIntermediate(config)
        self.output = BertOutput(config, config.intermediate_size)

    def forward(self, hidden: Tensor, layout: Layout, exchanged: bool = False, first_only: bool = False) -> Tensor:
        hidden = self.attention(hidden, layout, exchanged, first_only)
        return self.output(self.intermediate(hidden), hidden)


class BertEncoder(nn.Module):
    """The stored layers, run in the order, and wired as, the configuration's passes say."""

    def __init__(self, config: BertConfig):
        super().__init__()
        self.layer = nn.ModuleList(BertLayer(config) for _ in range(config.num_hidden_layers))
        self.passes = config.layer_passes()

    def forward(self, hidden: Tensor, layout: Layout, last_first_only: bool = False) -> list[Tensor]:
        """Outputs of all passes, [N, H] each; with last_first_only the last one's are [B, H], of the first tokens.

        A classifier reads nothing else of the last pass, and so most of that pass need not be computed."""
        encoded_layers = []
        for number, (layer, exchanged) in enumerate(self.passes, start=1):
            hidden = self.layer[layer](hidden, layout, exchanged, last_first_only and number == len(self.passes))
            encoded_layers.append(hidden)
        return encoded_layers


class BertPooler(nn.Module):
    """[CLS] states [B, H] -> pooled output [B, H]."""

    def __init__(self, config: BertConfig):
        super().__init__()
        self.dense = Linear(config.hidden_size, config.hidden_size)

    def forward(self, cls_states: Tensor) -> Tensor:
        return torch.tanh(self.dense(cls_states))


class BertModel(nn.Module):
    """BERT; state-dict names are those of pytorch_pretrained_bert and HF transformers."""

    def __init__(self, config: BertConfig):
        super().__init__()
        self.config = config
        self.embeddings = BertEmbeddings(config)
        self.encoder = BertEncoder(config)
        self.pooler = BertPooler(config)
        self.apply(self.init_weights)

    def init_weights(self, module: nn.Module):
        """N(0, initializer_range) for weights, 0 for biases, 1 for the scales of LayerNorm (its default)."""
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=self.config.initializer_range)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    @classmethod
    def from_pretrained(cls, folder_or_name: str | Path, config: BertConfig | None = None) -> 'BertModel':
        """Model with the weights of a checkpoint folder, or of one by that name in the models folder of envs.py.

        config: another shape, say fewer layers, than the folder's own; layers beyond it are left out. A checkpoint
        without a pooler gets a new one, with a warning; anything else that is missing is an InputError."""
        folder = checkpoint_folder(folder_or_name)
        config = config or BertConfig.from_json_file(config_file(folder))
        source = weights_file(folder)
        config.check_room(source)
        model = cls(config)
        model.load(read_state_dict(source), source, optional='pooler.')
        return model

    def load(self, state: dict[str, Tensor], source: str | Path, optional: str | None = None) -> None:
        """Take the weights of a state dict of standard names, whole word embeddings factorised where this model's are.

        Errors as of load_weights and with_rank: factors of another rank are refused."""
        load_weights(self, with_rank(state, self.config.embedding_rank, source), source, optional)

    def forward(self, input_ids: Tensor, token_type_ids: Tensor | None = None, attention_mask: Tensor | None = None,
                output_all_encoded_layers: bool = True) -> tuple[list[Tensor] | Tensor, Tensor]:
        """Padded batch [B, T] -> (output [B, T, H] of each pass, or of the last one alone; pooled output [B, H])."""
        if input_ids.size(1) > self.config.max_position_embeddings:
            raise InputError(f'{input_ids.size(1)} tokens, but the position table ends at '
                             f'{self.config.max_position_embeddings}')
        batch = padded_batch(input_ids, token_type_ids, attention_mask)
        encoded_layers = self.encoder(self.embeddings(batch), batch.layout)
        pooled_output = self.pooler(encoded_layers[-1][batch.layout.first_rows])
        encoded_layers = [hidden.view(*input_ids.shape, -1) for hidden in encoded_layers]
        return encoded_layers if output_all_encoded_layers else encoded_layers[-1], pooled_output

    def encode(self, batch: TokenBatch) -> tuple[Tensor, Tensor]:
        """A batch -> ([CLS] states of each pass [B, L, H], pooled output [B, H])."""
        *earlier, last = self.encoder(self.embeddings(batch), batch.layout, last_first_only=True)
        cls_states = [hidden[batch.layout.first_rows] for hidden in earlier] + [last]
        return torch.stack(cls_states, dim=1), self.pooler(last)
