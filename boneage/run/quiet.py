"""Keep the terminal to what a user of this project can act on."""

import logging
import warnings

from boneage.run.processes import is_first_process

NOT_FOR_THE_USER = (
    ".*does not have many workers.*",  # the uint8 cache is faster than workers on few cores
    ".*LeafSpec.*is deprecated.*",  # between lightning and torch
    ".*smaller than the logging interval.*",  # every epoch is logged anyway
    ".*enabled train dataloader shuffling.*",  # debug=overfit wants the same batch again
    ".*is not supported by the model summary.*",
    ".*Early stopping conditioned on metric.*",  # of an epoch without validation
    ".*could not find the monitored key.*",
    ".*exists and is not empty.*",  # a run that is resumed in its own folder
)


def quieten_lightning() -> None:
    """Hide announcements of libraries, warnings that do not apply here, and further processes."""
    if not is_first_process():
        logging.disable(logging.WARNING)
    for name in ("lightning.pytorch", "lightning.fabric", "fontTools"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in NOT_FOR_THE_USER:
        warnings.filterwarnings("ignore", message)
