"""Every family against its definition, and as a value: print, comparison, copies, pickle."""

import copy
import dataclasses
import pickle

import numpy as np
import pytest
import torch

import edgewise as ew
from edgewise.graphs import Cuts, graph_from
from tests.graphs.expressions import ALL, OTHERS, PLAIN, exact_facts

NAMES = {name: getattr(module, name) for module in (ew.graphs, ew) for name in dir(module)}
OF_CLOSURES = {"predicate", "assume"}


def pairs(graph):
    T, S = graph.num_targets, graph.num_sources
    return torch.arange(T)[:, None], torch.arange(S)[None, :]


# --- Meaning ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_contains_is_the_definition(name):
    for e in ALL[name]:
        contained = e.graph.contains(*pairs(e.graph))
        assert (e.graph.num_targets, e.graph.num_sources) == e.shape
        assert (contained.dtype, tuple(contained.shape)) == (torch.bool, e.shape)
        np.testing.assert_array_equal(contained.numpy(), e.copies > 0, err_msg=repr(e.graph))


@pytest.mark.parametrize("name", OTHERS)
def test_contains_broadcasts_in_every_way(name):
    graph, wanted = OTHERS[name][0].graph, torch.from_numpy(OTHERS[name][0].copies > 0)
    T, S = wanted.shape
    if not T * S:
        return
    target, source = torch.arange(T), torch.arange(S)
    rows, columns = target[:, None].expand(T, S), source.expand(T, S)
    assert graph.contains(rows, columns).equal(wanted)  # strides of 0
    assert graph.contains(rows.t(), columns.t()).equal(wanted.t())
    assert graph.contains(target, source[:, None]).equal(wanted.t())
    assert graph.contains(target[-1], source).equal(wanted[-1])
    assert graph.contains(target, source[0]).equal(wanted[:, 0])
    assert graph.contains(target[:, None, None], source[None, :, None]).equal(wanted[..., None])
    single = graph.contains(target[0], source[-1])
    assert (single.shape, bool(single)) == ((), bool(wanted[0, -1]))
    assert graph.contains(target[:0], source[:0]).shape == (0,)


def test_contains_does_not_overflow_32_bits():
    expander = ew.RandomRegular(70_000, degree=2)
    last = expander.neighbors[-1]
    cycle = ew.EdgeList(torch.stack([last, torch.full_like(last, 69_999)]), num_nodes=70_000)
    for graph in (expander, cycle):
        assert graph.contains(torch.tensor(69_999).int(), last.int()).all()


def test_a_reach_beyond_all_nodes_is_every_node():
    for far in (8, 2**63 - 1, 2**63, 10**30):
        for graph, edges in [
            (ew.Window(8, left=far, right=0), 36),
            (ew.Window(8, left=0, right=far), 36),
            (ew.Window(5, 8, left=far, right=far), 40),
            (ew.Dilated(8, left=far, right=far, dilation=3), 22),
            (ew.Dilated(8, left=1, right=1, dilation=far), 8),
            (ew.Grid((2, 4), radius=far), 64),
            (ew.Grid((2, 4), radius=far, periodic=True), 64),
        ]:
            assert int(graph.contains(*pairs(graph)).sum()) == edges, graph
            assert ew.edges(graph).num_edges == edges, graph
            assert (graph.facts().min_edges, graph.facts().max_edges) == (edges, edges), graph


# --- Facts --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_facts_are_true(name):
    for e in ALL[name]:
        ew.check_facts(e.graph)
        ew.check_facts(e.graph, torch.from_numpy(e.copies))


@pytest.mark.parametrize("name", [*PLAIN, *(n for n in OTHERS if n.startswith("edge list"))])
def test_facts_of_plain_families_are_exact(name):
    """Loose facts are not false, but hide the best plan from the planner."""
    for e in ALL[name]:
        facts, exact, (T, S) = e.graph.facts(), exact_facts(e.copies), e.shape
        vacuous = {"left", "right"} if not e.order else set()
        vacuous |= set() if T else {"min_in_degree"}
        vacuous |= set() if S else {"min_out_degree"}
        loose = {field for field in exact if getattr(facts, field) != exact[field]}
        assert loose <= vacuous, (e.graph, facts)
        full = len(e.order) == T * S and not e.holds_copies
        causal = all(s <= t + S - T for t, s in e.order)
        properties = (facts.simple, facts.complete, facts.causal)
        assert properties == (not e.holds_copies, full, causal), e.graph


def test_random_regular_and_cuts_are_as_tight_as_without_edges():
    facts = ew.RandomRegular(10, degree=3).facts()
    assert (facts.min_edges, facts.max_edges) == (30, 30)
    assert (facts.min_in_degree, facts.max_in_degree) == (3, 3)
    assert (facts.min_out_degree, facts.max_out_degree) == (3, 3)
    assert ew.Blocks([1, 2], [2, 1]).facts().cuts == Cuts([0, 1, 3], [0, 2, 3])
    assert ew.SelfLoops(3).facts().cuts == Cuts(range(4), range(4))
    assert ew.Causal(3).facts().cuts.num_blocks == 1


# --- A graph is a value -------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in ALL if name not in OF_CLOSURES])
def test_repr_is_the_expression(name):
    for e in ALL[name]:
        again = eval(repr(e.graph), NAMES)
        assert again == e.graph
        assert hash(again) == hash(e.graph)
        assert repr(again) == repr(e.graph)


@pytest.mark.parametrize("name", ALL)
def test_frozen(name):
    graph = ALL[name][-1].graph
    for field in dataclasses.fields(graph):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(graph, field.name, None)
    with pytest.raises((dataclasses.FrozenInstanceError, AttributeError)):
        graph.num_targets = 3


@pytest.mark.parametrize("name", [name for name in ALL if name not in OF_CLOSURES])
def test_survives_pickle_and_copies(name):
    graph = ALL[name][-1].graph
    ew.lower(graph, ew.Csr)  # something is remembered, and must not travel
    for again in (pickle.loads(pickle.dumps(graph)), copy.deepcopy(graph), copy.copy(graph)):
        assert "_memory" not in vars(again)
        assert again == graph
        assert hash(again) == hash(graph)
        assert again.facts() == graph.facts()
        assert again.contains(*pairs(again)).equal(graph.contains(*pairs(graph)))


def _near(target, source):
    return (target - source).abs() < 2


def test_a_predicate_of_a_named_function_survives_pickle():
    graph = ew.Assume(ew.Predicate(_near, 5), ew.Facts.bounded(5, 5, left=1, right=1))
    assert pickle.loads(pickle.dumps(graph)) == graph
    assert repr(ew.Predicate(_near, 5, 6)) == "Predicate(_near, 5, 6)"
    assert repr(ew.Predicate(_near, 5, 5)) == "Predicate(_near, 5)"
    assert ew.Predicate(_near, 5) != ew.Predicate(torch.eq, 5)


def test_different_graphs_differ():
    graphs = [e.graph for expressions in ALL.values() for e in expressions]
    for i, a in enumerate(graphs):
        assert a == a  # noqa: PLR0124
        assert a != 3
        assert a is not None
        for b in graphs[i + 1 : i + 40]:
            assert (a == b) == (repr(a) == repr(b)), (a, b)


@pytest.mark.parametrize("name", ALL)
def test_spec_is_plain_numbers_and_gives_the_graph(name):
    for e in ALL[name]:
        spec = e.graph.spec()
        assert spec is not None or name in OTHERS
        if spec is not None:
            hash(spec)
            assert graph_from(spec) == e.graph
            assert graph_from(spec).spec() == spec


def test_no_spec_where_there_are_tensors_functions_or_thousands_of_parts():
    for name in ("edge list, copies", "predicate", "assume", "disjoint union", "permutation"):
        graph = ALL[name][0].graph
        assert graph.spec() is None
        assert (graph | graph - graph).spec() is None


def test_sizes_may_be_any_whole_number():
    for three in (3, np.int64(3), np.uint8(3), torch.tensor(3), torch.tensor([3])):
        assert ew.Complete(three) == ew.Complete(3)
        assert type(ew.Window(three, left=three, right=three).left) is int
        assert ew.Grid((three, three)) == ew.Grid((3, 3))
    for radius in (3, np.int64(3), torch.tensor(3), [3, 3], (3, np.int8(3))):
        assert ew.Grid((2, 2), radius=radius) == ew.Grid((2, 2), radius=3)
    for sizes in ([1, 2], (1, 2), np.array([1, 2]), torch.tensor([1, 2]), iter([1, 2])):
        assert ew.Blocks(sizes).sizes == (1, 2)
    for shape in ([4, 5], torch.empty(4, 5).shape, np.array([4, 5]), torch.tensor([4, 5])):
        assert ew.Grid(shape).shape == (4, 5)
    for radius in ([1, 2], np.array([1, 2]), torch.tensor([1, 2])):
        assert ew.Grid((4, 5), radius=radius).radii == (1, 2)
    for hubs in ([3, 1, 3], {1, 3}, np.array([1, 3]), torch.tensor([3, 1]), range(1, 4, 2)):
        assert ew.Hubs(5, hubs).hubs == (1, 3)


def test_long_graphs_are_printed_short():
    assert repr(ew.Blocks([1] * 65)) == "Blocks(<65 blocks: 65 x 65>)"
    long = ew.EdgeList(torch.zeros(2, 1234, dtype=torch.int64), num_targets=2, num_sources=3)
    assert repr(long) == "EdgeList(<1,234 edges>, num_targets=2, num_sources=3)"
    assert repr(ew.permute(ew.Causal(40), torch.arange(40))) == "permute(Causal(40), <40 targets>)"
    batch = ew.disjoint_union([ew.Causal(2)] * 1000)
    assert repr(batch) == "disjoint_union(<1,000 graphs: 2,000 x 2,000>)"


@pytest.fixture
def checkers():
    """A family of another package, registered for one test."""

    @dataclasses.dataclass(frozen=True, repr=False)
    class Checkers(ew.Graph, parsed=True):
        num_targets: int

        @property
        def num_sources(self):
            return self.num_targets

        def contains(self, target, source):
            return (target - source) % 2 == 0

        def facts(self):
            return ew.Facts.bounded(self.num_targets, self.num_targets)

    yield Checkers
    del ew.graphs.base.FAMILIES[ew.graphs.base.family_name(Checkers)]


def test_a_family_of_another_package_compiles_and_is_parsed(checkers):
    """One class is all it takes: no list of families has to be changed."""
    assert any(family is checkers for family in ew.graphs.base.FAMILIES.values())
    assert ew.graphs.base.FAMILIES["Window"] is ew.Window
    graph = checkers(6)
    assert graph_from(graph.spec()) == graph
    assert ew.graphs.read_graph("Checkers(6) | Hubs(6, [0])") == graph | ew.Hubs(6, [0])
    q = torch.randn(1, 6, 4)
    compiled = torch.compile(lambda t: ew.attention(t, t, t, graph), backend="eager")
    torch.testing.assert_close(compiled(q), ew.attention(q, q, q, graph))
    assert ew.reverse(ew.reverse(graph)) == graph
