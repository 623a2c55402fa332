"""An MCP server over standard streams that does what no server should; the standard library alone.

`python mcp_peer.py [NOTES]`: what it hears beside requests is written to the file NOTES.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

NOTES = Path(sys.argv[1]) if len(sys.argv) > 1 else None
ANY: dict[str, Any] = {"type": "object", "properties": {}}
TEXT: dict[str, Any] = {"type": "string"}


def of(**properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


TOOLS: dict[str, dict[str, Any]] = {
    "echo": of(text=TEXT),
    "where": ANY,
    "die": ANY,
    "hang": ANY,
    "steps": ANY,
    "log": ANY,
    "grow": ANY,
    "garbage": ANY,
    "fail": ANY,
    "odd": ANY,
    "shapeless": ANY,
    "twice": of(word={"type": "string", "pattern": r"^(ab|cd)\1$", "description": "A word."}),
    "context": of(context=TEXT, self=TEXT),
    "dotted.name/x": ANY,
    "broken": {"type": "object", "properties": {"a": {"type": 12}}},
    "never": of(a={"type": "string", "enum": []}),
}


def send(**message: Any) -> None:
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def note(text: str) -> None:
    if NOTES is not None:
        with NOTES.open("a") as file:
            file.write(f"{text}\n")


def notify(method: str, **params: Any) -> None:
    send(method=method, params=params)


def call(name: str, arguments: dict[str, Any], token: object) -> str | None:
    match name:
        case "die":
            print("out of cheese", file=sys.stderr, flush=True)
            os._exit(3)
        case "hang":
            note("hanging")
            return None
        case "where":
            return f"{os.getcwd()} {os.environ.get('PEER', '')} {os.environ.get('SECRET', '')}"
        case "steps":
            for step in (1, 2):
                notify(
                    "notifications/progress",
                    progressToken=token,
                    progress=step,
                    total=2,
                    message=f"step {step}",
                )
        case "log":
            notify("notifications/message", level="warning", logger="peer", data={"mice": 3})
        case "grow":
            TOOLS["grown"] = ANY
            notify("notifications/tools/list_changed")
        case "garbage":
            print("this is no JSON", flush=True)
        case "fail":
            return "no such thing"
        case _:
            pass
    return json.dumps(arguments)


def answer(method: str, params: dict[str, Any]) -> dict[str, Any] | None:
    match method:
        case "initialize":
            note("began")
            return {
                "protocolVersion": "2025-06-18",
                "capabilities": {"tools": {"listChanged": True}, "logging": {}},
                "serverInfo": {"name": "peer", "version": "1"},
                "instructions": "Be kind.",
            }
        case "tools/list":
            names = sorted(TOOLS)
            start = int(params.get("cursor", 0))
            page: dict[str, Any] = {
                "tools": [
                    {"name": name, "description": f"Does {name}.", "inputSchema": TOOLS[name]}
                    for name in names[start : start + 5]
                ]
            }
            return page | ({"nextCursor": str(start + 5)} if start + 5 < len(names) else {})
        case "tools/call":
            token = params.get("_meta", {}).get("progressToken")
            text = call(params["name"], params.get("arguments", {}), token)
            if text is None:
                return None
            if params["name"] == "shapeless":
                return {"content": 5}
            failed = params["name"] == "fail"
            return {"content": [{"type": "text", "text": text}], "isError": failed}
        case "logging/setLevel":
            note(f"level {params['level']}")
            return {}
        case _:
            raise LookupError(method)


for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        if message["method"] == "notifications/cancelled":
            note("cancelled")
        continue
    if message.get("params", {}).get("name") == "odd":
        send(id=message["id"], error={"code": -32000, "message": "an odd day"})
        continue
    try:
        result = answer(message["method"], message.get("params", {}))
    except LookupError:
        send(id=message["id"], error={"code": -32601, "message": "Method not found"})
        continue
    if result is not None:
        send(id=message["id"], result=result)
