"""Predict how real an image looks, and map where it stops looking real."""

__version__ = "0.1.0"

import os

from realness._lazy import lazy_names
from realness.script import shorten_errors

os.environ.setdefault('OMP_WAIT_POLICY', 'passive')  # waiting threads of torch leave the cores to others
shorten_errors()

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        # data
        'RealnessError': 'config',
        'check_split': 'data',
        'demo_data': 'demo',
        'fetch_raise': 'fetch',
        'load_split': 'data',
        'Region': 'regions',
        'read_regions': 'regions',
        'write_coco': 'regions',
        'write_split': 'data',
        # score
        'COREModel': 'regression.regression_model',
        'Predictor': 'regression.predictor',
        'RunConfig': 'regression.run_config',
        'evaluate': 'regression.evaluate',
        'load': 'regression.predictor',
        'predict': 'regression.predict',
        'train_run': 'regression.runs',
        # heatmap
        'Heatmap': 'localization.heatmap',
        'Localizer': 'localization.localizer',
        'MapRequest': 'localization.map_request',
        'MapStyle': 'map_style',
        'fit_clip': 'localization.clip_fit',
        'fit_localizer': 'localization.localizer',
        'heatmap': 'localization.heatmap',
        'load_clip': 'localization.clip',
        'make_maps': 'localization.batch_maps',
        # evaluation
        'LabConfig': 'lab.lab_config',
        'Protocol': 'lab.protocol',
        'bootstrap_ci': 'bootstrap',
        'evaluate_maps': 'localization.evaluate_maps',
        'map_metrics': 'localization.map_metrics',
        'regression_metrics': 'metric_tables',
        # interfaces
        'HeatmapExplorer': 'explorer.app',
        # registries
        'CLIPS': 'localization.clip',
        'HEADS': 'regression.heads',
        'IMAGE_ENCODERS': 'encoder_registry',
        'TEXT_ENCODERS': 'encoder_registry',
        'VARIANTS': 'localization.variants',
    },
)
