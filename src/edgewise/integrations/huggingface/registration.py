"""Registration with Transformers, when its models are imported."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, cast

from edgewise.errors import ArgumentError
from edgewise.integrations.huggingface.graph_rules import Rule
from edgewise.integrations.huggingface.interface import NAME, register_now
from edgewise.optional_packages import require

__all__ = ["register", "register_on_import"]

_MODELS = "transformers.modeling_utils"


def register() -> None:
    """Register ``attn_implementation="edgewise"`` with Transformers, in this process.

    Importing this package does so too. After it,
    ``AutoModel.from_pretrained(..., attn_implementation="edgewise")`` and
    ``model.set_attn_implementation("edgewise")`` run every model that uses the attention
    interface of Transformers; for other models both only log a warning, so `use` is better.

    Setting ``config.graph_rule`` is checked from then on: a config with a rule is saved with
    ``"attn_implementation": "edgewise"``, so that what loads it follows the rule or raises, and it
    refuses other implementations.

    Raises:
        ModuleNotFoundError: Transformers is not installed.

    Example:
        >>> register()
    """
    transformers = require("transformers", "huggingface")
    register_now(transformers.AttentionInterface, transformers.AttentionMaskInterface)
    _check_settings()


def register_on_import() -> None:
    """Register now if the models of Transformers are imported, else after their import."""
    if _MODELS in sys.modules:
        register()
    elif not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Import hook that registers when the models of Transformers are imported, once."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        if fullname != _MODELS:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _Registering(spec.loader)
        return spec


class _Registering(Loader):
    """A loader that registers after the module is executed."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__spec__
        if spec is not None:
            spec.loader = self.loader
        module.__loader__ = self.loader
        self.loader.exec_module(module)
        from transformers import masking_utils

        attentions: Any = vars(module)["AttentionInterface"]
        register_now(attentions, masking_utils.AttentionMaskInterface)
        _check_settings()


# --- Rules in configs -----------------------------------------------------------------------------

_RULE, _SAVED, _CHOSEN = "graph_rule", "attn_implementation", "_attn_implementation_internal"


def _check_settings() -> None:
    """Check settings of configs of Transformers: a rule with an implementation that ignores it.

    Each class of configs has a setter that ends in ``super().__setattr__`` of `PreTrainedConfig`,
    so the check is added to a base of that class, for existing and new classes.
    """
    from transformers.configuration_utils import PreTrainedConfig

    bases = [each for each in PreTrainedConfig.__mro__[1:] if "Config" in each.__name__]
    base: type = bases[-1] if bases else PreTrainedConfig
    original = cast(Callable[[Any, str, Any], None], base.__setattr__)
    if getattr(original, "is_checked", False):
        return

    def checked(self: Any, key: str, value: Any) -> None:
        if key == _RULE and isinstance(self, PreTrainedConfig):
            _set_rule(self, value)
            return
        if key == _CHOSEN:
            _check_chosen(vars(self).get(_RULE), value)
        original(self, key, value)

    checked.is_checked = True  # type: ignore[attr-defined]
    base.__setattr__ = checked  # type: ignore[method-assign]


def _set_rule(config: Any, value: Any) -> None:
    """Set a rule in a config and its parts, with the implementation that follows it."""
    held = vars(config)
    if value is None:
        held.pop(_RULE, None)
        if held.get(_SAVED) == NAME:
            held.pop(_SAVED)
    else:
        source = Rule.read(value).source
        _check_chosen(source, held.get(_CHOSEN))
        held[_RULE], held[_SAVED] = _shown(source), NAME
        if held.get(_CHOSEN) is None:
            held[_CHOSEN] = NAME
    for name in getattr(config, "sub_configs", None) or {}:
        part = held.get(name)
        if part is not None and vars(part).get(_CHOSEN) in (None, NAME):
            _set_rule(part, value)


def _shown(source: str) -> str:
    return json.dumps(json.loads(source)) if source.startswith("{") else source


def _check_chosen(rule: Any, implementation: Any) -> None:
    if rule is not None and implementation not in (None, NAME):
        raise ArgumentError(
            f"graph_rule: only attn_implementation={NAME!r} follows the rule of a config, got "
            f"{implementation!r}. Prepare the model with use(model) first, or set "
            f"config.graph_rule = None."
        )
