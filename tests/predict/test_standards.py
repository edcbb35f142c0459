"""SD scores against rows of the Brush Foundation's table, worked out by hand."""

import pytest

from boneage.predict.answering import BRUSH, sd_score


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


def test_table_is_whole():
    for ages, means, deviations in BRUSH.values():
        assert len(ages) == len(means) == len(deviations)
        assert list(means) == sorted(means)
        assert all(0 < deviation < 15 for deviation in deviations)
