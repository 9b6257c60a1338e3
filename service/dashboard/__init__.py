"""The operators' dashboard under /ui: pages drawn here, with what they need on our own disk.

It shows what the API's reading functions say and changes things through the API's own writing functions, so a
key sees and does here what it may see and do there.

To add a page:

1. A module with `router = APIRouter()` and functions of a few lines. Who may look is an argument (`Reader`,
   `Admin` of `visitors.py`), the answer is `render(request, "jobs.html", jobs=jobs)`. Errors of `errors.py`
   become pages by themselves. Add the module to `PAGES` in `site.py`, and a link to `NAVIGATION` in `render.py`.
2. A template that begins with `{% extends "layout.html" %}` and fills `title` and `content`. Macros of `ui.html`
   draw what pages share: `moment`, `duration`, `badge`, `empty`, `pager`, `button`, `tile`, `icon`. A table stands
   in `<div class="table-wrap" tabindex="0" role="group" aria-label="...">`, so that a phone can scroll it.
   `{% set live = true %}` makes a page draw itself anew when something happens (`live.py`).
3. What is changed is a `<form method="post">` with `{{ ui.token(visitor) }}` inside (the macro `button` has it).
   Its route takes `Submitted` or `SubmittedByAdmin` of `posts.py`, which check origin and token, and ends with
   `back(request, "/ui/jobs", "Retried 3 jobs.")`. A secret that is shown once is rendered at once, never flashed.
4. The state of a view is in its URL: filters and pages are GET parameters.

No inline script or style, not even a `style=` attribute: the policy in `page.py` forbids them. Behaviour is
`data-` attributes that `static/app.js` knows: `data-confirm`, `data-copy`, `data-chart`. Lengths in pictures are
SVG attributes. Nothing is marked safe: every value is escaped by Jinja.
"""

__all__ = ["create_dashboard"]
