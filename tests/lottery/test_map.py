"""The map: points, crossovers and the picture."""

import math
from xml.etree import ElementTree

import pytest
import torch

from edgewise.layouts import num_edges
from edgewise.lottery import draw_map
from edgewise.lottery.map import Cell, MapPoint, crossovers, map_points


def cell(density, sparse, dense=1.0, nodes=64, dtype=torch.float32, training=False):
    point = MapPoint(nodes, density, dtype, training)
    return Cell(point, {"dense": dense, "tiles": 3.0, "sparse": sparse}, ("tiles",))


def test_points():
    points = map_points(quick=False)
    assert {point.nodes for point in points} == {64, 128, 256, 512, 1024, 2048, 4096, 8192}
    assert len(set(points)) == len(points)
    assert {point.kind for point in points} == {
        (dtype, pass_) for dtype in ("float32", "bfloat16") for pass_ in ("forward", "training")
    }
    for point in points:
        assert 1 / point.nodes <= point.density <= 1
    assert set(map_points(quick=True)) < set(points)


@pytest.mark.parametrize("density", [1 / 256, 1 / 16, 1 / 4, 1])
def test_windows_and_random_graphs_have_the_density_of_the_point(density):
    point = MapPoint(256, density, torch.float32, False)
    most = 1.05 * density + 1 / 256  # each node reads itself, too
    for column in ("tiles", "sparse"):
        share = num_edges(point.trial(column).graph.build()) / 256**2
        assert 0.6 * density <= share <= most


def test_crossovers_lie_between_the_densities_around_them():
    line = [cell(1.0, 4.0), cell(0.25, 1 / 2), cell(1 / 16, 1 / 8)]
    (crossing,) = crossovers(line).values()
    assert crossing[64] == pytest.approx(0.25 * 4 ** (1 / 3))
    assert crossovers([cell(0.5, 2.0), cell(0.25, 1.5)])["float32", "forward"] == {64: None}
    assert crossovers([cell(0.5, 0.5), cell(1.0, 0.9)])["float32", "forward"] == {64: 1.0}
    assert not crossovers([Cell(cell(1, 1).point, {"dense": 1.0})])


def test_the_winner():
    assert cell(0.5, 0.5).winner == "sparse"
    assert cell(0.5, 2.0).winner == "dense"
    assert cell(0.5, 5.0, dense=4.0).winner == "tiles"


def test_the_picture_is_written_and_reproducible(tmp_path):
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


def test_cells_list_estimated_columns():
    values = cell(1 / 64, 0.5).to_dict()
    assert values["estimated"] == ["tiles"]
    assert values["winner"] == "sparse"
    assert math.isclose(values["density"], 1 / 64)
