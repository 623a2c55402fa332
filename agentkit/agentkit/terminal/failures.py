"""Tells errors of the user's own code: in a line, and below it the lines it came from.

Knows tracebacks. Must not know what was being done.
"""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path

from agentkit.errors import AgentKitError

# Frames of these say nothing to whoever wrote an agent.
_OTHERS = (
    "<frozen",
    str(Path(__file__).parents[1]),
    *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
)


def is_own(error: BaseException) -> bool:
    """Whether code that is neither ours nor installed had a part in it."""
    return bool(_own_frames(error))


def told(error: BaseException) -> str:
    """The error, and the lines of the user's that it came through."""
    if isinstance(error, AgentKitError):
        said = str(error)
    else:
        said = "".join(traceback.format_exception_only(error)[-1:]).strip()
    lines = traceback.format_list(_own_frames(error))
    if isinstance(error, SyntaxError):  # where it is stands in the error, not in a frame
        lines += traceback.format_exception_only(error)[:-1]
    return "\n".join([said, *"".join(lines).rstrip().splitlines()])


def _own_frames(error: BaseException) -> list[traceback.FrameSummary]:
    frames = traceback.extract_tb(error.__traceback__)
    return [frame for frame in frames if not frame.filename.startswith(_OTHERS)]
