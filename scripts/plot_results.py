"""Pictures of runs and results, each as PNG (300 dpi) and SVG, for print.

    python scripts/plot_results.py --kind curves RUN_FOLDER RUN_FOLDER ...
    python scripts/plot_results.py --kind confidence RESULT_FILE
    python scripts/plot_results.py --kind agreement RUN_FOLDER
    python scripts/plot_results.py --kind attention RUN_FOLDER --text "He sold it." "It was sold."
    python scripts/plot_results.py --kind scores results.csv
    python scripts/plot_results.py --kind costs results.csv

curves: training loss and scores of several runs over each other. confidence: how sure a teacher is of the rows that it has
right and of those that it has wrong, with PTP's thresholds. agreement: a student's confidence over its teacher's, on dev.
attention: of a layer that runs twice (SPS), in its first and its second run. scores: by method, with their spread. costs:
scores over parameters and over speed.

They go into data/outputs/plots, or where --output says. Flags of a kind: --kind curves --help
"""
import argparse
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

import envs
from BERT.pytorch_pretrained_bert.file_utils import InputError, path_of
from src.argument_parser import Parser
from src.attention_maps import attention_maps, both_passes
from src.custom_tasks import task_of_flags
from src.data_processing import TokenizedSplit, tokenize_examples
from src.earlier_runs import open_teacher
from src.nli_data_processing import GlueTask, InputExample, ptp_thresholds
from src.plots import plot_agreement, plot_attention, plot_confidence, plot_costs, plot_curves, plot_scores
from src.saved_runs import SavedRun, load_run
from src.summary import KINDS as SCORES
from src.summary import make_summaries
from src.summary import panels as panels_of
from src.teacher_outputs import TeacherOutputs, confidence, confidence_and_correct
from src.utils import run_script

logger = logging.getLogger(__name__)


def main(argv: list[str] | None = None) -> None:
    """Draw what --kind says."""
    args = parse_flags(argv)
    output = args.output or envs.OUTPUTS_FOLDER / 'plots' / args.kind
    stem = output.with_suffix('') if output.suffix in ('.png', '.svg') else output
    paths = [stem.with_name(f'{stem.name}{suffix}') for suffix in ('.png', '.svg')]
    KINDS[args.kind][1](args, paths)
    logger.info('saved %s and %s', *paths)


def parse_flags(argv: list[str] | None) -> argparse.Namespace:
    """The flags of the kind that --kind names. InputError where it names none."""
    first = Parser(add_help=False)
    first.add_argument('--kind', choices=KINDS, help='what to draw')
    kind = first.parse_known_args(argv)[0].kind
    parser = Parser(parents=[first], description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--output', type=path_of, help='the files, without .png and .svg (data/outputs/plots/{kind})')
    if kind:
        KINDS[kind][0](parser)
    args = parser.parse_args(argv)
    if not kind:
        raise InputError(f'--kind: give one of {", ".join(KINDS)}')
    return args


def curves_flags(parser: Parser) -> None:
    """Flags of --kind curves."""
    parser.add_argument('runs', nargs='+', type=path_of, metavar='RUN_FOLDER', help='with train_log.txt and eval_log.txt')
    parser.add_argument('--labels', nargs='+', metavar='LABEL', help="the runs' names in the picture; those of the folders")
    parser.add_argument('--score', help='the column of eval_log.txt to show; the metric that decides')


def curves(args: argparse.Namespace, paths: list[Path]) -> None:
    """Training curves of runs over each other."""
    folders = list(dict.fromkeys(folder.resolve() for folder in args.runs))
    labels = args.labels or short_names(folders)
    if len(set(labels)) != len(folders):
        raise InputError(f'--labels {" ".join(labels)}: {len(set(labels))} names for {len(folders)} runs')
    plot_curves(dict(zip(labels, folders, strict=True)), args.score, *paths)


def short_names(folders: list[Path]) -> list[str]:
    """The ends of different paths, as short as they can be told apart."""
    for parts in range(1, max(len(folder.parts) for folder in folders) + 1):
        names = ['/'.join(folder.parts[-parts:]) for folder in folders]
        if len(set(names)) == len(folders):
            break
    return names


def confidence_flags(parser: Parser) -> None:
    """Flags of --kind confidence."""
    parser.add_argument('results', type=path_of, metavar='RESULT_FILE', help="the teacher's, by save_teacher_outputs.py")
    parser.add_argument('--split', choices=('train', 'dev'), default='train', help='the rows (train)')
    parser.add_argument('--task_config', metavar='FILE', help='JSON file that defines the task, of a task of your own')
    parser.add_argument('--ptp_threshold',
                        help='as of PTP.py: t1 alone, t1,t2 or median (the table of nli_data_processing.py)')


def teacher_confidence(args: argparse.Namespace, paths: list[Path]) -> None:
    """A teacher's confidence where it is right and where it is wrong, and PTP's thresholds. Medians are those of all of
    train; PTP.py with --holdout takes those of the rows it learns from."""
    defined, teacher = task_of_flags(None, args.task_config), TeacherOutputs.open(args.results)
    task = teacher.task()
    if defined and defined != task:
        raise InputError(f'--task_config {args.task_config} defines {defined.name}; the rows of {args.results} are those of '
                         f'{task.name}')
    check_classification(task)
    if f'{args.split}.pred_logit' not in teacher.arrays:
        raise InputError(f'--split {args.split}: {args.results} has no rows of it')
    thresholds = ptp_thresholds(task.name, args.ptp_threshold, *confidence_and_correct(teacher, 'train'))
    plot_confidence(*confidence_and_correct(teacher, args.split), thresholds, f'{args.split} of {task.name}', *paths)


def check_classification(task: GlueTask) -> None:
    """InputError for regression, where nothing is right or wrong."""
    if task.labels is None:
        raise InputError(f'{task.name} is regression: its outputs are no confidence')


def agreement_flags(parser: Parser) -> None:
    """Flags of --kind agreement."""
    parser.add_argument('run', type=path_of, metavar='RUN_FOLDER', help="the student's")
    parser.add_argument('--teacher_prediction', metavar='RESULT_FILE', help="the teacher's; that of the run's teacher")


def agreement(args: argparse.Namespace, paths: list[Path]) -> None:
    """A student's confidence over its teacher's on dev."""
    run = load_run(args.run)
    check_classification(run.task)
    run.args.teacher_prediction = args.teacher_prediction or run.args.teacher_prediction
    teacher, dev = open_teacher(run.args, run.task, states=False), run.tokens(run.task, 'dev')
    learnt_from = run.record.get('inputs', {}).get('teacher')
    if learnt_from and learnt_from != teacher.fingerprint():
        logger.warning('warning: the result file is not the one that the run in %s learnt from', run.folder)
    teacher.check('dev', dev)
    logits = run.logits(dev, 'student')
    student = confidence(logits), logits.argmax(1) == dev.labels
    plot_agreement(confidence_and_correct(teacher, 'dev'), student, f'{run.task.name} dev, {len(dev):,} rows', *paths)


def attention_flags(parser: Parser) -> None:
    """Flags of --kind attention."""
    parser.add_argument('run', type=path_of, metavar='RUN_FOLDER', help='of a model with a layer that runs twice')
    parser.add_argument('--text', nargs='+', metavar='TEXT', help='one text or two, as the task has them; in place of --row')
    parser.add_argument('--row', type=int, help='of dev, counted from 0 (the row with the fewest tokens)')
    parser.add_argument('--layer', type=int, help='counted from 1 (the first that runs twice)')
    parser.add_argument('--head', type=int, help='counted from 1 (the mean of all)')


def attention(args: argparse.Namespace, paths: list[Path]) -> None:
    """What a layer attends to in its first and in its second pass, for one example."""
    run = load_run(args.run)
    model = run.model.encoder.bert.eval()
    passes, heads = model.encoder.passes, model.config.num_attention_heads
    chosen = both_passes(passes, None if args.layer is None else args.layer - 1)
    if args.head is not None and not 1 <= args.head <= heads:
        raise InputError(f'--head {args.head}: the model has heads 1 to {heads}')
    example = example_of_text(run, args.text) if args.text else example_of_dev(run, args.row)
    ids, second = torch.from_numpy(example.input_ids).long(), int(example.first_lengths[0])
    device = next(model.parameters()).device
    maps = attention_maps(model, ids.to(device), (torch.arange(len(ids)) >= second).long().to(device)).cpu()
    maps = maps.mean(1) if args.head is None else maps[:, args.head - 1]                               # [L, T, T]
    of_heads = f'mean of {heads} heads' if args.head is None else f'head {args.head}'
    titles = [f'layer {passes[number][0] + 1}, pass {number + 1} of {len(passes)}'
              f'{", query and key exchanged" * passes[number][1]}\n{of_heads}' for number in chosen]
    plot_attention(dict(zip(titles, maps[list(chosen)].numpy(), strict=True)),
                   run.setup.tokenizer.convert_ids_to_tokens(ids.tolist()), second, *paths)


def example_of_text(run: SavedRun, text: list[str]) -> TokenizedSplit:
    """One or two texts, as the task has them, as token ids."""
    wanted = 2 if run.task.unlabelled.text_b else 1
    if len(text) != wanted:
        raise InputError(f'--text: {len(text)} given; {run.task.name} has {wanted} a row')
    return tokenize_examples([InputExample('text', *text)], run.setup.tokenizer, run.task, 'test', run.args.max_seq_length)


def example_of_dev(run: SavedRun, row: int | None) -> TokenizedSplit:
    """A row of dev, the shortest for None."""
    dev = run.tokens(run.task, 'dev')
    row = int(dev.lengths.argmin()) if row is None else row
    if not 0 <= row < len(dev):
        raise InputError(f'--row {row}: dev has rows 0 to {len(dev) - 1}')
    return dev.part(torch.tensor([row]).numpy())


def table_flags(parser: Parser) -> None:
    """Flags of --kind scores and --kind costs."""
    parser.add_argument('results', nargs='*', type=path_of, metavar='FILE', default=[envs.COMPARE_FOLDER / 'results.csv'],
                        help='tables of run_glue_benchmark.py --mode compare (data/outputs/compare/results.csv)')
    parser.add_argument('--scores', choices=SCORES, help='of the state that the holdout chose, if one did, else dev_best')


def panels(args: argparse.Namespace) -> dict:
    """What tables have to draw, by task."""
    return panels_of(make_summaries(args.results), args.scores)


def scores(args: argparse.Namespace, paths: list[Path]) -> None:
    """Scores by method, with their spread."""
    plot_scores(panels(args), *paths)


def costs(args: argparse.Namespace, paths: list[Path]) -> None:
    """Scores over parameters and over speed."""
    plot_costs(panels(args), *paths)


# kind -> what adds its flags, what draws it
KINDS = {'curves': (curves_flags, curves), 'confidence': (confidence_flags, teacher_confidence),
         'agreement': (agreement_flags, agreement), 'attention': (attention_flags, attention),
         'scores': (table_flags, scores), 'costs': (table_flags, costs)}

if __name__ == '__main__':
    run_script(main, alone=True)
