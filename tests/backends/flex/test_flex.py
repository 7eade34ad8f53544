"""FlexAttention on the CPU: forward, against the definition.

Each kind of call compiles for seconds, so there is one test for each thing that torch's kernel
might do otherwise, and no more.
"""

import pytest
import torch
from torch.nn.attention import flex_attention as torch_flex

import edgewise as ew
from edgewise.backends import Accepts, Refuses
from edgewise.backends.flex import call as calling
from edgewise.backends.flex.backend import Flex, _gradients_of_part, _missing
from edgewise.backends.flex.mask import mask_of
from edgewise.ops import AttentionState, Dot, Inputs
from edgewise.planning.question import AttentionQuestion
from tests.backends.flex.test_blocks import LARGE, edge_list

compiled = [
    pytest.mark.skipif(_missing("cpu") is not None, reason=str(_missing("cpu"))),
    # Torch's own compiler, when it is imported.
    pytest.mark.filterwarnings(r"ignore:`torch\.jit\.script_method` is deprecated"),
]


def draw(graph, heads=2, kv_heads=None, dim=16, value_dim=None, lead=(), dtype=torch.float32):
    """Query, key, value."""
    shapes = (
        (heads, graph.num_targets, dim),
        (kv_heads or heads, graph.num_sources, dim),
        (kv_heads or heads, graph.num_sources, value_dim or dim),
    )
    return [torch.randn(*lead, *shape).to(dtype) for shape in shapes]


def assert_right(graph, score=None, **shapes):
    tensors = draw(graph, **shapes)
    score = score or Dot()
    actual = ew.attention(*tensors, graph, score=score, backend="flex")
    wide = [t.double() for t in tensors]
    expected = ew.attention(*wide, graph, score=score, backend="reference")
    assert actual.dtype == tensors[0].dtype
    tolerance = 1e-5 if actual.dtype == torch.float32 else 2e-2
    torch.testing.assert_close(actual.double(), expected, rtol=tolerance, atol=tolerance)


# --- Compiled ------------------------------------------------------------------------------------


class TestCompiled:
    pytestmark = compiled

    @pytest.mark.parametrize("name", ["window, tall", "causal, tall"])
    def test_rows_without_gaps(self, name):
        assert_right(LARGE[name])

    def test_a_rectangle_of_edges_with_empty_rows(self):
        graph = edge_list(300, 200, 900)
        assert graph.facts().min_in_degree == 0
        assert_right(graph, value_dim=9)

    def test_decoding(self):
        assert_right(ew.Causal(1, 300), dim=7)

    def test_inside_a_users_compile(self):
        """Grouped heads, batches, a soft cap and half precision, since it compiles once anyway."""
        graph, score = LARGE["documents"], Dot(scale=0.7, softcap=2.0)
        shapes = {"heads": 6, "kv_heads": 2, "lead": (2, 1), "dim": 24}
        tensors = draw(graph, **shapes, dtype=torch.bfloat16)

        def double(q, k, v, backend):
            return ew.attention(q, k, v, graph, score=score, backend=backend) * 2

        actual = torch.compile(double, fullgraph=True)(*tensors, "flex")
        expected = double(*(t.double() for t in tensors), "reference")
        torch.testing.assert_close(actual.double(), expected, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("graph", [ew.Complete(0, 4), ew.Complete(4, 0)])
def test_no_sources_or_no_targets(graph):
    assert_right(graph)


# --- What no CPU computes: the log-sum-exp, and gradients from a whole ---------------------------


def test_the_log_sum_exp_of_torch_is_that_of_the_definition(monkeypatch):
    """The eager FlexAttention stands in for the compiled one on a GPU."""
    monkeypatch.setattr(torch_flex, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)
    monkeypatch.setattr(calling, "_compiled", lambda _: torch_flex.flex_attention)
    for graph in (LARGE["causal, tall"], LARGE["molecules"]):
        mask = mask_of(graph, graph.facts(), torch.device("cpu"), backward=True)
        tensors = draw(graph, heads=4, kv_heads=2, lead=(2, 3))
        prepared = calling.PreparedFlex(mask, calling.soft_cap(3.0, torch.device("cpu")))
        out, lse = calling.call(prepared, Inputs(*tensors), 0.3, wants_lse=True)
        expected = ew.attention_state(
            *tensors, graph, score=Dot(scale=0.3, softcap=3.0), backend="reference"
        )
        torch.testing.assert_close(out, expected.out, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(lse, expected.lse, rtol=1e-5, atol=1e-5)


def test_gradients_of_a_part_from_those_of_the_whole():
    graph, near = ew.Causal(9, 6), ew.Window(9, 6, left=1, right=0)
    parts = (near & graph, graph - near)
    tensors = [t.double().requires_grad_() for t in draw(graph, dim=4)]
    whole = ew.attention_state(*tensors, graph, backend="reference")
    pushes = (torch.randn_like(whole.out), torch.randn_like(whole.lse))
    expected = torch.autograd.grad((whole.out, whole.lse), tensors, pushes)
    state = AttentionState(whole.out.detach(), whole.lse.detach())
    actual = []
    for part in parts:
        state_of_part = ew.attention_state(*tensors, part, backend="reference")
        sent = _gradients_of_part(state_of_part, state, *pushes)
        actual.append(torch.autograd.grad((state_of_part.out, state_of_part.lse), tensors, sent))
    for first, second, whole_grad in zip(*actual, expected, strict=True):
        torch.testing.assert_close(first + second, whole_grad)


# --- What it refuses -----------------------------------------------------------------------------


def judged(graph, device="cuda", **changes):
    question = AttentionQuestion(
        ("Dot", None, None), 1, 2, 2, 16, 16, torch.float32, torch.device(device), False,
        None, False, False, 0.0, False,
    )  # fmt: skip
    problem = question._replace(**changes).about(graph)
    return problem, Flex().judge(problem)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"score": ("Additive", 0.2)}, "Additive scores are not a matrix product; use Dot"),
        ({"bias": "relative"}, "blocks take no relative bias; leave it out"),
        ({"edge_key": True}, "edge_key belongs to edges, not to blocks; leave it out"),
        ({"dropout": 0.1}, "FlexAttention has no dropout; set dropout=0"),
        ({"dtype": torch.float64}, "FlexAttention computes in float32; convert the tensors"),
        (
            {"head_dim": 8},
            "FlexAttention wants at least 16 channels on GPUs, got head_dim 8 and value_dim 16; "
            "use another backend",
        ),
        (
            {"device": torch.device("meta")},
            "it is written for CPUs and CUDA, not for meta; move the tensors",
        ),
    ],
)
def test_refusals(changes, reason):
    _, verdict = judged(ew.Causal(8), **changes)
    assert isinstance(verdict, Refuses)
    assert reason in verdict.reasons


def test_copies_are_refused():
    _, verdict = judged(ew.EdgeList([[0, 0], [1, 1]], num_nodes=2))
    assert "merge the copies" in verdict.reasons[0]


def test_a_gpu_is_accepted_with_a_note_that_it_is_unchecked():
    problem, verdict = judged(LARGE["window"], needs_grad=True, wants_lse=True)
    assert isinstance(verdict, Accepts)
    assert verdict.on_request == "not checked on a GPU yet; ask for it with backend='flex'"
    assert Flex().note(problem) == "not checked on a GPU yet"


@pytest.mark.skipif(_missing("cpu") is not None, reason=str(_missing("cpu")))
class TestOnTheCpu:
    def test_it_refuses_what_torch_lacks(self):
        q = torch.randn(2, 8, 4)
        graph = ew.Causal(8)
        with pytest.raises(ew.BackendRefused, match="no backward pass on CPUs"):
            ew.attention(q.clone().requires_grad_(), q, q, graph, backend="flex")
        with pytest.raises(ew.BackendRefused, match="gives no log-sum-exp on CPUs; leave it out"):
            ew.attention_state(q, q, q, graph, backend="flex")
        with pytest.raises(ew.BackendRefused, match="computes attention alone"):
            ew.aggregate(q, graph, backend="flex")

    def test_a_plan_made_without_gradients_loses_none(self):
        q = torch.randn(2, 8, 4)
        plan = ew.plan(q, q, q, ew.Causal(8), backend="flex")
        with pytest.raises(ew.BackendRefused, match="no backward pass on CPUs"):
            plan(q.clone().requires_grad_(), q, q)
        with pytest.raises(ew.BackendRefused, match="gives no log-sum-exp on CPUs"):
            plan.prepared.forward(Inputs(q, q, q))

    def test_transforms_are_refused_in_a_sentence(self):
        q = torch.randn(3, 2, 8, 4)
        with pytest.raises(ew.BackendRefused, match="flex: FlexAttention is compiled as a whole"):
            torch.vmap(lambda q: ew.attention(q, q, q, ew.Causal(8), backend="flex"))(q)

    def test_auto_does_not_choose_it_and_explain_has_the_reason(self):
        q = torch.randn(2, 8, 4)
        reason = "refused  flex      compiles for seconds on CPUs; ask for it with backend='flex'"
        assert reason in str(ew.explain(q, q, q, ew.Causal(8)))
        assert ew.plan(q, q, q, ew.Causal(8), backend="flex").name == "flex"

    def test_without_a_compiler_it_refuses(self, monkeypatch):
        monkeypatch.setenv("CXX", "no-such-compiler")
        assert "finds none; install g++" in str(_missing.__wrapped__("cpu"))
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
        assert "AVX2" in str(_missing.__wrapped__("cpu"))
