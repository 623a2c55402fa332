"""Which tools a model gets to see, where there are more than a prompt should hold."""
