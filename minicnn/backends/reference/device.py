"""The reference backend asks for no device."""


def require_device() -> None:
    """Do nothing: NumPy runs wherever Python does."""
