"""Models, engines and what comes out of them."""
import asyncio
import contextlib
import ctypes
import math
import operator
import os
from ctypes import POINTER, byref, c_bool, c_char_p, c_float, c_int32, c_size_t, c_uint64, c_void_p, create_string_buffer, string_at
from dataclasses import dataclass, field
from typing import Any, AsyncIterator, Dict, Generator, Iterable, Iterator, List, Mapping, NoReturn, Optional, Sequence, Tuple, Union

from . import _library as c
from ._library import lib
from ._tensors import Tensor

Prompt = Union[str, Sequence[int]]
_DIGEST_SIZE = 65
_MOST_SAMPLES = 1 << 20


def runtime_version() -> str:
    return str(lib.runtime_version().decode())


def answer_of(text: str) -> Optional[str]:
    """What a text answers, in a box or announced by its words (docs/answers.md), or None."""
    out = c_void_p()
    lib.answer_extract(_text(text, "text"), byref(out))
    return _owned_text(out) if out else None


def answers_equal(a: str, b: str) -> bool:
    """Whether two answers have equal value: 1/2 and 0.5, \\sqrt8 and 2\\sqrt2."""
    out = c_bool()
    lib.answers_equal(_text(a, "a"), _text(b, "b"), byref(out))
    return out.value


@dataclass
class Params:
    """What a sample depends on; the defaults are the C API's."""
    max_new_tokens: int = 256
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int = 0
    first_sample: int = 0
    logprobs: bool = False  # of every token, at temperature 1
    top_logprobs: int = 0   # and of so many alternatives
    stop_tokens: Optional[Sequence[int]] = None  # None: the model's own
    ignore_eos: bool = False
    stop: Union[str, Sequence[str]] = ()
    max_think_tokens: int = 0
    time_budget: float = 0.0  # seconds
    close_text: str = "\n\nThe final answer is \\boxed{"
    close_max_tokens: int = 32
    drop_at_deadline: bool = False
    probe_every: int = 0  # tokens between probes, which are fed close_text (docs/votes.md)
    probe_on_end: bool = False  # and a probe of the others when a sample ends


@dataclass
class TokenLogprob:
    token: int
    logprob: float


@dataclass
class Update:
    """What is new of a sample; the last one of a sample has a finish_reason."""
    prompt: int  # index
    sample: int
    tokens: List[int]
    text: str
    logprobs: Optional[List[float]]
    top_logprobs: Optional[List[List[TokenLogprob]]]
    forced: bool
    finish_reason: Optional[str]
    error: str
    probe_after: int = 0  # not 0: tokens and text are of a probe after so many tokens of the sample
    restarted: bool = False  # update_weights made the sample begin again: what was told of it before is void


@dataclass
class Sample:
    tokens: List[int] = field(default_factory=list)
    text: str = ""
    logprobs: Optional[List[float]] = None
    top_logprobs: Optional[List[List[TokenLogprob]]] = None
    forced: bool = False
    finish_reason: Optional[str] = None
    error: str = ""
    probes: List[Tuple[int, str]] = field(default_factory=list)  # tokens before each, and what it said, close_text included

    def take(self, update: Update) -> None:
        """Adds an update of this sample."""
        if update.probe_after:
            self.probes.append((update.probe_after, update.text))
            return
        if update.restarted:
            self.tokens, self.text, self.logprobs, self.top_logprobs, self.probes = [], "", None, None, []
        self.tokens += update.tokens
        self.text += update.text
        if update.logprobs is not None:
            self.logprobs = (self.logprobs or []) + update.logprobs
        if update.top_logprobs is not None:
            self.top_logprobs = (self.top_logprobs or []) + update.top_logprobs
        self.forced, self.finish_reason, self.error = update.forced, update.finish_reason, update.error

    def ballot(self) -> Optional[str]:
        """The answer that it votes for; None when it was cut, dropped or failed, or gave none (docs/votes.md)."""
        if self.finish_reason == "failed" or not (self.forced or self.finish_reason in ("stop_token", "stop_string")):
            return None
        return answer_of(self.text) or None


@dataclass
class Vote:
    answer: Optional[str]
    tally: Dict[str, int]  # most votes first; of equally many the answer of the earlier sample


def vote(samples: Iterable[Sample]) -> Vote:
    """Most ballots win; of equally many, the answer of the earlier sample. Answers of equal value are one."""
    tally: Dict[str, int] = {}
    spellings: Dict[str, str] = {}
    for place, sample in enumerate(samples):
        if not isinstance(sample, Sample):
            raise TypeError(f"samples[{place}]: expected a Sample, got {c.shown(sample)}")
        answer = sample.ballot()
        if answer is None:
            continue
        if answer not in spellings:
            spellings[answer] = next((known for known in tally if answers_equal(known, answer)), answer)
        tally[spellings[answer]] = tally.get(spellings[answer], 0) + 1
    ordered = dict(sorted(tally.items(), key=lambda item: -item[1]))  # stable: the earlier one first
    return Vote(next(iter(ordered), None), ordered)


@dataclass
class Completion:
    """The samples of one prompt."""
    prompt: int
    samples: List[Sample]

    def vote(self) -> Vote:
        return vote(self.samples)


@dataclass
class ModelInfo:
    architecture: str
    device_name: str
    vocab_size: int
    hidden_size: int
    layers: int
    max_positions: int
    bos_id: int  # -1: none
    eos_ids: List[int]
    weight_bytes: int


@dataclass
class Stats:
    running_samples: int
    waiting_samples: int
    kv_pages_used: int
    kv_pages: int
    steps: int
    generated_tokens: int
    computed_tokens: int
    reused_tokens: int
    shared_tokens: int
    recomputed_tokens: int
    preemptions: int
    model_seconds: float
    elapsed_seconds: float
    probes: int
    probes_dropped: int
    probe_tokens: int
    probe_seconds: float


def _text(text: str, what: str) -> bytes:
    if not isinstance(text, str):
        raise TypeError(f"{what}: expected a str, got {c.shown(text)}")
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{what}: character {error.start} is {text[error.start]!r}, half of one, which UTF-8 cannot hold") from None
    if b"\0" in data:
        raise ValueError(f"{what}: the text holds a NUL character, which ends a text in C")
    return data


def _owned_text(pointer: c_void_p) -> str:
    try:
        return string_at(pointer).decode()
    finally:
        lib.text_destroy(pointer)


def _ids(tokens: Iterable[int], what: str = "token ids") -> Any:
    try:
        if isinstance(tokens, (bytes, bytearray)):  # would be ids, one a byte
            raise TypeError
        ids = [operator.index(token) for token in tokens]  # numpy's integers, too
    except TypeError:
        raise TypeError(f"{what}: expected a sequence of integers, got {c.shown(tokens)}") from None
    if ids and (min(ids) < -2**31 or max(ids) >= 2**31):
        raise ValueError(f"{what}: expected integers of 32 bits, got {c.shown(min(ids) if min(ids) < -2**31 else max(ids))}")
    return (c_int32 * len(ids))(*ids)


def _whole(name: str, value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected an integer, got {c.shown(value)}") from None


def _several(prompts: Iterable[Prompt]) -> List[Prompt]:
    """The prompts of one call; a single one, which would be taken for a list of its parts, is none."""
    if isinstance(prompts, (str, bytes, bytearray, Mapping)) or not isinstance(prompts, Iterable):
        raise TypeError(f"prompts: expected a sequence of prompts, got {c.shown(prompts)}")
    several = list(prompts)
    for place, prompt in enumerate(several):
        if not isinstance(prompt, str) and (isinstance(prompt, (bytes, bytearray, Mapping)) or not hasattr(prompt, "__len__")):
            raise TypeError(f"prompts[{place}]: expected a text or a sequence of token ids, got {c.shown(prompt)}")
    return several


def _params(params: Optional[Params]) -> Params:
    if params is not None and not isinstance(params, Params):
        raise TypeError(f"params: expected Params, got {c.shown(params)}")
    return params or Params()


def _set(structure: Any, **values: Any) -> None:
    """Sets fields of a structure of C, which alone would wrap an integer that does not fit into them."""
    for name, value in values.items():
        if isinstance(getattr(structure, name), bool):
            if not any(value is known or value == known for known in (True, False)):
                raise TypeError(f"{name}: expected True or False, got {c.shown(value)}")
            value = bool(value)
        elif isinstance(getattr(structure, name), int):
            value = _whole(name, value)
        try:
            setattr(structure, name, value)
        except TypeError:
            raise TypeError(f"{name}: expected a number, got {c.shown(value)}") from None
        if isinstance(value, int) and getattr(structure, name) != value:
            bits = 8 * ctypes.sizeof(dict((field[0], field[1]) for field in structure._fields_)[name])
            raise ValueError(f"{name}: expected an integer from 0 to {2**bits - 1}, got {c.shown(value)}")


class Model:
    """A compiled model (.m1a) on a device."""

    def __init__(self, path: Union[str, "os.PathLike[str]"], device: str = "cpu", threads: int = 0, verify_weights: bool = False) -> None:
        self._handle = c_void_p()
        options = c.ModelOptions()
        lib.model_options_init(byref(options))
        _set(options, threads=threads, verify_weights=verify_weights)
        options.device = _text(device, "device")
        if not isinstance(path, (str, os.PathLike)):
            raise TypeError(f"path: expected the name of a file, got {c.shown(path)}")
        file = os.fspath(path)
        if not isinstance(file, str) or "\0" in file:
            raise ValueError(f"path: expected the name of a file, got {c.shown(path)}")
        lib.model_load(os.fsencode(file), byref(options), byref(self._handle))

    def close(self) -> None:
        """Gives the weights back, once the model's engines are closed, too."""
        if self._handle:
            lib.model_destroy(self._handle)
            self._handle = c_void_p()

    def __enter__(self) -> "Model":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:  # of copy and pickle: two would own one handle
        raise TypeError("a Model cannot be copied or pickled: load it where it is needed")

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self.close()

    @property
    def _live(self) -> c_void_p:
        if not self._handle:
            raise ValueError("the model is closed")
        return self._handle

    @property
    def info(self) -> ModelInfo:
        raw = c.ModelInfo()
        lib.model_get_info(self._live, byref(raw))
        return ModelInfo(raw.architecture.decode(), raw.device_name.decode(), raw.vocab_size, raw.hidden_size, raw.layers,
                         raw.max_positions, raw.bos_id, raw.eos_ids[:raw.eos_count], raw.weight_bytes)

    @property
    def weights_digest(self) -> str:
        """64 hexadecimal digits that tell other weights apart: those of the artifact, whatever update_weights did."""
        out = create_string_buffer(_DIGEST_SIZE)
        lib.model_weights_digest(self._live, out)
        return out.value.decode()

    def update_weights(self, tensors: Mapping[str, Any], running: str = "finish") -> None:
        """Gives weights new values: `tensors` are those of the checkpoint that the model was compiled from, all or some, by their names
        there and in their shapes. Arrays of float32, float16 or bfloat16 (uint16 holds its bits in numpy): whatever has the buffer
        protocol, DLPack or __cuda_array_interface__; those on the model's GPU are not copied through the host. All are checked before
        anything changes.

        `running` says what becomes of samples that have begun in engines of this model: "finish" (they end with the old weights first),
        "restart" (from their prompts; an update says `restarted`) or "keep" (they go on from the states they have)."""
        if running not in c.RUNNING_SAMPLES:
            raise ValueError(f"running: expected one of {', '.join(c.RUNNING_SAMPLES)}, got {c.shown(running)}")
        if not isinstance(tensors, Mapping):
            raise TypeError(f"tensors: expected a mapping of names to arrays, got {type(tensors).__name__}")
        given = [Tensor(name, array) for name, array in tensors.items()]
        raw = (c.Tensor * len(given))(*[tensor.raw() for tensor in given])
        lib.model_update_weights(self._live, raw, len(given), c.RUNNING_SAMPLES.index(running))

    @property
    def generation_defaults(self) -> Dict[str, float]:
        """What the checkpoint's generation_config.json says about sampling: Params(**model.generation_defaults) takes it over."""
        raw = c.GenerationDefaults()
        lib.model_generation_defaults(self._live, byref(raw))
        fields = {name: getattr(raw, name) for name, _ in raw._fields_}
        return {name: value for name, value in fields.items() if value >= 0}

    def _encode(self, function: Any, *arguments: Any) -> List[int]:
        tokens, count = POINTER(c_int32)(), c_size_t()
        function(self._live, *arguments, byref(tokens), byref(count))
        try:
            return tokens[:count.value]
        finally:
            lib.tokens_destroy(tokens)

    def encode(self, text: str, add_special: bool = False, parse_special: bool = True) -> List[int]:
        """Token ids of a text; `parse_special`: control tokens that it spells become tokens."""
        function = lib.model_encode if parse_special else lib.model_encode_plain
        return self._encode(function, _text(text, "text"), add_special)

    def chat(self, messages: Sequence[Mapping[str, str]], parse_special: bool = False) -> List[int]:
        """Token ids of a conversation of {"role", "content"}, ready for the assistant's answer."""
        given: List[c.ChatMessage] = []
        for place, message in enumerate(messages):
            if not isinstance(message, Mapping) or not {"role", "content"} <= message.keys():
                raise TypeError(f"messages[{place}]: expected {{'role': str, 'content': str}}, got {c.shown(message)}")
            given.append(c.ChatMessage(*[_text(message[name], f"messages[{place}].{name}") for name in ("role", "content")]))
        array = (c.ChatMessage * len(given))(*given)
        options = c.ChatOptions()
        lib.chat_options_init(byref(options))
        options.parse_special = parse_special
        return self._encode(lib.model_encode_chat_with, array, len(given), byref(options))

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of token ids, without special tokens."""
        out = c_void_p()
        ids = _ids(tokens)
        lib.model_decode(self._live, ids, len(ids), byref(out))
        return _owned_text(out)

    def engine(self, max_samples: int = 0, max_context: int = 0, prefix_cache_slots: Optional[int] = None,
               probe_places: int = 0) -> "Engine":
        """An engine for at most `max_samples` at once (0: as many as suit the device) of `max_context` tokens each, and
        `probe_places` probes beside them."""
        return Engine(self, max_samples, max_context, prefix_cache_slots, probe_places)

    def generate(self, prompts: Sequence[Prompt], n: int = 1, params: Optional[Params] = None) -> List[Completion]:
        """n samples of every prompt (token ids, or text as it is), on an engine of their own."""
        prompts = _several(prompts)
        with self._engine_for(prompts, n, params) as engine:
            return engine.generate(prompts, n, params)

    def stream(self, prompts: Sequence[Prompt], n: int = 1, params: Optional[Params] = None) -> Iterator[Update]:
        """The same, as tokens arrive. Leaving the loop ends what still runs."""
        prompts = _several(prompts)
        with self._engine_for(prompts, n, params) as engine:
            yield from engine.stream(prompts, n, params)

    def _engine_for(self, prompts: Sequence[Prompt], n: int, params: Optional[Params]) -> "Engine":
        params = _params(params)
        lengths = [len(self._prompt(prompt)) for prompt in prompts]
        longest = max(lengths, default=1) + _whole("max_new_tokens", params.max_new_tokens)
        if params.max_think_tokens or params.time_budget or params.probe_every or params.probe_on_end:
            longest += params.close_max_tokens + len(params.close_text)
        return self.engine(0, min(longest + 1, self.info.max_positions),
                           probe_places=4 if params.probe_every or params.probe_on_end else 0)

    def _prompt(self, prompt: Prompt) -> Sequence[int]:
        return self.encode(prompt, add_special=True) if isinstance(prompt, str) else prompt

    def score(self, tokens: Sequence[int]) -> List[float]:
        """Log probability, at temperature 1, of every token after the first, given those before it."""
        vocabulary = self.info.vocab_size
        ids = _ids(tokens)
        if len(ids) < 2:
            return []
        if not 0 <= ids[-1] < vocabulary:  # the model never sees the last one
            raise ValueError(f"token {ids[-1]}: the vocabulary has ids 0 to {vocabulary - 1}")
        chunk = max(1, min(len(tokens) - 1, (64 << 20) // (4 * vocabulary)))  # 64 MiB of logits at once
        options = c.SessionOptions()
        lib.session_options_init(byref(options))
        options.max_sequences, options.max_context = 1, len(tokens)
        options.max_tokens_per_step = options.max_logit_rows = chunk
        session, sequence = c_void_p(), c_uint64()
        lib.session_create(self._live, byref(options), byref(session))
        try:
            lib.sequence_create(session, byref(sequence))
            out: List[float] = []
            logits = (c_float * (chunk * vocabulary))()
            for begin in range(0, len(tokens) - 1, chunk):
                count = min(chunk, len(tokens) - 1 - begin)
                part = (c_int32 * count)(*ids[begin:begin + count])
                entry = c.StepEntry(sequence.value, part, count, count)
                lib.session_step(session, byref(entry), 1, None, logits)
                for row in range(count):
                    values = logits[row * vocabulary:(row + 1) * vocabulary]
                    largest = max(values)
                    total = math.log(math.fsum(math.exp(value - largest) for value in values))
                    out.append(values[ids[begin + row + 1]] - largest - total)
            return out
        finally:
            lib.session_destroy(session)



class Engine:
    """Samples of many prompts at once; prompts that begin alike share their beginning."""

    def __init__(self, model: Model, max_samples: int = 0, max_context: int = 0, prefix_cache_slots: Optional[int] = None,
                 probe_places: int = 0) -> None:
        self._handle = c_void_p()
        self._model = model
        # Of tasks that stream side by side in this loop: a lock belongs to one.
        self._turn: Optional[Tuple[asyncio.AbstractEventLoop, asyncio.Lock]] = None
        self._runs: Dict[int, List[Update]] = {}  # by request, those of one run in one list
        self._news: List[Update] = []             # of requests that belong to no run
        self._abandoned: Dict[int, int] = {}      # cancelled requests of runs that ended: samples whose ends are still to come
        options = c.EngineOptions()
        lib.engine_options_init(byref(options))
        _set(options, max_samples=max_samples, max_context=max_context, probe_places=probe_places)
        if prefix_cache_slots is not None:
            _set(options, prefix_cache_slots=prefix_cache_slots)
        lib.engine_create(model._live, byref(options), byref(self._handle))

    def close(self) -> None:
        if self._handle:
            lib.engine_destroy(self._handle)
            self._handle = c_void_p()

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError("an Engine cannot be copied or pickled: make it of a Model where it is needed")

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self.close()

    @property
    def _live(self) -> c_void_p:
        if not self._handle:
            raise ValueError("the engine is closed")
        return self._handle

    def submit(self, prompt: Prompt, n: int = 1, params: Optional[Params] = None) -> int:
        """Queues n samples of a prompt; returns the number that updates and cancel() know it by."""
        params = _params(params)
        tokens = _ids(self._model._prompt(prompt), "prompt: token ids")
        request = c.Request()
        lib.request_init(byref(request))
        request.tokens, request.token_count = tokens, len(tokens)
        _whole("n", n)
        _set(request, samples=n)
        for name in ("max_new_tokens", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "frequency_penalty",
                     "presence_penalty", "seed", "first_sample", "top_logprobs", "ignore_eos", "max_think_tokens", "time_budget"):
            _set(request, **{name: getattr(params, name)})
        if params.logprobs not in (True, False):
            raise TypeError(f"logprobs: expected True or False, got {c.shown(params.logprobs)}")
        request.want_logprobs = bool(params.logprobs)
        if params.stop_tokens is not None:
            ends = _ids(params.stop_tokens, "stop_tokens")
            request.stop_tokens, request.stop_token_count = ends if len(ends) else _ids([0]), len(ends)
        given = (params.stop,) if isinstance(params.stop, str) else params.stop
        if not isinstance(given, Iterable):
            raise TypeError(f"stop: expected texts, got {c.shown(given)}")
        stops = [_text(stop, f"stop[{place}]") for place, stop in enumerate(given)]
        request.stop_strings, request.stop_string_count = (c_char_p * len(stops))(*stops), len(stops)
        if not isinstance(params.logit_bias, Mapping):
            raise TypeError(f"logit_bias: expected a mapping of token ids to numbers, got {c.shown(params.logit_bias)}")
        bias = [c.LogitBias(token) for token in _ids(params.logit_bias, "logit_bias: token ids")]
        for entry, value in zip(bias, params.logit_bias.values()):
            try:
                entry.bias = value
            except TypeError:
                raise TypeError(f"logit_bias: expected a number for token {entry.token}, got {c.shown(value)}") from None
        request.logit_bias, request.logit_bias_count = (c.LogitBias * len(bias))(*bias), len(bias)
        if params.max_think_tokens or (params.time_budget and not params.drop_at_deadline):
            close = self._model.encode(params.close_text)
            request.close_tokens, request.close_token_count = _ids(close), len(close)
            _set(request, close_max_tokens=params.close_max_tokens)
            request.at_deadline = 0 if params.drop_at_deadline else 1
        if params.probe_every or params.probe_on_end:
            probe = self._model.encode(params.close_text)
            _set(request, probe_every=params.probe_every, probe_on_end=params.probe_on_end)
            request.probe_tokens, request.probe_token_count = _ids(probe), len(probe)
        out = c_uint64()
        lib.engine_submit(self._live, byref(request), byref(out))
        return out.value

    def cancel(self, request: int, sample: Optional[int] = None) -> None:
        """Ends a request, or one sample of it; what it has said so far still comes as updates."""
        if not 0 <= _whole("request", request) < 2**64 or not 0 <= _whole("sample", 0 if sample is None else sample) < 2**32:
            raise ValueError(f"cancel: expected a request that submit() gave, and a sample of it, got {request} and {sample}")
        if sample is None:
            lib.engine_cancel(self._live, request)
        else:
            lib.engine_cancel_sample(self._live, request, sample)

    @property
    def idle(self) -> bool:
        return bool(lib.engine_is_idle(self._live))

    def step(self) -> List[Update]:
        """One forward pass, and what is new; `prompt` of these updates is what submit() returned. Those of prompts that stream() or
        generate() were given come from there alone."""
        lib.engine_step(self._live)
        self._take_news()
        updates, self._news = self._news, []
        return updates

    def _take_news(self) -> None:
        """To the run whose request it is about, or to the next step()."""
        event = c.Event()
        while lib.engine_poll(self._live, byref(event)):
            update = _update(event)
            request = update.prompt
            if request not in self._abandoned:
                self._runs.get(request, self._news).append(update)
            elif update.finish_reason is not None:
                self._abandoned[request] -= 1
                if not self._abandoned[request]:
                    del self._abandoned[request]

    def stream(self, prompts: Sequence[Prompt], n: int = 1, params: Optional[Params] = None) -> Iterator[Update]:
        """n samples of every prompt, as tokens arrive. Leaving the loop ends what still runs."""
        return self._run(_several(prompts), n, params, 1)

    async def stream_async(self, prompts: Sequence[Prompt], n: int = 1, params: Optional[Params] = None) -> AsyncIterator[Update]:
        """The same in an event loop, which goes on meanwhile: steps are taken in threads. Tasks may stream side by side, in the
        same steps; a task that is cancelled, or leaves the loop and closes the iterator, ends its samples."""
        loop = asyncio.get_running_loop()
        if self._turn is None or self._turn[0] is not loop:
            self._turn = (loop, asyncio.Lock())
        turn = self._turn[1]
        run = self._run(_several(prompts), n, params, 1)

        async def close() -> None:
            async with turn:
                run.close()

        try:
            while True:
                async with turn:  # the engine belongs to one thread at a time
                    taken: "asyncio.Future[Optional[Update]]" = loop.run_in_executor(None, lambda: next(run, None))
                    try:
                        update = await asyncio.shield(taken)
                    except asyncio.CancelledError:
                        while not taken.done():  # the step cannot be left in the middle, however often it is asked
                            with contextlib.suppress(asyncio.CancelledError):
                                await asyncio.wait([taken])
                        raise
                if update is None:
                    return
                yield update
        finally:
            await asyncio.shield(close())

    def _run(self, prompts: Sequence[Prompt], n: int, params: Optional[Params], steps: int) -> Generator[Update, None, None]:
        """Updates of so many steps at a time: what a sample says in them is one update."""
        places: Dict[int, int] = {}
        left: Dict[int, int] = {}  # samples that have not ended, of each request
        news: List[Update] = []
        try:
            for place, prompt in enumerate(prompts):
                request = self.submit(prompt, n, params)
                places[request], left[request], self._runs[request] = place, n, news
            while left:
                for step in range(steps):
                    # Another run's steps may have brought news of this one.
                    if not news and (step == 0 or not self.idle):
                        lib.engine_step(self._live)
                self._take_news()
                while news:
                    update = news.pop(0)
                    request = update.prompt
                    update.prompt = places[request]
                    if update.finish_reason is not None:
                        left[request] -= 1
                        if not left[request]:
                            del left[request]
                    yield update
        finally:
            for request in places:
                del self._runs[request]
            ended: Dict[int, int] = {}  # news that nobody takes any more
            for update in news:
                ended[update.prompt] = ended.get(update.prompt, 0) + (update.finish_reason is not None)
            for request, samples in left.items():
                if samples > ended.get(request, 0):
                    self._abandoned[request] = samples - ended.get(request, 0)
                    if self._handle:
                        self.cancel(request)

    def generate(self, prompts: Sequence[Prompt], n: int = 1, params: Optional[Params] = None) -> List[Completion]:
        """n samples of every prompt."""
        prompts = _several(prompts)
        if not 1 <= _whole("n", n) <= _MOST_SAMPLES:  # before they are made
            raise ValueError(f"n: expected 1 to {_MOST_SAMPLES} samples, got {c.shown(n)}")
        completions = [Completion(place, [Sample() for _ in range(n)]) for place in range(len(prompts))]
        # Taking news of every sample at every step would cost more than a GPU's steps do.
        for update in self._run(prompts, n, params, 64):
            completions[update.prompt].samples[update.sample].take(update)
        return completions

    @property
    def stats(self) -> Stats:
        raw = c.EngineStats()
        lib.engine_get_stats(self._live, byref(raw))
        return Stats(*[getattr(raw, name) for name, _ in c.EngineStats._fields_])


def _update(event: c.Event) -> Update:
    count, top = event.token_count, event.top_count
    tops = None
    if event.top_logprobs:
        tops = [[TokenLogprob(entry.token, entry.logprob) for entry in event.top_logprobs[i * top:(i + 1) * top] if entry.token >= 0]
                for i in range(count)]
    return Update(event.request, event.sample, event.tokens[:count] if count else [], event.text.decode(),
                  event.logprobs[:count] if event.logprobs else None, tops, event.forced,
                  c.FINISH_REASONS[event.reason] if event.reason else None, event.error.decode(), event.probe_after,
                  event.restarted)
