"""BERT for this project, with the names users of pytorch_pretrained_bert know."""
from .modeling import BertConfig, BertModel
from .optimization import BertAdam
from .tokenization import BertTokenizer

__all__ = ['BertAdam', 'BertConfig', 'BertModel', 'BertTokenizer']
