"""Test a digits network on the half of a dataset that no training has seen.

MODEL_DIR is the artifact that is judged; it is read-only. What is in RESULT_DIR/metrics.json
counts for `spec.evaluation.require`.
"""

import json
import os
from pathlib import Path

import mlp
import numpy as np


def main() -> None:
    """Write the accuracy, and that of the digit that the network knows worst."""
    weights, _ = mlp.load(Path(os.environ["MODEL_DIR"]) / "weights.npz")
    with np.load(Path(os.environ["DATA_DIR"]) / "test.npz") as data:
        x, y = data["images"].reshape(-1, mlp.PIXELS), data["labels"]
    accuracy, _ = mlp.evaluate(weights, x, y)
    of_digits = [mlp.evaluate(weights, x[y == digit], y[y == digit])[0] for digit in range(10)]
    metrics = {"accuracy": round(accuracy, 4), "accuracy_worst_digit": round(min(of_digits), 4)}
    print(metrics)
    (Path(os.environ["RESULT_DIR"]) / "metrics.json").write_text(json.dumps(metrics) + "\n")


if __name__ == "__main__":
    main()
