"""What the tests of the scripts share: small tasks in GLUE's true formats, tiny checkpoints, and runs in them."""
import contextlib
import importlib
import io
import json
import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ['OMP_NUM_THREADS'] = '1'      # the models are so small that threads cost more than they give
os.environ['CUDA_VISIBLE_DEVICES'] = ''  # bit for bit, in fp32 and in forked processes: a CPU's, wherever the tests run

import numpy as np  # noqa: E402  (torch reads the number of threads when it is first imported)
import pytest  # noqa: E402
import safetensors.torch  # noqa: E402
import torch  # noqa: E402

import envs  # noqa: E402
from BERT.pytorch_pretrained_bert import BertConfig, BertModel, BertTokenizer  # noqa: E402
from BERT.pytorch_pretrained_bert.file_utils import InputError  # noqa: E402
from src.checkpoints import save_model  # noqa: E402
from src.modeling import SequenceClassifier, load_encoder, parse_passes, wiring  # noqa: E402
from src.nli_data_processing import SPELLINGS, TASKS, find_task, output_modes, processors  # noqa: E402
from src.stage_runner import StageRunner  # noqa: E402
from src.utils import run_script  # noqa: E402

WORDS = 'the a dog cat house tree man woman sees finds likes holds red old small green today here .'.split()
# The text's first word (of a pair the second text's) tells the label, so that a tiny model can learn the task.
CUES = {'0': 'however', '1': 'indeed', 'contradiction': 'never', 'entailment': 'indeed', 'neutral': 'maybe',
        'not_entailment': 'however', '0.0': 'zero', '1.250': 'one', '2.5': 'two', '3.750': 'three', '5.0': 'five'}
SCORES = ('0.0', '1.250', '2.5', '3.750', '5.0')      # the labels of regression
VOCABULARY = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]',
              *sorted({*WORDS, *CUES.values()})]
_PARSED = 'sentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\tsentence2_parse\tsentence1\tsentence2'
_PAIR, _SINGLE = 'index\tsentence1\tsentence2', 'index\tsentence'
_MNLI = f'index\tpromptID\tpairID\tgenre\t{_PARSED}'
_SNLI = f'index\tcaptionID\tpairID\t{_PARSED}'
_STSB = 'index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2'
_VOTES = '\tlabel1\tlabel2\tlabel3\tlabel4\tlabel5\tgold_label'
# The columns of each task's files: train and dev, test. CoLA's train and dev have them without saying so.
HEADERS = {
    'CoLA': 'source\tlabel\tstar\tsentence', 'SST-2': 'sentence\tlabel',
    'MRPC': 'Quality\t#1 ID\t#2 ID\t#1 String\t#2 String', 'STS-B': f'{_STSB}\tscore',
    'QQP': 'id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate', 'MNLI': f'{_MNLI}{_VOTES}', 'MNLI-mm': f'{_MNLI}{_VOTES}',
    'QNLI': 'index\tquestion\tsentence\tlabel', 'RTE': f'{_PAIR}\tlabel', 'WNLI': f'{_PAIR}\tlabel',
    'SNLI': f'{_SNLI}{_VOTES}'}
TEST_HEADERS = {
    'CoLA': _SINGLE, 'SST-2': _SINGLE, 'MRPC': 'index\t#1 ID\t#2 ID\t#1 String\t#2 String', 'STS-B': _STSB,
    'QQP': 'id\tquestion1\tquestion2', 'MNLI': _MNLI, 'MNLI-mm': _MNLI, 'QNLI': 'index\tquestion\tsentence', 'RTE': _PAIR,
    'WNLI': _PAIR, 'SNLI': f'{_SNLI}{_VOTES}', 'diagnostic': _PAIR}
WITHOUT_HEADER = ('CoLA',)


def cell(column: str, number: int, label: str, a: str, b: str) -> str:
    """What a row has in a column; in those that no reader looks at, something that could be there."""
    if column in ('Quality', 'is_duplicate', 'score') or 'label' in column:
        return label
    if column in ('sentence1', 'question1', 'question', '#1 String'):
        return a
    if column in ('sentence2', 'question2', 'sentence', '#2 String'):
        return b
    return str(number) if column in ('index', 'id') else f'{column[:3]}{number}'


def write_task(glue: Path, name: str, rows: tuple[int, int, int] = (60, 30, 20), seed: int = 0) -> None:
    """Write a small learnable task of so many train, dev and test rows."""
    rng, task = np.random.default_rng(seed), find_task(name)
    (glue / task.folder).mkdir(parents=True, exist_ok=True)
    for split, count in zip(('train', 'dev', 'test'), rows, strict=True):
        if not task.files(split):
            continue
        header = TEST_HEADERS[name] if split == 'test' else HEADERS[name]
        lines = [] if name in WITHOUT_HEADER and split != 'test' else [header]
        for number in range(count):
            label = str(rng.choice(task.labels or SCORES))
            a, b = (' '.join(rng.choice(WORDS, rng.integers(3, 12))) for _ in 'ab')
            lines.append('\t'.join(cell(column, number, label, a, f'{CUES[label]} {b}') for column in header.split('\t')))
        (glue / task.folder / task.files(split)[0]).write_text('\n'.join(lines) + '\n', encoding='utf-8')


def write_checkpoint(folder: Path, layers: int = 2, hidden: int = 32, hf_names: bool = False, seed: int = 0,
                     vocabulary: list[str] = VOCABULARY, **shape) -> None:
    """A random BERT with a vocabulary, as old (bert_config.json, pytorch_model.bin) or as HF's files."""
    folder.mkdir(parents=True)
    shape = {'max_position_embeddings': 128, 'initializer_range': 0.1} | shape
    config = BertConfig(len(vocabulary), hidden, layers, 4, 2 * hidden, **shape)
    torch.manual_seed(seed)
    state = {f'bert.{name}': tensor for name, tensor in BertModel(config).state_dict().items()}
    (folder / 'vocab.txt').write_text('\n'.join(vocabulary) + '\n', encoding='utf-8')
    (folder / ('config.json' if hf_names else 'bert_config.json')).write_text(config.to_json_string(), encoding='utf-8')
    if hf_names:
        safetensors.torch.save_file(state, folder / 'model.safetensors')
    else:
        torch.save(state, folder / 'pytorch_model.bin')


@contextlib.contextmanager
def full_disk(file_bytes):
    """Within it no file can grow beyond so many bytes; Python ignores the signal that comes with it, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class Outcome(NamedTuple):
    """What a script left behind: exit code, standard output (and the log), standard error."""
    code: int
    out: str
    err: str


@contextlib.contextmanager
def warnings_on_stderr():
    """Warnings go where a script's user would see them; pytest collects them elsewhere."""
    with warnings.catch_warnings():
        warnings.simplefilter('always')
        for kind in (DeprecationWarning, PendingDeprecationWarning, ResourceWarning):     # as in a process of its own
            warnings.simplefilter('ignore', kind)
        warnings.showwarning = lambda *about: print(warnings.formatwarning(*about[:4]), file=sys.stderr)
        yield


@contextlib.contextmanager
def own_tables():
    """Tasks that files define within it are gone after it, as after a process."""
    tables = (TASKS, SPELLINGS, processors, output_modes)
    before = [dict(table) for table in tables]
    try:
        yield
    finally:
        for table, content in zip(tables, before, strict=True):
            table.clear()
            table.update(content)


class Workspace:
    """Folders for data, checkpoints and outputs, and scripts that run in them."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.glue, self.models, self.outputs = (folder / name for name in ('glue', 'models', 'outputs'))
        for path in (self.glue, self.models, self.outputs):
            path.mkdir(parents=True, exist_ok=True)

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables that name the folders."""
        return {'PEAKD_GLUE': str(self.glue), 'PEAKD_MODELS': str(self.models), 'PEAKD_OUTPUTS': str(self.outputs)}

    def copy(self, folder: Path) -> 'Workspace':
        """The same files in another place."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        return Workspace(folder)

    @contextlib.contextmanager
    def active(self):
        """Within it, envs names these folders."""
        before = {name: os.environ.get(name) for name in self.variables}
        os.environ.update(self.variables)
        importlib.reload(envs)
        try:
            yield self
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
            importlib.reload(envs)

    def run(self, script: str | Path, *flags: str, cwd: Path = ROOT, **variables: str) -> Outcome:
        """A script in a process of its own."""
        done = subprocess.run([sys.executable, str(script), *flags], cwd=cwd, capture_output=True, text=True,
                              env=os.environ | self.variables | variables)
        return Outcome(done.returncode, done.stdout, done.stderr)

    def start(self, script: str | Path, *flags: str, **options) -> subprocess.Popen:
        """A script in a process of its own that is not waited for; SIGINT reaches it wherever the tests run."""
        # A shell starts what runs in its background with SIGINT ignored
        return subprocess.Popen([sys.executable, str(script), *flags], cwd=ROOT, text=True, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, env=os.environ | self.variables,
                                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **options)

    def call(self, script: str, *flags: object, cwd: Path = ROOT) -> Outcome:
        """A script in this process, errors handled as the script does: far cheaper than `run`."""
        main = importlib.import_module(script.removesuffix('.py')).main
        out, err, code = io.StringIO(), io.StringIO(), 0
        handler, root = logging.StreamHandler(out), logging.getLogger()
        level = root.level
        root.addHandler(handler)
        root.setLevel(logging.INFO)
        try:
            with (self.active(), own_tables(), contextlib.chdir(cwd), contextlib.redirect_stdout(out),
                  contextlib.redirect_stderr(err), warnings_on_stderr()):
                run_script(lambda: main([str(flag) for flag in flags]))
        except SystemExit as stop:
            code = stop.code
        finally:
            root.removeHandler(handler)
            root.setLevel(level)
        return Outcome(code, out.getvalue(), err.getvalue())

    def succeed(self, script: str, *flags: object) -> Outcome:
        """`call`, of which nothing but success is expected."""
        outcome = self.call(script, *flags)
        assert outcome.code == 0, outcome.err
        return outcome

    def tree(self) -> dict[str, bytes]:
        """Every file of the outputs but the token cache, which may come and go; folders too."""
        return {str(path.relative_to(self.outputs)): path.read_bytes() if path.is_file() else b'folder'
                for path in sorted(self.outputs.rglob('*'))
                if path.relative_to(self.outputs).parts[0] != 'cache'}

    def teacher_folder(self, layers: int = 2, task: str = 'MRPC') -> Path:
        """Where a task's teacher lies."""
        return self.outputs / 'KD' / task / f'teacher_{layers}layer'

    def result_file(self, layers: int = 2, task: str = 'MRPC', kind: str = 'patient') -> Path:
        """Where the teacher's result file lies."""
        return self.outputs / 'KD' / task / f'{task}_{kind}_kd_teacher_{layers}layer_result_summary.pkl'

    def add_teacher(self, task: str = 'MRPC', bert_model: str = 'tiny', seed: int = 3) -> SequenceClassifier:
        """A teacher that nobody has trained: random weights in a teacher's files."""
        config = BertConfig.from_json_file(self.models / bert_model / 'bert_config.json')
        torch.manual_seed(seed)
        model = SequenceClassifier(config, find_task(task).num_labels)
        torch.nn.init.normal_(model.classifier.classifier.weight, std=2.0)     # so that it says more than "perhaps"
        save_model(model, self.teacher_folder(config.num_hidden_layers, task), 'BERT', '')
        return model.eval()


def rewired(workspace: Workspace, model_type: str, layers: int, name: str, checkpoint: str | None = None,
            seed: int = 0) -> Path:
    """A copy, of that name, of the finished run in the workspace's folder MRPC, with another wiring (a model type, or passes
    as --passes takes them) and random weights, of the encoder a checkpoint's where one is given."""
    folder = shutil.copytree(workspace.folder / 'MRPC', workspace.folder / name)
    record = json.loads((folder / 'run.json').read_text())
    passes = parse_passes(model_type) if model_type[0].isdigit() else wiring(model_type, layers)
    with workspace.active():
        source = envs.MODELS_FOLDER / (checkpoint or 'tiny')
    config = BertConfig.from_json_file(next(source.glob('*config.json')))
    config = BertConfig.from_dict({**config.to_dict(), 'num_hidden_layers': layers, 'passes': passes})
    torch.manual_seed(seed)
    model = SequenceClassifier(config, 2)
    with torch.no_grad():
        for parameter in model.parameters():         # biases and scales too, which all start alike
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    if checkpoint:
        load_encoder(model.encoder, source / 'model.safetensors')
    torch.nn.init.normal_(model.classifier.classifier.weight, std=1.0)
    save_model(model, folder, 'BERT', '_acc')
    record |= {'layers': layers, 'passes': config.layer_passes()}
    record['arguments'] |= {'bert_model': checkpoint or 'tiny', 'max_seq_length': 128}
    record['checkpoint'] = {'folder': str(source), 'tokenizer': BertTokenizer.of_checkpoint(source).fingerprint}
    (folder / 'run.json').write_text(json.dumps(record))
    return folder


@pytest.fixture(scope='session')
def make_workspace(tmp_path_factory):
    """(layers of the checkpoint `tiny`, tasks) -> a new workspace."""
    def make(layers: int = 2, tasks: tuple[str, ...] = ('MRPC',), **shape) -> Workspace:
        workspace = Workspace(tmp_path_factory.mktemp('workspace'))
        write_checkpoint(workspace.models / 'tiny', layers, **shape)
        for task in tasks:
            write_task(workspace.glue, task)
        return workspace
    return make


@pytest.fixture
def workspace(make_workspace) -> Workspace:
    """MRPC and a checkpoint `tiny` of two layers, for one test."""
    return make_workspace()


@pytest.fixture
def calls(monkeypatch):
    """The stages of a comparison run in this process; the scripts that ran are noted."""
    noted = []

    def run(self, words, log):
        script, *flags = words
        noted.append(script)
        try:
            importlib.import_module(script.removesuffix('.py')).main(flags)
        except (InputError, OSError) as error:
            log.write(f'error: {error}\n')
            return 2
        return 0
    monkeypatch.setattr(StageRunner, '_run', run)
    return noted
