"""Score saved runs on dev, or predict the test sets for the GLUE leaderboard.

    python run_glue_benchmark.py --mode evaluate
    python run_glue_benchmark.py --mode submit
    python run_glue_benchmark.py --mode submit --runs data/outputs/PeaKD/MRPC/pkd_SPS_3layer_...

evaluate prints, and saves as CSV, the dev scores of each run's best saved model, a row for each of MNLI's two dev sets.
submit writes test predictions (where --runs names none, of the best run of each task by its metric on the holdout, or on
dev) as MRPC.tsv, MNLI-m.tsv, ... and one zip, into data/outputs/predictions; a model of MNLI predicts MNLI-mm and the
diagnostic set (AX) too. Of these further sets those whose files are missing are left out.
"""
import argparse
import logging
from pathlib import Path

import pandas as pd

import envs
from BERT.pytorch_pretrained_bert.file_utils import InputError
from src.nli_data_processing import also_served, find_task
from src.run_log import read_run
from src.saved_runs import SavedRun, best_runs, finished_runs, load_run
from src.submission import write_predictions, write_zip
from src.utils import replace_file, run_script

logger = logging.getLogger(__name__)


def main(argv: list[str] | None = None) -> None:
    """Find the runs and do what --mode says with them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--mode', choices=('evaluate', 'submit'), default='evaluate', help='what to do (evaluate)')
    parser.add_argument('--runs', nargs='+', type=Path, metavar='FOLDER', help='run folders; all under the outputs folder')
    parser.add_argument('--output_dir', type=Path, default=envs.PREDICTION_FOLDER, help='where results go')
    args = parser.parse_args(argv)
    folders = args.runs or finished_runs()
    if not folders:
        raise InputError(f'--runs: no finished run under {envs.OUTPUTS_FOLDER}; train one with NLI_KD_training.py')
    if args.mode == 'evaluate':
        evaluate(folders, args.output_dir)
    else:
        submit(args.runs or best_runs(folders), args.output_dir)


def evaluate(folders: list[Path], output_dir: Path) -> None:
    """Dev scores of runs, a row for each dev set that a run's model serves, printed and saved as dev_scores.csv."""
    rows = []
    for folder in folders:
        run = load_run(folder)
        rows += [{'task': task.name, 'run': folder.name, 'seed': run.record['seed'], **run.dev_scores(task)}
                 for task in (run.task, *also_served(run.task, 'dev'))]
    table = pd.DataFrame(rows)
    with replace_file(output_dir / 'dev_scores.csv') as temporary:
        table.to_csv(temporary, index=False)
    logger.info('%s\nsaved in %s', table.to_string(index=False), output_dir / 'dev_scores.csv')


def submit(folders: list[Path], output_dir: Path) -> None:
    """Test predictions of runs in the leaderboard's form, each file checked, and all in submission.zip."""
    check_one_each(folders)
    files = [path for folder in folders for path in predict_test_sets(load_run(folder), output_dir)]
    if not files:
        raise InputError('--runs: none of the runs belongs to a task of the leaderboard')
    write_zip(output_dir / 'submission.zip', files)
    logger.info('saved in %s', output_dir / 'submission.zip')


def check_one_each(folders: list[Path]) -> None:
    """InputError when two runs would write the same file."""
    predicted: dict[str, Path] = {}
    for folder in folders:
        task = find_task((read_run(folder) or {}).get('task', 'MRPC'))
        for name in (task.name, *task.also):
            if name in predicted:
                raise InputError(f'--runs: {predicted[name]} and {folder} both predict {find_task(name).submission_file}; '
                                 'name one run a task')
            predicted[name] = folder


def predict_test_sets(run: SavedRun, output_dir: Path) -> list[Path]:
    """Predict the test set of a run's task, and those of other tasks that its model serves; returns the files."""
    paths = []
    for task in (run.task, *also_served(run.task, 'test')):
        if task.submission_file is None:
            logger.info('%s is no task of the leaderboard: left out', task.name)
            continue
        split = run.tokens(task, 'test')
        path = output_dir / task.submission_file
        write_predictions(path, task, run.logits(split, f'{task.name} test'))
        logger.info('%s: %d rows from %s', path.name, len(split), run.folder)
        paths.append(path)
    return paths


if __name__ == '__main__':
    run_script(main)
