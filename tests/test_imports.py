"""Who may import whom, read from the sources."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "tenet"
LAZY = {
    "wandb",
    "wandb_workspaces",
    "matplotlib",
    "sklearn",
    "torchvision",
    "PIL",
    "safetensors",
    "timm",
    "huggingface_hub",
    "onnx",
    "onnxruntime",
}

MODEL_LIBRARIES = {
    "tenet.networks.imagenet": {"torchvision"},
    "tenet.networks.zoo.timm_models": {"timm", "huggingface_hub"},
    "tenet.networks.zoo.torchvision_models": {"torchvision"},
}


class Import(NamedTuple):
    importer: str
    imported: str
    line: int
    is_lazy: bool


def imports_below(node: ast.AST, *, is_lazy: bool = False) -> Iterator[tuple[str, int, bool]]:
    """Imported names, lines, and whether the import runs only when a function is called."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, child.lineno, is_lazy) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports are absolute"
            # `from tenet import config` imports tenet.config.build.
            yield from ((f"{child.module}.{alias.name}", child.lineno, is_lazy) for alias in child.names)
        elif isinstance(child, ast.If) and getattr(child.test, "id", None) == "TYPE_CHECKING":
            continue
        else:
            is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from imports_below(child, is_lazy=is_lazy or is_function)


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


IMPORTS = [
    Import(module_name(path), *found)
    for path in sorted(PACKAGE.rglob("*.py"))
    for found in imports_below(ast.parse(path.read_text()))
]


def within(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def top(module: str) -> str:
    return module.partition(".")[0]


def test_there_are_imports_to_judge() -> None:
    assert {found.importer for found in IMPORTS} >= {
        "tenet.config.build",
        "tenet.training.loop",
        "tenet.inhibition.mask",
    }
    assert any(found.is_lazy for found in IMPORTS)


@pytest.mark.parametrize("package", ["tenet.inhibition", "tenet.networks"])
def test_the_method_and_the_networks_import_torch_and_themselves_alone(package: str) -> None:
    allowed = {"torch", "jaxtyping", *sys.stdlib_module_names}
    wrong = [
        found
        for found in IMPORTS
        if within(found.importer, package)
        and top(found.imported) not in allowed
        # The markers of their arguments' annotations: a module that imports nothing itself.
        and not within(found.imported, package, "tenet.rules")
        # The language of torch's own kernels, in the one module that is loaded where there is a GPU for it.
        and not (top(found.imported) == "triton" and found.importer == "tenet.inhibition.grouping_kernel")
        # The libraries whose models are built by name, in the modules that build them.
        and top(found.imported) not in MODEL_LIBRARIES.get(found.importer, ())
    ]
    assert wrong == []


@pytest.mark.parametrize("package", ["tenet.training", "tenet.methods", "tenet.evaluation"])
def test_methods_training_and_evaluation_receive_built_objects(package: str) -> None:
    builders = ("tenet.config.build", "tenet.config.run_config", "tenet.experiment", "tenet.augment")
    # EvaluationTarget is what an evaluation is given: it builds the network and the data set of a run folder.
    wrong = [
        found
        for found in IMPORTS
        if within(found.importer, package)
        and within(found.imported, *builders)
        and found.importer != "tenet.evaluation.target"
    ]
    assert wrong == []


def test_methods_and_the_loop_do_not_know_data_sets() -> None:
    packages = ("tenet.training", "tenet.methods")
    assert [
        found
        for found in IMPORTS
        if within(found.importer, *packages) and within(found.imported, "tenet.data")
    ] == []


def test_evaluation_knows_suites_by_their_base_class() -> None:
    suites = "tenet.evaluation.suites"
    imports = [found for found in IMPORTS if within(found.imported, suites)]
    assert {f"{suites}.clean", f"{suites}.corruptions"} <= {found.importer for found in imports}
    wrong = [
        found
        for found in imports
        if within(found.importer, "tenet.evaluation")
        and not within(found.imported, f"{suites}.suite")
        # The second has the variants of two suites for images with several labels.
        and found.importer not in (f"{suites}.build", f"{suites}.multi_label")
    ]
    assert wrong == []


def test_configuration_and_entry_points_alone_import_hydra_and_omegaconf() -> None:
    importers = {found.importer for found in IMPORTS if top(found.imported) in ("hydra", "omegaconf")}
    # A package's `__main__` is an entry point, as train.py and evaluate.py are; the launchers are Hydra's plugin.
    importers -= {name for name in importers if name.endswith(".__main__") or within(name, "tenet.launching")}
    assert importers
    assert [importer for importer in importers if not within(importer, "tenet.config")] == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    modules = {found.importer for found in IMPORTS}
    graph: dict[str, set[str]] = {module: set() for module in modules}
    for found in IMPORTS:
        # `from tenet.files.json import read_json` is listed as tenet.files.json.read_json.
        target = found.imported if found.imported in modules else found.imported.rpartition(".")[0]
        if target in modules:
            graph[found.importer].add(target)
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_tracking_alone_imports_wandb() -> None:
    importers = {found.importer for found in IMPORTS if top(found.imported) == "wandb"}
    assert importers
    assert [importer for importer in importers if not within(importer, "tenet.tracking")] == []


def test_heavy_libraries_are_imported_only_where_they_are_used() -> None:
    assert [found for found in IMPORTS if top(found.imported) in LAZY and not found.is_lazy] == []


def test_no_module_imports_the_tests_or_the_entry_points() -> None:
    assert [
        found for found in IMPORTS if within(found.imported, "tests", "train", "evaluate", "benchmarks")
    ] == []


def test_there_is_no_module_of_utilities() -> None:
    stems = {path.stem for path in PACKAGE.rglob("*.py")}
    assert stems.isdisjoint({"utils", "util", "helpers", "misc", "common"})


def test_no_two_modules_define_different_things_of_one_name() -> None:
    defined: dict[str, list[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                defined.setdefault(node.name, []).append(module_name(path))
    # The parts of commands, and what every check of the doctor is called.
    shared = {"main", "parser", "run", "check"}
    assert {
        name: modules for name, modules in defined.items() if len(modules) > 1 and name not in shared
    } == {}


def modules_after(statement: str) -> set[str]:
    """The top-level packages a fresh Python has after `statement`."""
    code = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_reading_a_configuration_does_not_import_torch() -> None:
    modules = modules_after("import tenet.config.command_line, tenet.entry, tenet.config.rules, tenet.errors")
    assert "hydra" in modules
    assert modules.isdisjoint({"torch", "numpy", "scipy", *LAZY})


@pytest.mark.slow
def test_importing_every_module_loads_no_heavy_library() -> None:
    names = ", ".join(module_name(path) for path in sorted(PACKAGE.rglob("*.py")))
    assert modules_after(f"import {names}").isdisjoint(LAZY)
