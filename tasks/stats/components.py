"""Connected components, by union-find: what a chain of links holds together.

``parent`` has a place for each node, at first its own (``list(range(n))``); a node may be appended at any time.
"""

from __future__ import annotations


def root(parent: list[int], node: int) -> int:
    """The smallest node of a node's component; the way there is shortened for the next time."""
    while parent[node] != node:
        parent[node] = node = parent[parent[node]]
    return node


def join(parent: list[int], one: int, other: int) -> None:
    """Make one component of those of two nodes."""
    first, second = root(parent, one), root(parent, other)
    parent[max(first, second)] = min(first, second)
