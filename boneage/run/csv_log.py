"""The CSV log, whole at every moment."""

import os
import shutil

from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import rank_zero_only
from typing_extensions import override


class CsvLog(CSVLogger):
    """Lightning's CSV logger, which loses nothing when it is interrupted while it writes.

    Lightning empties the file and writes it again when a metric is new; here a copy is written and
    takes the file's place once it is whole.
    """

    @override
    @rank_zero_only
    def save(self) -> None:
        writer = self.experiment
        file, keys = writer.metrics_file_path, list(writer.metrics_keys)
        copy = f"{file}.part"
        if os.path.exists(file):
            shutil.copyfile(file, copy)
        writer.metrics_file_path = copy
        try:
            super().save()
        except BaseException:
            writer.metrics_keys = keys
            raise
        finally:
            writer.metrics_file_path = file
        if os.path.exists(copy):
            os.replace(copy, file)
