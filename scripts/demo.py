"""The main job: a teacher, its outputs, PTP, an SPS student and a plain one, then a table and a picture.

    python scripts/demo.py            on MRPC where it can be had, else on the built-in sample task
    python scripts/demo.py --task RTE

Runs the scripts as the README describes them. What an earlier call has done is not done again, and what was stopped goes
on. Writes data/outputs/demo/{task}/results.csv, results.md and demo.png.
"""
import argparse
import contextlib
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pandas as pd

import envs
import NLI_KD_training
import PTP
from BERT.pytorch_pretrained_bert.file_utils import InputError
from BERT.pytorch_pretrained_bert.writing import replace_file
from src.argument_parser import PTP as PTP_SCRIPT
from src.argument_parser import TEACHER, TRAIN, Parser, parse, recorded_arguments
from src.checkpoints import best_saved
from src.data_processing import TokenizedSplit, load_split
from src.dump_journal import DumpJournal
from src.earlier_runs import open_teacher, teacher_marks
from src.nli_data_processing import find_task, task_folder
from src.plots import plot_demo
from src.preparation import Setup, set_up
from src.run_log import read_run
from src.runs import find_inputs, input_marks, ptp_prefix
from src.speed import sentences_a_second
from src.stage_runner import run_child
from src.summary import markdown
from src.teacher_outputs import TeacherOutputs, confidence_and_correct, result_file, teacher_folder
from src.training_state import STATE_FILE
from src.utils import run_script

CHECKPOINT, LAYERS, STUDENT_LAYERS, SEED = 'minilm-l6', 6, 3, 1
KEEP_BEST = ['--saving_criterion_acc=-1', '--saving_criterion_loss', '100']


def main() -> None:
    """Choose the task, run the stages, report."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--task', help='MRPC where it can be had, else Sample')
    task = find_task(parser.parse_args().task or choose_task())
    if task.built_in and not _has_files(task.name):
        _call('data/data_raw/make_sample_data.py')
    common = ['--task', task.name, '--bert_model', CHECKPOINT]
    teacher = [*common, '--teacher_hidden_layers', str(LAYERS)]
    student = [*teacher, '--recommended', '--student_hidden_layers', str(STUDENT_LAYERS), *KEEP_BEST]

    runs = {'teacher': train([*common, '--recommended', '--train_type', 'ft', '--student_hidden_layers', str(LAYERS),
                              '--train_seed', str(SEED), *KEEP_BEST])}
    save_teacher_outputs(teacher)
    encoder = pretrain([*student, '--model_type', 'SPS', '--PTP_seed', str(SEED)])
    pkd = [*student, '--train_type', 'pkd', '--train_seed', str(SEED)]
    runs['SPS + PTP student'] = train([*pkd, '--model_type', 'SPS', '--load_model', str(encoder)])
    runs['plain PKD student'] = train([*pkd, '--model_type', 'Original'])
    report(task, runs)


def choose_task() -> str:
    """MRPC where its files are or can be downloaded; otherwise the built-in sample, saying so."""
    if _has_files('MRPC'):
        return 'MRPC'
    if not _results('Sample').is_file():       # an earlier call has tried the download
        print('looking for MRPC ...', flush=True)
        script = str(envs.PROJECT_FOLDER / 'data/data_raw/download_glue_data.py')
        if subprocess.run([sys.executable, script, '--tasks', 'MRPC'], capture_output=True).returncode == 0:
            return 'MRPC'
    print('MRPC cannot be had here (no PEAKD_GLUE folder with it, no download): the demo runs on the built-in sample task',
          flush=True)
    return 'Sample'


def _results(task_name: str) -> Path:
    return envs.OUTPUTS_FOLDER / 'demo' / task_name / 'results.csv'


def _has_files(name: str) -> bool:
    folder = task_folder(find_task(name))
    return all((folder / f'{split}.tsv').is_file() for split in ('train', 'dev', 'test'))


def _call(script: str, *flags: str, stopped: bool = False) -> None:
    """Run a script; stopped: it goes on from where it was, or, where that was made otherwise, starts anew. Where it fails
    the demo ends, with its code."""
    code = _run(script, *flags, '--resume') if stopped else None
    if code in (None, 2):
        code = _run(script, *flags)
    if code:
        sys.exit(code)


def _run(script: str, *flags: str) -> int:
    print('$ python', script, *flags, flush=True)
    return run_child([sys.executable, str(envs.PROJECT_FOLDER / script), *flags], dict(os.environ))


def train(flags: list[str]) -> Path:
    """NLI_KD_training.py, unless its folder holds a finished run with these flags; returns the folder."""
    args = parse(TRAIN, '', flags)
    folder = NLI_KD_training.run_folder(args, find_task(args.task), args.student_hidden_layers, SEED)
    _run_once(TRAIN, flags, args, folder)
    return folder


def pretrain(flags: list[str]) -> Path:
    """PTP.py likewise; returns the encoder file that starts the student."""
    args = parse(PTP_SCRIPT, '', flags)
    folder = PTP.run_folder(args, find_task(args.task))
    name = ptp_prefix(args, args.student_hidden_layers)
    _run_once(PTP_SCRIPT, flags, args, folder / name)
    return folder / f'{name}.encoder.pkl'


def _run_once(script: str, flags: list[str], args: argparse.Namespace, folder: Path) -> None:
    run = read_run(folder)
    if run and run['arguments'] == recorded_arguments(args) and run['inputs'] == _inputs(args):
        print(f'done before: {script} in {folder}')
        return
    _call(script, *flags, stopped=(folder / STATE_FILE).is_file())


def _inputs(args: argparse.Namespace) -> dict:
    task = find_task(args.task)
    teacher = None if args.train_type == 'ft' and 'PTP_seed' not in args else open_teacher(args, task, states=False)
    setup = set_up(args)
    inputs = find_inputs(args, task, setup)
    return input_marks(args, inputs, task, _split(args, setup, 'train'), _split(args, setup, 'dev'), teacher)


def _split(args: argparse.Namespace, setup: Setup, name: str) -> TokenizedSplit:
    return load_split(find_task(args.task), name, setup.tokenizer, args.max_seq_length)


def save_teacher_outputs(flags: list[str]) -> None:
    """save_teacher_outputs.py, unless its file was made from the teacher as it is."""
    args = parse(TEACHER, '', flags)
    task = find_task(args.task)
    path = result_file(task, LAYERS, patient=True)
    encoder, classifier = best_saved(teacher_folder(task, LAYERS))
    marks = teacher_marks(encoder, classifier)
    with contextlib.suppress(InputError, FileNotFoundError):
        outputs = TeacherOutputs.open(path)
        outputs.check('train', _split(args, set_up(args), 'train'))
        if marks.items() <= outputs.metadata.items():
            print(f'done before: {TEACHER} in {path}')
            return
    # Nothing is left to the script's constants, which may have been edited.
    _call(TEACHER, *flags, '--encoder_checkpoint', str(encoder), '--cls_checkpoint', str(classifier), '--all_layers', 'True',
          stopped=DumpJournal(path).unfinished())


def report(task, runs: dict[str, Path]) -> None:
    """Print the table and save it, and the picture, in data/outputs/demo/{task}."""
    folder = _results(task.name).parent
    ptp = read_run(teacher_folder(task, LAYERS) / f'PTP.SPS_{STUDENT_LAYERS}layer')
    rows = [table_row(name, run_folder, ptp['seconds'] if 'PTP' in name else 0) for name, run_folder in runs.items()]
    table = pd.DataFrame(rows)
    with replace_file(folder / 'results.csv') as temporary:
        table.to_csv(temporary, index=False)
    with replace_file(folder / 'results.md') as temporary:
        temporary.write_text(markdown(table) + '\n', encoding='utf-8')
    teacher = TeacherOutputs.open(result_file(task, LAYERS, patient=True))
    plot_demo(folder / 'demo.png', runs, *confidence_and_correct(teacher, 'train'), tuple(ptp['thresholds']))
    print(f'\n{task.name}, dev scores at the best step by {task.metric}, seed {SEED}\n\n{markdown(table)}\n')
    print(f'saved in {folder}: results.csv, results.md, demo.png')


def table_row(name: str, folder: Path, seconds_before: float) -> dict:
    """A finished run as a row of the table; seconds_before: of the PTP that it started from."""
    run = read_run(folder)
    best = {key: round(value, 4) for key, value in run['dev_saved'].items() if key != 'global_step'}
    return {'model': name, 'stored layers': run['layers'], 'passes': len(run['passes']), 'parameters': run['parameters'],
            **{f'dev {key}': value for key, value in best.items()},
            'seconds to train': round(run['seconds'] + seconds_before),
            'sentences a second': sentences_a_second(folder)}


if __name__ == '__main__':
    run_script(main, alone=True)
