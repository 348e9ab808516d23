"""Makes small run folders like those of train.py and evaluate.py."""

import json
from pathlib import Path

import yaml

from tenet.corruptions.names import CORRUPTIONS, EXTRA_CORRUPTIONS, SEVERITIES
from tenet.evaluation.reports import SECTIONS

TENET = {"_target_": "tenet.methods.Inhibited", "layer": "stage_2", "groups": 6}
PLAIN = {"_target_": None}


def write_run(
    folder: Path,
    *,
    seed: int,
    tenet: dict = TENET,
    lr: float = 0.1,
    test: float | None = 4.0,
    mce: float | None = 12.0,
    source: str = "generated",
    epoch: float = 2.0,
    is_saved: bool = True,
    **config,
) -> Path:
    """mce: None if not evaluated. epoch: the last epoch in the metrics, out of 2."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = {
        "dataset": {"_target_": "tenet.data.Digits"},
        "tenet": tenet,
        "optimizer": {"_target_": "torch.optim.SGD", "lr": lr},
        "trainer": {"_target_": "tenet.training.settings.TrainingSettings", "epochs": 2, "max_steps": None},
        "seed": seed,
        **config,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(whole))
    rows = [
        {"step": 10, "epoch": epoch / 2, "train/loss": 2.0 + seed, "test/error_pct": 50.0 + 10 * seed},
        {"step": 20, "epoch": epoch, "train/loss": 1.0, "test/error_pct": test},
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if is_saved:
        (folder / "weights.safetensors").touch()
        (folder / "summary.json").write_text(json.dumps({"test/error_pct": test}))
    if mce is not None:
        write_evaluation(folder, mce=mce, source=source)
    return folder


def write_evaluation(
    folder: Path, *, mce: float | None, source: str = "generated", name: str | None = None, **more
) -> None:
    """Every cell has the error `mce`; the extra corruptions have 1 more. Without `measured`: of an earlier version."""
    path = folder / "evaluation" / (name or f"corruptions{'-files' if source == 'files' else ''}.json")
    path.parent.mkdir(exist_ok=True)
    level = mce or 0.0
    cells = {
        name: {str(severity): level + (name in EXTRA_CORRUPTIONS) for severity in SEVERITIES}
        for name in CORRUPTIONS + EXTRA_CORRUPTIONS
    }
    figures = {"mce_pct": mce, "corruptions": cells}
    section = {SECTIONS[source]: figures} if "measured" in more else figures
    report = {"source": source, "clean": {"error_pct": 5.5}, **section, **more}
    path.write_text(json.dumps(report))


def measured(*, test: str = "own", is_own: bool = True, dataset: str = "digits", **parts) -> dict:
    """What evaluate.py writes of a measurement. test: the fingerprint of the test images. parts: other than the standard."""
    corruptions = {"kind": "generated", "seed": 0, "generator": 2, **parts.pop("corruptions", {})}
    images = {"images": 10, "fingerprint": test}
    standard = {"dataset": dataset, "is_own_data": is_own, "precision": "fp32", "clean": images}
    return {**standard, "corruptions": corruptions, **parts}


def write_pair(top: Path) -> Path:
    """Three seeds of TENET and of plain training. mCE by seed: 10, 12, 14 and 11, 15, 16."""
    for seed, (ours, theirs) in enumerate([(10, 11), (12, 15), (14, 16)]):
        write_run(top / "tenet" / str(seed), seed=seed, mce=ours, test=3.0 + seed)
        write_run(top / "plain" / str(seed), seed=seed, mce=theirs, test=4.0, tenet=PLAIN)
    return top


NINE = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota_of_a_long_name")


def write_nine_keys(top):
    """Groups that differ in nine keys, of three seeds each."""
    for index in range(2):
        for seed in range(3):
            tenet = {**TENET, **{key: (index + place + 1) / 7 for place, key in enumerate(NINE)}}
            write_run(top / f"{index}-{seed}", seed=seed, tenet=tenet, mce=10 + index + seed)
    return top
