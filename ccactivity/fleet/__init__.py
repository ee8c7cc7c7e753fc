"""The fleet: many processes with one API key spend what one would, over Redis or Valkey."""
