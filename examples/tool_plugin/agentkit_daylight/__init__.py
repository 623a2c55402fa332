"""Tools for agents: when the sun rises and sets. The plugin is in `agentkit_daylight.plugin`."""
