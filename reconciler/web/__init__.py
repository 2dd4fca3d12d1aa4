"""The status page and the daemon's HTTP server.

It only reads. Nothing here is computed without a request: the daemon sets its newest plan and
records (:mod:`.snapshot`), and a request makes a page of them.

* :mod:`.server`: the HTTP server with metrics, health, the webhook and the page
* :mod:`.connections`, :mod:`.rates` and :mod:`.scrapes`: the bounds on what others can take of it
* :mod:`.site`: the routes, and access control
* :mod:`.reports`: reports of progress from pods
* :mod:`.snapshot` and :mod:`.selection`: the objects in order, and the filter of a request
* :mod:`.lineage` and :mod:`.graph_layout`: the objects of a graph, and the places of its boxes
* :mod:`.history`: an object's runs beside each other
* :mod:`.terminal`: a command's output, without control sequences
* :mod:`.render`: templates to HTML, everything escaped

The pages are whole without JavaScript. With it, ``static/page.js`` fetches the same page again
every two seconds, gets 304 while nothing has changed, and else replaces the parts that have.
"""

from typing import TYPE_CHECKING

from reconciler.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from reconciler.web.reports import Reports
    from reconciler.web.server import ListenError, Served, serve
    from reconciler.web.site import Site
    from reconciler.web.snapshot import PageCache

_MODULES = {
    "ListenError": "server",
    "PageCache": "snapshot",
    "Reports": "reports",
    "Served": "server",
    "Site": "site",
    "serve": "server",
}
__getattr__ = lazy_exports(__name__, _MODULES)

__all__ = ["ListenError", "PageCache", "Reports", "Served", "Site", "serve"]
