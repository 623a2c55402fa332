"""The engine behind HTTP: `app.make_app` for an ASGI server, `command.serve` for a terminal.

app         assembles the routes of every room, and what stands before them
command     reads the command line, loads the engine, listens
listening   takes a place to listen at
limits      what one server holds and takes
stopping    stop texts, and words that are told while they are decided on
beliefs     how sure the model was, worked out where nobody waits for it
playground/ a page to watch the model denoise
scaling/    several engines behind one address, on Ray Serve
chat/       OpenAI's chat completions and responses, Anthropic's messages
copilot/    holes in texts, as editors ask for them
native/     the engine's own API: templates, sessions by id; the OpenAPI document
operation/  keys, metrics, logs, traces, how a server ends
transport/  bodies and events within bounds, places and time for each request, problems
"""
