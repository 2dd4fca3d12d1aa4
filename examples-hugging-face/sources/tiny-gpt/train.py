"""Fine-tune a causal language model with the Trainer of transformers.

Nothing here is of the reconciler but where files are. Progress and curves come by the Trainer's
own callback for Kubeflow, which is on where KUBEFLOW_TRAINER_SERVER_URL is set.
"""

import json
import os
import pydoc_data.topics
import shutil
from pathlib import Path

from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    Trainer,
    TrainingArguments,
)
from transformers.trainer_utils import get_last_checkpoint

LENGTH = 128


def main() -> None:
    """Train, going on from the last checkpoint, and leave the model and metrics.json."""
    params = json.loads(Path(os.environ["PARAMS_FILE"]).read_text())
    base, model_dir = os.environ["BASE_MODEL_DIR"], Path(os.environ["MODEL_DIR"])
    tokenizer = AutoTokenizer.from_pretrained(base)
    # Python's own help texts: text that is there wherever this runs.
    text = "\n".join(pydoc_data.topics.topics[name] for name in sorted(pydoc_data.topics.topics))
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    rows = [{"input_ids": ids[at : at + LENGTH]} for at in range(0, len(ids) - LENGTH, LENGTH)]
    held_out = max(1, min(64, len(rows) // 10))

    # An attempt finds what an earlier one of the same key left in MODEL_DIR.
    checkpoints = model_dir / "checkpoints"
    checkpoints.mkdir(exist_ok=True)
    trainer = Trainer(
        model=AutoModelForCausalLM.from_pretrained(base),
        args=TrainingArguments(
            output_dir=str(checkpoints),
            max_steps=params["steps"],
            learning_rate=params["learning_rate"],
            save_steps=params["save_steps"],
            save_total_limit=1,
            logging_steps=10,
            disable_tqdm=True,
            eval_strategy="steps",
            eval_steps=params["save_steps"],
            per_device_train_batch_size=8,
            seed=params.get("seed", 0),
        ),
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
        train_dataset=rows[held_out:],
        eval_dataset=rows[:held_out],
    )
    last = get_last_checkpoint(str(checkpoints))
    if last is not None:
        print(f"attempt {os.environ['ATTEMPT']} goes on from {Path(last).name}")
    trainer.train(resume_from_checkpoint=last)

    found = trainer.evaluate()
    trainer.save_model(str(model_dir))
    tokenizer.save_pretrained(str(model_dir))
    shutil.rmtree(checkpoints)
    metrics = {name: found[name] for name in ("eval_loss",)}
    (model_dir / "metrics.json").write_text(json.dumps(metrics) + "\n")


if __name__ == "__main__":
    main()
