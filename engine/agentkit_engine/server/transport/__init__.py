"""What every route has to do with HTTP, whatever it is that is asked.

problems    what goes wrong, as a status, a kind, a message and the field to blame
bodies      bodies read within bounds and checked, JSON written
dialect     how one API writes its problems and its events
connection  work that ends when its client goes, events as they come
service     what all routes of one server share: who is let in, how long work may take
"""
