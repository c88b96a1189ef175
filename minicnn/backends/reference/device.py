"""The reference backend asks for no device."""


def require_device():
    pass
