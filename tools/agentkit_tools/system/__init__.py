"""What several tools share of the machine: rooted folders, texts, processes. No tool is here.

Knows the operating system; must not know agents or tools, and imports neither: the searcher that
runs in a process of its own starts in an instant.
"""
