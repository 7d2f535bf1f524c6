"""run_glue_benchmark.py --mode summary: its numbers against a table written by hand and formulas written out."""
import math

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT  # noqa: F401  (puts the repository on the path)
from scipy.stats import ttest_rel

from BERT.pytorch_pretrained_bert.file_utils import InputError
from run_glue_benchmark import main
from src.summary import (
    Summary,
    load_rows,
    make_summaries,
    method_label,
    paired_difference,
    panels,
    points,
    summarise,
    whole,
)

ACC = {('MRPC', 'pkd'): {1: .70, 2: .72, 3: .74}, ('MRPC', 'sps'): {1: .75, 2: .79, 3: .77},
       ('RTE', 'pkd'): {1: .50, 2: .54}, ('RTE', 'sps'): {1: .53, 2: .55, 3: .99}}


def row(task, method, seed, acc, f1=None, layers=3, base='pkd', prefix='dev_best', **more):
    metric = 'acc' if f1 is None else 'f1'
    scores = {f'{prefix}_acc': acc} | ({} if f1 is None else {f'{prefix}_f1': f1})
    last = {name.replace('best', 'last'): value - 0.1 for name, value in scores.items() if prefix == 'dev_best'}
    return {'task': task, 'data': '0123abcd', 'method': method, 'base': base, 'layers': layers, 'passes': layers,
            'parameters': 1000 * layers, 'seed': seed, 'metric': metric, **scores, **last, 'seconds': 10.0 + seed,
            'sentences_a_second': 500, 'error': '',
            'run': f'runs/{task}/{method}_{layers}_{seed}_{sorted(more.items())}{base}', **more}


def write(path, rows):
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


@pytest.fixture
def results(tmp_path):
    """Two tasks; of one F1 decides. A failed run, and one whose seed the baseline lacks."""
    rows = [row(task, method, seed, acc, acc + 0.1 if task == 'MRPC' else None)
            for (task, method), scores in ACC.items() for seed, acc in scores.items()]
    rows.append(row('RTE', 'sps', 4, 0.0) | {'error': 'no luck', 'dev_best_acc': None, 'dev_last_acc': None})
    return write(tmp_path / 'results.csv', rows)


def lines_of(path, kind='dev_best', **options):
    return Summary(load_rows([path]), kind, options.pop('baseline', 'pkd'), **options)


def test_means_and_spreads(results):
    lines = lines_of(results).lines.set_index(['task', 'method'])
    for (task, method), scores in ACC.items():
        values = 100 * np.array(list(scores.values()))
        line = lines.loc[task, method]
        assert line['n'] == len(values)
        assert line['acc_mean'] == pytest.approx(values.sum() / len(values))
        assert line['acc_sd'] == pytest.approx(math.sqrt(((values - values.mean()) ** 2).sum() / (len(values) - 1)))
    assert lines.loc['MRPC', 'sps']['f1_mean'] == pytest.approx(87.0)
    assert (lines['parameters'] == 3000).all() and lines.loc['MRPC', 'pkd']['seconds'] == 12


def test_differences_are_paired_by_seed(results):
    lines = lines_of(results).lines.set_index(['task', 'method'])
    for task in ('MRPC', 'RTE'):
        seeds = sorted(ACC[task, 'pkd'].keys() & ACC[task, 'sps'].keys())
        sps, pkd = (100 * np.array([ACC[task, method][seed] for seed in seeds]) for method in ('sps', 'pkd'))
        test = ttest_rel(sps, pkd)                       # its t is the mean difference over its standard error
        line = lines.loc[task, 'sps']
        assert line['pairs'] == len(seeds)
        assert line['acc_diff'] == pytest.approx((sps - pkd).mean())
        assert line['acc_diff'] / line['acc_diff_se'] == pytest.approx(test.statistic)
        assert test.confidence_interval(0.68).high - line['acc_diff'] > line['acc_diff_se'] > 0
    assert lines['acc_diff'][:, 'pkd'].isna().all()


def test_a_time_that_is_not_known_is_an_empty_cell(tmp_path):
    rows = [row('RTE', 'pkd', 1, .5), row('RTE', 'sps', 1, .6) | {'seconds': '', 'sentences_a_second': ''}]
    summary = lines_of(write(tmp_path / 'results.csv', rows))
    table = summary.markdown()[2]
    assert '| 3,000 | 11 | 500 |' in table and table.endswith('| 3,000 |  |  |')
    assert summary.csv()['seconds'].isna().tolist() == [False, True, True]


def test_what_ptp_has_learnt_stands_beside_the_majority_class(tmp_path):
    """Of methods with PTP alone, where all their rows have it, and in no table of a comparison without it."""
    scores = [{'ptp_acc': acc, 'ptp_majority_acc': 0.5} for acc in (.625, .875)]
    rows = [*(row('MRPC', 'sps+ptp', seed, .8) | of_ptp for seed, of_ptp in enumerate(scores)), row('MRPC', 'pkd', 0, .7)]
    title = "PTP's acc on dev (majority class)"
    _, _, table = lines_of(write(tmp_path / 'with.csv', rows)).markdown()[:3]
    head, _, pkd, ptp = (line.split(' | ') for line in table.splitlines())
    assert (pkd[head.index(title)], ptp[head.index(title)]) == ('', '75.00 (50.00)')
    for name, others in (('without', rows[2:]), ('some', [*rows, row('MRPC', 'sps+ptp', 3, .8)])):
        assert title not in lines_of(write(tmp_path / f'{name}.csv', others)).markdown()[2]


def test_a_control_is_a_method_of_its_own(tmp_path):
    """Not a setting of the method that could be chosen for it."""
    rows = [row('MRPC', 'sps+ptp', 1, acc, **{'ptp.ptp_labels': labels}) for acc, labels in ((.8, ''), (.9, 'shuffled'))]
    lines = lines_of(write(tmp_path / 'results.csv', [row('MRPC', 'pkd', 1, .7), *rows]))
    assert dict(zip(lines.chosen['method'], lines.chosen['acc_mean'], strict=True)) == {
        'pkd': pytest.approx(70), 'sps+ptp': pytest.approx(80), 'sps+ptp (shuffled labels)': pytest.approx(90)}


def test_runs_that_nothing_tells_apart_are_told_of(tmp_path, caplog):
    rows = [row('RTE', 'pkd', seed, .5) for seed in (1, 2)]
    write(tmp_path / 'once.csv', rows)
    write(tmp_path / 'again.csv', [rows[0] | {'run': 'runs/RTE/by_newer_code'}])
    load_rows([tmp_path / 'once.csv'])
    assert not caplog.records
    load_rows([tmp_path / 'once.csv', tmp_path / 'again.csv'])
    assert '2 rows have the settings and the seed of another one' in caplog.text and 'by_newer_code' in caplog.text


def test_the_papers_gain_is_one_over_pkd(results):
    of_pkd, of_sps = (make_summaries([results], baseline)['dev_best'].averages() for baseline in ('pkd', 'sps'))
    assert set(of_pkd['paper'].dropna()) <= {4.4} and of_sps['paper'].isna().all() and len(of_sps)


def test_paired_difference_of_one_seed_has_no_error():
    """Of none it has no mean either; of several the error is by the formula."""
    ours = pd.Series({1: 3.0, 2: 5.0})
    mean, error, number = paired_difference(ours, pd.Series({3: 1.0}))
    assert number == 0 and math.isnan(mean) and math.isnan(error)
    mean, error, number = paired_difference(ours, pd.Series({2: 4.0, 3: 1.0}))
    assert (mean, number) == (1.0, 1) and math.isnan(error)
    assert paired_difference(ours, pd.Series({1: 1.0, 2: 4.0})) == pytest.approx((1.5, math.sqrt(0.5) / math.sqrt(2), 2))
    assert points(mean, error, signed=True) == '+1.00' and points(-1.234, 0.5) == '-1.23 ± 0.50'
    assert points(math.nan, 1) == ''
    assert [whole(value) for value in (1234567.0, math.nan, math.inf)] == ['1,234,567', '', '']


def test_average_over_tasks_and_depths(results):
    summary = lines_of(results)
    average = summary.averages().set_index('method').loc['sps']
    lines = summary.lines[summary.lines['method'] == 'sps']
    assert average['metric_cells'] == 2
    assert average['metric_diff'] == pytest.approx((5.0 + 2.0) / 2)
    assert average['metric_diff_se'] == pytest.approx(math.sqrt((lines['acc_diff_se'] ** 2).sum()) / 2)
    assert average['acc_diff'] == pytest.approx(average['metric_diff'])


def test_the_last_step_has_a_table_of_its_own(results):
    last = lines_of(results, 'dev_last').lines
    assert last['acc_mean'].tolist() == pytest.approx([mean - 10 for mean in lines_of(results).lines['acc_mean']])


def test_the_papers_numbers_stand_beside(tmp_path):
    """Of students of three layers; of others it has none."""
    numbers = {('MRPC', 'pkd'): 77.69, ('MRPC', 'sps'): 81.37, ('MRPC', 'sps+ptp'): 83.57,
               ('RTE', 'pkd'): 61.37, ('RTE', 'sps'): 68.59, ('RTE', 'sps+ptp'): 70.03}
    rows = [row(task, method, 1, .5, layers=layers) for task, method in numbers for layers in (2, 3)]
    lines = lines_of(write(tmp_path / 'results.csv', rows)).lines.set_index(['layers', 'task', 'method'])
    assert lines['paper'][3].to_dict() == numbers and lines['paper'][2].isna().all()


@pytest.fixture
def searched(tmp_path):
    """Two settings of sps: the better one on the holdout is the worse one on dev."""
    settings = {'1e-05': (.80, .70), '': (.75, .90)}
    rows = [row('RTE', 'sps', seed, None, prefix='holdout_last', dev_saved_acc=dev + seed / 100, holdout_best_acc=holdout,
                **{'student.learning_rate': rate, 'student.T': '5.0'})
            for rate, (holdout, dev) in settings.items() for seed in (1, 2)]
    rows += [row('RTE', 'pkd', seed, None, prefix='holdout_last', dev_saved_acc=.60, holdout_best_acc=.5) for seed in (1, 2)]
    return write(tmp_path / 'searched.csv', rows)


def test_the_holdout_chooses_the_setting(searched):
    summary = lines_of(searched, 'dev_saved')
    sps = summary.chosen.set_index('method').loc['sps']
    assert sps['setting'] == 'student.learning_rate=1e-05' and sps['n'] == 2
    assert sps['acc_mean'] == pytest.approx(71.5) and sps['acc_diff'] == pytest.approx(11.5)
    assert len(summary.lines) == 3 and len(summary.chosen) == 2
    other = summary.lines.set_index('setting').loc['student.learning_rate=default']
    assert other['acc_diff'] == pytest.approx(31.5)


def test_without_a_holdout_dev_chooses(tmp_path):
    rows = [row('RTE', 'sps', seed, acc, **{'student.T': T}) for T, acc in (('5.0', .6), ('20.0', .7)) for seed in (1, 2)]
    summary = lines_of(write(tmp_path / 'results.csv', rows))
    assert summary.chosen['setting'].tolist() == ['student.T=20.0'] and summary.averages().empty


def test_the_chosen_settings_and_the_scores_that_chose(searched, tmp_path, caplog):
    """Once for all scores that the same rows chose; not where they are not asked for."""
    rows = [row('MRPC', method, seed, acc, acc, **{'student.T': T}) for method in ('pkd', 'sps')
            for T, acc in (('5.0', .6), ('20.0', .7), ('9.0', .5)) for seed, acc in ((1, acc), (2, acc + .02))]
    other = write(tmp_path / 'other.csv', rows)
    summarise([searched, other], tmp_path / 'out', best=True)
    text = (tmp_path / 'out' / 'summary.md').read_text()
    assert text.count('## Settings that') == 2 and text.index('Settings that') < text.index('## Dev')
    assert '| layers | method | settings tried | n | acc on the holdout | setting |' in text
    assert '| 3 | sps | 2 | 2 | 80.00 ± 0.00 | student.learning_rate=1e-05 |' in text
    assert '| 3 | sps | 3 | 2 | 71.00 ± 1.41 | student.T=20.0 |' in text and 'f1 on dev' in text
    summarise([searched], tmp_path / 'out')
    assert 'Settings that' not in (tmp_path / 'out' / 'summary.md').read_text()


def test_settings_with_fewer_seeds_are_not_chosen(tmp_path):
    settings = (('1.0', .9, 1), ('5.0', .6, 2), ('9.0', .7, 2))                # T, score, seeds
    rows = [row('RTE', 'sps', seed, acc, **{'student.T': T}) for T, acc, seeds in settings for seed in range(seeds)]
    summary = lines_of(write(tmp_path / 'results.csv', rows))
    assert summary.chosen['setting'].tolist() == ['student.T=9.0'] and len(summary.lines) == 3


def test_a_run_that_failed_in_one_table_counts_in_another(tmp_path):
    good = row('RTE', 'sps', 1, .6)
    paths = [write(tmp_path / 'a.csv', [good | {'error': 'no luck'}, row('RTE', 'pkd', 1, .5)]),
             write(tmp_path / 'b.csv', [good])]
    for order in (paths, paths[::-1], [*paths, *paths]):
        assert sorted(load_rows(order)['method']) == ['pkd', 'sps']


def test_other_data_and_other_holdouts_are_other_groups(tmp_path):
    """Nothing is chosen or paired across them: of the old data the baseline is better, of the new one it is worse."""
    rows = [row('RTE', method, seed, acc, data=data) for data, baseline in (('0a', .9), ('0b', .5)) for seed in (1, 2)
            for method, acc in (('pkd', baseline), ('sps', .7))]
    summary = lines_of(write(tmp_path / 'results.csv', rows))
    lines = summary.chosen.set_index(['group', 'method'])
    assert lines['acc_mean'].to_dict() == pytest.approx({('RTE, data 0a', 'pkd'): 90, ('RTE, data 0a', 'sps'): 70,
                                                         ('RTE, data 0b', 'pkd'): 50, ('RTE, data 0b', 'sps'): 70})
    assert lines['acc_diff'][:, 'sps'].tolist() == pytest.approx([-20, 20]) and (lines['n'] == 2).all()
    assert '### RTE, data 0a' in summary.markdown() and set(summary.panels()) == {'RTE, data 0a', 'RTE, data 0b'}
    held_out = [row('RTE', 'pkd', 1, None, prefix='holdout_last', dev_saved_acc=.6, holdout_best_acc=.5,
                    **{'student.holdout': share}) for share in ('0.1', '0.2')]
    summary = lines_of(write(tmp_path / 'results.csv', held_out), 'dev_saved')
    assert set(summary.chosen['group']) == {'RTE, holdout 0.1', 'RTE, holdout 0.2'}


def test_a_baseline_that_is_no_method(make_workspace, tmp_path):
    outcome = make_workspace(tasks=()).call('run_glue_benchmark.py', '--mode', 'summary', '--baseline', 'nosuch')
    assert outcome.code == 2 and "--baseline: invalid choice: 'nosuch'" in outcome.err and outcome.out == ''


def test_another_baseline_and_base(tmp_path):
    rows = [row('RTE', 'kd', 1, .6, base='kd'), row('RTE', 'sps', 1, .7, base='kd'), row('RTE', 'sps', 1, .8)]
    summary = lines_of(write(tmp_path / 'results.csv', rows), baseline='kd')
    assert summary.lines.set_index('method')['acc_diff'].drop('kd').to_dict() == pytest.approx({'sps': 20, 'sps on kd': 10})
    assert method_label('kd', 'kd') == 'kd'


def test_charts_have_a_panel_for_every_row_that_has_a_score(results, searched):
    """Those that a holdout chose and those that dev chose; where one sort is there alone its panels are the tasks'."""
    both = make_summaries([results, searched])
    assert [*panels(both)] == ['RTE, chosen by the holdout', 'MRPC, chosen by dev', 'RTE, chosen by dev']
    assert [*panels(make_summaries([results]))] == ['MRPC', 'RTE'] and [*panels(make_summaries([searched]))] == ['RTE']
    assert [*panels(both, 'dev_last')] == ['MRPC', 'RTE']


def test_a_mean_over_one_seed_has_no_spread_to_draw(tmp_path):
    made = make_summaries([write(tmp_path / 'results.csv', [row('RTE', 'pkd', 1, .6)])])
    assert panels(made)['RTE']['sd'].isna().all()


def test_averages_of_accuracy_say_over_how_many_cells(tmp_path):
    """CoLA has none: its metric is another."""
    rows = [row(task, method, seed, acc) for task in ('RTE', 'CoLA') for seed in (1, 2)
            for method, acc in (('pkd', .5), ('sps', .6))]
    rows = [{name.replace('_acc', '_mcc'): value for name, value in line.items()} | {'metric': 'mcc'}
            if line['task'] == 'CoLA' else line for line in rows]
    text = '\n'.join(lines_of(write(tmp_path / 'results.csv', rows)).markdown())
    assert '| method | cells | deciding metric | cells with acc | acc |' in text
    assert '| sps | 2 | +10.00 ± 0.00 | 1 | +10.00 ± 0.00 |' in text


def test_mismatched_dev_of_mnli_stands_beside_the_matched(tmp_path):
    """It is of the state that was chosen, so not among the scores of the last step."""
    rows = [row('MNLI', method, seed, acc, **{'MNLI-mm_acc': acc + 0.01 * seed}) for seed in (1, 2)
            for method, acc in (('pkd', .5), ('sps', .6))]
    made = make_summaries([write(tmp_path / 'results.csv', rows)], 'pkd')
    best, last = ('\n'.join(made[kind].markdown()) for kind in ('dev_best', 'dev_last'))
    assert '| n | acc | acc − pkd | MNLI-mm acc | MNLI-mm acc − pkd |' in best and 'MNLI-mm' not in last
    assert '| sps | 2 | 60.00 ± 0.00 | +10.00 ± 0.00 | 61.50 ± 0.71 | +10.00 ± 0.00 |' in best
    assert made['dev_best'].averages()['metric_diff'].tolist() == pytest.approx([10])


def test_failed_runs_that_are_left_out_are_told(results, tmp_path, caplog):
    load_rows([results])
    assert 'warning: runs left out because they failed: 1, among them runs/RTE/sps_3_4' in caplog.text
    caplog.clear()
    good = row('RTE', 'sps', 4, .6)
    load_rows([results, write(tmp_path / 'again.csv', [good])])
    assert 'failed' not in caplog.text


def test_files_and_printed_tables(results, searched, tmp_path, caplog):
    """Several tables in one, and all settings as rows; a failed run counts nowhere."""
    rows = [row('MRPC', method, 1, .7, .8, layers=layers) for method in ('pkd', 'sps', 'sps+ptp') for layers in (1, 3)]
    first = write(tmp_path / 'first.csv', rows)
    with caplog.at_level('INFO'):
        summarise([first, searched], tmp_path / 'out', all_settings=True)
    text = (tmp_path / 'out' / 'summary.md').read_text()
    assert text.strip() in caplog.text
    assert '### MRPC' in text and '| 3 | sps+ptp | 1 | 80.00 | +0.00 | 70.00 | +0.00 | 83.57 | 3,000 |' in text
    assert 'student.learning_rate=default' in text and 'Dev of the state that a holdout' in text
    assert (tmp_path / 'out' / 'summary.png').read_bytes().startswith(b'\x89PNG')
    table = pd.read_csv(tmp_path / 'out' / 'summary.csv')
    assert set(table['kind']) == {'dev_best', 'dev_last', 'dev_saved'} and 'average' in set(table['task'])
    summarise([searched], tmp_path / 'best')
    assert 'learning_rate=default' not in (tmp_path / 'best' / 'summary.md').read_text()


def test_of_several_settings_of_the_baseline_the_one_compared_with_is_told(tmp_path):
    rows = [row('RTE', method, 1, acc, **{'student.learning_rate': rate})
            for method, acc, rate in (('pkd', .5, '1e-4'), ('pkd', .6, ''), ('sps', .7, ''))]
    told = "Differences are to pkd's setting with the best scores of those that choose."
    searched, single = write(tmp_path / 'searched.csv', rows), write(tmp_path / 'single.csv', rows[1:])
    for path, all_settings, times in ((searched, True, 1), (searched, False, 0), (single, True, 0)):
        assert make_summaries([path], 'pkd', all_settings)['dev_best'].markdown().count(told) == times


def test_the_script(results, tmp_path):
    main(['--mod', 'summary', '--results', str(results)])       # flags may be abbreviated
    assert {'summary.md', 'summary.csv', 'summary.png'} <= {path.name for path in tmp_path.iterdir()}


def test_what_cannot_be_summed_up(tmp_path):
    with pytest.raises(FileNotFoundError, match='--mode compare'):
        load_rows([tmp_path / 'missing.csv'])
    path = write(tmp_path / 'results.csv', [row('RTE', 'sps', 1, .5) | {'error': 'x'}])
    with pytest.raises(InputError, match='no row without an error'):
        load_rows([path])
    for name in ('data', 'seed', 'metric', 'run'):
        pd.read_csv(path).drop(columns=name).to_csv(tmp_path / 'other.csv', index=False)
        with pytest.raises(InputError, match=f'not a results.csv of --mode compare; it has no column {name}'):
            load_rows([tmp_path / 'other.csv'])
