"""Which backend the tests of this folder are about."""

NATIVE = "native"
