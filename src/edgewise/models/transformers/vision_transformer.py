"""Images as nodes: an encoder over any graph of patches."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.types import Device

from edgewise.errors import ArgumentError, ShapeError
from edgewise.graphs import Complete, Graph, Hubs, disjoint_union
from edgewise.models.card import Card
from edgewise.models.transformers.encoder import Encoder
from edgewise.models.transformers.initialization import normal_weights
from edgewise.nn.checks import check_rate, check_size, check_tensor
from edgewise.nn.layer import Layer, factory

__all__ = ["CARD", "VisionTransformer", "vit", "with_class_token"]

Size = int | tuple[int, int]


class VisionTransformer(Layer):
    r"""Patches of an image as nodes, a class token in front, and an `Encoder` over their graph.

    .. math::  x = [c, W p_1, \dots, W p_n] + P, \qquad
        y = W_{head} \, \mathrm{trunk}(x, G)_0

    Args:
        trunk: From features to representations.
        classes: Numbers predicted.
        image_size: Pixels of an image: height and width, or one number for both.
        patch_size: Pixels of a patch, divisors of those of an image.
        channels: Numbers of each pixel.
        dropout: Share of features dropped before the first block.
        std: Standard deviation of all first weights but class token and positions; the parts keep
            theirs when left out.
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    Shape:
        - images: ``[*batch, channels, height, width]``.
        - graph: of the class token and then the patches, row by row: ``1 + n`` nodes; `Complete`
            when left out. A graph of the patches alone becomes one by `with_class_token`.
        - result: ``[*batch, classes]``.

    Raises:
        ArgumentError: patches that do not tile the image.
        ShapeError: images of another size.

    Example:
        >>> from edgewise.graphs import Grid
        >>> trunk = Encoder(16, heads=4, layers=2, activation="gelu")
        >>> model = VisionTransformer(trunk, classes=10, image_size=8, patch_size=2, channels=1)
        >>> images = torch.randn(3, 1, 8, 8)
        >>> model(images).shape
        torch.Size([3, 10])
        >>> model(images, with_class_token(Grid((4, 4)))).shape  # patches read their neighbors
        torch.Size([3, 10])

    References:
        Dosovitskiy et al. An Image is Worth 16x16 Words. 2020, arXiv:2010.11929, section 3.1.
    """

    def __init__(
        self,
        trunk: Encoder,
        classes: int,
        image_size: Size,
        patch_size: Size,
        *,
        channels: int = 3,
        dropout: float = 0.0,
        std: float | None = None,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        made = factory("VisionTransformer", device, dtype)
        image, patch = _pair("image_size", image_size), _pair("patch_size", patch_size)
        if image[0] % patch[0] or image[1] % patch[1]:
            raise ArgumentError(
                f"VisionTransformer: patches must tile the image, got patch_size={patch_size} and "
                f"image_size={image_size}. Choose divisors."
            )
        dim = trunk.dim
        self.image_size = (check_size("VisionTransformer", "channels", channels), *image)
        self.grid = (image[0] // patch[0], image[1] // patch[1])
        self.patch_proj = nn.Conv2d(channels, dim, patch, stride=patch, **made)
        self.class_token = nn.Parameter(torch.empty(dim, **made))
        self.position = nn.Parameter(torch.empty(1 + self.grid[0] * self.grid[1], dim, **made))
        self.dropout = nn.Dropout(check_rate("VisionTransformer", "dropout", dropout))
        self.trunk = trunk
        self.head = nn.Linear(dim, check_size("VisionTransformer", "classes", classes), **made)
        self.std = std
        self._draw()

    def reset_parameters(self) -> None:
        """Draw all weights anew; class token and positions from N(0, 0.02²), cut off at 2."""
        super().reset_parameters()
        self._draw()

    def _draw(self) -> None:
        for weight in (self.class_token, self.position):
            nn.init.trunc_normal_(weight, std=0.02)
        if self.std is not None:
            normal_weights(self, self.std)

    def forward(self, images: Tensor, graph: Graph | None = None) -> Tensor:
        return self.head(self.features(images, graph)[..., 0, :])

    def features(self, images: Tensor, graph: Graph | None = None) -> Tensor:
        """Representations of the class token and of all patches: ``[*batch, 1 + n, dim]``."""
        check_tensor("VisionTransformer", "images", images)
        if images.ndim < 3 or tuple(images.shape[-3:]) != self.image_size:
            raise ShapeError(
                f"VisionTransformer: images must have shape [*batch, channels, height, width] "
                f"with {list(self.image_size)} at the end, got {list(images.shape)}. Resize them, "
                f"or build the model for their size."
            )
        flat = images.flatten(0, -4) if images.ndim > 4 else images
        patches = self.patch_proj(flat).flatten(-2).mT  # [*batch, n, dim]
        patches = patches.reshape(*images.shape[:-3], *patches.shape[-2:])
        first = self.class_token.expand(*patches.shape[:-2], 1, -1)
        x = torch.cat([first, patches], -2) + self.position
        return self.trunk(self.dropout(x), graph)

    def extra_repr(self) -> str:
        return f"image_size={self.image_size}, grid={self.grid}"


def with_class_token(patches: Graph) -> Graph:
    """A graph of patches and a class token in front, which reads all and which all read.

    Example:
        >>> from edgewise import draw
        >>> from edgewise.graphs import Grid
        >>> print(draw(with_class_token(Grid((2, 2), corners=False))))
        #####
        ####.
        ###.#
        ##.##
        #.###
    """
    return disjoint_union([Complete(1), patches]) | Hubs(1 + patches.num_targets, [0])


def vit(
    classes: int = 1000,
    *,
    dim: int = 768,
    heads: int = 12,
    layers: int = 12,
    hidden: int | None = None,
    image_size: Size = 224,
    patch_size: Size = 16,
    channels: int = 3,
    dropout: float = 0.0,
    norm_eps: float = 1e-6,
    std: float = 0.02,
    device: Device = None,
    dtype: torch.dtype | None = None,
) -> VisionTransformer:
    """The Vision Transformer: pre-norm, exact GELU, learned positions; ViT-B/16.

    Weights start as N(0, std²), biases at zero.

    Args:
        classes: Numbers predicted.
        dim: Features of every node.
        heads: Attention heads.
        layers: Blocks.
        hidden: Hidden features of the MLP; ``4 * dim`` when left out.
        image_size: Pixels of an image.
        patch_size: Pixels of a patch.
        channels: Numbers of each pixel.
        dropout: Of embeddings, and of what attention and MLP return.
        norm_eps: Added to the variance in the norms.
        std: Of the first weights; narrow models learn faster from about ``1 / sqrt(dim)``.
        device: Of the new parameters; torch's default when left out.
        dtype: Of the new parameters, floating; torch's default when left out.

    References:
        Dosovitskiy et al. An Image is Worth 16x16 Words. 2020, arXiv:2010.11929, table 1.
    """
    made = factory("vit", device, dtype)
    trunk = Encoder(
        dim,
        heads,
        layers,
        hidden=hidden,
        activation="gelu",
        dropout=dropout,
        norm_eps=norm_eps,
        **made,
    )
    return VisionTransformer(
        trunk,
        classes=classes,
        image_size=image_size,
        patch_size=patch_size,
        channels=channels,
        dropout=dropout,
        std=std,
        **made,
    )


def _pair(name: str, size: Size) -> tuple[int, int]:
    height, width = size if isinstance(size, tuple) else (size, size)
    return (
        check_size("VisionTransformer", name, height),
        check_size("VisionTransformer", name, width),
    )


CARD = Card(
    "Vision Transformer",
    "Dosovitskiy et al. An Image is Worth 16x16 Words. 2020, arXiv:2010.11929, section 3.1",
    r"x = [c, W p_1, \dots, W p_n] + P, \quad x \leftarrow x + \mathrm{attention}(\mathrm{norm}(x),"
    r" G), \quad x \leftarrow x + W_2 \, \mathrm{gelu}(W_1 \mathrm{norm}(x)), \quad"
    r" y = W_{head} \, \mathrm{norm}(x)_0",
    "vit(10, dim=32, heads=4, layers=2, image_size=8, patch_size=2, channels=1)",
    "All weights start as N(0, 0.02²), as in Hugging Face's code; the paper's draws those of the"
    " MLP as Xavier uniform and the head as zero. Images of another size are refused.",
    "model(torch.randn(3, 1, 8, 8))",
)
