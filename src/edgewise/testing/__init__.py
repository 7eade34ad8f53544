"""Contract of backends and graphs, as a test of every backend, family and call.

    from edgewise.testing import GRAPHS, SETTINGS, assert_keeps_contract

A new graph family is one line in `GRAPHS`, a new kind of call one line in `SETTINGS`.
"""

from edgewise.testing.calls import SETTINGS as SETTINGS, Call as Call, Setting as Setting
from edgewise.testing.contract import (
    GENERAL as GENERAL,
    assert_keeps_contract as assert_keeps_contract,
    expected_refusal as expected_refusal,
)
from edgewise.testing.graphs import GRAPHS as GRAPHS
