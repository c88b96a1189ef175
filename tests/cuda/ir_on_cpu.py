"""Kernels of the cuda backend run on the CPU from their own IR, a fiber for each thread of a block.

numba-cuda turns a kernel and the types of its arguments into LLVM IR, and a launch hands that to NVIDIA's compiler.
Here the same IR goes to LLVM for x86-64, so that what runs has the types, the conversions and the indices of a launch.

    threads     A block's threads are fibers (`ucontext` of the C library). One runs until it comes to a barrier, then
                the next. The order is the caller's: results that depend on it show a barrier that is missing. After
                each round all threads must wait at one barrier, or all have left the kernel; else DivergentBarrier.
    blocks      one after another, in the caller's order too.
    memory      Shared arrays are filled with POISON before each block. Arrays that are passed are copied to between
                guards, and back; so reading uninitialised memory, or beyond an end, gives NaN, and a guard that has
                changed is an OutOfBounds. An index of -1 is found as well.

What it does not show: the last bits (here no product and sum become one instruction), what one warp sees of another's
memory without a barrier, and local arrays that are read before they are written.

All this is private API of one version of numba-cuda. `missing_tools()` says where it cannot work.
"""

import ctypes
import functools
import importlib.metadata
import itertools
import math
import platform
import re
from contextlib import contextmanager
from types import SimpleNamespace
from unittest import mock

import llvmlite.binding as llvm
import llvmlite.ir
import numpy as np
from numba import config

VERSION = "0.30.4"  # of numba-cuda
CAPABILITY = (9, 0)  # of the device that the IR is asked for; little in it depends on that

POISON = 0xFF  # every byte: a NaN, or the integer -1
GUARD = 1 << 12  # numbers before and after an array
SHARED_GUARD = 64  # and after a shared array
STACK = 1 << 16  # bytes for a fiber
CANARY = 64  # of them, at the far end, that nobody may reach


class DivergentBarrier(RuntimeError):
    """Some threads of a block wait at a barrier that others do not come to."""


class OutOfBounds(RuntimeError):
    """A kernel wrote beyond an end of an array."""


def missing_tools():
    """Why kernels cannot be run here, in one sentence, or None."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return f"IR is run on x86-64 Linux only, and this is {platform.system()} on {platform.machine()}"
    if config.ENABLE_CUDASIM:
        return "the simulator is on in this process (NUMBA_ENABLE_CUDASIM), and it makes no IR"
    try:
        version = importlib.metadata.version("numba-cuda")
    except importlib.metadata.PackageNotFoundError:
        return f"numba-cuda=={VERSION} is not installed"
    if version != VERSION:
        return f"private API of numba-cuda=={VERSION} is called, and version {version} is installed"
    from numba import cuda

    if getattr(cuda, "implementation", None) != "NVIDIA":
        return "numba-cuda is installed, but Numba's own target came first; is its .pth file read?"
    return None


# Orders: a function of a count, the places 0 to count - 1 in the order in which they are taken.


def forward(count):
    return np.arange(count)


def reverse(count):
    return np.arange(count)[::-1].copy()


def shuffled(seed):
    """A new order each time it is asked for."""
    return np.random.default_rng(seed).permutation


def run(body, blocks, threads, arguments, order=forward):
    """body[blocks, threads](*arguments) for NumPy arrays, which are changed as a launch would change them.

    Kernels are compiled once for each body, captured values and types of arguments.
    Raises DivergentBarrier, OutOfBounds, NotImplementedError for IR that is not understood here, and ValueError for
    arrays that overlap in part.
    """
    guarded = Guarded(arguments)
    kernel = compiled(body, tuple(_type_of(argument) for argument in guarded.arguments))
    kernel.launch(_three(blocks), _three(threads), guarded.arguments, order)
    guarded.hand_back(body)


def _three(counts):
    counts = tuple(counts) if isinstance(counts, tuple | list) else (counts,)
    return tuple(int(count) for count in (*counts, 1, 1)[:3])


def _type_of(argument):
    """The type that a launch gives to an argument."""
    from numba.cuda.typing.typeof import Purpose, typeof

    return typeof(argument, Purpose.argument)


def guard_mark(dtype, owner):
    """The bits of the numbers in the guards of an array, as an unsigned integer; `owner` is the array's number.

    Floats are signalling NaNs. Arithmetic makes quiet ones of them, so that even `guard *= 2` leaves a trace; and what
    is copied from another array's guard is known by its owner.
    """
    dtype = np.dtype(dtype)
    signalling = {"float32": 0xFFA00001, "float64": 0xFFF4000000000001}
    return signalling[dtype.name] + owner if dtype.kind == "f" else (1 << 8 * dtype.itemsize) - 1 - owner


def _bits(array):
    return array.view(f"u{array.itemsize}")


class Guarded:
    """Arguments whose arrays are copies between guards. The same array passed twice is the same copy."""

    def __init__(self, arguments):
        self._originals, self._rooms, self._marks = {}, {}, {}
        self.arguments = [self._guarded(a) if isinstance(a, np.ndarray) else a for a in arguments]

    def _guarded(self, array):
        place = array.ctypes.data, array.nbytes
        if place not in self._rooms:
            if any(start < sum(place) and place[0] < start + size for start, size in self._rooms):
                raise ValueError("run: two arguments are different parts of one array and overlap")
            self._originals[place] = array
            self._marks[place] = guard_mark(array.dtype, owner=1 + len(self._rooms))
            self._rooms[place] = np.empty(GUARD + array.size + GUARD, array.dtype)
            _bits(self._rooms[place])[:] = self._marks[place]
            self._within(place)[...] = array
        return self._within(place)

    def _within(self, place):
        original, room = self._originals[place], self._rooms[place]
        return room[GUARD : GUARD + original.size].reshape(original.shape)

    def hand_back(self, body):
        """Look at the guards, and write what is between them to the arrays."""
        for place, original in self._originals.items():
            bits = _bits(self._rooms[place])
            for side, guard in (("before", bits[:GUARD]), ("behind", bits[GUARD + original.size :])):
                if (guard != self._marks[place]).any():
                    raise OutOfBounds(
                        f"{body.__qualname__} wrote {side} an array of {original.size} {original.dtype} numbers"
                    )
            if original.flags.writeable:
                original[...] = self._within(place)


# Compiling.

_kernels = {}


def compiled(body, argument_types):
    """The Kernel for a body and types. A body is known by its code and what it captures, types of values included."""
    captured = tuple((type(cell.cell_contents), cell.cell_contents) for cell in body.__closure__ or ())
    key = body.__module__, body.__code__, captured, argument_types
    if key not in _kernels:
        _kernels[key] = Kernel(body, argument_types)
    return _kernels[key]


def device_ir(body, argument_types):
    """(name of the kernel, texts of the modules): what numba-cuda would hand to NVIDIA's compiler."""
    from numba.cuda import dispatcher, types
    from numba.cuda.compiler import _compile_pyfunc_with_fixup

    device = SimpleNamespace(compute_capability=CAPABILITY)  # functions that are called ask for it
    with mock.patch.object(dispatcher, "get_current_device", return_value=device):
        signature = types.void(*argument_types)
        library, _ = _compile_pyfunc_with_fixup(body, signature, device=False, cc=CAPABILITY, abi="numba")
    with _opaque_pointers():
        return library._entry_name, [str(module) for module in library.modules]


@contextmanager
def _opaque_pointers():
    """Within, llvmlite writes pointers as LLVM reads them, `ptr`, where NVIDIA's compiler wants `float*`.

    llvmlite keeps the text of types and values; that is put aside, or it would give or take the other spelling.
    """
    types, utils = llvmlite.ir.types, llvmlite.ir._utils
    with (
        mock.patch.object(types, "ir_layer_typed_pointers_enabled", False),
        mock.patch.object(utils._StrCaching, "__str__", lambda value: value._to_string()),
        mock.patch.object(utils._StringReferenceCaching, "get_reference", lambda value: value._get_reference()),
    ):
        yield


SPECIAL_REGISTER = r'@"llvm\.nvvm\.read\.ptx\.sreg\.(\w+)\.([xyz])"'
BARRIER = r'call void @"llvm\.nvvm\.barrier0"\(\)'
SHARED_SPACE = "addrspace(3) global"
SHARED = r'^@"([^"]+)" = addrspace\(3\) global \[(\d+) x (\w+)\] undef'
IGNORED = r'^target .*$|^@"llvm.used".*$|^![a-z].*$|^declare void @"llvm\.nvvm\.barrier0"\(\)$'


def cpu_ir(text, sites):
    """The text of a module with the device's own functions renamed to those of `runtime_ir` and of the C library.

    Each barrier gets a number of its own from `sites`. Shared arrays get a guard behind them.
    """
    text = re.sub(IGNORED, "", text, flags=re.MULTILINE)
    text = re.sub(SPECIAL_REGISTER, r'@"cuda.\1.\2"', text)
    text, calls = re.subn(BARRIER, lambda _: f'call void @"cuda.barrier"(i32 {next(sites)})', text)
    text = re.sub(r'@"__nv_(\w+)"', r'@"\1"', text)
    text = re.sub(
        SHARED,
        lambda found: f'@"{found[1]}" = addrspace(3) global [{int(found[2]) + SHARED_GUARD} x {found[3]}] undef',
        text,
        flags=re.MULTILINE,
    )
    return text + ('\ndeclare void @"cuda.barrier"(i32)\n' if calls else "")


RUNTIME = """
; A fiber: its registers while it does not run (ucontext_t), where it stands, and its threadIdx.
; It stands at barrier 1, 2, ..., has FINISHED, or is on its way, which is 0.
%fiber = type { [1024 x i8], i32, [3 x i32] }

@"fibers"    = global ptr null                              ; the block's
@"current"   = global ptr null                              ; the one that runs
@"scheduler" = global [1024 x i8] zeroinitializer, align 16 ; the registers of @resume while a fiber runs
@"arguments" = global ptr null                              ; of the kernel, 8 bytes each
@"ntid"      = global [3 x i32] zeroinitializer             ; blockDim
@"nctaid"    = global [3 x i32] zeroinitializer             ; gridDim
@"ctaid"     = global [3 x i32] zeroinitializer             ; blockIdx

declare i32 @"getcontext"(ptr)
declare void @"makecontext"(ptr, ptr, i32, ...)
declare i32 @"swapcontext"(ptr, ptr)

; A thread waits: note where, and give way until @resume comes round again.
define void @"cuda.barrier"(i32 %site) noinline {
  %self = load ptr, ptr @"current"
  %stands = getelementptr %fiber, ptr %self, i64 0, i32 1
  store i32 %site, ptr %stands
  call i32 @"swapcontext"(ptr %self, ptr @"scheduler")
  ret void
}

; What a fiber does. When this returns, the C library goes on with the context's link, @scheduler.
define void @"thread"() {
  call void @"kernel"()
  %self = load ptr, ptr @"current"
  %stands = getelementptr %fiber, ptr %self, i64 0, i32 1
  store i32 FINISHED, ptr %stands
  ret void
}

; Put all fibers at the beginning of the kernel. Their links and stacks have been set.
define void @"begin"(i64 %count) {
entry:
  %fibers = load ptr, ptr @"fibers"
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
  %self = getelementptr %fiber, ptr %fibers, i64 %i
  call i32 @"getcontext"(ptr %self)
  call void (ptr, ptr, i32, ...) @"makecontext"(ptr %self, ptr @"thread", i32 0)
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, %count
  br i1 %more, label %loop, label %done
done:
  ret void
}

; Let each fiber run until it stands, in the order given.
define void @"resume"(ptr %order, i64 %count) {
entry:
  %fibers = load ptr, ptr @"fibers"
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
  %place = getelementptr i64, ptr %order, i64 %i
  %number = load i64, ptr %place
  %self = getelementptr %fiber, ptr %fibers, i64 %number
  %stands = getelementptr %fiber, ptr %self, i64 0, i32 1
  store i32 0, ptr %stands
  store ptr %self, ptr @"current"
  call i32 @"swapcontext"(ptr @"scheduler", ptr %self)
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, %count
  br i1 %more, label %loop, label %done
done:
  ret void
}
"""

THREAD_INDEX = """
define i32 @"cuda.tid.{axis}"() alwaysinline {{
  %self = load ptr, ptr @"current"
  %at = getelementptr %fiber, ptr %self, i64 0, i32 2, i64 {number}
  %index = load i32, ptr %at
  ret i32 %index
}}
"""

BLOCK_NUMBER = """
define i32 @"cuda.{name}.{axis}"() alwaysinline {{
  %at = getelementptr i32, ptr @"{name}", i64 {number}
  %value = load i32, ptr %at
  ret i32 %value
}}
"""

FINISHED = -1
FIBER = np.dtype([("registers", np.uint8, 1024), ("stands", np.int32), ("thread", np.int32, 3)])
# Where a ucontext_t of x86-64 Linux has what runs when the fiber has finished, and its stack.
LINK, STACK_POINTER, STACK_SIZE = (slice(at, at + 8) for at in (8, 16, 32))


def runtime_ir(entry, parameters):
    """The runtime, and a function that calls the kernel `entry` with @arguments of the types `parameters`."""
    indices = [THREAD_INDEX.format(axis=axis, number=number) for number, axis in enumerate("xyz")]
    indices += [
        BLOCK_NUMBER.format(name=name, axis=axis, number=number)
        for name in ("ntid", "nctaid", "ctaid")
        for number, axis in enumerate("xyz")
    ]
    loads = [
        f"  %p{i} = getelementptr i64, ptr %arguments, i64 {i}\n  %a{i} = load {parameter}, ptr %p{i}"
        for i, parameter in enumerate(parameters)
    ]
    kernel = [
        f'declare void @"{entry}"({", ".join(parameters)})',
        'define void @"kernel"() {',
        '  %arguments = load ptr, ptr @"arguments"',
        *loads,
        f'  call void @"{entry}"({", ".join(f"{parameter} %a{i}" for i, parameter in enumerate(parameters))})',
        "  ret void\n}",
    ]
    return RUNTIME.replace("FINISHED", str(FINISHED)) + "".join(indices) + "\n".join(kernel)


def linked(texts, entry):
    """One module of the texts of a kernel and the functions that it calls, and the runtime."""
    module, *others = (llvm.parse_assembly(text) for text in texts)
    for other in others:
        module.link_in(other)
    parameters = [str(argument.type) for argument in module.get_function(entry).arguments]
    module.link_in(llvm.parse_assembly(runtime_ir(entry, parameters)))
    _resolve(module)
    return module


@functools.cache
def _c_libraries():
    return ctypes.CDLL(None), ctypes.CDLL("libm.so.6")


def _resolve(module):
    """Give the addresses of C functions to LLVM, and refuse a module that asks for anything else."""
    unknown = [variable.name for variable in module.global_variables if variable.is_declaration]
    for name in (function.name for function in module.functions if function.is_declaration):
        library = next((library for library in _c_libraries() if hasattr(library, name)), None)
        if library is not None:
            llvm.add_symbol(name, ctypes.cast(getattr(library, name), ctypes.c_void_p).value)
        elif not name.startswith("llvm.") or "nvvm" in name:
            unknown.append(name)
    if unknown:
        raise NotImplementedError(f"the kernel asks for {', '.join(unknown)}, which is not known here")


def machine_code(module):
    """The execution engine with the optimised code of a module."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    module.triple = llvm.get_process_triple()
    machine = llvm.Target.from_default_triple().create_target_machine(opt=2, cpu=llvm.get_host_cpu_name())
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=2))
    builder.getModulePassManager().run(module, builder)
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    return engine


class Kernel:
    """A body compiled for types of arguments. `launch` is not for several Python threads at once."""

    def __init__(self, body, argument_types):
        self._name, self._types = body.__qualname__, argument_types
        entry, texts = device_ir(body, argument_types)
        found = [match for text in texts for match in re.finditer(SHARED, text, re.MULTILINE)]
        if len(found) != sum(text.count(SHARED_SPACE) for text in texts):
            raise NotImplementedError(f"{self._name} has shared memory that is no static array of numbers")
        sites = itertools.count(1)
        self._engine = machine_code(linked([cpu_ir(text, sites) for text in texts], entry))
        self._shared = [self._shared_array(*match.groups()) for match in found]
        self._begin = ctypes.CFUNCTYPE(None, ctypes.c_int64)(self._engine.get_function_address("begin"))
        resume = self._engine.get_function_address("resume")
        self._resume = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(resume)

    def _shared_array(self, name, count, kind):
        """The numbers of a shared array, its guard included."""
        dtype = np.dtype({"float": "f4", "double": "f8"}.get(kind) or f"i{int(kind[1:]) // 8}")
        count = int(count) + SHARED_GUARD
        memory = (ctypes.c_uint8 * (count * dtype.itemsize)).from_address(self._address(name))
        return np.frombuffer(memory, dtype)

    def _address(self, name):
        return self._engine.get_global_value_address(name)

    def _set_pointer(self, name, address):
        ctypes.c_void_p.from_address(self._address(name)).value = address

    def _set_three(self, name, values):
        (ctypes.c_int32 * 3).from_address(self._address(name))[:] = values

    def launch(self, blocks, threads, arguments, order):
        """Run all blocks, (x, y, z) of them, of (x, y, z) threads."""
        words = _words(arguments, self._types)
        fibers = Fibers(threads, self._address("scheduler"))
        self._set_pointer("arguments", words.ctypes.data)
        self._set_pointer("fibers", fibers.table.ctypes.data)
        self._set_three("ntid", threads)
        self._set_three("nctaid", blocks)
        for number in order(math.prod(blocks)).tolist():
            z, y, x = (int(place) for place in np.unravel_index(number, blocks[::-1]))
            self._set_three("ctaid", (x, y, z))
            self._run_block((x, y, z), fibers.table["stands"], order)
        if fibers.stack_overflowed():
            raise NotImplementedError(f"{self._name}: the stack of a thread, {STACK} bytes, is too small")

    def _run_block(self, block, stands, order):
        for array in self._shared:
            array.view(np.uint8)[:] = POISON
            _bits(array)[-SHARED_GUARD:] = guard_mark(array.dtype, owner=0)
        count = len(stands)
        self._begin(count)
        finished = False
        while not finished:
            numbers = np.ascontiguousarray(order(count), np.int64)
            self._resume(numbers.ctypes.data, count)
            finished = stands[0] == FINISHED
            if (stands != stands[0]).any():
                raise DivergentBarrier(f"{self._name}: in block {block} {_standing(stands)}")
        for array in self._shared:
            if (_bits(array)[-SHARED_GUARD:] != guard_mark(array.dtype, owner=0)).any():
                raise OutOfBounds(f"{self._name} wrote beyond a shared array in block {block}")


def _standing(stands):
    """Where the threads of a block stand, in words."""
    places, counts = np.unique(stands, return_counts=True)
    words = [
        f"{count} {'have left' if place == FINISHED else f'wait at barrier {place}'}"
        for place, count in zip(places.tolist(), counts.tolist(), strict=True)
    ]
    return f"of {len(stands)} threads {' and '.join(words)}"


def _words(arguments, types):
    """The arguments as they are passed: 8 bytes for each number, and of an array its fields one by one."""
    words = []
    for argument, kind in zip(arguments, types, strict=True):
        if isinstance(argument, np.ndarray):  # owner and parent, which nobody asks for, size, width, address, axes
            words += [0, 0, argument.size, argument.itemsize, argument.ctypes.data, *argument.shape, *argument.strides]
        else:
            number = np.asarray(argument, str(kind))
            words.append(int.from_bytes(number.tobytes(), "little"))
    return np.array(words, np.uint64)


class Fibers:
    """The fibers of a block with their stacks."""

    def __init__(self, threads, scheduler):
        count = math.prod(threads)
        self.table = np.zeros(count, FIBER)
        x, y, _ = threads
        self.table["thread"] = [(i % x, i // x % y, i // (x * y)) for i in range(count)]
        self._stacks = np.empty((count, STACK), np.uint8)
        self._stacks[:, :CANARY] = POISON  # stacks grow downwards
        registers = self.table["registers"]
        for place, values in ((LINK, scheduler), (STACK_SIZE, STACK), (STACK_POINTER, self._stack_addresses())):
            registers[:, place] = np.broadcast_to(values, count).astype(np.uint64)[:, None].view(np.uint8)

    def _stack_addresses(self):
        return self._stacks.ctypes.data + STACK * np.arange(len(self._stacks), dtype=np.uint64)

    def stack_overflowed(self):
        return bool((self._stacks[:, :CANARY] != POISON).any())
