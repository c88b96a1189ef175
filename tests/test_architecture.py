"""How the package is built: who may import whom, and where a reader finds what. Held here, so that it stays so."""

import ast
import graphlib
from pathlib import Path

import pytest

import minicnn
from minicnn.inspect.reports import REPORTS
from minicnn.inspect.reports.reasons import WHY
from minicnn.interop.c.layers import WRITERS
from minicnn.interop.onnx_graph import OPERATORS
from minicnn.interop.torch_layers import KINDS
from minicnn.layers import LAYERS, Dropout, Flatten

PACKAGE = Path(minicnn.__file__).parent
FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.parent.name != "texts"]

# From the ground up: a module imports from its own level or from those before it.
LEVELS = [
    ["plain"],
    ["images"],
    ["checks", "geometry"],
    ["io"],
    ["backends"],
    ["layers"],
    ["network"],
    ["residual"],
    ["fusion", "losses", "optim", "schedules"],
    ["data"],
    ["training"],
    ["distributed"],
    ["verify"],
    ["inspect"],
    ["classify"],
    ["interop"],
    ["learn"],
    ["cli"],
    ["__init__", "__main__"],
]
LEVEL_OF = {part: level for level, parts in enumerate(LEVELS) for part in parts}

# The methods that hand over to what stands above them, and so import it when they are called.
UPWARDS = {
    "network": {"minicnn.inspect", "minicnn.interop"},  # Sequential.inspect, export_onnx, export_c
    "training.arguments": {"minicnn.inspect"},  # Trainer(record=…)
    "distributed.agreement": {"minicnn.__init__"},  # the package's version
}


def name_of(path):
    """The module's name below minicnn: "backends.cpu.conv", "__init__"."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def part_of(module):
    """The entry of the top level that a module belongs to."""
    return module.split(".")[0]


def imports_of(path, *, inside_functions):
    """Names below minicnn that are imported, when the module is (or when its functions are called)."""
    tree = ast.parse(path.read_text("utf-8"))
    inside = {
        node
        for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.Lambda))
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if (node in inside) != inside_functions:
            continue
        if isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] == "minicnn":
            for alias in node.names:
                yield f"{node.module}.{alias.name}".partition(".")[2]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] == "minicnn":
                    yield alias.name.partition(".")[2] or "__init__"


def module_named(dotted):
    """The module that `dotted`, a module or something in one, stands for; "__init__" where it is the package's own."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        stem = PACKAGE.joinpath(*parts[:length])
        if stem.with_suffix(".py").exists():
            return ".".join(parts[:length])
        if (stem / "__init__.py").exists():
            return ".".join([*parts[:length], "__init__"])
    return "__init__"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_never_run_upwards(path):
    own = part_of(name_of(path))
    for imported in imports_of(path, inside_functions=False):
        part = part_of(module_named(imported))
        if part == "__init__":
            assert own in ("learn", "cli", "__init__"), f"{name_of(path)} imports minicnn itself, which stands above it"
        else:
            assert LEVEL_OF[part] <= LEVEL_OF[own], f"{name_of(path)} imports minicnn.{imported}, which stands above it"


def test_imports_have_no_circle():
    graph = {
        name_of(path): {
            module
            for imported in imports_of(path, inside_functions=False)
            if (module := module_named(imported)) not in ("__init__", name_of(path))
        }
        for path in FILES
    }
    assert list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, which names it


def test_what_a_function_imports_from_above_is_listed():
    found = {}
    for path in FILES:
        own = name_of(path)
        for imported in imports_of(path, inside_functions=True):
            if LEVEL_OF[part_of(module_named(imported))] > LEVEL_OF[part_of(own)]:
                found.setdefault(own, set()).add(f"minicnn.{part_of(module_named(imported))}")
    assert found == UPWARDS


def test_the_top_level_is_short():
    entries = {path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"}
    assert {Path(entry).stem for entry in entries - {"py.typed"}} == set(LEVEL_OF)
    assert len(entries) <= 25


# Tables and catalogues, which may be as long as they have entries.
LONG = {"backends.protocol", "learn.exercises.catalogue", "learn.mistakes.training"}


def test_modules_are_short():
    lengths = {name_of(path): len(path.read_text("utf-8").splitlines()) for path in FILES}
    assert {name for name, length in lengths.items() if length > 300} == LONG


# The algorithms of the cpu backend's convolution, from the ground up: none imports one above it.
LADDER = ["plain", "shifts", "tile", "matrix", "winograd"]


def test_no_rung_of_the_ladder_imports_a_higher_one():
    folder = "backends.cpu.convolution"
    for path in FILES:
        own = module_named(name_of(path)).removeprefix(f"{folder}.").split(".")[0]
        for imported in imports_of(path, inside_functions=False):
            rung = imported.removeprefix(f"{folder}.").split(".")[0]
            if name_of(path).startswith(folder) and imported.startswith(folder) and rung in LADDER:
                assert own in LADDER, f"{name_of(path)}, which all rungs share, imports {rung}"
                assert LADDER.index(rung) <= LADDER.index(own), f"{name_of(path)} imports {rung}, a higher rung"


# What may change with any release of Numba is in the first of these; the second is the same for numba.cuda.
INTERNALS = ["backends.cpu.runtime.numba_internals", "backends.cuda.runtime.numba_internals"]
DOCUMENTED = {"numba", "numba.extending", "llvmlite.ir", "llvmlite.binding"}


def imported_from_numba(tree):
    """(line, module, name) of what is imported from Numba or llvmlite; a module by itself has no name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = [(node.lineno, alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found = [(node.lineno, node.module, alias.name) for alias in node.names]
        else:
            continue
        yield from (place for place in found if place[1].partition(".")[0] in ("numba", "llvmlite"))


@pytest.mark.parametrize("path", [path for path in FILES if name_of(path) not in INTERNALS], ids=name_of)
def test_only_one_file_uses_what_numba_does_not_document(path):
    tree = ast.parse(path.read_text("utf-8"))
    for line, module, name in imported_from_numba(tree):
        is_documented = module in DOCUMENTED or f"{module}.{name}" in DOCUMENTED
        assert is_documented, f"line {line}: {module} {name}"
        assert name != "core", f"line {line}"
        assert not name.startswith("_"), f"line {line}: {module} {name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "context":
            # Numba's target context, which a function marked `intrinsic` is handed and only passes on.
            assert not name_of(path).startswith("backends.cpu"), f"line {node.lineno}: context.{node.attr}"


def test_a_layer_that_can_be_saved_can_be_exported_converted_and_reported():
    """The lists are by class or name of a layer, and who adds to one adds to all."""
    layers = set(LAYERS)
    assert set(REPORTS) == set(WHY) == set(OPERATORS) == layers
    assert {*WRITERS, Dropout, Flatten} == layers  # in C their numbers stay where they are
    assert set(KINDS) == {layer.__name__ for layer in layers}
