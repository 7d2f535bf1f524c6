"""Where everything lies. Edit the paths here, or set the environment variables named beside them.

PEAKD_GLUE     folder that holds MRPC/, RTE/, ... (the GLUE data)
PEAKD_MODELS   folder of pretrained checkpoint folders
PEAKD_OUTPUTS  folder that every run writes to
"""
import os
from pathlib import Path

PROJECT_FOLDER = Path(__file__).resolve().parent
HOME_DATA_FOLDER = Path(PROJECT_FOLDER, 'data')


def _root(variable: str, default: Path) -> Path:
    given = os.environ.get(variable)
    place = os.path.expanduser(given) if given else Path(PROJECT_FOLDER, os.path.expanduser(default))
    return Path(place).resolve()


# What is read
GLUE_FOLDER = _root('PEAKD_GLUE', Path(HOME_DATA_FOLDER, 'data_raw', 'glue_data'))  # {task}/train.tsv, dev.tsv, test.tsv
SAMPLE_FOLDER = Path(HOME_DATA_FOLDER, 'data_raw', 'sample')                        # made by make_sample_data.py
MODELS_FOLDER = _root('PEAKD_MODELS', Path(HOME_DATA_FOLDER, 'models'))             # {bert_model}/config, vocab, weights

# What is written
OUTPUTS_FOLDER = _root('PEAKD_OUTPUTS', Path(HOME_DATA_FOLDER, 'outputs'))
HOME_OUTPUT_FOLDER = Path(OUTPUTS_FOLDER, 'KD')        # {task}/teacher_{L}layer: teachers, their results, PTP encoders
STUDENT_FOLDER = Path(OUTPUTS_FOLDER, 'PeaKD')         # {task}/{configuration}: students
PREDICTION_FOLDER = Path(OUTPUTS_FOLDER, 'predictions')  # predictions for the test sets
COMPARE_FOLDER = Path(OUTPUTS_FOLDER, 'compare')       # run_glue_benchmark.py --mode compare: results.csv and all runs
CACHE_FOLDER = Path(OUTPUTS_FOLDER, 'cache')           # token ids; may be deleted at any time

# What is edited above may be text, begin with ~, or be relative: to this folder, wherever a script is started
globals().update({name: Path(PROJECT_FOLDER, os.path.expanduser(value)).resolve() for name, value in list(globals().items())
                  if name.endswith('_FOLDER')})
