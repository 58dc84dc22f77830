"""Write one HTML page about a run."""

from realness._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        'SECTIONS': 'page',
        'gather': 'facts',
        'report': 'page',
    },
)
