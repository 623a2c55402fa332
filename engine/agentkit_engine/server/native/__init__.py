"""The engine's own API: templates filled, and sessions by id.

routes    which request asks for what
sessions  sessions by id: how many there are, who uses one, when one goes
held      one of them
ledger    what sessions are made of, where several servers share them
wire      the JSON of requests, answers and errors
"""
