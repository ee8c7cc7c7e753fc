"""Whom to ask, when, and who hears of it: planner, poller and subscribers."""
