"""Stages: the edges belong to the older stage."""

import numpy as np
import pytest

from boneage.errors import UserError
from boneage.stages import Stages


def test_edges_are_closed_on_the_left():
    months = np.array([0, 119, 120, 215, 216, 228])
    assert Stages().index_of(months / 12).tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_an_age_on_an_edge_is_of_the_older_stage_however_it_was_computed(dtype):
    for tenths in range(10, 250):
        edge = tenths / 10
        in_months = np.array([12 * edge, 12 * edge - 0.1], dtype)
        assert Stages(["young", "old"], [edge]).index_of(in_months / 12).tolist() == [1, 0]


def test_any_number_of_stages():
    stages = Stages(["infant", "young", "old", "adult"], [2, 8.5, 18])
    assert stages.index_of(np.array([1.99, 2, 8.5, 20])).tolist() == [0, 1, 2, 3]
    assert len(stages) == 4


@pytest.mark.parametrize(
    ("names", "edges"),
    [
        (["a", "b"], [1, 2]),
        (["a", "a"], [1]),
        (["a", "b", "c"], [5, 5]),
        (["a", "b", "c"], [9, 5]),
        (["a", "b", "c"], [120, 216]),
        (["a", "b"], [float("nan")]),
        (["a", "b", "c"], [-5, 10]),
        (["a", "b"], [0]),
    ],
)
def test_names_and_edges_must_fit(names, edges):
    with pytest.raises(UserError, match="stages"):
        Stages(names, edges)
