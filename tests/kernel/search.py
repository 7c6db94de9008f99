"""Every state that a few calls can reach, and what must hold in all of them.

A breadth-first search over hashed states: a scope says where it starts and which calls may be made in a
state, and the model says what comes of them, the world's choices included. What is asked of the graph that
this draws is the tests' business: of every state, of every edge, or of every path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from loopspec.kernel.calls import Call, Outcome
from loopspec.kernel.state import State
from loopspec.kernel.step import step


@dataclass
class Reached:
    """The graph: of each state its successors, and by which call it was first come to, and from where."""

    edges: dict[State, list[tuple[Call, Outcome]]] = field(default_factory=dict)
    parent: dict[State, tuple[State, Call]] = field(default_factory=dict)
    depth: int = 0
    complete: bool = True

    def path(self, state: State) -> list[Call]:
        """The calls by which ``state`` was first come to."""
        calls: list[Call] = []
        while state in self.parent:
            state, call = self.parent[state]
            calls.append(call)
        return calls[::-1]

    def outcomes(self) -> Iterator[tuple[State, Call, Outcome]]:
        """Every edge."""
        for state, edges in self.edges.items():
            for call, outcome in edges:
                yield state, call, outcome

    def __str__(self) -> str:
        edges = sum(map(len, self.edges.values()))
        whole = "all there are" if self.complete else "and more beyond"
        return f"{len(self.edges)} states, {edges} edges, depth {self.depth}, {whole}"


def explore(starts: Iterable[State], moves: Callable[[State], Iterable[Call]], depth: int) -> Reached:
    """Everything within ``depth`` calls of ``starts``."""
    reached = Reached()
    level = dict.fromkeys(starts)
    while level and reached.depth <= depth:
        following: dict[State, None] = {}
        for state in level:
            edges = [(call, outcome) for call in moves(state) for outcome in step(state, call)]
            reached.edges[state] = edges
            if reached.depth == depth:
                continue
            for call, outcome in edges:
                after = outcome.state
                if after not in reached.edges and after not in level and after not in following:
                    following[after] = None
                    reached.parent[after] = (state, call)
        reached.depth += 1
        level = following
    reached.depth -= 1
    reached.complete = all(o.state in reached.edges for _, _, o in reached.outcomes())
    return reached


def opened(state: State, *calls: Call) -> State:
    """``state`` after ``calls``, of which each has one outcome."""
    for call in calls:
        (outcome,) = step(state, call)
        state = outcome.state
    return state
