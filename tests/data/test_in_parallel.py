"""Work on many files at once: in order, with what a log says meanwhile."""

import logging
from pathlib import Path

import numpy as np
import pytest

from boneage.data import parallel as module
from boneage.data.formats import read_radiograph
from boneage.data.parallel import in_parallel
from boneage.errors import UserError


@pytest.mark.parametrize("n", [0, 1, 40])
def test_results_are_in_order(n):
    assert list(in_parallel(np.sqrt, range(n), "Roots")) == [np.sqrt(i) for i in range(n)]


def test_a_mistake_in_another_process_is_a_users_mistake():
    with pytest.raises(UserError, match=r"nowhere\.png"):
        list(in_parallel(read_radiograph, [Path("nowhere.png")] * 40, "Decoding"))


def test_a_log_has_at_most_a_line_every_tenth(monkeypatch, caplog):
    monkeypatch.setattr(module, "QUIET_SECONDS", 0.0)
    with caplog.at_level(logging.INFO):
        list(in_parallel(abs, range(15), "Decoding"))
    assert len(caplog.messages) == 9
    assert caplog.messages[0].startswith("Decoding: 2 of 15, ")
    monkeypatch.setattr(module, "QUIET_SECONDS", 60.0)
    caplog.clear()
    list(in_parallel(abs, range(15), "Decoding"))
    assert caplog.messages == []
