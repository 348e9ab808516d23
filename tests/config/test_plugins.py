"""Packages that declare `tenet.plugins`: what they add, and what only they add. The package is that of docs/extending.md."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tenet.config import build as building
from tenet.config import plugins, rules, sources
from tenet.config.build import build
from tenet.config.command_line import check_command_line, plan
from tenet.errors import ConfigError
from tenet.experiment import Experiment
from tests.config.options import CONF
from tests.plugin_package import declare, write_package

CACHED = (plugins.installed_plugins, plugins.config_folders, rules.class_rules, sources.parse_module)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the package, which Python finds and nobody has installed yet."""
    site = write_package(tmp_path / "site")
    monkeypatch.syspath_prepend(site)
    forget()
    yield site
    forget()


def forget() -> None:
    for function in CACHED:
        function.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "mypackage"]:
        del sys.modules[name]


def check(*words: str, name: str = "train") -> list[str]:
    return check_command_line(words, config_dir=CONF, config_name=name)


@pytest.mark.slow
def test_its_options_are_found_and_checked_without_importing_it(site: Path) -> None:
    declare(site)
    assert check("experiment=mine", "backbone.width=4", "mixing=mixup")
    assert check("-m", "experiment=mine", "augment.flip=true,false")
    assert check("run=nowhere", "suite=turns", "suite.turns=[1]", name="evaluate")
    for words, told in {
        ("backbone=tinny",): "backbone=tinny: no such option; did you mean tiny?",
        ("backbone=tiny", "backbone.widht=3"): "there is no key backbone.widht; did you mean backbone.width",
        ("augment=grey", "augment.share=2"): "augment.share=2: must be a number of at least 0 and at most 1",
        ("dataset=stripes", "dataset.fraction=2"): "dataset.fraction=2: must be a number of more than 0",
        ("augment=grey", "augment.padding=2"): "the chosen augment has no key augment.padding",
    }.items():
        with pytest.raises(ConfigError) as error:
            check(*words)
        assert str(error.value).startswith(told)
    assert "mypackage" not in sys.modules


def test_its_parts_build_and_are_named_with_their_version(site: Path) -> None:
    declare(site, version="1.2")
    folder, config = plan(["experiment=mine", "trainer.device=cpu"], config_dir=CONF, config_name="train")
    assert folder.name.startswith("stripes-tiny-inhibition-focal-seed0-")
    experiment = Experiment(config)
    experiment.check()
    assert type(experiment.augmentation).__name__ == "Grey"
    assert plugins.used_plugins(config) == {"mypackage": "1.2"}
    assert plugins.used_plugins({"dataset": {"_target_": "tenet.data.Digits"}, "seed": 0}) == {}


def test_a_package_that_is_not_installed_adds_nothing(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = (
        "mypackage.models.Tiny: must be a class of tenet.networks, and no installed plugin provides mypackage"
    )
    with pytest.raises(ConfigError, match="backbone=tiny: no such option"):
        check("backbone=tiny")
    for refused in (
        lambda: check("backbone=resnet8", "backbone._target_=mypackage.models.Tiny"),
        lambda: build({"_target_": "mypackage.models.Tiny"}, key="backbone", num_classes=2),
    ):
        with pytest.raises(ConfigError, match=rf"^backbone\._target_={told}"):
            refused()
    # A folder may claim that it is installed: not if it is only the working directory.
    declare(site)
    monkeypatch.chdir(site)
    forget()
    with pytest.raises(ConfigError, match="backbone=tiny: no such option"):
        check("backbone=tiny")
    assert "mypackage" not in sys.modules


def without_options(site: Path) -> None:
    declare(site)
    (site / "mypackage" / "conf").rename(site / "mypackage" / "options")


def without_package(site: Path) -> None:
    declare(site, value="mypackages")


def with_a_module_alone(site: Path) -> None:
    (site / "single.py").write_text("")
    declare(site, value="single")


def without_init(site: Path) -> None:
    declare(site)
    (site / "mypackage" / "__init__.py").unlink()


def with_an_option_of_ours(site: Path) -> None:
    declare(site)
    (site / "mypackage" / "conf" / "backbone" / "resnet8.yaml").write_text(
        "_target_: mypackage.models.Tiny\n"
    )


def with_the_main_configuration(site: Path) -> None:
    declare(site)
    (site / "mypackage" / "conf" / "train.yaml").write_text("seed: 1\n")


def with_wrong_python(site: Path) -> None:
    declare(site)
    (site / "mypackage" / "models.py").write_text("def Tiny(:\n")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (
            without_options,
            r"^the plugin mypackage \(of mypackage 0\.1\) has no folder .*/mypackage/conf; add",
        ),
        (without_package, r"^the plugin mypackages \(of mypackage 0\.1\) is not a package that Python finds"),
        (with_a_module_alone, r"^the plugin single \(of mypackage 0\.1\) is not a package that Python finds"),
        (
            without_init,
            r"^the plugin mypackage \(of mypackage 0\.1\) has no __init__\.py, or is hidden by a folder",
        ),
        (with_an_option_of_ours, r"^the plugin mypackage has an option that tenet has too; .*resnet8\.yaml$"),
        (
            with_the_main_configuration,
            r"^the plugin mypackage has an option that tenet has too; .*train\.yaml$",
        ),
        (with_wrong_python, r"^mypackage\.models: .*models\.py can't be read as Python \(invalid syntax"),
    ],
)
def test_a_plugin_that_cannot_be_used_is_named_in_one_line(
    site: Path, spoil: Callable[[Path], None], told: str
) -> None:
    spoil(site)
    importlib.invalidate_caches()
    with pytest.raises(ConfigError, match=told):
        check("experiment=mine")


def test_what_fails_in_a_plugin_is_told_with_its_key(site: Path) -> None:
    declare(site)
    models = site / "mypackage" / "models.py"
    models.write_text(f"{models.read_text()}\nimport nowhere\n")
    config = {"_target_": "mypackage.models.Tiny"}
    told = (
        r"^backbone\._target_=mypackage\.models\.Tiny: mypackage\.models can't be imported \(ModuleNotFound"
    )
    with pytest.raises(ConfigError, match=told):
        build(config, key="backbone", num_classes=2)
    models.write_text("class Tiny:\n    pass\n")
    forget()
    importlib.invalidate_caches()
    with pytest.raises(ConfigError, match=r"must derive from torch\.nn\.Module$"):
        build(config, key="backbone", num_classes=2)
    with pytest.raises(
        ConfigError, match=r"mypackage\.Tiny: the plugin mypackage defines no such class; name"
    ):
        building.locate("mypackage.Tiny", key="backbone")


def test_classes_are_found_through_relative_imports_and_dotted_bases(site: Path) -> None:
    declare(site)
    package = site / "mypackage"
    (package / "__init__.py").write_text("from .models import Tiny\n")
    (package / "augment.py").write_text(
        "import tenet.augment\nfrom . import models\nclass Same(tenet.augment.Standard):\n    pass\n"
    )
    assert rules.class_rules("mypackage.Tiny", group="backbone").keys() == {"num_classes", "width"}
    assert rules.class_rules("mypackage.augment.Same", group="augment").keys() == {"flip", "padding"}
