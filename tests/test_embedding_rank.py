"""Word embeddings as a product of two matrices: how near it is, files, students and their stages, comparisons."""
import json
import logging

import numpy as np
import pandas as pd
import pytest
import tensorly
import torch
from conftest import write_checkpoint
from torch import nn

from benchmarks import embedding_rank
from BERT.pytorch_pretrained_bert import BertConfig, BertModel
from BERT.pytorch_pretrained_bert.factored import (
    PROJECTION,
    ROWS,
    WHOLE,
    FactoredEmbedding,
    factorise,
    whole_embeddings,
    with_rank,
)
from BERT.pytorch_pretrained_bert.file_utils import InputError
from BERT.pytorch_pretrained_bert.inference import packed_for_inference
from BERT.pytorch_pretrained_bert.packing import packed_batch
from BERT.pytorch_pretrained_bert.weights import read_state_dict
from src import training
from src.argument_parser import PTP, TRAIN, parse
from src.checkpoints import load_saved, save_model
from src.grid import Grid, check_grid, find_address, grid_cells, parse_axes
from src.modeling import SequenceClassifier, count_parameters, wiring
from src.runs import student_config
from src.saved_runs import load_run
from src.stages import setting_columns, student_stage

SHAPE = {'hidden_size': 16, 'num_hidden_layers': 2, 'num_attention_heads': 4, 'intermediate_size': 24,
         'max_position_embeddings': 32, 'initializer_range': 0.1}
BRIEF = ('--bert_model', 'tiny', '--task', 'MRPC', '--precision', 'fp32', '--num_train_epochs', 1, '--train_batch_size', 12)
OF_STUDENTS = ('--model_type', 'SPS', '--student_hidden_layers', 1, '--teacher_hidden_layers', 2, '--learning_rate', '1e-3')


def config(rank=None, **changes):
    return BertConfig(50, **SHAPE | changes, embedding_rank=rank)


def matrix(rows=50, columns=16, seed=0):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def state_of(**changes):
    torch.manual_seed(1)
    return BertModel(config(**changes)).state_dict()


def model_from(state, rank, **changes):
    model = BertModel(config(rank, **changes)).eval()
    model.load(dict(state), 'some.bin')
    return model


def packed(seed=0):
    rng = np.random.default_rng(seed)
    lengths = np.array([9, 7, 4])
    return packed_batch(rng.integers(1, 50, lengths.sum()), lengths // 2, lengths)


# The factors

@pytest.mark.parametrize('shape', [(50, 16), (12, 16)])
@pytest.mark.parametrize('rank', [1, 5, 11])
def test_the_error_is_that_of_the_singular_values_left_out(shape, rank):
    whole = matrix(*shape).double()
    rows, projection = factorise(whole, rank)
    assert rows.shape == (shape[0], rank) and projection.shape == (shape[1], rank)
    left_out = np.linalg.svd(whole.numpy(), compute_uv=False)[rank:]
    assert torch.linalg.norm(whole - rows @ projection.T).item() == pytest.approx(np.sqrt((left_out ** 2).sum()), rel=1e-10)


def test_the_singular_values_are_in_the_rows():
    rows, projection = factorise(matrix(), 6)
    assert torch.allclose(projection.T @ projection, torch.eye(6).double(), atol=1e-12)
    assert np.allclose(torch.linalg.norm(rows, dim=0), np.linalg.svd(matrix().numpy(), compute_uv=False)[:6], rtol=1e-5)


def test_factors_are_the_same_each_time_whatever_is_drawn_between(monkeypatch):
    rows, projection = factorise(matrix(), 6)
    torch.manual_seed(9)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    again = factorise(matrix(), 6)
    assert torch.equal(rows, again[0]) and torch.equal(projection, again[1])
    assert torch.equal(before[0], torch.get_rng_state()) and before[1] == np.random.get_state()[1].tolist()
    flipped = factorise(-matrix(), 6)           # signs are fixed by the larger factor, so this can only change the smaller
    assert torch.allclose(flipped[0], rows, atol=1e-10) and torch.allclose(flipped[1], -projection, atol=1e-10)


@pytest.mark.parametrize('precision', [torch.float32, torch.bfloat16])
def test_a_product_of_full_rank_is_the_model(precision):
    state = state_of()
    whole, product = model_from(state, None), model_from(state, None)
    product.embeddings.word_embeddings = FactoredEmbedding(50, 16, 16)
    rows, projection = factorise(state[WHOLE], 16)
    with torch.no_grad():
        product.embeddings.word_embeddings.embedding.weight.copy_(rows)
        product.embeddings.word_embeddings.projection.weight.copy_(projection)
    with torch.autocast('cpu', precision, enabled=precision != torch.float32):
        expected, found = whole.encode(packed()), product.encode(packed())
        with torch.inference_mode(), packed_for_inference(product, precision):
            evaluated = product.encode(packed())
    atol = 1e-5 if precision == torch.float32 else 0.1
    for one, *others in zip(expected, found, evaluated, strict=True):
        assert all(torch.allclose(one.float(), other.float(), atol=atol) for other in others)


def test_a_lower_rank_is_another_model():
    whole, product = model_from(state_of(), None), model_from(state_of(), 4)
    assert not torch.allclose(whole.encode(packed())[1], product.encode(packed())[1], atol=1e-2)
    nearest = product.embeddings.word_embeddings.weight
    u, s, vt = np.linalg.svd(state_of()[WHOLE].numpy(), full_matrices=False)
    assert np.allclose(nearest.detach(), u[:, :4] * s[:4] @ vt[:4], atol=1e-5)


# The model

def test_without_a_rank_nothing_changes():
    assert type(BertModel(config()).embeddings.word_embeddings) is nn.Embedding
    assert WHOLE in state_of() and not {ROWS, PROJECTION} & state_of().keys()
    assert with_rank(state := state_of(), None, 'some.bin') is state
    assert whole_embeddings(state) is state


@pytest.mark.parametrize(('vocab', 'hidden', 'rank'), [(30522, 384, 64), (30522, 768, 128), (50, 16, 15)])
def test_parameters(vocab, hidden, rank):
    shape = {'hidden_size': hidden, 'num_hidden_layers': 3, 'passes': wiring('SPS', 3)}
    with torch.device('meta'):
        whole, product = (BertModel(BertConfig(vocab, **shape, num_attention_heads=4, embedding_rank=value))
                          for value in (None, rank))
    assert count_parameters(product) - count_parameters(whole) == vocab * rank + rank * hidden - vocab * hidden
    assert {name for name in product.state_dict()} ^ {name for name in whole.state_dict()} == {WHOLE, ROWS, PROJECTION}


def test_the_table_multiplied_out_is_what_is_looked_up():
    embedding = model_from(state_of(), 5).embeddings.word_embeddings
    ids = torch.tensor([3, 0, 49, 3])
    assert torch.allclose(embedding(ids), embedding.weight[ids], atol=1e-6)
    assert embedding.weight.shape == (50, 16)
    embedding(ids).sum().backward()
    assert (embedding.embedding.weight.grad[ids[2:]] != 0).all()


def test_a_state_made_whole_is_that_of_a_plain_bert_that_computes_the_same():
    product = model_from(state_of(), 5)
    state = whole_embeddings(product.state_dict())
    assert list(state) == list(state_of())
    assert torch.allclose(model_from(state, None).encode(packed())[0], product.encode(packed())[0], atol=1e-5)


@pytest.mark.parametrize('precision', [torch.float32, torch.bfloat16])
def test_gradients_are_those_of_the_formula(precision):
    """d loss / d rows = G P and d loss / d projection = Gᵀ E, with G the gradient of the whole table."""
    product = model_from(state_of(), 5).train()
    for layer in product.modules():
        layer.dropout_prob = 0.0
    factors = product.embeddings.word_embeddings
    whole = model_from(whole_embeddings(product.state_dict()), None).train()
    for layer in whole.modules():
        layer.dropout_prob = 0.0
    for model in (product, whole):
        with torch.autocast('cpu', precision, enabled=precision != torch.float32):
            pooled = model.encode(packed())[1]
        (pooled.float() * torch.linspace(-1, 1, pooled.numel()).view_as(pooled)).sum().backward()
    grad = whole.embeddings.word_embeddings.weight.grad
    tolerance = {'rtol': 1e-3, 'atol': 1e-5} if precision == torch.float32 else {'rtol': 0.1, 'atol': 0.1 * grad.abs().max()}
    assert factors.embedding.weight.grad.dtype == factors.projection.weight.grad.dtype == torch.float32
    assert torch.allclose(factors.embedding.weight.grad, grad @ factors.projection.weight, **tolerance)
    assert torch.allclose(factors.projection.weight.grad, grad.T @ factors.embedding.weight, **tolerance)


def test_initial_weights_are_drawn():
    factors = BertModel(config(8)).embeddings.word_embeddings
    for parameter in factors.parameters():
        assert 0.07 < parameter.std() < 0.13


# The configuration

@pytest.mark.parametrize('rank', [0, -1, 16, 50, 1.5, '4', True, [4]])
def test_ranks_that_are_none(rank):
    with pytest.raises(InputError, match='embedding_rank of a BERT configuration must be null or .* from 1 to 15'):
        config(rank)


def test_configurations_with_and_without_a_rank_are_read(tmp_path):
    for rank in (None, 4):
        (tmp_path / 'config.json').write_text(config(rank).to_json_string(), encoding='utf-8')
        assert BertConfig.from_json_file(tmp_path / 'config.json').embedding_rank == rank
    old = {name: value for name, value in config().to_dict().items() if name != 'embedding_rank'}
    assert BertConfig.from_dict(old).embedding_rank is None


# Files

def test_files_fit_models_of_their_rank_alone(tmp_path):
    model = SequenceClassifier(config(4), 2)
    save_model(model, tmp_path, 'BERT', '')
    files = tmp_path / 'BERT.encoder.pkl', tmp_path / 'BERT.cls.pkl'
    again = SequenceClassifier(config(4), 2)
    load_saved(again, files)
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), again.parameters(), strict=True))
    for rank, words in ((None, 'the model whole ones'), (5, 'the model of rank 5')):
        with pytest.raises(InputError) as told:
            load_saved(SequenceClassifier(config(rank), 2), files)
        assert str(told.value).startswith(f'{files[0]} has word embeddings of rank 4, {words}: ')
        assert '--embedding_rank 4' in str(told.value)


def test_room_is_that_of_the_factors_and_a_small_file_of_another_rank_is_told_of(tmp_path):
    shape = {'hidden_size': 16, 'num_hidden_layers': 1, 'intermediate_size': 4, 'max_position_embeddings': 4}
    small, whole = (BertConfig(5000, **shape, num_attention_heads=4, embedding_rank=rank) for rank in (1, None))
    save_model(SequenceClassifier(small, 2), tmp_path, 'BERT', '')
    small.check_room(tmp_path / 'BERT.encoder.pkl')
    with pytest.raises(InputError, match='has word embeddings of rank 1, the model whole ones'):
        whole.check_room(tmp_path / 'BERT.encoder.pkl')


@pytest.mark.parametrize('spoil', [lambda table: table[0], lambda table: table[:3], lambda table: table * torch.nan,
                                   lambda table: table[:, :0]])
def test_a_matrix_without_factors_is_refused(spoil):
    state = state_of()
    with pytest.raises(InputError, match=r'some\.bin: .*word_embeddings.* has no factors of rank 4'):
        BertModel(config(4)).load({**state, WHOLE: spoil(state[WHOLE])}, 'some.bin')


def test_what_is_missing_or_of_another_shape_is_told():
    state = state_of()
    for changed, words in (({WHOLE: state[WHOLE][:40]}, r'embedding\.weight is \[40, 4\], expected \[50, 4\]'),
                           ({WHOLE: None}, r'2 tensors missing: .*word_embeddings\.embedding\.weight'),
                           ({WHOLE: None, ROWS: torch.zeros(50, 4)}, r'1 tensors missing: .*projection\.weight'),
                           ({WHOLE: None, ROWS: torch.tensor(4.0), PROJECTION: torch.zeros(16, 4)}, r'of another shape')):
        given = {name: tensor for name, tensor in (state | changed).items() if tensor is not None}
        with pytest.raises(InputError, match=words):
            BertModel(config(4)).load(given, 'some.bin')


def test_factors_go_before_a_whole_matrix_beside_them():
    factors = {ROWS: torch.ones(50, 4), PROJECTION: torch.ones(16, 4)}
    for state in (state_of() | factors, factors | state_of()):
        assert (model_from(state, 4).embeddings.word_embeddings.weight == 4).all()


def test_how_far_the_start_is_off_is_logged(caplog):
    with caplog.at_level(logging.INFO):
        model_from(state_of(), 4)
    singular = np.linalg.svd(state_of()[WHOLE].numpy(), compute_uv=False)
    percent = 100 * np.sqrt((singular[4:] ** 2).sum() / (singular ** 2).sum())
    assert f'some.bin: word embeddings [50, 16] start as a product of rank 4, which differs from them by {percent:.1f} %' \
        in caplog.text


# The benchmark

def test_the_benchmarks_table(tmp_path, capsys):
    write_checkpoint(tmp_path / 'tiny', hf_names=True)
    with tensorly.backend_context('pytorch'):
        embedding_rank.main(['--bert_model', str(tmp_path / 'tiny'), '--ranks', '3', '9', '--layers', '1'])
    _, _, whole, *rows = [line.strip('| ').split(' | ') for line in capsys.readouterr().out.splitlines()]
    table = read_state_dict(tmp_path / 'tiny' / 'model.safetensors')[WHOLE]
    singular = np.linalg.svd(table.numpy(), compute_uv=False)
    for row, rank in zip(rows, (3, 9), strict=True):
        numbers = rank * sum(table.shape)
        nearest = np.sqrt((singular[rank:] ** 2).sum() / (singular ** 2).sum())
        assert row[:3] == [str(rank), f'{numbers:,}', f'{nearest:.4f}'] and float(row[3]) >= nearest - 1e-4
        assert int(whole[-2].replace(',', '')) - int(row[-2].replace(',', '')) == table.numel() - numbers
        assert float(row[-1]) <= float(whole[-1])


def test_a_tensor_train_of_enough_numbers_is_the_matrix():
    with tensorly.backend_context('pytorch'):
        near, _ = embedding_rank.tensor_train(matrix(), 10 ** 4)
        assert torch.allclose(near, matrix(), atol=1e-5)
        far, rank = embedding_rank.tensor_train(matrix(), 200)
    rows, columns = embedding_rank.parts(50), embedding_rank.parts(16)
    one, two, three = (row * column for row, column in zip(rows, columns, strict=True))
    assert one * rank + two * rank ** 2 + three * rank <= 200 < one * (rank + 1) + two * (rank + 1) ** 2 + three * (rank + 1)
    assert embedding_rank.error(matrix(), far) > 0.3


# Flags

@pytest.mark.parametrize('script', [TRAIN, PTP])
@pytest.mark.parametrize(('value', 'words'), [('0', 'must be at least 1'), ('-3', 'must be at least 1'),
                                              ('x', 'must be a whole number, or None'), ('2.5', 'must be a whole number')])
def test_values_that_are_no_rank(script, value, words):
    with pytest.raises(InputError, match=f"--embedding_rank '?{value}'?: {words}"):
        parse(script, '', ['--embedding_rank', value])


def test_a_rank_that_saves_nothing_is_refused():
    args = parse(TRAIN, '', ['--embedding_rank', '16'])
    with pytest.raises(InputError, match='--embedding_rank 16: must be at most 15; the word embeddings of .* are 50 x 16'):
        student_config(args, config())
    args = parse(TRAIN, '', ['--embedding_rank', '15'])
    assert student_config(args, config()).embedding_rank == 15
    assert student_config(parse(TRAIN, '', []), config(7)).embedding_rank == 7          # the checkpoint's own


# The scripts

@pytest.fixture(scope='module')
def stages(make_workspace):
    """A workspace where a teacher has taught PTP and students of rank 8."""
    space = make_workspace()
    space.add_teacher()
    space.succeed('save_teacher_outputs.py', *BRIEF[:6], '--teacher_hidden_layers', 2)
    ptp = space.succeed('PTP.py', *BRIEF, *OF_STUDENTS, '--PTP_seed', 1, '--embedding_rank', 8)
    return space, ptp


def student(space, *flags):
    return space.call('NLI_KD_training.py', *BRIEF, '--train_type', 'pkd', *OF_STUDENTS, '--train_seed', 1, *flags)


def run_folder(space, name):
    folder, = space.outputs.glob(f'PeaKD/MRPC/{name}*')
    return folder


def test_ptp_of_a_rank_has_names_of_its_own_and_starts_from_the_nearest_product(stages):
    space, ptp = stages
    names = sorted(path.name for path in space.teacher_folder().glob('PTP.*'))
    assert names == ['PTP.SPS_1layer_rank8', 'PTP.SPS_1layer_rank8.cls.pkl', 'PTP.SPS_1layer_rank8.encoder.pkl']
    assert 'start as a product of rank 8' in ptp.out
    record = json.loads((space.teacher_folder() / names[0] / 'run.json').read_text())
    assert record['arguments']['embedding_rank'] == record['embedding_rank'] == 8


def test_a_student_takes_ptps_factors_as_they_are(stages):
    space, _ = stages
    frozen = ('--load_model', 'PTP.SPS_1layer_rank8.encoder.pkl', '--embedding_rank', 8, '--learning_rate', '1e-30')
    outcome = student(space, *frozen, '--output_dir', space.outputs / 'handed')
    assert outcome.code == 0 and 'start as a product' not in outcome.out
    one, other = (read_state_dict(path) for path in (space.teacher_folder() / 'PTP.SPS_1layer_rank8.encoder.pkl',
                                                     space.outputs / 'handed' / 'BERT.encoder.pkl'))
    assert one[ROWS].shape[1] == 8 and one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in (ROWS, PROJECTION))


@pytest.mark.parametrize('flags', [(), ('--embedding_rank', 9)])
def test_a_student_of_another_rank_than_ptps_is_refused(stages, flags):
    space, _ = stages
    outcome = student(space, '--load_model', 'PTP.SPS_1layer_rank8.encoder.pkl', *flags)
    assert outcome.code == 2 and outcome.err.count('\n') == 1
    assert 'encoder.pkl has word embeddings of rank 8' in outcome.err and '--embedding_rank 8' in outcome.err


def test_a_teacher_of_a_rank_is_refused(stages):
    space, _ = stages
    space.succeed('NLI_KD_training.py', *BRIEF, '--train_seed', 1, '--embedding_rank', 8)
    made = run_folder(space, 'ft_Original_2layer_rank8_seed1') / 'BERT.encoder.pkl'          # not in the teacher's folder
    outcome = space.call('save_teacher_outputs.py', *BRIEF[:6], '--teacher_hidden_layers', 2, '--load_model', made)
    assert outcome.code == 2 and f'{made} has word embeddings of rank 8, the model whole ones' in outcome.err


def test_a_student_learns_and_is_evaluated_from_its_folder_as_in_its_training(stages):
    space, _ = stages
    assert student(space, '--embedding_rank', 8, '--num_train_epochs', 12).code == 0
    folder = run_folder(space, 'pkd_SPS_1layer_rank8_seed1')
    record = json.loads((folder / 'run.json').read_text())
    losses = [float(line.split(',')[4]) for line in (folder / 'train_log.txt').read_text().splitlines()[1:]]
    assert losses[-1] < losses[4]            # running means of an epoch: its last and the first's
    with space.active():
        run = load_run(folder)
        assert run.model.config.embedding_rank == 8
        scores = run.dev_scores(run.task)
    assert scores == {name: value for name, value in record['dev_saved'].items() if name != 'global_step'}
    words, hidden = run.model.config.vocab_size, run.model.config.hidden_size
    whole = BertConfig.from_dict(run.model.config.to_dict() | {'embedding_rank': None})
    without = count_parameters(SequenceClassifier(whole, 2))
    assert record['parameters'] == count_parameters(run.model) == without - words * hidden + 8 * (words + hidden)
    start = space.models / 'tiny' / 'pytorch_model.bin'
    rows, projection = factorise(read_state_dict(start)[WHOLE], 8)
    trained = run.model.encoder.bert.embeddings.word_embeddings
    for now, then in ((trained.embedding.weight, rows), (trained.projection.weight, projection)):
        assert 1e-3 < (now - then).abs().max() < 0.2                  # both are trained, from there


def test_evaluate_and_submit_know_it(stages):
    space, _ = stages
    if not list(space.outputs.glob('PeaKD/MRPC/pkd_SPS_1layer_rank4*')):
        assert student(space, '--embedding_rank', 4).code == 0
    folder = run_folder(space, 'pkd_SPS_1layer_rank4')
    for mode in ('evaluate', 'submit'):
        space.succeed('run_glue_benchmark.py', '--mode', mode, '--runs', folder, '--output_dir', space.outputs / mode)
    assert (space.outputs / 'submit' / 'MRPC.tsv').is_file()
    record = json.loads((folder / 'run.json').read_text())
    (folder / 'run.json').write_text(json.dumps(record | {'embedding_rank': None}))
    outcome = space.call('run_glue_benchmark.py', '--mode', 'evaluate', '--runs', folder)
    assert outcome.code == 2 and 'has word embeddings of rank 4, the model whole ones' in outcome.err


def test_a_stopped_run_of_a_rank_goes_on_bit_for_bit(stages, monkeypatch):
    space, _ = stages
    flags = ('--embedding_rank', 8, '--checkpoint_every', 3)
    assert student(space, *flags, '--output_dir', space.outputs / 'whole').code == 0
    with monkeypatch.context() as patch:
        patch.setattr(training.Trainer, '_checkpoint_due', lambda self: self.steps == 3)
        keep = training.Trainer.keep_state

        def keep_and_die(self):
            keep(self)
            raise InputError('stopped here')
        patch.setattr(training.Trainer, 'keep_state', keep_and_die)
        assert 'stopped here' in student(space, *flags, '--output_dir', space.outputs / 'halves').err
    other = student(space, '--embedding_rank', 9, '--resume', '--output_dir', space.outputs / 'halves')
    assert other.code == 2 and '--embedding_rank was 8, is 9' in other.err
    assert 'goes on after step 3' in student(space, *flags, '--resume', '--output_dir', space.outputs / 'halves').out
    for name in ('BERT.encoder.pkl', 'BERT.cls.pkl'):
        one, two = (read_state_dict(space.outputs / folder / name) for folder in ('whole', 'halves'))
        assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


# Comparisons

def grid(methods, *words, **changes):
    settings = {'tasks': ('MRPC',), 'methods': methods, 'layers': (3,), 'seeds': (1,), 'bert_model': 'tiny',
                'checkpoint_layers': 6, 'teacher_layers': 6, 'recommended': False, 'max_rank': 31}
    return Grid(**settings | changes, axes=parse_axes(list(words)))


def test_an_axis_of_ranks_is_for_students_and_their_ptp():
    chosen = grid(('pkd', 'sps+ptp'), 'embedding_rank=None,8,16')
    check_grid(chosen)
    made = [student_stage(chosen, cell) for cell in grid_cells(chosen)]
    assert [stage.arguments.embedding_rank for stage in made] == [None, 8, 16, None, 8, 16]
    assert [stage.need('ptp').arguments.embedding_rank for stage in made[3:]] == [None, 8, 16]
    prefixes = [f'PTP.SPS_3layer{rank}' for rank in ('', '_rank8', '_rank16')]
    assert [stage.need('ptp').prefix for stage in made[3:]] == prefixes
    assert len({stage.folder for stage in made}) == 6 and len({stage.need('teacher').folder for stage in made}) == 1
    assert made[0].folder == student_stage(chosen := grid(('pkd',)), grid_cells(chosen)[0]).folder
    assert setting_columns(made[1])['student.embedding_rank'] == '8'
    assert 'student.embedding_rank' not in setting_columns(made[0])


@pytest.mark.parametrize('stage', ['teacher', 'ptp'])
def test_a_rank_is_not_set_for_other_stages(stage):
    with pytest.raises(InputError, match=f'{stage}.embedding_rank: that is not set here; use embedding_rank'):
        find_address('--grid', f'{stage}.embedding_rank')


def test_ranks_beyond_the_checkpoint_are_told_before_a_teacher_is_trained():
    with pytest.raises(InputError, match='embedding_rank=32: must be at most 31 for the checkpoint tiny'):
        check_grid(grid(('pkd',), 'embedding_rank=8,32'))


def test_compare_runs_an_axis_of_ranks(stages, calls):
    space, _ = stages
    out = space.outputs / 'ranks'
    space.succeed('run_glue_benchmark.py', '--mode', 'compare', '--bert_model', 'tiny', '--layers', 1, '--seeds', 1,
                  '--methods', 'pkd,sps+ptp', '--output_dir', out, '--grid', 'embedding_rank=None,4', '--set',
                  'precision=fp32', 'num_train_epochs=1', 'ptp.num_train_epochs=1', 'teacher.num_train_epochs=1')
    table = pd.read_csv(out / 'results.csv')
    assert table['error'].isna().all() and len(table) == 4
    assert sorted(table['student.embedding_rank'].fillna(0)) == [0, 0, 4, 4]
    assert len(set(table['parameters'])) == 2
    assert calls.count('NLI_KD_training.py') == 5 and calls.count('PTP.py') == 2
    space.succeed('run_glue_benchmark.py', '--mode', 'summary', '--results', out / 'results.csv', '--all_settings')
    assert 'embedding_rank' in (out / 'summary.md').read_text(encoding='utf-8')
