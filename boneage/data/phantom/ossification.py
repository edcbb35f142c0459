"""When each bone of the hand appears and fuses, and how the hand grows, by sex.

Ages in years as (girl, boy). Appearance: medians of Garn, Rohmann and Silverman 1967, of which the
order and the carpal ages agree with Gilsanz and Ratib's Hand Bone Age. Fusion: mid-points chosen
for drawing within the bounds of Cardoso (hand) and of Gilsanz and Ratib (radius, ulna). Pisiform
and hand length are rounded from several sources. Accurate enough for drawing, not for diagnosis.
"""

import numpy as np

from boneage.data.tables.sexes import SEXES

APPEARANCE_YEARS = {
    "capitate": (0.17, 0.25), "hamate": (0.17, 0.33), "triquetrum": (1.67, 2.42),
    "lunate": (2.58, 4.08), "scaphoid": (4.08, 5.67), "trapezium": (4.08, 5.83),
    "trapezoid": (4.17, 6.25), "pisiform": (8.5, 10.5),
    "radius": (0.83, 1.08), "ulna": (5.33, 7.08),
    "metacarpal 1": (1.58, 2.58), "metacarpal 2": (1.08, 1.58),
    "metacarpal 3": (1.17, 1.83), "metacarpal 4": (1.25, 2.00), "metacarpal 5": (1.33, 2.17),
    "proximal 1": (1.67, 3.00), "proximal 2": (0.83, 1.42), "proximal 3": (0.83, 1.33),
    "proximal 4": (0.92, 1.50), "proximal 5": (1.17, 1.83),
    "middle 2": (1.33, 2.17), "middle 3": (1.25, 2.00),
    "middle 4": (1.25, 2.08), "middle 5": (2.00, 3.42),
    "distal 1": (1.00, 1.50), "distal 2": (2.50, 3.17), "distal 3": (1.50, 2.42),
    "distal 4": (1.50, 2.42), "distal 5": (1.92, 3.25),
}  # fmt: skip
FUSION_YEARS = {  # mid-point: half of the growth plate is bridged
    "distal": (13.5, 15.5),
    "metacarpal 1": (14.0, 16.0),
    "metacarpal": (14.5, 16.5),
    "proximal": (14.5, 16.5),
    "middle": (15.0, 16.5),
    "ulna": (16.0, 17.5),
    "radius": (16.5, 18.0),
}
FUSION_SPAN_YEARS = 1.4
CARPAL_FULL_SIZE_YEARS = (12.5, 14.5)
HAND_LENGTH_AGES_YEARS = (0, 2, 6, 10, 14, 17)
HAND_LENGTH_CM = {
    "male": (6.5, 10.8, 13.0, 15.5, 18.0, 18.9),
    "female": (6.5, 10.7, 13.0, 15.5, 17.0, 17.2),
}
ADULT_HAND_CM = 18.9


class Maturity:
    """How mature each centre of one hand is.

    Args:
        age_years: bone age.
        sex: "male" or "female".
        rng: draws how far single centres are ahead or behind; None gives the typical hand.
    """

    def __init__(self, age_years: float, sex: str, rng: np.random.Generator | None = None) -> None:
        self.age_years = age_years
        self.sex = SEXES.index(sex)
        self.rng = rng
        length_cm = np.interp(age_years, HAND_LENGTH_AGES_YEARS, HAND_LENGTH_CM[sex])
        self.growth = float(length_cm) / ADULT_HAND_CM

    def carpal_size(self, bone: str) -> float:
        """Return the linear size of a carpal's ossified part, 0 (absent) to 1 (adult)."""
        appears = APPEARANCE_YEARS[bone][self.sex]
        full = CARPAL_FULL_SIZE_YEARS[self.sex]
        grown = (self._age_of_centre() - appears) / (full - appears)
        return 0.0 if grown <= 0 else 0.2 + 0.8 * min(1.0, grown) ** 0.7

    def epiphysis(self, bone: str) -> tuple[float, float]:
        """Return (maturity, bridged), each 0 to 1; maturity 0 is an epiphysis not yet present.

        Maturity runs from the first speck of bone to the middle of fusion; `bridged` is the share
        of the growth plate that has become bone.
        """
        appears = APPEARANCE_YEARS[bone][self.sex]
        fuses = FUSION_YEARS.get(bone, FUSION_YEARS.get(bone.split()[0], (0, 0)))[self.sex]
        age = self._age_of_centre()
        maturity = (age - appears) / (fuses - appears)
        bridged = (age - fuses) / FUSION_SPAN_YEARS + 0.5
        return float(np.clip(maturity, 0, 1)), float(np.clip(bridged, 0, 1))

    def _age_of_centre(self) -> float:
        """Return the age, years, that one centre shows: centres of one hand differ a little."""
        if self.rng is None:
            return self.age_years
        spread = min(0.25, 0.05 + 0.03 * self.age_years)
        return self.age_years + spread * float(np.clip(self.rng.normal(), -2, 2))
