"""The tool plugins that come with agentkit: files, shell, web, databases, a calculator and more.

A tool is a module or a package that knows one subject and the public face of `agentkit`; none knows
of models, canvases or of another tool. What several need lies in rooms below them: `system` (files,
processes) and `internet` (addresses, requests). They are found through the entry-point group
`agentkit.tools`, like anyone's; docs/tools.md says what each may touch.
"""
