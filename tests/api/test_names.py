"""The public names are exactly these, each is documented, and words are used as agreed."""

import ast
import importlib
import inspect
import re
import types
from pathlib import Path

import pytest

import edgewise as ew

SOURCE = Path(ew.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))

GRAPHS = {
    *("Assume", "Blocks", "Causal", "Complete", "Dilated", "EdgeList", "Facts", "Graph", "Grid"),
    *("Hubs", "Predicate", "PrefixCausal", "RandomRegular", "SelfLoops", "Window"),
}
ALGEBRA = {
    *("check_facts", "compose", "disjoint_union", "induced", "permute", "receptive_field"),
    "reverse",
}
LAYOUTS = {"BlockMask", "Csr", "DenseMask", "Edges", "ReversedCsr", "draw", "edges", "lower"} | {
    "num_edges"
}
OPERATOR = {"aggregate", "attention", "attention_state", "explain", "plan", "weights"}
OPS = {
    *("Additive", "AttentionState", "DenseBias", "Dot", "EdgeBias", "GATv2", "RelativeBias"),
    *("Bias", "Score", "gaussian_weight", "merge"),
}
ERRORS = {
    *("ArgumentError", "BackendRefused", "DataError", "DerivativeError", "EdgewiseError"),
    *("GraphError", "PlanError", "ShapeError"),
}
SELECTION = {"set_default_backend", "use_backend"}
PLANS = {"Explanation", "Plan"}
PUBLIC = GRAPHS | ALGEBRA | LAYOUTS | OPERATOR | OPS | SELECTION | PLANS | ERRORS

# Documented elsewhere: errors by their text, records by the functions that build them.
NEEDS_NO_EXAMPLE = (
    ERRORS
    | PLANS
    | LAYOUTS - {"draw", "edges", "lower", "num_edges", "Edges"}
    | {"AttentionState", "Bias", "Graph", "Score"}
)
# Without an example so far; removed from this list when it has one.
WANTS_AN_EXAMPLE = {"Additive", "DenseBias", "Dot", "EdgeBias", "GATv2", "merge"}


def test_the_public_names_are_exactly_these():
    names = {
        name
        for name, value in vars(ew).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert names == PUBLIC


def test_every_name_is_exported_on_purpose():
    """``from x import y as y`` marks a public name for type checkers."""
    tree = ast.parse((SOURCE / "__init__.py").read_text(encoding="utf-8"))
    names = [a for node in tree.body if isinstance(node, ast.ImportFrom) for a in node.names]
    assert {a.asname for a in names} == PUBLIC | {"__version__"}
    assert all(a.asname == a.name for a in names)


def test_the_version_is_a_version():
    assert re.fullmatch(r"\d+\.\d+\.\d+", ew.__version__)


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_every_public_name_is_documented_with_an_example(name):
    text = inspect.getdoc(getattr(ew, name)) or ""
    assert re.match(r".+\.", text), "begins with a sentence"
    assert (">>>" in text) == (name not in NEEDS_NO_EXAMPLE | WANTS_AN_EXAMPLE)


@pytest.mark.parametrize("name", sorted(OPERATOR | ALGEBRA | {"lower", "edges", "draw"}))
def test_every_argument_of_a_public_function_is_documented(name):
    function = getattr(ew, name)
    text = inspect.getdoc(function)
    if re.search(r"^(Args|Arguments)[ ,].*those of", text, re.MULTILINE):
        return
    if name in ("compose", "reverse"):
        return  # described by a formula
    for argument in inspect.signature(function).parameters:
        assert re.search(rf"^\s+{argument}: ", text, re.MULTILINE), argument


def test_errors_are_one_tree():
    assert {k.__name__ for k in ew.EdgewiseError.__subclasses__()} == ERRORS - {"EdgewiseError"}
    for name in ERRORS - {"EdgewiseError"}:
        builtin = getattr(ew, name).__mro__[2]
        assert builtin in (ValueError, RuntimeError)
        with pytest.raises(builtin):
            raise getattr(ew, name)("a sentence")


# --- Vocabulary -----------------------------------------------------------------------------

FORBIDDEN = re.compile(r"^_*(get|make|do)_|util|helper|manager", re.IGNORECASE)


def defined(source):
    """Every name that a piece of Python defines: functions, classes, arguments, variables."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.relative_to(SOURCE).as_posix())
def test_one_concept_one_word(file):
    names = {file.stem, file.parent.name, *defined(file.read_text(encoding="utf-8"))}
    assert [name for name in sorted(names) if FORBIDDEN.search(name)] == []


def test_a_forbidden_word_is_detected():
    source = "class GraphManager:\n    def get_edges(self, helper): do_it = make_it()"
    names = {name for name in defined(source) if FORBIDDEN.search(name)}
    assert names == {"GraphManager", "get_edges", "helper", "do_it"}
    assert not FORBIDDEN.search("donate")


LOWER = ("graphs", "layouts", "ops", "functional", "planning")
MODULES = [f"edgewise.{f.parent.name}.{f.stem}" for f in FILES if f.parent.name in LOWER]


@pytest.mark.parametrize("name", [name.removesuffix(".__init__") for name in MODULES])
def test_names_in_all_exist_and_are_documented(name):
    module = importlib.import_module(name)
    assert module.__doc__, "a module begins with what it is for"
    exported = getattr(module, "__all__", [])
    assert len(exported) == len(set(exported))
    for item in exported:
        value = getattr(module, item)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert inspect.getdoc(value), item
