"""The view of many activities: its state, its rendering, the terminal, and plain lines."""
