"""How far a bone age lies from what is usual at a chronological age."""

import numpy as np

# Brush Foundation Study (Greulich & Pyle 1959): chronological age in years; mean and standard
# deviation of bone age in months.
BOYS = (
    (0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
     17),
    (3.01, 6.09, 9.56, 12.74, 19.36, 25.97, 32.40, 38.21, 43.89, 49.04, 56.00, 62.43, 75.46, 88.20,
     101.38, 113.90, 125.68, 137.32, 148.82, 158.39, 170.02, 182.72, 195.32, 206.21),
    (0.69, 1.13, 1.43, 1.97, 3.52, 3.92, 4.52, 5.08, 5.40, 6.66, 8.36, 8.79, 9.17, 8.91, 9.10, 9.00,
     9.79, 10.09, 10.38, 10.44, 10.72, 11.32, 12.86, 13.05),
)  # fmt: skip
GIRLS = (
    (0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16),
    (3.02, 6.04, 9.05, 12.04, 18.22, 24.16, 30.96, 36.63, 43.50, 50.14, 60.06, 66.21, 78.50, 89.30,
     100.66, 113.86, 125.66, 137.86, 149.62, 162.28, 174.25, 183.62, 189.44),
    (0.72, 1.16, 1.36, 1.77, 3.49, 4.64, 5.37, 5.97, 7.48, 8.98, 10.73, 11.65, 10.23, 9.64, 10.23,
     10.74, 11.73, 11.94, 10.24, 10.67, 11.30, 9.23, 7.31),
)  # fmt: skip
BRUSH = {"male": BOYS, "female": GIRLS}


def sd_score(bone_age_years: float, chronological_age_years: float, sex: str) -> float | None:
    """Return how many standard deviations a bone age is above the mean of the chronological age.

    Between the ages of the Brush Foundation's table, mean and deviation are interpolated.

    Args:
        bone_age_years: bone age.
        chronological_age_years: chronological age.
        sex: "female", "male" or "unknown".

    Returns:
        The score; None for an unknown sex, and outside the table (3 months to 17 years of boys, 16
        of girls).
    """
    if sex not in BRUSH:
        return None
    ages, means, deviations = BRUSH[sex]
    if not ages[0] <= chronological_age_years <= ages[-1]:
        return None
    mean = np.interp(chronological_age_years, ages, means)
    deviation = np.interp(chronological_age_years, ages, deviations)
    return float((12 * bone_age_years - mean) / deviation)
