"""The 44 items of the checklist CLAIM 2024, and what the folder of a run answers."""

from collections.abc import Mapping
from typing import Any

from boneage.data.tables.columns import LABEL
from boneage.errors import plural
from boneage.evaluation.methods.network import initial_weights
from boneage.evaluation.methods.training import chosen_epoch
from boneage.evaluation.methods.words import is_ensemble, is_test_alone, without_folders
from boneage.evaluation.run_folder import FinishedRun
from boneage.run_files import LOG, MAPS, METRICS, PAGE, STRESS_TABLE, SUBGROUPS

SOURCE = "Tejani et al., Radiology: Artificial Intelligence 2024;6(4):e240300"
AUTHORS = "[fill in]"


def claim(run: FinishedRun) -> str:
    """Return the checklist as a Markdown table; what a run cannot know is "[fill in]"."""
    rows = [
        f"| {number} | {topic} | {' '.join(answer.split()).replace('|', chr(92) + '|')} |"
        for number, (topic, answer) in enumerate(_items(run), 1)
    ]
    head = f"# CLAIM 2024\n\nItems in short; full text in {SOURCE}.\n\n"
    return head + "| item | topic | answer |\n| --- | --- | --- |\n" + "\n".join(rows) + "\n"


def _items(run: FinishedRun) -> list[tuple[str, str]]:
    options, metrics = run.metrics["options"], run.metrics
    tested = plural(metrics["n"]["test"], "test radiograph")
    return [
        ("Title names the technology", AUTHORS),
        ("Structured abstract", AUTHORS),
        ("Background and intended use", AUTHORS),
        ("Aims and hypotheses", AUTHORS),
        ("Prospective or retrospective", AUTHORS),
        ("Goal of the study", AUTHORS),
        ("Data sources", f"{metrics['data']}; {AUTHORS}"),
        ("Inclusion and exclusion criteria", AUTHORS),
        ("Preprocessing", "Preprocessing, above"),
        ("Selection of subsets of the data", _subsets(run)),
        ("De-identification", AUTHORS),
        ("Missing data", _missing(run)),
        ("Image acquisition", AUTHORS),
        ("Definition of the reference standard", _reference(metrics)),
        ("Rationale of the reference standard", AUTHORS),
        ("Source of the annotations", AUTHORS),
        ("Annotation of the test set", AUTHORS),
        ("Variability of annotators", _readers(metrics)),
        ("Assignment to partitions", "Data, above"),
        ("Level at which partitions are disjoint", _level(metrics)),
        ("Intended sample size", f"{tested}; rationale {AUTHORS}"),
        ("Model", f"Model, above; {PAGE}"),
        ("Software", "Software, above"),
        ("Initial weights", initial_weights(options)),
        ("Training", _training(run)),
        ("Choice of the final model", _choice(run)),
        ("Ensembles", _ensemble(run)),
        ("Metrics", PAGE),
        ("Significance and uncertainty", "Statistics, above"),
        ("Robustness", _robustness(run)),
        ("Explanations", _explanations(run)),
        ("Evaluation on internal data", _internal(run)),
        ("Testing on external data", _external(run)),
        ("Registration of a trial", AUTHORS),
        ("Numbers included and excluded", _numbers(run)),
        ("Characteristics by partition", f"Age and sex: Data, above, and {PAGE}; {AUTHORS}"),
        ("Performance", f"{METRICS}; by age and sex {SUBGROUPS}"),
        ("Estimates with their precision", PAGE),
        ("Analysis of failures", f"{PAGE}: where it fails, the worst radiographs"),
        ("Limitations", f"{PAGE}: what these data cannot show; {AUTHORS}"),
        ("Implications", AUTHORS),
        ("Protocol", AUTHORS),
        ("Availability of software, model and data", AUTHORS),
        ("Funding", AUTHORS),
    ]


def _subsets(run: FinishedRun) -> str:
    options, said = run.metrics["options"], []
    if partial := run.metrics.get("partial"):
        said.append(f"The run used only a part of the data: {', '.join(partial)}")
    films = options.get("data.train_films", "all")
    if films != "all" and not is_test_alone(run):
        said.append(f"A stratified sample of {int(films):,} training radiographs")
    return "; ".join(said) or "None by the software"


def _reference(metrics: Mapping[str, Any]) -> str:
    if not metrics.get("readers"):
        return AUTHORS
    return (
        "The age column of the table or, if there is none, the mean of the readers "
        f"({', '.join(metrics['readers'])}); {AUTHORS}"
    )


def _missing(run: FinishedRun) -> str:
    options = run.metrics["options"]
    kinds = {
        "missing": "ids without an image, images without a row",
        "unreadable": "damaged files",
    }
    said = {"drop": f"Left out ({LOG} has the number)", "error": "None; the software refuses"}
    parts = []
    for choice, words in said.items():
        chosen = [what for name, what in kinds.items() if options.get(f"data.{name}") == choice]
        if chosen:
            parts.append(f"{words}: {', '.join(chosen)}")
    if unknown := int((run.predictions["sex"] == "unknown").sum()):
        parts.append(f"The sex of {plural(unknown, 'test radiograph')} is unknown")
    for name, empty in run.predictions.filter(regex=f"^{LABEL}").isna().sum().items():
        if empty:
            without = str(name).removeprefix(LABEL)
            parts.append(f"{plural(empty, 'test radiograph')} without {without}")
    return ". ".join(parts) or AUTHORS


def _readers(metrics: Mapping[str, Any]) -> str:
    readers = metrics.get("readers")
    return (
        f"predictions.csv has the readings of {', '.join(readers)}; {AUTHORS}"
        if readers
        else AUTHORS
    )


def _level(metrics: Mapping[str, Any]) -> str:
    return "Patient" if "patients" in metrics else "Radiograph; patients are not known"


def _training(run: FinishedRun) -> str:
    command = run.metrics.get("command")
    said = "Training, above; all options are in metrics.json"
    if not command or is_ensemble(run):
        return said
    return f"{said}; `{without_folders(command)}`"


def _choice(run: FinishedRun) -> str:
    if is_test_alone(run):
        return AUTHORS
    return f"Of the first model: {chosen_epoch(run)}" if is_ensemble(run) else chosen_epoch(run)


def _ensemble(run: FinishedRun) -> str:
    if not is_ensemble(run):
        return "One model"
    models = len(run.metrics["ensemble"])
    return f"{models} models: the mean over those that had the radiograph in their test fold"


def _robustness(run: FinishedRun) -> str:
    if (run.path / STRESS_TABLE).is_file():
        return f"{STRESS_TABLE}: the test fold with changed images"
    return f"{AUTHORS}; boneage stress measures it"


def _explanations(run: FinishedRun) -> str:
    maps = any((run.path / MAPS).glob("*.png"))
    return f"Grad-CAM maps, {PAGE}" if maps else "None"


def _internal(run: FinishedRun) -> str:
    if not run.metrics.get("external"):
        return PAGE
    own = f"The run's own test fold, {PAGE}; " if run.metrics.get("own_test") else ""
    return f"{own}{AUTHORS}"


def _external(run: FinishedRun) -> str:
    options = run.metrics["options"]
    if run.metrics.get("external"):
        return f"External test, {PAGE}"
    if options.get("data.folds") == "site" and not options.get("data.split_file"):
        return f"The test fold is of a site without training radiographs; {AUTHORS}"
    return AUTHORS


def _numbers(run: FinishedRun) -> str:
    log = f"{LOG}; " if (run.path / LOG).is_file() else ""
    return f"Data, above; {log}{AUTHORS}"
