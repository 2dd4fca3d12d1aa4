"""The curves of a training are on its page also once its evaluation has printed last."""

from __future__ import annotations

from pathlib import Path
from urllib.request import urlopen

from tests.cluster.ports import free
from tests.e2e.site import Site, until

_TRAIN = """
echo '{"step": 1, "metrics": {"loss": 0.5}}' > "$PROGRESS_FILE.new"
mv "$PROGRESS_FILE.new" "$PROGRESS_FILE"
"""


def test_a_page_has_the_curves_of_the_training_and_the_log_of_its_evaluation(
    tmp_path: Path,
) -> None:
    site = Site(tmp_path)
    address = f"127.0.0.1:{free(1)[0]}"
    site.configure(server={"address": address})
    site.trained("m", _TRAIN, more="  evaluation: {command: [evaluate.sh]}\n")
    evaluate = '#!/bin/sh\necho judging\necho "{}" > "$RESULT_DIR/metrics.json"\n'
    site.write("src/m/evaluate.sh", evaluate, executable=True)
    site.push()
    with site.running():
        until(lambda: site.phases().get("m") == "Ready", what="the evaluation")
        with urlopen(f"http://{address}/objects/default/models/m", timeout=60) as answer:
            page = answer.read().decode()
    assert "judging" in page
    assert "Curves of train, attempt 1" in page
