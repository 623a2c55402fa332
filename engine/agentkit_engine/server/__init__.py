"""The engine behind HTTP: `app.make_app` for an ASGI server, `command.serve` for a terminal.

app         routes: which request asks for what, and who may ask
sessions    sessions by id: how many there are, who uses one, when one goes
connection  bodies read within bounds, work that ends when its client goes, events as they come
wire        the JSON of requests, answers and errors
limits      what one server holds and takes
command     reads the command line, loads the engine, listens
"""
