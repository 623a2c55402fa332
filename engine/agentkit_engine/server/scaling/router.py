"""To which replica a request goes: what belongs together, to where it was served before.

Knows Ray Serve's custom request routers. Must not know what keys stand for.

A session stays where it is as long as that replica is there, also when others come: its prefix is
encoded there. A hint is outweighed by a replica that has much less to do. All else, and what has
lost its replica, goes to the one with the least to do; of several such, to where the fewest live.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import Any

from ray.serve.request_router import PendingRequest, ReplicaID, RequestRouter, RunningReplica

STRICT = "!"  # before a key that is no hint
MAKES = "\n"  # between a key and the one that is made beside it
_HOMES = 65_536  # keys remembered
_OUTWEIGHED = 8  # requests that a replica has to do more than the least busy one


class HomeRouter(RequestRouter):
    """Remembers where each key is at home; the key is the `session_id` of a handle's options."""

    def initialize_state(self, **_: Any) -> None:
        self._homes: OrderedDict[str, ReplicaID] = OrderedDict()  # least recently used first
        self._lives: Counter[ReplicaID] = Counter()

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,
    ) -> list[list[RunningReplica]]:
        """Those to choose the least busy of; asked again, after a pause, while all are full."""
        key = ""
        if pending_request is not None:
            pending_request.routing_context.should_backoff = True
            key = pending_request.metadata.session_id.partition(MAKES)[0]
        home = next(
            (one for one in candidate_replicas if one.replica_id == self._homes.get(key)), None
        )
        if home is not None and (key.startswith(STRICT) or not self._outweighed(home)):
            return [[home]]
        # of equally busy ones the first is taken
        return [sorted(candidate_replicas, key=lambda one: self._lives[one.replica_id])]

    def on_request_routed(
        self, pending_request: PendingRequest, replica_id: ReplicaID, result: Any
    ) -> None:
        """It was taken there."""
        for key in pending_request.metadata.session_id.split(MAKES):
            if key:
                self._settle(key, replica_id)

    def _settle(self, key: str, replica: ReplicaID) -> None:
        before = self._homes.pop(key, None)
        if before is not None:
            self._left(before)
        self._homes[key] = replica
        self._lives[replica] += 1
        if len(self._homes) > _HOMES:
            self._left(self._homes.popitem(last=False)[1])

    def _left(self, replica: ReplicaID) -> None:
        self._lives[replica] -= 1
        if not self._lives[replica]:
            del self._lives[replica]

    def _outweighed(self, home: RunningReplica) -> bool:
        waiting = {
            id: self.replica_queue_len_cache.get(id) or 0  # None: nobody knows of any
            for id in self.curr_replicas
        }
        return waiting.get(home.replica_id, 0) - min(waiting.values()) >= _OUTWEIGHED
