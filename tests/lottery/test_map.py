"""The map: places, crossovers, and the picture."""

import math
from xml.etree import ElementTree

import pytest
import torch

from edgewise.layouts import num_edges
from edgewise.lottery import draw_map
from edgewise.lottery.map import Cell, Place, crossovers, places


def cell(density, sparse, dense=1.0, nodes=64, dtype=torch.float32, training=False):
    place = Place(nodes, density, dtype, training)
    return Cell(place, {"dense": dense, "tiles": 3.0, "sparse": sparse}, ("tiles",))


def test_places():
    found = places(quick=False)
    assert {place.nodes for place in found} == {64, 128, 256, 512, 1024, 2048, 4096, 8192}
    assert len(set(found)) == len(found)
    assert {place.kind for place in found} == {
        (dtype, pass_) for dtype in ("float32", "bfloat16") for pass_ in ("forward", "training")
    }
    for place in found:
        assert 1 / place.nodes <= place.density <= 1
    assert set(places(quick=True)) < set(found)


@pytest.mark.parametrize("density", [1 / 256, 1 / 16, 1 / 4, 1])
def test_windows_and_random_graphs_have_the_density_of_the_place(density):
    place = Place(256, density, torch.float32, False)
    most = 1.05 * density + 1 / 256  # each node reads itself, too
    for column in ("tiles", "sparse"):
        share = num_edges(place.trial(column).topology.graph()) / 256**2
        assert 0.6 * density <= share <= most


def test_crossovers_lie_between_the_densities_around_them():
    line = [cell(1.0, 4.0), cell(0.25, 1 / 2), cell(1 / 16, 1 / 8)]
    (found,) = crossovers(line).values()
    assert found[64] == pytest.approx(0.25 * 4 ** (1 / 3))
    assert crossovers([cell(0.5, 2.0), cell(0.25, 1.5)])["float32", "forward"] == {64: None}
    assert crossovers([cell(0.5, 0.5), cell(1.0, 0.9)])["float32", "forward"] == {64: 1.0}
    assert not crossovers([Cell(cell(1, 1).place, {"dense": 1.0})])


def test_the_winner():
    assert cell(0.5, 0.5).winner == "sparse"
    assert cell(0.5, 2.0).winner == "dense"
    assert cell(0.5, 5.0, dense=4.0).winner == "tiles"


def test_the_picture_is_there_and_always_the_same(tmp_path):
    cells = [
        cell(density, 2 * density, nodes=nodes, training=training)
        for nodes in (64, 256)
        for density in (1.0, 0.25, 1 / 64)
        for training in (False, True)
    ]
    png, svg = draw_map(cells, "Abacus, one thread", tmp_path)
    assert png.read_bytes().startswith(b"\x89PNG")
    assert ElementTree.parse(svg).getroot().tag.endswith("svg")
    assert "Abacus" in svg.read_text()
    before = svg.read_bytes()
    draw_map(cells, "Abacus, one thread", tmp_path)
    assert svg.read_bytes() == before
    assert str(tmp_path) not in svg.read_text()


def test_cells_say_what_was_estimated():
    found = cell(1 / 64, 0.5).to_dict()
    assert found["estimated"] == ["tiles"]
    assert found["winner"] == "sparse"
    assert math.isclose(found["density"], 1 / 64)
