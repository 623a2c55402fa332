"""What runs a server: who may ask, what is counted and logged, how it ends.

watching  each request has an account, which is told when it is over
keys      who may ask: API keys, and names of the host
health    /healthz, /readyz, /metrics
meter     what is counted, for Prometheus
logs      one line a request
tracing   requests as OpenTelemetry spans
draining  the process that serves: how it takes connections, and how it ends
"""
