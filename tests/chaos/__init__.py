"""Kill the real relay at named points and at random moments, start it again, and count at the end.

points   the named points, each a place where a crash leaves something half-way
child    the relay as a process of its own that kills itself at one of them
python -m tests.chaos --kills 1000    the long run; prints seed, counts, `lost=0 doubled=0`

The processes and the account at the end are in `tests.support.relay_processes`.
"""
