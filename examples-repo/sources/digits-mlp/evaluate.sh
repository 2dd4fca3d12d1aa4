#!/bin/sh
# The evaluation command: reads MODEL_DIR and DATA_DIR, writes RESULT_DIR/metrics.json.
set -eu
export OPENBLAS_NUM_THREADS="${OPENBLAS_NUM_THREADS:-1}"
exec python -uB evaluate.py
