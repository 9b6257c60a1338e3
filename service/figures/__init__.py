"""The figures behind `GET /v1/stats` and behind the dashboard: what stands where, what happened, what needs help.

Reading order: windows (time), counted (what need not be counted again), results (what happened), life (who is
alive), attention (what somebody should look at), overview (all of it together).
"""

from service.figures.counted import count_hours
from service.figures.life import signs_of_life, workers_of
from service.figures.overview import Figures, age_s, quotas
from service.figures.windows import WINDOWS, Length

__all__ = ["WINDOWS", "Figures", "Length", "age_s", "count_hours", "quotas", "signs_of_life", "workers_of"]
