"""A live page of what a session watches: failed first, then what is running, waiting and ended, as it changes.

    board = Board(session, title="Tonight's imports")
    board.follow(ids)
    app.add_subapp("/imports/", aiohttp_app(board, allow=logged_in))     # aiohttp
    fastapi.mount("/imports", asgi_app(board, allow=logged_in))          # FastAPI, Starlette, Litestar

Nothing is asked of the vendor for a page that nobody has opened, and a hundred viewers cost what one does.
"""

from .aiohttp_adapter import aiohttp_app
from .asgi_adapter import asgi_app
from .board import Board
from .feed import PageEvent

__all__ = ["Board", "PageEvent", "aiohttp_app", "asgi_app"]
