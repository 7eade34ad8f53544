"""Language models: what comes before decides, caches change nothing, and writing is repeatable."""

from functools import partial

import pytest
import torch

from edgewise.errors import ArgumentError, ShapeError
from edgewise.graphs import Causal, EdgeList, PrefixCausal, Window, disjoint_union
from edgewise.models import Encoder, LanguageModel, TokenEmbedding, gpt2, llama, positions_within
from edgewise.models.transformers.sampling import sampled

MODELS = {
    "gpt2": lambda **given: gpt2(31, dim=16, heads=4, layers=2, max_positions=24, **given),
    "llama": lambda **given: llama(31, dim=16, heads=4, kv_heads=2, layers=2, hidden=40, **given),
}


@pytest.fixture(params=MODELS)
def model(request, away):
    return away(MODELS[request.param]()).double().eval()


def test_later_tokens_change_nothing_before_them(model):
    tokens = torch.randint(31, (2, 9))
    changed = tokens.clone()
    changed[:, 5] = (changed[:, 5] + 1) % 31
    before, after = model(tokens), model(changed)
    assert torch.equal(before[:, :5], after[:, :5])
    assert not torch.allclose(before[:, 5:], after[:, 5:])


def test_llama_is_its_equation_in_float64(away):
    model = away(MODELS["llama"](base=500.0)).double()
    tokens = torch.randint(31, (7,))
    turn = torch.polar(
        torch.ones(7, 2, dtype=torch.float64),
        torch.arange(7)[:, None] * 500.0 ** -torch.tensor([0.0, 0.5], dtype=torch.float64),
    )

    def rms(x, norm):
        return norm.weight * x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()

    def turned(x):  # features that stand two apart are one complex number
        pairs = torch.complex(x[..., :2].contiguous(), x[..., 2:].contiguous()) * turn[:, None]
        return torch.cat([pairs.real, pairs.imag], -1)

    x = model.embedding.token.weight[tokens]
    for block in model.trunk.blocks:
        mixer, mlp, y = block.mixer, block.mlp, rms(x, block.mixer_norm)
        query = turned((y @ mixer.q_proj.weight.T).unflatten(-1, (4, 4)))
        key = turned((y @ mixer.k_proj.weight.T).unflatten(-1, (2, 4)))
        value = (y @ mixer.v_proj.weight.T).unflatten(-1, (2, 4))
        heads = []
        for head in range(4):
            scores = query[:, head] @ key[:, head // 2].T / 2.0  # the root of 4
            weights = scores.exp().tril()
            heads.append(weights / weights.sum(-1, keepdim=True) @ value[:, head // 2])
        x = x + torch.cat(heads, -1) @ mixer.out_proj.weight.T
        y = rms(x, block.mlp_norm)
        gate = y @ mlp.gate_proj.weight.T
        inner = gate / (1 + (-gate).exp()) * (y @ mlp.up_proj.weight.T)
        x = x + inner @ mlp.down_proj.weight.T
    expected = rms(x, model.trunk.norm) @ model.head.weight.T
    out = model(tokens)
    torch.testing.assert_close(out, expected, rtol=1e-10, atol=1e-10)
    grad_out, weights = torch.randn_like(out), list(model.parameters())
    mine, other = (torch.autograd.grad(logits, weights, grad_out) for logits in (out, expected))
    for a, b in zip(mine, other, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_over_any_graph(model):
    tokens = torch.randint(31, (2, 9))
    assert torch.equal(model(tokens), model(tokens, Causal(9)))
    pairs = torch.ones(9, 9, dtype=torch.bool).tril().nonzero(as_tuple=True)
    written = EdgeList(torch.stack(pairs[::-1]), num_nodes=9)
    torch.testing.assert_close(model(tokens, written), model(tokens))
    window = model(tokens, Window(9, left=8, right=0))
    torch.testing.assert_close(window, model(tokens))
    assert not torch.allclose(model(tokens, PrefixCausal(9, prefix=4)), model(tokens))
    assert model(tokens[:, :1]).shape == (2, 1, 31)


def test_texts_side_by_side_are_each_alone(model):
    sizes, tokens = [4, 1, 6], torch.randint(31, (11,))
    graph = disjoint_union([Causal(size) for size in sizes])
    together = model(tokens, graph, positions=positions_within(sizes))
    torch.testing.assert_close(together, torch.cat([model(part) for part in tokens.split(sizes)]))


RULES = {"causal": Causal, "window": partial(Window, left=3, right=0)}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("steps", [[1] * 9, [4, 1, 1, 3], [9]])
def test_caches_change_nothing(name, rule, steps, away):
    model = away(MODELS[name](rule=RULES[rule])).double().eval()
    tokens = torch.randint(31, (2, 9))
    caches = model.caches()
    assert len(caches) == 2
    parts = [model(part, caches=caches) for part in tokens.split(steps, 1)]
    torch.testing.assert_close(torch.cat(parts, 1), model(tokens))
    assert [cache.length for cache in caches] == [9, 9]
    if rule == "window":
        assert not torch.allclose(model(tokens), model(tokens, Causal(9)))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", MODELS)
def test_greedy_writing_takes_the_likeliest_token_each_time(name, rule, away):
    model = away(MODELS[name](rule=RULES[rule])).double().eval()
    tokens = torch.randint(31, (3, 4))
    written = model.generate(tokens, max_new_tokens=8, temperature=0)
    expected = tokens
    for _ in range(8):
        expected = torch.cat([expected, model(expected)[:, -1:].argmax(-1)], 1)
    assert torch.equal(written, expected)
    assert torch.equal(model.generate(tokens[0], max_new_tokens=8, temperature=0), expected[0])
    assert torch.equal(model.generate(tokens, max_new_tokens=8, top_k=1), expected)
    assert torch.equal(
        model.generate(tokens.int(), max_new_tokens=8, temperature=0), expected.int()
    )


def test_writing_follows_the_generator_and_nothing_else(model):
    tokens = torch.randint(31, (2, 4))

    def written(seed):
        return model.generate(
            tokens, max_new_tokens=12, generator=torch.Generator().manual_seed(seed)
        )

    assert torch.equal(written(3), written(3))
    assert not torch.equal(written(3), written(4))
    assert torch.equal(model.generate(tokens, max_new_tokens=0), tokens)
    assert model.generate(tokens[0], max_new_tokens=3).shape == (7,)
    assert not any(parameter.grad_fn for parameter in model.parameters())
    assert not model.generate(tokens, max_new_tokens=1).requires_grad


def test_tokens_are_drawn_by_their_probability():
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0])
    generator = torch.Generator().manual_seed(0)
    for temperature, top_k in ((1.0, None), (0.5, None), (2.0, 2), (1.0, 9)):
        drawn = sampled(
            logits.expand(20_000, 4), temperature=temperature, top_k=top_k, generator=generator
        )
        kept = logits if top_k != 2 else torch.tensor([-torch.inf, 1.0, 2.0, -torch.inf])
        expected = (kept / temperature).softmax(0)
        share = drawn.bincount(minlength=4) / 20_000
        torch.testing.assert_close(share, expected, atol=0.015, rtol=0)
        assert share[expected == 0].eq(0).all()
    assert sampled(logits.bfloat16()[None], temperature=0).tolist() == [2]
    assert sampled(logits.expand(2, 3, 4)).shape == (2, 3)
    assert sampled(logits, temperature=1e-40).item() == 2


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"temperature": -1.0}, "temperature must be 0 or a positive number, got -1.0"),
        ({"temperature": float("nan")}, "temperature must be 0 or a positive number, got nan"),
        ({"top_k": 0}, "top_k must be at least 1, got 0"),
        ({"max_new_tokens": -1}, "max_new_tokens must be at least 0, got -1"),
        ({"tokens": torch.zeros(2, 0).long()}, "tokens must hold at least one token to go on"),
        ({"tokens": torch.tensor(1)}, "tokens must hold at least one token to go on"),
    ],
)
def test_how_to_write_is_checked(model, given, sentence):
    words = {"tokens": torch.zeros(2, 3).long(), "max_new_tokens": 2, **given}
    with pytest.raises(ArgumentError, match=sentence):
        model.generate(**words)


def test_writing_in_training_mode_or_beyond_the_positions_is_refused():
    model, tokens = MODELS["gpt2"](), torch.zeros(1, 20).long()
    with pytest.raises(ArgumentError, match="in training mode, in which dropout acts"):
        model.generate(tokens, max_new_tokens=1)
    with pytest.raises(ArgumentError, match="25 nodes are more than max_positions=24"):
        model.eval().generate(tokens, max_new_tokens=5)
    assert model.generate(tokens, max_new_tokens=4).shape == (1, 24)
    with pytest.raises(ShapeError, match=r"tokens has 25 nodes but .* max_positions=24"):
        model(torch.zeros(1, 25).long())
    assert MODELS["llama"]().eval().generate(torch.zeros(1, 60).long(), max_new_tokens=2).shape == (
        1,
        62,
    )


def test_a_tied_head_is_the_embedding():
    tied, free = (llama(31, dim=16, heads=4, layers=1, hidden=40, tied=tied) for tied in (1, 0))
    assert tied.head.weight is tied.embedding.token.weight
    assert free.head.weight is not free.embedding.token.weight
    sizes = [sum(weight.numel() for weight in model.parameters()) for model in (tied, free)]
    assert sizes[1] - sizes[0] == 31 * 16
    assert tied.double().head.weight is tied.embedding.token.weight


def test_what_does_not_go_together_is_refused():
    with pytest.raises(ArgumentError, match="LanguageModel: embedding has 8 features"):
        LanguageModel(TokenEmbedding(31, 8), Encoder(16, 4, 1))
    bare = LanguageModel(TokenEmbedding(31, 16), Encoder(16, 4, 1))
    tokens = torch.zeros(1, 3).long()
    with pytest.raises(ArgumentError, match="positions were given, but the model was built"):
        bare(tokens, positions=torch.arange(3))
    with pytest.raises(ArgumentError, match="caches must be one for each of the 1 blocks, got 2"):
        bare(tokens, caches=2 * bare.caches())
    with pytest.raises(ShapeError, match="3 rows but graph has 4 targets"):
        bare(tokens, Causal(4))
    with pytest.raises(ShapeError, match=r"tokens must have shape \[\*batch, nodes\], got \[\]"):
        bare(torch.tensor(1))


SHALLOW = {
    "gpt2": lambda: gpt2(31, dim=16, heads=4, layers=1, max_positions=24),
    "llama": lambda: llama(31, dim=16, heads=4, kv_heads=2, layers=1, hidden=40),
}


@pytest.mark.parametrize("name", SHALLOW)
def test_it_compiles(name):
    torch._dynamo.reset()
    model, tokens = SHALLOW[name]().eval(), torch.randint(31, (2, 9))
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(tokens), model(tokens))
