#!/bin/sh
# The training command: reads DATA_DIR and (Finetune) BASE_MODEL_DIR, fills MODEL_DIR.
set -eu
# One thread: the matrices are tiny, and cores are shared with the other runs.
export OPENBLAS_NUM_THREADS="${OPENBLAS_NUM_THREADS:-1}"
exec python -uB train.py
