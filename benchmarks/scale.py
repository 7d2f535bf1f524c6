"""What work costs as it grows: tokenising, start, dump, PTP and PKD on 20,000 and on 400,000 synthetic rows.

    python benchmarks/scale.py

Writes both sets in QQP's format into a temporary folder, with a random BERT of 6 layers of width 128, small so that what
is measured is the handling of data and not matrix products, and runs the real scripts on them, each in a process of its
own. The last line is one JSON object.
"""
import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from BERT.pytorch_pretrained_bert import BertConfig, BertModel
from src.argument_parser import Parser
from src.utils import run_script

FEW, MANY, DEV_ROWS, STEPS, BATCH, LAYERS = 20_000, 400_000, 400, 800, 32, 6
SYLLABLES = [a + b for a in ('b', 'd', 'f', 'k', 'l', 'm', 'n', 'p', 'r', 's', 't', 'v') for b in 'aeiou']


def words() -> list[str]:
    """30,000 made-up words of two to four syllables."""
    rng, chosen = random.Random(0), {}
    while len(chosen) < 30_000:
        chosen[''.join(rng.choices(SYLLABLES, k=rng.choice((2, 3, 3, 4))))] = None
    return list(chosen)


def write_checkpoint(folder: Path, vocabulary: list[str]) -> None:
    """A random BERT whose vocabulary has half of the words whole and all syllables as pieces."""
    folder.mkdir(parents=True)
    tokens = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', '.', ',', '?', *vocabulary[::2], *SYLLABLES,
              *(f'##{syllable}' for syllable in SYLLABLES)]
    tokens = list(dict.fromkeys(tokens))
    (folder / 'vocab.txt').write_text('\n'.join(tokens) + '\n', encoding='utf-8')
    config = BertConfig(len(tokens), 128, LAYERS, 2, 512)
    (folder / 'config.json').write_text(json.dumps(config.to_dict()), encoding='utf-8')
    torch.manual_seed(0)
    torch.save(BertModel(config).state_dict(), folder / 'pytorch_model.bin')


def write_task(folder: Path, rows: int, vocabulary: list[str]) -> None:
    """QQP's files: `rows` rows to train on, of MNLI's lengths, words as frequent as in real text (Zipf)."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(rows)
    weights = 1 / np.arange(10, len(vocabulary) + 10)
    words = np.array(vocabulary, dtype=object)

    def texts(count: int, mean: float) -> list[str]:
        lengths = 3 + rng.poisson(rng.gamma(2, mean / 2, count))
        chosen = words[rng.choice(len(words), lengths.sum(), p=weights / weights.sum())]
        return [' '.join(part) + '.' for part in np.split(chosen, np.cumsum(lengths)[:-1])]

    for split, count in (('train', rows), ('dev', DEV_ROWS), ('test', DEV_ROWS)):
        with open(folder / f'{split}.tsv', 'w', encoding='utf-8') as file:
            test = split == 'test'
            file.write('id\tquestion1\tquestion2\n' if test
                       else 'id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n')
            for first in range(0, count, 20_000):
                size = min(20_000, count - first)
                labels = rng.integers(0, 2, size)
                for row, (a, b, label) in enumerate(zip(texts(size, 17), texts(size, 7), labels, strict=True), first):
                    file.write(f'{row}\t{a}\t{b}\n' if test else f'{row}\t{2 * row}\t{2 * row + 1}\t{a}\t{b}\t{label}\n')


def child(script: str, flags: list[str]) -> None:
    """Run a script's main in this process; the last line tells the seconds after imports to each mark, and peak memory."""
    import importlib
    import time

    from src import data_processing
    from src.training import Trainer
    module = importlib.import_module(script)
    seconds, started = {}, time.perf_counter()

    def mark(name: str, function):
        def marked(*args, **kwargs):
            entered = time.perf_counter()
            result = function(*args, **kwargs)
            seconds.setdefault(f'first_{name}_at', time.perf_counter() - started)
            seconds[name] = seconds.get(name, 0) + time.perf_counter() - entered
            return result
        return marked

    Trainer._train_step = mark('step', Trainer._train_step)
    data_processing.tokenize_examples = mark('tokenize', data_processing.tokenize_examples)
    if hasattr(module, 'dump'):
        module.dump = mark('dump', module.dump)
    module.main(flags)
    # VmHWM, for getrusage's peak begins with that of the process that started this one
    peak = int(Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0])      # KB
    print(json.dumps({**seconds, 'peak_mb': peak / 1024}))


def run(folder: Path, rows: int, script: str, *flags: str) -> dict:
    """A script on the set of that many rows, in its own process: what `child` prints."""
    environment = {**os.environ, 'PEAKD_GLUE': str(folder / f'glue_{rows}'), 'PEAKD_MODELS': str(folder / 'models'),
                   'PEAKD_OUTPUTS': str(folder / f'outputs_{rows}')}
    command = [sys.executable, str(Path(__file__).resolve()), 'child', script, '--task', 'QQP', '--bert_model', 'small',
               '--teacher_hidden_layers', str(LAYERS), *flags]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f'{" ".join(command)}\n{done.stdout}{done.stderr}')
    result = json.loads(done.stdout.splitlines()[-1])
    print(rows, script, {name: round(value, 2) for name, value in result.items()}, file=sys.stderr, flush=True)
    return result


def measure(folder: Path, rows: int) -> dict[str, dict]:
    """All stages on the set of that many rows."""
    train = ['--eval_every', '1000000', '--log_every_step', '50', '--num_train_epochs', str(STEPS / (rows / BATCH)),
             '--saving_criterion_acc=-1']
    teacher = ['--train_type', 'ft', '--student_hidden_layers', str(LAYERS), '--train_seed', '1', *train]
    results = {'teacher': run(folder, rows, 'NLI_KD_training', *teacher)}
    results['second_start'] = run(folder, rows, 'NLI_KD_training', *teacher)
    results['dump'] = run(folder, rows, 'save_teacher_outputs')
    student = ['--model_type', 'SPS', '--student_hidden_layers', str(LAYERS // 2), *train]
    results['ptp'] = run(folder, rows, 'PTP', *student, '--PTP_seed', '1')
    results['pkd'] = run(folder, rows, 'NLI_KD_training', '--train_type', 'pkd', '--train_seed', '1', *student)
    return results


def summary(few: dict[str, dict], many: dict[str, dict]) -> dict[str, float]:
    """The figures: rates of tokenising, seconds to a second start's first step, growth of memory, ratios of rates."""
    grown = {f'scale_{stage}_peak_growth_mb': many[stage]['peak_mb'] - few[stage]['peak_mb']
             for stage in ('dump', 'ptp', 'pkd')}
    rates = {f'scale_{stage}_rate_ratio': few[stage]['step'] / many[stage]['step'] for stage in ('teacher', 'ptp', 'pkd')}
    rows = {count: count + 2 * DEV_ROWS for count in (FEW, MANY)}
    rates['scale_dump_rate_ratio'] = (rows[MANY] / many['dump']['dump']) / (rows[FEW] / few['dump']['dump'])
    return {'scale_tokenize_pairs_per_second': MANY / many['teacher']['tokenize'],
            'scale_second_start_seconds': many['second_start']['first_step_at'],
            'scale_dump_rows_per_second': rows[MANY] / many['dump']['dump'], **grown, **rates}


def benchmark_scale() -> dict[str, float]:
    """Measure on both sets."""
    with tempfile.TemporaryDirectory() as name:
        folder, vocabulary = Path(name), words()
        write_checkpoint(folder / 'models/small', vocabulary)
        results = {}
        for rows in (FEW, MANY):
            write_task(folder / f'glue_{rows}/QQP', rows, vocabulary)
            results[rows] = measure(folder, rows)
        return {name: round(value, 2) for name, value in summary(results[FEW], results[MANY]).items()}


def main() -> None:
    """Measure and print; `child SCRIPT FLAGS...`: be one of the measured processes."""
    if sys.argv[1:2] == ['child']:
        child(sys.argv[2], sys.argv[3:])
    else:
        Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
        print(json.dumps(benchmark_scale()))


if __name__ == '__main__':
    run_script(main)
