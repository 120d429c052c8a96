"""Make synthetic abdominal CT with known truth, annotated as FLARE23 is: the cohort that comes along with the project."""

from .generate import SyntheticCase, generate_case

__all__ = ["SyntheticCase", "generate_case"]
