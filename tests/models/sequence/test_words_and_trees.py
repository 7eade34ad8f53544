"""Models whose nodes are words: sentences, trees, and the cards that describe them."""

import pytest
import torch

from edgewise.errors import ArgumentError
from edgewise.graphs import Blocks, Causal, EdgeList, disjoint_union
from edgewise.models import (
    GraphModel,
    NodeModel,
    Recurrent,
    TreeClassifier,
    Trunk,
    WordEmbedding,
    WordModel,
)
from edgewise.models.cards import CARDS
from edgewise.nn import ChildSumTreeLSTM, NaryTreeLSTM

TREE = EdgeList([[1, 2, 3, 4], [0, 0, 2, 2]], num_nodes=5)
LEAVES = torch.tensor([-1, 3, -1, 7, 2])


def test_a_node_without_a_word_has_zeros_and_passes_no_gradient():
    words = WordEmbedding(10, 4)
    result = words(LEAVES)
    assert torch.equal(result[[1, 3, 4]], words.embedding.weight[[3, 7, 2]])
    assert not result[[0, 2]].any()
    result.sum().backward()
    assert words.embedding.weight.grad.any(-1).nonzero()[:, 0].tolist() == [2, 3, 7]
    with torch.no_grad():
        words.embedding.weight[0] = torch.inf  # it stands for nobody
    assert words(LEAVES).isfinite().all()


@pytest.mark.parametrize(
    ("numbers", "sentence"),
    [([1, 10], "below num_words=10 .* got 10"), ([-2], "got -2"), ([1.0], "got torch.float32")],
)
def test_a_number_that_is_no_word_is_refused(numbers, sentence):
    with pytest.raises(ArgumentError, match=f"WordEmbedding: words must .*{sentence}"):
        WordEmbedding(10, 4)(torch.tensor(numbers))


def test_sentences_have_a_model_each():
    torch.manual_seed(0)
    words = torch.randint(10, (9,))
    trunk = Trunk(4, 8, [Recurrent(8)])
    classifier = WordModel(10, 4, GraphModel(trunk, 8, 3)).eval()
    together = classifier(words, Blocks([4, 5]), readout=Blocks([1, 1], [4, 5]))
    alone = [classifier(part, Causal(len(part))) for part in words.split([4, 5])]
    torch.testing.assert_close(together, torch.stack(alone))
    language = WordModel(10, 4, NodeModel(trunk, 8, 10), dropout=0.5)
    assert language(words.view(1, 9), Causal(9)).shape == (1, 9, 10)
    assert not torch.equal(language(words, Causal(9)), language(words, Causal(9)))


@pytest.mark.parametrize("arity", [None, 2])
def test_a_tree_classifier_is_its_parts(arity):
    torch.manual_seed(0)
    model = TreeClassifier(10, 4, 6, 5, arity=arity, dropout=0.5).eval()
    assert isinstance(model.tree, ChildSumTreeLSTM if arity is None else NaryTreeLSTM)
    expected = model.head(model.tree(model.words(LEAVES), TREE))
    torch.testing.assert_close(model(LEAVES, TREE), expected)
    twice = model(torch.cat([LEAVES, LEAVES]), disjoint_union([TREE, TREE]))
    torch.testing.assert_close(twice, torch.cat([expected, expected]))
    model.train()
    assert not torch.equal(model(LEAVES, TREE), model(LEAVES, TREE))


def test_places_of_children_reach_the_tree():
    model = TreeClassifier(10, 4, 6, 5, arity=2)
    straight = model(LEAVES, TREE, child_position=torch.tensor([0, 1, 0, 1]))
    torch.testing.assert_close(straight, model(LEAVES, TREE))
    assert not torch.allclose(
        straight, model(LEAVES, TREE, child_position=torch.tensor([1, 0, 0, 1]))
    )


# --- Cards -----------------------------------------------------------------------------------


def test_each_baseline_has_a_card():
    result = {card.name for card in CARDS}
    assert result >= {
        *("LightConv", "DynamicConv", "LSTM", "GRU", "Child-Sum Tree-LSTM", "N-ary Tree-LSTM"),
    }
