"""Write what is locked for the daemon as a CycloneDX SBOM (``make sbom``).

The locked files are installed into an environment of their own: the SBOM has their licenses, and
which of them need which.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from reconciler import __version__

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "dist" / "sbom.cdx.json"


def main() -> None:
    """Install, list, and write."""
    FILE.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=False)
        pip = [sys.executable, "-m", "pip", "--python", folder, "install", "--quiet"]
        subprocess.run(
            [*pip, "--require-hashes", "--requirement", str(ROOT / "requirements.lock")], check=True
        )
        listing = [sys.executable, "-m", "cyclonedx_py", "environment", folder]
        listing += ["--pyproject", str(ROOT / "pyproject.toml"), "--mc-type", "application"]
        done = subprocess.run([*listing, "--output-reproducible"], check=True, capture_output=True)
    found = json.loads(done.stdout)
    found["metadata"]["component"]["version"] = __version__  # which pyproject.toml leaves to hatch
    FILE.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
