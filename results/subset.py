"""Writes a part of a data set, with as many images of every class, for experiments that should end soon on a CPU.

    python -m results.subset SUBSET.npz DATASET [--training N] [--test N]

DATASET is an option of `dataset=` whose images fit into memory, such as cifar10, or an .npz file for `dataset=arrays`. The
images are evenly spaced among those of their class. Without a number, all are kept.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from benchmarks.offline import spread
from tenet.config.build import build

OPTIONS = Path(__file__).resolve().parents[1] / "conf" / "dataset"


def read(dataset: str) -> Any:
    if Path(dataset).suffix == ".npz":
        config = {"_target_": "tenet.data.Arrays", "path": dataset}
    else:
        config = yaml.safe_load((OPTIONS / f"{dataset}.yaml").read_text())
    return build(config, key="dataset").load()


def subset(dataset: str, *, training: int | None, test: int | None) -> dict[str, np.ndarray]:
    """The arrays of an .npz file for `dataset=arrays`."""
    splits = read(dataset)
    arrays = {"classes": np.array(splits.classes)}
    for part, source, count in (("train", splits.train, training), ("test", splits.test, test)):
        if count is not None:
            source = source.take(torch.from_numpy(spread(source.labels.numpy(), count)))
        arrays |= {f"{part}_images": source.images.numpy(), f"{part}_labels": source.labels.numpy()}
    return arrays


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, metavar="SUBSET.npz")
    parser.add_argument("dataset", metavar="DATASET")
    parser.add_argument("--training", type=int, metavar="N")
    parser.add_argument("--test", type=int, metavar="N")
    args = parser.parse_args()
    arrays = subset(args.dataset, training=args.training, test=args.test)
    np.savez(args.out, **arrays)  # type: ignore[arg-type]
    print(
        f"{args.out}: {len(arrays['train_images']):,} training and {len(arrays['test_images']):,} test images"
    )


if __name__ == "__main__":
    main()
