"""One save and one load for all stages, and where a checkpoint that a flag names may lie."""
import argparse
from pathlib import Path

import torch

import envs
from BERT.pytorch_pretrained_bert.file_utils import InputError, path_of
from BERT.pytorch_pretrained_bert.writing import put_in_place, replace_file
from src.modeling import SequenceClassifier, load_classifier, load_encoder
from src.nli_data_processing import GlueTask
from src.run_log import read_run
from src.teacher_outputs import teacher_folder

# What a saved pair of files was best at; '' are the weights after the last step.
CRITERIA = ('_acc', '_loss', '')
SAVED_STATES = 'saved_states'     # of a run's record: name of each state that it saved -> its step


def state_name(criterion: str) -> str:
    """What records and tables call one of CRITERIA: acc, loss or final."""
    return criterion.lstrip('_') or 'final'


def checkpoint_files(folder: Path, prefix: str, criterion: str) -> tuple[Path, Path]:
    """(encoder file, classifier file) of a run: BERT.encoder_acc.pkl and BERT.cls_acc.pkl, say."""
    return folder / f'{prefix}.encoder{criterion}.pkl', folder / f'{prefix}.cls{criterion}.pkl'


# Of a pair of files that must fit each other each appears whole, but not both at once. So a run writes both in full under
# pending names, which tell the step they are of. What counts is which step a training state on disk, or the process at
# work, says that a criterion was saved at; `settle` makes the files follow, and may be broken off anywhere and called again.

def save_model(model: SequenceClassifier, folder: Path, prefix: str, criterion: str, step: int | None = None) -> None:
    """Write encoder and classifier as state dicts; with a step under pending names, for `settle`, in place of older ones."""
    for module, path in zip((model.encoder, model.classifier), checkpoint_files(folder, prefix, criterion), strict=True):
        state = {name: tensor.detach().cpu() for name, tensor in module.state_dict().items()}
        if step is not None:
            _remove_pending(folder, path.name)
            path = _pending(path, step)
        with replace_file(path) as temporary, open(temporary, 'wb') as file:
            torch.save(state, file)         # given a path, it tells a full disk without the system's words


def _pending(path: Path, step: int) -> Path:
    return path.with_name(f'.{path.name}.step{step}.pending')


def _remove_pending(folder: Path, name: str) -> None:
    for path in folder.glob(f'.{name}.step*.pending'):
        path.unlink()


def settle(folder: Path, prefix: str, saved: dict[str, int]) -> None:
    """Let the pairs of a prefix be those that `saved`, criterion -> step, names, and remove pending ones of other steps.

    Pairs of other criteria are an earlier run's and go too; those of a run that has saved nothing yet stay."""
    for criterion in CRITERIA if saved else ():
        encoder, classifier = checkpoint_files(folder, prefix, criterion)
        if criterion not in saved:
            encoder.unlink(missing_ok=True)
            classifier.unlink(missing_ok=True)
        elif _pending(classifier, saved[criterion]).exists():
            if _pending(encoder, saved[criterion]).exists():
                classifier.unlink(missing_ok=True)       # one of the pair may be missing, but never of another step
                put_in_place(_pending(encoder, saved[criterion]), encoder)
            put_in_place(_pending(classifier, saved[criterion]), classifier)
    _remove_pending(folder, f'{prefix}.*')


def remove_checkpoints(folder: Path, prefix: str) -> None:
    """Remove what an earlier run in the folder saved."""
    for criterion in CRITERIA:
        for path in checkpoint_files(folder, prefix, criterion):
            path.unlink(missing_ok=True)


def best_saved(folder: Path, prefix: str = 'BERT') -> tuple[Path, Path]:
    """The saved pair of files that is best by dev metric, else by dev loss, else the final one; of a run that has ended, the
    one whose scores its record has, which need not be the best that is left.

    FileNotFoundError when it is not there; InputError where the record cannot be read."""
    saved = (read_run(folder_of_record(checkpoint_files(folder, prefix, '')[0])) or {}).get(SAVED_STATES)
    told = [criterion for criterion in CRITERIA if state_name(criterion) in saved] if isinstance(saved, dict) else []
    for criterion in told[:1] or CRITERIA:
        encoder, classifier = checkpoint_files(folder, prefix, criterion)
        if encoder.is_file() and classifier.is_file():
            return encoder, classifier
    if told:
        raise FileNotFoundError(f'{folder} holds no {encoder.name} with its {classifier.name}, the state whose scores its '
                                'run.json has; put both back')
    raise FileNotFoundError(f'{folder} holds no {prefix}.encoder*.pkl with its {prefix}.cls*.pkl; train the model first')


def load_saved(model: SequenceClassifier, files: tuple[Path, Path]) -> None:
    """Give the model the weights of a saved pair of files: (encoder file, classifier file)."""
    load_encoder(model.encoder, files[0], all_layers=True)
    load_classifier(model.classifier, files[1])


def find_checkpoint(flag: str, name: str, folders: list[Path]) -> Path:
    """The file that a flag names: `~` expanded, absolute or relative to the working directory, else in one of folders."""
    path, folders_met = path_of(name), []
    places = [path] if path.is_absolute() else [Path.cwd() / path, *(folder / path for folder in folders)]
    for place in places:
        if place.is_file():
            if place.stat().st_size == 0:
                raise InputError(f'--{flag} {name}: {place} is empty')
            return place
        folders_met += [place] if place.is_dir() else []
    if folders_met:
        raise InputError(f'--{flag} {name}: {folders_met[0]} is a folder; name a file in it')
    raise FileNotFoundError(f'--{flag} {name}: no such file; looked for {", ".join(map(str, places))}')


def made_by_ptp(load_model: str | None) -> bool:
    """Whether --load_model names an encoder of PTP.py's, by what its name begins with."""
    return bool(load_model) and Path(load_model).name.startswith('PTP.')


def folder_of_record(encoder: Path) -> Path:
    """Where the run.json of an encoder's run is, if it has one: beside it, or, of PTP.py's, in the folder of its prefix."""
    prefix = encoder.name.partition('.encoder')[0]
    return encoder.parent / prefix if made_by_ptp(str(encoder)) else encoder.parent


def checkpoint_places(args: argparse.Namespace, task: GlueTask) -> list[Path]:
    """Folders in which a checkpoint's name is looked for: the teacher's and the task's output folders."""
    return [teacher_folder(task, args.teacher_hidden_layers), envs.HOME_OUTPUT_FOLDER / task.name,
            envs.STUDENT_FOLDER / task.name]
