"""Make the built-in sample task: pairs of sentences, paraphrase (1) or not (0), in MRPC's file format.

    python data/data_raw/make_sample_data.py
    python data/data_raw/make_sample_data.py --data_dir /tmp/sample --seed 7

It writes train.tsv, dev.tsv and test.tsv (test without labels) to `SAMPLE_FOLDER` of envs.py. The sentences come from
the frames of sample_grammar.py, so nothing has to be downloaded. A seed gives the same bytes on every machine.

A pair of class 1 says one thing in two wordings: other words, another order, active or passive, buy or sell, figures or
number words. A pair of class 0 is made in the same way and differs in one point or more: who did it to whom, a number,
a name, the date, the circumstances, or whether it happened at all. Class 1 shares more words on average, but little
more: a logistic regression on counts of common words gets about two thirds of the pairs right.

Some labels are disputed, as they are in MRPC: annotators disagree whether a small addition, a missing date or a rounded
number makes two sentences different, and whether they are still the same when just the date differs. DISPUTED says
how many of such pairs carry the minority's label. It touches 2 to 3 % of all rows, so no model reaches 100 %.
"""
import argparse
import random
import re
import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))   # the project root: the script runs from any folder

import envs
from BERT.pytorch_pretrained_bert.file_utils import path_of
from BERT.pytorch_pretrained_bert.writing import replace_file
from data.data_raw import sample_grammar as grammar

SEED = 2022
ROWS = {'train': 2000, 'dev': 400, 'test': 400}
POSITIVE_SHARE = 0.57        # before the disputed labels
TRAIN_NAMES = 0.75           # share of every list of names that train.tsv draws from; dev and test use all of it
# What makes a pair class 0, with weights (whole ones: Python versions differ in how they sum fractions)
CHANGES = {'sense': 16, 'swap': 4, 'number': 30, 'name': 30, 'time': 8, 'side': 6, 'stance': 5}
MORE_CHANGES = ('number', 'name', 'time', 'side')   # what else may differ in class 0, without undoing the first change
MORE_SHARE = 0.40            # how often each of them does
SAME_FRAME_SHARE = (0.6, 0.2)   # class 0, class 1: pairs that may use one template twice
USUAL_SHARE = 0.6            # words that are the usual ones for their thing
DETAIL_SHARE = 0.15          # pairs with a small addition in one sentence
DROPPED_SOURCE_SHARE = 0.4   # pairs that name who says it in one sentence only, which changes no label
BLUR_SHARE = 0.25            # large numbers that one sentence rounds
DROPPED_TIME_SHARE = 0.08    # dates that one sentence leaves out
DISPUTED = {'detail': 5, 'blur': 5, 'dropped time': 5, 'time': 7}   # every fifth ... carries the minority's label

HEADERS = {'train': 'Quality\t#1 ID\t#2 ID\t#1 String\t#2 String', 'test': 'index\t#1 ID\t#2 ID\t#1 String\t#2 String'}
HEADERS['dev'] = HEADERS['train']

ONES = ('zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen '
        'seventeen eighteen nineteen').split()
TENS = '- - twenty thirty forty fifty sixty seventy eighty ninety'.split()
DAYS = 'Monday Tuesday Wednesday Thursday Friday Saturday Sunday'.split()
MONTHS = 'January February March April May June July August September October November December'.split()
SLOT = re.compile(r'\{(([a-z]+)\d?)\}')
LEADING = re.compile(r'(?:in|for|after|near|at|with|even|to) ')   # a clause whose first comma ends an adverbial
CHOICE = re.compile(r'\[([^\]]*)\]')

Value = tuple[str, ...]      # the wordings of one thing, the most usual one first


class Draw(random.Random):
    """Random choices that only use `random()`, whose numbers are the same in every Python version."""

    def pick(self, items):
        """One of `items`, all equally likely."""
        return items[int(self.random() * len(items))]

    def whole(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return low + int(self.random() * (high - low + 1))

    def chance(self, share: float) -> bool:
        """True in `share` of all calls."""
        return self.random() < share

    def weighted(self, weights: dict[str, int]) -> str:
        """A key of `weights`, as likely as its weight says."""
        return self.pick([key for key, weight in weights.items() for _ in range(weight)])

    def wording(self, value: Value) -> str:
        """One of the wordings of a value, the usual one more often."""
        return value[0] if self.chance(USUAL_SHARE) else self.pick(value)


# Values: numbers, names and dates, each as its wordings

def number_words(n: int) -> str:
    """A number below 100 in words."""
    if n < 20:
        return ONES[n]
    return TENS[n // 10] + (f'-{ONES[n % 10]}' if n % 10 else '')


def _count(n: int) -> Value:
    return (str(n), number_words(n)) + (('a dozen',) if n == 12 else ())


def _amount(n: int, unit: str, *others: str) -> Value:
    plural = '' if n == 1 else 's'
    return (f'{number_words(n)} {unit}{plural}', f'{n} {unit}{plural}', *others)


def _money(draw: Draw) -> Value:
    amount = draw.pick((f'{draw.whole(2, 99)} million', f'{draw.whole(1, 9)}.{draw.whole(1, 9)} million',
                        f'{draw.whole(20, 99)}0,000'))
    return f'${amount}', f'{amount} dollars'


def _rate(draw: Draw) -> Value:
    n = draw.whole(2, 19)
    return f'{n} percent', f'{number_words(n)} percent', f'{n}%'


def _pct(draw: Draw) -> Value:
    n, words = draw.pick(((10, 'a tenth'), (20, 'a fifth'), (25, 'a quarter'), (40, 'two fifths'), (50, 'half'),
                          (60, 'three fifths'), (75, 'three quarters'), (80, 'four fifths')))
    return f'{n} percent', f'{n}%', words


def _term(draw: Draw) -> Value:
    n = draw.whole(2, 20)
    others = {10: ('a decade',), 20: ('two decades',)}.get(n, ()) if n != 2 else ('24 months',)
    return _amount(n, 'year', *others)


def _wait(draw: Draw) -> Value:
    return draw.pick((_amount(10, 'day'), _amount(2, 'week', '14 days', 'a fortnight'), _amount(3, 'week', '21 days'),
                      _amount(5, 'week'), _amount(7, 'week'), _amount(2, 'month'), _amount(4, 'month'),
                      _amount(6, 'month', 'half a year'), _amount(9, 'month'),
                      _amount(18, 'month', 'a year and a half')))


def _mins(draw: Draw) -> Value:
    return draw.pick((_amount(20, 'minute'), ('30 minutes', 'half an hour'), _amount(40, 'minute'),
                      ('60 minutes', 'an hour'), ('90 minutes', 'an hour and a half'), ('two hours', '120 minutes'),
                      _amount(3, 'hour')))


def _wide(draw: Draw) -> Value:
    n = draw.whole(1, 9)
    return draw.pick(((f'{n}0 centimeters', f'0.{n} meters'),
                      (f'{n}.5 meters', f'{number_words(n)} and a half meters')))


def _score(draw: Draw) -> Value:
    low = draw.whole(0, 3)
    high = low + draw.whole(1, 3)
    return f'{high}-{low}', f'{high} to {low}'


NUMBERS = {   # slot type -> how to draw a value
    'count': lambda draw: _count(draw.whole(3, 60)),
    'margin': lambda draw: _count(draw.whole(12, 98)),
    'people': lambda draw: (f'{draw.whole(11, 99) * 100 - draw.whole(1, 9) * 5:,}',),
    'tons': lambda draw: (f'{draw.whole(11, 99) * 1000 - draw.whole(1, 9) * 50:,}',),
    'acres': lambda draw: (f'{draw.whole(11, 99) * 100 - draw.whole(1, 9) * 5:,}',),
    'money': _money, 'rate': _rate, 'pct': _pct, 'term': _term, 'wait': _wait, 'mins': _mins, 'wide': _wide,
    'score': _score,
}


def blurred(text: str) -> str:
    """A number rounded up: '1,980' gives 'nearly 2,000', '14,650' gives 'nearly 15,000'."""
    n = int(text.replace(',', ''))
    step = 100 if n < 10_000 else 1000
    return f'nearly {-(-n // step) * step:,}'


class Names:
    """Draws proper names; with share < 1 from the first part of each list only."""

    def __init__(self, share: float):
        self.share = share

    def _pick(self, draw: Draw, items) -> str:
        return draw.pick(items[:max(2, int(len(items) * self.share))])

    def value(self, kind: str, draw: Draw) -> Value:
        """A value for a slot of type `kind`."""
        if kind == 'person':
            last = self._pick(draw, grammar.LAST_NAMES)
            return f'{self._pick(draw, grammar.FIRST_NAMES)} {last}', last
        if kind == 'company':
            head = self._pick(draw, grammar.COMPANY_HEADS)
            return f'{head} {draw.pick(grammar.COMPANY_TAILS)}', head
        if kind == 'team':
            mascot = self._pick(draw, grammar.MASCOTS)
            return f'the {self._pick(draw, grammar.NAMES["city"])} {mascot}', f'the {mascot}'
        if kind in grammar.NAMES:
            return (self._pick(draw, grammar.NAMES[kind]),)
        if kind in grammar.NOUNS:
            return tuple(draw.pick(grammar.NOUNS[kind]).split('|'))
        return NUMBERS[kind](draw)

    def other(self, kind: str, draw: Draw, taken: list[Value]) -> Value:
        """A value that shares no wording with those in `taken`."""
        while True:
            value = self.value(kind, draw)
            if not any(word in old for old in taken for word in value):
                return value


def draw_time(draw: Draw, kind: str) -> Value:
    """When it happened; `kind` is day, date, month or ago."""
    if kind == 'day':
        day = draw.pick(DAYS)
        return f'on {day}', day, f'last {day}'
    if kind == 'date':
        month, n = draw.pick(MONTHS), draw.whole(1, 28)
        ending = {1: 'st', 2: 'nd', 3: 'rd', 21: 'st', 22: 'nd', 23: 'rd'}.get(n, 'th')
        return f'on {month} {n}', f'on the {n}{ending} of {month}', f'on {n} {month}'
    if kind == 'month':
        month = draw.pick(MONTHS)
        return f'in {month}', f'during {month}'
    return draw.pick((('yesterday',), ('last week', 'in the past week'), ('last month', 'in the past month'),
                      ('early this year', 'at the start of the year')))


# Frames and meanings

@dataclass(frozen=True)
class Frame:
    """An event: topic, slot type whose exchange changes the meaning, no date or circumstances if plain, meanings."""
    topic: str
    swap: str | None
    plain: bool
    senses: tuple[Value, ...]


@dataclass(frozen=True)
class Meaning:
    """What a sentence says; `stance` 0: the source says it, 1: the source denies it."""
    topic: str
    sense: Value
    values: dict[str, Value]
    time_kind: str
    time: Value | None
    side: Value | None
    source: Value | None
    stance: int


def read_frames(text: str) -> list[Frame]:
    """The frames of a text in the notation of sample_grammar.py."""
    frames = []
    for block in text.strip().removeprefix('# ').split('\n# '):
        head, body = block.split('\n', 1)
        topic, *flags = head.split(', ')
        swap = next((flag.removeprefix('swap ') for flag in flags if flag.startswith('swap ')), None)
        senses = tuple(tuple(sense.strip().split('\n')) for sense in body.split('\n--\n'))
        frames.append(Frame(topic, swap, 'plain' in flags, senses))
    return frames


def lines_for(topic: str, table: dict[str, str]) -> list[str]:
    """The lines of SIDES or DETAILS that suit a topic."""
    return [line for topics, text in table.items() if topic in topics.split() for line in text.strip().split('\n')]


def read_sides(topic: str) -> list[list[Value]]:
    """The circumstances that suit a topic: for each its meanings, each a tuple of wordings."""
    return [[tuple(sense.split(' | ')) for sense in line.split(' // ')] for line in lines_for(topic, grammar.SIDES)]


def slots_of(sense: Value) -> dict[str, str]:
    """Slot -> its type, in the order of the first wording."""
    return dict(SLOT.findall(sense[0]))


def draw_meaning(frame: Frame, names: Names, draw: Draw) -> tuple[Meaning, list[Value]]:
    """A random meaning of a frame, and the alternatives for its circumstances (empty if it names none)."""
    sense = draw.pick(frame.senses)
    values = {}
    for slot, kind in slots_of(sense).items():
        values[slot] = names.other(kind, draw, list(values.values()))
    kind = draw.pick(('day', 'day', 'date', 'month', 'ago'))
    time = draw_time(draw, kind) if not frame.plain and draw.chance(0.7) else None
    sides = draw.pick(read_sides(frame.topic)) if not frame.plain and draw.chance(0.45) else []
    source = tuple(draw.pick(grammar.SOURCES[frame.topic]).split('|')) if draw.chance(0.5) else None
    stance = int(source is not None and draw.chance(0.15))
    side = draw.pick(sides) if sides else None
    return Meaning(frame.topic, sense, values, kind, time, side, source, stance), sides


def possible_changes(frame: Frame, meaning: Meaning) -> dict[str, int]:
    """The changes of CHANGES that this meaning allows, with their weights."""
    kinds = slots_of(meaning.sense).values()
    possible = {'sense': len(frame.senses) > 1, 'swap': frame.swap, 'number': any(k in NUMBERS for k in kinds),
                'name': any(k not in NUMBERS for k in kinds), 'time': meaning.time, 'side': meaning.side,
                'stance': meaning.source}
    return {change: weight for change, weight in CHANGES.items() if possible[change]}


def changed(meaning: Meaning, change: str, frame: Frame, sides: list[Value], names: Names, draw: Draw) -> Meaning:
    """The meaning with one thing changed, so that it says something else."""
    values = dict(meaning.values)
    if change == 'sense':
        return replace(meaning, sense=draw.pick([s for s in frame.senses if s is not meaning.sense]))
    if change == 'swap':
        one, two = f'{frame.swap}1', f'{frame.swap}2'
        values[one], values[two] = values[two], values[one]
        return replace(meaning, values=values)
    if change in ('number', 'name'):
        slots = [s for s, kind in slots_of(meaning.sense).items() if (kind in NUMBERS) == (change == 'number')]
        slot = draw.pick(slots)
        values[slot] = names.other(slot.rstrip('12'), draw, list(values.values()))
        return replace(meaning, values=values)
    if change == 'time':
        time = meaning.time
        while time == meaning.time:
            time = draw_time(draw, meaning.time_kind)
        return replace(meaning, time=time)
    if change == 'side':
        return replace(meaning, side=draw.pick([s for s in sides if s != meaning.side]))
    return replace(meaning, stance=1 - meaning.stance)


# Sentences

def fill(template: str, values: dict[str, Value], draw: Draw) -> str:
    """The template with its choices made and its slots filled."""
    text = CHOICE.sub(lambda match: draw.pick(match[1].split('|')), template)
    return SLOT.sub(lambda match: draw.wording(values[match[1]]), text)


def with_time(clause: str, time: str) -> str:
    """The clause with its date at the end, or before its last part if that is set off by a comma."""
    main, comma, rest = clause.partition(', ')
    if comma and not LEADING.match(clause) and not rest.startswith('which'):
        return f'{main} {time}, {rest}'
    return f'{clause} {time}'


def sentence(meaning: Meaning, template: str, draw: Draw, detail: str | None = None, with_source: bool = True) -> str:
    """One wording of a meaning; `template` is one of its sense's."""
    clause = fill(template, meaning.values, draw)
    time = meaning.time and draw.wording(meaning.time)
    side = meaning.side and draw.wording(meaning.side)
    source = draw.wording(meaning.source) if meaning.source and (with_source or meaning.stance) else None
    before = source and (meaning.stance or draw.chance(0.5))
    front = None
    if not before and ',' not in clause:
        front = draw.weighted({'time': 5 if time else 0, 'side': 3 if side else 0, 'none': 4})
    lead = {'time': time, 'side': side}.get(front)
    if time and front != 'time':
        clause = with_time(clause, time)
    clause += ''.join(f', {part}' for part in (side if front != 'side' else None, detail) if part)
    if before:
        clause = f'{draw.pick(grammar.STANCES[meaning.stance])} {clause}'.format(source=source)
    elif source:
        clause += ', ' + draw.pick(grammar.STANCE_TAILS).format(source=source)
    text = f'{lead}, {clause}' if lead else clause
    return text[0].upper() + text[1:] + '.'


def two_wordings(one: Meaning, two: Meaning, label: int, draw: Draw) -> tuple[str, str]:
    """A template for each meaning, different ones or, in SAME_FRAME_SHARE of the pairs, possibly the same."""
    first = draw.pick(one.sense)
    others = two.sense if draw.chance(SAME_FRAME_SHARE[label]) else [t for t in two.sense if t != first]
    return first, draw.pick(others)


def draw_pair(label: int, frames: list[Frame], names: Names, counts: Counter, draw: Draw) -> tuple[int, str, str]:
    """A row of class `label`: label, which may be disputed, and two sentences."""
    frame = draw.pick(frames)
    one, sides = draw_meaning(frame, names, draw)
    two, doubts = one, []
    if not label:
        possible = possible_changes(frame, one)
        changes = [draw.weighted(possible)]
        changes += [c for c in MORE_CHANGES if c in possible and c not in changes and draw.chance(MORE_SHARE)]
        for change in changes:
            two = changed(two, change, frame, sides, names, draw)
        doubts += ['time'] if changes == ['time'] else []
    templates = two_wordings(one, two, label, draw)
    detail, two = small_differences(two, doubts, draw)
    with_source = not draw.chance(DROPPED_SOURCE_SHARE)
    texts = [sentence(one, templates[0], draw), sentence(two, templates[1], draw, detail, with_source)]
    if draw.chance(0.5):
        texts.reverse()
    return disputed(label, doubts, counts), texts[0], texts[1]


def small_differences(meaning: Meaning, doubts: list[str], draw: Draw) -> tuple[str | None, Meaning]:
    """A small addition, a missing date, a rounded number: each by chance, and noted in `doubts`."""
    detail = None
    if draw.chance(DETAIL_SHARE):
        detail = draw.pick(lines_for(meaning.topic, grammar.DETAILS))
        doubts.append('detail')
    if meaning.time and 'time' not in doubts and draw.chance(DROPPED_TIME_SHARE):
        meaning = replace(meaning, time=None)
        doubts.append('dropped time')
    values = dict(meaning.values)
    for slot in values:
        if slot in ('people', 'tons', 'acres') and draw.chance(BLUR_SHARE):
            values[slot] = (blurred(values[slot][0]),)
            doubts.append('blur')
    return detail, replace(meaning, values=values)


def disputed(label: int, doubts: list[str], counts: Counter) -> int:
    """The label that annotators gave: the minority's for every so many pairs that allow a doubt; `counts` counts them.

    Counting, not chance, keeps the share of such labels the same in the small dev set as in train."""
    for doubt in doubts:
        if label == int(doubt != 'time'):
            counts[doubt] += 1
            if counts[doubt] % DISPUTED[doubt] == 0:
                return 1 - label
    return label


# Files

def make_splits(seed: int = SEED) -> dict[str, list[tuple[int, str, str]]]:
    """train, dev and test, each a list of (label, sentence 1, sentence 2); no sentence occurs twice."""
    draw, frames, seen = Draw(seed), read_frames(grammar.FRAMES), set()
    splits = {}
    for split, rows in ROWS.items():
        names = Names(TRAIN_NAMES if split == 'train' else 1.0)
        splits[split], counts = [], Counter()
        positives = round(rows * POSITIVE_SHARE)   # a fixed number, lest chance make the small dev set lopsided
        labels = sorted([1] * positives + [0] * (rows - positives), key=lambda _: draw.random())
        while labels:
            label, one, two = draw_pair(labels[-1], frames, names, counts, draw)
            if one == two or one in seen or two in seen:
                continue
            seen.update((one, two))
            splits[split].append((label, one, two))
            labels.pop()
    return splits


def to_tsv(split: str, rows: list[tuple[int, str, str]]) -> str:
    """The text of a split's file; the test file has row numbers in place of labels."""
    first_id = {'train': 1_000_000, 'dev': 2_000_000, 'test': 3_000_000}[split]
    lines = [HEADERS[split]]
    for index, (label, one, two) in enumerate(rows):
        ids = first_id + 2 * index
        lines.append(f'{index if split == "test" else label}\t{ids}\t{ids + 1}\t{one}\t{two}')
    return '\n'.join(lines) + '\n'


def write_sample_data(folder: Path = envs.SAMPLE_FOLDER, seed: int = SEED) -> list[str]:
    """Write the three files to `folder`, each whole or not at all; returns a line of text on each. Raises OSError."""
    folder = path_of(folder)
    report = []
    for split, rows in make_splits(seed).items():
        path = folder / f'{split}.tsv'
        with replace_file(path) as temporary:
            temporary.write_bytes(to_tsv(split, rows).encode('ascii'))
        labels = 'no labels' if split == 'test' else f'{sum(row[0] for row in rows)} of them paraphrases'
        report.append(f'{path}: {len(rows)} pairs, {labels}')
    return report


def main() -> None:
    """Read the flags and write the files."""
    parser = argparse.ArgumentParser(description='Write the built-in sample task (sentence pairs in MRPC format).')
    parser.add_argument('--data_dir', default=envs.SAMPLE_FOLDER, help='where the three files go (%(default)s)')
    parser.add_argument('--seed', type=int, default=SEED, help='seed of the generator (%(default)s)')
    args = parser.parse_args()
    try:
        report = write_sample_data(args.data_dir, args.seed)
    except OSError as error:
        print(f'error: --data_dir {args.data_dir}: {error}; name a folder that can be written', file=sys.stderr)
        sys.exit(2)
    print('\n'.join(report))


if __name__ == '__main__':
    main()
