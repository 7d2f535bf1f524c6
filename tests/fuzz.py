"""Mutated files and flags against every reader, for as long as one likes.

    python tests/fuzz.py --inputs 100000
    python tests/fuzz.py --seconds 600 --seed 3 --targets 'teacher,run.json'

Prints how many inputs each target had, how many were refused, and what ended in anything but a result or an error of one
line; each finding with the seed that makes it again: --again TARGET:SEED. Exit code 1: something was found.
"""
import argparse
import collections
import logging
import random
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]
from fuzzing import Targets, limit_memory, outcome, random_edits  # noqa: E402

MOST_SHOWN = 40


def main() -> int:
    """Run inputs, targets in turn, and report."""
    args = parse_flags()
    logging.disable()
    warnings.simplefilter('ignore')
    with tempfile.TemporaryDirectory() as folder:
        targets = [target for target in Targets(Path(folder)).all
                   if any(word in target.name for word in args.targets.split(','))]
        if args.again:
            name, _, seed = args.again.rpartition(':')
            print(outcome(next(target for target in targets if target.name == name), random_edits(random.Random(int(seed)))))
            return 0
        for target in targets:
            assert outcome(target, []) == 'result' or 'flags' in target.name, target.name      # and warms up
        limit_memory()
        return 1 if run(targets, args) else 0


def parse_flags() -> argparse.Namespace:
    """The flags of this script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--inputs', type=int, default=100_000, help='how many (100,000)')
    parser.add_argument('--seconds', type=float, default=float('inf'), help='stop after so many')
    parser.add_argument('--seed', type=int, default=0, help='of the first input (0)')
    parser.add_argument('--targets', default='', help='words between commas that names of targets contain (all)')
    parser.add_argument('--again', metavar='TARGET:SEED', help='run one input and show what it ends in')
    return parser.parse_args()


def run(targets: list, args: argparse.Namespace) -> dict:
    """The findings: (target, where it was raised) -> (how often, an example)."""
    counts, spent, findings = collections.Counter(), collections.Counter(), {}
    started = time.time()
    for number in range(args.seed, args.seed + args.inputs):
        target, began = targets[number % len(targets)], time.time()
        if began - started > args.seconds:
            break
        try:
            counts[target.name, outcome(target, random_edits(random.Random(number)))] += 1
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                break
            counts[target.name, 'found'] += 1
            note(findings, target.name, number, error)
        spent[target.name] += time.time() - began
    report(targets, counts, spent, findings, time.time() - started)
    return findings


def note(findings: dict, name: str, number: int, error: BaseException) -> None:
    """Add a finding, told apart by target, type and the line that raised it; print a new one at once."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if '/site-packages/' not in frame.filename]
    where = f'{Path(frames[-1].filename).name}:{frames[-1].lineno} {type(error).__name__}'
    if (name, where) not in findings:
        print(f'found: --again {name!r}:{number}  {where}: {str(error)[:200]}', flush=True)
    findings[name, where] = findings.get((name, where), 0) + 1


def report(targets: list, counts: dict, spent: dict, findings: dict, seconds: float) -> None:
    """Print the table."""
    print(f'{"target":34} {"inputs":>8} {"refused":>8} {"found":>6} {"seconds":>8}')
    for target in targets:
        result, refused, found = (counts[target.name, kind] for kind in ('result', 'refused', 'found'))
        print(f'{target.name:34} {result + refused + found:8,} {refused:8,} {found:6,} {spent[target.name]:8.1f}')
    print(f'{sum(counts.values()):,} inputs in {seconds:.0f} s, {len(findings)} findings')
    for (name, where), times in list(findings.items())[:MOST_SHOWN]:
        print(f'{times:6,} times  {name}: {where}')


if __name__ == '__main__':
    sys.exit(main())
