"""A small multilayer perceptron in plain numpy: 64 pixels, one hidden layer, ten digits."""

import os
from pathlib import Path

import numpy as np

Weights = dict[str, np.ndarray]

PIXELS, CLASSES = 64, 10


def initial(hidden: int, rng: np.random.Generator) -> Weights:
    """Untrained weights (He initialisation)."""
    return {
        "w1": rng.normal(0, np.sqrt(2 / PIXELS), (PIXELS, hidden)),
        "b1": np.zeros(hidden),
        "w2": rng.normal(0, np.sqrt(2 / hidden), (hidden, CLASSES)),
        "b2": np.zeros(CLASSES),
    }


def forward(weights: Weights, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The hidden activations, and each image's probabilities of being each digit."""
    hidden = np.maximum(0, x @ weights["w1"] + weights["b1"])
    logits = hidden @ weights["w2"] + weights["b2"]
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    return hidden, exp / exp.sum(axis=1, keepdims=True)


def step(weights: Weights, x: np.ndarray, y: np.ndarray, rate: float, *, head_only: bool) -> None:
    """One step of gradient descent on a batch, in place. `head_only` leaves w1 and b1 alone."""
    hidden, probabilities = forward(weights, x)
    error = (probabilities - np.eye(CLASSES)[y]) / len(x)
    back = (error @ weights["w2"].T) * (hidden > 0)
    weights["w2"] -= rate * hidden.T @ error
    weights["b2"] -= rate * error.sum(axis=0)
    if not head_only:
        weights["w1"] -= rate * x.T @ back
        weights["b1"] -= rate * back.sum(axis=0)


def evaluate(weights: Weights, x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Accuracy, and loss as mean cross-entropy."""
    _, probabilities = forward(weights, x)
    accuracy = (probabilities.argmax(axis=1) == y).mean()
    loss = -np.log(probabilities[np.arange(len(y)), y] + 1e-12).mean()
    return float(accuracy), float(loss)


def save(file: Path, weights: Weights, *, epoch: int) -> None:
    """Replace the file in one step: whoever reads it sees the old weights or the new ones."""
    partial = file.with_suffix(".tmp")
    with partial.open("wb") as out:
        np.savez(out, epoch=epoch, **weights)
        out.flush()
        os.fsync(out.fileno())
    partial.replace(file)


def load(file: Path) -> tuple[Weights, int]:
    """The weights, and the number of epochs they have been trained."""
    with np.load(file) as archive:
        weights = {name: archive[name] for name in archive.files}
    return weights, int(weights.pop("epoch"))
