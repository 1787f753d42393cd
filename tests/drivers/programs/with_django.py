"""Django with persistent connections: a model, atomic blocks, server-side cursors, requests one after another."""

from __future__ import annotations

import sys

import django
from django.conf import settings

from tests.drivers.programs.telling import MY_PID, TARGET, N, chapter, end, seen, tell, tell_error

settings.configure(
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": TARGET["host"],
            "PORT": TARGET["port"],
            "USER": TARGET["user"],
            "NAME": TARGET["database"],
            "CONN_MAX_AGE": None,
            "CONN_HEALTH_CHECKS": True,
            "TIME_ZONE": f"Etc/GMT+{N}",
            "OPTIONS": {
                "options": f"-c work_mem={N}MB",
                "server_side_binding": sys.argv[4] == "server",
            },
        }
    },
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    USE_TZ=True,
)
django.setup()

from django.core.signals import request_finished, request_started  # noqa: E402  # once there are settings
from django.db import IntegrityError, connection, models, transaction  # noqa: E402


class Note(models.Model):  # type: ignore[misc]  # Django has no types
    title = models.CharField(max_length=50, unique=True)
    tags = models.JSONField(default=dict)
    when = models.DateTimeField(null=True)

    class Meta:
        app_label = "notes"
        db_table = f"django_{sys.argv[4]}_{N}"


def requests() -> None:
    """Each as Django's handler does it: what is old is closed, what is broken is found."""
    for number in range(6):
        request_started.send(sender=None)
        with chapter(f"request {number}"):
            with transaction.atomic():
                note = Note.objects.create(
                    title=f"{N}.{number}", tags={"n": number}, when="2020-01-01T00:00Z"
                )
                try:
                    with transaction.atomic():
                        Note.objects.create(title=f"{N}.0")
                        Note.objects.create(title=f"{N}.0")
                except IntegrityError as error:
                    tell_error(error)
                transaction.on_commit(lambda: tell("committed"))
            tell(Note.objects.filter(tags__n__gte=number - 1).count(), Note.objects.get(pk=note.pk).when)
            with connection.cursor() as cursor:
                cursor.execute("SELECT current_setting('work_mem'), current_setting('TimeZone')")
                tell(cursor.fetchall())
                for _ in range(2):
                    cursor.execute(MY_PID)
                    seen(cursor.fetchone()[0])
        request_finished.send(sender=None)


def cursors() -> None:
    with chapter("a server-side cursor, outside a transaction"):
        Note.objects.bulk_create([Note(title=f"bulk {number}") for number in range(300)])
        rows = Note.objects.order_by("title").iterator(chunk_size=20)
        tell([next(rows).title for _ in range(50)][-1], Note.objects.filter(title__startswith="bulk").count())
        tell(sum(1 for _ in rows))
    with chapter("a server-side cursor, in a transaction"), transaction.atomic():
        tell(sum(len(note.title) for note in Note.objects.iterator(chunk_size=20)))
    with chapter("rows are locked"), transaction.atomic():
        tell([note.title for note in Note.objects.select_for_update().order_by("pk")[:3]])
    with chapter("updates"):
        tell(
            Note.objects.filter(title__contains="1").update(when=None),
            Note.objects.filter(when=None).delete()[0],
        )
    with chapter("introspection"), connection.cursor() as cursor:
        fields = connection.introspection.get_table_description(cursor, Note._meta.db_table)
        tell([(field.name, field.null_ok) for field in fields])


with connection.schema_editor() as editor:
    editor.create_model(Note)
requests()
cursors()
with connection.schema_editor() as editor:
    editor.delete_model(Note)
end()
