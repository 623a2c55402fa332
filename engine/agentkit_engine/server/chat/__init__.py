"""Chats as other servers speak them: one turn asked for, decided by the engine, told their way.

asked       one turn of a chat, whatever API asked for it
effort      what a turn took, and how sure the model is, as all of them tell it
models      the one model, and the names it may be asked for by
turns       asks the engine: prefix, choice, calls or answer, and what of them is certain already
openai/     /v1/chat/completions, /v1/responses, /v1/models
anthropic/  /v1/messages
"""
