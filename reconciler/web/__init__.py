"""The status page: what the daemon knows, as HTML that a browser shows without being told more.

It only reads. Nothing here is worked out while nobody looks: the daemon hands over its newest plan
and records (:mod:`.board`), and a request makes a page of them.

* :mod:`.catalog` and :mod:`.selection`: the objects in order, and which of them are asked for
* :mod:`.lineage` and :mod:`.drawing`: which objects hang together, and where their boxes go
* :mod:`.history`: an object's runs beside each other
* :mod:`.screen`: what a command printed, without what it could do to a terminal or a page
* :mod:`.render`: templates to HTML, everything escaped
* :mod:`.site`: the routes, and who may see them

The pages are whole without JavaScript. Where there is some, ``static/page.js`` fetches the same
page again every two seconds, is told 304 while nothing has changed, and else replaces the parts
that have.
"""
