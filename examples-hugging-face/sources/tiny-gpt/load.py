"""Leave a base model and its tokenizer in MODEL_DIR.

A model of a hub would be downloaded here, with HF_TOKEN:
`huggingface_hub.snapshot_download("org/name", revision="<commit>", local_dir=MODEL_DIR)`.
This one is made from random numbers, so that the example needs no hub.
"""

import json
import os
from pathlib import Path

from transformers import ByT5Tokenizer, GPT2Config, GPT2LMHeadModel, set_seed

params = json.loads(Path(os.environ["PARAMS_FILE"]).read_text())
model_dir = os.environ["MODEL_DIR"]
tokenizer = ByT5Tokenizer()  # of bytes: it needs no vocabulary
set_seed(params.get("seed", 0))
config = GPT2Config(
    vocab_size=len(tokenizer),
    n_positions=128,
    n_layer=params["layers"],
    n_head=2,
    n_embd=params["width"],
    bos_token_id=tokenizer.eos_token_id,
    eos_token_id=tokenizer.eos_token_id,
)
model = GPT2LMHeadModel(config)
model.save_pretrained(model_dir)
tokenizer.save_pretrained(model_dir)
token = "is set" if os.environ.get("HF_TOKEN") else "is not set"
print(f"a random model of {model.num_parameters():,} parameters; HF_TOKEN {token}")
