"""Every family says the same with Edgewise as with Transformers' own attention."""

import pytest
import torch

from edgewise.integrations import huggingface
from tests.integrations.huggingface.families import FAMILIES, batch_of, built, features

KINDS = ("none", "right", "left")
CASES = [
    (family, kind)
    for family in FAMILIES
    for kind in (KINDS if family.inputs in ("text", "pair") else KINDS[:1])
]


@pytest.fixture(autouse=True)
def _registered():
    huggingface.register()


def both(family, dtype=torch.float32, **more):
    theirs = built(family, family.reference, dtype, **more)
    ours = built(family, "edgewise", dtype, **more)
    assert ours.config._attn_implementation == "edgewise"
    return ours, theirs


def close(ours, theirs, held, bound=2e-5):
    assert ours.shape == theirs.shape
    ours, theirs = ours[held], theirs[held]
    assert torch.isfinite(ours).all()
    assert float((ours - theirs).detach().abs().max()) <= bound * float(
        theirs.detach().abs().max().clamp(min=1)
    )


@pytest.mark.parametrize(("family", "kind"), CASES, ids=lambda v: getattr(v, "name", v))
def test_outputs_and_gradients_are_the_same(family, kind):
    ours, theirs = both(family, family.dtype)
    inputs, held = batch_of(family, kind)
    inputs = {k: v.to(family.dtype) if v.is_floating_point() else v for k, v in inputs.items()}
    found = []
    for model in (ours, theirs):
        out = features(model(**inputs))
        out[held].square().mean().backward()
        found.append(out)
    # Some models keep norms or angles in float32, whatever their dtype.
    close(*found, held, 2e-6 if family.double else 2e-5)
    own = dict(theirs.named_parameters())
    for name, weight in ours.named_parameters():
        other = own[name].grad
        assert (weight.grad is None) == (other is None), name
        if other is not None:
            bound = (2e-5 if family.double else 2e-4) * float(other.abs().max().clamp(min=1e-3))
            assert float((weight.grad - other).abs().max()) <= bound, name
