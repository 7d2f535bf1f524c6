"""docs/method.md: each of its links to a line of code leads to what it names."""
import re
from pathlib import Path

import pytest
from conftest import ROOT

DOCUMENT = ROOT / 'docs' / 'method.md'
LINK = re.compile(r'\[`(?P<name>[^`]+)`\]\(\.\./(?P<path>[^)#]+)#L(?P<line>\d+)\)')
LINKS = [tuple(match.groups()) for match in LINK.finditer(DOCUMENT.read_text(encoding='utf-8'))]


def lines_of(name: str, path: Path) -> list[int]:
    """The numbers of the lines on which a name is defined: as a function, a class or a value."""
    start = re.compile(rf'\s*def {name}\(|class {name}\b|\s*{name} = |{name}: .* = ')
    return [number for number, line in enumerate(path.read_text(encoding='utf-8').splitlines(), 1) if start.match(line)]


@pytest.mark.parametrize('name, path, line', LINKS, ids=[link[0] for link in LINKS])
def test_links_are_true(name, path, line):
    assert lines_of(name, ROOT / path) == [int(line)]


def test_there_are_links_and_all_are_checked():
    assert len(LINKS) == DOCUMENT.read_text(encoding='utf-8').count('](../') > 15
