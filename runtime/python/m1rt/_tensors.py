"""Arrays of others as m1_tensor: through the buffer protocol (numpy, array, memoryview), DLPack (torch, cupy, jax) and
__cuda_array_interface__, without copying them."""
import ctypes
from ctypes import POINTER, Structure, c_int, c_int32, c_int64, c_ssize_t, c_uint8, c_uint16, c_uint64, c_void_p
from typing import Any, List, Optional, Sequence

from . import _library as c

HOST, CUDA = 0, 1
F32, BF16, F16 = 0, 1, 2
# Two bytes without a sign hold the bits of a bfloat16, for which Python and numpy have no type.
_FORMATS = {"f": F32, "e": F16, "H": BF16}
_TYPESTRS = {"<f4": F32, "<f2": F16, "<u2": BF16, "<V2": BF16}
_DLPACK_HOST, _DLPACK_CUDA = (1, 3), (2, 13)  # cpu, page-locked; cuda, managed
_DLPACK_ELEMENTS = {(2, 32): F32, (2, 16): F16, (4, 16): BF16, (1, 16): BF16}  # (code, bits)


class _DLTensor(Structure):
    _fields_ = [("data", c_void_p), ("device_type", c_int), ("device_id", c_int32), ("ndim", c_int32), ("code", c_uint8), ("bits", c_uint8),
                ("lanes", c_uint16), ("shape", POINTER(c_int64)), ("strides", POINTER(c_int64)), ("byte_offset", c_uint64)]


class _Buffer(Structure):  # Py_buffer
    _fields_ = [("buf", c_void_p), ("obj", c_void_p), ("len", c_ssize_t), ("itemsize", c_ssize_t), ("readonly", c_int),
                ("ndim", c_int), ("format", c_void_p), ("shape", c_void_p), ("strides", c_void_p), ("suboffsets", c_void_p), ("internal", c_void_p)]


_get_buffer = ctypes.pythonapi.PyObject_GetBuffer
_get_buffer.argtypes, _get_buffer.restype = [ctypes.py_object, c_void_p, c_int], c_int
_release_buffer = ctypes.pythonapi.PyBuffer_Release
_release_buffer.argtypes, _release_buffer.restype = [c_void_p], None
_capsule_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_capsule_pointer.argtypes, _capsule_pointer.restype = [ctypes.py_object, ctypes.c_char_p], c_void_p


def _without_gaps(shape: Sequence[int], strides: Optional[Sequence[int]]) -> bool:
    """Whether strides, in elements, are those of row-major order."""
    expected = 1
    for size, stride in zip(reversed(shape), reversed(strides or ())):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True


class Tensor:
    """Where an array lies, and what keeps it there."""

    def __init__(self, name: str, array: Any) -> None:
        if not isinstance(name, str):
            raise TypeError(f"tensors: expected names, got {c.shown(name)}")
        if "\0" in name:  # would end it in C
            raise ValueError(f"tensors: the name {name!r} holds a NUL character")
        self.name, self.memory = name, HOST
        self.keep: List[Any] = [array]
        if getattr(array, "requires_grad", False):
            array = array.detach()
        if str(getattr(array, "dtype", "")) == "bfloat16" and hasattr(array, "view"):  # of ml_dtypes, in numpy
            array = array.view("uint16")
        try:
            view: Optional[memoryview] = memoryview(array)
        except TypeError:
            view = None
        if view is not None:
            self._take_buffer(view)
        elif hasattr(array, "__dlpack__"):
            self._take_dlpack(array)
        elif hasattr(array, "__cuda_array_interface__"):
            self._take_cuda(array.__cuda_array_interface__)
        else:
            raise TypeError(f"tensor {name!r}: expected an array (buffer, DLPack or __cuda_array_interface__), got {type(array).__name__}")

    def _of(self, shape: Sequence[int], element: Optional[int], kind: str, without_gaps: bool) -> None:
        if element is None:
            raise TypeError(f"tensor {self.name!r}: expected float32, float16, bfloat16 or uint16 (the bits of bfloat16), got {kind}")
        if not without_gaps:
            raise ValueError(f"tensor {self.name!r}: expected row-major elements without gaps")
        self.shape, self.element = tuple(shape), element

    def _take_buffer(self, view: memoryview) -> None:
        self._of(view.shape or (), _FORMATS.get(view.format.lstrip("<@=")), f"elements of format {view.format!r}", view.c_contiguous)
        info = _Buffer()
        _get_buffer(view, ctypes.byref(info), 0)
        self.data = info.buf
        _release_buffer(ctypes.byref(info))
        self.keep.append(view)  # holds the buffer on

    def _take_dlpack(self, array: Any) -> None:
        device = int(array.__dlpack_device__()[0])
        if device not in _DLPACK_HOST + _DLPACK_CUDA:
            raise TypeError(f"tensor {self.name!r}: expected memory of the host or of a CUDA device, got DLPack's device {device}")
        # The update waits for all of the GPU's work: nothing has to wait for a stream here.
        capsule = array.__dlpack__(stream=-1) if device in _DLPACK_CUDA else array.__dlpack__()
        self.keep.append(capsule)  # whose end is the end of what it shows
        tensor = ctypes.cast(_capsule_pointer(capsule, b"dltensor"), POINTER(_DLTensor)).contents
        shape = tensor.shape[:tensor.ndim] if tensor.ndim else []
        element = _DLPACK_ELEMENTS.get((tensor.code, tensor.bits)) if tensor.lanes == 1 else None
        strides = tensor.strides[:tensor.ndim] if tensor.strides and tensor.ndim else None
        self._of(shape, element, f"DLPack's type {tensor.code} of {tensor.bits} bits", _without_gaps(shape, strides))
        self.memory = CUDA if device in _DLPACK_CUDA else HOST
        self.data = (tensor.data or 0) + tensor.byte_offset

    def _take_cuda(self, interface: Any) -> None:
        shape, kind, strides = interface["shape"], interface["typestr"], interface.get("strides")
        width = int(kind[2:])
        self._of(shape, _TYPESTRS.get(kind), f"elements of type {kind!r}",
                 strides is None or _without_gaps(shape, [stride / width for stride in strides]))
        self.memory, self.data = CUDA, interface["data"][0]

    def raw(self) -> c.Tensor:
        shape = (c_int64 * len(self.shape))(*self.shape)
        return c.Tensor(self.name.encode(), self.data, self.memory, self.element, shape, len(self.shape))
