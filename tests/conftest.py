"""Load the fixtures where tests run. The process that only deals them out starts without torch."""

import pytest


def pytest_sessionstart(session: pytest.Session) -> None:
    plugins = session.config.pluginmanager
    if not plugins.has_plugin("dsession"):  # which pytest-xdist has in that process
        plugins.import_plugin("shared_fixtures")
