"""The fleet as its operators see it: workers as rows, jobs to look at and to act on, gauges for a dashboard.

Nothing of the protocol hangs on what stands here: a worker without a row works all the same.
"""
