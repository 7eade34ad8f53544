"""Contract of backends and graphs, as a test of every backend, family and call.

    from edgewise.testing import GRAPHS, SETTINGS, assert_keeps_contract

A new graph family is one line in `GRAPHS`, a new kind of call one line in `SETTINGS`, a new layer
one line in `LAYERS` (and in `MESSAGE_LAYERS`, if it takes any graph).
"""

from edgewise.testing.calls import SETTINGS as SETTINGS, Call as Call, Setting as Setting
from edgewise.testing.contract import (
    GENERAL as GENERAL,
    assert_keeps_contract as assert_keeps_contract,
    expected_refusal as expected_refusal,
)
from edgewise.testing.graphs import GRAPHS as GRAPHS
from edgewise.testing.layers import (
    LAYERS as LAYERS,
    MESSAGE_LAYERS as MESSAGE_LAYERS,
    LayerCase as LayerCase,
    LayerSizes as LayerSizes,
    MessageLayer as MessageLayer,
)
