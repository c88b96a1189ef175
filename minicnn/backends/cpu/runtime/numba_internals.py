"""Everything that this backend uses of Numba beyond its documented interface, in one place.

What Numba documents (`njit`, `numba.types`, `numba.extending`, the number of threads) and `llvmlite.ir` are used where
they are needed. The rest may change with any release of Numba, so that setup.cfg has an upper bound, and is here: each
function says what it uses. All of it is in 0.61, the oldest release that is tested, and in 0.68; `numba.core` is where
it has been since 0.49. `tests/test_architecture.py` holds that no other file of the package imports it.
"""

import contextlib
import hashlib
import pickle
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Concatenate, NamedTuple, ParamSpec

import llvmlite.binding as llvm
import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.caching import FunctionCache
from numba.core.codegen import get_host_cpu_features, initialize_llvm
from numba.core.compiler_lock import global_compiler_lock
from numba.core.serialize import dumps
from numba.np.arrayobj import populate_array
from numba.np.ufunc import parallel as threads

Arguments = ParamSpec("Arguments")

_held_for_fork = contextlib.ExitStack()


def take_locks() -> None:
    """Wait until no other thread compiles, starts Numba's threads or is in LLVM, and keep it so until `release_locks`.

    Uses `numba.core.compiler_lock`, `numba.np.ufunc.parallel._backend_init_thread_lock` and `llvmlite.binding.ffi`'s
    `lib._lock`, all reentrant, in the order in which Numba nests them.
    """
    locks: tuple[Any, ...] = global_compiler_lock, threads._backend_init_thread_lock, llvm.ffi.lib._lock
    for lock in locks:
        _held_for_fork.enter_context(lock)


def release_locks() -> None:
    _held_for_fork.close()


def forget_other_threads() -> None:
    """In a forked child: the lock that processes share while they start Numba's threads is held by none of its own.

    `multiprocessing`, whose lock it is, copies the count of the thread that held it, and does this after its own forks;
    after `os.fork` the child's last release would be none, and every other process would wait for ever. Uses
    `numba.np.ufunc.parallel._backend_init_process_lock`.
    """
    shared: Any = threads._backend_init_process_lock
    if hasattr(shared, "_semlock"):
        shared._semlock._after_fork()


# Settings, which Numba takes from the environment. `numba.config` is documented, but not for reading.


def compiles_nothing() -> bool:
    """Whether NUMBA_DISABLE_JIT makes `njit` return the Python function."""
    return bool(_setting("DISABLE_JIT"))


def checks_indices() -> bool:
    """Whether NUMBA_BOUNDSCHECK makes kernels check every index."""
    return bool(_setting("BOUNDSCHECK"))


def most_threads() -> int:
    """NUMBA_NUM_THREADS, by default the number of cores."""
    return int(_setting("NUMBA_NUM_THREADS"))


def _setting(name: str) -> Any:
    return getattr(numba.config, name)


# The processor that is compiled for.


def assembly(code: str) -> str:
    """What becomes of LLVM's `code` on the processor that Numba compiles for: the one at hand, or where they are set,
    the one that NUMBA_CPU_NAME and NUMBA_CPU_FEATURES describe.

    A name alone changes little, since the processor at hand still gives the features: for any Haswell, say, set
    NUMBA_CPU_NAME=haswell and NUMBA_CPU_FEATURES to nothing. Uses `numba.core.codegen.initialize_llvm` and
    `get_host_cpu_features`; to ask Numba for its target machine would take 0.15 s, and this takes 5 ms.
    """
    initialize_llvm()
    name, features = _setting("CPU_NAME"), _setting("CPU_FEATURES")
    machine = llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(
        cpu=llvm.get_host_cpu_name() if name is None else name,
        features=get_host_cpu_features() if features is None else features,
        opt=0,
    )
    return str(machine.emit_assembly(llvm.parse_assembly(code)))


# Compiled code on disk.


class Disk(NamedTuple):
    """What is done with files of code: read(path, key), write(path, key, code), and the context in which the code of a
    file that has none is compiled, where no other process compiles it."""

    read: Callable[[Path, bytes], bytes | None]
    write: Callable[[Path, bytes, bytes], None]
    compiling: Callable[[Path], AbstractContextManager[object]]


def keep_on_disk(kernel: Any, function: Callable[..., Any], disk: Disk) -> None:
    """Let `kernel`, which `njit` made of `function`, look for its code on `disk` before it compiles, and write it there
    after.

    Uses `Dispatcher._cache`, where `njit(cache=True)` puts Numba's own, and `Dispatcher.compile`, by which all code
    comes, with `numba.core.compiler_lock` around it. Raises RuntimeError where no folder is writeable.
    """
    cache = kernel._cache = _Cache(function, disk)
    compile_alone = kernel.compile

    def compile(signature: Any) -> Any:
        with global_compiler_lock, contextlib.ExitStack() as cache.until_compiled:
            return compile_alone(signature)

    kernel.compile = compile


class _Cache(FunctionCache):
    """Numba's choice of a folder and its way to pickle code, with a file for each signature.

    Uses `FunctionCache`: `cache_path`, `_index_key`, and `_impl` with `filename_base`, `reduce`, `rebuild` and
    `check_cachable`; it replaces `load_overload` and `save_overload`, which the dispatcher calls.
    """

    until_compiled: contextlib.ExitStack

    def __init__(self, function: Callable[..., Any], disk: Disk) -> None:
        super().__init__(function)  # type: ignore[no-untyped-call] # of Numba
        self._disk = disk

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The code compiled for the signature `sig`, or None."""
        target_context.refresh()
        path, key = self._place(sig, target_context.codegen())
        code = self._disk.read(path, key)
        if code is None:
            self.until_compiled.enter_context(self._disk.compiling(path))
            code = self._disk.read(path, key)  # another process may have compiled it meanwhile
        return None if code is None else self._impl.rebuild(target_context, pickle.loads(code))

    def save_overload(self, sig: Any, data: Any) -> None:
        if self._impl.check_cachable(data):
            path, key = self._place(sig, data.codegen)
            self._disk.write(path, key, dumps(self._impl.reduce(data)))

    def _place(self, sig: Any, codegen: Any) -> tuple[Path, bytes]:
        """The file, and what tells its code from that of other signatures, processors and releases of Numba."""
        index_key: Any = self._index_key
        key = repr((index_key(sig, codegen), checks_indices())).encode()
        name = f"{self._impl.filename_base}.{hashlib.sha256(key).hexdigest()[:16]}.nbc"
        return Path(self.cache_path) / name, key + numba.__version__.encode()


# Calls of machine code by its address.


def address_of(kernel: Any, argument_types: tuple[Any, ...]) -> int:
    """Compile `kernel` for arguments of these Numba types, and return where its machine code starts.

    Uses `Dispatcher.overloads` and of the result there `library.get_pointer_to_function` and `fndesc.llvm_func_name`.
    The code stays where it is for as long as the kernel lives.
    """
    kernel.compile(argument_types)
    compiled = kernel.overloads[argument_types]
    return int(compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name))


def call_address(context: Any, builder: ir.IRBuilder, address: Any, tuple_type: Any, arguments: Any) -> None:
    """Emit a call of the code at `address` with the members of a tuple. What it returns, or raises, is not looked at.

    Uses Numba's calling convention: the callee gets places for its result and its exception, then its arguments with
    arrays and tuples taken apart, by `call_conv.get_function_type` and `call_conv._get_arg_packer`.
    """
    argument_types = list(tuple_type)
    convention = context.call_conv
    function_type = convention.get_function_type(types.none, argument_types)
    function = builder.inttoptr(address, function_type.as_pointer())
    result = cgutils.alloca_once(builder, function_type.args[0].pointee)
    exception = cgutils.alloca_once(builder, function_type.args[1].pointee)
    values = cgutils.unpack_tuple(builder, arguments, len(argument_types))
    packed = convention._get_arg_packer(argument_types).as_arguments(builder, values)
    builder.call(function, [result, exception, *packed])


# What a function marked `intrinsic` emits instructions with. `context` is Numba's target context, whose methods are
# used here only.


def intrinsic(define: Callable[Concatenate[Any, Arguments], object]) -> Callable[Arguments, Any]:
    """`numba.extending.intrinsic`, typed as kernels call what it makes: without the typing context."""
    made: Any = numba.extending.intrinsic(define)
    return made


def element_pointer(context: Any, builder: ir.IRBuilder, array_type: Any, array: Any, index: Any) -> Any:
    """The address of element `index` of a C-contiguous array, counted flat."""
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [index])


def array_in_memory(context: Any, builder: ir.IRBuilder, array_type: Any, address: Any, size: Any) -> Any:
    """A flat array of `size` numbers that begin at `address`; nobody owns them. Uses `numba.np.arrayobj`."""
    array = context.make_array(array_type)(context, builder)
    item_bytes = context.get_constant(types.intp, array_type.dtype.bitwidth // 8)
    pointer = builder.inttoptr(address, array.data.type)
    populate_array(array, data=pointer, shape=[size], strides=[item_bytes], itemsize=item_bytes, meminfo=None)
    return array._getvalue()


def llvm_type(context: Any, numba_type: Any) -> Any:
    return context.get_value_type(numba_type)


def converted(context: Any, builder: ir.IRBuilder, value: Any, from_type: Any, to_type: Any) -> Any:
    return context.cast(builder, value, from_type, to_type)


def no_result(context: Any) -> Any:
    """What a function that returns nothing returns."""
    return context.get_dummy_value()


def tuple_of(context: Any, builder: ir.IRBuilder, tuple_type: Any, values: Sequence[Any]) -> Any:
    return context.make_tuple(builder, tuple_type, values)


def local_variable(builder: ir.IRBuilder, variable_type: Any) -> Any:
    """A place on the stack, made once for the function however often its block is run; LLVM turns it to a register."""
    return cgutils.alloca_once(builder, variable_type)


def declared_function(builder: ir.IRBuilder, name: str, function_type: ir.FunctionType) -> Any:
    """The function `name` of the module that is being built, declared where it was not yet."""
    return cgutils.get_or_insert_function(builder.module, function_type, name)
