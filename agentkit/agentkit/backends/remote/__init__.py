"""The remote backend: an engine in another process, behind `agentkit serve`."""

from agentkit.backends.remote.backend import RemoteBackend

__all__ = ["RemoteBackend"]
