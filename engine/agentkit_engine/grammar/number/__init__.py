"""Numbers: exact sets of them, and the texts that write them."""
