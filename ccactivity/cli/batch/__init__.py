"""The view of many activities while they are watched: its state, its rendering, the live view and plain lines."""
