"""Keeps the progress of imports in Django's database: one Celery task watches all of them.

    pip install ccactivity django celery
    python django_celery.py --sandbox    # offline, and without a broker

All is in one file here; in a project each part goes into the module that is named above it, and
`celery -A project worker --beat` runs the task, with CCACTIVITY_ACCESS_TOKEN in its environment.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from contextlib import suppress

import django
from asgiref.sync import async_to_sync
from celery import Celery
from django.conf import settings
from django.db import connection, models
from django.http import HttpRequest, JsonResponse
from django.shortcuts import get_object_or_404
from django.urls import path

from ccactivity import Activity, ActivitySession, BatchError, CCActivityError
from ccactivity.sandbox import Sandbox, Workload

# --- settings.py

if not settings.configured:
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
    settings.configure(DATABASES={"default": database}, ROOT_URLCONF=__name__, USE_TZ=True)
    django.setup()

# --- models.py


class Import(models.Model):
    """An import that was started: its id is saved when it is, everything else by the task."""

    activity_id = models.CharField(max_length=36, primary_key=True)
    state = models.CharField(max_length=20, default="initialized")
    percent_done = models.IntegerField(default=0)
    refused_rows = models.IntegerField(default=0)
    ended = models.BooleanField(default=False, db_index=True)

    class Meta:
        app_label = "imports"


# --- views.py


def import_progress(request: HttpRequest, activity_id: str) -> JsonResponse:
    """What a page asks for every few seconds: it costs no request to the vendor."""
    # Here your app makes sure that this person may see this import.
    found = get_object_or_404(Import, pk=activity_id)
    return JsonResponse({"state": found.state, "percent": found.percent_done, "ended": found.ended})


urlpatterns = [path("imports/<str:activity_id>", import_progress)]

# --- tasks.py

celery_app = Celery("imports", broker=os.environ.get("CELERY_BROKER_URL"))
ROUND_S = 55.0


@celery_app.task(ignore_result=True, expires=ROUND_S)
def follow_imports() -> None:
    """Watch all imports that have not ended, for a minute. Beat starts it anew each minute.

    One task for all: imports that are watched together share their requests, and the limits are
    those of the API key, which each process counts for itself.
    """
    ids = list(Import.objects.filter(ended=False).values_list("pk", flat=True))
    if ids:
        async_to_sync(follow)(ids)


async def follow(ids: list[str]) -> None:
    async with ActivitySession.from_env() as session, session.watch_many(ids) as watch:
        with suppress(TimeoutError, BatchError):  # the next round goes on with those that are left
            async with asyncio.timeout(ROUND_S):
                async for activity in watch:
                    await save(activity)
        gone = Import.objects.filter(pk__in=list(watch.errors))
        await gone.aupdate(state="unknown", ended=True)


async def save(activity: Activity) -> None:
    await Import.objects.filter(pk=activity.activity_id).aupdate(
        state=activity.state or "unknown",
        percent_done=activity.percent_done or 0,
        refused_rows=activity.status.refused_count,
        ended=activity.done,
    )


celery_app.conf.beat_schedule = {"follow-imports": {"task": follow_imports.name, "schedule": 60.0}}

# --- the sandbox


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the task in this process.")
    parser.add_argument("--sandbox", action="store_true", required=True)
    parser.parse_args()
    celery_app.conf.task_always_eager = True  # a task runs where it is called, without a broker
    celery_app.conf.task_eager_propagates = True
    with connection.schema_editor() as editor:
        editor.create_model(Import)
    quick = Workload(median=1, sigma=0.3, delay=(0, 0.5), failed_share=0.3)
    with Sandbox(workload=quick) as vendor:
        os.environ.update(vendor.env)
        Import.objects.bulk_create([Import(activity_id=vendor.submit()) for _ in range(6)])
        try:
            follow_imports.delay()
        except CCActivityError as error:
            print(f"error: {error}", file=sys.stderr)
            return 3
        except KeyboardInterrupt:
            return 130
    for row in Import.objects.all():
        print(row.activity_id, row.state, row.refused_rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
