"""Train the digits network: from scratch, or from the weights of a base model.

Everything comes in by the environment, the same on a laptop and in a cluster: DATA_DIR and
BASE_MODEL_DIR are read, MODEL_DIR is written, PARAMS_FILE holds `spec.training.params`.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import mlp
import numpy as np


@dataclass(frozen=True)
class Params:
    """What `spec.training.params` may say, and what it means where it says nothing."""

    epochs: int = 20
    learning_rate: float = 0.1
    batch: int = 16
    hidden: int = 32  # from scratch only: a base brings its own size
    head_only: bool = False  # train the last layer alone
    seed: int = 0


def images_and_labels(name: str) -> tuple[np.ndarray, np.ndarray]:
    """One half of the dataset, each image as a row of 64 pixels."""
    with np.load(Path(os.environ["DATA_DIR"]) / f"{name}.npz") as data:
        return data["images"].reshape(-1, mlp.PIXELS), data["labels"]


def starting_weights(params: Params) -> mlp.Weights:
    """The base's weights where there is a base, else fresh ones."""
    base = Path(os.environ.get("BASE_MODEL_DIR", "")) / "weights.npz"
    if base.is_file():
        weights, epoch = mlp.load(base)
        print(f"base: {weights['w1'].shape[1]} hidden units, trained for {epoch} epochs")
        return weights
    print(f"from scratch: {params.hidden} hidden units")
    return mlp.initial(params.hidden, np.random.default_rng(params.seed))


def train_epoch(
    weights: mlp.Weights, x: np.ndarray, y: np.ndarray, params: Params, epoch: int
) -> None:
    """Go through all images once, in batches, in an order that the seed and the epoch decide.

    So a training that was interrupted ends at the very weights of one that was not.
    """
    order = np.random.default_rng([params.seed, epoch]).permutation(len(x))
    for start in range(0, len(order), params.batch):
        rows = order[start : start + params.batch]
        mlp.step(weights, x[rows], y[rows], params.learning_rate, head_only=params.head_only)


def report(epoch: int, epochs: int, **metrics: float) -> None:
    """Report progress: written beside PROGRESS_FILE and renamed, so that no half file is read."""
    progress = {"progressPercentage": 100 * epoch / epochs, "step": epoch, "metrics": metrics}
    file = Path(os.environ["PROGRESS_FILE"])
    new = file.with_suffix(".new")
    new.write_text(json.dumps(progress))
    new.replace(file)


def main() -> None:
    """Train, saving after each epoch, and leave weights.npz and metrics.json."""
    params = Params(**json.loads(Path(os.environ["PARAMS_FILE"]).read_text()))
    model = Path(os.environ["MODEL_DIR"])
    x_train, y_train = images_and_labels("train")
    x_test, y_test = images_and_labels("test")

    weights, done = starting_weights(params), 0
    before, _ = mlp.evaluate(weights, x_test, y_test)

    # An attempt finds what an earlier one of the same key left. weights.npz is checkpoint and
    # result in one: nobody else reads this directory before the training has succeeded.
    checkpoint = model / "weights.npz"
    if checkpoint.is_file():
        weights, done = mlp.load(checkpoint)
        print(f"attempt {os.environ['ATTEMPT']} goes on after epoch {done}")

    for epoch in range(done + 1, params.epochs + 1):
        train_epoch(weights, x_train, y_train, params, epoch)
        mlp.save(checkpoint, weights, epoch=epoch)
        accuracy, loss = mlp.evaluate(weights, x_test, y_test)
        print(f"epoch {epoch:2}/{params.epochs}: accuracy {accuracy:.4f}, loss {loss:.4f}")
        report(epoch, params.epochs, accuracy=float(accuracy), loss=float(loss))

    # The numbers in metrics.json are what the status shows.
    accuracy, loss = mlp.evaluate(weights, x_test, y_test)
    metrics = {"accuracy": accuracy, "loss": loss, "accuracy_before": before}
    rounded = {name: round(value, 4) for name, value in metrics.items()}
    (model / "metrics.json").write_text(json.dumps(rounded) + "\n")


if __name__ == "__main__":
    main()
