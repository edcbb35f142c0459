"""The official archives of the RSNA Pediatric Bone Age Challenge 2017."""

from dataclasses import dataclass
from typing import Literal

Part = Literal["train", "validation", "test"]

BASE = "https://s3.amazonaws.com/east1.public.rsna.org/AI/2017/"
TERMS = """\
The radiographs of the RSNA Pediatric Bone Age Challenge 2017 may be used for academic research
and education that is not commercial. You may not try to identify anyone. Who passes them on must
link to the page of the RSNA and cite:

  Halabi SS, Prevedello LM, Kalpathy-Cramer J, et al. The RSNA Pediatric Bone Age Machine Learning
  Challenge. Radiology 2019;290(2):498-503.
"""


@dataclass(frozen=True)
class Archive:
    """An archive of a part of the data.

    Args:
        part: what it belongs to.
        name: its file name, as the address has it.
    """

    part: Part
    name: str

    @property
    def folder(self) -> str:
        """Name of the folder that it is unpacked into."""
        return self.name.removesuffix(".zip").replace("+", " ")


ARCHIVES = (
    Archive("train", "Bone+Age+Training+Set+Annotations.zip"),
    Archive("train", "Bone+Age+Training+Set.zip"),
    Archive("validation", "Bone+Age+Validation+Set.zip"),
    Archive("test", "Bone+Age+Test+Set.zip"),
)
OFFICIAL_COUNTS: dict[Part, int] = {"train": 12_611, "validation": 1_425, "test": 200}
