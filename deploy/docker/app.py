"""A placeholder for your app."""

from penstock import App

app = App(__name__)


@app.endpoint("/square")
def square(input: float) -> float:
    """Return the square of a number."""
    return input**2
