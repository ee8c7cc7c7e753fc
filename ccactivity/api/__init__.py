"""One question to the vendor and its answer: requests, transport, retries, decoding. Knows nothing of watches."""
