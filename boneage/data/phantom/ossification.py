"""When each bone of the hand appears and fuses, and how the hand grows, by sex.

Ages in years as (boy, girl). Appearance: medians of Garn, Rohmann and Silverman 1967, of which the
order and the carpal ages agree with Gilsanz and Ratib's Hand Bone Age. Fusion: mid-points chosen
for drawing within the bounds of Cardoso (hand) and of Gilsanz and Ratib (radius, ulna). Pisiform
and hand length are rounded from several sources. Good enough to draw by, not to diagnose by.
"""

import numpy as np

SEXES = ("male", "female")

APPEARANCE_YEARS = {
    "capitate": (0.25, 0.17),
    "hamate": (0.33, 0.17),
    "triquetrum": (2.42, 1.67),
    "lunate": (4.08, 2.58),
    "scaphoid": (5.67, 4.08),
    "trapezium": (5.83, 4.08),
    "trapezoid": (6.25, 4.17),
    "pisiform": (10.5, 8.5),
    "radius": (1.08, 0.83),
    "ulna": (7.08, 5.33),
    "metacarpal 1": (2.58, 1.58),
    "metacarpal 2": (1.58, 1.08),
    "metacarpal 3": (1.83, 1.17),
    "metacarpal 4": (2.00, 1.25),
    "metacarpal 5": (2.17, 1.33),
    "proximal 1": (3.00, 1.67),
    "proximal 2": (1.42, 0.83),
    "proximal 3": (1.33, 0.83),
    "proximal 4": (1.50, 0.92),
    "proximal 5": (1.83, 1.17),
    "middle 2": (2.17, 1.33),
    "middle 3": (2.00, 1.25),
    "middle 4": (2.08, 1.25),
    "middle 5": (3.42, 2.00),
    "distal 1": (1.50, 1.00),
    "distal 2": (3.17, 2.50),
    "distal 3": (2.42, 1.50),
    "distal 4": (2.42, 1.50),
    "distal 5": (3.25, 1.92),
}
FUSION_YEARS = {  # mid-point: half of the growth plate is bridged
    "distal": (15.5, 13.5),
    "metacarpal 1": (16.0, 14.0),
    "metacarpal": (16.5, 14.5),
    "proximal": (16.5, 14.5),
    "middle": (16.5, 15.0),
    "ulna": (17.5, 16.0),
    "radius": (18.0, 16.5),
}
FUSION_SPAN_YEARS = 1.4
CARPAL_FULL_SIZE_YEARS = (14.5, 12.5)
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
        rng: draws how far single centres run ahead or behind; None draws the typical hand.
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
        """Return (maturity, bridged), each 0 to 1; maturity 0 is an epiphysis not yet there.

        Maturity runs from the first speck of bone to the middle of fusion; `bridged` is the share
        of the growth plate that has turned to bone.
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
