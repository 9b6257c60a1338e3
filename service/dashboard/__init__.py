"""The operators' dashboard under /ui: server-rendered pages, with all assets served from the package.

The dashboard reads and writes through the service functions of the API, so a key has the same rights in both.

To add a page:

1. Write a module with `router = APIRouter()` and short route functions. An argument sets the required scope
   (`ReaderSession` or `AdminSession` of `session.py`). The route returns
   `render(request, "jobs.html", jobs=jobs)`. Errors of `errors.py` become error pages. Add the module to
   `PAGES` in `app.py`, and a link to `NAVIGATION` in `render.py`.
2. Write a template that begins with `{% extends "layout.html" %}` and fills `title` and `content`. Macros of
   `ui.html` draw shared parts: `moment`, `duration`, `badge`, `empty`, `pager`, `button`, `tile`, `icon`. Put a
   table into `<div class="table-wrap" tabindex="0" role="group" aria-label="...">`, so that it scrolls on
   a phone. `{% set live = true %}` makes the page refresh when something changes (`live.py`).
3. For changes, use a `<form method="post">` with `{{ ui.token(visitor) }}` inside (the macro `button` includes
   it). The route takes `FormOfSubmitter` or `FormOfAdmin` of `session.py`, which check origin and token, and
   ends with `redirect_back(request, "/ui/jobs", "Retried 3 jobs.")`. Render a secret that is shown once in the
   response itself, never as a flash message.
4. Keep the state of a view in its URL: filters and pages are GET parameters.

Inline scripts and styles, including `style=` attributes, are forbidden by the policy in `page.py`. Behaviour
comes from `data-` attributes that `static/app.js` handles: `data-confirm`, `data-copy`, `data-chart`. Lengths
in pictures are SVG attributes. Nothing is marked safe: Jinja escapes every value.
"""

__all__ = ["create_dashboard"]
