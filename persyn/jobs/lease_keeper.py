"""Keeps a worker's hold on its jobs: one lease a drain, renewed from a thread with a connection of its own."""

import contextvars
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from persyn.db import session
from persyn.errors import LeaseLost
from persyn.jobs import protocol

log = logging.getLogger(__name__)

HEARTBEAT_S = 20.0
# A worker that has not moved for this long is stuck, and its jobs are better off elsewhere.
STALL_S = 180.0
# A load or a fit that says nothing of its progress is taken for stuck after this.
PATIENT_S = 3600.0

Charge = tuple[str, str] | None  # error code and message


def _nothing(_exc: BaseException) -> Charge:
    return None


class LeaseKeeper:
    """Opens a lease, renews it while its worker moves (`beat`), and hands back what is unfinished at the end.

    Once `lost` is set, everything computed under the lease must be dropped: the jobs are another worker's.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        worker: str,
        host: str,
        queue: str,
        charge: Callable[[BaseException], Charge] = _nothing,
    ) -> None:
        """`charge` says what an error that ends the work costs the jobs that are held then; None: nothing."""
        self._engine, self._charge = engine, charge
        self._ended = threading.Event()
        self._moved_at = time.monotonic()
        self.lost = threading.Event()
        self._renewed_at = time.monotonic()  # before the statement, so that our clock never runs behind the database's
        with engine.begin() as conn:
            self.id = protocol.open_lease(conn, worker=worker, host=host, queue=queue)
        renew = contextvars.copy_context().run  # so that its lines in the log name the same things
        self._thread = threading.Thread(target=renew, args=(self._renew,), name=f"lease-{self.id}", daemon=True)

    def __enter__(self) -> "LeaseKeeper":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        if self.lost.is_set():
            return
        try:
            with self._engine.begin() as conn:
                charge = None if exc is None else self._charge(exc)
                if charge is not None:
                    protocol.give_up(conn, self.id, *charge)
                protocol.close(conn, self.id, _detail(exc))
        except (LeaseLost, SQLAlchemyError) as error:
            why = session.in_one_line(error)
            log.warning("action=close_lease lease=%s error=%s; it will run out by itself", self.id, why)

    def beat(self) -> None:
        """Say that the work moves. Raises LeaseLost once the lease is gone or could not be renewed in time."""
        self._moved_at = max(self._moved_at, time.monotonic())
        if time.monotonic() - self._renewed_at > protocol.LEASE_TTL_S:
            self.lost.set()
        if self.lost.is_set():
            raise LeaseLost(f"Lease {self.id} is gone; its results are dropped and others do its jobs.")

    def trouble(self) -> str | None:
        """A sentence where a drain still holds this although its lease is gone or its work does not move, else None."""
        if self._ended.is_set():
            return None
        if self.lost.is_set():
            return f"Lease {self.id} is lost, and the drain does not notice."
        stuck_s = time.monotonic() - self._moved_at
        return f"The work under lease {self.id} has not moved for {stuck_s:.0f} s." if stuck_s > STALL_S else None

    @contextmanager
    def patience(self) -> Iterator[None]:
        """Keep the lease through a load or a fit, which cannot say that they move. Raises LeaseLost after it."""
        self._moved_at = time.monotonic() + PATIENT_S
        try:
            yield
        finally:
            self._moved_at = time.monotonic()
        self.beat()

    def _renew(self) -> None:
        while not self._ended.wait(HEARTBEAT_S):
            if time.monotonic() - self._moved_at > STALL_S:
                log.warning("action=heartbeat lease=%s skipped: the work does not move", self.id)
                continue
            asked_at = time.monotonic()
            try:
                with self._engine.begin() as conn:
                    renewed = protocol.heartbeat(conn, self.id)
            except SQLAlchemyError as error:
                log.warning("action=heartbeat lease=%s error=%s", self.id, session.in_one_line(error))
                continue
            if not renewed:
                self.lost.set()
                return
            self._renewed_at = asked_at


def _detail(exc: BaseException | None) -> str:
    return "the drain ended" if exc is None else f"the drain ended: {type(exc).__name__}: {session.in_one_line(exc)}"
