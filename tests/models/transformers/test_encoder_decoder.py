"""From one sequence to another: three graphs, and the same answer step by step."""

import pytest
import torch

from edgewise.errors import ArgumentError, ShapeError
from edgewise.graphs import Blocks, Causal, Complete, EdgeList, Window, disjoint_union
from edgewise.models import (
    Decoder,
    Encoder,
    EncoderDecoder,
    TokenEmbedding,
    positions_within,
    transformer,
)
from edgewise.nn import Rotary


def rotary_model():
    words = TokenEmbedding(31, 16)
    settings = {"norm": "rms", "activation": "swiglu", "bias": False, "kv_heads": 2}
    encoder = Encoder(16, 4, 2, rotary=Rotary(4), **settings)
    decoder = Decoder(16, 4, 2, rotary=Rotary(4), **settings)
    return EncoderDecoder(words, words, encoder, decoder, tied=False)


MODELS = {
    "2017": lambda: transformer(31, dim=16, heads=4, layers=2),
    "rotary": rotary_model,
}


@pytest.fixture(params=MODELS)
def model(request, away):
    return away(MODELS[request.param]()).double().eval()


def texts(rows=2, sources=7, targets=5):
    return torch.randint(31, (rows, sources)), torch.randint(31, (rows, targets))


def test_who_reads_whom(model):
    source, target = texts()
    out = model(source, target)
    assert out.shape == (2, 5, 31)
    changed = target.clone()
    changed[:, 3] = (changed[:, 3] + 1) % 31
    assert torch.equal(model(source, changed)[:, :3], out[:, :3])
    for place in (0, 6):
        other = source.clone()
        other[:, place] = (other[:, place] + 1) % 31
        assert not torch.allclose(model(other, target)[:, :1], out[:, :1])


def test_over_other_graphs(model):
    source, target = texts()
    graphs = {"source_graph": Complete(7), "target_graph": Causal(5), "cross": Complete(5, 7)}
    assert torch.equal(model(source, target, **graphs), model(source, target))
    # Each target reads the source in its own place alone: the rest of the sources is not heard.
    own = EdgeList([[0, 1, 2, 3, 4], [0, 1, 2, 3, 4]], num_targets=5, num_sources=7)
    local = {"source_graph": Window(7, left=0, right=0), "target_graph": Causal(5), "cross": own}
    other = source.clone()
    other[:, 5:] = (other[:, 5:] + 1) % 31
    assert torch.equal(model(other, target, **local), model(source, target, **local))


def test_a_batch_of_pairs_is_each_pair_alone(model):
    sizes, lengths = [4, 1, 6], [2, 5, 1]
    source, target = torch.randint(31, (sum(sizes),)), torch.randint(31, (sum(lengths),))
    together = model(
        source,
        target,
        source_graph=Blocks(sizes),
        target_graph=disjoint_union([Causal(length) for length in lengths]),
        cross=Blocks(lengths, sizes),
        source_positions=positions_within(sizes),
        target_positions=positions_within(lengths),
    )
    pairs = zip(source.split(sizes), target.split(lengths), strict=True)
    torch.testing.assert_close(together, torch.cat([model(*pair) for pair in pairs]))


@pytest.mark.parametrize("steps", [[1] * 5, [2, 1, 2], [5]])
def test_caches_change_nothing(model, steps):
    source, target = texts()
    memory, caches = model.encode(source), model.decoder.caches()
    parts = [model.decode(part, memory, caches=caches) for part in target.split(steps, 1)]
    torch.testing.assert_close(model.head(torch.cat(parts, 1)), model(source, target))
    assert [(own.length, read.length) for own, read in caches] == [(5, 7), (5, 7)]


def test_greedy_writing_takes_the_likeliest_token_each_time(model):
    source, target = texts(rows=3, targets=1)
    expected = target
    for _ in range(6):
        expected = torch.cat([expected, model(source, expected)[:, -1:].argmax(-1)], 1)
    assert torch.equal(model.generate(source, target, max_new_tokens=6, temperature=0), expected)
    first, again = (
        model.generate(
            source, target, max_new_tokens=6, top_k=5, generator=torch.Generator().manual_seed(1)
        )
        for _ in range(2)
    )
    assert torch.equal(first, again)


def test_a_decoder_of_a_memory_of_another_width():
    decoder = Decoder(16, 4, 2, source_dim=6)
    assert decoder.self_blocks[0].mlp is None
    assert decoder.cross_blocks[0].mlp is not None
    assert decoder(torch.randn(2, 5, 16), torch.randn(2, 7, 6)).shape == (2, 5, 16)
    assert isinstance(Decoder(16, 4, 1, order="post").norm, torch.nn.Identity)
    with pytest.raises(ShapeError, match=r"source has 16 features .* source_dim=6"):
        decoder(torch.randn(2, 5, 16), torch.randn(2, 7, 16))


def test_what_does_not_fit_is_refused(model):
    source, target = texts()
    with pytest.raises(ShapeError, match="graph has 4 targets"):
        model(source, target, target_graph=Causal(4))
    with pytest.raises(ShapeError, match="graph has 8 sources"):
        model(source, target, cross=Complete(5, 8))
    with pytest.raises(ArgumentError, match="caches must be one pair for each of the 2 layers"):
        model.decode(target, model.encode(source), caches=model.decoder.caches()[:1])
    with pytest.raises(ShapeError, match="Decoder: x has 7 features but"):
        model.decoder(torch.zeros(3, 7), torch.zeros(3, 16))
    with pytest.raises(ArgumentError, match="in training mode"):
        model.train().generate(source, target, max_new_tokens=1)
    with pytest.raises(ArgumentError, match="EncoderDecoder: embedding has 8 features"):
        EncoderDecoder(TokenEmbedding(31, 8), model.target, model.encoder, model.decoder)
    words = TokenEmbedding(31, 16, max_positions=24)
    learned = EncoderDecoder(words, words, model.encoder, model.decoder).eval()
    with pytest.raises(ArgumentError, match="25 nodes are more than max_positions=24"):
        learned.generate(source, target, max_new_tokens=20)
