"""Explore images, their heatmaps and scores in JupyterLab or in a browser."""

from realness._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        'HeatmapExplorer': 'app',
        'ImageCollection': 'collection',
        'Findings': 'findings',
        'serve': 'server',
    },
)
