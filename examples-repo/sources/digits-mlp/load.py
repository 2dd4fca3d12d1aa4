"""Write initial weights to MODEL_DIR.

This is where a real model fetches its published weights (a token for that comes in by
`secretEnv`). Ours are drawn at random, so that the example needs no network.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import mlp
import numpy as np


@dataclass(frozen=True)
class Params:
    """What `spec.load.params` may say, and what it means where it says nothing."""

    hidden: int = 32
    seed: int = 0


def main() -> None:
    """Draw the weights and save them under the name that train.py looks for."""
    params = Params(**json.loads(Path(os.environ["PARAMS_FILE"]).read_text()))
    weights = mlp.initial(params.hidden, np.random.default_rng(params.seed))
    mlp.save(Path(os.environ["MODEL_DIR"]) / "weights.npz", weights, epoch=0)
    print(f"drew weights of a network with {params.hidden} hidden units")


if __name__ == "__main__":
    main()
