"""The C API's structs and functions. test/Runtime/python_test.py holds the structs against the headers."""
import ctypes
import os
import reprlib
from ctypes import POINTER, Structure, c_bool, c_char_p, c_double, c_float, c_int, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from typing import Any


class Error(Exception):
    """A call that failed; `code` is the m1_status_code's name."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


CODES = ("ok", "invalid argument", "not found", "corrupt", "unsupported", "out of memory", "i/o error", "device error",
         "cancelled")
RUNNING_SAMPLES = ("finish", "restart", "keep")
FINISH_REASONS = ("running", "stop_token", "stop_string", "length", "cancelled", "dropped", "failed")


_short = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = 200


def shown(value: object) -> str:
    """A value for a message: its repr, without the middle where that is long."""
    try:
        return _short.repr(value)
    except ValueError:  # of integers of more digits than Python writes
        return f"<{type(value).__name__} of too many digits>"


class ModelOptions(Structure):
    _fields_ = [("device", c_char_p), ("threads", c_uint32), ("verify_weights", c_bool),
                ("allow_external", POINTER(c_char_p)), ("allow_external_count", c_size_t), ("required_digest", c_char_p),
                ("cancelled", c_void_p), ("cancelled_data", c_void_p)]


class ModelInfo(Structure):
    _fields_ = [("architecture", c_char_p), ("device_name", c_char_p), ("vocab_size", c_uint32), ("hidden_size", c_uint32),
                ("layers", c_uint32), ("max_positions", c_uint32), ("page_size", c_uint32), ("bos_id", c_int32),
                ("eos_ids", POINTER(c_int32)), ("eos_count", c_size_t), ("weight_bytes", c_uint64),
                ("slot_bytes", c_uint64), ("page_bytes", c_uint64)]


class GenerationDefaults(Structure):
    _fields_ = [("temperature", c_float), ("top_k", c_int32), ("top_p", c_float), ("min_p", c_float),
                ("repetition_penalty", c_float)]


class Tensor(Structure):
    _fields_ = [("name", c_char_p), ("data", c_void_p), ("memory", c_int), ("element", c_int), ("shape", POINTER(c_int64)), ("rank", c_size_t)]


class SessionOptions(Structure):
    _fields_ = [("max_sequences", c_uint32), ("max_tokens_per_step", c_uint32), ("max_context", c_uint32),
                ("kv_pages", c_uint32), ("max_logit_rows", c_uint32)]


class StepEntry(Structure):
    _fields_ = [("sequence", c_uint64), ("tokens", POINTER(c_int32)), ("token_count", c_uint32), ("logit_count", c_uint32)]


class ChatMessage(Structure):
    _fields_ = [("role", c_char_p), ("content", c_char_p)]


class ChatOptions(Structure):
    _fields_ = [("parse_special", c_bool)]


class EngineOptions(Structure):
    _fields_ = [("max_samples", c_uint32), ("max_context", c_uint32), ("prefix_cache_slots", c_uint32),
                ("prefill_tokens_per_step", c_uint32), ("probe_places", c_uint32)]


class LogitBias(Structure):
    _fields_ = [("token", c_int32), ("bias", c_float)]


class Request(Structure):
    _fields_ = [("tokens", POINTER(c_int32)), ("token_count", c_size_t), ("samples", c_uint32), ("max_new_tokens", c_uint32),
                ("temperature", c_float), ("top_k", c_uint32), ("top_p", c_float), ("min_p", c_float),
                ("repetition_penalty", c_float), ("seed", c_uint64), ("want_logprobs", c_bool), ("top_logprobs", c_uint32),
                ("stop_tokens", POINTER(c_int32)), ("stop_token_count", c_size_t), ("ignore_eos", c_bool),
                ("stop_strings", POINTER(c_char_p)), ("stop_string_count", c_size_t),
                ("close_tokens", POINTER(c_int32)), ("close_token_count", c_size_t), ("close_max_tokens", c_uint32),
                ("max_think_tokens", c_uint32), ("time_budget", c_double), ("at_deadline", c_int),
                ("frequency_penalty", c_float), ("presence_penalty", c_float), ("logit_bias", POINTER(LogitBias)),
                ("logit_bias_count", c_size_t), ("first_sample", c_uint32), ("probe_every", c_uint32),
                ("probe_tokens", POINTER(c_int32)), ("probe_token_count", c_size_t), ("probe_max_tokens", c_uint32),
                ("probe_on_end", c_bool)]


class TokenLogprob(Structure):
    _fields_ = [("token", c_int32), ("logprob", c_float)]


class Event(Structure):
    _fields_ = [("request", c_uint64), ("sample", c_uint32), ("tokens", POINTER(c_int32)), ("token_count", c_size_t),
                ("logprobs", POINTER(c_float)), ("top_logprobs", POINTER(TokenLogprob)), ("top_count", c_size_t),
                ("text", c_char_p), ("forced", c_bool), ("reason", c_int), ("error", c_char_p), ("probe_after", c_uint32),
                ("restarted", c_bool)]


class EngineStats(Structure):
    _fields_ = [("running_samples", c_uint32), ("waiting_samples", c_uint32), ("kv_pages_used", c_uint32), ("kv_pages", c_uint32),
                ("steps", c_uint64), ("generated_tokens", c_uint64), ("computed_tokens", c_uint64), ("reused_tokens", c_uint64),
                ("shared_tokens", c_uint64), ("recomputed_tokens", c_uint64), ("preemptions", c_uint64),
                ("model_seconds", c_double), ("elapsed_seconds", c_double), ("probes", c_uint64), ("probes_dropped", c_uint64),
                ("probe_tokens", c_uint64), ("probe_seconds", c_double)]


# C's names of the structs above.
STRUCTS = {"m1_model_options": ModelOptions, "m1_model_info": ModelInfo, "m1_generation_defaults": GenerationDefaults,
           "m1_tensor": Tensor,
           "m1_session_options": SessionOptions, "m1_step_entry": StepEntry, "m1_chat_message": ChatMessage, "m1_chat_options": ChatOptions,
           "m1_engine_options": EngineOptions, "m1_logit_bias": LogitBias, "m1_request": Request,
           "m1_token_logprob": TokenLogprob, "m1_event": Event, "m1_engine_stats": EngineStats}

# Functions that give a status (null: success), by their arguments.
_STATUS_FUNCTIONS = {
    "m1_model_load": [c_char_p, POINTER(ModelOptions), POINTER(c_void_p)],
    "m1_model_weights_digest": [c_void_p, c_char_p],
    "m1_model_update_weights": [c_void_p, POINTER(Tensor), c_size_t, c_int],
    "m1_model_encode": [c_void_p, c_char_p, c_bool, POINTER(POINTER(c_int32)), POINTER(c_size_t)],
    "m1_model_encode_plain": [c_void_p, c_char_p, c_bool, POINTER(POINTER(c_int32)), POINTER(c_size_t)],
    "m1_model_encode_chat_with": [c_void_p, POINTER(ChatMessage), c_size_t, POINTER(ChatOptions), POINTER(POINTER(c_int32)),
                                  POINTER(c_size_t)],
    "m1_model_decode": [c_void_p, POINTER(c_int32), c_size_t, POINTER(c_void_p)],
    "m1_engine_create": [c_void_p, POINTER(EngineOptions), POINTER(c_void_p)],
    "m1_engine_submit": [c_void_p, POINTER(Request), POINTER(c_uint64)],
    "m1_engine_step": [c_void_p],
    "m1_session_create": [c_void_p, POINTER(SessionOptions), POINTER(c_void_p)],
    "m1_sequence_create": [c_void_p, POINTER(c_uint64)],
    "m1_session_step": [c_void_p, POINTER(StepEntry), c_size_t, POINTER(c_int32), POINTER(c_float)],
    "m1_answer_extract": [c_char_p, POINTER(c_void_p)],
    "m1_answers_equal": [c_char_p, c_char_p, POINTER(c_bool)],
}
_OTHER_FUNCTIONS = {
    "m1_status_get_code": (c_int, [c_void_p]), "m1_status_message": (c_char_p, [c_void_p]), "m1_status_destroy": (None, [c_void_p]),
    "m1_runtime_version": (c_char_p, []), "m1_model_options_init": (None, [POINTER(ModelOptions)]),
    "m1_model_destroy": (None, [c_void_p]), "m1_model_get_info": (None, [c_void_p, POINTER(ModelInfo)]),
    "m1_tokens_destroy": (None, [POINTER(c_int32)]), "m1_text_destroy": (None, [c_void_p]),
    "m1_chat_options_init": (None, [POINTER(ChatOptions)]), "m1_engine_options_init": (None, [POINTER(EngineOptions)]),
    "m1_engine_destroy": (None, [c_void_p]), "m1_request_init": (None, [POINTER(Request)]),
    "m1_engine_cancel": (None, [c_void_p, c_uint64]), "m1_engine_cancel_sample": (None, [c_void_p, c_uint64, c_uint32]),
    "m1_engine_is_idle": (c_bool, [c_void_p]), "m1_engine_poll": (c_bool, [c_void_p, POINTER(Event)]),
    "m1_engine_get_stats": (None, [c_void_p, POINTER(EngineStats)]), "m1_session_options_init": (None, [POINTER(SessionOptions)]),
    "m1_session_destroy": (None, [c_void_p]), "m1_model_generation_defaults": (None, [c_void_p, POINTER(GenerationDefaults)]),
}


def _load() -> ctypes.CDLL:
    """libm1rt: that of $M1RT_LIBRARY, the one this package was installed with, or the system's."""
    named = os.environ.get("M1RT_LIBRARY")
    # A wheel's is in the package; an installed one is lib/libm1rt.so.0 beside lib/python3/dist-packages/m1rt/_library.py.
    package = os.path.dirname(os.path.abspath(__file__))
    beside = [os.path.join(package, "libm1rt.so.0"), os.path.join(package, "..", "..", "..", "libm1rt.so.0")]
    path = named or next((file for file in beside if os.path.exists(file)), "libm1rt.so.0")
    try:
        return ctypes.CDLL(path)
    except OSError as problem:
        raise ImportError(f"m1rt: cannot load {path}: {problem}; M1RT_LIBRARY names the library") from None


class _Library:
    """Functions without their prefix; those that give a status raise Error instead."""

    def __init__(self) -> None:
        library = _load()
        for name, arguments in _STATUS_FUNCTIONS.items():
            function = getattr(library, name)
            function.argtypes, function.restype = arguments, c_void_p
            function.errcheck = self._check
            setattr(self, name[3:], function)
        for name, (result, arguments) in _OTHER_FUNCTIONS.items():
            function = getattr(library, name)
            function.argtypes, function.restype = arguments, result
            setattr(self, name[3:], function)

    def _check(self, status: Any, _function: Any, _arguments: Any) -> None:
        if status:
            code, message = self.status_get_code(status), self.status_message(status).decode(errors="replace")
            self.status_destroy(status)
            raise Error(CODES[code], message)

    def __getattr__(self, name: str) -> Any:  # for type checkers: the functions are set by __init__
        raise AttributeError(name)


lib = _Library()
