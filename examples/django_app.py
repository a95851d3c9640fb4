"""A Django application in one file, whose view calls a model with a deadline.

::

    gunicorn --chdir examples --worker-class gthread --threads 4 django_app:django_app
    curl localhost:8000/mood?text=good
"""

from __future__ import annotations

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path
from process_engine import engine

from penstock import PenstockError


def mood(request: HttpRequest) -> JsonResponse:
    """Answer with the mood of ``?text=``."""
    try:
        found = engine().call("mood", {"text": request.GET.get("text", "")}, timeout=1.0)
    except PenstockError as error:
        return JsonResponse({"error": error.code, "detail": str(error)}, status=error.status)
    return JsonResponse({"mood": found})


urlpatterns = [path("mood", mood)]
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["localhost", "127.0.0.1"], SECRET_KEY="an example")  # noqa: S106 - nothing is signed
django_app = get_wsgi_application()
