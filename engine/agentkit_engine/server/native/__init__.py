"""The engine's own API: templates filled, and sessions by id.

routes    which request asks for what
sessions  sessions by id: how many there are, who uses one, when one goes
wire      the JSON of requests, answers and errors
"""
