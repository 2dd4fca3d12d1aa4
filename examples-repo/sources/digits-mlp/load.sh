#!/bin/sh
# The load command: fills MODEL_DIR with the weights that a Finetune then starts from.
set -eu
exec python -uB load.py
