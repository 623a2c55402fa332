"""What every route has to do with HTTP, whatever it is that is asked.

account     what is known of a request by now, for logs, metrics and traces
bodies      bodies read within bounds and checked, JSON written
connection  work that ends when its client goes, events as they come
described   routes that say what they take and give
dialect     how one API writes its problems and its events
problems    what goes wrong, as a status, a kind, a message and the field to blame
protocol    connections held to limits
service     what all routes of one server share: who is let in, how long work may take
together    works done together, whose forwards are batched
"""
