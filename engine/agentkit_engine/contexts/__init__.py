"""Contexts: chats as tokens, and their encoded prefixes.

Knows chat templates, tokenizers and prefixes. Must not know what is filled in behind a context.

prompt      messages and tools through the checkpoint's own chat template, into tokens
prefixes    the one owner of encoded prefixes: shared by all contexts, kept below a budget
context     a chat that grows, forks and goes back
document    a text that is no chat, as such a context
"""
