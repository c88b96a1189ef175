"""A backend with functions of one's own in place of some operations; what `Layer.use` makes."""

import functools

from minicnn.backends import get_backend, guard


class OwnOperations:
    """The operations of a backend, with others in place of those of the same name.

    What a function of one's own returns is checked against the contract and becomes a new array of its dtype (see
    `minicnn.backends.guard`): np.zeros makes float64, whatever the network is.

    Attributes:
        backend: the module whose operations the rest are.
        own: dict of the functions that were given, by the operation's name.
    """

    def __init__(self, backend, own):
        for name in backend.__all__:
            setattr(self, name, getattr(backend, name))
        for name, function in own.items():
            setattr(self, name, _held_to_the_contract(name, function, backend))
        self.backend, self.own = backend, dict(own)
        self.__name__, self.__all__ = backend.__name__, backend.__all__  # as of the module that it stands for

    def __deepcopy__(self, memo):
        return self  # like a module, it belongs to no layer

    def __reduce__(self):
        return _made_again, (self.__name__, self.own)

    def __repr__(self):
        return f"{self.__name__} with own {', '.join(self.own)}"


def _made_again(backend_name, own):
    return OwnOperations(get_backend(backend_name.rpartition(".")[2]), own)


def _held_to_the_contract(name, function, backend):
    @functools.wraps(function)
    def operation(*arguments):
        return guard.returned(name, arguments, function(*arguments), backend)

    return operation
