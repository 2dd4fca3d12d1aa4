"""Notifications of changes of objects' recorded phases.

Pure but for ``trial``: no I/O, no clock.
``events`` finds the changes between two states of the status branch and gathers them in a digest;
``delivery`` makes the body and the signed headers of it; ``trial`` tries a template.
"""

from reconciler.notify.delivery import LONGEST_BODY, Body, TemplateFault, delivery_headers
from reconciler.notify.events import Digest, Event, Waiting, news
from reconciler.notify.trial import try_template

__all__ = [
    "LONGEST_BODY",
    "Body",
    "Digest",
    "Event",
    "TemplateFault",
    "Waiting",
    "delivery_headers",
    "news",
    "try_template",
]
