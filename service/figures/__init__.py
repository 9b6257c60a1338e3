"""The figures behind `GET /v1/stats` and behind the dashboard: what stands where, what happened, what needs help.

Reading order: windows (time), results (what happened), life (who is alive), attention (what somebody should look
at), overview (all of it together).
"""

from service.figures.attention import concerns
from service.figures.life import signs_of_life
from service.figures.overview import Figures, quotas
from service.figures.windows import WINDOWS, Length, window_of

__all__ = ["WINDOWS", "Figures", "Length", "concerns", "quotas", "signs_of_life", "window_of"]
