"""Training of the baselines on real data: trees, characters, sentences."""

import pytest
import torch
import torch.nn.functional as F
from torch.nn import Linear

from edgewise.graphs import Blocks, Causal, Window, disjoint_union
from edgewise.models import (
    Convolutional,
    GraphModel,
    Recurrent,
    TreeClassifier,
    Trunk,
    WordModel,
)
from edgewise.nn import DynamicConvolution, LightweightConvolution
from edgewise.training.data import SENTIMENTS, read_conllu, read_trees


def numbered(texts):
    """Numbers of words in order of appearance; -1 for None."""
    number_of = {}
    numbers = [-1 if text is None else number_of.setdefault(text, len(number_of)) for text in texts]
    return torch.tensor(numbers), len(number_of)


def losses(model, predict, y, steps=30, lr=0.01):
    """The loss of one batch, before and after a few steps."""
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    values = []
    for _ in range(steps):
        loss = F.cross_entropy(predict(model).flatten(0, -2), y.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(float(loss.detach()))
    return values[0], values[-1]


@pytest.mark.parametrize("arity", [None, 2])
def test_a_tree_lstm_learns_sentiments_of_phrases(arity, data_root):
    trees = read_trees(data_root / "text" / "sst_trees" / "dev.txt", SENTIMENTS)[:64]
    words, count = numbered([word for tree in trees for word in tree.words])
    labels = torch.cat([tree.labels for tree in trees])
    graph = disjoint_union([tree.graph for tree in trees])
    model = TreeClassifier(count, 16, 24, 5, arity=arity)
    first, last = losses(model, lambda m: m(words, graph), labels)
    assert first > 1.3  # log 5 is 1.6
    assert last < 0.5 * first


def test_a_tree_lstm_learns_parts_of_speech_in_dependency_trees(data_root):
    sentences = read_conllu(data_root / "ud_ewt" / "en_ewt-ud-dev.conllu")[:48]
    words, count = numbered([word for sentence in sentences for word in sentence.words])
    tags, kinds = numbered([tag for sentence in sentences for tag in sentence.tags])
    graph = disjoint_union([sentence.graph for sentence in sentences])
    model = TreeClassifier(count, 16, 24, kinds)
    first, last = losses(model, lambda m: m(words, graph), tags, steps=50)
    assert last < 0.5 * first


WINDOW = Window(64, left=7, right=0)
LANGUAGE_MODELS = {  # a body of width 32, and its graph
    "LightConv": lambda: (Convolutional(32, 4, (3, 7), causal=True), Causal(64)),
    "DynamicConv": lambda: (Convolutional(32, 4, (3, 7), kind="dynamic", causal=True), Causal(64)),
    "lightweight": lambda: (trunk(lambda: LightweightConvolution(32, 4, 8)), WINDOW),
    "dynamic": lambda: (trunk(lambda: DynamicConvolution(32, 4, 8)), WINDOW),
    "lstm": lambda: (trunk(lambda: Recurrent(32)), Causal(64)),
    "gru": lambda: (trunk(lambda: Recurrent(32, kind="gru")), Causal(64)),
}


def trunk(mixer):
    return Trunk(32, 32, [mixer() for _ in range(2)])


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_a_language_model_learns_characters(name, data_root):
    text = (data_root / "tinyshakespeare" / "input.txt").read_text(encoding="utf-8")[: 16 * 65]
    characters, count = numbered(text)
    characters = characters.view(16, 65)
    body, graph = LANGUAGE_MODELS[name]()
    model = torch.nn.ModuleDict({"body": WordModel(count, 32, body), "head": Linear(32, count)})

    def predict(model):
        return model["head"](model["body"](characters[:, :-1], graph))

    first, last = losses(model, predict, characters[:, 1:], steps=40)
    assert first > 3.0  # guessing costs the logarithm of about 50
    assert last < 0.6 * first


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_a_recurrent_classifier_learns_kinds_of_questions(kind, data_root):
    lines = (data_root / "text" / "TREC.train.all").read_text(encoding="latin-1").splitlines()[:96]
    sentences = [line.split() for line in lines]
    sizes = [len(tokens) - 1 for tokens in sentences]
    words, count = numbered([token for tokens in sentences for token in tokens[1:]])
    y = torch.tensor([int(tokens[0]) for tokens in sentences])
    body = Trunk(16, 24, [Recurrent(24, kind=kind, bidirectional=True)])
    model = WordModel(count, 16, GraphModel(body, 24, 6))
    graph, readout = Blocks(sizes), Blocks([1] * len(sizes), sizes)
    first, last = losses(model, lambda m: m(words, graph, readout=readout), y)
    assert last < 0.5 * first
