"""Architectures of Transformers: equal with Edgewise and without, or refused with a sentence."""

import pytest

from tests.integrations.huggingface.sweep import swept

SHARDS = 24
FEW = {
    *("AlbertModel", "BertForMaskedLM", "DebertaV2Model", "FalconForCausalLM", "GemmaForCausalLM"),
    *("OPTForCausalLM", "Phi3ForCausalLM", "Qwen2MoeForCausalLM", "Starcoder2ForCausalLM"),
    *("DogeForCausalLM", "BigBirdPegasusForConditionalGeneration", "ViTForImageClassification"),
}


def test_a_few_architectures_are_equal_or_refused():
    found = swept(names=FEW)
    assert len(found) == len(FEW)
    assert [each for each in found if each.outcome in ("differs", "not built")] == []


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(SHARDS))
def test_every_architecture_is_equal_or_refused(shard):
    found = swept(shard, SHARDS)
    assert [each for each in found if each.outcome == "differs"] == []
    assert sum(each.outcome.startswith("equal") for each in found) >= 5
