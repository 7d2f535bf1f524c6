"""Pictures of runs and results, for screen and print: PNG of 300 dpi, or SVG, as the file's name ends.

Sizes are those of a paper of two columns, letters of 7 points or more, colours such as colour-blind readers can tell apart;
and whatever has a colour has a marker, a line style or a hatching of its own too. Legend: R rows, T tokens.
"""
import itertools
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import NullFormatter

from BERT.pytorch_pretrained_bert.file_utils import InputError
from BERT.pytorch_pretrained_bert.writing import replace_file
from src.run_log import EVAL_LOG, TRAIN_LOG, chosen_by, read_run

COLUMN = 3.4             # inches: the width of a column, and of a panel of wider pictures
HEIGHT = 2.4
PAGE = 2                 # panels beside each other that fill a page's width
STYLE = {'font.size': 8, 'axes.titlesize': 8, 'axes.labelsize': 8, 'legend.fontsize': 7, 'xtick.labelsize': 7,
         'ytick.labelsize': 7, 'lines.linewidth': 1.2, 'lines.markersize': 4, 'axes.linewidth': 0.6, 'hatch.linewidth': 0.5,
         'axes.spines.top': False, 'axes.spines.right': False, 'axes.grid': True, 'axes.axisbelow': True, 'grid.alpha': 0.25,
         'legend.framealpha': 0.85, 'savefig.dpi': 300, 'svg.hashsalt': 'peakd'}
# Okabe & Ito's palette, without yellow and black
COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9')
MARKERS = 'osD^vPX'      # as many as have no divisor in common with the colours: pairs repeat late
LINE_SAMPLE = 3.5        # letters of a legend's line, in which a style can be told
LINES = ('-', '--', '-.', ':', (0, (5, 1, 1, 1, 1, 1)))
MANY_POINTS = 2000       # so many marks, or cells of a map, are pixels in an SVG too, which would be slow otherwise
matplotlib.rcParams.update(STYLE)


def style(number: int) -> dict:
    """Colour and marker of the series of a number, for all kinds of pictures."""
    return {'color': COLOURS[number % len(COLOURS)], 'marker': MARKERS[number % len(MARKERS)]}


def new_figure(panels: int, across: int = PAGE, height: float = HEIGHT):
    """(figure, its panels' axes), so many panels across at most."""
    across = min(panels, across)
    down = -(-panels // across)
    figure = Figure((COLUMN * across, height * down), layout='constrained')
    axes = figure.subplots(down, across, squeeze=False)
    for spare in axes.flat[panels:]:
        spare.set_axis_off()
    return figure, list(axes.flat[:panels])


def save(figure, *paths: Path) -> None:
    """Write a figure as the names of the files end: the same bytes for the same picture."""
    for path in paths:
        with replace_file(path) as temporary:
            metadata = {'Date': None} if path.suffix == '.svg' else None
            figure.savefig(temporary, format=path.suffix[1:], metadata=metadata)


def _legend_below(figure, axes, handle: float = 1) -> None:
    """The legend of all series of the axes, below all panels, in as many columns as the figure has room for. The figure
    grows by it. handle: length of a series's sample, in letters: lines need some to show their style."""
    series = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    room = figure.get_figwidth() / (0.055 * (max(map(len, series)) + 1.6 * handle + 2))      # 0.055 inch: a letter
    lines = -(-len(series) // max(1, int(room)))
    across = -(-len(series) // lines)                                         # as many in each line
    figure.set_figheight(figure.get_figheight() + 0.16 * lines)
    figure.legend(series.values(), series, loc='outside lower center', ncols=across, frameon=False,
                  handlelength=handle)


# Training curves


def _read_log(path: Path, *columns: str) -> pd.DataFrame:
    """A log of a run as numbers. FileNotFoundError or InputError where it, or one of the columns, is not there."""
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file; name the folder of a run that has been scored once')
    try:
        table = pd.read_csv(path)
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise InputError(f'{path}: not a log of a run ({error})') from None
    missing = [name for name in columns if name not in table]
    if missing:
        raise InputError(f'{path}: no column {", ".join(missing)}; it has {", ".join(map(str, table.columns))[:200]}')
    try:
        return table[[*columns]].astype(float)
    except ValueError as error:
        raise InputError(f'{path}: not a log of a run: {error}') from None


def draw_training(loss_axis, score_axis, folder: Path, run: dict, label: str, number: int = 0,
                  score: str | None = None) -> None:
    """A run's training loss (mean over the epoch so far) and its scores on dev or the holdout over the steps.

    run: its record, as run.json has it; number: of the series, which its looks go by; score: a column of eval_log.txt, the
    one that decides for None."""
    score = score or run['metric']
    train = _read_log(folder / TRAIN_LOG, 'global_steps', 'loss')
    scores = _read_log(folder / EVAL_LOG, 'global_steps', score)
    looks = style(number) | {'linestyle': LINES[number % len(LINES)], 'label': label}
    loss_axis.plot(train['global_steps'], train['loss'], **looks, markevery=(0.1 + 0.03 * (number % 3), 0.2))
    score_axis.plot(scores['global_steps'], scores[score], **looks, markevery=max(1, len(scores) // 12))
    loss_axis.set(xlabel='step', ylabel='training loss\n(mean of the epoch so far)')
    score_axis.set(xlabel='step', ylabel=f'{chosen_by(run)} {score}' if run else f'{score} of the rows that choose')


def plot_training_curves(folder: Path, run: dict) -> None:
    """training_curve.png in a run folder, from its logs and its record."""
    figure, axes = new_figure(2)
    draw_training(*axes, folder, run, folder.name)
    save(figure, folder / 'training_curve.png')


def plot_curves(runs: dict[str, Path], score: str | None, *paths: Path) -> None:
    """Training curves of runs (label -> folder) over each other. InputError where their scores do not compare."""
    records = {label: read_run(folder) or {} for label, folder in runs.items()}
    for label, run in records.items():
        if not score and 'metric' not in run:
            raise InputError(f'{runs[label]}: no run has ended there (run.json), so --score must name the score to show')
    scored = {label: (run.get('task'), chosen_by(run), score or run['metric']) for label, run in records.items() if run}
    if len(set(scored.values())) > 1:
        told = '; '.join(f'{runs[label]}: {task}, {chooser} {name}' for label, (task, chooser, name) in scored.items())
        raise InputError(f'these runs have scores that do not compare: {told}')
    figure, axes = new_figure(2)
    for number, (label, folder) in enumerate(runs.items()):
        draw_training(*axes, folder, records[label], label, number, score)
    _legend_below(figure, axes, LINE_SAMPLE)
    save(figure, *paths)


# What teachers and students are sure of


def draw_confidence(axes, confidence: np.ndarray, correct: np.ndarray, thresholds: tuple[float, float],
                    rows_of: str = 'train') -> None:
    """Histograms of a teacher's confidence [R] on the rows that it has right (bool [R], upper axis, with t1) and on those
    that it has wrong (lower axis, with t2)."""
    bins = np.linspace(min(0.5, confidence.min()), 1, 41)
    for number, (axis, rows, words) in enumerate(zip(axes, (correct, ~correct), ('right', 'wrong'), strict=True)):
        above = confidence[rows] > thresholds[number]
        axis.hist(confidence[rows], bins, color=COLOURS[number], hatch=(None, '////')[number], edgecolor='white',
                  linewidth=0.3)
        axis.axvline(thresholds[number], color='black', linestyle='--', linewidth=1)
        axis.set_title(f'{words}: {above.sum():,} of {len(above):,} rows above t{number + 1} = {thresholds[number]:.3f}')
        axis.set(ylabel='rows (log scale)', yscale='log', ylim=(0.6, None), xlim=(bins[0], 1))
        axis.yaxis.set_major_formatter('{x:,.0f}')        # exponents would be too small to read
        axis.yaxis.set_minor_formatter(NullFormatter())
    axes[0].tick_params(labelbottom=False)
    axes[1].set(xlabel=f"teacher's confidence on {rows_of}")


def plot_confidence(confidence: np.ndarray, correct: np.ndarray, thresholds: tuple[float, float], rows_of: str,
                    *paths: Path) -> None:
    """The histograms of draw_confidence."""
    figure, axes = new_figure(2, across=1, height=1.5)
    draw_confidence(axes, confidence, correct, thresholds, rows_of)
    save(figure, *paths)


def plot_demo(path: Path, runs: dict[str, Path], confidence: np.ndarray, correct: np.ndarray,
              thresholds: tuple[float, float]) -> None:
    """Training curves of runs (label -> folder) beside the teacher's confidence histograms."""
    figure = Figure((3 * COLUMN, 1.2 * HEIGHT), layout='constrained')
    axes = figure.subplot_mosaic([['loss', 'score', 'right'], ['loss', 'score', 'wrong']])
    for number, (label, folder) in enumerate(runs.items()):
        draw_training(axes['loss'], axes['score'], folder, read_run(folder), label, number)
    axes['score'].legend()
    draw_confidence((axes['right'], axes['wrong']), confidence, correct, thresholds)
    save(figure, path)


def draw_agreement(axis, teacher: tuple[np.ndarray, np.ndarray], student: tuple[np.ndarray, np.ndarray]) -> None:
    """A student's confidence over a teacher's, by who is right; teacher, student: confidence [R] and correct (bool [R])."""
    (theirs, they_know), (ours, we_know) = teacher, student
    groups = {'both right': they_know & we_know, 'only teacher right': they_know & ~we_know,
              'only student right': ~they_know & we_know, 'both wrong': ~they_know & ~we_know}
    lowest = min(0.5, theirs.min(), ours.min())
    axis.plot([lowest, 1], [lowest, 1], color='black', linewidth=0.6, alpha=0.5)
    for number, (name, rows) in enumerate(groups.items()):
        axis.scatter(theirs[rows], ours[rows], 14, COLOURS[number], marker=MARKERS[number], alpha=0.7, linewidths=0,
                     clip_on=False, label=f'{name} ({rows.sum():,})', rasterized=len(theirs) > MANY_POINTS,
                     zorder=2 + number)
    axis.set(xlabel="teacher's confidence", ylabel="student's confidence", aspect='equal', xlim=(lowest, 1),
             ylim=(lowest, 1))


def plot_agreement(teacher: tuple[np.ndarray, np.ndarray], student: tuple[np.ndarray, np.ndarray], title: str,
                   *paths: Path) -> None:
    """The points of draw_agreement."""
    figure, (axis,) = new_figure(1, height=COLUMN)
    figure.set_layout_engine('compressed')
    draw_agreement(axis, teacher, student)
    axis.set_title(title)
    _legend_below(figure, [axis])
    save(figure, *paths)


# Attention

TOKENS_OF_A_PANEL = 27   # names of 7 points that have room beside a map


def plot_attention(maps: dict[str, np.ndarray], tokens: list[str], second: int, *paths: Path) -> None:
    """Attention maps (title -> [T, T], from rows to columns) side by side, on one scale; second: number of the first token
    of the second text, T where there is none. Of many tokens only some are named."""
    step = -(-len(tokens) // TOKENS_OF_A_PANEL)
    named, highest = range(0, len(tokens), step), max(attention.max() for attention in maps.values())
    figure, axes = new_figure(len(maps), len(maps), COLUMN + 0.3)
    figure.set_layout_engine('compressed')                # squares leave room beside them, which it takes away
    shades = PowerNorm(0.5, 0, highest)                   # most weights are small, and would all look alike
    for axis, (title, attention) in zip(axes, maps.items(), strict=True):
        mesh = axis.pcolormesh(attention, cmap='Blues', norm=shades, rasterized=attention.size > MANY_POINTS)
        axis.set(title=title, xlabel='attended to', aspect='equal')
        axis.grid(False)
        for line in (axis.axhline, axis.axvline):
            line(second, color=COLOURS[1], linewidth=0.6, linestyle='--')
        axis.invert_yaxis()
        axis.set_xticks([place + 0.5 for place in named], [tokens[place] for place in named], rotation=90)
        axis.set_yticks([place + 0.5 for place in named], [tokens[place] for place in named])
    for axis in axes[1:]:
        axis.tick_params(labelleft=False)
    axes[0].set_ylabel('from')
    figure.colorbar(mesh, ax=axes, shrink=0.6, pad=0.01, label='attention')
    save(figure, *paths)


# Results of comparisons


def draw_scores(axis, table: pd.DataFrame, depths: list[int]) -> None:
    """Means by method with their standard deviations, a colour and a marker for each of the depths (layers)."""
    methods = list(dict.fromkeys(table['method']))
    for number, layers in enumerate(depths):
        rows = table[table['layers'] == layers]
        places = [methods.index(method) + 0.6 * ((number + 0.5) / len(depths) - 0.5) for method in rows['method']]
        axis.errorbar(places, rows['mean'], rows['sd'], linestyle='none', capsize=2, **style(number),
                      label=_layers(layers))
    axis.set_xticks(range(len(methods)), methods, rotation=30, ha='right', rotation_mode='anchor')
    axis.set(ylabel=f'dev {table["metric"].iloc[0]}, mean ± sd', xlim=(-0.5, len(methods) - 0.5))
    axis.grid(False, axis='x')


def _layers(number: int) -> str:
    return f'{number} layer{"s" * (number > 1)}'


def plot_scores(panels: dict[str, pd.DataFrame], *paths: Path) -> None:
    """One panel a task: method, layers, metric, mean and sd, in points."""
    depths = sorted({layers for table in panels.values() for layers in table['layers']})
    figure, axes = new_figure(len(panels))
    for axis, (task, table) in zip(axes, panels.items(), strict=True):
        draw_scores(axis, table, depths)
        axis.set_title(task)
    _legend_below(figure, axes)
    save(figure, *paths)


# A cost of a model, a column of panels -> (what its axis says, what it is divided by)
COSTS = {'parameters': ('million parameters', 1e6), 'sentences_a_second': ('sentences a second', 1)}


def draw_costs(axis, table: pd.DataFrame, cost: str, numbers: dict[str, int]) -> None:
    """Mean scores with their standard deviations over a cost (see COSTS), a line a method from depth to depth, which stands
    beside the point. numbers: those that the methods' looks go by."""
    label, unit = COSTS[cost]
    for method, lines in table.dropna(subset=[cost, 'mean']).groupby('method', sort=False):
        lines = lines.sort_values('layers')
        number = numbers[method]
        axis.errorbar(lines[cost] / unit, lines['mean'], lines['sd'], linestyle=LINES[number % len(LINES)],
                      capsize=2, elinewidth=0.6, **style(number), label=method)
        for _, line in lines.iterrows():
            axis.annotate(str(line['layers']), (line[cost] / unit, line['mean']), (4, 4), textcoords='offset points',
                          fontsize=7, color=style(number)['color'], zorder=4,
                          path_effects=[withStroke(linewidth=1.5, foreground='white')])
    axis.set(xlabel=label, ylabel=f'dev {table["metric"].iloc[0]}, mean ± sd')
    axis.margins(0.1)


def plot_costs(panels: dict[str, pd.DataFrame], *paths: Path) -> None:
    """Two panels a task: scores over parameters and over speed. InputError where the table has nothing of one of them."""
    numbers = {method: number for number, method in enumerate(dict.fromkeys(
        itertools.chain.from_iterable(table['method'] for table in panels.values())))}
    figure, axes = new_figure(2 * len(panels))
    for axis, ((task, table), cost) in zip(axes, itertools.product(panels.items(), COSTS), strict=True):
        if table[cost].isna().all():
            raise InputError(f'{task}: column {cost} of the table is empty; run_glue_benchmark.py --mode compare fills it')
        draw_costs(axis, table, cost, numbers)
        axis.set_title(task)
    _legend_below(figure, axes, LINE_SAMPLE)
    save(figure, *paths)
