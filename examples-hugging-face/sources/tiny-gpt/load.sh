#!/bin/sh
# The load command: fills MODEL_DIR with the base model.
set -eu
exec python -uB load.py
