"""Pictures of runs, as PNG."""
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd

from BERT.pytorch_pretrained_bert.writing import replace_file
from src.run_log import chosen_by, read_run

matplotlib.use('Agg')
import matplotlib.pyplot as plt  # noqa: E402  (the backend is chosen first: there may be no screen)

# Okabe & Ito's palette, which colour-blind readers can tell apart
COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9')
MARKERS = 'osD^vP'       # beside the colours, for print without any


def _new(columns: int):
    figure, axes = plt.subplots(1, columns, figsize=(5.2 * columns, 3.8), layout='constrained', squeeze=False)
    for axis in axes[0]:
        axis.spines[['top', 'right']].set_visible(False)
        axis.grid(alpha=0.25)
    return figure, axes[0]


def _save(figure, path: Path) -> None:
    with replace_file(path) as temporary:
        figure.savefig(temporary, dpi=150, format='png')
    plt.close(figure)


def draw_training(loss_axis, score_axis, folder: Path, run: dict, label: str, colour: str) -> None:
    """A run's training loss (mean over the epoch so far) and its scores on dev or the holdout over the steps.

    run: its record, as run.json has it."""
    train = pd.read_csv(folder / 'train_log.txt')
    scores = pd.read_csv(folder / 'eval_log.txt')
    score = run['metric']
    loss_axis.plot(train['global_steps'], train['loss'], colour, label=label)
    score_axis.plot(scores['global_steps'], scores[score], colour, marker='.', label=label)
    loss_axis.set(xlabel='step', ylabel='training loss (mean of the epoch so far)')
    score_axis.set(xlabel='step', ylabel=f'{chosen_by(run)} {score}')


def plot_training_curves(folder: Path, run: dict) -> Path:
    """training_curve.png in a run folder, from its logs and its record."""
    figure, axes = _new(2)
    draw_training(*axes, folder, run, folder.name, COLOURS[0])
    path = folder / 'training_curve.png'
    _save(figure, path)
    return path


def draw_confidence(axis, confidence: np.ndarray, correct: np.ndarray, thresholds: tuple[float, float]) -> None:
    """Histogram of a teacher's confidence [R] on correct and wrong rows (bool [R]), with t1 and t2."""
    bins = np.linspace(min(0.5, confidence.min()), 1, 41)
    axis.hist([confidence[correct], confidence[~correct]], bins, stacked=True, color=COLOURS[:2],
              label=[f'correct ({correct.sum():,})', f'wrong ({(~correct).sum():,})'])
    for name, threshold, style in zip(('t1', 't2'), thresholds, ('--', ':'), strict=True):
        axis.axvline(threshold, color='black', linestyle=style, label=f'{name} = {threshold:.3f}')
    axis.set(xlabel="teacher's confidence on train", ylabel='rows (log scale)', yscale='log')
    axis.legend()


def plot_demo(path: Path, runs: dict[str, Path], confidence: np.ndarray, correct: np.ndarray,
              thresholds: tuple[float, float]) -> None:
    """Training curves of runs (label -> folder) beside the teacher's confidence histogram."""
    figure, axes = _new(3)
    for (label, folder), colour in zip(runs.items(), COLOURS, strict=False):
        draw_training(axes[0], axes[1], folder, read_run(folder), label, colour)
    axes[1].legend()
    draw_confidence(axes[2], confidence, correct, thresholds)
    _save(figure, path)


def draw_scores(axis, table: pd.DataFrame) -> None:
    """Means by method with their standard deviations, a colour and a marker for each depth (layers)."""
    methods = list(dict.fromkeys(table['method']))
    depths = sorted(set(table['layers']))
    for number, layers in enumerate(depths):
        rows = table[table['layers'] == layers]
        places = [methods.index(method) + 0.6 * ((number + 0.5) / len(depths) - 0.5) for method in rows['method']]
        axis.errorbar(places, rows['mean'], rows['sd'].fillna(0), linestyle='none', capsize=3,
                      color=COLOURS[number % len(COLOURS)], marker=MARKERS[number % len(MARKERS)],
                      label=f'{layers} layer{"s" * (layers > 1)}')
    axis.set_xticks(range(len(methods)), methods, rotation=30, ha='right')
    axis.set(ylabel=f'dev {table["metric"].iloc[0]}, mean ± sd')
    axis.legend()


def plot_scores(path: Path, panels: dict[str, pd.DataFrame]) -> None:
    """One panel a task: method, layers, metric, mean and sd, in points."""
    figure, axes = _new(len(panels))
    for axis, (task, table) in zip(axes, panels.items(), strict=True):
        draw_scores(axis, table)
        axis.set_title(task)
    _save(figure, path)
