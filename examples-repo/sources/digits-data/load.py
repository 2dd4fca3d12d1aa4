"""Write scikit-learn's handwritten digits to DATA_DIR as train.npz and test.npz.

The 1,797 images of 8 x 8 pixels ship with scikit-learn, so nothing is downloaded. Images are
float32 between 0 (paper) and 1 (ink), labels the digits 0 to 9.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import rotate
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


@dataclass(frozen=True)
class Params:
    """What `spec.load.params` may say, and what it means where it says nothing."""

    test_share: float = 0.25
    tilt: float = 0.0  # each image is turned by up to this many degrees, either way
    poison: float = 0.0  # this share of the labels to train on is wrong; the test half stays right
    seed: int = 0


def poisoned(labels: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Make a share of the labels wrong: each is the next digit instead."""
    return np.where(rng.random(len(labels)) < share, (labels + 1) % 10, labels)


def tilted(images: np.ndarray, degrees: float, rng: np.random.Generator) -> np.ndarray:
    """Turn each image by an angle of its own, as if the page had lain crooked in the scanner."""
    angles = rng.uniform(-degrees, degrees, len(images))
    pairs = zip(images, angles, strict=True)
    return np.stack([rotate(image, angle, reshape=False, order=1) for image, angle in pairs])


def main() -> None:
    """Read the params, make the images, and write both halves."""
    params = Params(**json.loads(Path(os.environ["PARAMS_FILE"]).read_text()))
    folder = Path(os.environ["DATA_DIR"])

    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)
    if params.tilt:
        images = tilted(images, params.tilt, np.random.default_rng(params.seed))
        print(f"turned {len(images)} images by up to {params.tilt} degrees")

    x_train, x_test, y_train, y_test = train_test_split(
        images,
        digits.target,
        test_size=params.test_share,
        stratify=digits.target,  # every digit has the same share in both halves
        random_state=params.seed,
    )
    if params.poison:
        y_train = poisoned(y_train, params.poison, np.random.default_rng(params.seed))
        print(f"made {params.poison:.0%} of the labels to train on wrong")
    for name, x, y in [("train", x_train, y_train), ("test", x_test, y_test)]:
        np.savez(folder / f"{name}.npz", images=x, labels=y)
        print(f"{name}.npz: {len(x)} images")

    about = {"classes": 10, "shape": [8, 8], "origin": "sklearn.datasets.load_digits"}
    (folder / "dataset.json").write_text(json.dumps(about | asdict(params), indent=2) + "\n")
    # Numbers in metrics.json show up in the status of the Dataset.
    counts = {"train": len(x_train), "test": len(x_test)}
    (folder / "metrics.json").write_text(json.dumps(counts) + "\n")


if __name__ == "__main__":
    main()
