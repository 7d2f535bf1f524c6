"""Write a run's model as a folder that Hugging Face's transformers loads without code of ours.

    python scripts/export_hf.py data/outputs/PeaKD/MRPC/pkd_SPS_3layer_... exported/mrpc-student
    python scripts/export_hf.py data/outputs/KD/MRPC/teacher_12layer exported/mrpc-teacher --overwrite

The model is the run's saved state that dev or the holdout chose, else that after the last step. A student that shares layers
becomes the plain BERT of its passes, in fp32: what is smaller stored is larger exported, and computes the same.

Writes  config.json, model.safetensors, vocab.txt, tokenizer.json, tokenizer_config.json, special_tokens_map.json, and
        README.md, a model card made from run.json. The folder appears whole or not at all.
"""
import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from BERT.pytorch_pretrained_bert.file_utils import InputError, path_of
from BERT.pytorch_pretrained_bert.writing import replace_folder
from src.argument_parser import Parser
from src.hugging_face import write_model
from src.model_card import model_card
from src.saved_runs import load_run
from src.utils import run_script


def main(argv: list[str] | None = None) -> None:
    """Load the run, write the folder."""
    args = parse_flags(argv)
    run, out = load_run(args.run), args.out
    with replace_folder(out, last='config.json') as folder:
        layers, parameters = write_model(run, folder)
        (folder / 'README.md').write_text(model_card(run, out.name, layers, parameters), encoding='utf-8')
    size = (out / 'model.safetensors').stat().st_size
    print(f'saved in {out}: a BERT of {layers} layers for {run.task.name}, {size / 2**20:.1f} MiB '
          f'({run.model.config.num_hidden_layers} stored layers in {run.folder.name})')


def parse_flags(argv: list[str] | None) -> argparse.Namespace:
    """The flags of this script, checked."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('run', metavar='RUN_FOLDER', help='a folder in which a run of NLI_KD_training.py has ended')
    parser.add_argument('out', metavar='OUT', help='the folder to write')
    parser.add_argument('--overwrite', action='store_true',
                        help="replace an earlier export's files in OUT; others there stay")
    args = parser.parse_args(argv)
    args.run, args.out = (path_of(path).resolve() for path in (args.run, args.out))
    if args.out.exists() and not args.out.is_dir():
        raise InputError(f'OUT {args.out} is a file; name a folder')
    if args.out.is_dir() and any(args.out.iterdir()) and not args.overwrite:
        raise InputError(f'OUT {args.out} is there and not empty; name another folder, or give --overwrite to replace an '
                         "earlier export's files in it")
    return args


if __name__ == '__main__':
    run_script(main, alone=True)
