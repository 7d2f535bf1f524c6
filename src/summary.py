"""Tables and a chart of a comparison's results.csv.

All scores are in points (100 is right everywhere). Differences to the baseline are paired: those of runs of one task,
depth and seed. Runs on other data, from another checkpoint or with another holdout are another group with tables of its own.
"""
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from BERT.pytorch_pretrained_bert.file_utils import InputError
from BERT.pytorch_pretrained_bert.writing import replace_file
from src.grid import METHODS
from src.nli_data_processing import SPELLINGS
from src.plots import plot_scores
from src.results import DEV, HOLDOUT, PTP_SCORES, SCOPE, SETTING_STAGES, read_results

logger = logging.getLogger(__name__)

# What the paper has (Cho & Kang, PLOS ONE 17(2), 2022, arXiv 2009.14822): dev accuracy in per cent of students of
# bert-base, by (task, stored layers) and method.
PAPER = {('MRPC', 3): {'pkd': 77.69, 'sps': 81.37, 'sps+ptp': 83.57},
         ('RTE', 3): {'pkd': 61.37, 'sps': 68.59, 'sps+ptp': 70.03}}
PAPER_SCORE = 'acc'
# Its gain over pkd in points, averaged over four tasks
PAPER_GAIN = {'sps+ptp': 4.4}

SIZES = ('parameters', 'seconds', 'sentences_a_second')

# Scores of a run -> (title, the scores that chose among settings)
KINDS = {'dev_best': ('Dev at the best step (dev chose the step and the setting)', DEV),
         'dev_last': ('Dev at the last step (dev chose the setting)', DEV),
         'dev_saved': ('Dev of the state that a holdout of train chose', HOLDOUT)}


def summarise(paths: list[Path], output_dir: Path, baseline: str = 'pkd', all_settings: bool = False,
              best: bool = False) -> None:
    """Print the tables of one or several results.csv and save them: summary.md, summary.csv, summary.png.

    best: before them, the settings chosen for each task, method and depth, with the scores that chose."""
    summaries = make_summaries(paths, baseline, all_settings)
    by_choice = {summary.choosing: summary for summary in summaries.values()}
    parts = [part for summary in by_choice.values() for part in summary.choices()] if best else []
    text = '\n\n'.join([*parts, *(part for summary in summaries.values() for part in summary.markdown())])
    with replace_file(output_dir / 'summary.md') as temporary:
        temporary.write_text(text + '\n', encoding='utf-8')
    with replace_file(output_dir / 'summary.csv') as temporary:
        pd.concat([summary.csv() for summary in summaries.values()]).convert_dtypes().to_csv(temporary, index=False)
    plot_scores(panels(summaries), output_dir / 'summary.png')
    logger.info('%s\n\nsaved in %s: summary.md, summary.csv, summary.png', text, output_dir)


def make_summaries(paths: list[Path], baseline: str | None = None, all_settings: bool = False) -> 'dict[str, Summary]':
    """The summaries of results.csv files, one for each of KINDS that they have scores of; InputError for none.

    baseline: the method that others are compared with; None: none is."""
    rows = load_rows(paths)
    if baseline and baseline not in set(rows['method']):
        logger.warning('--baseline %s: there is no row of it to compare others with', baseline)
    summaries = {kind: Summary(rows, kind, baseline, all_settings) for kind in KINDS if _scored(rows, kind).any()}
    if not summaries:
        raise InputError(f'--results {" ".join(map(str, paths))}: no scores, which are in columns such as dev_best_f1')
    return summaries


def panels(summaries: 'dict[str, Summary]', kind: str | None = None) -> dict[str, pd.DataFrame]:
    """What charts show of summaries (see `Summary.panels`): those of a kind of scores. None: of the state that a holdout
    chose and, for rows without a holdout, of the best step on dev; where there are both, a panel's name says which."""
    if kind and kind not in summaries:
        raise InputError(f'--scores {kind}: no row has such scores; there are {", ".join(summaries)}')
    usual = [name for name in ('dev_saved', 'dev_best') if name in summaries] or [next(iter(summaries))]
    chosen = {name: summaries[name] for name in ([kind] if kind else usual)}
    who = {DEV: ', chosen by dev', HOLDOUT: ', chosen by the holdout'} if len(chosen) > 1 else {}
    return {group + who.get(summary.choosing, ''): table
            for summary in chosen.values() for group, table in summary.panels().items()}


def load_rows(paths: list[Path]) -> pd.DataFrame:
    """The rows of results.csv files that have no error, each run once, numbers as numbers, settings as text."""
    tables, failed = [], set()
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f'--results {path}: no such file; make it with --mode compare')
        table = read_results(path)
        tables.append(table[table['error'] == ''])      # first: a run that failed here may have succeeded in another table
        failed |= {*table['run'][table['error'] != '']}
    rows = pd.concat(tables, ignore_index=True).fillna('').drop_duplicates('run', ignore_index=True)
    failed -= {*rows['run']}
    if failed:
        logger.warning('warning: runs left out because they failed: %d, among them %s', len(failed), min(failed))
    if rows.empty:
        raise InputError(f'--results {" ".join(map(str, paths))}: no row without an error')
    numbers = [name for name in rows if not name.startswith(SETTING_STAGES)
               and name not in ('task', 'data', 'method', 'base', 'metric', 'error', 'run')]
    for name in numbers:
        try:
            rows[name] = pd.to_numeric(rows[name]).astype(float)
        except ValueError as error:
            raise InputError(f'--results {" ".join(map(str, paths))}: column {name[:60]!r} must hold numbers: '
                             f'{str(error)[:200]}') from None
    scored = np.array([any(f'{kind}_{metric}' in rows for kind in KINDS) for metric in rows['metric']])
    known = np.isfinite(rows[['layers', 'seed']]).all(axis=1) & scored
    if not known.all():
        raise InputError(f'--results {" ".join(map(str, paths))}: {(~known).sum()} rows, the first of run '
                         f'{rows["run"][known.idxmin()][:60]!r}, have no layers, no seed or no score of their metric')
    _warn_of_doubles(rows)
    labels = rows.get('ptp.ptp_labels', pd.Series('', rows.index))
    rows['method'] = [method_label(*row) for row in zip(rows['method'], rows['base'], labels, strict=True)]
    return rows


def _warn_of_doubles(rows: pd.DataFrame) -> None:
    """A line where runs differ in nothing that a table could tell them by: made twice, by two versions of the code say."""
    told = ['method', 'base', 'layers', 'seed', *(name for name in rows if name in SCOPE or name.startswith(SETTING_STAGES))]
    doubles = rows[rows.duplicated([name for name in dict.fromkeys(told) if name in rows], keep=False)]
    if len(doubles):
        logger.warning('warning: %d rows have the settings and the seed of another one, and count as one run by their mean: '
                       '%s', len(doubles), ', '.join(doubles['run'].iloc[:4]))


def method_label(method: str, base: str, ptp_labels: str = '') -> str:
    """A method's name, with the base it learns by where that is another than pkd, and of a control what its labels are."""
    own = method in METHODS and METHODS[method].train_type
    return (method if own or base == 'pkd' else f'{method} on {base}') + (f' ({ptp_labels} labels)' if ptp_labels else '')


def group_names(rows: pd.DataFrame) -> list[str]:
    """The group of each row: its task and, where the task has several groups, what of SCOPE differs between them."""
    differing = {task: [name for name in SCOPE if name in of_task and of_task[name].nunique() > 1]
                 for task, of_task in rows.groupby('task')}
    return [', '.join([row['task'], *(f'{name.removeprefix("student.")} {row[name] or "default"}'
                                      for name in differing[row['task']])]) for _, row in rows.iterrows()]


def _scored(rows: pd.DataFrame, kind: str) -> pd.Series:
    """Which rows have scores of a kind."""
    columns = [name for name in rows if name.startswith(f'{kind}_')]
    return rows[columns].notna().any(axis=1)


def score_columns(rows: pd.DataFrame, kind: str) -> dict[str, str]:
    """The scores to show of a task's rows, and their columns: the one that decides, accuracy where there is one too, and of
    the chosen state that on the dev sets of other tasks which the model serves."""
    task, metric = rows[['task', 'metric']].iloc[0]
    columns = {name: f'{kind}_{name}' for name in (metric, PAPER_SCORE)}
    if kind != 'dev_last' and task.lower() in SPELLINGS:
        columns |= {f'{other} {metric}': f'{other}_{metric}' for other in SPELLINGS[task.lower()].also}
    return {name: column for name, column in columns.items() if column in rows and rows[column].notna().any()}


def paired_difference(scores: pd.Series, baseline: pd.Series) -> tuple[float, float, int]:
    """(mean, its standard error, number) of the differences of two series of scores by seed, over the seeds of both.

    The standard error is the sample standard deviation of the differences / sqrt(number): nan for one."""
    differences = (scores - baseline).dropna()
    return differences.mean(), differences.sem(), len(differences)


def settings_of(rows: pd.DataFrame) -> pd.Series:
    """The settings of each row in words: those that are not the same in all rows."""
    names = [name for name in rows if name.startswith(SETTING_STAGES) and rows[name].nunique() > 1]
    return pd.Series([', '.join(f'{name}={row[name] or "default"}' for name in names) for _, row in rows.iterrows()],
                     rows.index, dtype=object)


def markdown(table: pd.DataFrame) -> str:
    """A table as Markdown, numbers with thousands separators."""
    def cell(value) -> str:
        return f'{value:,}' if isinstance(value, int) else f'{value:.4f}' if isinstance(value, float) else str(value)
    rows = [[cell(value) for value in row] for row in table.astype(object).itertuples(index=False)]
    lines = [list(table.columns), ['---'] * len(table.columns), *rows]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def whole(value: float) -> str:
    """'45,691,392': a number without its fraction; nothing where it is not known."""
    return '' if not math.isfinite(value) else f'{round(value):,}'


def points(mean: float, spread: float, signed: bool = False) -> str:
    """'81.20 ± 0.41'; the spread is left out, or all, where it is not known."""
    if math.isnan(mean):
        return ''
    return (f'{mean:+.2f}' if signed else f'{mean:.2f}') + ('' if math.isnan(spread) else f' ± {spread:.2f}')


class Summary:
    """Statistics of one kind of scores. `lines` has one for each group (task, data, holdout), depth, method and setting;
    those of the setting with the best mean of the scores that choose are `chosen`, among the settings with the most seeds:
    a mean over few of them is more often high by luck."""

    def __init__(self, rows: pd.DataFrame, kind: str, baseline: str | None, all_settings: bool = False):
        self.kind, self.baseline, self.all_settings = kind, baseline, all_settings
        self.title, self.choosing = KINDS[kind]
        self.chooser = 'the holdout' if self.choosing == HOLDOUT else 'dev'
        rows = rows[_scored(rows, kind)]
        rows = rows.assign(group=group_names(rows))
        lines = [line for _, depth in rows.groupby(['group', 'layers'], sort=False) for line in self._depth(depth)]
        self.lines = pd.DataFrame(lines).sort_values(['group', 'layers', 'rank'], kind='stable', ignore_index=True)
        self.chosen = self.lines[self.lines['chosen']]

    def _depth(self, rows: pd.DataFrame) -> list[dict[str, Any]]:
        """The lines of one group and depth."""
        lines = [line for method, group in rows.groupby('method', sort=False) for line in self._method(method, group)]
        base = next((line for line in lines if line['method'] == self.baseline and line['chosen']), None)
        return [line | self._differences(line, base) for line in lines]

    def _method(self, method: str, rows: pd.DataFrame) -> list[dict[str, Any]]:
        """The lines of one method: one for each setting."""
        lines = [self._line(method, setting, group) for setting, group in rows.groupby(settings_of(rows), sort=False)]
        best = max(lines, key=lambda line: (line['n'], line['choosing']))
        return [line | {'chosen': line is best, 'tried': len(lines)} for line in lines]

    def _line(self, method: str, setting: str, rows: pd.DataFrame) -> dict[str, Any]:
        group, task, layers, metric = (rows[name].iloc[0] for name in ('group', 'task', 'layers', 'metric'))
        by_seed = rows.groupby('seed').mean(numeric_only=True)
        scores = {name: 100 * by_seed[column] for name, column in score_columns(rows, self.kind).items()}
        statistics = {f'{name}_{what}': value for name, values in scores.items()
                      for what, value in (('mean', values.mean()), ('sd', values.std()))}
        choosing = 100 * by_seed.get(f'{self.choosing}_{metric}', pd.Series(dtype=float))
        return {'kind': self.kind, 'task': task, 'group': group, 'layers': int(layers), 'method': method, 'setting': setting,
                'metric': metric, 'n': len(by_seed), 'choosing': choosing.mean(), 'choosing_sd': choosing.std(),
                **statistics, **{name: by_seed[name].mean() for name in SIZES},
                **{name: 100 * by_seed.get(name, pd.Series(dtype=float)).mean(skipna=False) for name in PTP_SCORES},
                'paper': PAPER.get((task, layers), {}).get(method, math.nan), 'scores': scores, 'rank': _rank(method)}

    def _differences(self, line: dict[str, Any], base: dict[str, Any] | None) -> dict[str, float]:
        """A line's differences to the baseline's chosen setting, by seed."""
        if base is None or line['method'] == self.baseline:
            return {}
        differences = {}
        for name in (name for name in line['scores'] if name in base['scores']):
            mean, error, pairs = paired_difference(line['scores'][name], base['scores'][name])
            differences |= {f'{name}_diff': mean, f'{name}_diff_se': error}
            if name == line['metric']:
                differences |= {'metric_diff': mean, 'metric_diff_se': error, 'pairs': pairs}
        return differences

    def averages(self) -> pd.DataFrame:
        """Each method's difference to the baseline, averaged over groups and depths, by the deciding metric and by accuracy.

        The standard error is that of the seeds: of independent means, sqrt(sum of squares) / number."""
        rows = []
        for method, lines in self.chosen.groupby('method', sort=False):
            row = {'kind': self.kind, 'task': 'average', 'method': method, 'rank': _rank(method),
                   'paper': PAPER_GAIN.get(method, math.nan) if self.baseline == 'pkd' else math.nan}
            for name in ('metric', PAPER_SCORE):
                found = lines.reindex(columns=[f'{name}_diff', f'{name}_diff_se']).dropna(subset=f'{name}_diff')
                error = math.hypot(*found[f'{name}_diff_se']) / len(found) if len(found) else math.nan
                row |= {f'{name}_diff': found[f'{name}_diff'].mean(), f'{name}_diff_se': error, f'{name}_cells': len(found)}
            rows += [row] if row['metric_cells'] else []
        return pd.DataFrame(rows).sort_values('rank') if rows else pd.DataFrame()

    def choices(self) -> list[str]:
        """Headings and tables, one a group, of the chosen settings: of how many, the mean of the scores that chose, and what
        of the setting is not the same in all runs of the method."""
        parts = [f'## Settings that {self.chooser} chose']
        for name, lines in self.chosen.groupby('group', sort=False):
            scores = [points(*pair) for pair in zip(lines['choosing'], lines['choosing_sd'], strict=True)]
            table = {'layers': lines['layers'], 'method': lines['method'], 'settings tried': lines['tried'], 'n': lines['n'],
                     f'{lines["metric"].iloc[0]} on {self.chooser}': scores, 'setting': lines['setting']}
            parts += [f'### {name}', markdown(pd.DataFrame(table))]
        return parts

    def markdown(self) -> list[str]:
        """Headings and tables, one a group, and the averages."""
        lines = self.lines if self.all_settings else self.chosen
        parts = [f'## {self.title}']
        if self.all_settings and (lines['tried'][lines['method'] == self.baseline] > 1).any():
            parts.append(f"Differences are to {self.baseline}'s setting with the best scores of those that choose.")
        for name, group in lines.groupby('group', sort=False):
            parts += [f'### {name}', markdown(self._group_table(group))]
        averages = self.averages()
        if not averages.empty:
            over = 'tasks' if (lines['group'] == lines['task']).all() else 'groups'
            parts += [f'### Average over {over} and depths of the difference to {self.baseline}',
                      markdown(self._average_table(averages))]
        return parts

    def _group_table(self, lines: pd.DataFrame) -> pd.DataFrame:
        table = {'layers': lines['layers'], 'method': lines['method'], 'n': lines['n']}
        for name in dict.fromkeys(name for scores in lines['scores'] for name in scores):
            table |= {name: _column(lines, name, ('mean', 'sd')),
                      f'{name} − {self.baseline}': _column(lines, name, ('diff', 'diff_se'), signed=True)}
        if lines['paper'].notna().any():
            table[f"the paper's {PAPER_SCORE}"] = [points(value, math.nan) for value in lines['paper']]
        if lines[PTP_SCORES[0]].notna().any():
            table[f"PTP's acc on {self.chooser} (majority class)"] = [
                f'{points(learnt, math.nan)} ({points(majority, math.nan) or "?"})' if math.isfinite(learnt) else ''
                for learnt, majority in zip(*(lines[name] for name in PTP_SCORES), strict=True)]
        table |= {name.replace('_', ' '): [whole(value) for value in lines[name]] for name in SIZES}
        if lines['setting'].any():
            table['setting'] = lines['setting']
        return pd.DataFrame(table)

    def _average_table(self, averages: pd.DataFrame) -> pd.DataFrame:
        table = {'method': averages['method'], 'cells': averages['metric_cells'],
                 'deciding metric': _column(averages, 'metric', ('diff', 'diff_se'), signed=True),
                 f'cells with {PAPER_SCORE}': averages[f'{PAPER_SCORE}_cells'],
                 PAPER_SCORE: _column(averages, PAPER_SCORE, ('diff', 'diff_se'), signed=True)}
        if averages['paper'].notna().any():
            table["the paper's, over four tasks"] = [points(value, math.nan, signed=True) for value in averages['paper']]
        return pd.DataFrame(table)

    def csv(self) -> pd.DataFrame:
        """All lines and averages, numbers unrounded."""
        return pd.concat([self.lines, self.averages()]).drop(columns=['scores', 'rank'])

    def panels(self) -> dict[str, pd.DataFrame]:
        """Group -> method, layers, sizes, and mean and sd of its deciding metric, whose name is the frame's `metric`."""
        return {group: pd.DataFrame({**lines[['method', 'layers', 'metric', *SIZES]],
                                    **{what: lines.get(f'{lines["metric"].iloc[0]}_{what}', math.nan)
                                       for what in ('mean', 'sd')}})
                for group, lines in self.chosen.groupby('group', sort=False)}


def _rank(method: str) -> int:
    """A method's place in tables: that in METHODS."""
    names = list(METHODS)
    name = method.split(' (')[0].split(' on ')[0]
    return names.index(name) if name in names else len(names)


def _column(lines: pd.DataFrame, name: str, parts: tuple[str, str], signed: bool = False) -> list[str]:
    columns = [lines.get(f'{name}_{part}', pd.Series(math.nan, lines.index)) for part in parts]
    return [points(mean, spread, signed) for mean, spread in zip(*columns, strict=True)]
