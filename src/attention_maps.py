"""What a model attends to: the weights that its own forward, which is packed and fused, never has in one piece.

Legend: T tokens, H hidden, A heads, D = H / A, L passes.
"""
import torch
from torch import Tensor

from BERT.pytorch_pretrained_bert import BertModel
from BERT.pytorch_pretrained_bert.file_utils import InputError
from BERT.pytorch_pretrained_bert.packing import padded_batch


@torch.inference_mode()
def attention_maps(model: BertModel, input_ids: Tensor, segment_ids: Tensor) -> Tensor:
    """Attention [L, A, T, T] of every pass, from each token (rows, which sum to 1) to each, for one example of ids [T].

    The model must be in evaluation mode."""
    batch = padded_batch(input_ids[None], segment_ids[None], None)
    hidden, maps = model.embeddings(batch), []                                     # [T, H]
    for layer, exchanged in model.encoder.passes:
        attention = model.encoder.layer[layer].attention.self
        to_query, to_key = attention.roles(exchanged)
        query, key = (projection(hidden).unflatten(1, (attention.num_attention_heads, -1)).transpose(0, 1)
                      for projection in (to_query, to_key))                        # [A, T, D]
        maps.append((query @ key.transpose(1, 2) * query.size(2) ** -0.5).softmax(-1))
        hidden = model.encoder.layer[layer](hidden, batch.layout, exchanged)
    return torch.stack(maps)


def both_passes(passes: list[tuple[int, bool]], layer: int | None) -> tuple[int, int]:
    """The numbers of the first two passes of a layer, of the first one that runs twice for None; all from 0.

    InputError where there is none such."""
    runs = {stored: [number for number, (of_pass, _) in enumerate(passes) if of_pass == stored] for stored, _ in passes}
    twice = [stored for stored, numbers in runs.items() if len(numbers) > 1]
    if not twice:
        raise InputError('each of its layers runs once; attention is shown of a layer that runs twice, as in a student of '
                         '--model_type SPS')
    if layer is not None and layer not in twice:
        raise InputError(f'--layer {layer + 1}: must be one that runs twice: {", ".join(str(one + 1) for one in twice)}')
    first, second, *_ = runs[twice[0] if layer is None else layer]
    return first, second
