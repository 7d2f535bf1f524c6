"""Pictures: what they show is what the files hold; they can be read in print; what is wrong is told in a line."""
import itertools
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest
from conftest import write_task
from matplotlib.text import Text
from PIL import Image
from scipy.special import softmax
from test_summary import row, write

import src.plots
from src.argument_parser import PTP, TEACHER, TRAIN
from src.plots import COLOURS, LINES, MANY_POINTS, MARKERS, save, style
from src.saved_runs import load_run
from src.teacher_outputs import TeacherOutputs

SCRIPT = 'scripts.plot_results.py'
SMALL = ('--bert_model', 'tiny', '--teacher_hidden_layers', '2', '--precision', 'fp32')
FIT = (*SMALL, '--learning_rate', '1e-3', '--train_batch_size', '10', '--num_train_epochs', '2', '--eval_every', '2')


@pytest.fixture(scope='module')
def workspace(make_workspace):
    """A teacher's results, an SPS student and a plain one of MRPC, a teacher of STS-B, a table."""
    workspace = make_workspace(2)
    workspace.succeed(TRAIN, *FIT, '--saving_criterion_acc', '0', '--train_seed', '1')
    workspace.succeed(TEACHER, *SMALL, '--all_layers', 'False')
    kd = (TRAIN, *FIT, '--train_type', 'kd', '--saving_criterion_acc', '0', '--train_seed', '1')
    workspace.succeed(*kd, '--model_type', 'SPS', '--output_dir', workspace.folder / 'sps')
    workspace.succeed(*kd, '--student_hidden_layers', '1', '--output_dir', workspace.folder / 'plain' / 'run')
    workspace.succeed(PTP, *FIT, '--PTP_seed', '1', '--output_dir', workspace.folder / 'ptp')
    write_task(workspace.glue, 'STS-B', (20, 10, 10))
    workspace.add_teacher('STS-B')
    workspace.succeed(TEACHER, *SMALL, '--all_layers', 'False', '--task', 'STS-B')
    rng = np.random.default_rng(0)
    rows = [row(task, method, seed, acc := rng.uniform(0.5, 0.9), acc + 0.05 if task == 'MRPC' else None, layers=layers)
            | {'parameters': 1e7 * layers, 'sentences_a_second': 3000 / layers / (1 + ('sps' in method))}
            for task in ('MRPC', 'RTE') for method in ('pkd', 'sps_no_shuffle', 'sps+ptp') for layers in (1, 3)
            for seed in (1, 2, 3)]
    write(workspace.folder / 'results.csv', rows)
    return workspace


@pytest.fixture
def figures(monkeypatch):
    """The figures that would be saved."""
    kept = []
    monkeypatch.setattr(src.plots, 'save', lambda figure, *_: kept.append(figure))
    return kept


def arguments(workspace, kind):
    """What each kind draws from."""
    results, table, sps = workspace.result_file(kind='normal'), workspace.folder / 'results.csv', workspace.folder / 'sps'
    return {'curves': [sps, workspace.folder / 'plain' / 'run'], 'confidence': [results], 'agreement': [sps],
            'attention': [sps, '--text', 'the dog sees a cat', 'indeed the dog sees'], 'scores': [table],
            'costs': [table]}[kind]


KINDS = ('curves', 'confidence', 'agreement', 'attention', 'scores', 'costs')


def draw(workspace, kind, output, *flags):
    workspace.succeed(SCRIPT, '--kind', kind, *(flags or arguments(workspace, kind)), '--output', output)


@pytest.mark.parametrize('kind', KINDS)
def test_files_and_what_print_asks_of_them(workspace, tmp_path, figures, kind):
    draw(workspace, kind, tmp_path / 'picture.png')
    (figure,) = figures
    save(figure, *(tmp_path / f'picture{suffix}' for suffix in ('.png', '.svg')))
    assert sorted(path.name for path in tmp_path.iterdir()) == ['picture.png', 'picture.svg']
    with Image.open(tmp_path / 'picture.png') as picture:
        assert picture.info['dpi'] == pytest.approx((300, 300), abs=1)
        assert picture.width / 300 <= 7
    assert ElementTree.parse(tmp_path / 'picture.svg').getroot().get('width').endswith('pt')
    bounds = figure.bbox.padded(1)
    for text in shown_texts(figure):
        assert text.get_fontsize() >= 7 and '$' not in text.get_text(), text      # of $..$ exponents are smaller
        extent = text.get_window_extent()
        assert all(bounds.contains(*corner) for corner in extent.corners()), f'{text} is cut off'
    for axis in figure.axes:
        for names, side in ((axis.get_xticklabels(), 'x'), (axis.get_yticklabels(), 'y')):
            boxes = [label.get_window_extent() for label in names if label.get_text() and label.get_rotation() in (0, 90)]
            spans = sorted((getattr(box, f'{side}0'), getattr(box, f'{side}1')) for box in boxes)
            assert all(start >= end - 2 for (_, end), (start, _) in itertools.pairwise(spans)), f'{side} names overlap'


def shown_texts(figure):
    """All texts that are drawn: ticks beyond the ends of an axis are not."""
    figure.draw_without_rendering()
    ticks = [(tick, tick.get_loc(), sorted(places.get_view_interval())) for axis in figure.axes
             for places in (axis.xaxis, axis.yaxis) for tick in places.get_major_ticks() + places.get_minor_ticks()]
    hidden = [label for tick, at, (low, high) in ticks for label in (tick.label1, tick.label2) if not low <= at <= high]
    return [text for text in figure.findobj(Text) if text.get_visible() and text.get_text() and text not in hidden]


@pytest.mark.parametrize('kind', ['scores', 'attention'])
def test_the_same_picture_is_the_same_file(workspace, tmp_path, kind):
    for name in 'ab':
        draw(workspace, kind, tmp_path / name)
    for suffix in ('.png', '.svg'):
        assert (tmp_path / f'a{suffix}').read_bytes() == (tmp_path / f'b{suffix}').read_bytes()


def test_series_are_told_apart_without_colour():
    """And the colours are those of Okabe & Ito (jfly.uni-koeln.de/color)."""
    assert set(COLOURS) < {'#000000', '#E69F00', '#56B4E9', '#009E73', '#F0E442', '#0072B2', '#D55E00', '#CC79A7'}
    looks = [(*style(number).values(), LINES[number % len(LINES)]) for number in range(42)]
    assert len(set(looks)) == 42 and len({(marker, line) for _, marker, line in looks}) == 35 == len(MARKERS) * len(LINES)


def test_curves(workspace, tmp_path, figures):
    draw(workspace, 'curves', tmp_path / 'a')
    loss, score = figures[0].axes
    for number, name in enumerate(('sps', 'plain/run')):
        train, scores = (pd.read_csv(workspace.folder / name / file) for file in ('train_log.txt', 'eval_log.txt'))
        assert loss.lines[number].get_xydata().tolist() == train[['global_steps', 'loss']].values.tolist()
        assert score.lines[number].get_xydata().tolist() == scores[['global_steps', 'f1']].values.tolist()
        assert score.lines[number].get_label() == name.split('/')[-1]
    assert score.get_ylabel() == 'dev f1'


def test_curves_with_names_a_score_and_runs_of_one_name(workspace, tmp_path, figures):
    other = tmp_path / 'other' / 'run'
    other.mkdir(parents=True)
    for name in ('train_log.txt', 'eval_log.txt'):         # of a run at work
        (other / name).write_bytes((workspace.folder / 'sps' / name).read_bytes())
    runs = (workspace.folder / 'plain' / 'run', other)
    draw(workspace, 'curves', tmp_path / 'a', *runs, '--score', 'acc')
    assert [line.get_label() for line in figures[0].axes[1].lines] == ['plain/run', 'other/run']
    draw(workspace, 'curves', tmp_path / 'a', *runs, '--score', 'loss', '--labels', 'one', 'the other')
    assert [line.get_label() for line in figures[1].axes[1].lines] == ['one', 'the other']
    draw(workspace, 'curves', tmp_path / 'a', other, '--score', 'acc')       # nothing says what it is that was scored
    assert figures[2].axes[1].get_ylabel() == 'acc of the rows that choose'
    assert figures[1].axes[1].lines[1].get_ydata().tolist() == pd.read_csv(other / 'eval_log.txt')['loss'].tolist()


def outputs(workspace, split):
    found = TeacherOutputs.open(workspace.result_file(kind='normal')).split(split)
    return softmax(found['pred_logit'].astype(float), axis=1).max(axis=1), found['pred_answers']


@pytest.mark.parametrize('split', ['train', 'dev'])
def test_confidence(workspace, tmp_path, figures, split):
    draw(workspace, 'confidence', tmp_path / 'a', workspace.result_file(kind='normal'), '--split', split, '--ptp_threshold',
         '.7,.6')
    confidence, correct = outputs(workspace, split)
    for axis, rows, t, words in zip(figures[0].axes, (correct, ~correct), (0.7, 0.6), ('right', 'wrong'), strict=True):
        heights = [bar.get_height() for bar in axis.patches]
        assert heights == np.histogram(confidence[rows], np.linspace(confidence.min().clip(max=0.5), 1, 41))[0].tolist()
        assert axis.lines[0].get_xdata()[0] == t and 0 < rows.sum() == sum(heights)
        assert f'{words}: {(confidence[rows] > t).sum()} of {rows.sum()} rows above' in axis.get_title()


def test_agreement(workspace, tmp_path, figures):
    draw(workspace, 'agreement', tmp_path / 'a')
    teacher, knows = outputs(workspace, 'dev')
    with workspace.active():
        run = load_run(workspace.folder / 'sps')
        dev = run.tokens(run.task, 'dev')
        logits = run.logits(dev)
    points = np.column_stack([teacher, softmax(logits.astype(float), axis=1).max(axis=1)])
    right = logits.argmax(1) == dev.labels
    groups = (knows & right, knows & ~right, ~knows & right, ~knows & ~right)
    for drawn, rows in zip(figures[0].axes[0].collections, groups, strict=True):
        np.testing.assert_allclose(drawn.get_offsets(), points[rows], atol=1e-5)
        assert f'({rows.sum()})' in drawn.get_label()
    assert sum(group.any() for group in groups) >= 2


def test_another_teacher_than_the_runs_is_told_of(workspace, tmp_path, figures, caplog):
    draw(workspace, 'agreement', tmp_path / 'a')
    assert 'learnt from' not in caplog.text
    other = workspace.copy(tmp_path / 'other')
    other.add_teacher(seed=9)
    other.succeed(TEACHER, *SMALL, '--all_layers', 'False', '--load_model', 'BERT.encoder.pkl', '--cls_checkpoint',
                  'BERT.cls.pkl')
    outcome = other.succeed(SCRIPT, '--kind', 'agreement', other.folder / 'sps', '--output', tmp_path / 'b')
    assert 'warning: the result file is not the one that the run in' in outcome.out + outcome.err


@pytest.mark.parametrize('flags, titles', [
    ((), ['layer 1, pass 1 of 4\nmean of 4 heads', 'layer 1, pass 3 of 4, query and key exchanged\nmean of 4 heads']),
    (('--row', '3', '--layer', '2', '--head', '4'),
     ['layer 2, pass 2 of 4\nhead 4', 'layer 2, pass 4 of 4, query and key exchanged\nhead 4'])])
def test_attention(workspace, tmp_path, figures, flags, titles):
    draw(workspace, 'attention', tmp_path / 'a', workspace.folder / 'sps', *flags)
    first, second, _ = figures[0].axes
    assert [axis.get_title() for axis in (first, second)] == titles
    maps = [axis.collections[0].get_array() for axis in (first, second)]
    with workspace.active():
        run = load_run(workspace.folder / 'sps')
        dev = run.tokens(run.task, 'dev')
    length = dev.lengths[3] if flags else dev.lengths.min()
    for attention in maps:
        assert attention.shape == (length, length)
        np.testing.assert_allclose(attention.sum(1), 1, atol=1e-5)
    assert abs(maps[0] - maps[1]).max() > 1e-3
    labels = [label.get_text() for label in first.get_yticklabels()]
    assert labels[0] == '[CLS]' and labels[-1] == '[SEP]' and len(labels) == length


def test_of_many_tokens_some_are_named(tmp_path, figures):
    tokens = [f'token{number}' for number in range(60)]
    src.plots.plot_attention({'a': np.full((60, 60), 1 / 60)}, tokens, 30, tmp_path / 'a.png')
    assert [label.get_text() for label in figures[0].axes[0].get_yticklabels()] == tokens[::3]
    assert 60 * 60 > MANY_POINTS and figures[0].axes[0].collections[0].get_rasterized()


def means(workspace, task, metric):
    table = pd.read_csv(workspace.folder / 'results.csv')
    groups = table[table['task'] == task].groupby(['method', 'layers'])[f'dev_best_{metric}']
    return 100 * groups.mean(), 100 * groups.std()


def test_scores(workspace, tmp_path, figures):
    draw(workspace, 'scores', tmp_path / 'a')
    for axis, (task, metric) in zip(figures[0].axes, (('MRPC', 'f1'), ('RTE', 'acc')), strict=True):
        mean, sd = means(workspace, task, metric)
        methods = [label.get_text() for label in axis.get_xticklabels()]
        assert methods == ['pkd', 'sps_no_shuffle', 'sps+ptp'] and axis.get_title() == task
        for bars, layers in zip(axis.containers, (1, 3), strict=True):
            points, _, (spans,) = bars
            assert points.get_ydata() == pytest.approx([mean[method, layers] for method in methods])
            spreads = [span[1, 1] - span[0, 1] for span in spans.get_segments()]
            assert spreads == pytest.approx([2 * sd[method, layers] for method in methods])


def test_costs(workspace, tmp_path, figures):
    draw(workspace, 'costs', tmp_path / 'a')
    assert [axis.get_xlabel() for axis in figures[0].axes] == ['million parameters', 'sentences a second'] * 2
    mean, _ = means(workspace, 'RTE', 'acc')
    of_size, of_speed = figures[0].axes[2:]
    methods = ('pkd', 'sps_no_shuffle', 'sps+ptp')
    for method, sized, fast in zip(methods, of_size.containers, of_speed.containers, strict=True):
        assert sized.get_label() == method
        wanted = [mean[method, 1], mean[method, 3]]
        assert sized[0].get_ydata() == pytest.approx(wanted) and fast[0].get_ydata() == pytest.approx(wanted)
        assert sized[0].get_xdata().tolist() == [10, 30]
        assert fast[0].get_xdata() == pytest.approx(np.array([3000, 1000]) / (1 if method == 'pkd' else 2))


def test_the_default_place(workspace):
    outcome = workspace.succeed(SCRIPT, '--kind', 'scores', workspace.folder / 'results.csv')
    assert f'saved {workspace.outputs / "plots" / "scores.png"} and ' in outcome.out
    assert (workspace.outputs / 'plots' / 'scores.svg').is_file()


@pytest.fixture(scope='module')
def spoilt(workspace, tmp_path_factory):
    """Folder of files that lack something."""
    folder = tmp_path_factory.mktemp('spoilt')
    table = pd.read_csv(workspace.folder / 'results.csv')
    table.drop(columns='parameters').to_csv(folder / 'no_parameters.csv', index=False)
    table.assign(sentences_a_second='').to_csv(folder / 'no_speed.csv', index=False)
    (folder / 'notes.csv').write_text('a,b\n1,2\n')
    for name, text in (('cut', 'epoch,global_steps\n0,1\n'), ('words', 'global_steps,loss\none,two\n'), ('empty', '')):
        (folder / name).mkdir()
        (folder / name / 'train_log.txt').write_text(text)
    return folder


@pytest.mark.parametrize('flags, expected', [
    ('', ['--kind', 'curves', 'costs']),
    ('--kind pie', ['--kind', 'pie', 'curves']),
    ('--kind curves', ['RUN_FOLDER']),
    ('--kind curves {ws}/nowhere', ['nowhere', '--score']),
    ('--kind curves {ws}/nowhere --score f1', ['nowhere/train_log.txt: no such file']),
    ('--kind curves {ws}/sps --score f2', ['eval_log.txt: no column f2', 'acc_and_f1']),
    ('--kind curves {ws}/sps {ws}/plain/run --labels one', ['--labels one', '1 names for 2 runs']),
    ('--kind curves {ws}/sps {ws}/ptp/PTP.Original_2layer', ['do not compare', 'MRPC, dev f1', 'MRPC, dev acc']),
    ('--kind curves {bad}/cut --score f1', ['train_log.txt: no column loss', 'epoch, global_steps']),
    ('--kind curves {bad}/words --score f1', ['train_log.txt: not a log of a run', 'one']),
    ('--kind curves {bad}/empty --score f1', ['train_log.txt: not a log of a run']),
    ('--kind confidence {ws}/nothing.pkl', ['nothing.pkl is missing', 'save_teacher_outputs.py']),
    ('--kind confidence {ws}/results.csv', ['results.csv is not a whole teacher result file']),
    ('--kind confidence {stsb}', ['STS-B is regression']),
    ('--kind confidence {mrpc} --ptp_threshold high', ['--ptp_threshold', 'high', 'median']),
    ('--kind agreement {ws}/nowhere', ['nowhere', 'no finished run']),
    ('--kind agreement {ws}/sps --teacher_prediction {stsb}', ['does not fit the dev set of this run']),
    ('--kind agreement {ws}/sps --teacher_prediction nothing.pkl', ['nothing.pkl']),
    ('--kind attention {ws}/plain/run', ['layers runs once', '--model_type SPS']),
    ('--kind attention {ws}/sps --layer 3', ['--layer 3', '1, 2']),
    ('--kind attention {ws}/sps --head 5', ['--head 5', '1 to 4']),
    ('--kind attention {ws}/sps --row 30', ['--row 30', '0 to 29']),
    ('--kind attention {ws}/sps --text one', ['--text: 1 given', 'MRPC has 2']),
    ('--kind scores', ['results.csv: no such file', '--mode compare']),
    ('--kind scores {bad}/notes.csv', ['not a results.csv', 'no column task']),
    ('--kind costs {bad}/no_parameters.csv', ['no column parameters']),
    ('--kind costs {bad}/no_speed.csv', ['MRPC: column sentences_a_second', 'empty']),
    ('--kind scores {ws}/results.csv --scores dev_saved', ['--scores dev_saved', 'dev_best, dev_last']),
])
def test_what_is_wrong_is_told_in_a_line(workspace, spoilt, tmp_path, flags, expected):
    places = {'ws': workspace.folder, 'bad': spoilt, 'mrpc': workspace.result_file(kind='normal'),
              'stsb': workspace.result_file(task='STS-B', kind='normal')}
    outcome = workspace.call(SCRIPT, *(word.format(**places) for word in flags.split()), '--output', tmp_path / 'a')
    assert outcome.code == 2 and len(outcome.err.splitlines()) == 1, outcome.err
    assert [part for part in expected if part not in outcome.err] == [], outcome.err
    assert list(tmp_path.iterdir()) == []
