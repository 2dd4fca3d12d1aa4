#!/bin/sh
# The training command: reads BASE_MODEL_DIR, fills MODEL_DIR.
set -eu
exec python -uB train.py
