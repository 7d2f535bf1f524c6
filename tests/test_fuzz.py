"""A few seconds of fuzzing; tests/fuzz.py goes on for as long as one likes. Inputs: see fuzzing.py."""
import warnings

import pytest
from fuzzing import Targets, outcome
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

EDIT = st.tuples(st.integers(0, 10), st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True),
                 st.integers(0, (1 << 16) - 1))
NAMES = ['tsv MRPC', 'tsv STS-B', 'tsv QQP', 'tsv CoLA', 'tsv diagnostic', 'task definition', 'csv rows', 'weights zip',
         'weights zip, mended', 'weights old', 'weights safetensors', 'checkpoint bert_config.json', 'checkpoint vocab.txt',
         'checkpoint tokenizer_config.json', 'checkpoint SHA256SUMS', 'exported tokenizer.json', 'exported config.json',
         'teacher file', 'teacher file, mended',
         'token cache', 'flags NLI_KD_training.py', 'flags PTP.py', 'flags save_teacher_outputs.py',
         'flags run_glue_benchmark.py', 'flags import_teacher_outputs.py', 'flags predict.py', 'published pickle',
         'run.json', 'results.csv', 'training state', 'training state, mended', 'journal', 'zip archive']


@pytest.fixture(scope='module')
def targets(tmp_path_factory):
    return {target.name: target for target in Targets(tmp_path_factory.mktemp('fuzz')).all}


@pytest.mark.parametrize('name', NAMES)
def test_ends_in_a_result_or_in_one_line(targets, name):
    target = targets[name]
    assert outcome(target, []) == 'result' or name.startswith('flags')

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(EDIT, max_size=6))
    def run(edits):
        with warnings.catch_warnings(action='ignore'):
            outcome(target, edits)
    run()


def test_most_targets_are_reached_behind_their_checks(targets):
    """Without that fuzzing would show little: some of the edits pass, some are refused."""
    ended = {name: {outcome(targets[name], [(kind, place / 4, place / 5, 977 * kind + place)])
                    for kind in range(11) for place in range(4)} for name in NAMES}
    one_sided = {name for name in NAMES if ended[name] != {'result', 'refused'}}
    assert one_sided <= {'token cache', *(name for name in NAMES if name.startswith(('flags', 'weights', 'teacher')))}
