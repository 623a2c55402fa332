"""Any server that speaks the chat-completions protocol, by the official client.

vLLM, NIM, llama.cpp, Ollama and the hosted ones. The client is imported when a backend is made.
"""

from agentkit.backends.openai.backend import OpenAIBackend, OpenAIConversation

__all__ = ["OpenAIBackend", "OpenAIConversation"]
