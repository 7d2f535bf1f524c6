"""The flags: all there, with the defaults they are documented with; given ones win; problems are told at once."""
import re

import pytest
from conftest import ROOT

from BERT.pytorch_pretrained_bert import BertConfig
from BERT.pytorch_pretrained_bert.file_utils import InputError
from src import recommended_settings
from src.argument_parser import FLAGS, PTP, SWITCHES, TEACHER, TRAIN, parse
from src.checkpoints import find_checkpoint
from src.runs import given_folder, student_config

SHARED = {'task': 'MRPC', 'task_config': None, 'teacher_hidden_layers': 12, 'load_model': None, 'cls_checkpoint': None,
          'teacher_prediction': None, 'bert_model': 'bert_base_uncased', 'max_seq_length': 128, 'eval_batch_size': 32,
          'fp16': False, 'precision': 'auto', 'checkpoint_every': None}
FITTING = SHARED | {
    'train_type': 'ft', 'model_type': 'Original', 'student_hidden_layers': None, 'passes': None, 'embedding_rank': None,
    'saving_criterion_acc': 1.0, 'saving_criterion_loss': 0.0, 'output_dir': None, 'train_batch_size': 32,
    'learning_rate': 2e-5, 'warmup_proportion': 0.1, 'dropout': None, 'gradient_accumulation_steps': 1, 'log_every_step': 1,
    'num_train_epochs': 4.0, 'layer_initialization': None, 'freeze_layer': None, 'loss_scale': 0.0, 'eval_every': None,
    'holdout': 0.0, 'holdout_seed': 0, 'report_to': 'none'}
DEFAULTS = {
    TRAIN: FITTING | {'train_seed': None, 'alpha': 0.7, 'T': 10.0, 'beta': 100.0, 'normalize_patience': True,
                      'fc_layer_idx': None, 'fold': None},
    PTP: FITTING | {'PTP_seed': None, 'ptp_threshold': None, 'ptp_labels': None, 'ptp_prior': None},
    TEACHER: SHARED | {'all_layers': True, 'teacher_model': None, 'teacher_labels': None, 'join': None},
}
# A value for each flag of the training script that is not its default: (words, what they mean)
OTHER = {
    'task': ('rte', 'RTE'), 'train_type': ('pkd', 'pkd'), 'model_type': ('SPS_no_shuffle', 'SPS_no_shuffle'),
    'student_hidden_layers': ('3', 3), 'teacher_hidden_layers': ('6', 6), 'train_seed': ('0', 0),
    'saving_criterion_acc': ('0.8', 0.8), 'saving_criterion_loss': ('0.5', 0.5), 'load_model': ('a.pkl', 'a.pkl'),
    'cls_checkpoint': ('b.pkl', 'b.pkl'), 'teacher_prediction': ('c.pkl', 'c.pkl'), 'bert_model': ('/m', '/m'),
    'output_dir': ('out', 'out'), 'max_seq_length': ('64', 64), 'train_batch_size': ('16', 16),
    'eval_batch_size': ('8', 8), 'learning_rate': ('3e-5', 3e-5), 'warmup_proportion': ('0', 0.0),
    'gradient_accumulation_steps': ('2', 2), 'log_every_step': ('10', 10), 'num_train_epochs': ('0.5', 0.5),
    'alpha': ('0', 0.0), 'T': ('2', 2.0), 'beta': ('10', 10.0), 'normalize_patience': ('False', False),
    'fc_layer_idx': ('1,3', [1, 3]), 'layer_initialization': ('2,4,6', [2, 4, 6]), 'freeze_layer': ('1', [1]),
    'eval_every': ('5', 5), 'precision': ('fp16', 'fp16'), 'loss_scale': ('128', 128.0),
    'holdout': ('0.1', 0.1), 'holdout_seed': ('3', 3), 'fold': ('2/5', '2/5'), 'checkpoint_every': ('10m', '10m'),
    'embedding_rank': ('64', 64), 'dropout': ('0', 0.0),
    'report_to': ('tensorboard', 'tensorboard'),
}


def arguments(script, *flags):
    return vars(parse(script, '', list(flags)))


@pytest.mark.parametrize('script', DEFAULTS)
def test_flags_and_defaults(script):
    found = arguments(script)
    assert found.pop('given') == []
    assert {found.pop(name) for name, (scripts, _) in SWITCHES.items() if script in scripts} == {False}
    assert found == DEFAULTS[script]


def test_table_is_no_larger_than_what_is_tested():
    assert {flag.dest for flag in FLAGS} == set().union(*DEFAULTS.values())


@pytest.mark.parametrize('train_type, epochs', [('ft', 4), ('kd', 6), ('pkd', 6)])
def test_epochs_by_train_type(train_type, epochs):
    assert arguments(TRAIN, '--train_type', train_type)['num_train_epochs'] == epochs
    assert arguments(TRAIN, '--train_type', train_type, '--num_train_epochs', 'None')['num_train_epochs'] == epochs
    assert arguments(TRAIN, '--train_type', train_type, '--num_train_epochs', '4')['num_train_epochs'] == 4


def test_every_given_value_stands():
    words = [word for name, (text, _) in OTHER.items() for word in (f'--{name}', text)]
    found = arguments(TRAIN, *words)
    assert {name: found[name] for name in OTHER} == {name: value for name, (_, value) in OTHER.items()}
    assert found['given'] == sorted(OTHER)
    assert set(OTHER) | {'passes', 'fp16', 'task_config'} == set(DEFAULTS[TRAIN])


@pytest.mark.parametrize('script, name', [(script, name) for script, flags in DEFAULTS.items()
                                          for name, value in flags.items() if value is None])
def test_the_word_none(script, name):
    assert arguments(script, f'--{name}', 'None')[name] is None


@pytest.mark.parametrize('alias, name', [('task_name', 'task'), ('load_model_dir', 'load_model'),
                                         ('encoder_checkpoint', 'load_model'), ('save_model_dir', 'output_dir')])
@pytest.mark.parametrize('script', DEFAULTS)
def test_aliases(script, alias, name):
    if name == 'output_dir' and script == TEACHER:
        pytest.skip('save_teacher_outputs.py has no run folder')
    value = 'QNLI' if name == 'task' else 'x'
    assert arguments(script, f'--{alias}', value)[name] == value


def test_abbreviations():
    found = arguments(TRAIN, '--student_hidden_layer', '3', '--train_b', '8', '--save_model', 'x')
    assert (found['student_hidden_layers'], found['train_batch_size'], found['output_dir']) == (3, 8, 'x')
    with pytest.raises(InputError, match='--train.*--train_type.*--train_seed|ambiguous.*--train'):
        arguments(TRAIN, '--train', 'ft')


@pytest.mark.parametrize('written, name', [('cola', 'CoLA'), ('sst-2', 'SST-2'), ('mrpc', 'MRPC'), ('STS-b', 'STS-B'),
                                           ('qqp', 'QQP'), ('mnli', 'MNLI'), ('MNLI-MM', 'MNLI-mm'), ('qnli', 'QNLI'),
                                           ('rte', 'RTE'), ('wnli', 'WNLI'), ('snli', 'SNLI'), ('sample', 'Sample'),
                                           ('AX', 'diagnostic'), ('Diagnostic', 'diagnostic')])
def test_tasks_in_any_case(written, name):
    assert arguments(TRAIN, '--task', written)['task'] == name


@pytest.mark.parametrize('text, value', [('True', True), ('false', False), ('1', True), ('0', False)])
def test_booleans(text, value):
    assert arguments(TRAIN, '--train_type', 'pkd', '--normalize_patience', text)['normalize_patience'] is value


def test_fp16_is_a_precision():
    assert arguments(TRAIN, '--fp16', 'True')['precision'] == 'fp16'
    assert arguments(TRAIN, '--fp16', 'True', '--precision', 'fp16')['precision'] == 'fp16'
    assert arguments(TRAIN, '--fp16', 'False', '--precision', 'bf16')['precision'] == 'bf16'
    for spelling in (('--fp16', 'True'), ('--precision', 'fp16')):         # one configuration, one folder
        found = arguments(TRAIN, *spelling)
        assert (found['precision'], found['fp16']) == ('fp16', False)


def test_constants_go_before_defaults_and_flags_before_constants():
    constants = {'task': 'RTE', 'teacher_hidden_layers': 6, 'all_layers': False}
    found = vars(parse(TEACHER, '', ['--teacher_hidden_layers', '12'], constants))
    assert (found['task'], found['teacher_hidden_layers'], found['all_layers']) == ('RTE', 12, False)


def test_where_files_and_folders_lie_that_flags_name(tmp_path, monkeypatch):
    """~ is the user's home; else absolute, or relative to the working directory, else, of a file, in the task's folders."""
    home, here, first, second = places = [tmp_path / name for name in ('home', 'here', 'first', 'second')]
    for place in places:
        place.mkdir()
        (place / 'a.pkl').write_text('weights')
    monkeypatch.setenv('HOME', str(home))
    monkeypatch.chdir(here)

    def found(name):
        return find_checkpoint('load_model', name, [first, second])

    assert found('~/a.pkl') == home / 'a.pkl' and found(str(second / 'a.pkl')) == second / 'a.pkl'
    for place in (here, first, second):
        assert found('a.pkl') == place / 'a.pkl'
        (place / 'a.pkl').unlink()
    with pytest.raises(FileNotFoundError, match='--load_model a.pkl: no such file'):
        found('a.pkl')
    for name, folder in (('~/out', home / 'out'), ('out', here / 'out'), (str(first / 'out'), first / 'out')):
        assert given_folder(parse(TRAIN, '', ['--output_dir', name])) == folder


def test_values_that_stand_as_text_in_the_source_are_of_their_flags_types():
    """As users edit constants and the table of recommended settings."""
    constants = {'task': 'RTE', 'teacher_hidden_layers': '6', 'all_layers': 'False', 'load_model': 'None'}
    found = vars(parse(TEACHER, '', [], constants))
    assert (found['teacher_hidden_layers'], found['all_layers'], found['load_model']) == (6, False, None)
    with pytest.raises(InputError, match="--teacher_hidden_layers 'six': must be a whole number"):
        parse(TEACHER, '', [], constants | {'teacher_hidden_layers': 'six'})
    assert parse(TEACHER, '', ['--teacher_hidden_layers', '3'], constants | {'teacher_hidden_layers': 'six'})


@pytest.fixture
def one_recommendation(monkeypatch):
    monkeypatch.setattr(recommended_settings, 'RECOMMENDED', {'small': {
        'ft': {None: {'learning_rate': '7e-5'}, 'rte': {'learning_rate': 8e-5, 'num_train_epochs': 9.0}},
        'ptp': {None: {'learning_rate': 1e-3, 'ptp_threshold': 'median'}}, 'pkd': {None: {'alpha': 0.25, 'beta': 7.0}}}})


def test_recommended_fills_what_is_not_given(one_recommendation):
    flags = ['--bert_model', '/models/small', '--recommended']
    found = arguments(TRAIN, *flags)
    assert (found['learning_rate'], found['num_train_epochs'], found['train_batch_size']) == (7e-5, 4, 32)
    found = arguments(TRAIN, *flags, '--task', 'rte')
    assert (found['learning_rate'], found['num_train_epochs']) == (8e-5, 9)
    found = arguments(PTP, *flags)
    assert (found['learning_rate'], found['ptp_threshold']) == (1e-3, 'median')
    assert arguments(TRAIN, *flags, '--train_type', 'pkd')['beta'] == 7
    # Without the word nothing is filled in; a checkpoint or stage that the table lacks keeps the usual defaults.
    assert arguments(TRAIN, *flags[:2])['learning_rate'] == 2e-5
    assert arguments(TRAIN, '--recommended')['learning_rate'] == 2e-5
    assert arguments(TRAIN, *flags, '--train_type', 'kd')['learning_rate'] == 2e-5


def test_a_recommendation_for_a_flag_that_is_none_is_told_of(one_recommendation):
    recommended_settings.RECOMMENDED['small']['pkd'][None] |= {'learning_rat': 1e-4, 'PTP_seed': 3}
    with pytest.raises(InputError) as error:
        arguments(TRAIN, '--bert_model', 'small', '--recommended', '--train_type', 'pkd', '--alpha', '2')
    for name in ('learning_rat', 'PTP_seed'):
        assert f"RECOMMENDED in src/recommended_settings.py: '{name}' is no flag of {TRAIN}" in str(error.value)
    assert '--alpha' in str(error.value)


def test_given_flags_win_over_recommended_ones(one_recommendation):
    flags = ['--bert_model', 'small', '--recommended', '--train_type', 'pkd']
    # 0.7 is the flag's default, and given all the same
    found = arguments(TRAIN, *flags, '--alpha', '0.7')
    assert (found['alpha'], found['beta']) == (0.7, 7)
    assert 'alpha' in found['given'] and 'beta' not in found['given']


def test_recommended_settings_are_values_of_flags():
    stages = {'ft': (TRAIN, 'ft'), 'kd': (TRAIN, 'kd'), 'pkd': (TRAIN, 'pkd'), 'ptp': (PTP, 'ft')}
    for model, by_stage in recommended_settings.RECOMMENDED.items():
        for stage, by_task in by_stage.items():
            script, train_type = stages[stage]
            for task in by_task:
                flags = ['--bert_model', model, '--train_type', train_type, '--task', task or 'WNLI', '--recommended']
                found = arguments(script, *flags)
                assert by_task[task].items() <= found.items()


def test_published_settings_of_bert_base():
    flags = ['--bert_model', 'bert_base_uncased', '--recommended']
    found = arguments(TRAIN, *flags, '--train_type', 'kd', '--task', 'rte')
    assert [found[name] for name in ('learning_rate', 'T', 'alpha', 'num_train_epochs')] == [2e-5, 20, 0.2, 4]
    found = arguments(TRAIN, *flags, '--train_type', 'pkd')
    assert [found[name] for name in ('learning_rate', 'T', 'alpha', 'beta', 'train_batch_size')] == [2e-5, 10, 0.7, 100, 64]
    assert arguments(TRAIN, *flags, '--train_type', 'kd', '--task', 'WNLI')['alpha'] == 0.5
    assert arguments(PTP, *flags)['num_train_epochs'] == 2


@pytest.mark.parametrize('words, expected', [
    ('--task Foo', ['--task', 'Foo', 'MRPC', 'STS-B']),
    ('--train_type dk', ['--train_type', 'dk', 'ft', 'kd', 'pkd']),
    ('--model_type sps', ['--model_type', 'sps', 'Original', 'SPS', 'SPS_no_shuffle']),
    ('--precision fp8', ['--precision', 'fp8', 'auto', 'fp32', 'bf16', 'fp16']),
    ('--student_hidden_layers 0', ['--student_hidden_layers', '0']),
    ('--student_hidden_layers three', ['--student_hidden_layers', 'three']),
    ('--teacher_hidden_layers -1', ['--teacher_hidden_layers', '-1']),
    ('--train_seed -1', ['--train_seed', '-1']),
    ('--train_seed 1.5', ['--train_seed', '1.5']),
    ('--train_batch_size 0', ['--train_batch_size', '0']),
    ('--eval_batch_size 0', ['--eval_batch_size', '0']),
    ('--learning_rate 0', ['--learning_rate', '0']),
    ('--learning_rate nan', ['--learning_rate', 'nan']),
    ('--warmup_proportion 1.5', ['--warmup_proportion', '1.5']),
    ('--num_train_epochs 0', ['--num_train_epochs', '0']),
    ('--num_train_epochs inf', ['--num_train_epochs', 'inf']),
    ('--gradient_accumulation_steps 0', ['--gradient_accumulation_steps', '0']),
    ('--gradient_accumulation_steps 64', ['--gradient_accumulation_steps', '64', '--train_batch_size', '32']),
    ('--log_every_step 0', ['--log_every_step', '0']),
    ('--eval_every 0', ['--eval_every', '0']),
    ('--checkpoint_every 0', ['--checkpoint_every', '0', '200', '10m']),
    ('--checkpoint_every 0m', ['--checkpoint_every', '0m', '200', '10m']),
    ('--checkpoint_every 5h', ['--checkpoint_every', '5h', '200', '10m']),
    ('--report_to tensorbord', ['--report_to', 'tensorbord', 'tensorboard, wandb', 'none']),
    ('--report_to tensorboard,', ['--report_to', 'tensorboard,', 'tensorboard, wandb']),
    ('--max_seq_length 3', ['--max_seq_length', '3']),
    ('--train_type kd --alpha 1.1', ['--alpha', '1.1']),
    ('--train_type kd --T 0', ['--T', '0']),
    ('--train_type pkd --beta -1', ['--beta', '-1']),
    ('--train_type pkd --beta inf', ['--beta', 'inf']),
    ('--saving_criterion_acc nan', ['--saving_criterion_acc', 'nan']),
    ('--train_type pkd --fc_layer_idx 1;2', ['--fc_layer_idx', '1;2']),
    ('--train_type pkd --normalize_patience maybe', ['--normalize_patience', 'maybe', 'True', 'False']),
    ('--layer_initialization 0', ['--layer_initialization', '0', '1']),
    ('--freeze_layer 0', ['--freeze_layer', '0', '1']),
    ('--student_hidden_layers 2 --layer_initialization 1,2,3', ['--layer_initialization', '3', '2']),
    ('--student_hidden_layers 2 --freeze_layer 3', ['--freeze_layer', '3', '2']),
    ('--passes 0,1', ['--passes', '0,1']),
    ('--dropout 1', ['--dropout', '1.0', 'from 0 to below 1']),
    ('--dropout=-0.1', ['--dropout', '-0.1']),
    ('--holdout 1', ['--holdout', '1.0', 'from 0 to below 1']),
    ('--holdout=-0.1', ['--holdout', '-0.1', 'from 0 to below 1']),
    ('--holdout nan', ['--holdout', 'nan', 'from 0 to below 1']),
    ('--holdout 0.1 --holdout_seed -1', ['--holdout_seed', '-1']),
    ('--holdout_seed 1', ['--holdout_seed', '--holdout', '--fold']),
    ('--fold 6/5', ['--fold', '6/5', 'F/K', '2/5']),
    ('--fold 0/5', ['--fold', '0/5']),
    ('--fold 1/1', ['--fold', '1/1']),
    ('--fold 0.2', ['--fold', '0.2']),
    ('--passes 1,2,1x --model_type SPS', ['--passes', '--model_type', 'SPS']),
    ('--fp16 True --precision bf16', ['--fp16', '--precision', 'bf16']),
    ('--fp16 False --precision fp16', ['--fp16 False', '--precision fp16']),
    ('--alpha 0.5', ['--alpha', 'ft', 'kd', 'pkd']),
    ('--train_type kd --beta 10', ['--beta', 'kd', 'pkd']),
    ('--no_such_flag 1', ['--no_such_flag']),
])
def test_wrong_values_of_the_training_script(words, expected):
    with pytest.raises(InputError) as caught:
        arguments(TRAIN, *words.split())
    message = str(caught.value)
    assert '\n' not in message
    assert [part for part in expected if part not in message] == []


@pytest.mark.parametrize('words, expected', [
    ('--train_type kd', ['--train_type', 'kd', 'ft']),
    ('--ptp_threshold high', ['--ptp_threshold', 'high', 'median']),
    ('--ptp_threshold 0.5,1.5', ['--ptp_threshold', '1.5']),
    ('--PTP_seed -3', ['--PTP_seed', '-3']),
])
def test_wrong_values_of_ptp(words, expected):
    with pytest.raises(InputError) as caught:
        arguments(PTP, *words.split())
    assert [part for part in expected if part not in str(caught.value)] == []


@pytest.mark.parametrize('words, expected', [
    ('--join a,b', ['--join', '--teacher_prediction']),
    ('--join a,b --teacher_prediction c --task RTE --load_model d', ['--task has no effect', '--load_model has no effect']),
])
def test_wrong_values_of_the_result_files_script(words, expected):
    with pytest.raises(InputError) as caught:
        arguments(TEACHER, *words.split())
    assert [part for part in expected if part not in str(caught.value)] == []
    for text in ('a,b', 'a, b', 'a; b', 'a,b,'):
        assert arguments(TEACHER, '--join', text, '--teacher_prediction', 'c')['join'] == ['a', 'b']


@pytest.mark.parametrize('script, words, needs', [
    (TRAIN, '--loss_scale 128', '--precision fp16'), (PTP, '--loss_scale 0 --precision bf16', '--precision fp16'),
    (TRAIN, '--holdout_seed 0', '--holdout or --fold'), (PTP, '--holdout_seed 3', '--holdout'),
    (TEACHER, '--teacher_labels a,b', '--teacher_model')])
def test_a_flag_without_the_one_that_it_needs(script, words, needs):
    """Only flags that the script has are named."""
    with pytest.raises(InputError) as caught:
        arguments(script, *words.split())
    assert str(caught.value) == f'{words.split()[0]} has no effect without {needs}'


def test_layers_are_checked_alike_whether_a_flag_or_the_checkpoint_says_how_many():
    words = ['--layer_initialization', '1,2,3', '--freeze_layer', '3,1']
    told = '--layer_initialization names 3 layers, the model has 2; --freeze_layer 3: the model has 2 layers'
    with pytest.raises(InputError) as of_flags:
        arguments(TRAIN, *words, '--student_hidden_layers', '2')
    with pytest.raises(InputError) as of_checkpoint:
        student_config(parse(TRAIN, '', words), BertConfig(99, 8, 2, 1, 8))
    assert str(of_flags.value) == str(of_checkpoint.value) == told


def test_the_holdout_seed_is_that_of_folds_too():
    assert arguments(TRAIN, '--fold', '1/3', '--holdout_seed', '4')['holdout_seed'] == 4


@pytest.mark.parametrize('name, value', [('T', '5'), ('alpha', '0.7'), ('beta', '100'), ('normalize_patience', 'True'),
                                         ('fc_layer_idx', '1'), ('teacher_prediction', 'x')])
def test_a_flag_without_effect_is_told(name, value):
    """Also with its default's value: the user believes that it does something."""
    with pytest.raises(InputError, match=f'--{name} .*--train_type ft'):
        arguments(TRAIN, f'--{name}', value)
    arguments(TRAIN, f'--{name}', value, '--train_type', 'pkd')


def test_all_problems_stand_in_one_message():
    words = ('--task Foo --train_type xyz --model_type SPS --passes 1,2 --fp16 True --precision fp32 --alpha 2 '
             '--learning_rate -1 --train_batch_size 2 --gradient_accumulation_steps 4 --student_hidden_layers 2 '
             '--layer_initialization 1 --freeze_layer 5 --train_seed -1 --beta high --fc_layer_idx 1; --loss_scale '
             'x --eval_every 1.5 --no_such_flag 7')
    with pytest.raises(InputError) as caught:
        arguments(TRAIN, *words.split())
    message = str(caught.value)
    assert '\n' not in message
    for part in ("'Foo'", "'xyz'", '--passes', '--fp16', '--alpha 2', '--learning_rate -1',
                 '--gradient_accumulation_steps 4', '--layer_initialization', '--freeze_layer 5', '--train_seed -1',
                 "--beta 'high': must be a number", "--fc_layer_idx '1;': must be whole numbers", "--loss_scale 'x'",
                 "--eval_every '1.5': must be a whole number, or None", '--no_such_flag 7: no such flag'):
        assert part in message, part
    problems = message.split('; ')
    assert len(problems) == len(set(problems))


@pytest.mark.parametrize('script', DEFAULTS)
def test_help_names_every_flag_and_its_default(script, capsys):
    """Each at the end of the flag's own paragraph; of a constant that a user has edited, its value."""
    with pytest.raises(SystemExit) as caught:
        parse(script, '', ['--help'], {'task': 'RTE'})
    assert caught.value.code == 0
    paragraphs = [' '.join(text.split()) for text in re.split(r'\n  (?=--)', capsys.readouterr().out)[1:]]
    shown = {text.split()[0]: text for text in paragraphs}
    defaults = DEFAULTS[script] | {'task': 'RTE'}
    switches = {name for name, (scripts, _) in SWITCHES.items() if script in scripts}
    assert set(shown) == {f'--{name}' for name in defaults.keys() | switches} and len(shown) == len(paragraphs)
    for name, value in defaults.items():
        end = 'ft and PTP 4, kd and pkd 6 (None)' if name == 'num_train_epochs' else f'({value})'
        assert shown[f'--{name}'].endswith(end), name


def test_the_readme_has_a_row_for_every_flag():
    """Its names, default, scripts and help, as the table of flags has them."""
    shown = {(TRAIN, PTP, TEACHER): 'all', (TRAIN, PTP): 'train, PTP', (TRAIN,): 'train', (PTP,): 'PTP', (TEACHER,): 'save'}
    lines = (ROOT / 'README.md').read_text(encoding='utf-8').splitlines()
    for flag in FLAGS:
        first, *others = flag.names.split()
        names = f'`{first}`' + (f' ({", ".join(f"`{name}`" for name in others)})' if others else '')
        choices = f'; one of {", ".join(flag.choices)}' if flag.choices else ''
        assert f'| {names} | {flag.default} | {shown[flag.scripts]} | {flag.help}{choices} |' in lines
    for name, (scripts, about) in SWITCHES.items():
        assert f'| `{name}` | off | {shown[scripts]} | {about} |' in lines
