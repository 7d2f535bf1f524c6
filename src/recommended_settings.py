"""Settings that work, one table: `--recommended` takes them where no flag says otherwise."""
from pathlib import Path
from typing import Any

# checkpoint -> stage (ft: teacher; ptp; kd; pkd) -> task in lower case, or None for every other -> settings
# minilm-l6: found here, see "Results" in README.md.
RECOMMENDED: dict[str, dict[str, dict[str | None, dict[str, Any]]]] = {
    'minilm-l6': {
        'ft': {None: {'learning_rate': 1e-4, 'num_train_epochs': 5.0}},
        'ptp': {None: {'learning_rate': 1e-4, 'num_train_epochs': 4.0}},
        'kd': {None: {'learning_rate': 1e-4, 'num_train_epochs': 6.0}},
        'pkd': {None: {'learning_rate': 1e-4, 'num_train_epochs': 6.0}},
    },
}


def recommended_settings(script: str, args: dict[str, Any]) -> dict[str, Any]:
    """Flags and values for a script with these arguments; none where the table has nothing on the checkpoint."""
    stage = 'ptp' if script == 'PTP.py' else args.get('train_type')
    tasks = RECOMMENDED.get(Path(args['bert_model']).name, {}).get(stage, {})
    return tasks.get(args['task'].lower(), tasks.get(None, {}))
