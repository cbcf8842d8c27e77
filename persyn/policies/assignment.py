"""The best assignment of prompts to teachers that have capacities: exact, and quick at 100,000 × 20.

It is a transportation problem with one small side: every prompt goes to one teacher, teacher j takes at most
capacity_j, and the sum of coefficients is maximal. The constraint matrix is totally unimodular, so the linear programme
has a whole-numbered optimum. Its dual is one price per teacher: at the right prices every prompt takes the teacher of
its highest coefficient minus price, and every teacher with a price is full. These two facts together prove that the
assignment is optimal. A smoothed dual gives approximate prices; shortest augmenting paths over the teachers (not the
prompts) then repair the rest, so that the result is exact whatever the first prices were.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

SAMPLE = 20_000  # prompts on which the first prices are fitted
TEMPERATURES = (0.1, 0.01, 0.001)  # of the smoothed dual, in units of the coefficients' spread
SWEEPS = 10


def assign(coefficients: Floats, capacity: NDArray[np.int64]) -> Indices:
    """The teacher (P,) of each prompt, for coefficients (P, M) and capacities (M,) in prompts.

    No assignment within the capacities has a larger sum of coefficients. Only the rows' order decides between equal
    optima. Where no capacity binds, each prompt has its highest coefficient, the first of equals.
    Raises ValueError if the capacities hold fewer than P prompts, or if a coefficient is not finite.
    """
    prompts = len(coefficients)
    if not np.isfinite(coefficients).all():
        raise ValueError("a coefficient is not finite")
    room = np.minimum(capacity, prompts)
    if (room < 0).any() or room.sum() < prompts:
        raise ValueError(f"capacities of {room.sum()} in all cannot take {prompts} prompts")
    free = coefficients.argmax(axis=1)
    if (np.bincount(free, minlength=len(room)) <= room).all():
        return np.asarray(free)
    prices = _sharpen(coefficients, room, _rough_prices(coefficients, room / prompts))
    return _Repair(coefficients, room, prices).run()


def _rough_prices(coefficients: Floats, share: Floats) -> Floats:
    """(M,) prices near the dual optimum, with each argmax replaced by a soft one that hardens, on a sample of rows.

    Their precision affects only the time that the repair takes.
    """
    from scipy.optimize import minimize  # noqa: PLC0415 - a fifth of a worker's start, and few runs have a budget

    step = max(1, len(coefficients) // SAMPLE)
    rows = coefficients[::step] - coefficients[::step].mean(axis=1, keepdims=True)
    spread = float(rows.std()) or 1.0
    prices = np.zeros(rows.shape[1])
    for temperature in TEMPERATURES:
        scale = temperature * spread

        def dual(price: Floats, scale: float = scale) -> tuple[float, Floats]:
            offered = (rows - price) / scale
            top = offered.max(axis=1, keepdims=True)
            weight = np.exp(offered - top)
            total = weight.sum(axis=1, keepdims=True)
            value = scale * float((np.log(total) + top).mean()) + float(share @ price)
            return value / spread, (share - (weight / total).mean(axis=0)) / spread

        bounds = [(0.0, None)] * len(prices)
        prices = minimize(dual, prices, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 60}).x
    return np.asarray(prices)


def _sharpen(coefficients: Floats, room: NDArray[np.int64], prices: Floats) -> Floats:
    """Set one teacher's price after the other so that it exactly fills its room, until that no longer helps.

    Each step minimises the dual exactly in one price. It moves whole groups of near-equal prompts at once, which the
    smoothed dual cannot tell apart.
    """
    best, left = prices, _misplaced(coefficients, room, prices)
    for _ in range(SWEEPS):
        prices = best.copy()
        for teacher in range(len(room)):
            offered = coefficients - prices
            offered[:, teacher] = -np.inf
            lead = coefficients[:, teacher] - offered.max(axis=1)  # up to this price the teacher keeps the prompt
            prices[teacher] = max(0.0, _between(lead, int(room[teacher])))
        now = _misplaced(coefficients, room, prices)
        if now >= left:
            break
        best, left = prices, now
    return best


def _between(lead: Floats, room: int) -> float:
    """A price at which exactly `room` prompts stay, as far as ties allow."""
    if room == len(lead):
        return 0.0
    at = len(lead) - room  # the leads from this place on, sorted, are the highest `room`
    if room == 0:
        return float(lead.max()) + 1.0
    low, high = np.partition(lead, (at - 1, at))[[at - 1, at]]
    return float(low + high) / 2


def _misplaced(coefficients: Floats, room: NDArray[np.int64], prices: Floats) -> int:
    """The number of prompts that the prices misplace: too many at a teacher, or too few at one with a price."""
    off = np.bincount((coefficients - prices).argmax(axis=1), minlength=len(room)) - room
    return int(np.where((off > 0) | (prices > 0), np.abs(off), 0).sum())


class _Repair:
    """Successive shortest paths in the network prompt → teacher → sink, folded onto the M teachers and the sink.

    A prompt sits where coefficient minus price is highest, so moving the cheapest prompt of teacher j to k costs
    gap[j, k] = min over j's prompts of (c_j - c_k), and gap + price_k - price_j ≥ 0. `used` is the flow from a teacher
    into the sink: all of its room where it has a price. Excess (prompts beyond `used`) flows to teachers that lack it.
    """

    def __init__(self, coefficients: Floats, room: NDArray[np.int64], prices: Floats) -> None:
        self._coefficients, self._room = coefficients, room
        self._teachers = len(room)
        self._price = np.append(np.maximum(prices, 0.0), 0.0)  # the sink's, 0, last
        self._chosen = (coefficients - self._price[:-1]).argmax(axis=1)
        self._count = np.bincount(self._chosen, minlength=self._teachers)
        self._used = np.where(self._price[:-1] > 0, room, np.minimum(room, self._count))
        self._gap = np.full((self._teachers, self._teachers), np.inf)
        for teacher in range(self._teachers):
            self._measure(teacher)

    def run(self) -> Indices:
        while True:
            excess = np.append(self._count - self._used, self._used.sum() - len(self._chosen))
            if not excess.any():
                return np.asarray(self._chosen)
            distance, before = self._shortest(excess > 0)
            short = np.flatnonzero(excess < 0)
            goal = int(short[distance[short].argmin()])
            self._price -= np.minimum(distance, distance[goal])
            self._price -= self._price[-1]
            path = [goal]
            while before[path[-1]] >= 0:
                path.append(int(before[path[-1]]))
            self._push(path[::-1], int(min(excess[path[-1]], -excess[goal])))

    def _measure(self, teacher: int) -> None:
        """Set the cost of the cheapest move from this teacher to each other one."""
        rows = self._coefficients[self._chosen == teacher]
        self._gap[teacher] = (rows[:, [teacher]] - rows).min(axis=0, initial=np.inf)

    def _costs(self) -> Floats:
        """(M+1, M+1) reduced costs of the moves that are possible, infinite for the others; never below 0."""
        sink = self._teachers
        cost = np.full((sink + 1, sink + 1), np.inf)
        cost[:sink, :sink] = self._gap
        cost[:sink, sink] = np.where(self._used < self._room, 0.0, np.inf)
        cost[sink, :sink] = np.where(self._used > 0, 0.0, np.inf)
        # Rounding may leave a tiny negative cost, which would send the search round in circles.
        return np.asarray(np.maximum(cost + self._price[None, :] - self._price[:, None], 0.0))

    def _shortest(self, sources: NDArray[np.bool_]) -> tuple[Floats, Indices]:
        """Dijkstra from all sources: each node's distance, and the node before it (-1 at a source)."""
        cost = self._costs()
        distance = np.where(sources, 0.0, np.inf)
        before = np.full(len(distance), -1)
        open_ = np.ones(len(distance), dtype=bool)
        for _ in range(len(distance)):
            node = int(np.where(open_, distance, np.inf).argmin())
            open_[node] = False
            reached = distance[node] + cost[node]
            better = open_ & (reached < distance)
            distance[better] = reached[better]
            before[better] = node
        return distance, before

    def _push(self, path: list[int], amount: int) -> None:
        """Move prompts along the path at its price: as many as there are, at most `amount`."""

        sink = self._teachers
        moving: list[tuple[int, int, Indices]] = []
        for origin, target in pairwise(path):
            if target == sink:
                amount = min(amount, int(self._room[origin] - self._used[origin]))
            elif origin == sink:
                amount = min(amount, int(self._used[target]))
            else:
                members = np.flatnonzero(self._chosen == origin)
                gap = self._coefficients[members, origin] - self._coefficients[members, target]
                cheapest = members[gap <= self._gap[origin, target]]
                moving.append((origin, target, cheapest))
                amount = min(amount, len(cheapest))
        for origin, target in pairwise(path):
            if target == sink:
                self._used[origin] += amount
            elif origin == sink:
                self._used[target] -= amount
        for origin, target, cheapest in moving:
            self._chosen[cheapest[:amount]] = target
            self._count[origin] -= amount
            self._count[target] += amount
        for teacher in {node for step in moving for node in step[:2]}:
            self._measure(teacher)
