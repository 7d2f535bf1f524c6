"""What the storage precision of the teacher's states costs: their error, that of patience's loss and gradient, and students'
dev scores.

    python benchmarks/dump_precision.py --bert_model minilm-l6 --task MRPC --teacher_hidden_layers 6 --seeds 1,2,3

Takes save_teacher_outputs.py's flags and its teacher. The student is one of SPS with 3 layers, for the losses as it starts
from the checkpoint; --seeds: trained with PKD from files of fp32 and of fp16 states. The last line is one JSON object.
"""
import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor

import NLI_KD_training
import save_teacher_outputs
from BERT.pytorch_pretrained_bert import BertConfig
from BERT.pytorch_pretrained_bert.file_utils import weights_file
from src.argument_parser import TEACHER, parse
from src.data_processing import load_split
from src.evaluation import predict
from src.KD_loss import patience_layers, patience_loss
from src.modeling import SequenceClassifier, load_encoder, wiring
from src.nli_data_processing import find_task
from src.preparation import set_up
from src.run_log import read_run
from src.teacher_outputs import TENSORS
from src.utils import run_script

STUDENT_LAYERS = 3
TYPES = {'fp32': torch.float32, 'fp16': torch.float16, 'bf16': torch.bfloat16}


def relative(stored: Tensor, exact: Tensor) -> float:
    """Norm of the difference over the norm."""
    return ((stored - exact).norm() / exact.norm()).item()


def loss_and_gradient(teacher: Tensor, student: Tensor) -> tuple[Tensor, Tensor]:
    """Patience's loss of normalised states, and its gradient in the student's, which is what training sees of it."""
    student = student.clone().requires_grad_()
    loss = patience_loss(teacher, student, True)
    return loss.detach(), torch.autograd.grad(loss, student)[0]


def errors(args: argparse.Namespace) -> dict:
    """States of teacher and student on train in fp32, and what each type makes of the teacher's."""
    task, setup = find_task(args.task), set_up(args)
    files = save_teacher_outputs.teacher_files(args, task)
    teacher, _ = save_teacher_outputs.load_teacher(args, setup, task, files)
    config = BertConfig.from_dict({**setup.config.to_dict(), 'num_hidden_layers': STUDENT_LAYERS,
                                   'passes': wiring('SPS', STUDENT_LAYERS)})
    student = SequenceClassifier(config, task.num_labels)
    load_encoder(student.encoder, weights_file(setup.checkpoint))
    split = load_split(task, 'train', setup.tokenizer, args.max_seq_length)
    states = [torch.cat([batch.cls_states for batch in predict(model, split, args.eval_batch_size, 'fp32', name)])
              for name, model in (('teacher', teacher), ('student', student))]
    layers, passes = patience_layers(2 * STUDENT_LAYERS, states[0].size(1))
    exact, student_states = states[0][:, layers], states[1][:, passes]
    loss, gradient = loss_and_gradient(exact, student_states)
    results = {'rows': len(split), 'largest_state': exact.abs().max().item()}
    for name, dtype in TYPES.items():
        stored = exact.to(dtype).float()
        its_loss, its_gradient = loss_and_gradient(stored, student_states)
        results[name] = {'bytes_a_row': states[0][0].numel() * dtype.itemsize, 'state_error': relative(stored, exact),
                         'loss_error': abs(its_loss / loss - 1).item(), 'gradient_error': relative(its_gradient, gradient)}
        print(name, results[name])
    return results


def students(args: argparse.Namespace, flags: list[str], seeds: list[str], name: str) -> list[dict]:
    """Dev scores of students, at the best step and the last, from a file with states of a type.

    flags: those of save_teacher_outputs.py."""
    scores = []
    with tempfile.TemporaryDirectory() as folder:
        for tensor, kind in TENSORS.items():
            if kind.by_row:
                TENSORS[tensor] = kind._replace(dtype=f'float{name[2:]}')
        file = [f'--teacher_prediction={folder}/results.pkl']
        save_teacher_outputs.main([*flags, *file])
        for seed in seeds:
            NLI_KD_training.main([
                f'--task={args.task}', f'--bert_model={args.bert_model}', '--train_type=pkd', '--model_type=SPS',
                f'--student_hidden_layers={STUDENT_LAYERS}', f'--teacher_hidden_layers={args.teacher_hidden_layers}', *file,
                f'--train_seed={seed}', f'--output_dir={folder}/{seed}', '--eval_every=25', '--recommended'])
            record = read_run(Path(folder, seed))
            scores.append({name: record[name] for name in ('dev_best', 'dev_last')})
    return scores


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument('--seeds', default='')
    own, flags = parser.parse_known_args()
    args = parse(TEACHER, __doc__, flags)
    results, seeds = errors(args), list(filter(None, own.seeds.split(',')))
    for name in ('fp32', 'fp16') if seeds else ():
        results[name]['students'] = students(args, flags, seeds, name)
    print(json.dumps(results))


if __name__ == '__main__':
    run_script(main)
