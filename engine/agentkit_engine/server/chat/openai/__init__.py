"""Chats as OpenAI's API speaks them.

dialect      its errors and events
wire         the JSON of what is asked in a chat completion
messages     its messages, as chat templates take them
tools        what its tools, tool choices and formats of answers ask for
told         the JSON of what is answered
completions  POST /v1/chat/completions
models       GET /v1/models, GET /v1/models/{id}
"""
