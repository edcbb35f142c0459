"""Make the built-in model from a run on the RSNA radiographs.

python studies/rsna/box.py RUN /path/to/rsna

Fits the calibration of the run again, and replaces boneage/weights/rsna.onnx.
"""

import sys
import tempfile
from pathlib import Path

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from boneage.predict.export import export
from boneage.run.calibrate import calibrate
from boneage.run.checkpoint import load_model, read_checkpoint
from boneage.run.checkpoint_file import checkpoint_file
from boneage.run.process import quieten_lightning
from boneage.run.seen import changed_fold

OUT = Path(__file__).parents[2] / "boneage/weights/rsna.onnx"
MAX_BYTES = 8_000_000  # every version stays in the git history
LICENCE = (
    "CC BY-NC 4.0 (https://creativecommons.org/licenses/by-nc/4.0/): research, education and other "
    "non-commercial use. Trained from the ImageNet weights of EfficientNet-Lite (Apache-2.0)."
)
CITATION = (
    "Halabi SS, Prevedello LM, Kalpathy-Cramer J, et al. The RSNA Pediatric Bone Age Machine "
    "Learning Challenge. Radiology 2019;290(2):498-503. doi:10.1148/radiol.2018180736. "
    "https://www.rsna.org/rsnai/ai-image-challenge/rsna-pediatric-bone-age-challenge-2017"
)


def main(run: Path, root: Path) -> None:
    """Calibrate, export, and check the size."""
    quieten_lightning()
    checkpoint = read_checkpoint(checkpoint_file(run))
    record = checkpoint["boneage"]
    config = OmegaConf.create(record["config_text"])
    config.data.root = str(root)
    data = instantiate(config.data)
    data.setup("fit")
    if fold := changed_fold(record, data.table):
        sys.exit(f"the {fold} fold of {root} differs from that of {run}")
    record["calibration"] = calibrate(load_model(checkpoint), data)
    with tempfile.TemporaryDirectory() as folder:
        calibrated, out = Path(folder) / "best.ckpt", Path(folder) / OUT.name
        torch.save(checkpoint, calibrated)
        print(export(calibrated, out, "onnx", LICENCE, CITATION))
        content = out.read_bytes()
    if len(content) > MAX_BYTES:
        sys.exit(f"{len(content):,} bytes are more than {MAX_BYTES:,}")
    OUT.write_bytes(content)
    print(f"{OUT}: {len(content):,} bytes")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
