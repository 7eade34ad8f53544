"""Drawings of graphs as text."""

import textwrap

import pytest

import edgewise as ew


@pytest.mark.parametrize(
    ("graph", "picture"),
    [
        (ew.Window(4, left=1, right=0), "#... ##.. .##. ..##"),
        (ew.Causal(2, 4), "###. ####"),
        (ew.Causal(3, 2), ".. #. ##"),
        (ew.Complete(2, 3), "### ###"),
        (ew.EdgeList([[0, 2, 2], [1, 0, 0]], num_nodes=3), "..# #.. ..."),
        (ew.Complete(1), "#"),
        (ew.Complete(0), ""),
        (ew.Complete(0, 3), ""),
    ],
)
def test_one_character_for_each_pair(graph, picture):
    assert ew.draw(graph).split() == picture.split()
    assert ew.draw(graph, width=max(graph.num_targets, graph.num_sources, 1)) == ew.draw(graph)


def test_rows_without_columns_are_empty_lines():
    assert ew.draw(ew.Complete(3, 0)) == "\n\n"


def test_large_graphs_are_drawn_in_blocks():
    picture = """
        +.......
        #+......
        +#+.....
        .+#+....
        ..+#+...
        ...+#+..
        ....+#+.
        .....+#+
    """
    drawn = ew.draw(ew.Window(1000, left=250, right=0), width=8)
    assert drawn == textwrap.dedent(picture).strip()


def test_no_line_is_wider_than_the_width():
    for size in (1, 2, 63, 64, 65, 1000):
        for shape in [(size, size), (size, 3), (3, size)]:
            for width in (1, 2, 7, 64):
                lines = ew.draw(ew.Complete(*shape), width=width).split("\n")
                assert max(map(len, lines)) <= width
                assert len(lines) <= max(width, 1)
                assert set("".join(lines)) == {"#"}


def test_blocks_of_every_kind_and_family():
    grid = ew.draw(ew.Grid((8, 8), periodic=True), width=8)
    assert grid.split() == [
        "++.....+",
        "+++.....",
        ".+++....",
        "..+++...",
        "...+++..",
        "....+++.",
        ".....+++",
        "+.....++",
    ]
    batch = ew.disjoint_union([ew.Causal(3), ew.Complete(5)])
    assert ew.draw(batch, width=4).split() == ["+...", "++++", ".+##", ".+##"]
    assert ew.draw(ew.Complete(8) - ew.SelfLoops(8), width=2).split() == ["+#", "#+"]
