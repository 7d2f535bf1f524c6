"""Settings that work, one table: `--recommended` takes them where no flag says otherwise."""
import logging
from pathlib import Path
from typing import Any

from src.nli_data_processing import SPELLINGS

logger = logging.getLogger(__name__)

# checkpoint -> stage (ft: teacher; ptp; kd; pkd) -> task in lower case, or None for every other -> settings.
# minilm-l6: found on MRPC ("Results" in README.md), kd's taken over from pkd. BertAdam corrects no bias: in runs as short
# as these its steps are 2 to 4 times those of Adam at the same learning rate, so 1e-4 makes so small a model memorise its
# training set, and 2e-4 makes it collapse. More PTP than this makes the student after it worse; on Sample, after PTP, a
# rate of 5e-5 leaves it at the majority's 55 %.
RECOMMENDED: dict[str, dict[str, dict[str | None, dict[str, Any]]]] = {
    'minilm-l6': {
        'ft': {None: {'learning_rate': 2e-5, 'num_train_epochs': 5.0},
               'mrpc': {'learning_rate': 2e-5, 'num_train_epochs': 5.0, 'eval_every': 2}},
        'ptp': {None: {'learning_rate': 1e-5, 'num_train_epochs': 1.0}},
        'kd': {None: {'learning_rate': 5e-5, 'num_train_epochs': 6.0}},
        'pkd': {None: {'learning_rate': 5e-5, 'num_train_epochs': 6.0},
                'sample': {'learning_rate': 3e-5, 'num_train_epochs': 10.0}},
    },
}


def recommended_settings(script: str, args: dict[str, Any]) -> dict[str, Any]:
    """Flags and values for a script with these arguments; none, and a word about it, where the table has nothing."""
    stage = 'ptp' if script == 'PTP.py' else args.get('train_type')
    tasks = RECOMMENDED.get(Path(args['bert_model']).name, {}).get(stage, {})
    task = SPELLINGS.get(args['task'].lower())
    found = tasks.get(task and task.name.lower(), tasks.get(None, {}))
    if not found:
        logger.warning('--recommended: nothing is known of %s with %s; the flags keep their defaults', stage,
                       args['bert_model'])
    return found
