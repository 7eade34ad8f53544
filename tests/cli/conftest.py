import numpy as np
import pytest


@pytest.fixture
def own_file(tmp_path, monkeypatch):
    """A small data set of one's own, in the folder that is worked in."""
    monkeypatch.chdir(tmp_path)
    group = np.arange(24) // 12
    edges = np.nonzero((group[:, None] == group) & ~np.eye(24, dtype=bool))
    x = np.random.default_rng(0).normal(size=(24, 3))
    np.savez("mine.npz", x=x, y=group, edge_index=np.stack(edges))
    return tmp_path / "mine.npz"
