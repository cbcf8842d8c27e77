"""The method in its order: calibrate, score, train, route, generate, reroute. `pipeline` alone knows the order.

Each stage's file has the same parts: `enqueue` makes its jobs, then what a job reads, what it stores, and its work.
"""
