"""What can be seen of a run: traces, logs, telemetry."""
