"""The flex backend: blocks of edges on torch's FlexAttention."""

from edgewise.backends.flex.backend import Flex as Flex
