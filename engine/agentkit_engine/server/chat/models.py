"""The one model that is served, and what it may be asked for by.

Knows its name. Must not know any API.
"""

from __future__ import annotations

from agentkit_engine.server.transport.problems import Refused
from agentkit_engine.server.transport.service import Service

ANY_MODEL = "default"
"""The name by which every server's model can be asked for."""


def require_model(service: Service, name: str) -> None:
    """Refuses a request for a model that is not served.

    Raises:
        Refused: 404, by the name that was asked for.
    """
    if name not in (service.model, ANY_MODEL):
        why = f"The model {name!r} does not exist here; take {service.model!r} or {ANY_MODEL!r}"
        raise Refused(404, "NoSuchModel", why, "model")
