"""Structure from motion, for convert.py: from photographs as they come, or a video, to cameras with poses."""

# Before pycolmap, as in scene/__init__.py.
import zlib  # noqa: F401
