"""Whether a request may be sent now: the limits of one API key, and the queue in front of them."""
