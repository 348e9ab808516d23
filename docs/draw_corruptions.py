"""Draw every corruption of one test image at every severity: docs/images/corruptions.png.

    python docs/draw_corruptions.py IMAGE [OVERRIDE ...]

IMAGE is its position in the test set. Overrides choose the data, such as dataset=digits (the default is CIFAR-10).
"""

import sys
from pathlib import Path

from tenet.config.build import build
from tenet.config.command_line import plan
from tenet.corruptions import contact_sheet

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    image, *overrides = sys.argv[1:]
    _, config = plan(overrides, config_dir=ROOT / "conf", config_name="train")
    images = build(config["dataset"], key="dataset").load().test.images
    path = ROOT / "docs" / "images" / "corruptions.png"
    contact_sheet(images[int(image)], path=path)
    print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
