"""Web workers that share one API key: each of them answers, one of them asks.

Run it with CCACTIVITY_ACCESS_TOKEN and CCACTIVITY_FLEET_URL in the environment:
`uvicorn fleet_app:app --workers 4`
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse

from ccactivity import (
    ActivityFailedError,
    ActivitySession,
    FleetUnavailableError,
    NotFoundError,
    WatchTimeoutError,
)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    async with ActivitySession.from_env() as session:  # reads CCACTIVITY_FLEET_URL, too
        yield {"session": session}


app = FastAPI(lifespan=lifespan)


@app.get("/imports/{activity_id}")
async def show(activity_id: str, request: Request) -> dict[str, Any]:
    """An import as it ended, whichever process saw it."""
    session: ActivitySession = request.state.session
    try:
        activity = await session.wait(activity_id, timeout=600, max_staleness=5)
    except ActivityFailedError as error:
        activity = error.activity
    except (NotFoundError, ValueError):
        raise HTTPException(404, "no such import") from None
    except WatchTimeoutError:
        raise HTTPException(504, "the import has not ended yet") from None
    return activity.as_dict()


@app.get("/health")
async def health(request: Request) -> dict[str, Any]:
    """Whether the fleet can work, and who does."""
    fleet = request.state.session.stats.fleet
    if fleet is None or not fleet.connected:
        raise HTTPException(503, "no fleet")
    return {"members": fleet.members, "polls": fleet.polling, "spent": fleet.spent}


@app.exception_handler(FleetUnavailableError)
async def unavailable(_: Request, error: FleetUnavailableError) -> JSONResponse:
    """The server of the fleet is away, so nothing may be sent: try again later."""
    return JSONResponse({"detail": error.reason}, 503)
