"""A task of one's own: a JSON file (--task_config) that becomes one more row of the table of tasks.

    {"name": "Reviews", "train": "train.tsv", "dev": "dev.tsv", "test": "test.csv",
     "columns": {"text_a": "review", "label": "opinion"}, "labels": ["bad", "good"], "metric": "f1"}

What its keys mean stands in `KEYS`, in README.md in more words. After parsing, `task_config` in a script's arguments, and so
in run.json, is the whole definition and where it was read, so that a run is known by what the file said then.
"""
import logging
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from BERT.pytorch_pretrained_bert.file_utils import InputError, path_of, read_json_object
from src.nli_data_processing import SPELLINGS, Column, GlueTask, Layout, add_task, are_thresholds, find_task, without_file
from src.run_log import RECORD
from src.table_files import FORMATS
from src.training_state import differences

logger = logging.getLogger(__name__)

REGRESSION = 'regression'
# metric as written -> (the metric that decides, whether it is one of regression)
METRICS = {'accuracy': ('acc', False), 'acc': ('acc', False), 'f1': ('f1', False), 'acc_and_f1': ('acc_and_f1', False),
           'mcc': ('mcc', False), 'pearson': ('pearson', True), 'spearman': ('spearmanr', True), 'corr': ('corr', True)}
OF_TWO_CLASSES = ('f1', 'acc_and_f1')      # metrics that need a positive class: the second label
TEXTS, LABEL = ('text_a', 'text_b'), 'label'


class Key(NamedTuple):
    """A key of the file: what its value must be, as a check and in words, and whether it must be there."""
    fits: Callable[[Any], bool]
    words: str
    needed: bool = True


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and value == value.strip() != '' and not re.search('[\t\r\n\0\ud800-\udfff]', value)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(re.fullmatch(r'[A-Za-z0-9][A-Za-z0-9_-]{0,63}', value))


def _is_table(value: Any) -> bool:
    return _is_word(value) and Path(value).suffix.lower().removeprefix('.') in FORMATS


def _is_position(value: Any, least: int = 0) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _are_columns(value: Any, needed: tuple[str, ...] = ('text_a', LABEL), known: tuple[str, ...] = (*TEXTS, LABEL)) -> bool:
    if not isinstance(value, dict) or not set(needed) <= value.keys() <= set(known):
        return False
    by_name = all(map(_is_word, value.values()))
    by_position = all(_is_position(place, -1 if name == LABEL else 0) for name, place in value.items())
    places = [place.lower() if by_name else place for place in value.values()] if by_name or by_position else []
    return bool(places) and len(set(places)) == len(places)


def _are_labels(value: Any) -> bool:
    return value == REGRESSION or (isinstance(value, list) and len(value) >= 2 and all(map(_is_word, value))
                                   and len(set(value)) == len(value))


_FILE = 'the name of a .tsv or .csv file, relative to the folder of this one'
KEYS = {
    'name': Key(_is_name, "the task's name: letters, digits, - and _, at most 64, a letter or digit first"),
    'train': Key(_is_table, _FILE), 'dev': Key(_is_table, _FILE), 'test': Key(_is_table, _FILE, needed=False),
    'columns': Key(_are_columns, '{"text_a": ..., "text_b": ..., "label": ...} (text_b for pairs), all different names of '
                                 'columns, or all their positions from 0 on (label: -1 for the last)'),
    'test_columns': Key(lambda value: _are_columns(value, ('text_a',), TEXTS),
                        '{"text_a": ..., "text_b": ...}, positions in the test file where they are others', needed=False),
    'header': Key(lambda value: isinstance(value, bool), 'true or false: whether the first row is one', needed=False),
    'labels': Key(_are_labels, 'a list of two or more different words ("0", not 0), or "regression"'),
    'metric': Key(lambda value: isinstance(value, str) and value in METRICS, f'one of {", ".join(METRICS)}'),
    'ptp_thresholds': Key(are_thresholds, '[t1, t2], both from 0 to 1', needed=False),
}


def define_task(file: str) -> GlueTask:
    """Add the task of a file to the table. FileNotFoundError, or an InputError in one line that names all that is wrong."""
    path = path_of(file)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file; it is to define a task, as README.md says')
    path = path.resolve()
    task = _task(path, read_json_object(path, 'the definition of a task'), str(path))
    add_task(task)
    return task


def task_of_flags(name: str | None, task_config: str | None) -> GlueTask | None:
    """The task that --task_config defines, which --task may name too, else the one that --task names; None without both.

    InputError in one line that names the flag."""
    if task_config is None:
        return find_task(name) if name else None
    try:
        task = define_task(task_config)
    except (InputError, OSError) as error:
        raise InputError(f'--task_config {error}') from None
    if name and name.strip().lower() != task.name.lower():
        raise InputError(f'--task {name} contradicts --task_config {task_config}, which defines {task.name}')
    return task


def task_of_run(folder: Path, record: dict) -> GlueTask:
    """The task of a run (run.json) in a folder: as its own file defined it when the run was made, or one of GLUE."""
    definition = record['arguments'].get('task_config')
    if definition is None:
        return find_task(record['task'])
    where = f'{folder / RECORD}: task_config'
    if not isinstance(definition, dict) or not isinstance(definition.get('file'), str):
        raise InputError(f'{where}: not the definition of a task')
    task = _task(Path(definition['file']), without_file(definition), where)
    add_task(task)
    return task


def tell_changes(task: GlueTask, what: str) -> None:
    """Warn when the file that defined a run's task says something else by now, or is not one any more."""
    path = Path(task.definition['file']) if task.definition else None
    if path is None or not path.is_file():
        return
    try:
        found = differences(without_file(task.definition), read_json_object(path, 'the definition of a task'))
    except InputError as error:
        found = [str(error)]
    if found:
        logger.warning('warning: %s has changed since %s was made: %s; the run keeps to what it said then', path, what,
                       '; '.join(found))


def other_definition(task: GlueTask, arguments: dict) -> list[str]:
    """What differs, in words, between how a task is defined and how it was in the arguments of a run."""
    earlier = arguments.get('task_config')
    return differences(without_file(earlier or {}), without_file(task.definition or {}))


def _task(path: Path, content: dict, where: str) -> GlueTask:
    """The row of the table that a file's content makes; where: what messages begin with."""
    problems = [f'unknown key {name!r}; keys are {", ".join(KEYS)}' for name in content if name not in KEYS]
    problems += [f'{name} is missing: {key.words}' for name, key in KEYS.items() if key.needed and name not in content]
    problems += [f'{name} {_short(content[name])}: must be {key.words}' for name, key in KEYS.items()
                 if name in content and not key.fits(content[name])]
    problems = problems or _contradictions(content)
    if problems:
        raise InputError(f'{where}: {"; ".join(problems)}')
    columns, labels = content['columns'], content['labels']
    in_test = content.get('test_columns', columns)
    return GlueTask(
        content['name'], None if labels == REGRESSION else tuple(labels), folder=str(path.parent),
        labelled=_layout(columns, content, columns[LABEL]), unlabelled=_layout(in_test, content),
        train_files=(content['train'],), dev_files=(content['dev'],),
        test_files=(content['test'],) if 'test' in content else (), metric=METRICS[content['metric']][0],
        score_range=(-math.inf, math.inf), definition={'file': str(path), **content},
        ptp_thresholds=tuple(content['ptp_thresholds']) if 'ptp_thresholds' in content else None)


def _layout(columns: dict, content: dict, label: str | int | None = None) -> Layout:
    def column(place: str | int | None) -> Column | None:
        if place is None:
            return None
        return Column(place, None) if isinstance(place, str) else Column(None, place)
    return Layout(column(columns['text_a']), column(columns.get('text_b')), column(label),
                  None if isinstance(columns['text_a'], str) else content['header'])


def _contradictions(content: dict) -> list[str]:
    """What is wrong with values that fit, each for itself."""
    taken, problems = SPELLINGS.get(content['name'].lower()), []
    if taken and taken.definition is None:
        problems.append(f'name {content["name"]!r}: that is the built-in task {taken.name}; take another name')
    by_name = isinstance(content['columns']['text_a'], str)
    if by_name and content.get('header') is False:
        problems.append('header false: columns named by words need a header; give their positions')
    if not by_name and 'header' not in content:
        problems.append(f'header is missing, and columns are positions: {KEYS["header"].words}')
    test = content.get('test_columns')
    if test and (by_name or isinstance(test['text_a'], str)):
        problems.append('test_columns: for columns given by position; those named by words are found in the test file too')
    elif test and ('text_b' in test) != ('text_b' in content['columns']):
        problems.append('test_columns: must have as many texts as columns')
    metric, of_regression = METRICS[content['metric']]
    regression = content['labels'] == REGRESSION
    alike = ', '.join(word for word, (_, kind) in METRICS.items() if kind == regression)
    if of_regression != regression:
        problems.append(f'metric {content["metric"]!r}: labels {_short(content["labels"])} need one of {alike}')
    elif metric in OF_TWO_CLASSES and len(content['labels']) != 2:
        problems.append(f'metric {content["metric"]!r}: needs two labels, the second being the positive one, and there are '
                        f'{len(content["labels"])}')
    if regression and 'ptp_thresholds' in content:
        problems.append('ptp_thresholds: PTP has no meaning in regression')
    return problems


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f'{text[:57]}...'
