import pytest

from edgewise.planning.price_table import constants


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache directory of its own, and constants that are read again."""
    monkeypatch.setenv("EDGEWISE_CACHE", str(tmp_path / "cache"))
    constants.cache_clear()
    yield tmp_path / "cache"
    constants.cache_clear()
