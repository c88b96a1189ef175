"""A backend with functions of one's own in place of some operations; what `Layer.use` makes."""


class OwnOperations:
    """The operations of a backend, with others in place of those of the same name.

    Attributes:
        backend: the module whose operations the rest are.
        own: dict of the functions that were given, by the operation's name.
    """

    def __init__(self, backend, own):
        for name in backend.__all__:
            setattr(self, name, getattr(backend, name))
        for name, function in own.items():
            setattr(self, name, function)
        self.backend, self.own = backend, dict(own)
        self.__name__, self.__all__ = backend.__name__, backend.__all__  # as of the module that it stands for

    def __deepcopy__(self, memo):
        return self  # like a module, it belongs to no layer

    def __repr__(self):
        return f"{self.__name__} with own {', '.join(self.own)}"
