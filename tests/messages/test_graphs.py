"""Every error of graphs and layouts: its whole text, cure included."""

import dataclasses

import numpy as np
import pytest
import torch

import edgewise as ew
from edgewise.graphs import Cuts, graph_from
from edgewise.layouts import block_mask, communities, tile_fill
from tests.messages.raising import caught, forgotten, is_one_clear_sentence, names_a_cure

COPIES = ew.EdgeList([[0, 0], [1, 1]], num_nodes=5)
SIMPLE = dataclasses.replace(COPIES.facts(), simple=True)

CASES = {
    "dense mask of numbers": (
        lambda: ew.EdgeList.from_dense(torch.ones(2, 3)),
        ew.GraphError,
        "EdgeList.from_dense: mask must be [targets, sources] of dtype bool, got [2, 3] of "
        "torch.float32. Compare numbers first, as in mask != 0.",
    ),
    "sparse mask": (
        lambda: ew.EdgeList.from_dense(torch.ones(2, 3, dtype=torch.bool).to_sparse()),
        ew.GraphError,
        "EdgeList.from_dense: mask must be a dense tensor with data, got one of layout "
        "torch.sparse_coo on cpu. Use EdgeList with the indices of its entries.",
    ),
    "rows of fractions": (
        lambda: ew.EdgeList.from_csr([0.0, 1.0], [0]),
        ew.GraphError,
        "EdgeList.from_csr: indptr must be one row of whole numbers, got [2] of torch.float32 on "
        "cpu. Pass the indptr of a matrix in CSR.",
    ),
    "rows that fall": (
        lambda: ew.EdgeList.from_csr([0, 2, 1], [0, 1]),
        ew.GraphError,
        "EdgeList.from_csr: indptr must rise from 0 to the 2 entries of indices, one number more "
        "than there are targets, got [0, 2, 1]. Pass matrix.indptr and matrix.indices of one "
        "matrix.",
    ),
    # Graphs: sizes
    "complete of a float": (
        lambda: ew.Complete(3.0),
        ew.GraphError,
        "Complete: num_targets must be a whole number, got 3.0 (float). Pass an int.",
    ),
    "complete of a bool": (
        lambda: ew.Complete(True),
        ew.GraphError,
        "Complete: num_targets must be a whole number, got True (bool). Pass an int.",
    ),
    "complete of a bool tensor": (
        lambda: ew.Complete(torch.tensor(True)),
        ew.GraphError,
        "Complete: num_targets must be a whole number, got tensor(True) (Tensor). Pass an int.",
    ),
    "complete of nothing": (
        lambda: ew.Complete(None),
        ew.GraphError,
        "Complete: num_targets must be a whole number, got None (NoneType). Pass an int.",
    ),
    "complete, negative": (
        lambda: ew.Complete(-1),
        ew.GraphError,
        "Complete: num_targets must be at least 0, got -1. Pass a larger number.",
    ),
    "complete, negative sources": (
        lambda: ew.Complete(2, -3),
        ew.GraphError,
        "Complete: num_sources must be at least 0, got -3. Pass a larger number.",
    ),
    "causal of a string": (
        lambda: ew.Causal("8"),
        ew.GraphError,
        "Causal: num_targets must be a whole number, got '8' (str). Pass an int.",
    ),
    "window, negative reach": (
        lambda: ew.Window(8, left=-1, right=0),
        ew.GraphError,
        "Window: left must be at least 0, got -1. Pass a larger number.",
    ),
    "window, half a reach": (
        lambda: ew.Window(8, left=0, right=0.5),
        ew.GraphError,
        "Window: right must be a whole number, got 0.5 (float). Pass an int.",
    ),
    "dilated, no step": (
        lambda: ew.Dilated(8, left=1, right=1, dilation=0),
        ew.GraphError,
        "Dilated: dilation must be at least 1, got 0. Pass a larger number.",
    ),
    "prefix too long": (
        lambda: ew.PrefixCausal(4, prefix=5),
        ew.GraphError,
        "PrefixCausal: prefix must be at most num_targets=4, got 5. Use Complete(4) if "
        "everyone reads everyone.",
    ),
    "blocks of a number": (
        lambda: ew.Blocks(5),
        ew.GraphError,
        "Blocks: sizes must list whole numbers, got 5 (int). Pass a list, like [5].",
    ),
    "blocks of a tensor without dimensions": (
        lambda: ew.Blocks(torch.tensor(2)),
        ew.GraphError,
        "Blocks: sizes must list whole numbers, got tensor(2) (Tensor). Pass a list, like [2].",
    ),
    "blocks, negative": (
        lambda: ew.Blocks([1, -2]),
        ew.GraphError,
        "Blocks: sizes[1] must be at least 0, got -2. Pass a larger number.",
    ),
    "blocks, half": (
        lambda: ew.Blocks([1], [1.5]),
        ew.GraphError,
        "Blocks: source_sizes[0] must be a whole number, got 1.5 (float). Pass an int.",
    ),
    "blocks, two lengths": (
        lambda: ew.Blocks([1, 2], [3]),
        ew.GraphError,
        "Blocks: source_sizes has 1 blocks but sizes has 2. Give one source size for each block.",
    ),
    "hubs of a number": (
        lambda: ew.Hubs(4, 1),
        ew.GraphError,
        "Hubs: hubs must list whole numbers, got 1 (int). Pass a list, like [1].",
    ),
    "hub too large": (
        lambda: ew.Hubs(4, [1, 7]),
        ew.GraphError,
        "Hubs: hubs must be below num_targets=4, got 7. Number the nodes from 0, or raise "
        "num_targets.",
    ),
    "hub negative": (
        lambda: ew.Hubs(4, [1, -1]),
        ew.GraphError,
        "Hubs: hubs[1] must be at least 0, got -1. Pass a larger number.",
    ),
    "hub of no nodes": (
        lambda: ew.Hubs(0, [0]),
        ew.GraphError,
        "Hubs: hubs must be below num_targets=0, got 0. Number the nodes from 0, or raise "
        "num_targets.",
    ),
    "grid of a number": (
        lambda: ew.Grid(4),
        ew.GraphError,
        "Grid: shape must list whole numbers, got 4 (int). Pass a list, like [4].",
    ),
    "grid without axes": (
        lambda: ew.Grid(()),
        ew.GraphError,
        "Grid: shape must have at least one axis, got (). Give sizes, like (8, 8).",
    ),
    "grid, float": (
        lambda: ew.Grid((4, 4.0)),
        ew.GraphError,
        "Grid: shape[1] must be a whole number, got 4.0 (float). Pass an int.",
    ),
    "grid, radius": (
        lambda: ew.Grid((4, 4), radius=None),
        ew.GraphError,
        "Grid: radius must be a whole number, got None (NoneType). Pass an int.",
    ),
    "grid, negative radius": (
        lambda: ew.Grid((4, 4), radius=(1, -1)),
        ew.GraphError,
        "Grid: radius[1] must be at least 0, got -1. Pass a larger number.",
    ),
    "grid, three radii": (
        lambda: ew.Grid((4, 4), radius=(1, 1, 1)),
        ew.GraphError,
        "Grid: radius must have one number for each of the 2 axes, got 3. Give one radius, or"
        " one for each axis.",
    ),
    "degree too large": (
        lambda: ew.RandomRegular(5, degree=5),
        ew.GraphError,
        "RandomRegular: degree must be below num_targets=5, got 5. Use Complete(5) for a "
        "graph in which everyone reads everyone.",
    ),
    "degree odd": (
        lambda: ew.RandomRegular(5, degree=3),
        ew.GraphError,
        "RandomRegular: num_targets * degree must be even, got 5 * 3. Add one to the degree "
        "or drop a node.",
    ),
    "seed too large": (
        lambda: ew.RandomRegular(6, degree=3, seed=2**32),
        ew.GraphError,
        "RandomRegular: seed must be below 2**32, got 4294967296. Pass a smaller number.",
    ),
    "seed negative": (
        lambda: ew.RandomRegular(6, degree=3, seed=-1),
        ew.GraphError,
        "RandomRegular: seed must be at least 0, got -1. Pass a larger number.",
    ),
    # Graphs: edge lists
    "edges transposed": (
        lambda: ew.EdgeList(torch.zeros(5, 2, dtype=torch.int64), num_nodes=3),
        ew.GraphError,
        "EdgeList: edge_index must have shape [2, E] (sources, targets), got [5, 2]. "
        "Transpose a list of pairs with edge_index.t().",
    ),
    "edges as pairs": (
        lambda: ew.EdgeList([(0, 1), (1, 2), (2, 0)], num_nodes=3),
        ew.GraphError,
        "EdgeList: edge_index must have shape [2, E] (sources, targets), got [3, 2]. "
        "Transpose a list of pairs with edge_index.t().",
    ),
    "edges of one dimension": (
        lambda: ew.EdgeList(torch.tensor([0, 1]), num_nodes=3),
        ew.GraphError,
        "EdgeList: edge_index must have shape [2, E] (sources, targets), got [2]. Transpose a"
        " list of pairs with edge_index.t().",
    ),
    "edges as floats": (
        lambda: ew.EdgeList(torch.ones(2, 3, requires_grad=True), num_nodes=3),
        ew.GraphError,
        "EdgeList: edge_index must hold whole numbers, got torch.float32. Convert it with "
        "edge_index.long().",
    ),
    "edges as bools": (
        lambda: ew.EdgeList(np.ones((2, 3), dtype=bool), num_nodes=3),
        ew.GraphError,
        "EdgeList: edge_index must hold whole numbers, got torch.bool. Convert it with "
        "edge_index.long().",
    ),
    "edges ragged": (
        lambda: ew.EdgeList([[0, 1], [1]], num_nodes=3),
        ew.GraphError,
        "EdgeList: edge_index must be a tensor, an array or two lists of the same length, got"
        " [[0, 1], [1]]. Pass [sources, targets].",
    ),
    "edges as text": (
        lambda: ew.EdgeList("0-1", num_nodes=3),
        ew.GraphError,
        "EdgeList: edge_index must be a tensor, an array or two lists of the same length, got"
        " '0-1'. Pass [sources, targets].",
    ),
    "edges of nothing": (
        lambda: ew.EdgeList(None, num_nodes=3),
        ew.GraphError,
        "EdgeList: edge_index must be a tensor, an array or two lists of the same length, got"
        " None. Pass [sources, targets].",
    ),
    "edges of an empty list": (
        lambda: ew.EdgeList([], num_nodes=3),
        ew.GraphError,
        "EdgeList: edge_index must be a tensor, an array or two lists of the same length, got"
        " []. Pass [sources, targets].",
    ),
    "edges without data": (
        lambda: ew.EdgeList(torch.zeros(2, 3, dtype=torch.int64, device="meta"), num_nodes=3),
        ew.GraphError,
        "EdgeList: edge_index must be a dense tensor with data, got a tensor without data "
        "(device meta). Build the graph outside of it, from the indices [2, E] of the edges.",
    ),
    "edges as a sparse matrix": (
        lambda: ew.EdgeList(torch.eye(2).to_sparse(), num_nodes=2),
        ew.GraphError,
        "EdgeList: edge_index must be a dense tensor with data, got a tensor of layout "
        "torch.sparse_coo. Pass the indices [2, E] of the edges.",
    ),
    "target too large": (
        lambda: ew.EdgeList([[0, 1], [1, 3]], num_nodes=3),
        ew.GraphError,
        "EdgeList: every target must be at least 0 and below num_nodes=3, got 3. Number the "
        "nodes from 0, or raise num_nodes.",
    ),
    "target negative": (
        lambda: ew.EdgeList([[0, 1], [1, -1]], num_nodes=3),
        ew.GraphError,
        "EdgeList: every target must be at least 0 and below num_nodes=3, got -1. Number the "
        "nodes from 0, or raise num_nodes.",
    ),
    "source too large, bipartite": (
        lambda: ew.EdgeList([[5], [1]], num_targets=2, num_sources=5),
        ew.GraphError,
        "EdgeList: every source must be at least 0 and below num_sources=5, got 5. Number the"
        " nodes from 0, or raise num_sources.",
    ),
    "edge of no nodes": (
        lambda: ew.EdgeList([[0], [0]], num_nodes=0),
        ew.GraphError,
        "EdgeList: every target must be at least 0 and below num_nodes=0, got 0. Number the "
        "nodes from 0, or raise num_nodes.",
    ),
    "edges without sizes": (
        lambda: ew.EdgeList([[0], [0]]),
        ew.GraphError,
        "EdgeList: give either num_nodes, or both num_targets and num_sources; got "
        "num_nodes=None, num_targets=None, num_sources=None.",
    ),
    "edges with half a size": (
        lambda: ew.EdgeList([[0], [0]], num_targets=3),
        ew.GraphError,
        "EdgeList: give either num_nodes, or both num_targets and num_sources; got "
        "num_nodes=None, num_targets=3, num_sources=None.",
    ),
    "edges with all sizes": (
        lambda: ew.EdgeList([[0], [0]], 3, num_targets=3, num_sources=3),
        ew.GraphError,
        "EdgeList: give either num_nodes, or both num_targets and num_sources; got "
        "num_nodes=3, num_targets=3, num_sources=3.",
    ),
    "edges with a float size": (
        lambda: ew.EdgeList([[0], [0]], 3.0),
        ew.GraphError,
        "EdgeList: num_nodes must be a whole number, got 3.0 (float). Pass an int.",
    ),
    "edges of too many nodes": (
        lambda: ew.EdgeList([[0], [0]], num_nodes=2**32),
        ew.GraphError,
        "EdgeList: num_targets * num_sources must be below 2**63, so that every pair has a "
        "number, got 4294967296 * 4294967296. Split the graph into parts.",
    ),
    # Graphs: algebra
    "union of sizes": (
        lambda: ew.Complete(3) | ew.Complete(3, 4),
        ew.GraphError,
        "union: both graphs must have the same sizes, got 3 x 3 and 3 x 4 (targets x "
        "sources). Build them over the same nodes.",
    ),
    "intersection of sizes": (
        lambda: ew.Complete(3) & ew.Causal(4),
        ew.GraphError,
        "intersection: both graphs must have the same sizes, got 3 x 3 and 4 x 4 (targets x "
        "sources). Build them over the same nodes.",
    ),
    "difference of sizes": (
        lambda: ew.Complete(3) - ew.Causal(4),
        ew.GraphError,
        "difference: both graphs must have the same sizes, got 3 x 3 and 4 x 4 (targets x "
        "sources). Build them over the same nodes.",
    ),
    "reverse of edges": (
        lambda: ew.reverse(torch.zeros(2, 3)),
        ew.GraphError,
        "reverse: graph must be a graph, got Tensor. Wrap edges in EdgeList(edge_index, "
        "num_nodes=...).",
    ),
    "induced of edges": (
        lambda: ew.induced(torch.zeros(2, 3), [0]),
        ew.GraphError,
        "induced: graph must be a graph, got Tensor. Wrap edges in EdgeList(edge_index, "
        "num_nodes=...).",
    ),
    "induced, twice the same": (
        lambda: ew.induced(ew.Causal(3), [0, 1, 1]),
        ew.GraphError,
        "induced: targets must be different numbers below 3, got [0, 1, 1]. Choose each node once.",
    ),
    "induced, too far": (
        lambda: ew.induced(ew.Causal(3, 4), sources=[4]),
        ew.GraphError,
        "induced: sources must be different numbers below 4, got [4]. Choose each node once.",
    ),
    "permute of edges": (
        lambda: ew.permute(torch.zeros(2, 3), [0]),
        ew.GraphError,
        "permute: graph must be a graph, got Tensor. Wrap edges in EdgeList(edge_index, "
        "num_nodes=...).",
    ),
    "permute, twice the same": (
        lambda: ew.permute(ew.Causal(3), [0, 1, 1]),
        ew.GraphError,
        "permute: targets must hold each whole number from 0 to 2 once, got [0, 1, 1]. Use "
        "torch.randperm(3), for example.",
    ),
    "permute, too short": (
        lambda: ew.permute(ew.Causal(3), [0, 1]),
        ew.GraphError,
        "permute: targets must hold each whole number from 0 to 2 once, got [0, 1]. Use "
        "torch.randperm(3), for example.",
    ),
    "permute, sources": (
        lambda: ew.permute(ew.Causal(3, 4), [2, 0, 1]),
        ew.GraphError,
        "permute: sources must hold each whole number from 0 to 3 once, got [2, 0, 1]. Use "
        "torch.randperm(4), for example.",
    ),
    "permute, floats": (
        lambda: ew.permute(ew.Causal(3), [0.0, 1.0, 2.0]),
        ew.GraphError,
        "permute: targets must hold each whole number from 0 to 2 once, got [0.0, 1.0, 2.0]. "
        "Use torch.randperm(3), for example.",
    ),
    "permute, bools": (
        lambda: ew.permute(ew.Causal(2), torch.tensor([False, True])),
        ew.GraphError,
        "permute: targets must hold each whole number from 0 to 1 once, got [False, True]. "
        "Use torch.randperm(2), for example.",
    ),
    "permute, a number": (
        lambda: ew.permute(ew.Causal(3), 3),
        ew.GraphError,
        "permute: targets must hold each whole number from 0 to 2 once, got 3. Use "
        "torch.randperm(3), for example.",
    ),
    "compose, sizes": (
        lambda: ew.compose(ew.Complete(2, 3), ew.Complete(4)),
        ew.GraphError,
        "compose: the sources of outer must be the targets of inner, got 3 and 4 nodes. Build"
        " both over the same nodes in the middle.",
    ),
    "compose, outer": (
        lambda: ew.compose(None, ew.Complete(4)),
        ew.GraphError,
        "compose: outer must be a graph, got NoneType. Wrap edges in EdgeList(edge_index, "
        "num_nodes=...).",
    ),
    "compose, inner": (
        lambda: ew.compose(ew.Complete(4), [0, 1]),
        ew.GraphError,
        "compose: inner must be a graph, got list. Wrap edges in EdgeList(edge_index, "
        "num_nodes=...).",
    ),
    "receptive field, rectangle": (
        lambda: ew.receptive_field(ew.Complete(3, 4), 1),
        ew.GraphError,
        "receptive_field: the graph must be square, got 3 targets and 4 sources. Compose the "
        "layers with compose() instead.",
    ),
    "receptive field, negative": (
        lambda: ew.receptive_field(ew.Complete(3), -1),
        ew.GraphError,
        "receptive_field: layers must be at least 0, got -1. Pass a larger number.",
    ),
    "receptive field of edges": (
        lambda: ew.receptive_field(torch.zeros(2, 3), 1),
        ew.GraphError,
        "receptive_field: graph must be a graph, got Tensor. Wrap edges in "
        "EdgeList(edge_index, num_nodes=...).",
    ),
    "disjoint union of a tensor": (
        lambda: ew.disjoint_union([ew.Complete(2), torch.zeros(2, 3)]),
        ew.GraphError,
        "disjoint_union: item 1 must be a graph, got Tensor. Wrap edges in "
        "EdgeList(edge_index, num_nodes=...).",
    ),
    "disjoint union of a graph": (
        lambda: ew.disjoint_union(ew.Complete(2)),
        ew.GraphError,
        "disjoint_union: graphs must be a list of graphs, got Complete. Pass a list, like "
        "[Complete(2)].",
    ),
    "a subgraph of numbers that cannot be read": (
        lambda: ew.induced(ew.Causal(4), torch.zeros(2, device="meta")),
        ew.GraphError,
        "induced: targets must list whole numbers, got a tensor whose numbers cannot be read, on "
        "meta or inside traced code. Pass a list, or build the graph outside.",
    ),
    "graph from a name": (
        lambda: graph_from(("Comet", ("num_targets", 3))),
        ew.GraphError,
        "graph_from: the family must be a class of graphs that is imported, got 'Comet'. Pass what"
        " Graph.spec() returned, and import the module of the class before.",
    ),
    # Graphs: what people vouch for
    "predicate of a number": (
        lambda: ew.Predicate(3, 3),
        ew.GraphError,
        "Predicate: function must be callable, got int. Pass a function of (target, source).",
    ),
    "predicate that returns a bool": (
        lambda: ew.edges(ew.Predicate(lambda *_: True, 3)),
        ew.GraphError,
        "Predicate: function must return a bool tensor, got bool. Compare tensors, for "
        "example (target - source).abs() < 3.",
    ),
    "predicate that returns numbers": (
        lambda: ew.edges(ew.Predicate(lambda t, s: t + s, 3)),
        ew.GraphError,
        "Predicate: function must return a bool tensor, got torch.int64. Compare tensors, for"
        " example (target - source).abs() < 3.",
    ),
    "predicate of a wrong shape": (
        lambda: ew.edges(ew.Predicate(lambda *_: torch.ones(7, dtype=torch.bool), 3)),
        ew.GraphError,
        "Predicate: function must return shape [3, 3], got [7]. Use operations that broadcast.",
    ),
    "assume about edges": (
        lambda: ew.Assume(torch.zeros(2, 3), ew.Complete(3).facts()),
        ew.GraphError,
        "Assume: graph must be a graph, got Tensor. Wrap edges in EdgeList(edge_index, "
        "num_nodes=...).",
    ),
    "assume a number": (
        lambda: ew.Assume(ew.Complete(3), 3),
        ew.GraphError,
        "Assume: assumed must be Facts, got int. Build them with Facts.bounded(num_targets, "
        "num_sources, ...).",
    ),
    "assume about another size": (
        lambda: ew.Assume(ew.Complete(3), ew.Facts.bounded(4, 5)),
        ew.GraphError,
        "Assume: facts must be about 3 x 3 nodes like the graph, got 4 x 5 (targets x "
        "sources). Pass the sizes of the graph to Facts.bounded().",
    ),
    "facts of copies": (
        lambda: ew.Facts.bounded(3, 3, simple=False),
        ew.GraphError,
        "Facts: max_edges must be given when simple=False, got None: a graph may hold any "
        "number of copies of an edge. Pass the number of edges.",
    ),
    "check facts of edges": (
        lambda: ew.check_facts(torch.zeros(2, 3)),
        ew.GraphError,
        "check_facts: graph must be a graph, got Tensor. Wrap edges in EdgeList(edge_index, "
        "num_nodes=...).",
    ),
    "check facts, false": (
        lambda: ew.check_facts(ew.Assume(ew.Causal(3), ew.Facts.bounded(3, 3, left=1))),
        ew.GraphError,
        "check_facts: left <= 1 is false, the edges need 2. Loosen the fact "
        "(Assume(Causal(3), Facts(num_targets=3, num_sources=3, min_edges=0, max_edges=8, "
        "left=1, right=2, min_in_degree=0, max_in_degree=3, min_out_degree=0, "
        "max_out_degree=3, simple=True, cuts=Cuts([0, 3], [0, 3])))).",
    ),
    "check facts, copies": (
        lambda: ew.check_facts(ew.Assume(COPIES, SIMPLE)),
        ew.GraphError,
        "check_facts: simple is false, an edge occurs 2 times. Declare simple=False "
        "(Assume(EdgeList([[0, 0], [1, 1]], num_nodes=5), Facts(num_targets=5, num_sources=5,"
        " min_edges=2, max_edges=2, left=1, right=-1, min_in_degree=0, max_in_degree=2, "
        "min_out_degree=0, max_out_degree=2, simple=True, cuts=Cuts([0, 5], [0, 5])))).",
    ),
    "check facts, cuts": (
        lambda: ew.check_facts(
            ew.Assume(
                ew.Predicate(torch.ne, 2), ew.Facts.bounded(2, 2, cuts=Cuts([0, 1, 2], [0, 1, 2]))
            )
        ),
        ew.GraphError,
        "check_facts: cuts are false, an edge leaves its block. Declare fewer cuts "
        "(Assume(Predicate(ne, 2), Facts(num_targets=2, num_sources=2, min_edges=0, "
        "max_edges=2, left=1, right=1, min_in_degree=0, max_in_degree=1, min_out_degree=0, "
        "max_out_degree=1, simple=True, cuts=Cuts([0, 1, 2], [0, 1, 2])))).",
    ),
    "cuts that fall": (
        lambda: Cuts([0, 3, 2], [0, 1, 2]),
        ew.GraphError,
        "Cuts: targets must rise from 0 to the number of targets, one number more than "
        "blocks, got [0, 3, 2]. List the corners in order, from (0, 0).",
    ),
    "cuts of two lengths": (
        lambda: Cuts([0, 3], [0, 1, 3]),
        ew.GraphError,
        "Cuts: sources must rise from 0 to the number of sources, one number more than "
        "blocks, got [0, 1, 3]. List the corners in order, from (0, 0).",
    ),
    "cuts without a start": (
        lambda: Cuts([1, 3], [0, 3]),
        ew.GraphError,
        "Cuts: targets must rise from 0 to the number of targets, one number more than "
        "blocks, got [1, 3]. List the corners in order, from (0, 0).",
    ),
    "no cuts": (
        lambda: Cuts([], []),
        ew.GraphError,
        "Cuts: targets must rise from 0 to the number of targets, one number more than "
        "blocks, got []. List the corners in order, from (0, 0).",
    ),
    "cuts of another graph": (
        lambda: ew.Facts.bounded(2, 3, cuts=Cuts([0, 2], [0, 2])),
        ew.GraphError,
        "Facts: cuts must end at the corner (2, 3) of the graph, got (2, 2). Add the last corner.",
    ),
    "check facts, multiplicity": (
        lambda: ew.check_facts(ew.Causal(3), torch.ones(3, 4)),
        ew.GraphError,
        "check_facts: multiplicity must have shape [targets, sources] = [3, 3], got [3, 4]. "
        "Leave it out to count the copies of the graph.",
    ),
    # Layouts
    "lower to a name": (
        lambda: ew.lower(ew.Causal(3), "csr"),
        ew.ArgumentError,
        "lower: layout must be one of Edges, Csr, ReversedCsr, PaddedRows, DenseMask, "
        "BlockMask, got 'csr'. Pass the class, like lower(graph, Csr).",
    ),
    "communities of a rectangle": (
        lambda: communities(ew.Complete(2, 3)),
        ew.GraphError,
        "communities: the graph must be square, got 2 targets and 3 sources. Give both sides one "
        "numbering in an EdgeList.",
    ),
    "tiles without rows": (
        lambda: tile_fill(ew.Causal(3), rows=0),
        ew.ArgumentError,
        "tile_fill: rows must be at least 1, got 0. Use 64, for example.",
    ),
    "lower edges": (
        lambda: ew.lower(torch.zeros(2, 3), ew.Csr),
        ew.GraphError,
        "lower: graph must be a graph, got Tensor. Wrap edges in EdgeList(edge_index, "
        "num_nodes=...).",
    ),
    "edges of edges": (
        lambda: ew.edges(torch.zeros(2, 3)),
        ew.GraphError,
        "edges: graph must be a graph, got Tensor. Wrap edges in EdgeList(edge_index, "
        "num_nodes=...).",
    ),
    "draw edges": (
        lambda: ew.draw(torch.zeros(2, 3)),
        ew.GraphError,
        "draw: graph must be a graph, got Tensor. Wrap edges in EdgeList(edge_index, "
        "num_nodes=...).",
    ),
    "draw in no width": (
        lambda: ew.draw(ew.Causal(3), width=0),
        ew.ArgumentError,
        "draw: width must be at least 1, got 0. Leave it out for 64.",
    ),
    "block mask of no block": (
        lambda: block_mask(ew.Causal(3), 0),
        ew.ArgumentError,
        "block_mask: block must be at least 1, got 0. Use 128, for example.",
    ),
}

# Raised where no table of calls can reach.
ELSEWHERE = (
    "cannot be built inside torch.compile",  # below
    "no simple graph of",  # tests/graphs/test_random_regular.py
    "read_graph: ",  # tests/messages/test_read_graph.py
)


@pytest.mark.parametrize("name", CASES)
def test_the_whole_text(name):
    assert caught(CASES[name])[0] == CASES[name][2]


@pytest.mark.parametrize("name", CASES)
def test_one_sentence_and_a_cure(name):
    text = CASES[name][2]
    assert is_one_clear_sentence(text)
    assert names_a_cure(text)


def test_every_error_has_a_case():
    assert forgotten(CASES.values(), ELSEWHERE, "graphs", "layouts") == []


def test_an_error_without_a_case_is_detected():
    some = [case for name, case in CASES.items() if not name.startswith("grid")]
    untested = forgotten(some, ELSEWHERE, "graphs", "layouts")
    assert len(untested) == 2
    assert all(site.startswith("graphs/grid.py") for site in untested)


EDGES_OUTSIDE = ew.EdgeList([[0], [1]], num_nodes=8)


@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("EdgeList", lambda: ew.EdgeList([[0], [1]], num_nodes=8)),
        (
            "disjoint_union",
            lambda: ew.disjoint_union([EDGES_OUTSIDE, ew.Complete(4)]),
        ),
        ("Predicate", lambda: ew.Predicate(torch.ge, 4)),
        ("permute", lambda: ew.permute(ew.Causal(2), [1, 0])),
    ],
)
def test_graphs_that_cannot_be_built_while_tracing(name, build):
    def traced(x):
        return x + build().num_targets

    with pytest.raises(Exception, match=rf"{name}: cannot be built inside torch\.compile"):
        torch.compile(traced, fullgraph=True, backend="eager")(torch.zeros(1))


@pytest.mark.parametrize("operator", ["|", "&", "-"])
def test_operators_with_other_types_raise_type_errors(operator):
    with pytest.raises(TypeError, match=r"unsupported operand .* 'Causal' and 'Tensor'"):
        eval(f"a {operator} b", {"a": ew.Causal(3), "b": torch.zeros(3)})
