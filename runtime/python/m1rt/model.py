"""Models, engines and what comes out of them."""
import asyncio
import contextlib
import ctypes
import math
import operator
from ctypes import POINTER, byref, c_bool, c_char_p, c_float, c_int32, c_size_t, c_uint64, c_void_p, create_string_buffer, string_at
from dataclasses import dataclass, field
from typing import Any, AsyncIterator, Dict, Generator, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

from . import _library as c
from ._library import lib
from ._tensors import Tensor

Prompt = Union[str, Sequence[int]]
_DIGEST_SIZE = 65
_MOST_SAMPLES = 1 << 20


def runtime_version() -> str:
    return lib.runtime_version().decode()


def answer_of(text: str) -> Optional[str]:
    """The answer that a text gives (docs/text.md), or None."""
    out = c_void_p()
    lib.answer_extract(_text(text), byref(out))
    return _owned_text(out) if out else None


def answers_equal(a: str, b: str) -> bool:
    """Whether two answers have equal value: 1/2 and 0.5, \\sqrt8 and 2\\sqrt2."""
    out = c_bool()
    lib.answers_equal(_text(a), _text(b), byref(out))
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
    stop: Sequence[str] = ()
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
    for sample in samples:
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


def _text(text: str) -> bytes:
    data = text.encode()
    if b"\0" in data:
        raise ValueError("the text holds a NUL character, which ends a text in C")
    return data


def _owned_text(pointer: c_void_p) -> str:
    try:
        return string_at(pointer).decode()
    finally:
        lib.text_destroy(pointer)


def _ids(tokens: Sequence[int]) -> Any:
    ids = [operator.index(token) for token in tokens]  # numpy's integers, too
    if ids and (min(ids) < -2**31 or max(ids) >= 2**31):
        raise ValueError(f"token ids: expected integers of 32 bits, got {min(ids) if min(ids) < -2**31 else max(ids)}")
    return (c_int32 * len(ids))(*ids)


def _set(structure: Any, **values: Any) -> None:
    """Sets fields of a structure of C, which alone would wrap an integer that does not fit into them."""
    for name, value in values.items():
        if isinstance(getattr(structure, name), int) and not isinstance(value, bool):
            try:
                value = operator.index(value)
            except TypeError:
                raise TypeError(f"{name}: expected an integer, got {value!r}") from None
        try:
            setattr(structure, name, value)
        except TypeError:
            raise TypeError(f"{name}: expected a number, got {value!r}") from None
        if isinstance(value, int) and getattr(structure, name) != value:
            bits = 8 * ctypes.sizeof(dict((field[0], field[1]) for field in structure._fields_)[name])
            raise ValueError(f"{name}: expected an integer from 0 to {2**bits - 1}, got {value}")


class Model:
    """A compiled model (.m1a) on a device."""

    def __init__(self, path: str, device: str = "cpu", threads: int = 0, verify_weights: bool = False) -> None:
        self._handle = c_void_p()
        options = c.ModelOptions()
        lib.model_options_init(byref(options))
        _set(options, threads=threads, verify_weights=verify_weights)
        options.device = _text(device)
        lib.model_load(_text(path), byref(options), byref(self._handle))

    def close(self) -> None:
        """Gives the weights back, once the model's engines are closed, too."""
        if self._handle:
            lib.model_destroy(self._handle)
            self._handle = c_void_p()

    def __enter__(self) -> "Model":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self.close()

    @property
    def info(self) -> ModelInfo:
        if not self._handle:
            raise ValueError("the model is closed")
        raw = c.ModelInfo()
        lib.model_get_info(self._handle, byref(raw))
        return ModelInfo(raw.architecture.decode(), raw.device_name.decode(), raw.vocab_size, raw.hidden_size, raw.layers,
                         raw.max_positions, raw.bos_id, raw.eos_ids[:raw.eos_count], raw.weight_bytes)

    @property
    def weights_digest(self) -> str:
        """64 hexadecimal digits that tell other weights apart: those of the artifact, whatever update_weights did."""
        out = create_string_buffer(_DIGEST_SIZE)
        lib.model_weights_digest(self._handle, out)
        return out.value.decode()

    def update_weights(self, tensors: Mapping[str, Any], running: str = "finish") -> None:
        """Gives weights new values: `tensors` are those of the checkpoint that the model was compiled from, all or some, by their names
        there and in their shapes. Arrays of float32, float16 or bfloat16 (uint16 holds its bits in numpy): whatever has the buffer
        protocol, DLPack or __cuda_array_interface__; those on the model's GPU are not copied through the host. All are checked before
        anything changes.

        `running` says what becomes of samples that have begun in engines of this model: "finish" (they end with the old weights first),
        "restart" (from their prompts; an update says `restarted`) or "keep" (they go on from the states they have)."""
        if running not in c.RUNNING_SAMPLES:
            raise ValueError(f"running: expected one of {', '.join(c.RUNNING_SAMPLES)}, got {running!r}")
        given = [Tensor(name, array) for name, array in tensors.items()]
        raw = (c.Tensor * len(given))(*[tensor.raw() for tensor in given])
        lib.model_update_weights(self._handle, raw, len(given), c.RUNNING_SAMPLES.index(running))

    @property
    def generation_defaults(self) -> Dict[str, float]:
        """What the checkpoint's generation_config.json says about sampling: Params(**model.generation_defaults) takes it over."""
        raw = c.GenerationDefaults()
        lib.model_generation_defaults(self._handle, byref(raw))
        fields = {name: getattr(raw, name) for name, _ in raw._fields_}
        return {name: value for name, value in fields.items() if value >= 0}

    def _encode(self, function: Any, *arguments: Any) -> List[int]:
        tokens, count = POINTER(c_int32)(), c_size_t()
        function(self._handle, *arguments, byref(tokens), byref(count))
        try:
            return tokens[:count.value]
        finally:
            lib.tokens_destroy(tokens)

    def encode(self, text: str, add_special: bool = False, parse_special: bool = True) -> List[int]:
        """Token ids of a text; `parse_special`: control tokens that it spells become tokens."""
        function = lib.model_encode if parse_special else lib.model_encode_plain
        return self._encode(function, _text(text), add_special)

    def chat(self, messages: Sequence[Mapping[str, str]], parse_special: bool = False) -> List[int]:
        """Token ids of a conversation of {"role", "content"}, ready for the assistant's answer."""
        array = (c.ChatMessage * len(messages))(*[(_text(m["role"]), _text(m["content"])) for m in messages])
        options = c.ChatOptions()
        lib.chat_options_init(byref(options))
        options.parse_special = parse_special
        return self._encode(lib.model_encode_chat_with, array, len(messages), byref(options))

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of token ids, without special tokens."""
        out = c_void_p()
        lib.model_decode(self._handle, _ids(tokens), len(tokens), byref(out))
        return _owned_text(out)

    def engine(self, max_samples: int = 0, max_context: int = 0, prefix_cache_slots: Optional[int] = None,
               probe_places: int = 0) -> "Engine":
        """An engine for at most `max_samples` at once (0: as many as suit the device) of `max_context` tokens each, and
        `probe_places` probes beside them."""
        return Engine(self, max_samples, max_context, prefix_cache_slots, probe_places)

    def generate(self, prompts: Sequence[Prompt], n: int = 1, params: Optional[Params] = None) -> List[Completion]:
        """n samples of every prompt (token ids, or text as it is), on an engine of their own."""
        with self._engine_for(prompts, n, params) as engine:
            return engine.generate(prompts, n, params)

    def stream(self, prompts: Sequence[Prompt], n: int = 1, params: Optional[Params] = None) -> Iterator[Update]:
        """The same, as tokens arrive. Leaving the loop ends what still runs."""
        with self._engine_for(prompts, n, params) as engine:
            yield from engine.stream(prompts, n, params)

    def _engine_for(self, prompts: Sequence[Prompt], n: int, params: Optional[Params]) -> "Engine":
        params = params or Params()
        prompts = [self._prompt(prompt) for prompt in prompts]
        longest = max((len(prompt) for prompt in prompts), default=1) + params.max_new_tokens
        if params.max_think_tokens or params.time_budget or params.probe_every or params.probe_on_end:
            longest += params.close_max_tokens + len(params.close_text)
        return self.engine(0, min(longest + 1, self.info.max_positions),
                           probe_places=4 if params.probe_every or params.probe_on_end else 0)

    def _prompt(self, prompt: Prompt) -> Sequence[int]:
        return self.encode(prompt, add_special=True) if isinstance(prompt, str) else prompt

    def score(self, tokens: Sequence[int]) -> List[float]:
        """Log probability, at temperature 1, of every token after the first, given those before it."""
        if len(tokens) < 2:
            return []
        vocabulary = self.info.vocab_size
        ids = _ids(tokens)
        if not 0 <= ids[-1] < vocabulary:  # the model never sees the last one
            raise ValueError(f"token {ids[-1]}: the vocabulary has ids 0 to {vocabulary - 1}")
        chunk = max(1, min(len(tokens) - 1, (64 << 20) // (4 * vocabulary)))  # 64 MiB of logits at once
        options = c.SessionOptions()
        lib.session_options_init(byref(options))
        options.max_sequences, options.max_context = 1, len(tokens)
        options.max_tokens_per_step = options.max_logit_rows = chunk
        session, sequence = c_void_p(), c_uint64()
        lib.session_create(self._handle, byref(options), byref(session))
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
        self._turn: Tuple[Optional[asyncio.AbstractEventLoop], Optional[asyncio.Lock]] = (None, None)
        self._runs: Dict[int, List[Update]] = {}  # by request, those of one run in one list
        self._news: List[Update] = []             # of requests that belong to no run
        self._abandoned: Dict[int, int] = {}      # cancelled requests of runs that ended: samples whose ends are still to come
        options = c.EngineOptions()
        lib.engine_options_init(byref(options))
        _set(options, max_samples=max_samples, max_context=max_context, probe_places=probe_places)
        if prefix_cache_slots is not None:
            _set(options, prefix_cache_slots=prefix_cache_slots)
        lib.engine_create(model._handle, byref(options), byref(self._handle))

    def close(self) -> None:
        if self._handle:
            lib.engine_destroy(self._handle)
            self._handle = c_void_p()

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self.close()

    def submit(self, prompt: Prompt, n: int = 1, params: Optional[Params] = None) -> int:
        """Queues n samples of a prompt; returns the number that updates and cancel() know it by."""
        params = params or Params()
        tokens = self._model._prompt(prompt)
        request = c.Request()
        lib.request_init(byref(request))
        request.tokens, request.token_count = _ids(tokens), len(tokens)
        _set(request, samples=n)
        for name in ("max_new_tokens", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "frequency_penalty",
                     "presence_penalty", "seed", "first_sample", "top_logprobs", "ignore_eos", "max_think_tokens", "time_budget"):
            _set(request, **{name: getattr(params, name)})
        request.want_logprobs = params.logprobs
        if params.stop_tokens is not None:
            request.stop_tokens, request.stop_token_count = _ids(params.stop_tokens or [0]), len(params.stop_tokens)
        stops = [_text(stop) for stop in params.stop]
        request.stop_strings, request.stop_string_count = (c_char_p * len(stops))(*stops), len(stops)
        bias = list(zip(_ids(list(params.logit_bias)), params.logit_bias.values()))
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
        lib.engine_submit(self._handle, byref(request), byref(out))
        return out.value

    def cancel(self, request: int, sample: Optional[int] = None) -> None:
        """Ends a request, or one sample of it; what it has said so far still comes as updates."""
        if sample is None:
            lib.engine_cancel(self._handle, request)
        else:
            lib.engine_cancel_sample(self._handle, request, sample)

    @property
    def idle(self) -> bool:
        return lib.engine_is_idle(self._handle)

    def step(self) -> List[Update]:
        """One forward pass, and what is new; `prompt` of these updates is what submit() returned. Those of prompts that stream() or
        generate() were given come from there alone."""
        lib.engine_step(self._handle)
        self._take_news()
        updates, self._news = self._news, []
        return updates

    def _take_news(self) -> None:
        """To the run whose request it is about, or to the next step()."""
        event = c.Event()
        while lib.engine_poll(self._handle, byref(event)):
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
        return self._run(prompts, n, params, 1)

    async def stream_async(self, prompts: Sequence[Prompt], n: int = 1, params: Optional[Params] = None) -> AsyncIterator[Update]:
        """The same in an event loop, which goes on meanwhile: steps are taken in threads. Tasks may stream side by side, in the
        same steps; a task that is cancelled, or leaves the loop and closes the iterator, ends its samples."""
        loop = asyncio.get_running_loop()
        if self._turn[0] is not loop:
            self._turn = (loop, asyncio.Lock())
        turn = self._turn[1]
        assert turn is not None
        run = self._run(prompts, n, params, 1)

        async def close() -> None:
            async with turn:
                run.close()

        try:
            while True:
                async with turn:  # the engine belongs to one thread at a time
                    taken = loop.run_in_executor(None, next, run, None)
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
                        lib.engine_step(self._handle)
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
        if not 1 <= n <= _MOST_SAMPLES:  # before they are made
            raise ValueError(f"n: expected 1 to {_MOST_SAMPLES} samples, got {n}")
        completions = [Completion(place, [Sample() for _ in range(n)]) for place in range(len(prompts))]
        # Taking news of every sample at every step would cost more than a GPU's steps do.
        for update in self._run(prompts, n, params, 64):
            completions[update.prompt].samples[update.sample].take(update)
        return completions

    @property
    def stats(self) -> Stats:
        if not self._handle:
            raise ValueError("the engine is closed")
        raw = c.EngineStats()
        lib.engine_get_stats(self._handle, byref(raw))
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
