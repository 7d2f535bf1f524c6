"""BertTokenizer: pytorch_pretrained_bert's interface over the `tokenizers` library (WordPiece in Rust).

Text is cleaned of control characters, CJK characters stand alone, and, with do_lower_case, letters are lower-cased and
their accents removed; then it is split at white space and punctuation, and each word into the longest pieces that the
vocabulary has. A word that cannot be split so, or of more than 100 characters, is [UNK].

"[SEP]" and its like written in the text: `tokenize` keeps one that stands between white space, as
pytorch_pretrained_bert 0.6.2 does, whose users write `tokenize('[CLS] Who ? [SEP]')`. (HF takes it for the special
token inside a word too.) `encode_texts` reads data, where it is text like any other, "[", "sep" and "]", as in Google's
own code and in HF with split_special_tokens=True: a sentence must not end its pair.
"""
import hashlib
import json
import logging
import os
import re
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.decoders import WordPiece as WordPieceDecoder
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

from . import file_utils
from .file_utils import InputError, read_json_object
from .writing import replace_file

logger = logging.getLogger(__name__)

SPECIAL_TOKENS = ('[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]')
NEEDED_TOKENS = SPECIAL_TOKENS[:4]     # this project masks nothing
MAX_WORD_CHARACTERS = 100              # longer words are [UNK]
TEXTS_AT_ONCE = 10_000                 # bounds what encode_texts needs beside its result
NO_WORD = re.compile(r'[\n\r\ud800-\udfff]')      # what no line of a vocab.txt can hold
CONFIG_NAME, WHOLE_NAME = 'tokenizer_config.json', 'tokenizer.json'      # HF's: settings; the whole tokenizer


class BertTokenizer:
    """Text to WordPiece tokens and their ids.

    vocab_file: one token a line, UTF-8, the first has id 0; or the tokenizer.json of a BERT. Needs [PAD], [UNK], [CLS] and
        [SEP].
    do_lower_case: lower-case the text and remove its accents (for uncased checkpoints).
    max_len: `convert_tokens_to_ids` warns of more tokens than this; None: never. Nothing is cut.
    strip_accents, tokenize_chinese_chars: as in HF: accents are removed, None: as do_lower_case says; CJK characters stand
        alone.

    vocab: ordered dict token -> id. ids_to_tokens: ordered dict id -> token. cls_id, sep_id, pad_id, unk_id: ids.
    Raises FileNotFoundError, or InputError for a file that is no such vocabulary.
    """

    def __init__(self, vocab_file: str | Path, do_lower_case: bool = True, max_len: int | None = None,
                 strip_accents: bool | None = None, tokenize_chinese_chars: bool = True):
        # Only new words reach the library (see encode_texts), so its threads gain little, and after them some of its
        # versions print a warning at every fork, those of DataLoader workers for one. A value set by the user stays.
        os.environ.setdefault('TOKENIZERS_PARALLELISM', 'false')
        self.vocab = load_vocab(vocab_file)
        self.ids_to_tokens = OrderedDict((index, token) for token, index in self.vocab.items())
        self.do_lower_case = bool(do_lower_case)
        self.strip_accents = self.do_lower_case if strip_accents is None else strip_accents
        self.tokenize_chinese_chars = tokenize_chinese_chars
        self.max_len = max_len
        self.pad_id, self.unk_id, self.cls_id, self.sep_id = (self.vocab[token] for token in NEEDED_TOKENS)
        self._cleaner = BertNormalizer(clean_text=True, handle_chinese_chars=tokenize_chinese_chars, strip_accents=False,
                                       lowercase=False)
        # The special tokens are not added to it: it would then find them in the text.
        self._tokenizer = Tokenizer(WordPiece(self.vocab, unk_token='[UNK]', continuing_subword_prefix='##',
                                              max_input_chars_per_word=MAX_WORD_CHARACTERS))
        self._tokenizer.normalizer = BertNormalizer(clean_text=True, handle_chinese_chars=tokenize_chinese_chars,
                                                    strip_accents=self.strip_accents, lowercase=self.do_lower_case)
        self._tokenizer.pre_tokenizer = BertPreTokenizer()

    @classmethod
    def from_pretrained(cls, folder_or_name: str | Path, do_lower_case: bool = True,
                        max_len: int | None = None) -> 'BertTokenizer':
        """The tokenizer of a checkpoint: a folder, or the name of one under the models folder of envs.py."""
        return cls(file_utils.vocab_file(file_utils.checkpoint_folder(folder_or_name)), do_lower_case, max_len)

    @classmethod
    def of_checkpoint(cls, folder: str | Path) -> 'BertTokenizer':
        """The tokenizer of a checkpoint folder, with the casing of its words: see `word_rules`."""
        return cls(file_utils.vocab_file(folder), **word_rules(Path(folder)))

    def __len__(self) -> int:
        return len(self.vocab)

    def tokenize(self, text: str) -> list[str]:
        """Tokens of a text; special tokens between white space in it are kept as they are (see the module's text)."""
        if '[' not in text:
            return self._tokenizer.encode(text, add_special_tokens=False).tokens
        tokens, words = [], []
        for word in [*self._cleaner.normalize_str(text).split(), None]:
            if word is not None and word not in SPECIAL_TOKENS:
                words.append(word)
                continue
            tokens += self._tokenizer.encode(' '.join(words), add_special_tokens=False).tokens
            tokens += [] if word is None else [word]
            words = []
        return tokens

    def convert_tokens_to_ids(self, tokens: Sequence[str]) -> list[int]:
        """Ids of tokens. Raises KeyError for a token that the vocabulary does not have."""
        ids = [self.vocab[token] for token in tokens]
        if self.max_len is not None and len(ids) > self.max_len:
            logger.warning('%d tokens, but max_len is %d: cut them before they reach the model', len(ids), self.max_len)
        return ids

    def convert_ids_to_tokens(self, ids: Iterable[int]) -> list[str]:
        """Tokens of ids (ints, or a tensor or array of them). Raises KeyError for an id beyond the vocabulary."""
        return [self.ids_to_tokens[int(index)] for index in ids]

    def encode_texts(self, texts: Sequence[str], ids_of: dict[str, list[int]] | None = None) -> list[list[int]]:
        """Token ids of each text: no special tokens, nothing cut, "[SEP]" in a text is text.

        A space always ends a word, so each different word is looked at once: on SST-2 2 to 3 times as fast as giving
        the library whole texts. ids_of: the words looked at so far, for calls that follow one another; added to.
        """
        ids_of = {} if ids_of is None else ids_of
        rows: list[list[int]] = []
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            split = [text.split(' ') for text in texts[start:start + TEXTS_AT_ONCE]]
            new = list({word for words in split for word in words if word not in ids_of})
            encodings = self._tokenizer.encode_batch_fast(new, add_special_tokens=False)
            ids_of.update((word, encoding.ids) for word, encoding in zip(new, encodings, strict=True))
            rows += [list(chain.from_iterable(map(ids_of.__getitem__, words))) for words in split]
        return rows

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over the vocabulary in its order and the rules for words: same fingerprint, same ids."""
        rules = f'do_lower_case={self.do_lower_case}'
        if self.strip_accents != self.do_lower_case:
            rules += f' strip_accents={self.strip_accents}'
        if not self.tokenize_chinese_chars:
            rules += ' tokenize_chinese_chars=False'
        return hashlib.sha256('\n'.join([rules, *self.vocab]).encode()).hexdigest()

    def save_vocabulary(self, folder: str | Path) -> Path:
        """Writes vocab.txt into a folder, which is made where it is missing; returns the file's path."""
        path = Path(folder) / 'vocab.txt'
        with replace_file(path) as temporary:
            temporary.write_text(''.join(f'{token}\n' for token in self.vocab), encoding='utf-8', newline='\n')
        return path

    def save_pretrained(self, folder: str | Path, model_max_length: int) -> None:
        """Write into a folder what HF's AutoTokenizer reads: vocab.txt, tokenizer.json, tokenizer_config.json and
        special_tokens_map.json. It then gives the ids that encode_texts gives, with special tokens around them.

        model_max_length: the tokens, special ones included, that HF cuts a text or a pair to with truncation=True."""
        folder = Path(folder)
        special = {f'{token[1:-1].lower()}_token': token if token in self.vocab else None for token in SPECIAL_TOKENS}
        settings = {'tokenizer_class': 'BertTokenizer', 'do_lower_case': self.do_lower_case,
                    'strip_accents': None if self.strip_accents == self.do_lower_case else self.strip_accents,
                    'tokenize_chinese_chars': self.tokenize_chinese_chars, 'model_max_length': model_max_length,
                    'split_special_tokens': True,          # a sentence's "[SEP]" must not end it: see the module's text
                    'clean_up_tokenization_spaces': True,
                    'model_input_names': ['input_ids', 'token_type_ids', 'attention_mask']}
        self.save_vocabulary(folder)
        _write_json(folder / CONFIG_NAME, settings | special)
        _write_json(folder / 'special_tokens_map.json', {name: token for name, token in special.items() if token})
        with replace_file(folder / WHOLE_NAME) as temporary:
            temporary.write_text(self._with_special_tokens().to_str(pretty=True) + '\n', encoding='utf-8')

    def _with_special_tokens(self) -> Tokenizer:
        """The library's tokenizer, which also adds special tokens, and finds them in text."""
        whole = Tokenizer.from_str(self._tokenizer.to_str())
        whole.add_special_tokens([token for token in SPECIAL_TOKENS if token in self.vocab])
        whole.post_processor = TemplateProcessing(
            single='[CLS]:0 $A:0 [SEP]:0', pair='[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1',
            special_tokens=[('[CLS]', self.cls_id), ('[SEP]', self.sep_id)])
        whole.decoder = WordPieceDecoder()
        return whole


def _write_json(path: Path, values: dict) -> None:
    with replace_file(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2) + '\n', encoding='utf-8')


def word_rules(folder: Path) -> dict[str, bool | None]:
    """do_lower_case, strip_accents and tokenize_chinese_chars of a checkpoint folder.

    Each is what tokenizer_config.json says; where that does not speak of lower case, what tokenizer.json says of the rest.
    Where neither speaks of lower case, the words decide: they are cased if one has a capital letter, which lower-cased text
    could never need (special words in brackets aside). InputError where a file is not what its name says."""
    said = _said_in_config(folder / CONFIG_NAME)
    if 'do_lower_case' not in said and (folder / WHOLE_NAME).is_file():
        said = _said_in_whole(folder / WHOLE_NAME) | said
    if 'do_lower_case' not in said:
        vocab = load_vocab(file_utils.vocab_file(folder))
        cased = any(word != word.lower() and word[0] + word[-1] not in ('[]', '<>') for word in vocab)
        said['do_lower_case'] = not cased
        if cased:
            logger.info('%s: no %s says whether its words are cased; some have capital letters: cased', folder, CONFIG_NAME)
    return said


def _said_in_config(path: Path) -> dict[str, bool | None]:
    values = read_json_object(path, "a tokenizer's configuration") if path.is_file() else {}
    return _rules(path, {name: values[name] for name in ('do_lower_case', 'strip_accents', 'tokenize_chinese_chars')
                         if name in values})


def _said_in_whole(path: Path) -> dict[str, bool | None]:
    normalizer = _read_whole(path)['normalizer']
    names = {'do_lower_case': 'lowercase', 'strip_accents': 'strip_accents',
             'tokenize_chinese_chars': 'handle_chinese_chars'}
    return _rules(path, {name: normalizer[theirs] for name, theirs in names.items() if theirs in normalizer})


def _rules(path: Path, said: dict) -> dict[str, bool | None]:
    for name, value in said.items():
        if not isinstance(value, bool) and (value is not None or name != 'strip_accents'):
            raise InputError(f'{path}: {name} must be true or false, not {str(value)[:40]!r}')
    return said


def _read_whole(path: Path) -> dict:
    """A tokenizer.json. InputError where it is not that of a BERT's WordPiece tokenizer."""
    values = read_json_object(path, "a tokenizer.json of HF's tokenizers")
    model = {'type': 'WordPiece', 'unk_token': '[UNK]', 'continuing_subword_prefix': '##',
             'max_input_chars_per_word': MAX_WORD_CHARACTERS}
    for part, wanted in (('model', model), ('normalizer', {'type': 'BertNormalizer'}),
                         ('pre_tokenizer', {'type': 'BertPreTokenizer'})):
        found = values.get(part)
        for name, value in wanted.items():
            there = found.get(name, value) if isinstance(found, dict) else None      # early files leave out model.type
            if there != value:
                raise InputError(f'{path}: not the tokenizer of a BERT: {part}.{name} is {str(there)[:40]!r}, expected '
                                 f'{value!r}')
    return values


def load_vocab(vocab_file: str | Path) -> 'OrderedDict[str, int]':
    """Token -> id, in the order of a vocabulary file, vocab.txt or tokenizer.json. Errors: see BertTokenizer."""
    path = Path(vocab_file)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such vocabulary file')
    vocab = _whole_vocab(path) if path.suffix == '.json' else _text_vocab(path)
    missing = [token for token in NEEDED_TOKENS if token not in vocab]
    if missing:
        raise InputError(f'{path}: {len(vocab)} tokens without {", ".join(missing)}; '
                         f'a BERT vocabulary has {", ".join(NEEDED_TOKENS)}')
    return vocab


def _whole_vocab(path: Path) -> 'OrderedDict[str, int]':
    """The vocabulary in a tokenizer.json."""
    values = _read_whole(path)
    vocab, added = values['model'].get('vocab'), values.get('added_tokens')
    ids = list(vocab.values()) if isinstance(vocab, dict) else [None]
    if not all(type(number) is int for number in ids) or sorted(ids) != list(range(len(ids))):
        raise InputError(f'{path}: not the tokenizer of a BERT: its vocabulary must number words from 0 on')
    odd = [word for word in vocab if not word or NO_WORD.search(word)]
    if odd:
        raise InputError(f'{path}: {ascii(odd[0])[:40]} in its vocabulary is no word')
    added = added if isinstance(added, list) else []
    words = [str(token.get('content') if isinstance(token, dict) else token) for token in added]
    unknown = [word[:40] for word in words if word not in vocab]
    if unknown:
        raise InputError(f'{path}: it has added tokens beside its vocabulary, which are not supported: '
                         f'{", ".join(unknown[:6])}')
    return OrderedDict(sorted(vocab.items(), key=lambda item: item[1]))


def _text_vocab(path: Path) -> 'OrderedDict[str, int]':
    """The vocabulary in a vocab.txt."""
    data = path.read_bytes()
    try:
        text = data.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        line = data.count(b'\n', 0, error.start) + 1
        raise InputError(f'{path}, line {line}: not UTF-8; a vocabulary has one token a line, in UTF-8') from None
    # Not splitlines: tokens may hold what Unicode calls a line break.
    lines = [line.removesuffix('\r') for line in text.removesuffix('\n').split('\n')] if text else []
    vocab = OrderedDict()
    for index, token in enumerate(lines):
        if not token or token in vocab:
            problem = f'{token!r} stands on line {vocab[token] + 1} already' if token else 'empty'
            raise InputError(f'{path}, line {index + 1}: {problem}; a vocabulary has one token a line, each once')
        vocab[token] = index
    return vocab
