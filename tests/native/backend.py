"""Which backend the tests of this folder are about."""

from edgewise.backends import BACKENDS

NATIVE = "native"

# Whether a gradient of a gradient works, or is one sentence.
twice_differentiable = any(b.name == NATIVE and b.twice_differentiable for b in BACKENDS)
