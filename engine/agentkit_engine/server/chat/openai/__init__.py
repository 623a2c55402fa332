"""Chats as OpenAI's API speaks them.

dialect      its errors and events
wire         the JSON of what is asked in a chat completion
messages     its messages, as chat templates take them
tools        what its tools, tool choices and formats of answers ask for
told         the JSON of what is answered
logprobs     the probabilities of its tokens
completions  POST /v1/chat/completions
models       GET /v1/models, GET /v1/models/{id}

responses         POST /v1/responses, GET and DELETE /v1/responses/{id}
responses_wire    the JSON of what is asked there
responses_items   a chat of items, as chat templates take it
responses_asked   the turn that is asked for
responses_told    the JSON of what is answered
responses_events  its events
responses_kept    the last ones, to be gone on from
"""
