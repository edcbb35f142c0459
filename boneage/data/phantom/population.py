"""Ages and sexes distributed like those of the RSNA training set."""

import numpy as np
import pandas as pd

# Radiographs per year of bone age, 0 to 19, in the RSNA training set (Halabi et al. 2019).
PER_YEAR = np.array(
    [13, 78, 175, 231, 304, 531, 739, 877, 896, 444,
     1210, 1665, 1400, 1947, 1002, 581, 209, 216, 74, 19]
)  # fmt: skip
OLDEST_MONTHS = 228
MALE_SHARE = 6833 / 12611
ALL_MALE_FROM_MONTHS = 217
# Boys' bones are on average 1.45 years older than girls', at a spread of 3.43 years: the log odds
# of being a boy rise by 1.45 / 3.43^2 a year.
MALE_LOG_ODDS_PER_YEAR = 0.123
MEAN_AGE_YEARS = 10.6


def draw_population(n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Return n rows of `boneage` (whole months) and `male`, in random order.

    Ages are drawn one from each n-th of the distribution, so that small sets resemble it too.
    """
    quantiles = (rng.permutation(n) + rng.random(n)) / n
    cumulated = np.concatenate([[0], np.cumsum(PER_YEAR)]) / PER_YEAR.sum()
    part, year = np.modf(np.interp(quantiles, cumulated, np.arange(len(PER_YEAR) + 1)))
    months = (12 * (year + part**2)).astype(int)  # labels pile up on whole years
    months = months.clip(1, OLDEST_MONTHS)
    odds = np.log(MALE_SHARE / (1 - MALE_SHARE))
    odds = odds + MALE_LOG_ODDS_PER_YEAR * (months / 12 - MEAN_AGE_YEARS)
    male = rng.random(n) < 1 / (1 + np.exp(-odds))
    return pd.DataFrame({"boneage": months, "male": male | (months >= ALL_MALE_FROM_MONTHS)})
