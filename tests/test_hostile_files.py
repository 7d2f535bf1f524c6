"""Files that would run code, hang their reader or fill the memory: every reader of the project refuses them."""
import builtins
import collections
import contextlib
import functools
import io
import os
import pickle
import resource
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT

from BERT.pytorch_pretrained_bert import BertTokenizer
from BERT.pytorch_pretrained_bert.file_utils import InputError
from BERT.pytorch_pretrained_bert.weights import load_tensors, read_state_dict
from src.data_processing import load_split
from src.nli_data_processing import find_task
from src.published_results import read_published
from src.results import read_results
from src.run_log import read_run
from src.teacher_outputs import TeacherOutputs


class Call:
    """Pickles as a call of `function`, and so calls it when it is unpickled without care."""

    def __init__(self, function, *arguments, state=None):
        self.parts = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.parts

    def __call__(self):
        """For pickle.dumps, which wants what it calls to be callable."""


def storage(content):
    """torch.storage._load_from_bytes on what is itself a pickle: unsafe loaders load it in turn."""
    return Call(torch.storage._load_from_bytes, pickle.dumps(content))


def torch_storage(content):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return Call(torch.storage._load_from_bytes, buffer.getvalue())


def reconstruct():
    from numpy._core.multiarray import _reconstruct
    return _reconstruct


def object_array(content):
    array = np.empty(1, object)
    array[0] = content
    return array


def npy_with(content):
    """numpy.load(allow_pickle=True) of an object array."""
    buffer = io.BytesIO()
    np.save(buffer, object_array(content), allow_pickle=True)
    return Call(np.load, Call(io.BytesIO, buffer.getvalue()), None, True)


# name -> (path of the canary) -> something that creates the canary when it is unpickled without care
ATTACKS = {
    'os.system': lambda path: Call(os.system, f'touch {path}'),
    'subprocess': lambda path: Call(subprocess.call, ['touch', str(path)]),
    'eval': lambda path: Call(builtins.eval, f'open({str(path)!r}, "w")'),
    'exec': lambda path: Call(builtins.exec, f'open({str(path)!r}, "w")'),
    'getattr': lambda path: Call(Call(builtins.getattr, Call(builtins.__import__, 'os'), 'mkdir'), str(path)),
    'open': lambda path: Call(open, str(path), 'w'),
    'pathlib': lambda path: Call(Path.touch, path),
    'in a list of a dictionary': lambda path: {'train': [1, {'pred_logit': (Call(os.mkdir, str(path)),)}]},
    'beside tensors': lambda path: {'a': torch.ones(2), 'b': Call(os.mkdir, str(path))},
    'as a key': lambda path: {Call(os.mkdir, str(path)): 1},
    'ordered dictionary': lambda path: collections.OrderedDict(a=Call(os.mkdir, str(path))),
    'storage of a pickle': lambda path: storage(Call(os.mkdir, str(path))),
    'storage by torch.save': lambda path: torch_storage({'a': Call(os.mkdir, str(path))}),
    'storage in a tensor': lambda path: Call(torch._utils._rebuild_tensor_v2, torch_storage(Call(os.mkdir, str(path))), 0,
                                             (1,), (1,), False, Call(collections.OrderedDict)),
    'storage in a storage': lambda path: torch_storage(torch_storage(Call(os.mkdir, str(path)))),
    'torch.load': lambda path: Call(functools.partial(torch.load, weights_only=False),
                                    Call(io.BytesIO, saved(Call(os.mkdir, str(path))))),
    'object array': lambda path: object_array(Call(os.mkdir, str(path))),
    'numpy.load': lambda path: npy_with(Call(os.mkdir, str(path))),
    'numpy reconstruct of another class': lambda path: Call(reconstruct(), Call(builtins.type, 'x', (np.ndarray,), {
        '__array_finalize__': Call(functools.partial, _swallow, os.mkdir, str(path))}), (0,), b'b'),
    'state of an array': lambda path: Call(reconstruct(), np.ndarray, (0,), b'b', state=(
        1, (1,), np.dtype('O'), False, [Call(os.mkdir, str(path))])),
    'state of a type': lambda path: Call(np.dtype, 'V8', False, True, state=(
        3, '|', None, None, None, 8, 1, 0, Call(os.mkdir, str(path)))),
    'numpy.fromfunction': lambda path: Call(np.fromfunction, Call(functools.partial, _swallow, os.mkdir, str(path)), (1,)),
    'functools.partial': lambda path: Call(Call(functools.partial, os.mkdir, str(path))),
    'functools.reduce': lambda path: Call(functools.reduce, os.makedirs, [str(path), 0o777]),
    'map': lambda path: Call(builtins.list, Call(builtins.map, os.mkdir, [str(path)])),
    '__setstate__': lambda path: Call(functools.partial, print, state=(os.mkdir, (str(path),), {}, Runs(path))),
    'copyreg': lambda path: Call(copyreg_constructor(), Runs, object, Call(os.mkdir, str(path))),
    'defaultdict': lambda path: Call(collections.defaultdict, None, [(1, Call(os.mkdir, str(path)))]),
    'weights in name alone': lambda path: {'bert.pooler.dense.bias': Call(os.mkdir, str(path))},
}


def copyreg_constructor():
    import copyreg
    return copyreg._reconstructor


def _swallow(function, argument, *_, **__):
    return function(argument)


class Runs:
    """Makes a folder in __setstate__."""

    def __init__(self, path):
        self.path = str(path)

    def __getstate__(self):
        return self.path

    def __setstate__(self, path):
        os.mkdir(path)


def pickled(content):
    return pickle.dumps(content)


def pickled_0(content):
    return pickle.dumps(content, 0)


def pickled_5(content):
    return pickle.dumps(content, 5)


def saved(content):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def saved_old(content):
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def as_safetensors(content):
    """A header of safetensors whose metadata and data are a pickle."""
    data = pickle.dumps(content)
    header = b'{"__metadata__": {"format": "peakd teacher results 2"}, "x": {"dtype": "U8", "shape": [%d], ' \
             b'"data_offsets": [0, %d]}}' % (len(data), len(data))
    return len(header).to_bytes(8, 'little') + header + data


def read_bin(path):
    return read_state_dict(path.rename(path.with_suffix('.bin')))


def read_safetensors(path):
    read_state_dict(path.rename(path.with_suffix('.safetensors')))


def read_teacher(path):
    return TeacherOutputs.open(path).split('train')


def read_record(path):
    path.rename(path.with_name('run.json'))
    read_run(path.parent)


READERS = [read_bin, load_tensors, read_safetensors, read_teacher, read_published, read_record, read_results,
           BertTokenizer]
WRITERS = [pickled, pickled_0, pickled_5, saved, saved_old, as_safetensors]


@pytest.mark.parametrize('attack', ATTACKS)
def test_no_reader_runs_anything(tmp_path, attack):
    """Every reader on every container of every attack: an InputError of one line or plain data, and no canary."""
    canary = tmp_path / 'canary'
    for write in WRITERS:
        content = write(ATTACKS[attack](canary))
        for reader in READERS:
            folder = tmp_path / f'{write.__name__}-{getattr(reader, "__name__", "")}'
            folder.mkdir()
            (folder / 'x.pkl').write_bytes(content)
            refused = False
            try:
                reader(folder / 'x.pkl')
            except InputError as error:
                refused = True
                assert '\n' not in ' '.join(str(error).split()) and len(str(error)) < 1000
            assert not canary.exists(), (attack, write.__name__, reader)
            assert refused or write is as_safetensors and reader is read_safetensors
    with contextlib.suppress(Exception):
        pickle.loads(pickled(ATTACKS[attack](canary)))
    assert canary.exists(), 'the attack does nothing where nobody takes care either'


@pytest.mark.parametrize('attack', ['os.system', 'object array', 'storage of a pickle'])
def test_the_token_cache_runs_nothing_and_is_made_anew(workspace, tmp_path, attack):
    with workspace.active():
        tokenizer = BertTokenizer.from_pretrained('tiny')
        first = load_split(find_task('MRPC'), 'train', tokenizer, 20)
        cache, = (workspace.outputs / 'cache').glob('MRPC.train.*')
        whole = cache.read_bytes()
        for write in WRITERS:
            cache.write_bytes(write(ATTACKS[attack](tmp_path / 'canary')))
            again = load_split(find_task('MRPC'), 'train', tokenizer, 20)
            assert again.identity() == first.identity() and cache.read_bytes() == whole
    assert not (tmp_path / 'canary').exists()


def test_a_changed_bit_in_the_token_cache_never_reaches_training(workspace):
    with workspace.active():
        tokenizer = BertTokenizer.from_pretrained('tiny')
        first = load_split(find_task('MRPC'), 'dev', tokenizer, 20)
        cache, = (workspace.outputs / 'cache').glob('MRPC.dev.*')
        whole, rng = cache.read_bytes(), np.random.default_rng(0)
        for place in rng.integers(len(whole), size=150).tolist():
            bad = bytearray(whole)
            bad[place] ^= 1 << int(rng.integers(8))
            cache.write_bytes(bad)
            again = load_split(find_task('MRPC'), 'dev', tokenizer, 20)
            assert again.identity() == first.identity(), place


# Files that ask for more than they hold

def deep_key():
    """A dictionary whose key is a pair of pairs of pairs of ...: its hash takes 2**60 steps."""
    return b'\x80\x04}K\x01' + b''.join(b'q%ch%c\x86' % (level, level) for level in range(60)) + b'K\x01s.'


def memo(index):
    return b'\x80\x04K\x01r' + struct.pack('<I', index) + b'.'


def text_of(size):
    return b'\x80\x04\x8d' + struct.pack('<Q', size) + b'a.'


def bytes_of(size):
    return b'\x80\x05\x96' + struct.pack('<Q', size) + b'a.'


def array_of(shape):
    array = pickle.dumps({'train': np.arange(7, dtype=np.int64)}, 2)
    return array.replace(b'K\x07\x85', b'J' + struct.pack('<i', shape) + b'\x85')


def many_lists():
    return b'\x80\x04(' + b']' * 3_000_000 + b'l.'


def encoded_again_and_again():
    """One text of 1 MB, made into bytes 5,000 times."""
    call = b'h\x00h\x01h\x02\x86R'
    text = b'X' + struct.pack('<I', 1 << 20) + b'a' * (1 << 20)
    return b'\x80\x02c_codecs\nencode\nq\x00' + text + b'q\x01X\x06\x00\x00\x00latin1q\x02](' + call * 5000 + b'e.'


def expanded_tensor():
    return pickle.dumps({'train': torch.ones(1).expand(1 << 40)})


def long_number():
    return b'\x80\x02L' + b'9' * 10_000_000 + b'L\n.'


HUNGRY = {'deep key': deep_key, 'memo': lambda: memo(2**31 - 1), 'text': lambda: text_of(1 << 40),
          'bytes': lambda: bytes_of(1 << 36), 'text beyond 64 bits': lambda: text_of(2**64 - 1),
          'array': lambda: array_of(2**31 - 1), 'negative array': lambda: array_of(-7), 'lists': many_lists,
          'bytes again and again': encoded_again_and_again, 'expanded tensor': expanded_tensor, 'long number': long_number}


def in_zip(content):
    """The pickle as torch.save's archive has it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as archive:
        archive.writestr('archive/data.pkl', content)
        archive.writestr('archive/version', '3\n')
        archive.writestr('archive/byteorder', 'little')
    return buffer.getvalue()


def in_old_format(content):
    """The pickle as the fourth one, which holds the tensors, of torch.save's format before 1.6."""
    whole = saved_old('mark')
    return whole[:whole.index(b'\x80\x02X\x04\x00\x00\x00mark')] + content


# Its peak of memory is VmHWM, which begins anew in a new program, and where 5 is written to clear_refs; getrusage's begins
# with what the process had that started it, and hides what is less
CHILD = '''
import sys, time
sys.path[:0] = {roots!r}
from pathlib import Path
from BERT.pytorch_pretrained_bert import plain_pickle
from BERT.pytorch_pretrained_bert.file_utils import InputError
from BERT.pytorch_pretrained_bert.weights import load_tensors
from src.published_results import read_published
plain_pickle.MAX_STEPS = 100_000        # ten million take ten seconds
def peak():
    return int(Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0])       # KB
for path in sorted(Path(sys.argv[1]).iterdir()):
    for reader in (load_tensors, read_published):
        Path('/proc/self/clear_refs').write_text('5')
        before, started = peak(), time.time()
        try:
            reader(path)
            said = 'READ'
        except InputError as error:
            said = f'refused {{" ".join(str(error).split())}}'
        grown, spent = peak() - before, round(time.time() - started, 2)
        print(path.stem, reader.__name__, spent, grown >> 10, path.stat().st_size >> 20, said, sep='|')
'''


def test_time_and_memory_are_in_proportion_to_the_file(tmp_path):
    """In a process of its own, which has 6 GB at most: each is refused, within seconds and memory as its size explains."""
    for name, make in HUNGRY.items():
        for kind, wrap in (('plain', bytes), ('zip', in_zip), ('old', in_old_format)):
            (tmp_path / f'{name} {kind}.pkl').write_bytes(wrap(make()))
    done = subprocess.run([sys.executable, '-c', CHILD.format(roots=[str(ROOT)]), str(tmp_path)], capture_output=True,
                          text=True, timeout=300,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30)))
    rows = [line.split('|') for line in done.stdout.splitlines()]
    assert done.returncode == 0 and len(rows) == 6 * len(HUNGRY), done.stderr
    for name, reader, seconds, grown, size, said in rows:
        assert said.startswith('refused') or name.startswith('memo'), (name, reader, said)     # a number, noted far away
        assert float(seconds) < 10 and int(grown) < 50 + 10 * int(size), (name, reader, seconds, grown)
