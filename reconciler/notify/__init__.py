"""Notifications of changes of objects' recorded phases.

Pure but for ``trial``: no I/O, no clock.
``events`` finds the changes between two states of the status branch and gathers them in a digest;
``delivery`` makes the body and the signed headers of it; ``trial`` tries a template.
"""

from typing import TYPE_CHECKING

from reconciler.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from reconciler.notify.delivery import LONGEST_BODY, Body, TemplateFault, delivery_headers
    from reconciler.notify.events import Digest, Event, Waiting, news
    from reconciler.notify.trial import try_template

_MODULES = {
    "Body": "delivery",
    "Digest": "events",
    "Event": "events",
    "LONGEST_BODY": "delivery",
    "TemplateFault": "delivery",
    "Waiting": "events",
    "delivery_headers": "delivery",
    "news": "events",
    "try_template": "trial",
}
__getattr__ = lazy_exports(__name__, _MODULES)

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
