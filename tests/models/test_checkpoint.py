"""Weights as a file: whole or not there, read exactly or not at all."""

import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from edgewise.errors import DataError
from edgewise.models import load_weights, save_weights


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "weights.safetensors"


def other_weights(model):
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_()
    return model


def test_there_and_back(small, path):
    build, inputs = small[0], small[1]()
    model, other = build().eval(), other_weights(build()).eval()
    save_weights(model, path)
    load_weights(other, path)
    assert torch.equal(model(*inputs), other(*inputs))
    assert all(weight.is_contiguous() for weight in load_file(path).values())


def test_a_tied_weight_is_written_once_and_stays_tied(path, tied):
    model = tied()
    save_weights(model, path)
    held = load_file(path)
    assert ("head.weight" in held) + ("embedding.token.weight" in held) == 1
    other = other_weights(tied())
    load_weights(other, path)
    assert other.head.weight is other.embedding.token.weight
    assert torch.equal(other.head.weight, model.head.weight)


@pytest.mark.parametrize("kept", [["head.weight"], ["head.weight", "embedding.token.weight"]])
def test_a_tied_weight_may_have_either_name_in_the_file(tmp_path, tied, kept):
    model = tied()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for name in {"head.weight", "embedding.token.weight"} - set(kept):
        del state[name]
    save_file(state, tmp_path / "a.safetensors")
    other = other_weights(tied())
    load_weights(other, tmp_path / "a.safetensors")
    assert torch.equal(other.head.weight, model.head.weight)
    if len(kept) == 2:
        state["head.weight"] += 1.0
        save_file(state, tmp_path / "a.safetensors")
        with pytest.raises(DataError, match="as different tensors, which are one in the model"):
            load_weights(other, tmp_path / "a.safetensors")


def test_buffers_and_tensors_that_share_memory(path):
    class Sharing(nn.Module):
        def __init__(self):
            super().__init__()
            whole = torch.arange(12.0).reshape(3, 4)
            self.turned = nn.Parameter(whole.mT)
            self.row = nn.Parameter(whole[1])
            self.flat = nn.Parameter(whole.view(-1))
            self.norm = nn.BatchNorm1d(4)
            self.register_buffer("passing", torch.ones(2), persistent=False)

    model = Sharing()
    model.norm(torch.randn(5, 4))
    save_weights(model, path)
    assert "passing" not in load_file(path)
    other = Sharing()
    load_weights(other, path)
    for name, tensor in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name
    assert other.norm.num_batches_tracked == 1


def test_a_wide_model_takes_a_wide_file_only(path, tied):
    save_weights(tied(), path)
    with pytest.raises(DataError, match=r"holds .* as float32 .* which the model has as float64"):
        load_weights(tied().double(), path)


REFUSED = {
    "missing": (lambda s: s.pop("0.weight"), r"lacks 0\.weight of the model"),
    "unexpected": (lambda s: s.update(x=torch.ones(2)), "holds x, which the model has not"),
    "shape": (
        lambda s: s.update({"0.bias": torch.ones(2)}),
        r"holds 0\.bias as float32 \[2\], which the model has as float32 \[3\]",
    ),
    "many": (lambda s: s.clear(), r"lacks 0\.weight, 0\.bias, 1\.weight and 1 more of the model"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_file_of_another_model_changes_nothing(tmp_path, kind):
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4))
    state = {name: tensor + 1.0 for name, tensor in model.state_dict().items()}
    change, sentence = REFUSED[kind]
    change(state)
    file = tmp_path / "a.safetensors"
    save_file(state, file)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(DataError, match=sentence) as caught:
        load_weights(model, file)
    assert "Build the model with the settings it was saved with." in str(caught.value)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("kept", [slice(0, 0), slice(0, 40), slice(0, -5), slice(8, None)])
def test_a_damaged_file_is_one_sentence_and_changes_nothing(path, kept):
    model = nn.Linear(20, 3)
    save_weights(other_weights(nn.Linear(20, 3)), path)
    path.write_bytes(path.read_bytes()[kept])
    before = model.weight.clone()
    with pytest.raises(DataError, match="is not a whole safetensors file") as caught:
        load_weights(model, path)
    assert "\n" not in str(caught.value)
    assert torch.equal(model.weight, before)


def test_no_file_is_one_sentence(tmp_path):
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(DataError, match="load_weights: there is no file"):
            load_weights(nn.Linear(2, 3), path)


def test_writing_is_whole_or_not_at_all(path, monkeypatch):
    model = nn.Linear(2, 3)
    save_weights(model, path)
    before = path.read_bytes()

    def interrupted(_, draft, __):
        draft.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("safetensors.torch.save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_weights(other_weights(model), path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_what_a_file_cannot_hold_is_refused(path):
    with torch.device("meta"):
        model = nn.Linear(2, 3)
    save_weights(nn.Linear(2, 3), path)
    for act in (save_weights, load_weights):
        with pytest.raises(DataError, match="weight is on the meta device and has no memory"):
            act(model, path)

    class Noting(nn.Linear):
        def get_extra_state(self):
            return {"note": 1}

        def set_extra_state(self, state):
            pass

    with pytest.raises(DataError, match="_extra_state is not a tensor but dict"):
        save_weights(Noting(2, 3), path)


def test_safetensors_is_loaded_when_it_is_used():
    code = "import sys, edgewise.models; print('safetensors' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
