"""Names of the files and folders of a run."""

METRICS, PREDICTIONS, ERROR = "metrics.json", "predictions.csv", "error.txt"
SPLIT, SUBGROUPS, HISTORY = "split.csv", "subgroups.csv", "history.csv"
STORED_IMAGES = "images.npz"
CHECKPOINTS, HYDRA = "checkpoints", ".hydra"  # folders
BEST, LAST = f"{CHECKPOINTS}/best.ckpt", f"{CHECKPOINTS}/last.ckpt"
CASES = "cases.csv"  # the images in a folder, with their captions
