"""Compare methods on GLUE, and score, sum up or submit what has been trained.

    python run_glue_benchmark.py --mode teacher --tasks MRPC,RTE --teacher_hidden_layers 12
    python run_glue_benchmark.py --mode compare --bert_model minilm-l6 --tasks MRPC --methods pkd,sps,sps+ptp --layers 3
    python run_glue_benchmark.py --mode compare --bert_model minilm-l6 --tasks MRPC --methods pkd,sps --layers 3 \\
        --grid learning_rate=5e-5,1e-4 alpha=0.5,0.7 --set num_train_epochs=4 teacher.num_train_epochs=3
    python run_glue_benchmark.py --mode summary
    python run_glue_benchmark.py --mode evaluate
    python run_glue_benchmark.py --mode submit
    python run_glue_benchmark.py --mode submit --runs data/outputs/PeaKD/MRPC/pkd_SPS_3layer_...

teacher writes the result files of several teachers, as save_teacher_outputs.py does; its other flags serve too.

Both take --task_config my_task.json ..., files that define tasks of your own, for --tasks.

compare runs tasks x methods x depths x seeds, and settings: each flag of --grid is a further axis, each of --set has one
value. A flag is the student's; with `ptp.` or `teacher.` before it, that stage's. --grid divides values at commas, or at
semicolons where there is one: --grid 'fc_layer_idx=1,3;3,5'. Teachers, their result files and PTP encoders are made once.
--teacher_folds K: K further teachers, each without a fold of train, make PTP's labels.
One row a run goes to results.csv in --output_dir; the same command goes on where it was stopped. Exit code 1: some cells
failed; the table has their errors.

summary makes of results.csv: means and spreads over seeds, differences to PKD paired by seed, a chart; with --best the
settings that the scores have chosen, too.

evaluate prints, and saves as CSV, the dev scores of each run's best saved model, a row for each of MNLI's two dev sets. A
run that it finds and cannot read is left out with a warning; one that --runs names stops it.
submit writes test predictions (where --runs names none, of the best run of each task by its metric on dev, or on the
holdout where all its runs have the same; compare's students whose weights it kept are among them) as MRPC.tsv, MNLI-m.tsv,
... and one zip, into data/outputs/predictions; a model of MNLI predicts MNLI-mm and the diagnostic set (AX) too. Of these
further sets those whose files are missing are left out.

Flags of a mode: --mode compare --help
"""
import argparse
import logging
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pandas as pd

import envs
import save_teacher_outputs
from BERT.pytorch_pretrained_bert import BertConfig
from BERT.pytorch_pretrained_bert.file_utils import InputError, checkpoint_folder, config_file, path_of
from BERT.pytorch_pretrained_bert.writing import replace_file
from src.argument_parser import Parser
from src.compare import CELLS_FAILED, KEEP_WEIGHTS, compare, source_marks
from src.custom_tasks import task_of_flags, task_of_run
from src.distributed import from_main, is_main, world_size
from src.grid import BASES, COMMON, METHODS, OF_SOME_METHODS, TEACHER_CHECKPOINTS, Grid, parse_axes, parse_fixed
from src.nli_data_processing import TASKS, GlueTask, also_served, find_task
from src.saved_runs import SavedRun, best_runs, finished_record, finished_runs, leaving_out_unreadable, load_run
from src.stopping import Stopped
from src.submission import write_predictions, write_zip
from src.summary import summarise
from src.utils import refuse_several, run_script

logger = logging.getLogger(__name__)


def comma_list(kind: Callable[[str], Any], words: str) -> Callable[[str], tuple]:
    """A flag's type: values between commas, each once; `words` says what they are."""
    def convert(text: str) -> tuple:
        try:
            return tuple(dict.fromkeys(kind(part) for part in text.split(',')))
        except (ValueError, argparse.ArgumentTypeError):
            raise argparse.ArgumentTypeError(f'{text!r}: must be {words}, commas between them') from None
    return convert


def whole_number(least: int) -> Callable[[str], int]:
    """A flag's type: a whole number from `least` on."""
    def convert(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f'{text!r}: must be a whole number from {least} on')
        return int(text)
    return convert


def method_name(text: str) -> str:
    """A flag's type: one of the methods."""
    if text not in METHODS:
        raise ValueError
    return text


TASK_NAMES = comma_list(lambda text: find_task(text).name, f'among {", ".join(task.name for task in TASKS.values())}, or '
                        'defined by --task_config')
COUNTS = comma_list(whole_number(1), 'whole numbers from 1 on')
SEEDS = comma_list(whole_number(0), 'whole numbers from 0 on')
TASKS_FLAG = ('--tasks', '--task')
METHOD_NAMES = comma_list(method_name, f'among {", ".join(METHODS)}')


def main(argv: list[str] | None = None) -> None:
    """Do what --mode says."""
    args, rest = parse_flags(argv)
    if args.mode in ALONE:
        refuse_several(f'--mode {args.mode}')
    MODES[args.mode][1](args, rest)


def parse_flags(argv: list[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """The flags of the mode that --mode names, and those left for save_teacher_outputs.py."""
    first = Parser(add_help=False)
    first.add_argument('--mode', choices=MODES, default='evaluate', help='what to do (evaluate)')
    mode = first.parse_known_args(argv)[0].mode
    defined = define_tasks(own_tasks(argv)) if mode in TASKS_OF_ONES_OWN else []
    parser = Parser(parents=[first], description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    MODES[mode][0](parser)
    if defined:
        parser.set_defaults(tasks=tuple(task.name for task in defined))
    args, rest = parser.parse_known_args(argv)
    if rest and mode != 'teacher':
        raise InputError(f'{" ".join(rest)}: no such flag of --mode {mode}')
    return args, rest


def own_tasks(argv: list[str] | None) -> list[str]:
    """The files of --task_config, which is read before all other flags: --tasks may name what they define."""
    parser = Parser(add_help=False)
    parser.add_argument(*TASKS_FLAG)           # else --task would be short for --task_config
    parser.add_argument('--task_config', nargs='+', default=[])
    return parser.parse_known_args(argv)[0].task_config


def tasks_flags(parser: Parser) -> None:
    """The flags that name tasks."""
    parser.add_argument(*TASKS_FLAG, type=TASK_NAMES, default=('MRPC',),
                        help='tasks between commas (those that --task_config defines, else MRPC; for --mode teacher TASK of '
                             'save_teacher_outputs.py)')
    parser.add_argument('--task_config', nargs='+', default=[], metavar='FILE', help='JSON files that define tasks')


def define_tasks(files: list[str]) -> list[GlueTask]:
    """Add the tasks of --task_config to the table."""
    tasks = [task_of_flags(None, file) for file in files]
    names = [task.name.lower() for task in tasks]
    if len(set(names)) < len(names):
        raise InputError(f'--task_config {" ".join(files)}: two of the files define a task of one name')
    return tasks


def teacher_flags(parser: Parser) -> None:
    """Flags of --mode teacher."""
    tasks_flags(parser)
    parser.set_defaults(tasks=(save_teacher_outputs.TASK,))
    parser.add_argument('--teacher_hidden_layers', type=COUNTS, default=(None,),
                        help='depths of teachers (TEACHER_LAYERS of save_teacher_outputs.py)')


def save_teachers(args: argparse.Namespace, rest: list[str]) -> None:
    """save_teacher_outputs.py for each task and depth, all flags and that their files are there checked first."""
    calls = [[*(f'--{flag}={value}' for flag, value in find_task(task).flags.items()),
              *([f'--teacher_hidden_layers={layers}'] if layers else []), *rest]
             for task in args.tasks for layers in args.teacher_hidden_layers]
    parsed = [save_teacher_outputs.parse_flags(call) for call in calls]
    if len(calls) > 1 and any(of_call.teacher_prediction for of_call in parsed):
        raise InputError(f'--teacher_prediction names one file for {len(calls)} teachers; leave it out')
    problems = []
    for of_call in parsed:
        try:
            save_teacher_outputs.check_files(of_call, find_task(of_call.task))
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise InputError('; '.join(dict.fromkeys(problems)))
    for call in calls:
        save_teacher_outputs.main(call)


def compare_flags(parser: Parser) -> None:
    """Flags of --mode compare."""
    add = parser.add_argument
    tasks_flags(parser)
    add('--methods', type=METHOD_NAMES, default=tuple(METHODS), help=f'of {",".join(METHODS)} (all)')
    add('--base', choices=BASES, help='what sps_no_shuffle, sps, ptp and sps+ptp learn by (pkd)')
    add('--layers', type=COUNTS, default=(1, 2, 3), help='stored layers of students (1,2,3)')
    add('--seeds', type=SEEDS, default=(1, 2, 3), help='(1,2,3)')
    add('--grid', nargs='+', action='extend', default=[], metavar='NAME=VALUE,VALUE', help='flags with several values')
    add('--set', nargs='+', action='extend', default=[], metavar='NAME=VALUE', help='flags with one value')
    add('--recommended', action=argparse.BooleanOptionalAction, default=True,
        help='settings of src/recommended_settings.py where --grid and --set have none')
    add('--bert_model', default='bert_base_uncased', help='pretrained checkpoint, as of NLI_KD_training.py')
    add('--teacher_layers', type=whole_number(1), help="the teacher's layers; all of the checkpoint's")
    add('--teacher_seed', type=whole_number(0), help='(1)')
    add('--teacher_checkpoint', choices=TEACHER_CHECKPOINTS,
        help="the teacher's state that teaches: best dev metric, lowest dev loss, last step (acc)")
    add('--teacher_folds', type=whole_number(2),
        help="PTP's labels from so many further teachers, each row's from the one that has not learnt it")
    for name in COMMON:
        add(f'--{name}', help=f'--{name} of NLI_KD_training.py and PTP.py, for all runs')
    add('--output_dir', type=path_of, default=envs.COMPARE_FOLDER, help='results.csv and all runs (data/outputs/compare)')
    add('--jobs', type=whole_number(1), default=1, help='runs at a time, which share the cores (1)')
    add('--keep_weights', choices=KEEP_WEIGHTS, default='best', help='of which students: of each task the best, all, none')
    add('--retry_failed', action=argparse.BooleanOptionalAction, default=True, help='run failed cells again')


def run_comparison(args: argparse.Namespace, _) -> None:
    """Run what is missing of the comparison; exit code CELLS_FAILED when cells have failed."""
    try:
        failed = compare(make_grid(args), args.output_dir, args.jobs, args.keep_weights, args.retry_failed)
    except Stopped as stop:
        stop.advice = 'the same command goes on from here'
        raise
    if failed:
        sys.exit(CELLS_FAILED)


def make_grid(args: argparse.Namespace) -> Grid:
    """The comparison that the flags name, its data and checkpoint found."""
    common = {name: getattr(args, name) for name in COMMON if getattr(args, name) is not None}
    given = {name: getattr(args, name) for name in OF_SOME_METHODS if getattr(args, name) is not None}
    names = ('tasks', 'methods', 'layers', 'seeds', 'bert_model', 'recommended')
    config = BertConfig.from_json_file(config_file(checkpoint_folder(args.bert_model)))
    depth = config.num_hidden_layers
    return Grid(**{name: getattr(args, name) for name in names} | {'teacher_layers': depth} | given, given=tuple(given),
                checkpoint_layers=depth, max_rank=config.max_embedding_rank, common=common, fixed=parse_fixed(args.set),
                axes=parse_axes(args.grid), marks=source_marks(args.tasks, args.bert_model))


def summary_flags(parser: Parser) -> None:
    """Flags of --mode summary."""
    parser.add_argument('--results', nargs='+', type=path_of, metavar='FILE', default=[envs.COMPARE_FOLDER / 'results.csv'],
                        help='tables of compare (data/outputs/compare/results.csv)')
    parser.add_argument('--baseline', default='pkd', choices=METHODS, help='the method that others are compared with (pkd)')
    parser.add_argument('--all_settings', action='store_true', help='a row for every setting, not for the best alone')
    parser.add_argument('--best', action='store_true', help='first, the settings chosen, of how many, and by which scores')
    parser.add_argument('--output_dir', type=path_of, help='summary.md, summary.csv, summary.png; beside the first table')


def sum_up(args: argparse.Namespace, _) -> None:
    """Print and save the summary."""
    summarise(args.results, args.output_dir or args.results[0].parent, args.baseline, args.all_settings, args.best)


def run_flags(parser: Parser) -> None:
    """Flags of --mode evaluate and --mode submit."""
    parser.add_argument('--runs', nargs='+', type=path_of, metavar='FOLDER',
                        help='run folders; all under the outputs folder that have weights, but for teachers of compare')
    parser.add_argument('--output_dir', type=path_of, default=envs.PREDICTION_FOLDER, help='where results go')


def chosen_runs(args: argparse.Namespace) -> list[Path]:
    """--runs, or all runs that have ended."""
    folders = args.runs or finished_runs()
    if not folders:
        raise InputError(f'--runs: no finished run that has its weights under {envs.OUTPUTS_FOLDER}; train one with '
                         'NLI_KD_training.py')
    return folders


def name_of(folder: Path) -> str:
    """A run's folder, from the outputs folder on where it lies there."""
    path = folder.resolve()
    return str(path.relative_to(envs.OUTPUTS_FOLDER) if path.is_relative_to(envs.OUTPUTS_FOLDER) else path)


def evaluate(args: argparse.Namespace, _) -> None:
    """Dev scores of runs, a row for each dev set that a run's model serves, printed and saved as dev_scores.csv."""
    rows, output_dir, folders = [], args.output_dir, from_main(chosen_runs, args)
    for folder in folders:
        # Several processes would have to agree on what to leave out
        with nullcontext() if args.runs or world_size() > 1 else leaving_out_unreadable(folder):
            run = load_run(folder)
            rows += [{'task': task.name, 'run': name_of(folder), 'seed': run.record['seed'], **run.dev_scores(task)}
                     for task in (run.task, *also_served(run.task, 'dev'))]
    if not rows:
        raise InputError(f'none of the runs found ({len(folders)}) could be read; name one with --runs')
    table = pd.DataFrame(rows)
    if is_main():
        with replace_file(output_dir / 'dev_scores.csv') as temporary:
            table.to_csv(temporary, index=False)
    logger.info('%s\nsaved in %s', table.to_string(index=False), output_dir / 'dev_scores.csv')


def submit(args: argparse.Namespace, _) -> None:
    """Test predictions of runs in the leaderboard's form, each file checked, and all in submission.zip."""
    folders, output_dir = args.runs or from_main(lambda: best_runs(chosen_runs(args))), args.output_dir
    check_one_each(folders)
    files = [path for folder in folders for path in predict_test_sets(load_run(folder), output_dir)]
    if not files:
        raise InputError('--runs: none of the runs belongs to a task of the leaderboard')
    if is_main():
        write_zip(output_dir / 'submission.zip', files)
    logger.info('saved in %s', output_dir / 'submission.zip')


def check_one_each(folders: list[Path]) -> None:
    """InputError when two runs would write the same file, or a folder has no finished run."""
    predicted: dict[str, Path] = {}
    for folder in folders:
        task = task_of_run(folder, finished_record(folder))
        for name in (name for name in (task.name, *task.also) if find_task(name).submission_file):
            if name in predicted:
                raise InputError(f'--runs: {predicted[name]} and {folder} both predict {find_task(name).submission_file}; '
                                 'name one run a task')
            predicted[name] = folder


def predict_test_sets(run: SavedRun, output_dir: Path) -> list[Path]:
    """Predict the test set of a run's task, and those of other tasks that its model serves; returns the files."""
    paths = []
    for task in (run.task, *also_served(run.task, 'test')):
        if task.submission_file is None:
            logger.info('%s is no task of the leaderboard: left out; scripts/predict.py predicts its rows', task.name)
            continue
        split = run.tokens(task, 'test')
        if len(split) != task.test_rows:
            logger.warning('warning: %s: the test set has %d rows here, that of the leaderboard %d: it will refuse %s',
                           task.name, len(split), task.test_rows, task.submission_file)
        path = output_dir / task.submission_file
        logits = run.logits(split, f'{task.name} test')
        if is_main():
            write_predictions(path, task, logits)
        logger.info('%s: %d rows from %s', path.name, len(split), run.folder)
        paths.append(path)
    return paths


# mode -> what adds its flags, what does it
MODES = {'teacher': (teacher_flags, save_teachers), 'compare': (compare_flags, run_comparison),
         'summary': (summary_flags, sum_up), 'submit': (run_flags, submit), 'evaluate': (run_flags, evaluate)}

# The modes that have --task_config; in the others a run tells its task
TASKS_OF_ONES_OWN = ('teacher', 'compare')

# What works through processes of its own, as many as --jobs says, or has nothing to compute
ALONE = ('compare', 'summary')

if __name__ == '__main__':
    run_script(main)
