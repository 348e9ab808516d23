"""Adversarial attacks: robust accuracy by attack and radius."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from rich.table import Table
from rich.text import Text
from torch import Tensor

from tenet.data import ImageBatch, ImageSource
from tenet.errors import ConfigError, counted, printable
from tenet.evaluation.attack_plots import Shown, draw_attacks, draw_radii
from tenet.evaluation.attack_settings import AttackSettings, radius_text
from tenet.evaluation.attacked import attack_batch
from tenet.evaluation.autoattack import AutoAttack
from tenet.evaluation.classifier import Classifier
from tenet.evaluation.masked_gradients import signs_of_masked_gradients
from tenet.evaluation.measures import AnyPredictions, Measures, Predictions, as_metrics
from tenet.evaluation.random_search import NoAttack, RandomSearch
from tenet.evaluation.reports import ATTACKED_IMAGES
from tenet.evaluation.robustbench import Model, robustbench_attack_info
from tenet.evaluation.suites.suite import Cell, Suite, Summary
from tenet.methods.attacks import Attack

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# To be raised when an attack computes something else: cached predictions and reports belong to one version.
VERSION = 1
MAX_SHOWN = 10  # images in the picture

Figures = Mapping[str, Mapping[str, Any]]  # by name of the attack


class Attacks(Suite):
    """Some of the test images under each attack at each radius.

    model: for RobustBench's form and titles. classifier: what is attacked, to draw attacked images; None: no such picture.
    Raises ConfigError for more images than there are, a radius that is too large, and if AutoAttack is not possible.
    """

    name = "attacks"

    def __init__(
        self,
        test: ImageSource,
        measures: Measures,
        *,
        settings: AttackSettings,
        model: Model,
        classifier: Classifier | None = None,
    ) -> None:
        total, images = len(test), settings.images or len(test)
        if images > total:
            raise ConfigError(
                f"attacks.images={images} exceeds the {total} test images; lower it, or write null for all of them"
            )
        self.test, self.total = test.take(torch.arange(images) * total // images), total
        self.measures, self.settings, self.model, self.classifier = measures, settings, model, classifier
        self.attacks = settings.attacks(classes=len(test.classes))

    def cells(self) -> Iterator[Cell]:
        for name, attack in self.attacks.items():
            yield Cell(f"attack/{name}", self.test, attack.attack)

    def __len__(self) -> int:
        return len(self.attacks)

    def identity(self) -> Mapping[str, Any]:
        """Without attacks, radii and norm: they are in the names of the cells, and adding a cell must not discard others."""
        return {"fingerprint": self.test.fingerprint(), **self._details()}

    def measured(self) -> Mapping[str, Any]:
        return {"fingerprint": self.test.content_fingerprint(), **self._details()}

    def _details(self) -> dict[str, Any]:
        of_cells = ("names", "radius", "norm", "images")
        return {
            "version": VERSION,
            **{key: value for key, value in vars(self.settings).items() if key not in of_cells},
        }

    def describe(self, cell_name: str, predictions: AnyPredictions) -> str:
        return f"{cell_name}: robust accuracy {100 - predictions.error_pct:.2f} %"

    def summarize(self, predictions: Mapping[str, AnyPredictions]) -> Summary:
        figures = {name: self._figures(name, predictions) for name in self.attacks}
        metrics: dict[str, float] = {ATTACKED_IMAGES: len(self.test)}
        for name, each in figures.items():
            metrics |= as_metrics(f"attack/{name}", {k: v for k, v in each.items() if k != "radius"})
        signs = self._signs(predictions)
        pictures: dict[str, Callable[[], "Figure"]] = {}
        if len(self.settings.radii) > 1:
            pictures["attack/radii"] = lambda: draw_radii(
                figures, norm=self.settings.norm, title=self._title()
            )
        clean = predictions["attack/none"]
        assert isinstance(clean, Predictions)  # images with several labels are refused
        if self.classifier is not None and clean.error_pct < 100:
            pictures["attack/attacks"] = lambda: self._draw_attacks(clean)
        content = {
            "asked": list(self.settings.names),
            "norm": self.settings.norm,
            "of_test_images": self.total,
            **self._details(),
        }
        return Summary(
            content={self.name: {**content, "cells": figures, "signs_of_masked_gradients": signs}},
            metrics=metrics,
            lines=self._lines(signs),
            tables=[self._table(figures)],
            records=[
                {"attack": name, "source": "attack", **{key: each[key] for key in ("error_pct", "images")}}
                for name, each in figures.items()
            ],
            documents=self._documents(figures),
            pictures=pictures,
        )

    def _figures(self, name: str, predictions: Mapping[str, AnyPredictions]) -> dict[str, Any]:
        attack, figures = self.attacks[name], self.measures.figures_of(predictions[f"attack/{name}"])
        return {
            "attack": attack.label,
            "radius": radius_text(attack.radius),
            "robust_accuracy_pct": 100 - figures["error_pct"],
            **figures,
        }

    def _signs(self, predictions: Mapping[str, AnyPredictions]) -> list[str]:
        lines = []
        for radius in filter(None, self.settings.radii):  # at radius 0, no loss rises
            found: dict[str, Predictions] = {}
            for name, attack in self.attacks.items():
                if attack.radius in (0, radius):
                    each = predictions[f"attack/{name}"]
                    assert isinstance(each, Predictions)  # images with several labels are refused
                    found[attack.label] = each
            none, random, fgsm, *_ = found.values()
            # AutoAttack stops at the first change that is misclassified: its loss says little.
            others = {label: found[label] for label in list(found)[3:] if not label.startswith("AutoAttack")}
            signs = signs_of_masked_gradients(none, random, fgsm, others)
            lines += [f"{self.settings.norm} {radius_text(radius)}: {sign}" for sign in signs]
        return lines

    def _lines(self, signs: Sequence[str]) -> list[str]:
        settings = self.settings
        images = f"{len(self.test):,} of the {self.total:,} test images, evenly spaced"
        if len(self.test) == self.total:
            images = f"all {self.total:,} test images"
        lines = [
            f"attacks on {images}, in eval mode and float32; an image that is wrong without attack counts as not robust"
        ]
        if "pgd" in settings.names:
            size = f"2.5 * radius / {settings.steps}" if settings.step_size is None else settings.step_size
            lines.append(
                f"PGD: {settings.steps} steps of {size} from {counted(settings.restarts, 'random start')}"
            )
        lines += dict.fromkeys(f"AutoAttack: {each.version}" for each in self._autoattacks().values())
        return lines + (
            [f"sign of masked gradients: {sign}" for sign in signs]
            or ["no sign of masked gradients (docs/adversarial.md)"]
        )

    def _autoattacks(self) -> dict[str, AutoAttack]:
        return {
            name: each.attack for name, each in self.attacks.items() if isinstance(each.attack, AutoAttack)
        }

    def _title(self) -> str:
        return printable(f"{self.model.name}: robust accuracy in %, {self.settings.norm}")

    def _table(self, figures: Figures) -> Table:
        table = Table(title=Text(self._title()), title_justify="left")  # Text: a folder's name is no markup
        table.add_column("attack", no_wrap=True)
        for heading in ("radius", "robust accuracy", "95 % interval", "images"):
            table.add_column(heading, justify="right")
        radius = ""
        for name, each in figures.items():
            if each["radius"] != radius:
                table.add_section()
            radius = each["radius"]
            bounds = each.get("interval_pct")  # of the error
            interval = f"[{100 - bounds[1]:.2f}, {100 - bounds[0]:.2f}]" if bounds else ""
            accuracy = f"{each['robust_accuracy_pct']:.2f}"
            table.add_row(
                each["attack"], "" if name == "none" else radius, accuracy, interval, f"{each['images']:,}"
            )
        return table

    def _documents(self, figures: Figures) -> dict[str, dict[str, Any]]:
        """RobustBench's form for each radius at which AutoAttack was measured."""
        documents = {}
        for name, attack in self._autoattacks().items():
            notes = [] if attack.version.startswith("standard") else [f"AutoAttack, {attack.version}."]
            if len(self.test) < self.total:
                notes.append(f"Measured on {len(self.test)} of the {self.total} test images.")
            document = f"robustbench-{name.removeprefix('autoattack-')}.json"
            documents[document] = robustbench_attack_info(
                self.model,
                radius=radius_text(self.attacks[name].radius),
                clean_pct=figures["none"]["error_pct"],
                robust_accuracy_pct=figures[name]["robust_accuracy_pct"],
                notes=notes,
            )
        return documents

    def _draw_attacks(self, clean: Predictions) -> "Figure":
        """Images that are right without attack, of as many classes as possible, under the gradient attacks at the largest
        radius; AutoAttack would take too long to run again."""
        assert self.classifier is not None
        right = (~clean.wrong).nonzero().flatten()
        of_class = [
            (clean.labels[right[:place]] == clean.labels[one]).sum() for place, one in enumerate(right)
        ]
        ids = right[torch.tensor(of_class).argsort(stable=True)][:MAX_SHOWN]
        ids = ids[clean.labels[ids].argsort(stable=True)]
        batch, radius = self.test.read(ids), self.settings.radii[-1]
        attacked = {
            each.label: self._shown(batch, each.attack, ids)
            for each in self.attacks.values()
            if each.radius == radius and not isinstance(each.attack, AutoAttack | RandomSearch)
        }
        title = f"{self.model.name}: attacks at {self.settings.norm} {radius_text(radius)}"
        return draw_attacks(self._shown(batch, NoAttack(), ids), attacked, title=printable(title))

    def _shown(self, batch: ImageBatch, attack: Attack, ids: Tensor) -> Shown:
        assert self.classifier is not None
        found = attack_batch(self.classifier, batch, attack, ids)
        return Shown(found.images.cpu(), [self.test.classes[one] for one in found.logits.argmax(1)])
