"""scripts/study.py: its parts are comparisons that can be run; one of them is run, on a tiny checkpoint, twice."""
import math
import re
import sys

import pytest
from conftest import ROOT, VOCABULARY, write_checkpoint, write_task

import run_glue_benchmark
from scripts import study
from src.grid import check_grid, grid_cells
from src.summary import make_summaries, points

BRIEF = ['num_train_epochs=1', 'teacher.num_train_epochs=1', 'precision=fp32']


@pytest.fixture(scope='module')
def workspace(make_workspace):
    """The study's checkpoint, shrunk, and its tasks."""
    made = make_workspace(tasks=())
    # of a width and with words enough for the ranks
    write_checkpoint(made.models / 'minilm-l6', 6, 160, vocabulary=[*VOCABULARY, *(f'word{n}' for n in range(150))])
    for task in ('MRPC', 'RTE', 'SST-2'):
        write_task(made.glue, task, (30, 20, 10))
    return made


@pytest.mark.parametrize('part', study.PARTS)
def test_parts_can_be_run(workspace, part):
    with workspace.active():
        for call in study.PARTS[part]:
            args, _ = run_glue_benchmark.parse_flags(['--mode=compare', *study.COMMON, *call])
            grid = run_glue_benchmark.make_grid(args)
            check_grid(grid)
            assert grid_cells(grid)


def test_settings_are_searched_with_seeds_of_their_own_and_a_holdout(workspace):
    def grids(parts):
        for part in parts:
            for call in study.PARTS[part]:
                yield run_glue_benchmark.make_grid(
                    run_glue_benchmark.parse_flags(['--mode=compare', *study.COMMON, *call])[0])
    searching = ('labels', 'search', 'search_epochs', 'search_others', 'search_sst2', 'search_prior', 'starts', 'thresholds',
                 'learnt')
    with workspace.active():
        searched, others = list(grids(searching)), list(grids(study.PARTS.keys() - {*searching}))
    assert all(grid.common['holdout'] == ('0.05' if 'SST-2' in grid.tasks else '0.1') for grid in searched)
    assert not {seed for grid in searched for seed in grid.seeds} & {seed for grid in others for seed in grid.seeds}


def test_lists_of_layers_arrive_whole(workspace):
    """--grid divides at commas where there is no semicolon."""
    def values(part, name):
        calls = (run_glue_benchmark.parse_flags(['--mode=compare', *study.COMMON, *call])[0] for call in study.PARTS[part])
        cells = [cell for args in calls for cell in grid_cells(run_glue_benchmark.make_grid(args))]
        return {value for cell in cells for (_, flag), value in cell.settings if flag == name}
    with workspace.active():
        assert values('depth', 'passes') == {'1,2,1x,2x,1,2'}
        assert values('starts', 'layer_initialization') == {'1', '3', '6', '1,2', '1,4', '2,4', '3,6'}


def test_parts_on_a_part_of_sst2_are_all_on_sst2_but_that_on_all_its_rows():
    on_sst2 = {part for part, calls in study.PARTS.items() if any('--tasks=SST-2' in call for call in calls)}
    assert study.ON_PART_OF_SST2 == on_sst2 - {'sst2_whole'} and 'sst2_whole' in on_sst2


def test_a_part_once_and_again(workspace, monkeypatch):
    """The second call repeats nothing and comes to the same summary."""
    monkeypatch.setattr(study, 'STUDY', workspace.outputs / 'study')
    monkeypatch.setattr(study, 'PARTS', {'small': [['--tasks=SST-2', '--methods=pkd', '--layers=1', '--seeds=1', '--set',
                                                    *BRIEF]]})
    monkeypatch.setattr(study, 'ON_PART_OF_SST2', ('small',))
    monkeypatch.setattr(study, 'SST2_ROWS', 12)
    calls = []
    run = study.run_child
    monkeypatch.setattr(study, 'run_child', lambda call, environment: calls.append(call) or run(call, environment))
    for _ in range(2):
        for name, value in workspace.variables.items():
            monkeypatch.setenv(name, value)
        workspace.succeed('scripts.study', '--parts', 'small', '--', '--jobs', '1')
    folder = workspace.outputs / 'study' / 'small'
    table = (folder / 'results.csv').read_text()
    assert len(table.splitlines()) == 2
    assert len(calls) == 4 and calls[0][0] == sys.executable and all('--jobs' in call for call in calls[::2])
    assert '| pkd |' in (folder / 'summary.md').read_text()
    assert len((workspace.outputs / 'study' / 'data' / 'SST-2' / 'train.tsv').read_text().splitlines()) == 13


def test_unknown_parts_and_failures_are_told(workspace, monkeypatch):
    refused = workspace.call('scripts.study', '--parts', 'labels,x')
    assert refused.code == 2 and '--parts x: must be among labels' in refused.err
    monkeypatch.setattr(study, 'PARTS', {'wrong': [['--tasks=MRPC', '--methods=pkd', '--layers=9']]})
    failed = workspace.call('scripts.study', '--parts', 'wrong')
    assert failed.code == 2 and 'part wrong: call 1 ended with exit code 2' in failed.err


def test_a_failed_cell_does_not_stop_the_study(workspace, monkeypatch):
    """The part's other calls, its summary and the other parts run all the same; other failures stop it."""
    monkeypatch.setattr(study, 'STUDY', workspace.outputs / 'failing')
    monkeypatch.setattr(study, 'PARTS', {'first': [['1'], ['2']], 'second': [['3']]})

    def calls(**codes):
        """What was called, and the study's outcome; codes: of calls, summary_first that of the first part's summary, say."""
        called = []

        def run_child(command, _):
            part = command[-1].rpartition('/')[2]
            called.append(f'summary_{part}' if command[2] == '--mode=summary' else f'call_{command[4]}')
            return codes.get(called[-1], 0)
        monkeypatch.setattr(study, 'run_child', run_child)
        return called, workspace.call('scripts.study')

    everything = ['call_1', 'call_2', 'summary_first', 'call_3', 'summary_second']
    called, failed = calls(call_1=1)
    assert called == everything and failed.code == 1 and 'cells of first have failed' in failed.err
    called, failed = calls(call_1=1, call_2=1, summary_first=2)          # there is nothing to sum up
    assert called == everything and failed.code == 1
    called, failed = calls(call_1=1, summary_first=2)
    assert called == everything[:3] and failed.code == 2
    called, failed = calls(call_1=130)
    assert called == ['call_1'] and failed.code == 2 and 'exit code 130' in failed.err
    assert calls()[1].code == 0


def test_rows_of_sst2_are_lines_that_end_with_newlines_alone(workspace, monkeypatch):
    """As the reader has it: U+0085 and U+2028 stand inside of a text, and the last row's newline may be missing."""
    rows = [f'row {number}\u2028of\x85text\t{number % 2}' for number in range(12)]
    made = workspace.glue / 'SST-2'
    kept = {path.name: path.read_bytes() for path in made.iterdir()}
    (made / 'train.tsv').write_bytes('\n'.join(['sentence\tlabel', *rows]).encode())
    monkeypatch.setattr(study, 'SST2_ROWS', 12)
    with workspace.active():
        drawn = (study.part_of_sst2(workspace.folder / 'part') / 'SST-2' / 'train.tsv').read_bytes().decode().split('\n')
    (made / 'train.tsv').write_bytes(kept['train.tsv'])
    assert drawn[0] == 'sentence\tlabel' and sorted(drawn[1:-1]) == sorted(rows) and drawn[-1] == ''


RESULTS = sorted(path.name for path in (ROOT / 'docs' / 'results').glob('*.csv'))


def test_there_are_results():
    names = ('mrpc', 'mrpc_dev', 'mrpc_epochs', 'rte', 'sst2', 'sst2_whole', 'ranks', 'search', 'search_epochs',
             'search_others', 'search_sst2', 'search_prior', 'starts', 'depth', 'thresholds', 'learnt', 'prior', 'folds',
             'labels', 'teacher')
    assert {f'{name}.csv' for name in names} <= {*RESULTS}


@pytest.mark.parametrize('name', RESULTS)
def test_the_tables_of_the_documents_are_those_of_the_rows_beside_them(name):
    """Every mean accuracy with its spread, difference, standard error and number of seeds stands in a row of docs/results.md
    that names its setting and, but in the tables of one method, its method; beside it the F1 on dev or on the holdout, where
    there is one."""
    text = (ROOT / 'docs' / 'results.md').read_text(encoding='utf-8').replace('−', '-')
    rows = [{cell.strip() for cell in re.split(r'[|()]', line)} for line in text.splitlines() if line.startswith('|')]
    summaries = make_summaries([ROOT / 'docs' / 'results' / name], 'pkd', all_settings=True)
    summary = summaries.get('dev_saved') or summaries['dev_best']      # without a holdout dev chose
    averages = [row for row in summary.averages().to_dict('records') if row['acc_diff_se'] >= 0]     # of several seeds
    for line in (*summary.lines.to_dict('records'), *averages):
        wanted = {points(line.get('acc_diff', math.nan), line.get('acc_diff_se', math.nan), signed=True)} - {''}
        if 'n' in line:
            wanted |= {str(line['n']), str(line['layers']), points(line['acc_mean'], line['acc_sd'])}
            wanted |= {line['setting'].rpartition('=')[2]} - {'', 'default'}
        wanted |= {line['method']} if name not in ('ranks.csv', 'depth.csv') else set()
        other = {points(line['f1_mean'], line['f1_sd']), points(line['choosing'], line['choosing_sd'])} \
            if 'n' in line and line['metric'] == 'f1' else wanted
        assert any(wanted <= row and other & row for row in rows), (line['method'], wanted, other)


def test_the_readmes_table_is_that_of_the_results():
    def table(file):
        lines = (ROOT / file).read_text(encoding='utf-8').splitlines()
        first = lines.index('| task | stored layers | plain PKD | SPS − PKD | SPS after PTP − PKD | seeds |')
        return lines[first:lines.index('', first)]
    assert table('README.md') == table('docs/results.md') and len(table('README.md')) > 5
