"""Five FLARE challenge papers, re-implemented to be read and run: models, inference and evaluation."""

__version__ = "0.1.0"
