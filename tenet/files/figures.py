"""matplotlib figures look the same for every user and need no display."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def default_style() -> Iterator[None]:
    """Draw with matplotlib's default settings: MPLBACKEND and matplotlibrc have no effect. Also a decorator.

    A notebook's backend may not be installed here, and text.usetex needs LaTeX. Surround both the drawing and the
    saving of a figure. Raises what `import matplotlib` raises, which reads the matplotlibrc.
    """
    backend = os.environ.pop(
        "MPLBACKEND", None
    )  # the import fails for a backend that matplotlib doesn't know
    try:
        import matplotlib as mpl
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    with mpl.rc_context():
        mpl.rcdefaults()
        yield
