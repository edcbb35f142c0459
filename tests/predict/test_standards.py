"""SD scores against every row of the Brush Foundation's table, and some worked out by hand."""

import pytest

from boneage.predict.answering import BRUSH, is_extreme, sd_score

# Age (years), mean and standard deviation (months) of boys, then of girls.
ROWS = """
0.25   3.01  0.69   3.02  0.72
0.5    6.09  1.13   6.04  1.16
0.75   9.56  1.43   9.05  1.36
1     12.74  1.97  12.04  1.77
1.5   19.36  3.52  18.22  3.49
2     25.97  3.92  24.16  4.64
2.5   32.40  4.52  30.96  5.37
3     38.21  5.08  36.63  5.97
3.5   43.89  5.40  43.50  7.48
4     49.04  6.66  50.14  8.98
4.5   56.00  8.36  60.06 10.73
5     62.43  8.79  66.21 11.65
6     75.46  9.17  78.50 10.23
7     88.20  8.91  89.30  9.64
8    101.38  9.10 100.66 10.23
9    113.90  9.00 113.86 10.74
10   125.68  9.79 125.66 11.73
11   137.32 10.09 137.86 11.94
12   148.82 10.38 149.62 10.24
13   158.39 10.44 162.28 10.67
14   170.02 10.72 174.25 11.30
15   182.72 11.32 183.62  9.23
16   195.32 12.86 189.44  7.31
17   206.21 13.05
"""
TABLE = [[float(number) for number in row.split()] for row in ROWS.strip().splitlines()]


@pytest.mark.parametrize(("sex", "first", "ages"), [("male", 1, 24), ("female", 3, 23)])
def test_every_row(sex, first, ages):
    rows = [row for row in TABLE if len(row) > first]
    assert len(rows) == len(BRUSH[sex][0]) == ages
    for age, mean, deviation in ((row[0], *row[first : first + 2]) for row in rows):
        assert sd_score(mean / 12, age, sex) == pytest.approx(0, abs=1e-9)
        assert sd_score((mean + deviation) / 12, age, sex) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(
    ("bone_age_months", "age", "sex", "expected"),
    [
        (125.68, 10, "male", 0.0),
        (125.68 + 9.79, 10, "male", 1.0),
        (125.66 - 2 * 11.73, 10, "female", -2.0),
        ((125.68 + 137.32) / 2 + (9.79 + 10.09) / 2, 10.5, "male", 1.0),  # between two rows
        (3.01 - 0.69, 0.25, "male", -1.0),
        (189.44, 16, "female", 0.0),
    ],
)
def test_by_hand(bone_age_months, age, sex, expected):
    assert sd_score(bone_age_months / 12, age, sex) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("age", "sex"), [(0.2, "male"), (17.1, "male"), (16.1, "female"), (10, "unknown")]
)
def test_outside_the_table(age, sex):
    assert sd_score(10, age, sex) is None


@pytest.mark.parametrize(
    ("bone_age_months", "age", "sex", "extreme"),
    [
        (144, 0.2, "male", True),
        (3.01 + 7.9 * 0.69, 0.1, "male", False),  # as at 3 months
        (3.01 + 8.1 * 0.69, 0.1, "male", True),
        (206.21 - 8.1 * 13.05, 20, "male", True),  # as at 17 years
        (228, 20, "male", False),
        (228, 24, "female", False),
        (125.68 + 8.1 * 9.79, 10, "male", True),
        (125.68 + 8.1 * 9.79, 10, "unknown", False),  # 7.3 for a girl
        (125.66 + 8.1 * 11.73, 10, "unknown", True),
    ],
)
def test_an_impossible_age_is_told_also_where_there_is_no_score(bone_age_months, age, sex, extreme):
    assert is_extreme(bone_age_months / 12, age, sex) == extreme
