"""The tool plugins that come with agentkit: a calculator, a clock and a to-do list.

Each module knows one subject and the public face of `agentkit`; none knows of models, canvases
or of another tool. They are found through the entry-point group `agentkit.tools`, like anyone's.
"""
