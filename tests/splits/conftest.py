"""Hypothesis without its clock: this machine may be busy."""

from hypothesis import settings

settings.register_profile("trasvase", deadline=None)
settings.load_profile("trasvase")
