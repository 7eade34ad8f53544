"""What an install brings: the library where it can be compiled, and everything else anywhere.

Stand-ins with the names of the real sources keep the compiler's work to seconds.
"""

import ctypes
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from edgewise.planning.price_table import PRICE_SETS

ROOT = Path(__file__).parents[2]
HOME = "edgewise/backends/native/"
needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++"))),
    reason="needs a C++ compiler",
)

DISPATCH = """
#define EXPORT extern "C" __attribute__((visibility("default")))
EXPORT int edgewise_answer() { return 42; }
#ifdef EDGEWISE_HAS_X86_64_V4
namespace x86_64_v4 { int attention(); }
EXPORT int edgewise_level() { return x86_64_v4::attention(); }
#endif
"""

# An inline function that all the variants share, as those of the standard library are.
VARIANT = """
__attribute__((noinline)) inline int level() {
#if defined __AVX512F__
  return 4;
#elif defined __AVX2__
  return 3;
#else
  return 2;
#endif
}
namespace EDGEWISE_VARIANT { int NAME() { return level(); } }
"""


@pytest.fixture
def checkout(tmp_path):
    root = tmp_path / "checkout"
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore", "native/CMakeLists.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    shutil.copytree(
        ROOT / "src", root / "src", ignore=shutil.ignore_patterns("*edgewise_native.*", "*.pyc")
    )
    native = root / "native"
    for name in re.findall(r"[\w/]+\.cpp", (native / "CMakeLists.txt").read_text()):
        source = native / name
        source.parent.mkdir(exist_ok=True)
        variant = VARIANT.replace("NAME", source.stem) if "/" in name else ""
        source.write_text(DISPATCH if name == "dispatch.cpp" else variant)
    return root


def build(checkout, kind="wheel", **environment):
    program = f"import scikit_build_core.build as b; b.build_{kind}({str(checkout.parent)!r})"
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=checkout,
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (archive,) = checkout.parent.glob("edgewise-*")
    return archive, done.stdout + done.stderr


def names(wheel):
    return set(zipfile.ZipFile(wheel).namelist())


def is_python_only(wheel):
    return (
        wheel.name.endswith("-py3-none-any.whl")
        and "edgewise/__init__.py" in names(wheel)
        and not any("edgewise_native" in name for name in names(wheel))
    )


@needs_compiler
def test_a_wheel_brings_the_library_to_every_python(checkout, tmp_path):
    wheel, _ = build(checkout)
    assert "-py3-none-" in wheel.name
    assert not wheel.name.endswith("-any.whl")
    assert "edgewise/py.typed" in names(wheel)
    assert {f"edgewise/planning/prices/{name}.json" for name in PRICE_SETS} < set(names(wheel))
    (library,) = (name for name in names(wheel) if name.startswith(HOME + "libedgewise_native."))
    native = ctypes.CDLL(zipfile.ZipFile(wheel).extract(library, tmp_path))
    assert native.edgewise_answer() == 42
    if platform.machine() == "x86_64" and hasattr(native, "edgewise_level"):
        # A small processor must not meet the instructions of a larger one.
        assert native.edgewise_level() == 2


@needs_compiler
def test_an_editable_install_is_a_path_and_the_library_beside_the_source(checkout):
    wheel, _ = build(checkout, "editable")
    rest = {name for name in names(wheel) if ".dist-info/" not in name}
    assert rest == {"_editable_skbc_edgewise.py", "_editable_skbc_edgewise.pth"}
    lines = zipfile.ZipFile(wheel).read("_editable_skbc_edgewise.pth").decode().split()
    assert str(checkout / "src") in lines
    (library,) = (checkout / "src" / HOME).glob("libedgewise_native.*")
    assert ctypes.CDLL(str(library)).edgewise_answer() == 42


@pytest.mark.parametrize("kind", ["wheel", "editable"])
def test_without_a_compiler_everything_else_is_installed(checkout, kind):
    wheel, output = build(checkout, kind, CXX="no-such-compiler")
    assert "No C++ compiler was found" in output
    assert wheel.name.endswith("-py3-none-any.whl")
    assert is_python_only(wheel) or kind == "editable"


@needs_compiler
def test_code_that_does_not_compile_leaves_the_library_out_unless_it_is_required(checkout):
    (checkout / "native/schedule.cpp").write_text("#error")
    wheel, _ = build(checkout)
    assert is_python_only(wheel)
    with pytest.raises(AssertionError, match="CMake build failed"):
        build(checkout, EDGEWISE_REQUIRE_NATIVE="1")


def test_a_library_left_in_the_checkout_stays_there(checkout):
    (checkout / "src" / HOME).mkdir(exist_ok=True)
    (checkout / "src" / HOME / "libedgewise_native.so").touch()
    wheel, _ = build(checkout, SKBUILD_WHEEL_CMAKE="false")
    assert is_python_only(wheel)


def test_a_source_distribution_brings_the_native_sources(checkout):
    (checkout / "build").mkdir()
    (checkout / "build/object.o").touch()
    archive, _ = build(checkout, "sdist")
    with tarfile.open(archive) as files:
        packed = {name.partition("/")[2] for name in files.getnames()}
    sources = {path.relative_to(checkout).as_posix() for path in checkout.glob("native/**/*.*")}
    assert sources <= packed
    assert not any(name.startswith("build/") for name in packed)
