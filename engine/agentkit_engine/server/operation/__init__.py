"""What runs a server: who may ask, what is counted and logged, how it ends.

keys     API keys
meter    what is counted, for Prometheus
"""
