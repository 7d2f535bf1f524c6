"""What the storage precision of the teacher's states costs: their error, and that of patience's loss and gradient.

    python benchmarks/dump_precision.py --bert_model minilm-l6 --task MRPC --teacher_hidden_layers 6

Takes save_teacher_outputs.py's flags and its teacher. The student is one of SPS with 3 layers as it starts from the
checkpoint. The last line is one JSON object.
"""
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from BERT.pytorch_pretrained_bert import BertConfig  # noqa: E402
from BERT.pytorch_pretrained_bert.file_utils import weights_file  # noqa: E402
from save_teacher_outputs import load_teacher  # noqa: E402
from src.argument_parser import TEACHER, parse  # noqa: E402
from src.data_processing import load_split  # noqa: E402
from src.evaluation import predict  # noqa: E402
from src.KD_loss import patience_layers, patience_loss  # noqa: E402
from src.modeling import SequenceClassifier, load_encoder, wiring  # noqa: E402
from src.nli_data_processing import find_task  # noqa: E402
from src.runs import set_up  # noqa: E402
from src.utils import run_script  # noqa: E402

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


def main() -> None:
    """States of teacher and student on train in fp32, then what each type makes of the teacher's."""
    args = parse(TEACHER, __doc__)
    task, setup = find_task(args.task), set_up(args)
    teacher, _ = load_teacher(args, setup, task)
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
    print(json.dumps(results))


if __name__ == '__main__':
    run_script(main)
