#!/bin/sh
# The load command of the digits datasets: fills DATA_DIR.
set -eu
exec python -uB load.py
