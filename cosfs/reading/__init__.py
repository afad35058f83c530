"""How bytes of objects are read ahead, shared and handed out.

``window`` guesses from the reads of one handle what comes next, ``ranges`` keeps what was fetched within the byte
budget, ``stream`` fetches and waits.
"""
