"""boneage ensemble: several runs as one."""

from pathlib import Path
from typing import Annotated

import typer


def ensemble(
    runs: Annotated[
        list[Path], typer.Argument(help="Finished runs: folders, or checkpoint files in them.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the ensemble, like a run's.")],
) -> None:
    """Average the predictions of several runs; runs of different folds are pooled."""
    from boneage.evaluation.report.page import write_report
    from boneage.run.ensemble import ensemble as average
    from boneage.run.terminal import print_results

    print_results(average(runs, out), out)
    write_report(out)
