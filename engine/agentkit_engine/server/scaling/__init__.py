"""The same application on several GPUs or machines, as a deployment of Ray Serve.

    clients ── front ──┬── replica: engine + application
                       ├── replica: engine + application
                       └── ledger: what every session is made of

front     takes HTTP, chooses what a request belongs to, and hands its answer on
affinity  what a request belongs to: a session, a client, or others that begin as it does
router    to which replica what belongs together goes
replica   an engine and its application, in a process of Ray's
ledger    what sessions are made of, in a process of its own
cluster   starts and ends all of these

Ray is imported when a cluster is started, and in the processes that it starts.
"""
