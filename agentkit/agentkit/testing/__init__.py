"""Doubles and helpers for testing agents and tools without a model."""

from __future__ import annotations

from agentkit.testing.assertions import (
    Matching,
    assert_called,
    assert_calls,
    assert_not_called,
    assert_well_formed,
)
from agentkit.testing.recorded import RecordingBackend, ReplayBackend
from agentkit.testing.script import (
    ScriptedAnswer,
    ScriptedCall,
    ScriptedDraft,
    ScriptedRefill,
    ScriptItem,
    answer,
    call,
    drafted,
    refill,
)
from agentkit.testing.scripted import ScriptedBackend, ScriptedConversation

__all__ = [
    "Matching",
    "RecordingBackend",
    "ReplayBackend",
    "ScriptItem",
    "ScriptedAnswer",
    "ScriptedBackend",
    "ScriptedCall",
    "ScriptedConversation",
    "ScriptedDraft",
    "ScriptedRefill",
    "answer",
    "assert_called",
    "assert_calls",
    "assert_not_called",
    "assert_well_formed",
    "call",
    "drafted",
    "refill",
]
