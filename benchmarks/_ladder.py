"""Models and their originals, with the same weights on the same real data."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import cycle
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from _workloads import data_folder
from torch import Tensor, nn

import edgewise as ew
from edgewise.integrations.names import huggingface_names, pyg_names, torch_names
from edgewise.integrations.names.table import Name, to_original, within
from edgewise.models import (
    GNN,
    GPS,
    Decoder,
    Encoder,
    GraphModel,
    NodeModel,
    bert,
    gpt2,
    llama,
    positions_within,
    transformer_block,
    vit,
)
from edgewise.nn import degree_coordinates, random_walk
from edgewise.training import load

WIDTH, HEADS = 64, 8
BATCHES = 24  # more than equal graphs are remembered, so that each is new when it comes again
Loss = Callable[[nn.Module], Tensor]


@dataclass
class Pair:
    """A model and its original.

    Attributes:
        work: The data.
        model: What both of them are.
        peer: The original.
        ours: Ours.
        theirs: The original, which gets our weights.
        names: What it calls them.
        loss: From ours to the loss on the data.
        loss_peer: From the original to the same loss.
        new_batch: Like ``loss``, each time of another batch, whose graphs are built for it.
        new_batch_peer: The same batches for the original.
    """

    work: str
    model: str
    peer: str
    ours: nn.Module
    theirs: nn.Module
    names: tuple[Name, ...]
    loss: Loss
    loss_peer: Loss
    new_batch: Loss | None = None
    new_batch_peer: Loss | None = None

    def __post_init__(self) -> None:
        own = to_original(dict(self.ours.named_parameters()), self.names)
        parameters = dict(self.theirs.named_parameters())
        if set(own) != set(parameters):
            raise SystemExit(f"{self.model}: {sorted(set(own) ^ set(parameters))} has no twin.")
        with torch.no_grad():
            for name, weight in parameters.items():
                weight.copy_(own[name])


# --- Layers of PyTorch Geometric -----------------------------------------------------------------


class Stack(nn.Module):
    """Convolutions of PyTorch Geometric with ReLU between them, as in its examples."""

    def __init__(self, convolutions: list[nn.Module], out_dim: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(convolutions)
        self.lin = nn.Linear(WIDTH, out_dim)

    def forward(self, x: Tensor, pairs: Tensor, edge: Tensor | None, of: Tensor | None) -> Tensor:
        from torch_geometric.nn import global_mean_pool

        for convolution in self.convs:
            x = convolution(x, pairs, *(() if edge is None else (edge,))).relu()
        return self.lin(x if of is None else global_mean_pool(x, of))


def _pyg_convolution(name: str, before: int, *, cached: bool) -> nn.Module:
    import torch_geometric.nn as pyg

    settings: dict[str, Any] = {"heads": HEADS, "add_self_loops": False}
    match name:
        case "gcn":
            return pyg.GCNConv(before, WIDTH, cached=cached)
        case "sage":
            return pyg.SAGEConv(before, WIDTH)
        case "gin":
            first, last = nn.Linear(before, WIDTH), nn.Linear(WIDTH, WIDTH)
            return pyg.GINConv(nn.Sequential(first, nn.Identity(), nn.ReLU(), last))
        case "monet":
            return pyg.GMMConv(before, WIDTH, dim=2, kernel_size=3)
        case "gat":
            return pyg.GATConv(before, WIDTH // HEADS, **settings)
        case "gatv2":
            return pyg.GATv2Conv(before, WIDTH // HEADS, **settings)
        case _:
            return pyg.TransformerConv(before, WIDTH // HEADS, heads=HEADS)


# Our name, theirs, and what theirs calls the weights.
CONVOLUTIONS: dict[str, tuple[str, tuple[Name, ...]]] = {
    "gcn": ("GCNConv", pyg_names.GCN),
    "sage": ("SAGEConv", pyg_names.SAGE),
    "gin": ("GINConv", pyg_names.GIN_SEQUENCE),
    "monet": ("GMMConv", pyg_names.MONET),
    "gat": ("GATConv", pyg_names.GAT),
    "gatv2": ("GATv2Conv", pyg_names.GATV2),
    "transformer": ("TransformerConv", pyg_names.TRANSFORMER),
}


def _names_of_stack(name: str, layers: int) -> tuple[Name, ...]:
    own = CONVOLUTIONS[name][1]
    return (
        *(n for i in range(layers) for n in within(own, f"trunk.convolutions.{i}.", f"convs.{i}.")),
        Name(("head",), "lin"),
    )


@dataclass
class Data:
    """Nodes, edges, and what is predicted.

    Attributes:
        x: Features of the nodes.
        pairs: Sources and targets: ``[2, E]``.
        loss: Of predictions.
        out_dim: Numbers predicted.
        sizes: Nodes of each graph of a batch; None where nodes are labelled.
        edge: Features of the edges, where there are any.
        encoding: Of the nodes, where there is any.
    """

    x: Tensor
    pairs: Tensor
    loss: Callable[[Tensor], Tensor]
    out_dim: int
    sizes: list[int] | None = None
    edge: Tensor | None = None
    encoding: Tensor | None = None

    def graph(self) -> ew.EdgeList:
        """The edges, which have never been looked at."""
        return ew.EdgeList(self.pairs, num_nodes=len(self.x))

    def readout(self) -> dict[str, ew.Graph]:
        """Which nodes are of which graph, if there are several."""
        if self.sizes is None:
            return {}
        return {"readout": ew.Blocks([1] * len(self.sizes), self.sizes)}

    def of_node(self) -> Tensor | None:
        """The same for PyTorch Geometric, which has it from its loader."""
        if self.sizes is None:
            return None
        return torch.arange(len(self.sizes)).repeat_interleave(torch.tensor(self.sizes))

    def for_layer(self, name: str) -> Data:
        """The same for one kind of layer: with self-loops for GAT, with coordinates for MoNet."""
        pairs, edge = self.pairs, None
        if name in ("gat", "gatv2"):
            pairs = torch.cat([pairs, torch.arange(len(self.x)).expand(2, -1)], 1)
        if name == "monet":
            edge = degree_coordinates(self.graph())
        return replace(self, pairs=pairs, edge=edge)


def stacks(work: str, batches: list[Data], names: list[str], layers: int) -> Iterator[Pair]:
    """The same stack of convolutions, here and there; the first batch is the one that is kept."""
    for name in names:
        own = [data.for_layer(name) for data in batches]
        first, cached = own[0], len(own) == 1
        of, held = [data.of_node() for data in own], (first.graph(), first.readout())
        heads = 3 if name == "monet" else HEADS
        trunk = GNN(first.x.shape[1], WIDTH, name, layers=layers, heads=heads)
        model = NodeModel if first.sizes is None else GraphModel
        head = nn.Linear(WIDTH, first.out_dim)
        widths = [first.x.shape[1], *[WIDTH] * (layers - 1)]
        convolutions = [_pyg_convolution(name, width, cached=cached) for width in widths]

        def loss(ours: nn.Module, data: Data, graph: ew.Graph, readout: dict[str, Any]) -> Tensor:
            return data.loss(ours(data.x, graph, edge=data.edge, **readout))

        def loss_peer(peer: nn.Module, data: Data, of: Tensor | None) -> Tensor:
            return data.loss(peer(data.x, data.pairs, data.edge, of))

        next_one, next_peer = cycle(own), cycle(zip(own, of, strict=True))

        def anew(ours: nn.Module, batches: Iterator[Data] = next_one) -> Tensor:
            data = next(batches)
            return loss(ours, data, data.graph(), data.readout())

        def anew_peer(peer: nn.Module, batches: Any = next_peer) -> Tensor:
            return loss_peer(peer, *next(batches))

        yield Pair(
            work,
            name,
            f"PyG {CONVOLUTIONS[name][0]}",
            model(trunk, WIDTH, first.out_dim, head=head),
            Stack(convolutions, first.out_dim),
            _names_of_stack(name, layers),
            partial(loss, data=first, graph=held[0], readout=held[1]),
            partial(loss_peer, data=first, of=of[0]),
            None if cached else anew,
            None if cached else anew_peer,
        )


class PyGGPS(nn.Module):
    """Features, edges and walks, layers of GPS and a head, as in PyG's example on ZINC."""

    def __init__(self, in_dim: int, edge_dim: int, encoding_dim: int, layers: int) -> None:
        super().__init__()
        from torch_geometric.nn import GINEConv, GPSConv

        self.node = nn.Linear(in_dim, WIDTH)
        self.walk = nn.Linear(encoding_dim, WIDTH, bias=False)
        self.edge = nn.Linear(edge_dim, WIDTH)
        self.layers = nn.ModuleList()
        for _ in range(layers):
            mlp = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH))
            self.layers.append(GPSConv(WIDTH, GINEConv(mlp), heads=4))
        self.head = nn.Linear(WIDTH, 1)

    def forward(self, x: Tensor, pairs: Tensor, edge: Tensor, walk: Tensor, of: Tensor) -> Tensor:
        from torch_geometric.nn import global_mean_pool

        x, edge = self.node(x) + self.walk(walk), self.edge(edge)
        for layer in self.layers:
            x = layer(x, pairs, of, edge_attr=edge)
        return self.head(global_mean_pool(x, of))


def gps(batches: list[Data], layers: int) -> Iterator[Pair]:
    """GPS with attention inside each molecule; theirs pads."""
    own = [replace(data, encoding=random_walk(data.graph(), 16)) for data in batches]
    first, of = own[0], [data.of_node() for data in own]
    assert first.edge is not None
    assert first.sizes is not None
    sizes = first.x.shape[1], first.edge.shape[1]
    settings = {"heads": 4, "layers": layers, "edge_dim": sizes[1], "encoding_dim": 16}
    names = (
        Name(("trunk.embedding.features",), "node"),
        Name(("trunk.embedding.encoding",), "walk"),
        Name(("trunk.edge_embedding.features",), "edge"),
        *within(pyg_names.gps_names(layers), "trunk.", "layers."),
        Name(("head",), "head"),
    )

    def loss(ours: nn.Module, data: Data, graph: ew.Graph, besides: dict[str, Any]) -> Tensor:
        given = {"edge": data.edge, "encoding": data.encoding, **besides}
        return data.loss(ours(data.x, graph, **given))

    def graphs(data: Data) -> tuple[ew.Graph, dict[str, Any]]:
        assert data.sizes is not None
        return data.graph(), data.readout() | {"everywhere": ew.Blocks(data.sizes)}

    def loss_peer(peer: nn.Module, data: Data, of: Tensor | None) -> Tensor:
        return data.loss(peer(data.x, data.pairs, data.edge, data.encoding, of))

    def anew(ours: nn.Module, batches: Iterator[Data] = cycle(own)) -> Tensor:  # noqa: B008 (one)
        data = next(batches)
        return loss(ours, data, *graphs(data))

    every = cycle(zip(own, of, strict=True))
    held = graphs(first)
    yield Pair(
        "molecules",
        "gps",
        "PyG GPSConv",
        GraphModel(GPS(sizes[0], WIDTH, **settings), WIDTH, 1, head=nn.Linear(WIDTH, 1)),
        PyGGPS(*sizes, 16, layers),
        names,
        partial(loss, data=first, graph=held[0], besides=held[1]),
        partial(loss_peer, data=first, of=of[0]),
        anew,
        lambda peer: loss_peer(peer, *next(every)),
    )


# --- Layers of torch -----------------------------------------------------------------------------

DIM, HIDDEN, TORCH_HEADS = 256, 1024, 8
_TORCH: dict[str, Any] = {"dim_feedforward": HIDDEN, "dropout": 0.0, "batch_first": True}


def torch_layers(batch: int, nodes: int) -> Iterator[Pair]:
    """One layer of an encoder, and one of a decoder."""
    x, memory = torch.randn(2, batch, nodes, DIM)
    complete = ew.Complete(nodes)
    yield Pair(
        f"{batch} x {nodes} nodes",
        "encoder layer",
        "TransformerEncoderLayer",
        transformer_block(DIM, TORCH_HEADS, hidden=HIDDEN, order="post"),
        nn.TransformerEncoderLayer(DIM, TORCH_HEADS, **_TORCH),
        torch_names.ENCODER_LAYER,
        lambda ours: ours(x, complete).square().mean(),
        lambda peer: peer(x).square().mean(),
    )
    later = nn.Transformer.generate_square_subsequent_mask(nodes)
    yield Pair(
        f"{batch} x {nodes} nodes",
        "decoder layer",
        "TransformerDecoderLayer",
        Decoder(DIM, TORCH_HEADS, 1, hidden=HIDDEN, order="post", final_norm=False),
        nn.TransformerDecoderLayer(DIM, TORCH_HEADS, **_TORCH),
        torch_names.DECODER_LAYER,
        lambda ours: ours(x, memory).square().mean(),
        lambda peer: peer(x, memory, tgt_mask=later, tgt_is_causal=True).square().mean(),
    )


def torch_ragged(batches: list[list[int]], layers: int) -> Iterator[Pair]:
    """Sentences side by side; theirs pads to the longest and masks."""
    padded: list[tuple[Tensor, Tensor]] = []
    packed: list[tuple[Tensor, list[int]]] = []
    for sizes in batches:
        real = torch.arange(max(sizes)) < torch.tensor(sizes)[:, None]
        x = torch.randn(*real.shape, DIM)
        padded.append((x, real))
        packed.append((x[real], sizes))
    layer = nn.TransformerEncoderLayer(DIM, TORCH_HEADS, **_TORCH)
    first, graph = packed[0][0], ew.Blocks(batches[0])
    next_one, next_peer = cycle(packed), cycle(padded)

    def anew(ours: nn.Module) -> Tensor:
        x, sizes = next(next_one)
        return ours(x, ew.Blocks(sizes)).square().mean()

    def loss_peer(peer: nn.Module, x: Tensor, real: Tensor) -> Tensor:
        return peer(x, src_key_padding_mask=~real)[real].square().mean()

    yield Pair(
        f"{len(batches[0])} sentences",
        "encoder",
        "TransformerEncoder, padded",
        Encoder(DIM, TORCH_HEADS, layers, hidden=HIDDEN, order="post"),
        nn.TransformerEncoder(layer, layers, enable_nested_tensor=False),
        torch_names.ENCODER,
        lambda ours: ours(first, graph).square().mean(),
        lambda peer: loss_peer(peer, *padded[0]),
        anew,
        lambda peer: loss_peer(peer, *next(next_peer)),
    )


# --- Models of Hugging Face ----------------------------------------------------------------------

_BERT: dict[str, Any] = {
    "vocab_size": 1000,
    "hidden_size": DIM,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": HIDDEN,
}


def _ragged_bert(batches: list[list[int]], ours: nn.Module, theirs: nn.Module) -> Pair:
    padded: list[tuple[Tensor, Tensor]] = []
    packed: list[tuple[Tensor, list[int]]] = []
    for sizes in batches:
        real = torch.arange(max(sizes)) < torch.tensor(sizes)[:, None]
        tokens = torch.randint(1000, real.shape)
        padded.append((tokens, real))
        packed.append((tokens[real], sizes))
    next_one, next_peer = cycle(packed), cycle(padded)
    held = ew.Blocks(batches[0]), positions_within(batches[0])

    def loss(ours: nn.Module, tokens: Tensor, graph: ew.Graph, positions: Tensor) -> Tensor:
        return ours(tokens, graph, positions=positions).square().mean()

    def anew(ours: nn.Module) -> Tensor:
        tokens, sizes = next(next_one)
        return loss(ours, tokens, ew.Blocks(sizes), positions_within(sizes))

    def loss_peer(peer: nn.Module, tokens: Tensor, real: Tensor) -> Tensor:
        return peer(tokens, attention_mask=real).last_hidden_state[real].square().mean()

    return Pair(
        f"{len(batches[0])} sentences",
        "bert",
        "HF BertModel, padded",
        ours,
        theirs,
        huggingface_names.BERT,
        lambda ours: loss(ours, packed[0][0], *held),
        lambda peer: loss_peer(peer, *padded[0]),
        anew,
        lambda peer: loss_peer(peer, *next(next_peer)),
    )


def huggingface(quick: bool) -> Iterator[Pair]:
    """Small configurations of the published models, on random tokens and images."""
    import transformers as peers

    few = 2 if quick else 16
    tokens = torch.randint(1000, (few, 128))
    none = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}

    def small_bert() -> tuple[nn.Module, nn.Module]:
        config = peers.BertConfig(**_BERT, **none, max_position_embeddings=128)
        ours = bert(1000, dim=DIM, heads=4, layers=4, hidden=HIDDEN, max_positions=128, dropout=0.0)
        return ours, peers.BertModel(config, add_pooling_layer=False)

    yield Pair(
        f"{few} x 128 tokens",
        "bert",
        "HF BertModel",
        *small_bert(),
        huggingface_names.BERT,
        lambda ours: ours(tokens).square().mean(),
        lambda peer: peer(tokens).last_hidden_state.square().mean(),
    )
    yield _ragged_bert(sentence_batches(8 if quick else 64), *small_bert())
    text = torch.randint(65, (2 if quick else 8, 257))
    before, after = text[:, :-1], text[:, 1:]

    def language(ours: nn.Module) -> Tensor:
        return F.cross_entropy(ours(before).flatten(0, 1), after.flatten())

    def language_peer(peer: nn.Module) -> Tensor:
        return F.cross_entropy(peer(before).logits.flatten(0, 1), after.flatten())

    config = peers.GPT2Config(
        vocab_size=65,
        n_embd=DIM,
        n_layer=4,
        n_head=4,
        n_positions=256,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    yield Pair(
        f"{len(text)} x 256 tokens",
        "gpt2",
        "HF GPT2LMHeadModel",
        gpt2(65, dim=DIM, heads=4, layers=4, max_positions=256, dropout=0.0),
        peers.GPT2LMHeadModel(config),
        huggingface_names.GPT2,
        language,
        language_peer,
    )
    config = peers.LlamaConfig(
        vocab_size=65,
        hidden_size=DIM,
        intermediate_size=688,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        rms_norm_eps=1e-5,
    )
    yield Pair(
        f"{len(text)} x 256 tokens",
        "llama",
        "HF LlamaForCausalLM",
        llama(65, dim=DIM, heads=4, kv_heads=2, layers=4, hidden=688),
        peers.LlamaForCausalLM(config),
        huggingface_names.LLAMA,
        language,
        language_peer,
    )
    images = torch.randn(4 if quick else 32, 3, 32, 32)
    labels = torch.randint(10, (len(images),))
    config = peers.ViTConfig(
        hidden_size=192,
        num_hidden_layers=4,
        num_attention_heads=3,
        intermediate_size=768,
        image_size=32,
        patch_size=4,
        num_labels=10,
        layer_norm_eps=1e-6,
        **none,
    )
    yield Pair(
        f"{len(images)} images of 64 patches",
        "vit",
        "HF ViTForImageClassification",
        vit(10, dim=192, heads=3, layers=4, hidden=768, image_size=32, patch_size=4),
        peers.ViTForImageClassification(config),
        huggingface_names.VIT,
        lambda ours: F.cross_entropy(ours(images), labels),
        lambda peer: F.cross_entropy(peer(images).logits, labels),
    )


# --- Data ----------------------------------------------------------------------------------------


@cache
def cora() -> Data:
    """2,708 papers, 10,556 citations in both directions, no self-loops."""
    data = load("cora", data_folder())
    y, train = data.y, data.split(0).train
    pairs = data.topology.whole().edge_index
    return Data(data.x, pairs, lambda out: F.cross_entropy(out[train], y[train]), 7)


@cache
def tolokers() -> Data:
    """11,758 workers, 1,038,000 edges in both directions."""
    with np.load(data_folder() / "graphs" / "tolokers.npz", allow_pickle=False) as raw:
        x, y, once = (torch.from_numpy(raw[k]) for k in ("node_features", "node_labels", "edges"))
        train = torch.from_numpy(raw["train_masks"][0]).nonzero()[:, 0]
    pairs = torch.cat([once.T, once.T.flip(0)], 1)
    return Data(x, pairs, lambda out: F.cross_entropy(out[train], y[train]), 2)


@cache
def molecules(count: int, batches: int) -> list[Data]:
    """Molecules drawn from ZINC: atoms by element, bonds by kind, in both directions."""
    with np.load(data_folder() / "molecules" / "zinc29k.npz", allow_pickle=False) as raw:
        node_ptr, edge_ptr = (raw[key].astype(np.int64) for key in ("node_ptr", "edge_ptr"))
        atoms, kinds = _one_hot(raw["atomic_num"]), _one_hot(raw["bond_type"])
        bonds, values = raw["edge_index"].astype(np.int64), torch.from_numpy(raw["y"])
    drawn = np.random.default_rng(0).permutation(len(values))[: count * batches]
    found: list[Data] = []
    for graphs in drawn.reshape(batches, count):
        sizes = np.diff(node_ptr)[graphs]
        starts = np.cumsum(sizes) - sizes
        node = np.concatenate([np.arange(*node_ptr[g : g + 2]) for g in graphs])
        bond = np.concatenate([np.arange(*edge_ptr[g : g + 2]) for g in graphs])
        once = bonds[:, bond] + np.repeat(starts, np.diff(edge_ptr)[graphs])
        pairs = torch.from_numpy(np.concatenate([once, once[::-1]], 1))
        y = values[graphs]

        def loss(out: Tensor, y: Tensor = y) -> Tensor:
            return F.l1_loss(out[:, 0], y)

        edge = kinds[bond].repeat(2, 1)
        found.append(Data(atoms[node], pairs, loss, 1, sizes.tolist(), edge))
    return found


def _one_hot(column: np.ndarray) -> Tensor:
    _, kind = np.unique(column, return_inverse=True)
    return F.one_hot(torch.from_numpy(kind)).float()


def sentence_batches(count: int) -> list[list[int]]:
    """Words in sentences of the English Web Treebank, in their order, by so many."""
    path = data_folder() / "ud_ewt" / "en_ewt-ud-dev.conllu"
    sizes = [0]
    for line in path.read_text(encoding="utf-8").splitlines():
        if re.match(r"\d+\t", line):
            sizes[-1] += 1
        elif not line and sizes[-1]:
            sizes.append(0)
    sizes = [min(size, 128) for size in sizes if size][: count * BATCHES]
    return [sizes[at : at + count] for at in range(0, len(sizes), count)]


def rows(quick: bool) -> dict[str, Callable[[], Iterator[Pair]]]:
    """All comparisons, by the name they are asked for with."""
    every = [*CONVOLUTIONS]
    zinc = partial(molecules, 16 if quick else 256, BATCHES)
    found: dict[str, Callable[[], Iterator[Pair]]] = {
        "cora": lambda: stacks("Cora", [cora()], every, layers=2),
        "molecules": lambda: stacks("molecules", zinc(), every, layers=3),
        "gps": lambda: gps(zinc(), layers=3),
        "tolokers": lambda: stacks("tolokers", [tolokers()], ["gat"], layers=2),
        "torch": lambda: torch_layers(*((2, 64) if quick else (4, 512))),
        "ragged": lambda: torch_ragged(sentence_batches(8 if quick else 64), layers=2),
        "huggingface": lambda: huggingface(quick),
    }
    return found
