"""Draw every corruption of test images at every severity: docs/images/corruptions.png.

    python docs/draw_corruptions.py IMAGE ... [OVERRIDE ...]

IMAGE is a position in the test set. Of several images, the rows show one after the other. Overrides choose the data,
such as dataset=digits (the default is CIFAR-10).
"""

import sys
from pathlib import Path

from tenet.config.build import build
from tenet.config.command_line import plan
from tenet.corruptions import contact_sheet

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    ids = [int(word) for word in sys.argv[1:] if word.isdecimal()]
    overrides = [word for word in sys.argv[1:] if not word.isdecimal()]
    _, config = plan(overrides, config_dir=ROOT / "conf", config_name="train")
    images = build(config["dataset"], key="dataset").load().test.images
    path = ROOT / "docs" / "images" / "corruptions.png"
    contact_sheet(images[ids], path=path)
    print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
