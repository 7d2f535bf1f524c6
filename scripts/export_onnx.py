"""Write a run's model as a file of ONNX, and check it against the model in onnxruntime.

    python scripts/export_onnx.py data/outputs/PeaKD/MRPC/pkd_SPS_3layer_... exported/student.onnx
    python scripts/export_onnx.py data/outputs/PeaKD/MRPC/pkd_SPS_3layer_... exported/student.int8.onnx --int8

The model is the run's saved state that dev or the holdout chose, else that after the last step. Inputs input_ids,
attention_mask, token_type_ids (int64 [batch, length], both free), output logits [batch, labels]. Layers that a student
shares are stored once. --int8: dynamic quantisation. Task, labels, max_seq_length and do_lower_case are in the file's
metadata.

Writes  OUT, which appears when the check is passed, whole or not at all; beside it, as export_hf.py does, vocab.txt,
        tokenizer.json, tokenizer_config.json, special_tokens_map.json.
Prints  the largest difference between its logits and the model's in fp32, on rows of the run's dev set (without one on
        made-up rows), for several sizes and lengths of batches; with --int8 the dev scores of both. A file whose logits are
        further off than rounding explains, or with --int8 than the model's are from each other, is not written.

Needs   pip install onnx onnxruntime
"""
import argparse
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import numpy as np

from BERT.pytorch_pretrained_bert.file_utils import InputError, path_of
from BERT.pytorch_pretrained_bert.writing import replace_file
from src.argument_parser import Parser
from src.data_processing import TokenizedSplit
from src.evaluation import predict_logits, task_scores
from src.onnx_files import OPSET, OPSETS, OnnxClassifier, onnx_model, package, write_onnx
from src.saved_runs import SavedRun, load_run
from src.utils import RunError, run_script

ROWS, BATCHES = 64, (1, 5, 64)      # rows that are compared, of all lengths; the sizes of batches they are computed in
TOLERANCE = 1e-3                    # of a logit in fp32: rounding gives 1e-5, a wrong graph 1e-1


def main(argv: list[str] | None = None) -> None:
    """Load the run, write the file, check it."""
    args = parse_flags(argv)
    for name in ('onnx', 'onnxruntime'):
        package(name)
    run = load_run(args.run)
    check_beside(run, args)
    proto, dev = onnx_model(run, args.opset), dev_set(run)
    with replace_file(args.out) as temporary:
        write_onnx(proto, temporary)
        told = check(run, OnnxClassifier(temporary), dev, args.out)
        if args.int8:                        # once the graph is known to be right, what 8 bits do to it
            write_onnx(proto, temporary, int8=True)
            told = check(run, OnnxClassifier(temporary), dev, args.out, int8=True)
        run.setup.tokenizer.save_pretrained(args.out.parent, run.args.max_seq_length)
    config = run.model.config
    print(f'saved in {args.out}: {run.task.name}, {args.out.stat().st_size / 1e6:.1f} MB, {config.num_hidden_layers} stored '
          f'layers, {len(config.layer_passes())} passes\n{told}')


def parse_flags(argv: list[str] | None) -> argparse.Namespace:
    """The flags of this script, checked."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('run', metavar='RUN_FOLDER', help='a folder in which a run of NLI_KD_training.py has ended')
    parser.add_argument('out', metavar='OUT', help='the file to write')
    parser.add_argument('--int8', action='store_true', help='weights as 8-bit integers, activations rounded to 8 bits')
    parser.add_argument('--opset', type=int, default=OPSET, choices=OPSETS, help="version of ONNX's operators (%(default)s)")
    parser.add_argument('--overwrite', action='store_true', help='replace OUT, and files of another tokenizer beside it')
    args = parser.parse_args(argv)
    named_folder = args.out.endswith(os.sep)
    args.run, args.out = (path_of(path).resolve() for path in (args.run, args.out))
    if named_folder or args.out.is_dir():
        raise InputError(f'OUT {args.out} is a folder; name a file, as in {args.out / "model.onnx"}')
    if args.out.exists() and not args.overwrite:
        raise InputError(f'OUT {args.out} is there; name another file, or give --overwrite to replace it')
    return args


def check_beside(run: SavedRun, args: argparse.Namespace) -> None:
    """InputError where files of another tokenizer or length limit lie beside OUT and --overwrite is not given."""
    with tempfile.TemporaryDirectory() as folder:
        run.setup.tokenizer.save_pretrained(folder, run.args.max_seq_length)
        others = [path.name for path in sorted(Path(folder).iterdir()) if (args.out.parent / path.name).exists()
                  and (args.out.parent / path.name).read_bytes() != path.read_bytes()]
    if others and not args.overwrite:
        raise InputError(f'OUT {args.out}: {", ".join(others)} beside it differ from those of this run (tokenizer, '
                         '--max_seq_length); name a file in another folder, or give --overwrite to replace them')


def check(run: SavedRun, classifier: OnnxClassifier, dev: TokenizedSplit | None, out: Path, int8: bool = False) -> str:
    """Compare a file with the run's model; what was found, in words.

    RunError where its logits are no numbers, in fp32 more than rounding apart from the model's, in int8 further than these
    are from each other."""
    rows = made_up_rows(run) if dev is None else dev.part(spread(dev))
    wanted = predict_logits(run.model, rows, run.args.eval_batch_size, 'fp32')
    found = [classifier.logits(rows, size) for size in BATCHES]
    found.append(classifier.logits(rows, BATCHES[-1], run.args.max_seq_length))
    largest = np.max([np.abs(logits - wanted).max() for logits in found])         # NaN where one of them is
    most = np.ptp(wanted) if int8 else TOLERANCE
    if not largest < most:
        raise RunError(f'{out} is not written: its logits would be up to {largest:.1e} from the model\'s'
                       + f', and these lie within {most:.1e}; export it without --int8' * int8)
    told = [f"largest difference of a logit from the model's in fp32: {largest:.1e}, on {len(rows)} "
            f'{"made-up rows" if dev is None else "rows of dev"} of {rows.lengths.min()} to {rows.lengths.max()} tokens, in '
            f'batches of {", ".join(map(str, BATCHES))}, and padded to {run.args.max_seq_length}']
    if int8 and dev is not None:
        size = run.args.eval_batch_size
        scores = [task_scores(dev, logits)[run.record['metric']]
                  for logits in (classifier.logits(dev, size), predict_logits(run.model, dev, size, 'fp32'))]
        told.append(f'dev {run.record["metric"]}: int8 {scores[0]:.4f}, the model in fp32 {scores[1]:.4f}')
    return '\n'.join(told)


def dev_set(run: SavedRun) -> TokenizedSplit | None:
    """The dev set of the run's task, or None where its file is not there."""
    try:
        return run.tokens(run.task, 'dev')
    except FileNotFoundError:
        return None


def spread(split: TokenizedSplit) -> np.ndarray:
    """Numbers of ROWS rows, of all lengths."""
    rows = split.by_length(np.arange(len(split)))
    return rows[np.unique(np.linspace(0, len(rows) - 1, ROWS).round().astype(int))]


def made_up_rows(run: SavedRun) -> TokenizedSplit:
    """ROWS rows of random tokens, from two on."""
    rng, tokenizer, most = np.random.default_rng(0), run.setup.tokenizer, run.args.max_seq_length
    lengths = np.linspace(2, most, ROWS).round().astype(np.int32)
    first = lengths if run.task.unlabelled.text_b is None else (lengths + 1) // 2
    ids = rng.integers(0, len(tokenizer), lengths.sum(), dtype=np.int32)
    return TokenizedSplit(run.task.name, 'dev', ids, lengths, first, None, tokenizer.fingerprint, most)


if __name__ == '__main__':
    run_script(main, alone=True)
