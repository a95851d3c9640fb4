"""A Flask application whose views call a model with a deadline.

::

    gunicorn --chdir examples --workers 2 flask_app:flask_app
    curl localhost:8000/mood?text=good
"""

from __future__ import annotations

from flask import Flask, jsonify, request
from flask.typing import ResponseReturnValue
from process_engine import engine

from penstock import PenstockError

flask_app = Flask(__name__)


@flask_app.get("/mood")
def mood() -> ResponseReturnValue:
    """Answer with the mood of ``?text=``."""
    return jsonify(mood=engine().call("mood", {"text": request.args.get("text", "")}, timeout=1.0))


@flask_app.errorhandler(PenstockError)
def on_error(error: PenstockError) -> ResponseReturnValue:
    """Answer with the status that Penstock would answer with."""
    return jsonify(error=error.code, detail=str(error)), error.status
