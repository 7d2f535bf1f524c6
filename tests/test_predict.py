"""scripts/predict.py: the rows of tables, of pipes, and texts; as --mode submit predicts them; large files; bad rows."""
import contextlib
import csv
import io
import json
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, own_tables
from scipy.special import softmax
from test_custom_tasks import SCORED, SINGLE, write_own

from src import row_predictions
from src.argument_parser import TRAIN
from src.nli_data_processing import find_task, task_folder
from src.saved_runs import load_run

PREDICT, SCRIPT = 'scripts.predict', ROOT / 'scripts' / 'predict.py'
BENCHMARK = 'run_glue_benchmark.py'
FIT = ('--bert_model', 'tiny', '--precision', 'fp32', '--num_train_epochs', 8, '--train_batch_size', 8, '--learning_rate',
       '2e-3', '--train_seed', 1)
TASKS = ('MRPC', 'CoLA', 'MNLI', 'STS-B')


@pytest.fixture(scope='module')
def runs(make_workspace):
    """A workspace with a trained model of each of TASKS and of two tasks of one's own, in teacher folders."""
    workspace = make_workspace(tasks=TASKS)
    for task in TASKS:
        workspace.succeed(TRAIN, *FIT, '--task', task)
    for content in (SINGLE, SCORED):
        workspace.succeed(TRAIN, *FIT, '--task_config', write_own(workspace.folder / content['name'], content))
    return workspace


def model(workspace, task='MRPC'):
    return ('--model', workspace.teacher_folder(task=task))


def test_file(workspace, task):
    task = find_task(task)
    return workspace.glue / task.folder / task.files('test')[0]


test_file.__test__ = False


def read(outcome, sep='\t'):
    assert outcome.code == 0, outcome.err
    return pd.read_csv(io.StringIO(outcome.out), sep=sep, dtype={'prediction': str}, keep_default_na=False)


def run_logits(workspace, task, split):
    with workspace.active(), own_tables():
        run = load_run(workspace.teacher_folder(task=task))
        return run.logits(run.tokens(run.task, split))


@pytest.mark.parametrize('task', TASKS)
def test_as_submitted(runs, task, tmp_path):
    """Label words and values are those of the leaderboard's file, rows in order; probabilities are those of the logits."""
    runs.succeed(BENCHMARK, '--mode', 'submit', '--runs', runs.teacher_folder(task=task), '--output_dir', tmp_path)
    submitted = pd.read_csv(tmp_path / find_task(task).submission_file, sep='\t', dtype=str, keep_default_na=False)
    table = read(runs.call(PREDICT, *model(runs, task), '--input', test_file(runs, task)))
    assert table['index'].tolist() == list(range(20)) and table['line'].tolist() == list(range(2, 22))
    labels = find_task(task).labels
    if labels is None:
        assert [f'{float(value):.3f}' for value in table['prediction']] == submitted['prediction'].tolist()
        assert list(table.columns) == ['index', 'line', 'prediction']
        return
    assert table['prediction'].tolist() == submitted['prediction'].tolist()
    assert list(table.columns)[3:] == [f'p_{label}' for label in labels]
    expected = softmax(run_logits(runs, task, 'test').astype(np.float64), axis=1)
    np.testing.assert_allclose(table.iloc[:, 3:].to_numpy(float), expected, atol=5.1e-7)
    assert len({*table['prediction']}) > 1


def test_the_tokenizer_is_the_one_of_then(runs, tmp_path):
    """Found where it was where the name says nothing here, refused where its words are others; old records have no mark."""
    workspace = runs.copy(tmp_path / 'workspace')
    path, call = workspace.teacher_folder() / 'run.json', (PREDICT, *model(workspace), '--input', test_file(runs, 'MRPC'))
    record = json.loads(path.read_text())
    assert record['checkpoint']['folder'] == str(runs.models / 'tiny')
    found = workspace.succeed(*call).out
    (workspace.models / 'tiny').rename(workspace.models / 'renamed')
    assert workspace.succeed(*call).out == found
    path.write_text(json.dumps(record | {'checkpoint': record['checkpoint'] | {'folder': str(tmp_path / 'gone')}}))
    outcome = workspace.call(*call)
    assert outcome.code == 2 and "'tiny'" in outcome.err and outcome.err.count('\n') == 1
    (workspace.models / 'renamed').rename(workspace.models / 'tiny')
    (workspace.models / 'tiny' / 'tokenizer_config.json').write_text('{"do_lower_case": false}')
    outcome = workspace.call(*call)
    assert outcome.code == 2 and outcome.out == '' and outcome.err.count('\n') == 1
    assert all(str(word) in outcome.err for word in (workspace.models / 'tiny', path.parent, tmp_path / 'gone'))
    path.write_text(json.dumps(record))                       # of two folders the one that fits
    assert workspace.succeed(*call).out == found
    path.write_text(json.dumps({name: value for name, value in record.items() if name != 'checkpoint'}))
    workspace.succeed(*call)
    for value, words in (('tiny', 'checkpoint must be an object, not tiny'), ({}, 'checkpoint.tokenizer missing')):
        path.write_text(json.dumps(record | {'checkpoint': value}))
        assert words in workspace.call(*call).err


@pytest.mark.parametrize('made_in, argument', [('fp16', 'fp16'), ('bf16', 'auto')])
def test_a_run_computes_in_fp32_where_its_own_precision_is_missing_or_slow(runs, tmp_path, monkeypatch, made_in, argument):
    monkeypatch.setattr('src.saved_runs.has_fast_bf16', lambda device: False)
    workspace = runs.copy(tmp_path / 'workspace')
    path = workspace.teacher_folder() / 'run.json'
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {'precision': made_in, 'arguments': record['arguments'] | {'precision': argument}}))
    source = ('--input', test_file(workspace, 'MRPC'))
    log = workspace.succeed(PREDICT, *model(workspace), *source, '--output', tmp_path / 'out').out
    told = [line for line in log.splitlines() if made_in in line]
    assert len(told) == 1 and str(path.parent) in told[0] and 'fp32' in told[0]
    assert (tmp_path / 'out').read_text() == runs.succeed(PREDICT, *model(runs), *source).out
    workspace.succeed(BENCHMARK, '--mode', 'submit', '--runs', path.parent, '--output_dir', tmp_path / 'submitted')


@pytest.mark.parametrize('argument, fast', [('auto', True), ('bf16', False)])
def test_a_run_computes_in_its_bf16_where_that_is_fast_or_was_asked_for(runs, tmp_path, monkeypatch, argument, fast):
    monkeypatch.setattr('src.saved_runs.has_fast_bf16', lambda device: fast)
    workspace = runs.copy(tmp_path / 'workspace')
    path = workspace.teacher_folder() / 'run.json'
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {'precision': 'bf16', 'arguments': record['arguments'] | {'precision': argument}}))
    with workspace.active():
        assert load_run(path.parent).setup.precision == 'bf16'


@pytest.mark.parametrize('rows', [1, 3, 20, 4096])
def test_chunks_change_nothing(runs, monkeypatch, rows, tmp_path):
    whole = read(runs.call(PREDICT, *model(runs), '--input', test_file(runs, 'MRPC')))
    monkeypatch.setattr(row_predictions, 'ROWS_AT_ONCE', rows)
    runs.succeed(PREDICT, *model(runs), '--input', test_file(runs, 'MRPC'), '--output', tmp_path / 'out.tsv')
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / 'out.tsv', sep='\t', dtype={'prediction': str}), whole, atol=2e-6)


def test_formats(runs, tmp_path):
    """The same in each; by --output's ending or by flag, to a file or to standard output."""
    source = ('--input', test_file(runs, 'MNLI'))
    written = {}
    for kind in ('tsv', 'csv', 'jsonl'):
        runs.succeed(PREDICT, *model(runs, 'MNLI'), *source, '--output', tmp_path / f'out.{kind}')
        written[kind] = (tmp_path / f'out.{kind}').read_text(encoding='utf-8')
        assert runs.succeed(PREDICT, *model(runs, 'MNLI'), *source, '--output_format', kind).out == written[kind]
    rows = list(csv.DictReader(io.StringIO(written['tsv']), delimiter='\t'))
    assert rows == list(csv.DictReader(io.StringIO(written['csv'])))
    for row, line in zip(rows, written['jsonl'].splitlines(), strict=True):
        entry = json.loads(line)
        shares = {f'p_{label}': f'{share:.6f}' for label, share in entry.pop('probabilities').items()}
        assert {name: str(value) for name, value in entry.items()} | shares == row
        assert max(shares, key=lambda name: float(shares[name])) == f'p_{row["prediction"]}'
    entry = json.loads(runs.succeed(PREDICT, *model(runs, 'STS-B'), '--output_format', 'jsonl', 'the cat', 'a dog').out)
    assert sorted(entry) == ['index', 'line', 'prediction'] and isinstance(entry['prediction'], float)


def test_texts_as_arguments(runs):
    lines = test_file(runs, 'MRPC').read_text(encoding='utf-8').splitlines()
    expected = read(runs.call(PREDICT, *model(runs), '--input', test_file(runs, 'MRPC')))
    row = lines[5].split('\t')
    found = read(runs.call(PREDICT, *model(runs), *row[-2:]))
    assert found['line'].tolist() == [1] and found['prediction'][0] == expected['prediction'][4]
    np.testing.assert_allclose(found.iloc[0, 3:].to_numpy(float), expected.iloc[4, 3:].to_numpy(float), atol=2e-6)
    assert len(read(runs.call(PREDICT, *model(runs, 'CoLA'), 'indeed the cat'))) == 1
    for task, texts, said in (('MRPC', ('a',), 'takes 2'), ('CoLA', ('a', 'b'), 'takes 1'), ('MRPC', 'abc', '3 text(s)')):
        outcome = runs.call(PREDICT, *model(runs, task), *texts)
        assert outcome.code == 2 and said in outcome.err and task in outcome.err
    outcome = runs.call(PREDICT, *model(runs, 'CoLA'), os.fsdecode(b'caf\xe9'))
    assert outcome.code == 2 and 'must be UTF-8' in outcome.err


def test_the_input_is_not_replaced_however_it_is_named(runs, tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    path = table(tmp_path / 'rows.tsv', '#1 String\t#2 String', 'the cat\ta dog')
    outcome = runs.call(PREDICT, *model(runs), '--input=~/rows.tsv', f'--output={path}')
    assert outcome.code == 2 and 'that is --input' in outcome.err
    runs.succeed(PREDICT, *model(runs), '--input=~/rows.tsv', '--output=~/found.tsv')
    assert (tmp_path / 'found.tsv').is_file() and path.read_text().startswith('#1 String')


def test_standard_input_and_output(runs):
    """Predictions alone are on standard output; the bar and messages are elsewhere."""
    data = test_file(runs, 'MRPC').read_bytes()
    expected = runs.run(SCRIPT, *model(runs), '--input', test_file(runs, 'MRPC'))
    done = subprocess.run([sys.executable, SCRIPT, *model(runs), '--input', '-'], input=data, capture_output=True,
                          env=os.environ | runs.variables)
    assert done.returncode == 0 and done.stdout.decode() == expected.out
    assert b'B/s' in done.stderr and '100%' in expected.err


def test_a_reader_that_has_seen_enough(runs):
    """`| head`: no error, no traceback."""
    data = b'#1 String\t#2 String\n' + b'the cat\ta dog\n' * 9000
    process = runs.start(SCRIPT, *map(str, model(runs)), '--input', '-', stdin=subprocess.PIPE)
    process.stdout.close()
    with contextlib.suppress(BrokenPipeError):        # it may be gone before it has read all
        process.stdin.buffer.write(data)
        process.stdin.close()
    err = process.stderr.read()
    assert process.wait() == 0 and 'rror' not in err and 'Traceback' not in err


# Columns


def table(path, *lines):
    path.write_text(''.join(f'{line}\n' for line in lines), encoding='utf-8')
    return path


def test_columns(runs, tmp_path):
    """By the names that the task's files have, by flags: names or positions; in a CSV file and by --input_format."""
    pairs = [('indeed the cat', 'however, a dog'), ('a', 'b "c"'), ('x', '')]
    tsv = table(tmp_path / 'a.tsv', '#2 string\tid\t#1 STRING', *(f'{b}\t7\t{a}' for a, b in pairs))
    expected = runs.succeed(PREDICT, *model(runs), '--input', tsv).out
    named = table(tmp_path / 'b.tsv', 'x\tFirst\tother', *(f'1\t{a}\t{b}' for a, b in pairs))
    bare = table(tmp_path / 'c.txt', *(f'1\t{a}\t{b}' for a, b in pairs))
    text = io.StringIO()
    csv.writer(text, lineterminator='\n').writerows([('first', 'other'), *pairs])
    comma = table(tmp_path / 'd.csv', *text.getvalue().splitlines())
    (tmp_path / 'e.txt').write_bytes(comma.read_bytes())
    for path, flags in ((named, ('--text_a', 'first', '--text_b', 'OTHER')),
                        (comma, ('--text_a', 'first', '--text_b', 'other')),
                        (named, ('--text_a', 1, '--text_b', 2, '--header', 'yes')),
                        (tmp_path / 'e.txt', ('--text_a', 'first', '--text_b', 'other', '--input_format', 'csv'))):
        assert runs.succeed(PREDICT, *model(runs), '--input', path, *flags).out == expected
    found = read(runs.call(PREDICT, *model(runs), '--input', bare, '--text_a', 1, '--text_b', 2, '--header', 'no'))
    assert found['line'].tolist() == [1, 2, 3]
    named = pd.read_csv(io.StringIO(expected), sep='\t', dtype={'prediction': str})
    pd.testing.assert_frame_equal(found.drop(columns='line'), named.drop(columns='line'))


@pytest.mark.parametrize('flags, said', [
    ((), "x.tsv, line 1: expected a header with '#1 String', '#2 String', divided by tabs, found 'p\\tq'; name "
         'the columns with --text_a and --text_b, or the kind of file with --input_format'),
    (('--input_format', 'csv'), "'#1 String', '#2 String', divided by commas, found 'p\\tq'"),
    (('--text_a', 'p', '--text_b', 'P'), '--text_a p --text_b P: name two different columns'),
    (('--text_a', '1', '--text_b', '01', '--header', 'yes'), 'name two different columns'),
    (('--text_a', 'p', '--text_b', 'z'), "expected a header with 'p', 'z'"),
    (('--text_a', 'p'), '--text_a: the model of'), (('--text_b', 'p'), 'needs --text_a and --text_b'),
    (('--text_a', 'p', '--text_b', '1'), 'name both by words'),
    (('--text_a', '0', '--text_b', '1'), 'needs --header yes or no'),
    (('--text_a', 'p', '--text_b', 'q', '--header', 'yes'), '--header yes has no effect'),
    (('--header', 'no'), '--header no has no effect without --text_a and --text_b'),
    (('a text',), 'and not both'), (('--bad_rows', 'keep'), '--bad_rows'), (('--output_format', 'xml'), '--output_format'),
    (('--output', '.'), '--output .: not a file'), (('--output', '{x}'), 'that is --input'),
    (('--no_such', '1'), '--no_such'),
])
def test_wrong_flags(runs, tmp_path, flags, said):
    path = table(tmp_path / 'x.tsv', 'p\tq', 'a\tb')
    outcome = runs.call(PREDICT, *model(runs), '--input', path, *(flag.replace('{x}', str(path)) for flag in flags))
    assert outcome.code == 2 and said in outcome.err
    assert [line[:7] for line in outcome.err.split('\n')[-2:]] == ['error: ', ''] and 'Traceback' not in outcome.err
    assert path.read_text() == 'p\tq\na\tb\n' and outcome.out == ''


def test_columns_of_a_numbered_table_without_a_header_are_not_guessed(runs, tmp_path):
    """As they are of a task's own test file."""
    outcome = runs.call(PREDICT, *model(runs), '--input', table(tmp_path / 'x.tsv', '0\t1\t2\ta\tb'))
    assert outcome.code == 2 and 'name the columns with --text_a' in outcome.err


def test_what_is_not_there(runs, tmp_path):
    table(tmp_path / 'empty.tsv')
    table(tmp_path / 'header.tsv', '#1 String\t#2 String')
    for flags, said in ((('--model', tmp_path, 'a', 'b'), f'{tmp_path}: no finished run'),
                        ((*model(runs), '--input', tmp_path / 'no.tsv'), 'no.tsv: no such file'),
                        ((*model(runs), '--input', tmp_path), 'no such file'), (model(runs), 'give --input, or a text'),
                        (('a', 'b'), '--model'), ((*model(runs), '--input', tmp_path / 'empty.tsv'), 'empty.tsv is empty'),
                        ((*model(runs), '--input', tmp_path / 'header.tsv'), 'header.tsv holds no examples'),
                        ((*model(runs), 'a', 'b', '--text_a', 'x'), '--text_a has no effect without --input')):
        outcome = runs.call(PREDICT, *flags)
        assert outcome.code == 2 and said in outcome.err and 'Traceback' not in outcome.err, outcome.err


@pytest.mark.skipif(not os.path.exists('/proc/self/mem'), reason='a file whose reading fails is wanted')
def test_a_file_that_cannot_be_read_is_not_called_one_that_cannot_be_written(runs, tmp_path):
    outcome = runs.call(PREDICT, *model(runs), '--input', '/proc/self/mem', '--output', tmp_path / 'found.tsv')
    assert outcome.code == 2 and '--input: /proc/self/mem cannot be read: ' in outcome.err and list(tmp_path.iterdir()) == []


# Tasks of one's own


def test_own_tasks(runs, tmp_path):
    """The definition is in run.json: neither the file nor the data is needed any more."""
    found = read(runs.call(PREDICT, *model(runs, 'moods_2'), '--input', runs.folder / 'moods_2' / 'dev.tsv'))
    logits = run_logits(runs, 'moods_2', 'dev')
    assert found['prediction'].tolist() == [SINGLE['labels'][number] for number in logits.argmax(1)]
    assert found['line'].tolist() == list(range(1, 17)) and list(found.columns)[3:] == ['p_bad', 'p_good']
    values = read(runs.call(PREDICT, *model(runs, 'Warmth'), '--input', runs.folder / 'Warmth' / 'test.tsv'))['prediction']
    np.testing.assert_array_equal(np.array(values, np.float32), run_logits(runs, 'Warmth', 'test')[:, 0])
    moved = runs.copy(tmp_path / 'moved')
    config = runs.folder / 'moods_2' / 'task.json'
    hidden = config.rename(config.with_suffix('.hidden'))
    try:
        (moved.folder / 'moods_2' / 'train.csv').unlink()
        assert read(moved.call(PREDICT, *model(moved, 'moods_2'), 'indeed the cat')).shape == (1, 5)
    finally:
        hidden.rename(config)


# Bad rows


BAD = [b'#1 String\t#2 String', b'the cat\ta dog', b'alone', b'a \xff cat\ta dog', b'', b'the dog\ta cat']


@pytest.mark.parametrize('ending', ['tsv', 'csv'])
def test_bad_rows(runs, tmp_path, ending):
    lines = BAD if ending == 'tsv' else [line.replace(b'\t', b',') for line in (*BAD[:5], b'"a" b,c', BAD[5])]
    path, out = tmp_path / f'rows.{ending}', tmp_path / 'out.tsv'
    path.write_bytes(b'\n'.join(lines) + b'\n\n')
    out.write_text('of before')
    outcome = runs.call(PREDICT, *model(runs), '--input', path, '--output', out)
    divider = 'tabs' if ending == 'tsv' else 'commas'
    assert outcome.code == 2 and f'{path}, line 3: expected at least 2 columns divided by {divider}, found 1' in outcome.err
    assert out.read_text() == 'of before' and sorted(tmp_path.iterdir()) == [out, path]
    outcome = runs.succeed(PREDICT, *model(runs), '--input', path, '--output', out, '--bad_rows', 'skip')
    found = pd.read_csv(out, sep='\t')
    last = len(lines)
    assert found['line'].tolist() == [2, last] and found['index'].tolist() == [0, last - 2]
    told = [line for line in outcome.out.splitlines() if line.startswith('skipped: ')]
    assert [line.split(', line ')[1].split(':')[0] for line in told] == [str(line) for line in range(3, last)]
    assert 'expected UTF-8 text, found byte 0xff' in told[1] and f'{last - 3} bad row(s) skipped' in outcome.out


def test_a_bad_header_is_never_skipped(runs, tmp_path):
    (tmp_path / 'rows.tsv').write_bytes(b'#1 String\xff\t#2 String\na\tb\n')
    outcome = runs.call(PREDICT, *model(runs), '--input', tmp_path / 'rows.tsv', '--bad_rows', 'skip')
    assert outcome.code == 2 and 'line 1: expected UTF-8' in outcome.err


def test_lines_of_a_csv_file_whose_cells_hold_line_ends(runs, tmp_path):
    path = table(tmp_path / 'rows.csv', '#1 String,#2 String', '"the', 'cat",a dog', 'the dog,a cat')
    found = read(runs.call(PREDICT, *model(runs), '--input', path))
    assert found['line'].tolist() == [2, 4] and found['index'].tolist() == [0, 1]


# Large files


ROW_BYTES = 5000
FEED = '''
import sys
print("#1 String\\t#2 String")
for number in range(int(sys.argv[1])):
    print("x" * int(sys.argv[2]), "the cat sees a dog", sep="\\t")
'''


TOLD = '''
import sys
sys.path.insert(0, sys.argv.pop(1))
from scripts import predict
predict.main(sys.argv[1:])
print(open("/proc/self/status").read())
'''


def peak_memory(workspace, rows, out):
    """Peak resident bytes of predicting so many rows of a pipe.

    VmHWM begins anew with a program; ru_maxrss is at first that of the process that started it."""
    feed = subprocess.Popen([sys.executable, '-c', FEED, str(rows), str(ROW_BYTES)], stdout=subprocess.PIPE)
    flags = [*map(str, model(workspace)), '--input', '-', '--output', out]
    done = subprocess.run([sys.executable, '-c', TOLD, str(ROOT), *flags],
                          stdin=feed.stdout, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                          env=os.environ | workspace.variables)
    feed.stdout.close()
    feed.wait()
    assert done.returncode == 0 and sum(1 for _ in open(out)) == rows + 1
    return 1024 * int(re.search(r'VmHWM:\s*(\d+) kB', done.stdout)[1])


def test_memory_is_flat(runs, tmp_path):
    """Of 80 MB more, not ten stay."""
    rows = 2 * row_predictions.ROWS_AT_ONCE
    small, large = (peak_memory(runs, count, tmp_path / 'out.tsv') for count in (rows, rows + 16_000))
    assert large - small < 16_000 * ROW_BYTES / 8, (small, large)


def test_a_signal_leaves_no_part_of_a_file(runs, tmp_path):
    out = tmp_path / 'out.tsv'
    process = runs.start(SCRIPT, *map(str, model(runs)), '--input', '-', '--output', str(out), stdin=subprocess.PIPE)
    process.stdin.write('#1 String\t#2 String\n' + 'the cat\ta dog\n' * 9000)
    process.stdin.flush()
    while not any(path.suffix == '.tmp' for path in tmp_path.iterdir()):
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 128 + signal.SIGTERM and list(tmp_path.iterdir()) == []
    assert 'stopped by SIGTERM' in process.stderr.read()


def test_real_test_set(make_workspace, tmp_path):
    """All of MRPC's test rows, in one chunk and in several, against --mode submit."""
    source = task_folder(find_task('MRPC')) / 'test.tsv'
    if not source.is_file():
        pytest.skip(f'{source} is missing: set PEAKD_GLUE')
    workspace = make_workspace()
    (workspace.glue / 'MRPC' / 'test.tsv').write_bytes(source.read_bytes())
    workspace.succeed(TRAIN, *FIT)
    workspace.succeed(BENCHMARK, '--mode', 'submit', '--output_dir', tmp_path)
    submitted = pd.read_csv(tmp_path / 'MRPC.tsv', sep='\t', dtype=str)['prediction'].tolist()
    found = read(workspace.call(PREDICT, *model(workspace), '--input', source))
    assert found['prediction'].tolist() == submitted and len(submitted) == 1725
