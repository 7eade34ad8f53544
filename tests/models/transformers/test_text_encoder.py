"""Embeddings of tokens, and encoders of texts."""

import pytest
import torch

from edgewise.errors import ArgumentError, ShapeError
from edgewise.graphs import Blocks, Window
from edgewise.models import Encoder, TextEncoder, TokenEmbedding, bert, positions_within
from edgewise.nn import Rotary, sinusoidal


def test_an_embedding_is_a_sum():
    front = TokenEmbedding(11, 8, max_positions=6, num_segments=2, norm="layer", norm_eps=0.1)
    tokens = torch.randint(11, (2, 5))
    segments = torch.tensor([0, 0, 1, 1, 1])
    x = front.token.weight[tokens] + front.position.weight[:5] + front.segment.weight[segments]
    expected = torch.nn.functional.layer_norm(x, (8,), eps=0.1)
    torch.testing.assert_close(front(tokens, segments=segments), expected)
    assert torch.equal(front(tokens), front(tokens, segments=torch.zeros(2, 5).long()))
    assert torch.equal(front(tokens.int()), front(tokens))
    assert torch.equal(front(tokens[0]), front(tokens)[0])
    assert front(tokens[:, :0]).shape == (2, 0, 8)


def test_sinusoids_and_scale():
    front = TokenEmbedding(11, 8, sinusoidal=True, scale=3.0).double()
    tokens = torch.randint(11, (2, 5))
    places = torch.tensor([2, 0, 700, 1, 1])
    for given, expected in ((None, torch.arange(5.0)), (places, places)):
        encoding = sinusoidal(expected.double(), 8)
        out = front(tokens, positions=given)
        torch.testing.assert_close(out, 3.0 * front.token.weight[tokens] + encoding)
    assert front.bfloat16()(tokens).dtype == torch.bfloat16
    with pytest.raises(ArgumentError, match="positions are learned or sinusoidal, got"):
        TokenEmbedding(11, 8, sinusoidal=True, max_positions=5)


def test_positions_may_be_given():
    front = TokenEmbedding(11, 8, max_positions=6)
    tokens = torch.randint(11, (5,))
    places = torch.tensor([0, 1, 2, 0, 1])
    assert torch.equal(positions_within([3, 2]), places)
    assert positions_within([]).shape == (0,)
    expected = torch.cat([front(tokens[:3]), front(tokens[3:])])
    assert torch.equal(front(tokens, positions=places), expected)
    both = front(tokens.expand(2, 5), positions=torch.stack([places, torch.arange(5)]))
    assert torch.equal(both[1], front(tokens))


TWO = torch.zeros(2).long()


@pytest.mark.parametrize(
    ("tokens", "given", "sentence"),
    [
        (torch.tensor([3, 11]), {}, r"tokens must lie in 0 to 10, got 3 to 11\. Build .*size=12"),
        (torch.tensor([3, -1]), {}, r"tokens must lie in 0 to 10, got -1 to 3\. Count from 0"),
        (torch.tensor([3.0]), {}, r"tokens must be int64 or int32, got float32"),
        (torch.tensor(3), {}, r"tokens must have shape \[\*batch, nodes\], got \[\]"),
        (torch.zeros(7).long(), {}, r"tokens has 7 nodes but .* max_positions=6"),
        (TWO, {"positions": torch.tensor([0, 6])}, r"positions must lie in 0"),
        (
            torch.zeros(2).long(),
            {"positions": torch.tensor([1])},
            r"positions must have shape \[2\], one",
        ),
        (
            torch.zeros(2).long(),
            {"positions": torch.tensor([[0, 1]])},
            r"positions must have shape \[2\], one",
        ),
        (TWO, {"segments": torch.tensor([0, 2])}, r"segments must lie in 0 to 1"),
    ],
)
def test_numbers_without_a_row_are_refused(tokens, given, sentence):
    front = TokenEmbedding(11, 8, max_positions=6, num_segments=2)
    with pytest.raises((ArgumentError, ShapeError), match=f"TokenEmbedding: {sentence}"):
        front(tokens, **given)


@pytest.mark.parametrize("name", ["positions", "segments"])
def test_what_the_model_would_ignore_is_refused(name):
    front, tokens = TokenEmbedding(11, 8), torch.zeros(3).long()
    with pytest.raises(ArgumentError, match=f"{name} were given, but the model was built without"):
        front(tokens, **{name: tokens})
    model = TextEncoder(front, Encoder(8, 2, 1))
    with pytest.raises(ArgumentError, match=f"{name} were given, but the model was built without"):
        model(tokens, **{name: tokens})


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"vocab_size": 0, "dim": 8}, "vocab_size must be at least 1"),
        ({"vocab_size": 8, "dim": 0}, "dim must be at least 1"),
        ({"vocab_size": 8, "dim": 8, "max_positions": 0}, "max_positions must be at least 1"),
        ({"vocab_size": 8, "dim": 8, "num_segments": -1}, "num_segments must be at least 0"),
        ({"vocab_size": 8, "dim": 8, "dropout": 1.5}, "dropout must be at least 0 and below 1"),
        ({"vocab_size": 8, "dim": 8, "norm": "none"}, "norm must be one of"),
    ],
)
def test_an_embedding_that_cannot_be_is_refused(settings, sentence):
    with pytest.raises(ArgumentError, match=f"TokenEmbedding: {sentence}"):
        TokenEmbedding(**settings)


def test_parts_of_different_widths_are_refused():
    with pytest.raises(ArgumentError, match=r"TextEncoder: embedding has 8 features but .* has 16"):
        TextEncoder(TokenEmbedding(11, 8), Encoder(16, 4, 1))


@pytest.mark.parametrize("kind", ["learned", "sinusoidal", "rotary", "both"])
def test_a_batch_of_texts_is_each_text_alone(kind, away):
    rotary = Rotary(4) if kind in ("rotary", "both") else None
    table = 12 if kind in ("learned", "both") else None
    front = TokenEmbedding(31, 16, max_positions=table, sinusoidal=kind == "sinusoidal")
    model = away(TextEncoder(front, Encoder(16, 4, 2, order="post", rotary=rotary))).double()
    sizes = [4, 1, 7]
    tokens = torch.randint(31, (sum(sizes),))
    together = model(tokens, Blocks(sizes), positions=positions_within(sizes))
    alone = torch.cat([model(text) for text in tokens.split(sizes)])
    torch.testing.assert_close(together, alone)
    if kind != "rotary":  # without positions of their own, texts depend on where they stand
        assert not torch.allclose(model(tokens, Blocks(sizes)), alone)


def test_bert_over_another_graph():
    model = bert(31, dim=16, heads=4, layers=1, dropout=0.0)
    tokens = torch.randint(31, (2, 9))
    changed = tokens.clone()
    changed[:, 8] = (changed[:, 8] + 1) % 31
    window = Window(9, left=2, right=2)
    assert torch.equal(model(tokens, window)[:, :6], model(changed, window)[:, :6])
    assert not torch.allclose(model(tokens)[:, :6], model(changed)[:, :6])
