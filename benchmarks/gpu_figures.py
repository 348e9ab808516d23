"""The figures of benchmarks/gpu.py with their targets, as rows of a table; read from gpu.json alone."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

Report = Mapping[str, Any]
RECIPE_MINUTES, SWEEP_S, FILES_S = 40, 60, 40
# Images through the network for each sample of a step (benchmarks/methods.py); the others are of one network of them.
AUGMENTATIONS = ("augmix", "prime", "hybrid++-ps")


class Figure(NamedTuple):
    """target: what the value may be at most, or is to be; None without a target."""

    name: str
    value: float | bool | str
    target: float | bool | None = None

    @property
    def is_met(self) -> bool | None:
        if self.target is None or isinstance(self.value, str):
            return None
        return self.value is True if self.target is True else self.value <= self.target


def of_tests(report: Report) -> Iterator[Figure]:
    counts = {kind: report.get(kind, 0) for kind in ("passed", "failed", "error", "skipped")}
    yield Figure(
        ", ".join(f"{count} {kind}" for kind, count in counts.items()),
        counts["passed"] == sum(counts.values()),
        True,
    )


def of_step(report: Report) -> Iterator[Figure]:
    ratios = report["ratios"]
    yield Figure("inhibited step / plain step", ratios["inhibited_over_plain"])
    yield Figure(
        "grouping and masking / plain step", report["group_and_mask_s"] / report["plain_step_s"], 0.10
    )
    yield Figure("grouping and masking / loops", ratios["grouping_over_loops"], 0.01)
    if "kernel_equals_rounds" in report:
        yield Figure("the grouping's kernel and rounds are equal", report["kernel_equals_rounds"], True)
    if "kernel_over_rounds" in ratios:
        yield Figure("kernel / rounds", ratios["kernel_over_rounds"])


def of_phases(report: Report) -> Iterator[Figure]:
    ratios = report["ratios"]
    for name, time_s in report["time_s"].items():
        yield Figure(f"{name}, ms", 1e3 * time_s)
        yield Figure(f"{name} / its minimum", time_s / report["floor_s"][name])
    share = ratios["grouping_over_plain_step"] + ratios["mask_over_plain_step"]
    yield Figure("grouping and mask / plain step", share, 0.10)


def of_epoch(report: Report) -> Iterator[Figure]:
    ratios = report["ratios"]
    yield Figure("TENET / plain", ratios["tenet_over_plain"], 1.55)
    if "compiled_tenet_over_compiled_plain" in ratios:
        yield Figure("compiled TENET / compiled plain", ratios["compiled_tenet_over_compiled_plain"], 1.55)
    for name, hours in report["recipe_hours"].items():
        target = RECIPE_MINUTES if "TENET" in name else None
        yield Figure(f"the official recipe, {name}, projected, minutes", 60 * hours, target)


def of_methods(report: Report) -> Iterator[Figure]:
    for name, forwards in report["forwards"].items():
        if name != "plain":
            over_plain = report["ratios"][f"{name}_over_plain"]
            yield Figure(f"{name} / plain ({forwards} forward passes)", over_plain)
            if name in AUGMENTATIONS:
                yield Figure(f"{name}: its share of a step", 1 - forwards / over_plain, 0.08)


def of_memory(report: Report) -> Iterator[Figure]:
    yield Figure("TENET / plain", report["ratios"]["tenet_over_plain"], 1.15)
    for kind, peak in report["peak_bytes"].items():
        yield Figure(f"{kind}, MiB", peak / 2**20)


def of_evaluate(report: Report) -> Iterator[Figure]:
    projected = report["projected_s"]
    of = f"75 x 10,000 images, projected from {report['images']:,}, s"
    yield Figure(f"sweep, generated, {of}", projected["sweep_generated"], SWEEP_S)
    yield Figure(f"sweep, from files, {of}", projected["sweep_from_files"], FILES_S)


def of_ddp(report: Report) -> Iterator[Figure]:
    yield Figure("find_unused_parameters=True / False", report["ratios"]["find_unused_over_fixed"])
    yield Figure("DistributedDataParallel / none", report["ratios"]["find_unused_over_alone"])


def of_images(report: Report) -> Iterator[Figure]:
    for workers, (ours, theirs) in report["images_per_s"].items():
        yield Figure(f"images/s, {workers} workers", ours)
        yield Figure(f"images/s of torchvision's ImageFolder, {workers} workers", theirs)
        yield Figure(
            "time / torchvision's", report["ratios"][f"images_{workers}_workers_over_torchvision"], 1.0
        )
        yield Figure(f"training waits for images, %, {workers} workers", report["waiting_pct"][workers])


def of_augment(report: Report) -> Iterator[Figure]:
    ratios = report["ratios"]
    yield Figure("AugMix / Pillow in workers", ratios["augmix_over_pillow"])
    yield Figure("AugMix / plain step", ratios["augmix_over_step"], 0.08)
    if "compiled_over_step" in ratios:
        yield Figure("compiled AugMix / plain step", ratios["compiled_over_step"], 0.08)


FIGURES: dict[str, Callable[[Report], Iterator[Figure]]] = {
    "tests": of_tests,
    "step": of_step,
    "phases": of_phases,
    "epoch": of_epoch,
    "methods": of_methods,
    "memory": of_memory,
    "evaluate": of_evaluate,
    "resume": of_tests,
    "ddp": of_ddp,
    "images": of_images,
    "augment": of_augment,
    "compiled": of_epoch,
}


def rows(results: Report) -> Iterator[tuple[str, Figure]]:
    """Part and figure; a part that failed has one row."""
    for part, taken in results["parts"].items():
        if taken["problem"]:
            yield part, Figure(f"FAILED: {taken['problem']}", "")
        if taken["report"]:
            yield from ((part, figure) for figure in FIGURES[part](taken["report"]))


def text(value: float | bool | str | None) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float | int):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return value or ""


def markdown(results: Report) -> str:
    """The table, with what it was measured on below."""
    lines = ["| part | figure | value | target | met |", "|---|---|---:|---:|---|"]
    for part, figure in rows(results):
        target = (
            "yes" if figure.target is True else "" if figure.target is None else f"<= {text(figure.target)}"
        )
        lines.append(f"| {part} | {figure.name} | {text(figure.value)} | {target} | {text(figure.is_met)} |")
    commit = (results["commit"] or "unknown")[:7]
    where = (
        f"{results['hardware']}, {results['cpus']} CPUs; Python {results['python']}, torch {results['torch']}"
    )
    small = " Sizes of a rehearsal: the figures mean nothing." if results["small"] else ""
    return "\n".join([*lines, "", f"Commit {commit}; {where}; {results['date']}.{small}", ""])
