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
import logging
import os
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from . import file_utils
from .file_utils import InputError
from .writing import replace_file

logger = logging.getLogger(__name__)

SPECIAL_TOKENS = ('[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]')
NEEDED_TOKENS = SPECIAL_TOKENS[:4]     # this project masks nothing
MAX_WORD_CHARACTERS = 100              # longer words are [UNK]
TEXTS_AT_ONCE = 10_000                 # bounds what encode_texts needs beside its result


class BertTokenizer:
    """Text to WordPiece tokens and their ids.

    vocab_file: one token a line, UTF-8; the first has id 0. Needs [PAD], [UNK], [CLS] and [SEP].
    do_lower_case: lower-case the text and remove its accents (for uncased checkpoints).
    max_len: `convert_tokens_to_ids` warns of more tokens than this; None: never. Nothing is cut.

    vocab: ordered dict token -> id. ids_to_tokens: ordered dict id -> token. cls_id, sep_id, pad_id, unk_id: ids.
    Raises FileNotFoundError, or InputError for a file that is no such vocabulary.
    """

    def __init__(self, vocab_file: str | Path, do_lower_case: bool = True, max_len: int | None = None):
        # Only new words reach the library (see encode_texts), so its threads gain little, and after them some of its
        # versions print a warning at every fork, those of DataLoader workers for one. A value set by the user stays.
        os.environ.setdefault('TOKENIZERS_PARALLELISM', 'false')
        self.vocab = load_vocab(vocab_file)
        self.ids_to_tokens = OrderedDict((index, token) for token, index in self.vocab.items())
        self.do_lower_case = bool(do_lower_case)
        self.max_len = max_len
        self.pad_id, self.unk_id, self.cls_id, self.sep_id = (self.vocab[token] for token in NEEDED_TOKENS)
        self._cleaner = BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=False, lowercase=False)
        # The special tokens are not added to it: it would then find them in the text.
        self._tokenizer = Tokenizer(WordPiece(self.vocab, unk_token='[UNK]', continuing_subword_prefix='##',
                                              max_input_chars_per_word=MAX_WORD_CHARACTERS))
        self._tokenizer.normalizer = BertNormalizer(clean_text=True, handle_chinese_chars=True,
                                                    strip_accents=self.do_lower_case, lowercase=self.do_lower_case)
        self._tokenizer.pre_tokenizer = BertPreTokenizer()

    @classmethod
    def from_pretrained(cls, folder_or_name: str | Path, do_lower_case: bool = True,
                        max_len: int | None = None) -> 'BertTokenizer':
        """The tokenizer of a checkpoint: a folder, or the name of one under the models folder of envs.py."""
        return cls(file_utils.vocab_file(file_utils.checkpoint_folder(folder_or_name)), do_lower_case, max_len)

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
        """SHA-256 (hex) over the vocabulary in its order and do_lower_case: same fingerprint, same ids."""
        rules = f'do_lower_case={self.do_lower_case}'
        return hashlib.sha256('\n'.join([rules, *self.vocab]).encode()).hexdigest()

    def save_vocabulary(self, folder: str | Path) -> Path:
        """Writes vocab.txt into a folder, which is made where it is missing; returns the file's path."""
        path = Path(folder) / 'vocab.txt'
        with replace_file(path) as temporary:
            temporary.write_text(''.join(f'{token}\n' for token in self.vocab), encoding='utf-8', newline='\n')
        return path


def load_vocab(vocab_file: str | Path) -> 'OrderedDict[str, int]':
    """Token -> id, in the order of a vocabulary file. Errors: see BertTokenizer."""
    path = Path(vocab_file)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such vocabulary file')
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
    missing = [token for token in NEEDED_TOKENS if token not in vocab]
    if missing:
        raise InputError(f'{path}: {len(vocab)} tokens without {", ".join(missing)}; '
                         f'a BERT vocabulary has {", ".join(NEEDED_TOKENS)}')
    return vocab
