"""How far a teacher's result file is that is being written, on disk, so that a dump that was stopped goes on from there."""
import json
from pathlib import Path

from BERT.pytorch_pretrained_bert.file_utils import InputError
from BERT.pytorch_pretrained_bert.writing import put_in_place, replace_file
from src.training_state import Period

JOURNAL = '.journal'      # what a journal's name ends in


class DumpJournal:
    """Rows done of each split, in the order in which `predict` gives them.

    The unfinished result file (`part`) and the journal (`file`) lie beside the result file. What the journal tells of is
    on disk in `part`: that is flushed first."""

    def __init__(self, path: Path, made_by: dict | None = None, checkpoint_every: str | None = None):
        self.path, self.made_by, self.period = path, made_by or {}, Period(checkpoint_every)
        self.part, self.file = (path.with_name(f'.{path.name}{kind}') for kind in ('.part', JOURNAL))
        self.rows: dict[str, int] = {}
        self.batches = 0

    def unfinished(self) -> bool:
        """Whether a dump was stopped that could go on."""
        return self.file.is_file() and self.part.is_file()

    def read(self) -> dict | None:
        """What the journal on disk tells: made_by and rows; None where no dump was stopped. InputError for a damaged one."""
        if not self.unfinished():
            return None
        try:
            found = json.loads(self.file.read_text(encoding='utf-8'))
            return {'made_by': dict(found['made_by']), 'rows': {name: int(rows) for name, rows in found['rows'].items()}}
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            raise InputError(f'--resume: {self.file} is damaged; remove it to start from the beginning') from None

    def begin(self) -> None:
        """Begin anew: what another dump left goes."""
        for path in (self.file, self.part):
            path.unlink(missing_ok=True)

    def due(self) -> bool:
        """Whether what was written after one more batch is to be noted."""
        self.batches += 1
        return self.period.due(self.batches)

    def note(self) -> None:
        """Write the journal: `part` holds `rows` rows of each split, on disk."""
        with replace_file(self.file) as temporary:
            temporary.write_text(json.dumps({'made_by': self.made_by, 'rows': self.rows}, default=str), encoding='utf-8')

    def finish(self) -> None:
        """Let the finished file take its name."""
        put_in_place(self.part, self.path)
        self.file.unlink(missing_ok=True)

    def give_up(self) -> None:
        """Remove what nothing can go on from."""
        if not self.file.exists():
            self.part.unlink(missing_ok=True)
