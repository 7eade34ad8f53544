"""Images as nodes: patches in their order, and any graph over them."""

import pytest
import torch
from torch.nn import functional as F

from edgewise.errors import ArgumentError, ShapeError
from edgewise.graphs import Complete, Grid, SelfLoops
from edgewise.models import Encoder, VisionTransformer, vit, with_class_token


def small(**given):
    return vit(
        5, dim=16, heads=4, layers=2, image_size=(4, 6), patch_size=2, channels=3, **given
    ).double()


def test_nodes_are_the_class_token_and_patches_row_by_row():
    model = VisionTransformer(
        Encoder(16, 4, 0, final_norm=False),
        classes=5,
        image_size=(4, 6),
        patch_size=(2, 3),
        channels=3,
    )
    images = torch.randn(2, 3, 4, 6)
    patches = F.unfold(images, (2, 3), stride=(2, 3)).mT  # [B, n, channels * height * width]
    matrix, bias = model.patch_proj.weight.flatten(1), model.patch_proj.bias
    nodes = torch.cat([model.class_token.expand(2, 1, -1), patches @ matrix.T + bias], 1)
    torch.testing.assert_close(model.features(images), nodes + model.position)
    assert model.grid == (2, 2)
    torch.testing.assert_close(model(images), model.head(model.features(images)[:, 0]))


@pytest.mark.parametrize("lead", [(), (3,), (2, 3)])
def test_any_batch(lead):
    model, images = small(), torch.randn(*lead, 3, 4, 6).double()
    out = model(images)
    assert out.shape == (*lead, 5)
    flat = torch.stack([model(image) for image in images.reshape(-1, 3, 4, 6)])
    torch.testing.assert_close(out.reshape(-1, 5), flat)


def test_any_graph():
    model, images = small(), torch.randn(2, 3, 4, 6).double()
    assert torch.equal(model(images, Complete(7)), model(images))
    torch.testing.assert_close(model(images, with_class_token(Complete(6))), model(images))
    grid = with_class_token(Grid((2, 3)))
    assert not torch.allclose(model(images, grid), model(images))
    # Patches that read nothing but themselves and the class token, in one block: they are apart.
    single = vit(5, dim=16, heads=4, layers=1, image_size=(4, 6), patch_size=2).double()
    alone = with_class_token(SelfLoops(6))
    other = images.clone()
    other[..., 2:, :] += 1.0  # the lower row of patches
    kept = single.features(images, alone)[:, 1:4]
    assert torch.equal(single.features(other, alone)[:, 1:4], kept)
    with pytest.raises(ShapeError, match="7 rows but graph has 6 targets"):
        model(images, Grid((2, 3)))


def test_it_compiles():
    torch._dynamo.reset()
    model = vit(5, dim=16, heads=4, layers=1, image_size=(4, 6), patch_size=2)
    images, given = torch.randn(2, 3, 4, 6), with_class_token(Grid((2, 3)))
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(images, given), model(images, given))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"patch_size": 3}, "patches must tile the image, got patch_size=3 and image_size=8"),
        ({"patch_size": 0}, "patch_size must be at least 1, got 0"),
        ({"image_size": (8, 0)}, "image_size must be at least 1, got 0"),
        ({"channels": 0}, "channels must be at least 1, got 0"),
        ({"classes": 0}, "classes must be at least 1, got 0"),
        ({"dropout": -0.1}, "dropout must be at least 0 and below 1"),
    ],
)
def test_a_setting_that_cannot_work_is_refused(given, sentence):
    settings = {"classes": 5, "image_size": 8, "patch_size": 2, **given}
    with pytest.raises(ArgumentError, match=f"VisionTransformer: {sentence}"):
        VisionTransformer(Encoder(16, 4, 1), **settings)


def test_images_of_another_size_are_refused():
    for shape in ((3, 4, 4), (1, 4, 6), (4, 6)):
        with pytest.raises(
            ShapeError, match=r"VisionTransformer: images must have shape .*3, 4, 6"
        ):
            small()(torch.zeros(shape).double())
