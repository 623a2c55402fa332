"""Agents measured on files of cases: `await evaluate(agent, read_cases("cases.jsonl"))`."""

from __future__ import annotations

from agentkit.evaluation.cases import Case, CaseFileError, ExpectedCall, read_cases
from agentkit.evaluation.judging import Judgement
from agentkit.evaluation.measuring import evaluate
from agentkit.evaluation.report import Figure, Report, Share

__all__ = [
    "Case",
    "CaseFileError",
    "ExpectedCall",
    "Figure",
    "Judgement",
    "Report",
    "Share",
    "evaluate",
    "read_cases",
]
