"""Starts a worker as `persyn worker` does, with the protocol's waits shortened, so that faults need seconds to heal.

Nothing else of it is changed: the code, the database, the broker and the requests are the shipped ones.
"""

import argparse
import sys
import time

LEASE_TTL_S = 3.0
HEARTBEAT_S = 0.7
RECONCILE_S = 1.0
STORE_AFTER_S = 0.5
IN_FLIGHT = 16
HOLD_IDLE_S = 3.0
STALL_S = 5.0


def shorten() -> None:
    from persyn.inference.servers.server import ProgressWatch
    from persyn.jobs import lease_keeper, protocol
    from persyn.stages import reroute
    from persyn.workers import fitness, generate, maintenance

    protocol.LEASE_TTL_S = LEASE_TTL_S  # type: ignore[assignment]
    protocol.HOLD_IDLE_S = HOLD_IDLE_S
    # Their defaults were taken when they were defined.
    protocol.open_lease.__kwdefaults__["ttl_s"] = LEASE_TTL_S
    protocol.heartbeat.__defaults__ = (LEASE_TTL_S,)
    lease_keeper.HEARTBEAT_S = HEARTBEAT_S
    maintenance.RECONCILE_S = RECONCILE_S
    maintenance.SAY_EVERY_S = RECONCILE_S
    fitness.FIRST_WAIT_S = RECONCILE_S
    fitness.LONGEST_WAIT_S = 3 * RECONCILE_S
    generate.STORE_AFTER_S = STORE_AFTER_S
    generate.IN_FLIGHT = IN_FLIGHT
    generate.WATCH_S = 1.0
    reroute.EVERY_S = RECONCILE_S
    generate.DEATH_CONFIRMED_WITHIN_S = 3.0
    ProgressWatch.__init__.__defaults__ = (STALL_S,)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clock-off-s", type=float, default=0.0, help="the worker's clock is wrong by this")
    parser.add_argument("--stall-s", type=float, help="work that says nothing for so long is taken for stuck")
    own, rest = parser.parse_known_args()
    if own.clock_off_s:
        true_time, off_s = time.time, own.clock_off_s
        time.time = lambda: true_time() + off_s
    shorten()
    if own.stall_s:
        from persyn.jobs import lease_keeper

        lease_keeper.STALL_S = own.stall_s
    import persyn.cli.main

    sys.argv = [sys.argv[0], "worker", *rest]
    persyn.cli.main.main()


if __name__ == "__main__":
    main()
