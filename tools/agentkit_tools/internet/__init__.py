"""Requests that reach only where they may: what the web and the HTTP API tools share.

address      which URLs, hosts and addresses may be reached
connecting   a transport that looks a host up once and connects to exactly what was checked
requesting   one request within limits of time and size, redirects checked one by one

Knows HTTP and the internet's address plan. Must not know tools, pages or documents.
"""
