"""Make a result file of a teacher of what Pea-KD's earlier published code pickled.

    python scripts/import_teacher_outputs.py OLD.pkl --task MRPC --bert_model bert_base_uncased
    python scripts/import_teacher_outputs.py OLD.pkl NEW.pkl --task RTE --teacher_hidden_layers 12 --max_seq_length 128

Reads OLD.pkl through a loader that knows arrays, tensors and plain containers and can run nothing; compares its rows with
those of the task here (number, labels, and the token ids where it has them); and writes NEW.pkl, by default where PTP.py
and NLI_KD_training.py look for the task's result file. Loss and accuracy are computed anew from the logits.
"""
import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from BERT.pytorch_pretrained_bert.file_utils import InputError, path_of, sha256_of
from save_teacher_outputs import scorer
from src.argument_parser import Parser
from src.custom_tasks import task_of_flags
from src.data_processing import SPLITS, load_split
from src.nli_data_processing import find_task
from src.preparation import set_up
from src.published_results import PublishedSplit, read_published
from src.run_lock import only_writer
from src.teacher_outputs import check_replaceable, result_file, write_results
from src.utils import run_script


def main(argv: list[str] | None = None) -> None:
    """Read, compare, write."""
    args = parse_flags(argv)
    task, old = find_task(args.task), path_of(args.old)
    setup = set_up(args)
    results = read_published(old)
    names = [name for name in SPLITS if results.get(name) is not None]
    if 'train' not in names:
        raise InputError(f"{old}: not the published code's teacher results: it has no train")
    splits = {name: load_split(task, name, setup.tokenizer, args.max_seq_length) for name in names}
    found = {name: PublishedSplit(old, results, name, split, args.teacher_hidden_layers) for name, split in splits.items()}
    if len({(part.hidden, len(part.states)) for part in found.values()}) > 1:
        raise InputError(f'{old} does not fit: its splits have states of different width or of different layers')
    patient = bool(found['train'].states)
    path = path_of(args.new) if args.new else result_file(task, args.teacher_hidden_layers, patient)
    check_replaceable(path)
    made_by = {'teacher': f'imported from {old.name}', 'imported_sha256': sha256_of(old)}
    shape = (task.num_labels, found['train'].hidden, args.teacher_hidden_layers)
    with only_writer(path):
        write_results(path, splits, {name: part.predictions() for name, part in found.items()}, scorer(task, splits), shape,
                      patient, made_by)
    print(f'saved in {path}')


def parse_flags(argv: list[str] | None) -> argparse.Namespace:
    """The flags of this script."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('old', metavar='OLD', help="the published code's file")
    parser.add_argument('new', metavar='NEW', nargs='?', help='the file to write (by task and teacher layers)')
    parser.add_argument('--task', help='a GLUE task, in any case (MRPC)')
    parser.add_argument('--task_config', metavar='FILE', help='JSON file of a task of your own, in place of --task')
    parser.add_argument('--bert_model', default='bert_base_uncased', help='whose vocabulary the rows were made with')
    parser.add_argument('--max_seq_length', type=int, default=128, help='tokens the rows were cut to (128)')
    parser.add_argument('--teacher_hidden_layers', type=int, default=12, help='layers of the teacher (12)')
    args = parser.parse_args(argv)
    task = task_of_flags(args.task, args.task_config) or find_task('MRPC')
    args.task, args.precision = task.name, 'fp32'      # of what is computed here, nothing
    if args.teacher_hidden_layers < 1:
        raise InputError(f'--teacher_hidden_layers {args.teacher_hidden_layers}: must be at least 1')
    return args


if __name__ == '__main__':
    run_script(main, alone=True)
