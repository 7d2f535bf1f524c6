"""What a run tells of other runs' files: weights that are gone, encoders and results that do not fit, replaced runs."""
import json
import shutil

import pytest

TRAIN, PTP, TEACHER, BENCHMARK = 'NLI_KD_training.py', 'PTP.py', 'save_teacher_outputs.py', 'run_glue_benchmark.py'
SMALL = ('--bert_model', 'tiny', '--precision', 'fp32')
TEACHERS = (*SMALL, '--num_train_epochs', 2, '--eval_every', 1, '--learning_rate', '2e-3', '--train_seed', 1,
            '--saving_criterion_acc=-1', '--saving_criterion_loss', 100)
BRIEF = (*SMALL, '--teacher_hidden_layers', 2, '--num_train_epochs', 0.5)
PTP_BRIEF = (*BRIEF, '--PTP_seed', 1)
KD = (*BRIEF, '--train_type', 'kd', '--train_seed', 1)
SPS_ENCODER = 'PTP.SPS_2layer.encoder.pkl'


@pytest.fixture(scope='module')
def taught(make_workspace):
    """A trained teacher of 2 layers with its best states, its two result files, and an SPS encoder of PTP's."""
    workspace = make_workspace()
    workspace.succeed(TRAIN, *TEACHERS)
    for all_layers in (True, False):
        workspace.succeed(TEACHER, *SMALL, '--teacher_hidden_layers', 2, '--all_layers', all_layers)
    workspace.succeed(PTP, *PTP_BRIEF, '--model_type', 'SPS')
    return workspace


@pytest.fixture
def space(taught, tmp_path):
    """A copy of it."""
    return taught.copy(tmp_path / 'workspace')


def test_the_state_whose_scores_a_record_has_is_the_one_that_is_used(space, tmp_path):
    """Where its files are gone no other pair stands in for it; the user may still name one."""
    folder = space.teacher_folder()
    record = json.loads((folder / 'run.json').read_text())
    steps = record['saved_states']
    assert list(steps) == ['acc', 'loss', 'final'] and steps['final'] == record['steps']
    assert (steps['acc'], steps['loss']) == tuple(record[f'dev_{what}']['global_step'] for what in ('best', 'lowest_loss'))
    dump = (TEACHER, *SMALL, '--teacher_hidden_layers', 2, '--teacher_prediction', tmp_path / 'dump.pkl')
    train = (TRAIN, *TEACHERS, '--resume')
    evaluate = (BENCHMARK, '--mode', 'evaluate', '--output_dir', tmp_path)
    assert 'has ended already' in space.succeed(*train).out
    (folder / 'BERT.encoder_acc.pkl').unlink()
    told = (f'{folder} holds no BERT.encoder_acc.pkl with its BERT.cls_acc.pkl, the state whose scores its run.json has; '
            'put both back')
    for call in (dump, (*evaluate, '--runs', folder), train, ('scripts.predict', '--model', folder, 'a', 'b')):
        outcome = space.call(*call)
        assert outcome.code == 2 and told in outcome.err, outcome
    assert f'{told}; without --resume it is trained anew\n' in space.call(*train).err
    assert f'{told}; or name another state with --encoder_checkpoint\n' in space.call(*dump).err
    outcome = space.call(*evaluate)
    assert 'left out' not in outcome.out and 'no finished run that has its weights' in outcome.err
    space.succeed(*dump, '--load_model', 'BERT.encoder_loss.pkl')
    del record['saved_states']                                # as an earlier version wrote it
    (folder / 'run.json').write_text(json.dumps(record))
    assert 'BERT.encoder_loss.pkl' in space.succeed(*dump).out


def test_a_run_of_ptps_whose_encoder_is_gone_is_told(space):
    resume = (PTP, *PTP_BRIEF, '--model_type', 'SPS', '--resume')
    assert 'has ended already' in space.succeed(*resume).out
    (space.teacher_folder() / SPS_ENCODER).unlink()
    outcome = space.call(*resume)
    assert outcome.code == 2 and outcome.err == (
        f'error: --resume: the run has ended, but {space.teacher_folder()} holds no {SPS_ENCODER} with its '
        'PTP.SPS_2layer.cls.pkl, the state whose scores its run.json has; put both back; without --resume it is trained '
        'anew\n')


@pytest.mark.parametrize('passes', [[1, 2], [['a', True]], [[0]], 'all', [[0, 1]]])
def test_passes_of_a_record_that_are_none_tell_nothing(space, passes):
    record = space.teacher_folder() / 'PTP.SPS_2layer' / 'run.json'
    record.write_text(json.dumps({**json.loads(record.read_text()), 'passes': passes}))
    assert 'otherwise' not in space.succeed(TRAIN, *KD, '--load_model', SPS_ENCODER).out


def test_a_ptp_encoder_that_ran_its_layers_otherwise_is_told(space):
    start = (TRAIN, *KD, '--load_model', SPS_ENCODER)
    told = f'warning: --load_model {space.teacher_folder() / SPS_ENCODER} ran its layers otherwise: 1,2,1x,2x, here 1,2'
    assert f'{told}\n' in space.succeed(*start).out
    assert f'{told},1,2\n' in space.succeed(*start, '--model_type', 'SPS_no_shuffle').out
    out = space.succeed(*start, '--model_type', 'SPS').out
    assert 'warning' not in out and f'starts from {space.teacher_folder() / SPS_ENCODER}\n' in out


def test_a_ptp_encoder_of_another_teacher_is_told(space, tmp_path):
    start = (TRAIN, *KD, '--model_type', 'SPS', '--load_model', SPS_ENCODER, '--output_dir', tmp_path / 'student')
    other = tmp_path / 'loss.pkl'
    space.succeed(TEACHER, *SMALL, '--teacher_hidden_layers', 2, '--load_model', 'BERT.encoder.pkl',
                  '--teacher_prediction', other)
    assert 'learnt from the predictions' not in space.succeed(*start).out
    told = (f'--load_model {space.teacher_folder() / SPS_ENCODER} learnt from the predictions of another teacher than that '
            f'of {other}, or of another of its states\n')
    assert told in space.succeed(*start, '--teacher_prediction', other).out


def test_a_result_file_of_another_depth_than_is_said_is_told(space, tmp_path):
    file = shutil.copy(space.result_file(), tmp_path / 'two.pkl')
    told = f'warning: --teacher_hidden_layers 6: the teacher of {file} has 2 layers\n'
    for script, flags in ((TRAIN, ('--train_type', 'pkd')), (TRAIN, ('--train_type', 'kd')), (PTP, ())):
        call = (script, *SMALL, '--num_train_epochs', 0.5, *flags, '--teacher_prediction', file)
        assert told in space.succeed(*call, '--teacher_hidden_layers', 6).out
        for depth in ((), ('--teacher_hidden_layers', 2)):
            assert 'warning: --teacher' not in space.succeed(*call, *depth).out


def test_what_a_replaced_run_was_made_with_is_told(space):
    """Of what its folder's name does not tell; nothing where it is the same again."""
    ptp = (PTP, *PTP_BRIEF, '--model_type', 'SPS')
    log = space.teacher_folder() / 'PTP.SPS_2layer'
    assert 'replaces' not in space.succeed(*ptp).out
    out = space.succeed(*ptp, '--ptp_threshold', 0.9, '--PTP_seed', 2, '--freeze_layer', '1,2').out
    assert f'run replaces one in {log}, which was made with seed 1 and --freeze_layer None and --ptp_threshold None\n' in out
    out = space.succeed(*ptp, '--PTP_seed', 2).out
    assert f'{log}, which was made with --freeze_layer 1,2 and --ptp_threshold 0.9\n' in out
    record = json.loads((log / 'run.json').read_text())
    del record['arguments']['ptp_prior']                       # as of a version that had no such flag
    (log / 'run.json').write_text(json.dumps(record))
    out = space.succeed(*ptp, '--PTP_seed', 2, '--ptp_prior', True).out
    assert f'{log}, which was made with --ptp_prior None\n' in out
    out = space.succeed(TRAIN, *SMALL, '--num_train_epochs', 0.5, '--train_seed', 2).out
    assert f'this run replaces one in {space.teacher_folder()}, which was made with seed 1 and ' in out
    assert '--learning_rate 0.002' in out and 'constants' not in out


def test_a_normal_file_that_fits_is_named_where_the_patient_one_does_not(space):
    space.succeed(TEACHER, *SMALL, '--teacher_hidden_layers', 2, '--max_seq_length', 20, '--all_layers', False)
    kd = (TRAIN, *KD, '--max_seq_length', 20)
    outcome = space.call(*kd)
    normal = space.result_file(kind='normal')
    assert outcome.code == 2 and 'its max_seq_length differ' in outcome.err
    assert f'; or read {normal.name}, which lies beside it and fits, with --teacher_prediction {normal}\n' in outcome.err
    space.succeed(*kd, '--teacher_prediction', normal)
    for flags in (('--train_type', 'pkd'), ('--teacher_prediction', space.result_file()), ('--max_seq_length', 24)):
        outcome = space.call(*kd, *flags)
        assert outcome.code == 2 and 'or read' not in outcome.err


def test_a_folder_in_the_place_of_a_file(space):
    for flag in ('load_model', 'cls_checkpoint'):
        outcome = space.call(TRAIN, *BRIEF, f'--{flag}', space.teacher_folder())
        assert outcome.code == 2 and f'{space.teacher_folder()} is a folder; name a file in it' in outcome.err
    outcome = space.call(TRAIN, *KD, '--teacher_prediction', space.teacher_folder())
    assert outcome.code == 2 and 'is a folder; name a file in it' in outcome.err


def test_a_folder_does_not_hide_a_file_of_its_name_in_a_later_place(space, tmp_path):
    (tmp_path / SPS_ENCODER).mkdir()
    start = (TRAIN, *KD, '--model_type', 'SPS', '--load_model', SPS_ENCODER)
    outcome = space.call(*start, cwd=tmp_path)
    assert outcome.code == 0 and f'starts from {space.teacher_folder() / SPS_ENCODER}\n' in outcome.out


def test_a_result_file_takes_the_place_of_its_like_alone(space, tmp_path):
    path = tmp_path / 'notes.txt'
    dump = (TEACHER, *SMALL, '--teacher_hidden_layers', 2, '--teacher_prediction', path)
    words = f'{path} is a file of another kind, which would be lost; move it, or name another file to write\n'
    for content, replaced in ((b'my notes\n', False), (b'', True), (space.result_file().read_bytes()[:5000], True)):
        path.write_bytes(content)
        outcome = space.call(*dump)
        assert (outcome.code == 0) == replaced and (path.read_bytes() != content) == replaced
        assert replaced or words in outcome.err
    space.succeed(*dump)
    space.result_file().write_bytes(b'(dp0\n')            # the published code's pickle, say, in its usual place
    outcome = space.call(*dump[:-2])
    assert outcome.code == 2 and f'{space.result_file()} is a file of another kind' in outcome.err


def test_missing_teachers_are_told_before_any_predicts(space):
    space.result_file().unlink()
    outcome = space.call(BENCHMARK, '--mode', 'teacher', *SMALL, '--tasks', 'MRPC', '--teacher_hidden_layers', '2,3,4')
    assert outcome.code == 2 and 'teacher_3layer holds no' in outcome.err and 'teacher_4layer holds no' in outcome.err
    assert not space.result_file().exists()


def test_a_checkpoint_that_is_gone_is_told_of_with_the_run(space, tmp_path):
    folder = space.teacher_folder()
    moved = (space.models / 'tiny').rename(tmp_path / 'elsewhere')
    record = json.loads((folder / 'run.json').read_text())
    record['checkpoint']['folder'] = str(space.models / 'tiny')
    for known in (True, False):                   # earlier versions' records tell the flag alone
        if not known:
            del record['checkpoint']
        (folder / 'run.json').write_text(json.dumps(record))
        outcome = space.call(BENCHMARK, '--mode', 'evaluate', '--runs', folder, '--output_dir', tmp_path)
        then = f' (then in {record["checkpoint"]["folder"]})' if known else ''
        told = (f'{folder}: of the checkpoint that its run started from{then} configuration and vocabulary are needed: '
                "'tiny': no such folder; looked for ")
        assert outcome.code == 2 and told in outcome.err and '--bert_model' not in outcome.err
        assert 'fetch_checkpoint.py tiny' in outcome.err
    record['arguments']['bert_model'] = '/old/tiny'            # no name that could be fetched
    (folder / 'run.json').write_text(json.dumps(record))
    assert 'fetch' not in space.call(BENCHMARK, '--mode', 'evaluate', '--runs', folder, '--output_dir', tmp_path).err
    record['arguments']['bert_model'] = 'tiny'
    (folder / 'run.json').write_text(json.dumps(record))
    moved.rename(space.models / 'tiny')
    space.succeed(BENCHMARK, '--mode', 'evaluate', '--runs', folder, '--output_dir', tmp_path)


def test_a_run_that_may_not_be_read_is_left_out(space, tmp_path, monkeypatch):
    """Unless it is named. Tests may run as a user who may read everything, so what the system would say is made up."""
    student = tmp_path / 'outputs'
    space.succeed(TRAIN, *KD, '--output_dir', space.outputs / 'other')
    closed = space.outputs / 'other' / 'run.json'
    read = type(closed).read_text

    def refuse(path, *args, **options):
        if path == closed:
            raise PermissionError(13, 'Permission denied', str(path))
        return read(path, *args, **options)
    monkeypatch.setattr(type(closed), 'read_text', refuse)
    outcome = space.succeed(BENCHMARK, '--mode', 'evaluate', '--output_dir', student)
    assert f'warning: the run in {closed.parent} is left out: ' in outcome.out and 'teacher_2layer' in outcome.out
    assert space.call(BENCHMARK, '--mode', 'evaluate', '--runs', closed.parent).code == 2
