"""Chats as Anthropic's API speaks them.

dialect   its errors and events
wire      the JSON of what is asked
asking    what that asks for: the chat, its tools and its options
counting  how many tokens a chat is
told      the JSON of what is answered, whole and event by event
messages  POST /v1/messages, POST /v1/messages/count_tokens
"""
