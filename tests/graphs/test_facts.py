"""Facts may be loose, never false: on random expressions; and a false fact is detected."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch

import edgewise as ew
from edgewise.graphs import Cuts
from edgewise.graphs.facts import band_pairs, causal_pairs, provably_disjoint
from tests.graphs.expressions import exact_facts, expressions


@pytest.mark.parametrize("seed", range(10))
def test_random_expressions_have_their_edges_and_true_facts(seed):
    for e in expressions(seed, 600):
        T, S = e.shape
        contained = e.graph.contains(torch.arange(T)[:, None], torch.arange(S)[None, :])
        assert (contained.dtype, tuple(contained.shape)) == (torch.bool, e.shape), e.graph
        np.testing.assert_array_equal(contained.numpy(), e.copies > 0, err_msg=repr(e.graph))
        ew.check_facts(e.graph)  # counts the copies by itself
        ew.check_facts(e.graph, torch.from_numpy(e.copies))
        assert e.graph.may_repeat or not e.holds_copies


def test_facts_of_random_expressions_are_mostly_nontrivial():
    """The algebra keeps bounds: most bounds on edges are tighter than the trivial ones."""
    exact, bounded, number = 0, 0, 0
    for e in expressions(99, 500):
        facts, (T, S) = e.graph.facts(), e.shape
        exact += facts.exact_edges
        bounded += facts.max_edges < T * S or facts.min_edges > 0 or facts.exact_edges
        number += 1
    assert (exact / number, bounded / number) > (0.4, 0.9)


# --- Twins: a false fact is caught ----------------------------------------------------------

COPIES = ew.EdgeList([[0, 4, 4, 2], [1, 3, 3, 2]], num_nodes=5)
TRUTH = ew.Facts.bounded(
    5,
    5,
    min_edges=4,
    max_edges=4,
    left=1,
    right=1,
    in_degree=(0, 2),
    out_degree=(0, 2),
    simple=False,
)
FALSE = [
    ("min_edges", 5, "min_edges >= 5 is false, the edges need 4"),
    ("max_edges", 3, "max_edges <= 3 is false, the edges need 4"),
    ("left", 0, "left <= 0 is false, the edges need 1"),
    ("right", 0, "right <= 0 is false, the edges need 1"),
    ("min_in_degree", 1, "min_in_degree >= 1 is false, the edges need 0"),
    ("max_in_degree", 1, "max_in_degree <= 1 is false, the edges need 2"),
    ("min_out_degree", 1, "min_out_degree >= 1 is false, the edges need 0"),
    ("max_out_degree", 1, "max_out_degree <= 1 is false, the edges need 2"),
    ("simple", True, "simple is false, an edge occurs 2 times"),
    ("cuts", Cuts([0, 3, 5], [0, 4, 5]), None),
    ("cuts", Cuts([0, 1, 5], [0, 1, 5]), "cuts are false, an edge leaves its block"),
    ("cuts", Cuts([0, 3, 5], [0, 2, 5]), "cuts are false, an edge leaves its block"),
]


@dataclasses.dataclass(frozen=True, repr=False)
class Liar(ew.Graph):
    """A graph with given facts."""

    graph: ew.Graph
    given: ew.Facts

    num_targets = property(lambda self: self.graph.num_targets)
    num_sources = property(lambda self: self.graph.num_sources)

    def contains(self, target, source):
        return self.graph.contains(target, source)

    def facts(self):
        return self.given


@pytest.mark.parametrize(("field", "value", "message"), FALSE)
def test_a_false_fact_is_detected(field, value, message):
    multiplicity = torch.zeros(5, 5, dtype=torch.int64)
    multiplicity.index_put_((COPIES.target, COPIES.source), torch.tensor(1), accumulate=True)
    ew.check_facts(Liar(COPIES, TRUTH), multiplicity)
    liar = Liar(COPIES, dataclasses.replace(TRUTH, **{field: value}))
    if message is None:
        ew.check_facts(liar, multiplicity)
        return
    with pytest.raises(ew.GraphError, match=f"^check_facts: {message}"):
        ew.check_facts(liar, multiplicity)


@pytest.mark.parametrize("seed", range(3))
def test_any_exact_fact_made_tighter_is_detected(seed):
    """The check of random expressions above can fail, for every fact."""
    down = {"max_edges", "left", "right", "max_in_degree", "max_out_degree"}
    caught = 0
    for e in expressions(seed, 60):
        exact, (T, S) = exact_facts(e.copies), e.shape
        if not e.order:
            continue
        truth = ew.Facts(T, S, **exact, simple=not e.holds_copies, cuts=Cuts.none(T, S))
        copies = torch.from_numpy(e.copies)
        ew.check_facts(Liar(e.graph, truth), copies)
        for field, value in exact.items():
            false = dataclasses.replace(truth, **{field: value + (-1 if field in down else 1)})
            with pytest.raises(ew.GraphError, match=rf"check_facts: {field} "):
                ew.check_facts(Liar(e.graph, false), copies)
            caught += 1
    assert caught > 200


def test_copies_are_detected_inside_of_other_graphs():
    """A likely mistake in assumed facts: bounded() assumes a simple graph."""
    order = torch.tensor([3, 0, 1, 4, 2])
    batch = ew.disjoint_union([ew.Causal(2), COPIES])
    for graph in (COPIES, ew.permute(batch, torch.randperm(7)), ew.reverse(batch), batch):
        ew.check_facts(graph)
        size = graph.num_targets
        with pytest.raises(ew.GraphError, match=r"max_edges|simple is false"):
            ew.check_facts(ew.Assume(graph, ew.Facts.bounded(size, size, max_edges=30)))
    ew.check_facts(ew.Assume(ew.permute(COPIES, order), ew.permute(COPIES, order).facts()))


# --- Numbers --------------------------------------------------------------------------------


def test_counting_pairs_of_a_band():
    for T, S in itertools.product(range(6), range(6)):
        pairs = list(itertools.product(range(T), range(S)))
        assert causal_pairs(T, S) == sum(s <= t + S - T for t, s in pairs)
        for first, last in itertools.product(range(-7, 8), range(-7, 8)):
            assert band_pairs(T, S, first, last) == sum(first <= s - t <= last for t, s in pairs)


def test_bounds_tighten_one_another():
    facts = ew.Facts.bounded(6, 4, left=1, right=0)
    assert (facts.max_in_degree, facts.max_out_degree, facts.max_edges) == (2, 2, 8)
    facts = ew.Facts.bounded(6, 4, in_degree=(1, 2), out_degree=(2, 9))
    assert (facts.min_edges, facts.max_edges, facts.max_out_degree) == (8, 12, 6)
    facts = ew.Facts.bounded(6, 4, cuts=Cuts([0, 2, 6], [0, 3, 4]))
    assert (facts.max_edges, facts.max_in_degree, facts.max_out_degree) == (10, 3, 4)
    facts = ew.Facts.bounded(2, 2, max_edges=9, simple=False)
    assert (facts.max_edges, facts.max_in_degree, facts.simple) == (9, 9, False)
    with pytest.raises(ew.GraphError, match="max_edges must be given when simple=False"):
        ew.Facts.bounded(2, 2, simple=False)


def test_numbers_beyond_64_bits_stay_exact():
    for N in (2**31, 2**33, 10**12):
        for graph, edges in [
            (ew.Complete(N), N * N),
            (ew.Causal(N), N * (N + 1) // 2),
            (ew.Complete(N) - ew.SelfLoops(N), N * N - N),
            (ew.Window(N, left=1, right=1), 3 * N - 2),
            (ew.PrefixCausal(N, prefix=N), N * N),
            (ew.Blocks([N, 1]), N * N + 1),
            (ew.Hubs(N, [0]), 2 * N - 1),
            (ew.Grid((N, 2)), 4 * (3 * N - 2)),
        ]:
            facts = graph.facts()
            assert facts.max_edges == edges, graph
            assert facts.min_edges == edges, graph


def test_what_facts_prove():
    def proves(graph):
        facts = graph.facts()
        return facts.complete, facts.causal, facts.fully_causal

    assert proves(ew.Complete(4)) == (True, False, False)
    assert proves(ew.Complete(1, 4)) == (True, True, True)
    assert proves(ew.Causal(4)) == (False, True, True)
    assert proves(ew.Causal(2, 4)) == (False, True, True)
    assert proves(ew.Window(4, left=9, right=0)) == (False, True, True)
    assert proves(ew.Window(4, left=1, right=0)) == (False, True, False)
    assert proves(ew.PrefixCausal(4, prefix=4)) == (True, False, False)
    assert proves(ew.Blocks([4])) == (True, False, False)
    assert proves(ew.EdgeList([[0, 0], [0, 0]], num_nodes=1)) == (False, True, False)
    assert proves(ew.EdgeList([[], []], num_nodes=3)) == (False, True, False)
    assert ew.Causal(4).facts().density == 10 / 16
    assert ew.Complete(0).facts().density == 0


def test_disjointness_is_proved_by_diagonals():
    past, now = ew.Window(5, left=3, right=0), ew.SelfLoops(5)
    future = ew.reverse(ew.EdgeList([[0, 1], [1, 3]], num_nodes=5))
    empty = ew.EdgeList([[], []], num_nodes=5)
    assert provably_disjoint(past.facts(), future.facts())
    assert provably_disjoint(future.facts(), past.facts())
    assert provably_disjoint(past.facts(), empty.facts())
    assert not provably_disjoint(past.facts(), now.facts())


# --- Cuts -----------------------------------------------------------------------------------


def test_cuts_are_a_value():
    cuts = Cuts([0, 1, 3], [0, 2, 2])
    assert cuts == Cuts(np.array([0, 1, 3]), (0, 2, 2))
    assert hash(cuts) == hash(Cuts([0, 1, 3], [0, 2, 2]))
    assert cuts != Cuts([0, 1, 3], [0, 1, 2])
    assert cuts != 3
    assert (cuts.num_blocks, cuts.num_pairs) == (2, 2)
    assert (cuts.target_sizes.tolist(), cuts.source_sizes.tolist()) == ([1, 2], [2, 0])
    assert eval(repr(cuts)) == cuts
    assert cuts.swapped() == Cuts([0, 2, 2], [0, 1, 3])
    assert repr(Cuts(range(20), range(20))) == "<19 blocks>"
    assert Cuts.none(3, 4) == Cuts([0, 3], [0, 4])


def test_cuts_of_both_and_of_either_graph():
    a, b = Cuts([0, 1, 3, 6], [0, 1, 3, 6]), Cuts([0, 3, 4, 6], [0, 3, 5, 6])
    assert a.common(b) == b.common(a) == Cuts([0, 3, 6], [0, 3, 6])
    assert a.finer(b) is a
    assert a.common(Cuts.none(6, 6)) == Cuts.none(6, 6)


def test_cuts_survive_the_algebra():
    a, b = ew.Blocks([2, 1, 3]), ew.Blocks([2, 4])
    assert (a | b).facts().cuts == b.facts().cuts
    assert (a & b).facts().cuts == a.facts().cuts
    assert (b - ew.SelfLoops(6)).facts().cuts == b.facts().cuts
    assert (a | ew.Causal(6)).facts().cuts == Cuts.none(6, 6)
    nothing = ew.Facts.bounded(6, 6)
    assert ew.Assume(a, nothing).facts() == a.facts()
    assert ew.Assume(ew.Predicate(torch.eq, 6), a.facts()).facts() == a.facts()
    assert ew.Assume(b, a.facts()).facts().cuts == ew.Assume(a, b.facts()).facts().cuts
    batch = ew.disjoint_union([ew.Causal(2), a, ew.Complete(0, 2)])
    assert batch.facts().cuts == Cuts([0, 2, 4, 5, 8, 8], [0, 2, 4, 5, 8, 10])
    assert ew.reverse(batch).facts().cuts == batch.facts().cuts.swapped()
