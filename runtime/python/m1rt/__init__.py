"""M1 Runtime from Python: load a compiled model, draw samples of any number of prompts, vote.

    import m1rt

    model = m1rt.Model("model.m1a")
    prompt = model.chat([{"role": "user", "content": "What is 17 * 23?"}])
    for completion in model.generate([prompt], n=8, params=m1rt.Params(temperature=0.7)):
        print(completion.vote().answer, [sample.text for sample in completion.samples])

Pure Python over the C API (m1/runtime.h, m1/engine.h, m1/vote.h); nothing but the standard library
is needed. A model and its engine belong to one thread at a time.
"""
from ._library import Error
from .model import (Completion, Engine, Model, ModelInfo, Params, Sample, Stats, TokenLogprob, Update,
                    Vote, answer_of, answers_equal, runtime_version, vote)

__all__ = ["Completion", "Engine", "Error", "Model", "ModelInfo", "Params", "Sample", "Stats",
           "TokenLogprob", "Update", "Vote", "answer_of", "answers_equal", "runtime_version", "vote"]
