"""The study of docs/results.md, one part or all of it: which of the method's parts help, and by how much.

    python scripts/study.py                            all parts; goes on where it was stopped
    python scripts/study.py --parts labels,search      some of them
    python scripts/study.py --parts mrpc -- --jobs 2   flags after -- go to run_glue_benchmark.py as they are

A part is one or more calls of `run_glue_benchmark.py --mode compare` with one table, and a summary of it:
data/outputs/study/{part}/results.csv and summary.md. Parts that choose settings use seeds of their own, and a holdout of the
training set: dev is not looked at. The other parts take the recommended settings (src/recommended_settings.py: their rates
come from earlier runs, of seed 1 and 3 layers, that dev chose) where nothing else stands below.
"""
import argparse
import os
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import envs
from BERT.pytorch_pretrained_bert.file_utils import InputError
from BERT.pytorch_pretrained_bert.writing import replace_file
from src.argument_parser import Parser
from src.compare import CELLS_FAILED
from src.nli_data_processing import find_task, task_folder
from src.stage_runner import run_child
from src.utils import run_script

STUDY = envs.OUTPUTS_FOLDER / 'study'
SST2_ROWS = 20_000      # of SST-2's 67,349 training rows, drawn once

COMMON = ['--bert_model=minilm-l6']
# Dropout is the checkpoint's, as it was before the recommended settings of fine-tuning on MRPC did without
STUDENTS_DROPOUT = ['--set', 'eval_every=25', 'teacher.eval_every=25', 'dropout=None']
OF_SMALL_TASKS = [*STUDENTS_DROPOUT, 'teacher.dropout=None']
MRPC, RTE = ['--tasks=MRPC', *OF_SMALL_TASKS], ['--tasks=RTE', *OF_SMALL_TASKS]
HOLDOUT = ['--holdout=0.1']
SEARCH = [*HOLDOUT, '--keep_weights=none']
CLAIM = ['--methods=pkd,sps,sps+ptp']
RATES = ['--grid', 'learning_rate=5e-5,1e-4,2e-4']
PTP = ['--set', 'ptp.num_train_epochs=2']      # as in `labels`, and at the rate that was best there
SHORT_PTP = ['--set', 'ptp.num_train_epochs=1']     # of SST-2
LONG = ['--set', 'num_train_epochs=12']
SHUFFLED = ['--set', 'ptp.ptp_labels=shuffled']
# PTP that starts at its classes' frequencies, at five times the rate and for longer
PRIOR = ['--methods=sps+ptp', '--layers=3', *HOLDOUT, '--set', 'ptp.ptp_prior=True', 'ptp.learning_rate=5e-5',
         'ptp.num_train_epochs=3']
# SST-2 has rows enough for fewer epochs; each score is of more rows, so there can be fewer of them.
SST2 = ['--tasks=SST-2', '--holdout=0.05', '--set', 'eval_every=100', 'teacher.eval_every=100', 'num_train_epochs=3',
        'teacher.num_train_epochs=3']
WHOLE_SST2 = ['--tasks=SST-2', '--holdout=0.05', '--set', 'eval_every=400', 'teacher.eval_every=400', 'num_train_epochs=2',
              'teacher.num_train_epochs=2']
RANKS = ['--methods=sps', '--layers=3', '--seeds=1,2,3', '--grid', 'embedding_rank=None,32,128']

# part -> calls of compare
PARTS: dict[str, list[list[str]]] = {
    # Whose predictions make good labels for PTP, and how much of PTP?
    'labels': [[*MRPC, f'--methods={methods}', '--layers=3', '--seeds=11,12', *SEARCH, *labels,
                '--grid', f'ptp.learning_rate={rates}', '--set', 'ptp.num_train_epochs=2']
               for labels, methods, rates in ((['--teacher_checkpoint=acc'], 'sps,sps+ptp', '1e-5'),
                                              (['--teacher_folds=3'], 'sps+ptp', '1e-5,3e-5'),
                                              (['--teacher_checkpoint=loss'], 'sps,sps+ptp', '1e-5'),
                                              (['--teacher_checkpoint=acc'], 'sps+ptp', '5e-5'))]
              + [[*MRPC, '--methods=sps+ptp', '--layers=3', '--seeds=11,12', *SEARCH, *PTP, '--teacher_checkpoint=loss',
                  '--grid', 'ptp.ptp_threshold=median']],
    # The rate of students, of which the recommended one was found at 3 layers and by dev
    'search': [[*MRPC, '--methods=pkd,sps', '--layers=1,2,3', '--seeds=11', *SEARCH, *RATES],
               [*MRPC, '--methods=sps_no_shuffle', '--layers=3', '--seeds=11', *SEARCH, '--grid', 'learning_rate=2e-4']],
    # Does it take longer to learn? Twice the recommended epochs
    'search_epochs': [[*MRPC, '--methods=pkd,sps', '--layers=3,2', '--seeds=11', *SEARCH, *LONG,
                       '--grid', 'learning_rate=5e-5,2e-5']],
    # The rate of the other methods at 3 layers. In fp32, for its rows in docs/results.md were made on a CPU without bf16
    'search_others': [['--tasks=MRPC', '--methods=ft', '--layers=3', '--seeds=11', *SEARCH, '--set', 'eval_every=25',
                       'dropout=None', 'precision=fp32', '--grid', 'learning_rate=2e-5,5e-5,1e-4,2e-4'],
                      [*MRPC, '--methods=kd,sps_no_shuffle,ptp,sps+ptp', '--layers=3', '--seeds=11', *SEARCH, *PTP, *RATES,
                       '--set', 'precision=fp32']],
    'search_sst2': [[*SST2, *CLAIM, f'--layers={layers}', '--seeds=11', '--keep_weights=none', *SHORT_PTP,
                     *RATES] for layers in (3, 2, 1)],
    # Which layers of the checkpoint should start students of 1 and 2 layers?
    'starts': [[*MRPC, '--methods=pkd,sps', f'--layers={layers}', '--seeds=11', *SEARCH,
                '--grid', f'layer_initialization={starts}'] for layers, starts in ((2, '1,2;1,4;2,4;3,6'), (1, '1;3;6'))],
    # How do the thresholds matter?
    'thresholds': [[*MRPC, '--methods=sps+ptp', '--layers=3', '--seeds=11,12', *SEARCH, *PTP,
                    '--grid', 'ptp.ptp_threshold=None;median;0.5;0.7;0.8;0.9;0.95;0.99']],
    # Does PTP help where the student has learnt what it asks?
    'learnt': [[*MRPC, '--methods=sps+ptp', '--layers=3', '--seeds=11,12', *SEARCH, '--set', 'ptp.ptp_threshold=median',
                'ptp.learning_rate=5e-5', '--grid', 'ptp.num_train_epochs=3,6']],
    # Does it where its head starts at the frequencies of the classes?
    'search_prior': [[*MRPC, *PRIOR, '--seeds=11,12', '--keep_weights=none']],
    'prior': [[*MRPC, *PRIOR, '--seeds=1,2,3,4,5']],
    # The methods side by side: first those that the paper's claim is about, then all
    'mrpc': [[*MRPC, '--seeds=1,2,3,4,5', *HOLDOUT, *PTP, *methods] for methods in (CLAIM, [])],
    'rte': [[*RTE, '--seeds=1,2,3,4,5', *HOLDOUT, *PTP, *methods] for methods in (CLAIM, [])],
    'sst2': [[*SST2, '--seeds=1,2,3', *SHORT_PTP, *cells]
             for cells in ([*CLAIM, '--layers=3'], CLAIM, [])],
    # Twice the epochs, with seeds of the claim
    'mrpc_epochs': [[*MRPC, '--methods=pkd,sps', '--layers=3', '--seeds=1,2,3', *HOLDOUT, *LONG]],
    # All rows of SST-2: the claim's cells at 3 layers
    'sst2_whole': [[*WHOLE_SST2, '--seeds=1,2,3', *CLAIM, '--layers=3', *SHORT_PTP]],
    # What PTP does where its labels tell nothing of a row
    'control_mrpc': [[*MRPC, '--methods=sps+ptp', '--layers=3', '--seeds=1,2,3,4,5', *HOLDOUT, *PTP, *SHUFFLED]],
    'control_sst2': [[*SST2, '--methods=ptp,sps+ptp', '--layers=1', '--seeds=1,2,3', *SHORT_PTP, *SHUFFLED]],
    # As the paper has it: dev chooses the state
    'mrpc_dev': [[*MRPC, '--seeds=1,2,3,4,5', *PTP, *methods] for methods in (CLAIM, [])],
    # Is it depth or numbers that small students lack? Plain ones of more layers, and two layers that run three times
    'depth': [[*MRPC, '--seeds=1,2,3', *HOLDOUT, *cells] for cells in (
        ['--methods=sps', '--layers=2', '--set', 'passes=1,2,1x,2x,1,2'], ['--methods=pkd', '--layers=4,5'])],
    # PTP's labels of teachers that have not learnt the rows, for the seeds of the claim
    'folds': [[*MRPC, '--methods=sps+ptp', '--layers=3', '--seeds=1,2,3,4,5', *HOLDOUT, *PTP, '--teacher_folds=3']],
    # The teacher as it is recommended now, without dropout
    'teacher': [['--tasks=MRPC', *STUDENTS_DROPOUT, *CLAIM, '--layers=3', '--seeds=1,2,3', *HOLDOUT, *PTP]],
    # What fewer numbers for the word embeddings cost
    'ranks_mrpc': [[*MRPC, *HOLDOUT, *RANKS]],
    'ranks_sst2': [[*SST2, *RANKS]],
}
# Those whose flags begin with *SST2
ON_PART_OF_SST2 = {part for part, calls in PARTS.items() if calls[0][:len(SST2)] == SST2}


def main(argv: list[str] | None = None) -> None:
    """Run the parts."""
    argv = sys.argv[1:] if argv is None else argv
    own, further = (argv[:argv.index('--')], argv[argv.index('--') + 1:]) if '--' in argv else (argv, [])
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--parts', default=','.join(PARTS), help=f'between commas, of {",".join(PARTS)} (all)')
    parts = parser.parse_args(own).parts.split(',')
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        raise InputError(f'--parts {",".join(unknown)}: must be among {", ".join(PARTS)}')
    failed = [part for part in parts if run_part(part, further)]
    if failed:
        print(f'cells of {", ".join(failed)} have failed: results.csv has their errors, unless there is one above; the same '
              'command tries again', file=sys.stderr)
        sys.exit(CELLS_FAILED)


def run_part(part: str, further: list[str]) -> bool:
    """The calls of compare that are a part, and its summary; returns whether cells have failed. InputError when a call ends
    otherwise."""
    folder, environment = STUDY / part, dict(os.environ)
    if part in ON_PART_OF_SST2:
        environment['PEAKD_GLUE'] = str(part_of_sst2(STUDY / 'data'))
    calls = [['--mode=compare', *COMMON, *call, *further] for call in PARTS[part]]
    calls.append(['--mode=summary', f'--results={folder / "results.csv"}', '--best', '--all_settings'])
    codes = set()
    for number, call in enumerate(calls, start=1):
        print(f'study, part {part}, call {number} of {len(calls)}: run_glue_benchmark.py {" ".join(call)}', flush=True)
        code = run_child([sys.executable, str(envs.PROJECT_FOLDER / 'run_glue_benchmark.py'), *call,
                          f'--output_dir={folder}'], environment)
        if code not in (0, CELLS_FAILED) and not (number == len(calls) and codes == {CELLS_FAILED}):     # nothing to sum up
            raise InputError(f'part {part}: call {number} ended with exit code {code}; the same command goes on from there')
        codes.add(code)
    return CELLS_FAILED in codes


def part_of_sst2(folder: Path) -> Path:
    """A GLUE folder whose SST-2 has SST2_ROWS of the training rows and all others; returns it."""
    source, target = task_folder(find_task('SST-2')), folder / 'SST-2'
    for name in ('train.tsv', 'dev.tsv', 'test.tsv'):
        header, *lines = (source / name).read_bytes().removesuffix(b'\n').split(b'\n')
        if name == 'train.tsv':
            if len(lines) < SST2_ROWS:
                raise InputError(f'{source / name}: {len(lines):,} rows; the study takes {SST2_ROWS:,} of them')
            lines = random.Random(0).sample(lines, SST2_ROWS)
        with replace_file(target / name) as temporary:
            temporary.write_bytes(b''.join(line + b'\n' for line in (header, *lines)))
    return folder


if __name__ == '__main__':
    run_script(main, alone=True)
