"""What the package imports is what it declares."""

import re
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest
from conftest import PROJECT
from test_imports import FILES, imports

from boneage.errors import FRAMEWORK

DECLARED = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
IMPORTS = {name.split(".")[0] for path in FILES for name in imports(path)}
IMPORTS -= {"boneage", *sys.stdlib_module_names}
INSTALLED = packages_distributions()
MISSING = IMPORTS - INSTALLED.keys()  # of extras that are not installed


def normal(requirement):
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def names_of(requirements):
    """Return the imports of boneage that these distributions provide."""
    wanted = {normal(requirement) for requirement in requirements}
    return {
        name
        for name in IMPORTS - MISSING
        if wanted & {normal(distribution) for distribution in INSTALLED[name]}
    }


DESK = names_of(DECLARED["dependencies"])
EXTRAS = DECLARED["optional-dependencies"]


def test_every_import_is_declared():
    own = [r for extra, listed in EXTRAS.items() if extra != "dev" for r in listed]
    assert DESK | names_of(own) == IMPORTS - MISSING


def test_the_framework_is_what_the_extra_train_brings():
    assert {*FRAMEWORK} - MISSING == names_of(EXTRAS["train"])
    assert DESK.isdisjoint(FRAMEWORK)


@pytest.mark.parametrize("group", ["dependencies", *EXTRAS])
def test_every_requirement_has_a_lower_bound(group):
    listed = DECLARED["dependencies"] if group == "dependencies" else EXTRAS[group]
    exempt = ("boneage", "pandas-stubs", "sqlalchemy", "alembic")  # own extras, types, limits
    assert [r for r in listed if not r.startswith(exempt) and ">=" not in r and "==" not in r] == []
